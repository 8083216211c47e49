//! Switching io_uring on in the kernel's fuse module while mounts need it.

use std::fs;
use std::sync::Mutex;

use crate::common::skip;

const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

/// How many mounts need it, and what it was before.
static USERS: Mutex<(usize, String)> = Mutex::new((0, String::new()));

/// Rings are allowed while this lives.
pub struct Rings(());

impl Rings {
    /// None, with a line saying why, where that cannot be.
    pub fn new() -> Option<Rings> {
        let mut users = USERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if users.0 == 0 {
            let before = fs::read_to_string(SWITCH);
            let Ok(before) = before.inspect_err(|error| skip(&format!("{SWITCH}: {error}"))) else {
                return None;
            };
            if before.trim() != "Y"
                && let Err(error) = fs::write(SWITCH, "Y")
            {
                skip(&format!("{SWITCH} is N and cannot be changed: {error}"));
                return None;
            }
            users.1 = before;
        }
        users.0 += 1;
        Some(Rings(()))
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        let mut users = USERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        users.0 -= 1;
        if users.0 == 0 && users.1.trim() != "Y" {
            let _ = fs::write(SWITCH, users.1.trim());
        }
    }
}
