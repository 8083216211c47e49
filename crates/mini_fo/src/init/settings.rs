//! What `mini_fo init` is told: words `mini_fo.KEY=VALUE` of the kernel's
//! command line, and lines `KEY=VALUE` of a file on the root.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

/// Where the file is, in the root.
pub const FILE: &str = "etc/mini_fo.conf";

/// How long to wait for a device, if nothing else is said.
const WAIT: Duration = Duration::from_secs(10);

/// What to run on when the storage cannot be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The root as it is.
    #[default]
    Plain,
    /// An overlay whose changes go to memory.
    Tmpfs,
}

/// Whether file systems are checked before they are mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsck {
    /// What can be repaired without risk is repaired (`fsck -a`).
    #[default]
    Auto,
    /// Everything is repaired, whatever it costs (`fsck -y`).
    Yes,
    /// They are not.
    No,
}

/// When the storage is to be emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    /// Not.
    #[default]
    No,
    /// At this boot.
    Now,
    /// At the first boot that says this word.
    Once(String),
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where changes go; `None`: nobody has said.
    pub storage: Option<String>,
    /// What to run on without it.
    pub fallback: Fallback,
    /// How long to wait for its device.
    pub wait: Duration,
    /// How to check it.
    pub fsck: Fsck,
    /// Whether to empty it.
    pub reset: Reset,
    /// What a reset keeps, from the root of the tree.
    pub keep: Vec<PathBuf>,
    /// The tree cannot be changed during this boot.
    pub read_only: bool,
    /// Options of the overlay's mount.
    pub options: Vec<String>,
    /// What to run.
    pub init: Option<String>,
    /// What was said and means nothing.
    pub problems: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            storage: None,
            fallback: Fallback::default(),
            wait: WAIT,
            fsck: Fsck::default(),
            reset: Reset::default(),
            keep: Vec::new(),
            read_only: false,
            options: Vec::new(),
            init: None,
            problems: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads the file, then the command line, which wins. Nothing stops it:
    /// what means nothing is kept among the problems.
    pub fn read(file: Option<&str>, command_line: &str) -> Settings {
        let mut settings = Settings::default();
        for line in file.unwrap_or_default().lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            settings.take(key.trim(), unquote(value.trim()), &format!("/{FILE}: "));
        }
        for word in words(command_line) {
            // What follows is for init.
            if word == "--" {
                break;
            }
            if let Some(word) = word.strip_prefix("mini_fo.") {
                let (key, value) = word.split_once('=').unwrap_or((word, ""));
                settings.take(key, value, "mini_fo.");
            }
        }
        settings
    }

    fn take(&mut self, key: &str, value: &str, from: &str) {
        match (key, value) {
            ("storage", value) if !value.is_empty() => self.storage = Some(value.to_owned()),
            ("fallback", "plain") => self.fallback = Fallback::Plain,
            ("fallback", "tmpfs") => self.fallback = Fallback::Tmpfs,
            ("fsck", "auto") => self.fsck = Fsck::Auto,
            ("fsck", "yes") => self.fsck = Fsck::Yes,
            ("fsck", "no") => self.fsck = Fsck::No,
            ("reset", "") => self.reset = Reset::Now,
            ("reset", word) => self.reset = Reset::Once(word.to_owned()),
            ("ro", "") => self.read_only = true,
            ("options", value) if !value.is_empty() => self.options.push(value.to_owned()),
            ("init", value) if value.starts_with('/') => self.init = Some(value.to_owned()),
            ("keep", value) if keeps(value).is_some() => {
                self.keep.extend(keeps(value).unwrap_or_default());
            }
            ("wait", value) if value.parse::<u32>().is_ok() => {
                self.wait = Duration::from_secs(value.parse::<u32>().unwrap_or_default().into());
            }
            (key, value) => self.problems.push(complaint(from, key, value)),
        }
    }
}

/// Paths, separated by colons; `None` where one is not from the root or leads
/// elsewhere.
fn keeps(value: &str) -> Option<Vec<PathBuf>> {
    let paths = value.split(':').filter(|path| !path.is_empty());
    let paths: Vec<&str> = paths.map(|path| path.trim_end_matches('/')).collect();
    let is_good = |path: &&str| {
        path.starts_with('/') && path.split('/').all(|name| name != ".." && name != ".")
    };
    (!paths.is_empty() && paths.iter().all(is_good))
        .then(|| paths.into_iter().map(PathBuf::from).collect())
}

fn complaint(from: &str, key: &str, value: &str) -> String {
    let known = match key {
        "storage" => "a storage: tmpfs, LABEL=..., UUID=..., /dev/... or a directory",
        "fallback" => "plain or tmpfs",
        "fsck" => "auto, yes or no",
        "ro" => "no value",
        "options" => "mount options",
        "init" => "the path of a program",
        "keep" => "paths from the root, separated by colons",
        "wait" => "a number of seconds",
        _ => {
            return format!(
                "{from}{key}: there is no such setting; known are storage, fallback, wait, fsck, \
                 reset, keep, ro, options and init"
            );
        }
    };
    format!("{from}{key}={value}: not understood, {known} is wanted; it is passed over")
}

/// A value in double quotes, without them.
fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

/// The words of the kernel's command line. Blanks between double quotes belong
/// to a word, and quotes around a word or a value go away, as for the kernel.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = "# what this device has\n storage = \"LABEL=my data\"\nfallback=tmpfs\n\
                    keep=/etc/hostname:/home/\nwait=3\noptions=noatime\n";
        let settings = Settings::read(
            Some(file),
            "quiet root=/dev/vda ro mini_fo.wait=30 \
                    mini_fo.ro mini_fo.keep=/var mini_fo.init=/bin/sh -- mini_fo.reset\n",
        );
        let wanted = Settings {
            storage: Some("LABEL=my data".into()),
            fallback: Fallback::Tmpfs,
            wait: Duration::from_secs(30),
            keep: vec!["/etc/hostname".into(), "/home".into(), "/var".into()],
            read_only: true,
            options: vec!["noatime".into()],
            init: Some("/bin/sh".into()),
            ..Settings::default()
        };
        assert_eq!(settings, wanted);
    }

    #[test]
    fn quotes_as_the_kernel_reads_them() {
        let line = "a \"mini_fo.storage=LABEL=a b\" mini_fo.init=\"/bin/my init\" mini_fo.reset=7";
        let settings = Settings::read(None, line);
        assert_eq!(settings.storage.as_deref(), Some("LABEL=a b"));
        assert_eq!(settings.init.as_deref(), Some("/bin/my init"));
        assert_eq!(settings.reset, Reset::Once("7".into()));
        assert_eq!(Settings::read(None, "mini_fo.reset").reset, Reset::Now);
    }

    #[test]
    fn what_means_nothing_is_told_and_passed_over() {
        let line = "mini_fo.wait=soon mini_fo.fallback=no mini_fo.keep=etc mini_fo.keep=/a/../b \
                    mini_fo.storage= mini_fo.init=sh mini_fo.nonsense mini_fo.ro=yes mini_fo.=";
        let settings = Settings::read(Some("fsck=perhaps\nbare"), line);
        assert_eq!(settings.problems.len(), 11, "{:?}", settings.problems);
        let wanted = Settings { problems: settings.problems.clone(), ..Settings::default() };
        assert_eq!(settings, wanted);
        assert!(settings.problems.iter().any(|text| text.contains("seconds")));
        assert!(settings.problems.iter().any(|text| text.contains("/etc/mini_fo.conf: fsck")));
    }
}
