//! Data of large files, as fio reads and writes them.

use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::client;
use crate::rows::{Scene, Size};
use crate::stages::Group;
use crate::systems::{succeed, which};

const SEQUENTIAL: [&str; 4] = [
    "read 128 KiB in order, cold",
    "read 128 KiB in order, warm",
    "write 128 KiB in order, base file",
    "write 128 KiB in order, copied file",
];
const RANDOM: [&str; 4] = [
    "read 4 KiB at random, cold",
    "read 4 KiB at random, warm",
    "write 4 KiB at random, base file",
    "write 4 KiB at random, copied file",
];

/// The rows.
pub static GROUPS: [Group; 2] = [
    Group { rows: &SEQUENTIAL, run: |scene| series(scene, &SEQUENTIAL, "in-order", "", "128k") },
    Group { rows: &RANDOM, run: |scene| series(scene, &RANDOM, "random", "rand", "4k") },
];

/// Of a file that is accessed at random, this part of it is.
const SAMPLE: usize = 8;

/// Makes the files.
///
/// # Errors
/// What the file system says.
pub fn make(base: &Path, size: &Size) -> io::Result<()> {
    std::fs::create_dir_all(base)?;
    ["in-order", "random"].iter().try_for_each(|name| crate::tree::fill(&base.join(name), size.fio))
}

fn series(
    scene: &mut Scene,
    rows: &[&'static str; 4],
    file: &str,
    prefix: &str,
    block: &str,
) -> io::Result<()> {
    if which("fio").is_none() {
        return client::skip("fio", "it is not installed");
    }
    for (row, direction) in rows.iter().zip(["read", "read", "write", "write"]) {
        if row.ends_with("cold") || row.ends_with("base file") {
            client::have_forgotten(3)?;
        }
        let part = if prefix.is_empty() { 1 } else { SAMPLE };
        let mut fio = Command::new("fio");
        // Threads need no shared memory; the daemon sees one client either way.
        fio.args(["--name=row", "--ioengine=psync", "--thread", "--output-format=json"]);
        fio.args(["--invalidate=0", "--fallocate=none", "--allow_file_create=0"]);
        fio.args(["--randseed=7", "--allrandrepeat=1"]).arg(format!("--bs={block}"));
        fio.arg(format!("--rw={prefix}{direction}"));
        fio.arg(format!("--filename={}", scene.at(file).display()));
        fio.arg(format!("--size={}", scene.job.size.fio));
        fio.arg(format!("--io_size={}", scene.job.size.fio / part));
        let said = succeed(fio.current_dir(&scene.job.home))?;
        let Some(micros) = latency(&said, direction) else {
            return Err(io::Error::other("fio did not say how long it took"));
        };
        client::report(row, micros)?;
    }
    Ok(())
}

/// The mean latency in what fio says, in microseconds.
fn latency(said: &[u8], direction: &str) -> Option<f64> {
    // Warnings may stand before the object.
    let start = said.iter().position(|&byte| byte == b'{')?;
    let said: Value = serde_json::from_slice(said.get(start..)?).ok()?;
    let nanos = said["jobs"].get(0)?[direction]["lat_ns"]["mean"].as_f64()?;
    (nanos > 0.0).then_some(nanos / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latency_is_found() {
        let said = b"note: x\n{\"jobs\":[{\"read\":{\"lat_ns\":{\"mean\":1500.0}}}]}";
        assert_eq!(latency(said, "read"), Some(1.5));
        assert_eq!(latency(said, "write"), None);
        assert_eq!(latency(b"", "read"), None);
    }
}
