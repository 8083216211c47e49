//! `mount.mini_fo`: how mount(8) calls us.
//!
//! `mount.mini_fo DEVICE MOUNTPOINT [-sfnv] [-N NAMESPACE] [-t TYPE] [-o OPTIONS]`,
//! options and arguments in any order. The device is free text.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::exit::Failure;
use crate::options;
use crate::request::Typed;
use crate::serve;

/// The names under which the program is this helper.
pub const NAMES: [&str; 2] = ["mount.mini_fo", "mount.fuse.mini_fo"];

const USAGE: &str = "\
Usage: mount.mini_fo DEVICE MOUNTPOINT [-sfnvh] [-t TYPE] -o base=DIR,sto=DIR[,OPTIONS]

Called by mount(8): mount -t mini_fo -o base=/b,sto=/s /b /mnt
The device is free text. See mount.mini_fo(8).";

/// A helper's command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    words: Vec<OsString>,
    options: Vec<OsString>,
    sloppy: bool,
    fake: bool,
    verbose: bool,
    help: bool,
}

/// Carries out a helper's command line (`args` without the program's name).
///
/// # Errors
/// As `mini_fo mount`; [`Failure::helper_code`] is the exit code.
pub fn run(args: Vec<OsString>) -> Result<(), Failure> {
    let line = read(args)?;
    if line.help {
        return crate::cli::print(&format!("{USAGE}\n"));
    }
    let fake = line.fake;
    let order = typed(line)?.order()?;
    if fake { Ok(()) } else { serve::carry_out(order) }
}

fn typed(line: Line) -> Result<Typed, Failure> {
    let mut items = Vec::new();
    for list in &line.options {
        items.extend(options::parse(list, line.sloppy)?);
    }
    let words: [OsString; 2] = line.words.try_into().map_err(|words: Vec<OsString>| {
        let what = if words.len() < 2 {
            "a device and a mount point are needed"
        } else {
            "too many arguments"
        };
        usage(what)
    })?;
    let [source, mountpoint] = words;
    Ok(Typed {
        source: Some(source),
        mountpoint: mountpoint.into(),
        items,
        verbose: line.verbose,
        ..Typed::default()
    })
}

fn usage(what: &str) -> Failure {
    Failure::usage(what, USAGE)
}

fn read(args: Vec<OsString>) -> Result<Line, Failure> {
    let mut line = Line::default();
    let mut args = args.into_iter();
    let mut only_words = false;
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"--" if !only_words => only_words = true,
            b"--help" if !only_words => line.help = true,
            [b'-', letters @ ..] if !only_words && !letters.is_empty() => {
                read_letters(letters, &mut args, &mut line)?;
            }
            _ => line.words.push(arg),
        }
    }
    Ok(line)
}

/// Reads a cluster of short options; the last one may have its value in the
/// rest of the word or in the next one.
fn read_letters(
    letters: &[u8],
    args: &mut impl Iterator<Item = OsString>,
    line: &mut Line,
) -> Result<(), Failure> {
    let mut letters = letters;
    while let Some((letter, rest)) = letters.split_first() {
        letters = rest;
        match letter {
            b's' => line.sloppy = true,
            b'f' => line.fake = true,
            b'v' => line.verbose = true,
            b'h' => line.help = true,
            b'n' => {}
            b'r' => line.options.push("ro".into()),
            b'w' => line.options.push("rw".into()),
            b'o' | b't' | b'N' => {
                let value = match rest.is_empty() {
                    true => args.next(),
                    false => Some(OsString::from_vec(rest.to_vec())),
                };
                let name = char::from(*letter);
                let value = value.ok_or_else(|| usage(&format!("-{name} needs a value")))?;
                match letter {
                    b'o' => line.options.push(value),
                    b't' => check_type(&value)?,
                    // mount(8) enters the namespace before it calls us.
                    _ => {}
                }
                return Ok(());
            }
            other => return Err(usage(&format!("unknown option '-{}'", char::from(*other)))),
        }
    }
    Ok(())
}

fn check_type(name: &OsStr) -> Result<(), Failure> {
    let known = [OsStr::new("mini_fo"), OsStr::new("fuse.mini_fo")];
    match known.contains(&name) {
        true => Ok(()),
        false => Err(usage(&format!("'{}' is not a type of ours", name.to_string_lossy()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{MountRequest, Order};
    use std::path::Path;

    fn order(words: &str) -> Result<Order, Failure> {
        typed(read(words.split(' ').map(OsString::from).collect())?)?.order()
    }

    fn mount(words: &str) -> MountRequest {
        match order(words) {
            Ok(Order::Mount(request)) => *request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn as_mount_calls_it() {
        for line in [
            "/nob /nom -o rw,base=/nob,sto=/nos",
            "/nob /nom -v -n -t mini_fo -o base=/nob,sto=/nos",
            "-o base=/nob,sto=/nos /nob /nom",
            "-svnobase=/nob,sto=/nos -N /proc/1/ns/mnt -- /nob /nom",
            "/nob /nom -o base=/nob -o sto=/nos",
        ] {
            let request = mount(line);
            assert_eq!(request.base(), Path::new("/nob"), "{line}");
            assert_eq!(request.storage, Path::new("/nos"), "{line}");
            assert_eq!(request.mountpoint, Path::new("/nom"), "{line}");
            assert_eq!(request.source, "/nob", "{line}");
            assert!(!request.foreground);
        }
    }

    #[test]
    fn the_device_is_free_text() {
        for device in ["none", "minifo", "mini_fo:/overlay", "-"] {
            assert_eq!(mount(&format!("{device} /m -o base=/b,sto=/s")).source, device);
        }
    }

    #[test]
    fn sloppy_passes_over_the_unknown() {
        let error = order("none /m -o base=/b,sto=/s,whatever").unwrap_err();
        assert!(error.message.contains("unknown option 'whatever'"));
        assert_eq!(error.helper_code(), 1);
        mount("none /m -s -o base=/b,sto=/s,whatever");
    }

    #[test]
    fn a_remount_as_mount_calls_it() {
        let line = "/b /mnt -o ro,nosuid,relatime,user_id=0,group_id=0,\
                    default_permissions,allow_other,remount";
        assert!(matches!(order(line), Ok(Order::Remount(_))));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |line: &str| order(line).unwrap_err().message;
        assert!(message("none").contains("a device and a mount point"));
        assert!(message("a b c").contains("too many"));
        assert!(message("a b -o").contains("-o needs a value"));
        assert!(message("a b -q").contains("'-q'"));
        assert!(message("a b -t ext4").contains("'ext4'"));
        assert!(message("none /m -o sto=/s").contains("base=DIR"));
    }
}
