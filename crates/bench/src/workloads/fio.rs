//! Data of large files, as fio reads and writes them.

use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::client;
use crate::rows::{Scene, Size};
use crate::stages::Group;
use crate::systems::{succeed, which};

const READ: [&str; 4] = [
    "read 128 KiB in order, cold",
    "read 128 KiB in order, warm",
    "read 4 KiB at random, cold",
    "read 4 KiB at random, warm",
];
const WRITE: [&str; 4] = [
    "write 128 KiB in order, base file",
    "write 128 KiB in order, copied file",
    "write 4 KiB at random, base file",
    "write 4 KiB at random, copied file",
];

/// The rows.
pub static GROUPS: [Group; 2] = [
    Group { rows: &READ, run: |scene| series(scene, &READ, "read") },
    Group { rows: &WRITE, run: |scene| series(scene, &WRITE, "write") },
];

/// The file that is accessed at random is this part of the other one, so that
/// every block of it is met in each job, and the second one finds them all.
const PART: usize = 4;

/// Makes the files.
///
/// # Errors
/// What the file system says.
pub fn make(base: &Path, size: &Size) -> io::Result<()> {
    std::fs::create_dir_all(base)?;
    crate::tree::fill(&base.join("in-order"), size.fio)?;
    crate::tree::fill(&base.join("random"), size.fio / PART)
}

/// Four jobs, one after the other, by one fio, which takes its time to begin:
/// one file in order, twice, then another one at random, twice.
fn series(scene: &mut Scene, rows: &[&'static str; 4], direction: &str) -> io::Result<()> {
    if which("fio").is_none() {
        return client::skip("fio", "it is not installed");
    }
    client::have_forgotten(3)?;
    let size = scene.job.size.fio;
    let mut fio = Command::new("fio");
    // Threads need no shared memory; the daemon sees one client either way.
    fio.args(["--ioengine=psync", "--thread", "--output-format=json", "--invalidate=0"]);
    fio.args(["--fallocate=none", "--allow_file_create=0", "--randseed=7"]);
    for (n, row) in rows.iter().enumerate() {
        let (file, prefix, block, part) =
            if n < 2 { ("in-order", "", "128k", 1) } else { ("random", "rand", "4k", PART) };
        fio.arg(format!("--name={row}")).arg("--stonewall").arg(format!("--bs={block}"));
        fio.arg(format!("--rw={prefix}{direction}"));
        fio.arg(format!("--filename={}", scene.at(file).display()));
        fio.arg(format!("--size={}", size / part));
    }
    let said = succeed(fio.current_dir(&scene.job.home))?;
    for (n, row) in rows.iter().enumerate() {
        let Some(micros) = latency(&said, n, direction) else {
            return Err(io::Error::other(format!("fio did not say how long '{row}' took")));
        };
        client::report(row, micros)?;
    }
    Ok(())
}

/// The mean latency of a job in what fio says, in microseconds.
fn latency(said: &[u8], job: usize, direction: &str) -> Option<f64> {
    // Warnings may stand before the object.
    let start = said.iter().position(|&byte| byte == b'{')?;
    let said: Value = serde_json::from_slice(said.get(start..)?).ok()?;
    let nanos = said["jobs"].get(job)?[direction]["lat_ns"]["mean"].as_f64()?;
    (nanos > 0.0).then_some(nanos / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latency_is_found() {
        let said = b"note: x\n{\"jobs\":[{\"read\":{\"lat_ns\":{\"mean\":1500.0}}}]}";
        assert_eq!(latency(said, 0, "read"), Some(1.5));
        assert_eq!(latency(said, 0, "write"), None);
        assert_eq!(latency(said, 1, "read"), None);
        assert_eq!(latency(b"", 0, "read"), None);
    }
}
