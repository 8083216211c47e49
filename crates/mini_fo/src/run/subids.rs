//! Ids that a user may use beside his own: those that /etc/subuid and /etc/subgid give him
//! (subuid(5)). newuidmap(1) and newgidmap(1) map them into a user namespace.
#![forbid(unsafe_code)]

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Pid;

use crate::exit::{Failure, code};

/// As many as files of a system belong to.
const MOST: u32 = 1 << 16;

/// Users or groups.
struct Kind {
    file: &'static str,
    program: &'static str,
    id: u32,
}

/// What is mapped into a namespace.
#[derive(Debug, PartialEq, Eq)]
pub struct Subids {
    uids: Vec<Range>,
    gids: Vec<Range>,
}

/// Ids inside, and what they are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

impl Subids {
    /// Those of this user. Inside, ids are those of the system: his own is his own, and all
    /// others have one of the range.
    ///
    /// # Errors
    /// He has none: how he would get some.
    pub fn of_user() -> Result<Subids, Failure> {
        let [uids, gids] = kinds().map(|kind| {
            let text = fs::read_to_string(kind.file).unwrap_or_default();
            let ranges = granted(&text, rustix::process::geteuid().as_raw(), name().as_deref());
            if ranges.is_empty() { Err(none(&kind)) } else { Ok(around(kind.id, &ranges)) }
        });
        Ok(Subids { uids: uids?, gids: gids? })
    }

    /// Maps them into the new user namespace of a process.
    ///
    /// # Errors
    /// It is not allowed; the programs are not there.
    pub fn map(&self, process: Pid) -> Result<(), Failure> {
        for (kind, ranges) in kinds().iter().zip([&self.uids, &self.gids]) {
            map(kind, ranges, process)?;
        }
        Ok(())
    }
}

fn kinds() -> [Kind; 2] {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    [
        Kind { file: "/etc/subuid", program: "newuidmap", id: uid },
        Kind { file: "/etc/subgid", program: "newgidmap", id: gid },
    ]
}

fn none(kind: &Kind) -> Failure {
    let user = name().unwrap_or_else(|| rustix::process::geteuid().as_raw().to_string());
    Failure::new(
        code::RUN,
        format!(
            "--as-root: {} gives this user no ids: 'sudo usermod --add-subuids 100000-165535 \
             --add-subgids 100000-165535 {user}' does (with ids that nobody else has)",
            kind.file
        ),
    )
}

fn map(kind: &Kind, ranges: &[Range], process: Pid) -> Result<(), Failure> {
    let failed = |why: &str| Failure::new(code::RUN, format!("--as-root: {}: {why}", kind.program));
    let numbers = ranges.iter().flat_map(|range| [range.inside, range.outside, range.count]);
    let output = Command::new(kind.program)
        .arg(process.as_raw_pid().to_string())
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output();
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(failed("there is no such program: install uidmap (shadow-utils)"))
        }
        Err(error) => Err(failed(&error.to_string())),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(failed(String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// The name of this user, which the files may have instead of the number.
fn name() -> Option<String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let known = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    // Of users that a directory service knows.
    known.or_else(|| std::env::var("USER").ok())
}

/// First id and number of each range that a file gives a user.
fn granted(text: &str, uid: u32, name: Option<&str>) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let range = |line: &str| {
        let mut fields = line.split(':');
        let user = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?);
        let fits = range.1 > 0 && u32::checked_add(range.0, range.1).is_some();
        (fits && (user == number || Some(user) == name)).then_some(range)
    };
    text.lines().filter_map(range).collect()
}

/// Ids inside from 0 on are mapped to those of `granted`, but `own` to itself.
fn around(own: u32, granted: &[(u32, u32)]) -> Vec<Range> {
    let mut ranges = vec![Range { inside: own, outside: own, count: 1 }];
    let mut inside = 0;
    for &(mut outside, mut left) in granted {
        while left > 0 && inside < MOST {
            inside += u32::from(inside == own);
            let end = if inside < own { own.min(MOST) } else { MOST };
            let count = left.min(end.saturating_sub(inside));
            if count == 0 {
                break;
            }
            ranges.push(Range { inside, outside, count });
            (inside, outside, left) = (inside + count, outside + count, left - count);
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(own: u32, granted: &[(u32, u32)]) -> Vec<(u32, u32, u32)> {
        let ranges = around(own, granted);
        ranges.iter().map(|range| (range.inside, range.outside, range.count)).collect()
    }

    #[test]
    fn a_user_is_himself_among_the_others() {
        let whole = [(100_000, 65_536)];
        assert_eq!(
            mapped(1000, &whole),
            [(1000, 1000, 1), (0, 100_000, 1000), (1001, 101_000, 64_535)]
        );
        assert_eq!(mapped(0, &whole), [(0, 0, 1), (1, 100_000, 65_535)]);
        assert_eq!(mapped(70_000, &whole), [(70_000, 70_000, 1), (0, 100_000, 65_536)]);
        assert_eq!(mapped(65_535, &whole), [(65_535, 65_535, 1), (0, 100_000, 65_535)]);
        assert_eq!(
            mapped(2, &[(50, 3), (200, 2)]),
            [(2, 2, 1), (0, 50, 2), (3, 52, 1), (4, 200, 2)]
        );
    }

    #[test]
    fn files_name_users_by_name_or_number() {
        let text =
            "# x\nann:100000:65536\n4321:300000:10\nben:1:2\nann:x:1\nann:4294967295:9\nann:7:0\n";
        assert_eq!(granted(text, 4321, Some("ann")), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(granted(text, 5, None), []);
    }
}
