//! What is told while the system starts: to the kernel's log, which the console
//! shows and dmesg(1) keeps.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::Write;

use crate::exit::shown;

/// Tells how it goes; with `quiet` it is in the log only.
pub fn say(text: impl fmt::Display) {
    tell(5, &text.to_string());
}

/// Tells what goes wrong; this shows also with `quiet`.
pub fn warn(text: impl fmt::Display) {
    tell(3, &text.to_string());
}

fn tell(level: u8, text: &str) {
    for line in text.lines() {
        let line = shown(line);
        // The kernel takes no line that is longer than 976 bytes.
        let line: String = line.chars().take(240).collect();
        let told = File::options()
            .write(true)
            .open("/dev/kmsg")
            .and_then(|mut log| log.write_all(format!("<{level}>mini_fo: {line}\n").as_bytes()));
        if told.is_err() {
            // Nobody may be listening there either.
            let _ = writeln!(std::io::stderr(), "mini_fo: {line}");
        }
    }
}
