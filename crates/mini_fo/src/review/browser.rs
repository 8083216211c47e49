//! Opening the browser.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::secret::secret;

/// A file that leads to the address, and goes when this goes.
pub struct Opened(PathBuf, Option<Child>);

impl Drop for Opened {
    fn drop(&mut self) {
        // Its token is of no use any more.
        let _ = fs::remove_file(&self.0);
        let _ = self.1.as_mut().map(Child::try_wait);
    }
}

/// Opens the browser, if there is a display. That does not succeed everywhere, so nothing is
/// said of it: the address is on the terminal.
///
/// The command line of a program can be read by all users of the machine. So the browser
/// gets a file that leads to the address, which only this user can read.
pub fn open(address: &str) -> Option<Opened> {
    let has = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !has("DISPLAY") && !has("WAYLAND_DISPLAY") {
        return None;
    }
    let dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir());
    let name = format!("mini_fo-review-{}.html", secret().ok()?);
    let path = dir.unwrap_or_else(std::env::temp_dir).join(name);
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&path).ok()?;
    let mut opened = Opened(path, None);
    let page = format!(
        "<!doctype html><meta charset=utf-8><title>mini_fo review</title>\
         <meta http-equiv=refresh content=\"0;url={address}\">\n"
    );
    file.write_all(page.as_bytes()).ok()?;
    let none = Stdio::null;
    let mut command = Command::new("xdg-open");
    command.arg(&opened.0).stdin(none()).stdout(none()).stderr(none());
    opened.1 = Some(command.spawn().ok()?);
    Some(opened)
}
