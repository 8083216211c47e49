//! The switch of the kernel's fuse module for io_uring.

use std::fs;
use std::io;

const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

/// It is on; dropped, it is what it was.
pub struct Uring {
    was: String,
}

impl Uring {
    /// Switches it on.
    ///
    /// # Errors
    /// The kernel has no such switch (before 6.14), or this is not root.
    pub fn on() -> io::Result<Uring> {
        let was = fs::read_to_string(SWITCH)?.trim().to_owned();
        if was != "Y" {
            fs::write(SWITCH, "Y")?;
        }
        Ok(Uring { was })
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if self.was != "Y"
            && let Err(error) = fs::write(SWITCH, &self.was)
        {
            eprintln!("cannot switch io_uring back: {error}");
        }
    }
}
