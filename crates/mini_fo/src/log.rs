//! Where log lines go: standard error, a file, or the system log.
//!
//! A `tracing` subscriber of few lines: spans are not used, an event is a
//! line.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use mini_fo_core::procfs;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::daemon;
use crate::exit::shown;

/// Where lines go.
pub enum Sink {
    /// Standard error, for the foreground.
    Stderr,
    /// A file, each line with time and process number.
    File(File),
    /// syslog(3), facility "daemon".
    Syslog(SystemLog),
    /// There is no system log.
    Nowhere,
}

impl Sink {
    /// Opens a file for appending, mode 0600 if it is new.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn file(path: &Path) -> io::Result<Sink> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = File::options();
        options.append(true).create(true).mode(0o600).open(path).map(Sink::File)
    }

    /// Connects to the system log, if there is one.
    pub fn syslog() -> Sink {
        SystemLog::connect().map_or(Sink::Nowhere, Sink::Syslog)
    }

    /// Writes a line. A log that cannot be written is no reason to fail.
    fn put(&mut self, level: Level, text: &str) {
        let pid = std::process::id();
        let _ = match self {
            Sink::Nowhere => Ok(()),
            Sink::Stderr => writeln!(io::stderr(), "mini_fo: {text}"),
            Sink::File(file) => {
                let line = format!("{} mini_fo[{pid}]: {level}: {text}\n", utc_now());
                file.write_all(line.as_bytes())
            }
            Sink::Syslog(log) => {
                log.send(format!("<{}>mini_fo[{pid}]: {text}", priority(level)).as_bytes())
            }
        };
    }
}

/// The socket of the system log, and where it lies: another one takes its name when
/// the log is started again, and by then paths may lead into the mount.
pub struct SystemLog {
    socket: UnixDatagram,
    directory: OwnedFd,
    name: OsString,
}

impl SystemLog {
    fn connect() -> io::Result<SystemLog> {
        let path = Path::new("/dev/log").canonicalize()?;
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let socket = connected(&path)?;
        let directory = daemon::hold_directory(directory)?;
        Ok(SystemLog { socket, directory, name: name.to_owned() })
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        match self.socket.send(line) {
            // The system log was restarted.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                let directory = procfs::path_of_descriptor(self.directory.as_fd());
                self.socket = connected(&Path::new(&directory).join(&self.name))?;
                self.socket.send(line).map(drop)
            }
            other => other.map(drop),
        }
    }
}

fn connected(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    // A log that does not read must not stop the mount.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Facility "daemon" (3) and severity, as syslog(3) packs them.
fn priority(level: Level) -> u32 {
    let severity = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    };
    3 << 3 | severity
}

/// The time as `2005-06-07T08:09:10Z`.
fn utc_now() -> String {
    utc(crate::registry::now())
}

/// Seconds since 1970 as `2005-06-07T08:09:10Z`.
pub fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March: the leap day is the last of the year. Day 0
    // is 0000-03-01.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day = shifted % 146_097;
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The subscriber.
struct Log {
    most: Level,
    sinks: Mutex<Sinks>,
}

struct Sinks {
    main: Sink,
    /// Until the mount is usable: warnings also go where the user looks.
    echo: bool,
}

/// The log that [`install`] set up; tells it that nobody watches any more.
pub struct Control(&'static Log);

impl Control {
    /// The user's terminal is left: lines go to the log alone.
    pub fn detach(&self) {
        self.0.sinks.lock().echo = false;
    }
}

/// Sends all log lines to `sink`, those above `verbose`'s measure left out.
/// Until [`Control::detach`] warnings also go to standard error.
///
/// A panic is logged as well. Call it once.
pub fn install(sink: Sink, verbose: bool) -> Control {
    let most = if verbose { Level::DEBUG } else { Level::INFO };
    let echo = !matches!(sink, Sink::Stderr);
    let sinks = Mutex::new(Sinks { main: sink, echo });
    let log: &'static Log = Box::leak(Box::new(Log { most, sinks }));
    if tracing::subscriber::set_global_default(log).is_err() {
        log.write(Level::WARN, "the log was set up twice");
    }
    std::panic::set_hook(Box::new(|info| log.write(Level::ERROR, &info.to_string())));
    Control(log)
}

impl Log {
    fn write(&self, level: Level, text: &str) {
        let text = &shown(text);
        let mut sinks = self.sinks.lock();
        sinks.main.put(level, text);
        if sinks.echo && level <= Level::WARN {
            Sink::Stderr.put(level, text);
        }
    }
}

impl Subscriber for &'static Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.most.into())
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.write(*event.metadata().level(), &format!("{}{}", line.message, line.fields));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// An event as text: its message, then ` name=value` of each field.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_date() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_118_131_750), "2005-06-07T08:09:10Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31T23:59:59Z");
    }

    #[test]
    fn priorities_are_those_of_syslog() {
        assert_eq!(priority(Level::ERROR), 27);
        assert_eq!(priority(Level::TRACE), 31);
    }
}
