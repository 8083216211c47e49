//! The form for programs.

use serde_json::{Map, Value, json};

use super::{Report, goals};
use crate::stages::{Row, STAGES};

/// Everything, with the single rounds, in microseconds.
pub fn json(report: &Report) -> Value {
    let rows: Vec<Value> = report.rows.iter().map(|&row| json_row(report, row)).collect();
    let systems: Vec<Value> = report
        .systems
        .iter()
        .map(|system| json!({"name": system.name, "description": system.description()}))
        .collect();
    json!({
        "unit": "microseconds",
        "about": report.about,
        "systems": systems,
        "rows": rows,
        "daemons": daemons(report),
        "goals": goals::json(report),
        "notes": report.notes,
        "failures": report.failures,
    })
}

fn json_row(report: &Report, row: Row) -> Value {
    let mut systems = Map::new();
    for system in &report.systems {
        let Some(s) = report.summary(row, system) else { continue };
        let rounds = report.values(row, system);
        let item = json!({"median": s.median, "min": s.min, "max": s.max, "rounds": rounds});
        systems.insert(system.name.to_string(), item);
    }
    let stage = STAGES.get(row.stage).map(|stage| stage.name);
    json!({"stage": stage, "row": row.name, "systems": systems})
}

fn daemons(report: &Report) -> Vec<Value> {
    let item = |(stage, system, usage): &(
        usize,
        &'static crate::systems::System,
        crate::systems::Usage,
    )| {
        json!({
            "stage": STAGES.get(*stage).map(|stage| stage.name), "system": system.name,
            "cpu_seconds": usage.cpu, "peak_kib": usage.peak_kib,
        })
    };
    report.usages.iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_read_again() {
        let report = super::super::example();
        let value: Value = serde_json::from_str(&report.json()).unwrap();
        let rows = value["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 3);
        let row = rows.iter().find(|row| row["stage"] == "one client").unwrap();
        assert_eq!(row["row"], "mkdir");
        assert_eq!(row["systems"]["overlayfs"]["median"], 20.0);
        assert_eq!(row["systems"]["overlayfs"]["rounds"].as_array().unwrap().len(), 3);
        assert_eq!(value["daemons"][0]["peak_kib"], 2048);
        assert_eq!(value["notes"][0], report.notes[0]);
        assert!(value["goals"].as_array().unwrap().len() >= 2);
    }
}
