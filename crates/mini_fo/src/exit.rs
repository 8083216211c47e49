//! How the program ends: errors with their exit codes.
#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};

/// Exit codes, as the man pages list them.
pub mod code {
    /// Something failed that no other code names.
    pub const FAILURE: u8 = 1;
    /// Unknown or malformed arguments or options.
    pub const USAGE: u8 = 2;
    /// The base is missing, no directory, or cannot be read.
    pub const BASE: u8 = 3;
    /// The storage is missing, not writable, read-only or full.
    pub const STORAGE: u8 = 4;
    /// The storage is in use by another mount.
    pub const IN_USE: u8 = 5;
    /// The storage belongs to another base.
    pub const OTHER_BASE: u8 = 6;
    /// Base, storage and mount point lie inside each other.
    pub const NESTED: u8 = 7;
    /// The mount point is missing or no directory, or the system refuses to
    /// mount (no `/dev/fuse`, no right to).
    pub const MOUNT: u8 = 8;
    /// Not a mini_fo mount.
    pub const NOT_MOUNTED: u8 = 9;
    /// The mount is busy.
    pub const BUSY: u8 = 10;
    /// `mini_fo check` found something.
    pub const FOUND: u8 = 11;
    /// `mini_fo run` failed itself, as env(1), timeout(1) and chroot(1) do.
    pub const RUN: u8 = 125;
    /// The command of `mini_fo run` cannot be executed.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// The command of `mini_fo run` is not found.
    pub const NOT_FOUND: u8 = 127;
}

/// What each code means, for `--help` and the man pages.
pub const MEANINGS: &[(u8, &str)] = &[
    (0, "success"),
    (code::FAILURE, "something failed that no other code names"),
    (code::USAGE, "unknown or malformed arguments or options"),
    (code::BASE, "the base is missing, no directory, or cannot be read"),
    (code::STORAGE, "the storage is missing, not writable, read-only or full"),
    (code::IN_USE, "the storage is in use by another mount"),
    (code::OTHER_BASE, "the storage belongs to another base (see accept_base)"),
    (code::NESTED, "base, storage and mount point lie inside each other in a way that cannot work"),
    (
        code::MOUNT,
        "the mount point is missing or no directory, or the system refuses to mount \
         (no /dev/fuse, no right to)",
    ),
    (code::NOT_MOUNTED, "not a mini_fo mount"),
    (code::BUSY, "the mount is busy"),
    (code::FOUND, "mini_fo check found damage, or that the base has changed"),
];

/// What the codes of commands mean that compare, as those of diff(1).
pub const COMPARING: &[(u8, &str)] = &[
    (0, "nothing has changed"),
    (1, "something has changed"),
    (2, "trouble: what is to be compared, or a part of it, cannot be read"),
];

/// What the codes of `mini_fo discard` mean.
pub const DISCARDING: &[(u8, &str)] = &[
    (0, "nothing is left to be discarded; with --dry-run: nothing would go"),
    (1, "the answer was no, and nothing has gone; with --dry-run: something would go"),
    (
        2,
        "trouble: nothing can be discarded, or something could not; or content would be lost, \
         there is no terminal to ask at, and no --yes",
    ),
];

/// What the codes of `mini_fo run` mean.
pub const RUNNING: &[(u8, &str)] = &[
    (code::RUN, "mini_fo itself failed; the command was not run, or its changes stay as they are"),
    (code::NOT_EXECUTABLE, "the command is found and cannot be executed"),
    (code::NOT_FOUND, "the command is not found"),
];

/// What the codes of `mini_fo commit` mean.
pub const COMMITTING: &[(u8, &str)] = &[
    (0, "done, or there is nothing to be committed"),
    (
        1,
        "nothing was committed, and it is for you to decide: the answer was no, the base has \
         something else than what changes were made from (--ours, --theirs), or something has \
         changed during the question; with --dry-run: \
         something would be committed",
    ),
    (
        2,
        "trouble: it cannot be committed, and the base is as it was unless the message says \
         otherwise; or there is no terminal to ask at, and no --yes",
    ),
];

/// What the codes of a command mean.
pub fn meanings_of(command: &str) -> &'static [(u8, &'static str)] {
    match command {
        "status" | "diff" => COMPARING,
        "discard" => DISCARDING,
        "run" => RUNNING,
        "commit" | "mini_fo-merge" => COMMITTING,
        _ => MEANINGS,
    }
}

/// The exit codes of a command; empty: all.
pub fn codes_of(command: &str) -> &'static [u8] {
    use code::{
        BASE, BUSY, FAILURE, FOUND, IN_USE, MOUNT, NESTED, NOT_MOUNTED, OTHER_BASE, STORAGE, USAGE,
    };
    match command {
        "mount" | "mini_fo-overlay" => &[
            0,
            FAILURE,
            USAGE,
            BASE,
            STORAGE,
            IN_USE,
            OTHER_BASE,
            NESTED,
            MOUNT,
            NOT_MOUNTED,
            BUSY,
        ],
        "umount" => &[0, FAILURE, USAGE, NOT_MOUNTED, BUSY],
        "review" => &[0, FAILURE, USAGE, BASE, STORAGE, IN_USE, OTHER_BASE, NESTED],
        "rm" => &[0, FAILURE, USAGE, IN_USE],
        "list" | "init" => &[0, FAILURE, USAGE],
        "shutdown" => &[0, FAILURE, USAGE, BUSY],
        "du" => &[0, FAILURE, USAGE, STORAGE],
        "check" => &[0, FAILURE, USAGE, BASE, STORAGE, IN_USE, NESTED, FOUND],
        _ => &[],
    }
}

/// The exit codes of a command, for `--help`.
pub fn help(command: &str) -> String {
    let only = codes_of(command);
    let shown =
        meanings_of(command).iter().filter(|(code, _)| only.is_empty() || only.contains(code));
    shown.fold("Exit codes:\n".to_owned(), |out, (code, meaning)| {
        out + &entry(&format!("{code:>4}  "), meaning)
    })
}

/// A term and its meaning, the lines of which begin below each other.
pub fn entry(term: &str, meaning: &str) -> String {
    const WIDTH: usize = 78;
    let indent = if term.ends_with('\n') { 10 } else { term.len() };
    let mut out = term.to_owned();
    let mut column = if term.ends_with('\n') { 0 } else { indent };
    for word in meaning.split_whitespace() {
        if column > indent && column + 1 + word.len() > WIDTH {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out += &" ".repeat(indent);
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += word.len();
    }
    out + "\n"
}

/// What mount(8) expects of a helper.
#[allow(dead_code, reason = "for docgen alone")]
pub const HELPER_MEANINGS: &[(u8, &str)] = &[
    (0, "success"),
    (1, "incorrect invocation, or no right to mount"),
    (2, "system error (no /dev/fuse, no memory, cannot fork)"),
    (32, "the mount failed"),
];

/// An error on its way to the user.
#[derive(Debug)]
pub struct Failure {
    /// Exit code of `mini_fo`.
    pub code: u8,
    /// What happened, and where possible what to do.
    pub message: String,
    /// Lines that say how it is done.
    pub usage: Option<&'static str>,
    /// Of further failures of the same command.
    more: Vec<String>,
}

impl Failure {
    /// An error with its exit code.
    pub fn new(code: u8, message: impl fmt::Display) -> Failure {
        Failure { code, message: message.to_string(), usage: None, more: Vec::new() }
    }

    /// The exit code alone, which tells something else than a failure.
    pub fn silent(code: u8) -> Failure {
        Failure::new(code, "")
    }

    /// There is nothing to say.
    pub fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    /// Another part of the command has failed as well: the exit code stays.
    pub fn and(&mut self, other: &Failure) {
        self.more.push(other.message.clone());
    }

    /// An unusable command line, with how a usable one looks.
    pub fn usage(message: &str, usage: &'static str) -> Failure {
        Failure { usage: Some(usage), ..Failure::new(code::USAGE, message) }
    }

    /// The code that mount(8) expects of a helper.
    pub fn helper_code(&self) -> u8 {
        match self.code {
            0 => 0,
            code::USAGE => 1,
            code::FAILURE => 2,
            _ => 32,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.message))?;
        self.more.iter().try_for_each(|more| write!(f, "\nmini_fo: {}", shown(more)))?;
        self.usage.map_or(Ok(()), |usage| write!(f, "\n{usage}"))
    }
}

/// A line for a log or a terminal: control characters, which a name may hold, as
/// mountinfo writes them. They would forge further lines, or steer the terminal.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a string does not fail.
        let _ = match c.is_control() {
            true => write!(out, "\\{:03o}", u32::from(c)),
            false => out.write_char(c),
        };
    }
    out
}

impl From<crate::options::OptionError> for Failure {
    fn from(error: crate::options::OptionError) -> Failure {
        Failure::new(code::USAGE, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_the_codes() {
        let text = help("umount");
        assert!(text.starts_with("Exit codes:\n   0  success\n   1  something failed"), "{text}");
        assert!(text.contains("\n  10  the mount is busy\n") && !text.contains("\n   3"), "{text}");
        assert!(help("").contains(
            "
  11  mini_fo check"
        ));
        assert_eq!(
            entry("a  ", &"b ".repeat(50)).lines().nth(1).unwrap(),
            format!("   {}", "b ".repeat(12).trim())
        );
    }

    #[test]
    fn no_name_makes_a_line() {
        let name = "a\nmini_fo: ERROR: \u{1b}[31m\u{9b}\u{7f} é";
        let line = "a\\012mini_fo: ERROR: \\033[31m\\233\\177 é";
        assert_eq!(shown(name), line);
        assert_eq!(Failure::new(1, name).to_string(), line);
        assert_eq!(Failure::usage("a\nb", "How:\n x").to_string(), "a\\012b\nHow:\n x");
    }
}
