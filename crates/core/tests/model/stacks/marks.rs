//! The marks of the dialects.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path as FsPath;

use rustix::fs::{CWD, FileType, Mode};

use super::super::merge::{Rest, Said, SaidDir};
use super::super::{Speech, joined};
use super::{At, Writer, set_xattr};

impl Writer<'_> {
    fn namespace(&self) -> &'static str {
        if self.speech == Speech::Overlay { "trusted.overlay" } else { "user.overlay" }
    }

    pub(super) fn write_hidden(&mut self, at: &At<'_>, says: &SaidDir) {
        match self.speech {
            Speech::Plain | Speech::MiniFo(_) => {}
            Speech::Overlay | Speech::OverlayUser => {
                // Of the root nothing is opaque, in either way; and `opaque` has one value.
                let by_files = at.depth > 0 && at.below.is_some() && self.dice.below(2) == 0;
                for name in &says.hidden {
                    let path = joined(at.path, name);
                    if says.entries.contains_key(name) {
                        continue;
                    }
                    if by_files && self.dice.below(2) == 0 {
                        fs::write(&path, "").unwrap();
                        set_xattr(&path, &format!("{}.whiteout", self.namespace()), b"");
                        set_xattr(at.path, &format!("{}.opaque", self.namespace()), b"x");
                    } else {
                        device(&path);
                    }
                }
                if self.dice.below(4) == 0 {
                    set_xattr(at.path, &format!("{}.impure", self.namespace()), b"y");
                }
            }
            Speech::Oci => {
                for name in &says.hidden {
                    let mark = [b".wh.", &name[..]].concat();
                    let beside = says.entries.contains_key(name);
                    if mark.len() > 255 || !beside && self.dice.below(3) == 0 {
                        device(&joined(at.path, name));
                    } else {
                        fs::write(joined(at.path, &mark), "").unwrap();
                    }
                }
            }
        }
    }

    pub(super) fn write_rest(&mut self, path: &FsPath, rest: &Rest) {
        let name = |mark: &str| format!("{}.{mark}", self.namespace());
        match (self.speech, rest) {
            (Speech::Overlay | Speech::OverlayUser, Rest::Nothing) => {
                set_xattr(path, &name("opaque"), b"y");
            }
            (Speech::Overlay | Speech::OverlayUser, Rest::Name(to)) => {
                set_xattr(path, &name("redirect"), to);
            }
            (Speech::Overlay | Speech::OverlayUser, Rest::Path(to)) => {
                let to = to.iter().flat_map(|name| [b"/", &name[..]].concat());
                set_xattr(path, &name("redirect"), &to.collect::<Vec<u8>>());
            }
            (Speech::Oci, Rest::Nothing) => {
                let mut ways = vec!["user.overlay.opaque", "user.fuseoverlayfs.opaque"];
                if self.is_root {
                    ways.push("trusted.overlay.opaque");
                }
                match self.dice.below(2) {
                    0 => fs::write(path.join(".wh..wh..opq"), "").unwrap(),
                    _ => set_xattr(path, self.dice.pick(&ways), b"y"),
                }
            }
            _ => {}
        }
    }

    pub(super) fn write_meta(&mut self, at: &At<'_>, says: &SaidDir, meta: &str) {
        let mut lines = Vec::new();
        for name in &says.hidden {
            if name.contains(&b'\n') {
                lines.push([b"d ", &escaped(name)[..]].concat());
            } else {
                lines.push([b"D ", &name[..]].concat());
            }
        }
        for (name, said) in &says.entries {
            let to = match said {
                Said::Lead(to) => to,
                Said::Dir(dir) => match &dir.rest {
                    Rest::Path(to) => to,
                    _ => continue,
                },
                Said::Leaf(_) => continue,
            };
            let to: Vec<u8> = to.iter().flat_map(|name| [b"/", &name[..]].concat()).collect();
            let plain = !to.iter().any(|byte| b" \n".contains(byte)) && !name.contains(&b'\n');
            let line = match plain {
                true => [b"R ", &to[..], b" ", name].concat(),
                false => [b"r ", &escaped(&to)[..], b" ", &escaped(name)].concat(),
            };
            lines.push(line);
        }
        if lines.is_empty() && at.depth > 0 && self.dice.below(2) == 0 {
            return;
        }
        let path = at.path.join(meta);
        let text = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat());
        fs::write(&path, text.collect::<Vec<u8>>()).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
}

/// A whiteout of overlayfs.
fn device(path: &FsPath) {
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, 0).unwrap();
}

/// As fields of extension records are written.
fn escaped(field: &[u8]) -> Vec<u8> {
    let byte = |byte: &u8| match byte {
        0..=0x20 | 0x7f | b'\\' => format!("\\x{byte:02x}").into_bytes(),
        byte => vec![*byte],
    };
    field.iter().flat_map(byte).collect()
}
