//! Switching io_uring on in the kernel's fuse module while tests need it.

use std::fs;
use std::sync::Mutex;

use fuse_server::ENABLE_URING;

/// How many tests need it, and what it was before.
static USERS: Mutex<(usize, String)> = Mutex::new((0, String::new()));

/// Rings are allowed while this lives.
pub struct Allowed(());

impl Allowed {
    /// `None`, with the reason printed, where that cannot be.
    pub fn new() -> Option<Allowed> {
        let mut users = USERS.lock().unwrap();
        if users.0 == 0 {
            let before = match fs::read_to_string(ENABLE_URING) {
                Ok(before) => before,
                Err(error) => {
                    println!("skipped: no FUSE over io_uring in this kernel: {error}");
                    return None;
                }
            };
            if before.trim() != "Y"
                && let Err(error) = fs::write(ENABLE_URING, "Y")
            {
                println!("skipped: {ENABLE_URING} is N and cannot be changed: {error}");
                return None;
            }
            users.1 = before;
        }
        users.0 += 1;
        Some(Allowed(()))
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        let mut users = USERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        users.0 -= 1;
        if users.0 == 0 && users.1.trim() != "Y" {
            let _ = fs::write(ENABLE_URING, users.1.trim());
        }
    }
}
