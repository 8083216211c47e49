//! Where text goes: to standard output, or on a terminal through a pager, in colours.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::{Child, Command, Stdio};

use crate::cli::args::{ColorWhen, ShowArgs};
use crate::control::wire::COMPLAINT;
use crate::exit::{Failure, code};

/// Bytes that are kept back at most.
const BUFFER: usize = 64 * 1024;

/// A colour, as terminals take them.
#[derive(Clone, Copy, Debug)]
pub enum Color {
    Red,
    Green,
    Yellow,
    Cyan,
    Bold,
}

/// The way to who reads.
pub struct Out<'a> {
    to: Option<To<'a>>,
    pager: Option<Child>,
    colored: bool,
    /// Nobody reads any more.
    closed: bool,
    error: Option<io::Error>,
}

enum To<'a> {
    Here(BufWriter<Box<dyn Write + 'a>>),
    /// To a command that asks the daemon, which is this process.
    Asker(BufWriter<Parts<'a>>),
}

impl To<'_> {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            To::Here(to) => to,
            To::Asker(to) => to,
        }
    }
}

/// Text as parts of an answer.
struct Parts<'a>(&'a mut dyn Write);

impl Parts<'_> {
    fn part(&mut self, bytes: &[u8], flag: u32) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.0.write_all(&(len | flag).to_ne_bytes())?;
        self.0.write_all(bytes)
    }
}

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.get(..BUFFER).unwrap_or(bytes);
        if !bytes.is_empty() {
            self.part(bytes, 0)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> Out<'a> {
    /// Into an answer of the daemon.
    pub fn into_answer(answer: &'a mut dyn Write, colored: bool) -> Out<'a> {
        let to = To::Asker(BufWriter::with_capacity(BUFFER, Parts(answer)));
        Out { to: Some(to), pager: None, colored, closed: false, error: None }
    }

    /// To a part of this program, as programs get it.
    pub fn into_program(taker: &'a mut dyn Write) -> Out<'a> {
        let to = To::Here(BufWriter::with_capacity(BUFFER, Box::new(taker)));
        Out { to: Some(to), pager: None, colored: false, closed: false, error: None }
    }

    /// Whether it is for a terminal that has colours.
    pub fn is_colored(&self) -> bool {
        self.colored
    }

    /// Tells of trouble where errors go. What cannot be told shows in the exit code.
    pub fn complain(&mut self, text: &[u8]) {
        let _ = match &mut self.to {
            Some(To::Asker(to)) => to.flush().and_then(|()| to.get_mut().part(text, COMPLAINT)),
            _ => io::stderr().write_all(text),
        };
    }

    /// For people, or for programs, which get neither colours nor a pager.
    pub fn new(show: &ShowArgs, for_programs: bool) -> Out<'static> {
        let terminal = io::stdout().is_terminal();
        let colored = match show.color {
            ColorWhen::Always => !for_programs,
            ColorWhen::Never => false,
            ColorWhen::Auto => {
                let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                terminal && !for_programs && !refused && !dumb
            }
        };
        let paged = terminal && !for_programs && !show.no_pager;
        let pager = if paged { pager(std::env::var_os("PAGER")).and_then(spawn) } else { None };
        let (to, pager): (Box<dyn Write>, _) = match pager {
            Some((input, child)) => (Box::new(input), Some(child)),
            None => (Box::new(io::stdout()), None),
        };
        let to = To::Here(BufWriter::with_capacity(BUFFER, to));
        Out { to: Some(to), pager, colored, closed: false, error: None }
    }

    /// Writes bytes. `false`: nobody reads any more, or it has failed, which
    /// [`Out::finish`] tells.
    pub fn put(&mut self, bytes: &[u8]) -> bool {
        let Some(to) = self.to.as_mut().filter(|_| !self.closed) else { return false };
        if let Err(error) = to.writer().write_all(bytes) {
            self.closed = true;
            self.error = Some(error);
        }
        !self.closed
    }

    /// Writes bytes in a colour.
    pub fn put_colored(&mut self, color: Color, bytes: &[u8]) -> bool {
        if !self.colored {
            return self.put(bytes);
        }
        let code: &[u8] = match color {
            Color::Red => b"\x1b[31m",
            Color::Green => b"\x1b[32m",
            Color::Yellow => b"\x1b[33m",
            Color::Cyan => b"\x1b[36m",
            Color::Bold => b"\x1b[1m",
        };
        self.put(code) && self.put(bytes) && self.put(b"\x1b[m")
    }

    /// Waits until all is read.
    ///
    /// # Errors
    /// It could not be written (a full disk). A reader that has seen enough is no error.
    pub fn finish(mut self) -> Result<(), Failure> {
        if let Some(mut to) = self.to.take()
            && let Err(error) = to.writer().flush()
        {
            self.error = self.error.take().or(Some(error));
        }
        if let Some(mut pager) = self.pager.take() {
            // Its end says nothing of ours.
            let _ = pager.wait();
        }
        match self.error.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new(code::FAILURE, format!("standard output: {error}")))
            }
            _ => Ok(()),
        }
    }
}

/// The pager to be started; `None`: the user wants none.
fn pager(wanted: Option<OsString>) -> Option<OsString> {
    let pager = wanted.unwrap_or_else(|| "less".into());
    (!pager.is_empty() && pager != "cat").then_some(pager)
}

/// Starts a pager, as git does: `less` ends by itself if all fits on the screen.
fn spawn(pager: OsString) -> Option<(std::process::ChildStdin, Child)> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(&pager).stdin(Stdio::piped());
    for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    if !is_there(&pager) {
        return None;
    }
    let mut child = command.spawn().ok()?;
    let input = child.stdin.take()?;
    Some((input, child))
}

/// Its program can be found; else the text goes to the terminal as it is.
fn is_there(pager: &OsStr) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let first = pager.as_bytes().split(|byte| byte.is_ascii_whitespace()).next();
    let Some(first) = first.map(OsStr::from_bytes).filter(|first| !first.is_empty()) else {
        return false;
    };
    let plain = first.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(b));
    if !plain {
        // The shell will know.
        return true;
    }
    let mut dirs = std::env::var_os("PATH").unwrap_or_default();
    if first.as_bytes().contains(&b'/') {
        dirs = "/".into();
    }
    std::env::split_paths(&dirs).any(|dir| dir.join(first).is_file())
}

/// A word as a shell takes it.
pub fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%=".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut shown = String::new();
    for unit in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        value /= 1024.0;
        let digits = usize::from(value < 99.95);
        shown = format!("{value:.digits$} {unit}");
        if value < 1023.95 {
            break;
        }
    }
    shown
}

/// Gives lines on, one at a time.
pub struct Lines<'a> {
    each: &'a mut dyn FnMut(&str),
    begun: Vec<u8>,
}

impl<'a> Lines<'a> {
    /// Each comes without its end.
    pub fn new(each: &'a mut dyn FnMut(&str)) -> Lines<'a> {
        Lines { each, begun: Vec::new() }
    }
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if let Some(line) = self.begun.strip_suffix(b"\n") {
                (self.each)(&String::from_utf8_lossy(line));
                self.begun.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let shown = [0, 1023, 1024, 1536, 100 << 10, 1 << 20, (1 << 20) - 1, u64::MAX].map(size);
        let expected =
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "100 KiB", "1.0 MiB", "1.0 MiB", "16.0 EiB"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_pager_is_the_user_s() {
        assert_eq!(pager(None), Some("less".into()));
        assert_eq!(pager(Some("".into())), None);
        assert_eq!(pager(Some("cat".into())), None);
        assert_eq!(pager(Some("more -s".into())), Some("more -s".into()));
        assert!(is_there(OsStr::new("sh -x")) && is_there(OsStr::new("/bin/sh")));
        assert!(!is_there(OsStr::new("no-such-pager -x")));
    }
}
