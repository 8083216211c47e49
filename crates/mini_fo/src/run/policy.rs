//! Files that say what a command may see and do, a line for each path or setting.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::plan::What;
use crate::cli::args::run::Net;
use crate::exit::{Failure, code};
use crate::options;

/// What files and options say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub rules: Vec<Said>,
    pub net: Option<Net>,
    /// Lists of options for the mount.
    pub options: Vec<OsString>,
}

/// What holds for a path.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub what: What,
    pub path: PathBuf,
    /// Who says so: an option, or a line of a file.
    pub by: String,
}

const WORDS: &str = "allow PATH, hide PATH, read-only PATH, net host, net none, options LIST";

impl Policy {
    /// Adds what a file says. Relative paths begin in its directory, `~/` in the home of the
    /// user.
    ///
    /// # Errors
    /// It cannot be read; a line cannot be understood, with its number.
    pub fn read(&mut self, file: &Path) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(code::RUN, format!("--policy {}: {error}", file.display()))
        };
        let text = fs::read(file).map_err(failed)?;
        let full = file.canonicalize().map_err(failed)?;
        let dir = full.parent().unwrap_or(Path::new("/"));
        for (line, number) in text.split(|byte| *byte == b'\n').zip(1_u32..) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let at = format!("{}:{number}", file.display());
            let read = self.read_line(line, dir, &at);
            read.map_err(|why| Failure::new(code::RUN, format!("{at}: {why}")))?;
        }
        Ok(())
    }

    fn read_line(&mut self, line: &[u8], dir: &Path, at: &str) -> Result<(), String> {
        let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let (word, value) = line.split_at(end);
        let word = crate::exit::shown(&String::from_utf8_lossy(word));
        let value = OsStr::from_bytes(value.trim_ascii());
        let what = match &*word {
            "allow" => What::Allow,
            "hide" => What::Hide,
            "read-only" => What::ReadOnly,
            "net" => {
                let net = value.to_str().and_then(|name| Net::from_str(name, false).ok());
                self.net = Some(net.ok_or("net is host or none")?);
                return Ok(());
            }
            "options" => {
                options::parse(value, false).map_err(|error| error.to_string())?;
                self.options.push(value.to_owned());
                return Ok(());
            }
            _ => return Err(format!("{word}: there is no such word; a line is one of {WORDS}")),
        };
        if value.is_empty() {
            return Err(format!("{word} needs a path"));
        }
        let path = full_path(value, dir)?;
        self.rules.push(Said { what, path, by: format!("{at}: {word}") });
        Ok(())
    }
}

fn full_path(value: &OsStr, dir: &Path) -> Result<PathBuf, String> {
    let at_home = match value.as_bytes() {
        b"~" => Some(&b""[..]),
        bytes => bytes.strip_prefix(b"~/"),
    };
    let Some(rest) = at_home else { return Ok(dir.join(value)) };
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let home = home.ok_or("~: HOME is not set")?;
    Ok(home.join(OsString::from_vec(rest.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Policy, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy");
        fs::write(&file, text).unwrap();
        let mut policy = Policy::default();
        let shown = |failure: Failure| failure.message.replace(&file.display().to_string(), "F");
        policy.read(&file).map_err(shown)?;
        for said in &mut policy.rules {
            let top = dir.path().canonicalize().unwrap();
            let inside = said.path.strip_prefix(&top).map(Path::to_path_buf);
            said.path = inside.unwrap_or_else(|_| said.path.clone());
            said.by = said.by.replace(&file.display().to_string(), "F");
        }
        Ok(policy)
    }

    #[test]
    fn a_line_for_each() {
        let text =
            "# a comment\n\n allow a b/c \nhide /etc\t\nread-only .\nnet none\noptions noatime\n";
        let policy = read(text).unwrap();
        let said = |what, path: &str, by: &str| Said { what, path: path.into(), by: by.into() };
        let rules = [
            said(What::Allow, "a b/c", "F:3: allow"),
            said(What::Hide, "/etc", "F:4: hide"),
            said(What::ReadOnly, "", "F:5: read-only"),
        ];
        assert_eq!(policy.rules, rules);
        assert_eq!((policy.net, &*policy.options), (Some(Net::None), &["noatime".into()][..]));
    }

    #[test]
    fn bad_lines_are_told_with_their_numbers() {
        let failure = |text: &str| read(text).unwrap_err();
        assert!(
            failure("net none\nallowed x\n").starts_with("F:2: allowed: there is no such word")
        );
        assert_eq!(failure("hide"), "F:1: hide needs a path");
        assert_eq!(failure("\n\nnet lan"), "F:3: net is host or none");
        assert!(failure("options nosuch").starts_with("F:1: "));
        assert!(failure("\0\u{1b}[1m").starts_with("F:1: \\000\\033"));
    }
}
