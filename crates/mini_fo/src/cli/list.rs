//! `mini_fo list`.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cli::args::ListArgs;
use crate::cli::changes::out::size;
use crate::cli::json::{self, quoted};
use crate::exit::{self, Failure, code};
use crate::log::utc;
use crate::mountinfo::{self, Mount};
use crate::registry::{self, Record, Registry};
use crate::report::Report;
use crate::run;

/// Prints the live mounts.
///
/// # Errors
/// `/proc` cannot be read.
pub fn run(args: &ListArgs) -> Result<(), Failure> {
    let mounts = mountinfo::read()
        .map_err(|e| Failure::new(code::FAILURE, format!("/proc/self/mountinfo: {e}")))?;
    let runs = run::list::rows();
    let mut rows = rows(&mounts);
    // Where a run is mounted is nobody else's business.
    rows.retain(|row| row.mountpoint.parent().and_then(run::note::read).is_none());
    let text = match args.json {
        true => array(&rows, &runs),
        false => table(&rows, args.verbose) + &table_of_runs(&runs),
    };
    super::print(&text)
}

/// A mount, with its record if it has one that this user may read.
struct Row {
    mountpoint: PathBuf,
    record: Option<Record>,
    read_only: bool,
    state: State,
}

/// What there is to say of a mount.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Live,
    /// Its daemon was killed.
    Dead,
    /// Unmounted here; programs still use it.
    Detached,
    /// In a mount namespace that is not ours.
    Elsewhere,
    /// Nothing is known but who mounted it.
    Foreign(Option<u32>),
}

impl State {
    /// The word for programs.
    fn word(self) -> &'static str {
        match self {
            State::Live => "live",
            State::Dead => "dead",
            State::Detached => "detached",
            State::Elsewhere => "elsewhere",
            State::Foreign(_) => "foreign",
        }
    }

    /// What it means and what to do, for people.
    fn advice(self, mountpoint: &str, pid: u32) -> Option<String> {
        Some(match self {
            State::Live => return None,
            State::Dead => format!(
                "dead: its daemon (process {pid}) has ended; 'mini_fo umount {mountpoint}' takes \
                 it away"
            ),
            State::Detached => format!(
                "unmounted, but programs still use it: process {pid} ends with the last of them"
            ),
            State::Elsewhere => {
                format!("in another mount namespace: 'kill {pid}' unmounts it there")
            }
            State::Foreign(user) => {
                let by = user.map_or("another user".to_owned(), |user| format!("user {user}"));
                format!("mounted by {by}, who sees more with 'mini_fo list'")
            }
        })
    }
}

fn rows(mounts: &[Mount]) -> Vec<Row> {
    let records = Registry::open().and_then(|registry| registry.all()).unwrap_or_default();
    let ours = mounts.iter().filter(|mount| mount.is_ours());
    let mut rows: Vec<Row> = ours
        .map(|mount| {
            // A live one first: numbers of devices are given away again.
            let shown = || records.iter().rev().filter(|record| record.is_shown_by(mount));
            let record = shown().find(|record| record.lives).or_else(|| shown().next()).cloned();
            let state = match &record {
                Some(record) if record.lives => State::Live,
                Some(_) => State::Dead,
                None => State::Foreign(mount.user()),
            };
            let read_only = mount.flags().contains(rustix::mount::MountFlags::RDONLY);
            Row { mountpoint: mount.mountpoint.clone(), record, read_only, state }
        })
        .collect();
    let here = registry::own_namespace();
    for record in records {
        if !record.lives || mounts.iter().any(|mount| record.is_shown_by(mount)) {
            continue;
        }
        let state = match record.namespace == here || record.namespace == 0 {
            true => State::Detached,
            false => State::Elsewhere,
        };
        let (mountpoint, read_only) = (record.mountpoint.clone(), !record.writable);
        rows.push(Row { mountpoint, record: Some(record), read_only, state });
    }
    rows
}

/// A path for the terminal.
fn shown(path: &Path) -> String {
    exit::shown(&path.to_string_lossy())
}

fn table(rows: &[Row], verbose: bool) -> String {
    let mut out = String::new();
    for row in rows {
        let mode = if row.read_only { "read-only" } else { "read-write" };
        // Writing to a string does not fail.
        let _ = match &row.record {
            Some(record) => writeln!(
                out,
                "{}\n  base     {}\n  storage  {}\n  {mode}, process {}, since {}",
                shown(&row.mountpoint),
                shown(&record.base),
                shown(&record.storage),
                record.pid,
                utc(record.since),
            ),
            None => writeln!(out, "{}\n  {mode}", shown(&row.mountpoint)),
        };
        let pid = row.record.as_ref().map_or(0, |record| record.pid);
        if let Some(advice) = row.state.advice(&shown(&row.mountpoint), pid) {
            let _ = writeln!(out, "  {advice}");
        }
        if let Some(record) = row.record.as_ref().filter(|_| verbose) {
            out += &details(&record.report);
        }
    }
    out
}

fn table_of_runs(runs: &[run::list::Row]) -> String {
    runs.iter().fold(String::new(), |mut out, row| {
        let note = &row.note;
        let words = note.command.iter().map(|word| String::from_utf8_lossy(&word.0));
        let state = if row.is_running { "running" } else { "kept" };
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "{}\n  base     {}\n  storage  {}\n  {state}, {}, since {}: {}",
            exit::shown(&row.name),
            exit::shown(&String::from_utf8_lossy(&note.base.0)),
            shown(&row.dir),
            size(row.bytes),
            utc(note.since),
            exit::shown(&words.collect::<Vec<_>>().join(" ")),
        );
        out
    })
}

/// What the mount got from the system. A daemon of an older version did not
/// write it down.
fn details(report: &Report) -> String {
    let lines = [
        ("requests", &report.transport),
        ("data", &report.data),
        ("features", &report.capabilities),
        ("unused", &report.advice),
    ];
    let known = lines.into_iter().filter(|(_, value)| !value.is_empty());
    known.fold(String::new(), |out, (name, value)| out + &format!("  {name:<8} {value}\n"))
}

fn array(rows: &[Row], runs: &[run::list::Row]) -> String {
    let mut items = Vec::new();
    for row in rows {
        let mut item = format!("{{{}", path("mountpoint", &row.mountpoint));
        // Writing to a string does not fail.
        let (read_only, state) = (row.read_only, row.state.word());
        let _ = write!(item, ",\"read_only\":{read_only},\"state\":\"{state}\"");
        if let Some(record) = &row.record {
            let _ = write!(
                item,
                ",{},{},\"pid\":{},\"since\":{}",
                path("base", &record.base),
                path("storage", &record.storage),
                record.pid,
                quoted(&utc(record.since)),
            );
            let report = &record.report;
            let _ = write!(
                item,
                ",\"transport\":{},\"data\":{},\"features\":{},\"unused\":{}",
                quoted(&report.transport),
                quoted(&report.data),
                quoted(&report.capabilities),
                quoted(&report.advice),
            );
        }
        items.push(item + "}");
    }
    for row in runs {
        let state = if row.is_running { "running" } else { "kept" };
        items.push(format!(
            "{{{},\"read_only\":false,\"state\":\"{state}\",\"run\":{},{},{},\"bytes\":{},\"since\":{}}}",
            path("mountpoint", Path::new("/")),
            quoted(&row.name),
            json::bytes("base", &row.note.base.0),
            path("storage", &row.dir),
            row.bytes,
            quoted(&utc(row.note.since)),
        ));
    }
    format!("[{}]\n", items.join(","))
}

/// A member that is a path.
fn path(name: &str, path: &Path) -> String {
    json::bytes(name, path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let record = Record {
            pid: 12,
            base: "/b".into(),
            storage: "/s".into(),
            since: 0,
            report: Report { transport: "io_uring".into(), ..Report::default() },
            ..Record::default()
        };
        let mountpoint = "/m \"x\"\n".into();
        Row { mountpoint, record: Some(record), read_only: false, state: State::Live }
    }

    #[test]
    fn json_is_json() {
        let rows = [
            row(),
            Row {
                record: None,
                read_only: true,
                mountpoint: "/n".into(),
                state: State::Foreign(Some(7)),
            },
        ];
        assert_eq!(
            array(&rows, &[]),
            "[{\"mountpoint\":\"/m \\\"x\\\"\\u000a\",\"read_only\":false,\"state\":\"live\",\"base\":\"/b\",\
             \"storage\":\"/s\",\"pid\":12,\"since\":\"1970-01-01T00:00:00Z\",\
             \"transport\":\"io_uring\",\"data\":\"\",\"features\":\"\",\"unused\":\"\"},\
             {\"mountpoint\":\"/n\",\"read_only\":true,\"state\":\"foreign\"}]\n"
        );
        assert_eq!(array(&[], &[]), "[]\n");
    }

    #[test]
    fn paths_cannot_forge_lines() {
        assert_eq!(shown(Path::new("/a\nb")), "/a\\012b");
        let told = "1970-01-01T00:00:00Z\n  requests io_uring\n";
        assert!(table(&[row()], true).ends_with(told));
        assert!(table(&[row()], false).contains("  storage  /s\n"));
    }
}
