//! Small runs of the whole program, on a plain directory.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

const FEW: [&str; 6] = [
    "--quick",
    "--fs=native",
    "--only=one client: stat",
    "--only=trees: mv",
    "--only=mkdir",
    "--rounds=2",
];

fn bench(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mini_fo_bench"));
    command.arg("--dir").arg(dir.join("work")).current_dir(dir).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

/// Root measures in namespaces, which not every container allows.
fn can_run() -> bool {
    let unshare = Command::new("unshare").args(["--mount", "--pid", "--fork", "true"]).output();
    let can = !rustix::process::geteuid().is_root() || unshare.is_ok_and(|o| o.status.success());
    if !can {
        eprintln!("skipped: namespaces are not allowed here");
    }
    can
}

fn is_clean(dir: &Path) -> bool {
    fs::read_dir(dir.join("work")).unwrap().next().is_none()
}

#[test]
fn a_run_measures_and_leaves_nothing_behind() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path());
    let output = command.args(FEW).args(["--json=out.json", "--svg=out.svg"]).output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("| stat, warm "), "{said}");
    let json: Value =
        serde_json::from_slice(&fs::read(dir.path().join("out.json")).unwrap()).unwrap();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5, "{rows:?}");
    for row in rows {
        assert!(row["systems"]["native"]["median"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["systems"]["native"]["rounds"].as_array().unwrap().len(), 2, "{row}");
    }
    assert!(fs::read_to_string(dir.path().join("out.svg")).unwrap().ends_with("</svg>\n"));
    assert!(is_clean(dir.path()));
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path());
    command.args(FEW).args(["--rounds=1000"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    let work = dir.path().join("work/mini_fo_bench/native");
    while !work.exists() {
        assert!(run.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(!run.wait().unwrap().success());
    assert!(is_clean(dir.path()));
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (mistake, text) in [("--only=nothing at all", "no row"), ("--fs=nothing", "no system")] {
        if mistake.starts_with("--fs") && !can_run() {
            continue;
        }
        let output = bench(dir.path()).arg(mistake).output().unwrap();
        assert!(!output.status.success());
        assert!(said(&output).contains(text), "{}", said(&output));
    }
}
