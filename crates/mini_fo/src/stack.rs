//! The trees that are only read, as they are written: `A:B:C`, the uppermost first.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use mini_fo_core::{DialectName, LayerOptions, OpenOptions};

use crate::exit::Failure;
use crate::options::OptionError;
use crate::request;

/// Splits at colons; `\:` stands for a colon, `\\` for a backslash. A list that as a
/// whole is a directory is that one: there were single ones before there were lists.
pub fn split(list: &OsStr) -> Vec<PathBuf> {
    if Path::new(list).is_dir() {
        return vec![PathBuf::from(list)];
    }
    let paths = pieces(list).into_iter().filter(|path| !path.is_empty());
    paths.map(|path| PathBuf::from(OsString::from_vec(path))).collect()
}

fn pieces(list: &OsStr) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    let mut bytes = list.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let Some(last) = pieces.last_mut() else { break };
        match (byte, bytes.peek()) {
            (b'\\', Some(&next @ (b':' | b'\\'))) => {
                bytes.next();
                last.push(next);
            }
            (b':', _) => pieces.push(Vec::new()),
            _ => last.push(byte),
        }
    }
    pieces
}

/// Reads the value of `dialect`.
///
/// # Errors
/// A name that is none.
pub fn dialects(value: &OsStr) -> Result<Vec<Option<DialectName>>, Failure> {
    let one = |name: &[u8]| match name {
        b"" | b"auto" => Ok(None),
        [b'm', b'i', b'n', b'i', b'_', b'f', b'o', b'=', meta @ ..] => {
            let meta = request::meta_name(OsStr::from_bytes(meta))?;
            Ok(Some(DialectName::MiniFo(Some(meta))))
        }
        name => {
            let name = String::from_utf8_lossy(name);
            let known = DialectName::ALL.iter().find(|(known, _)| *known == name);
            known.map(|(_, dialect)| Some(*dialect)).ok_or_else(|| {
                let (value, known) =
                    (name.into_owned(), "auto|plain|mini_fo|mini_fo=NAME|overlay|overlay-user|oci");
                OptionError::BadValue { name: "dialect", value, known }.into()
            })
        }
    };
    pieces(value).iter().map(|name| one(name)).collect()
}

/// The layers of a mount, from the top down; never none.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The uppermost.
    pub first: LayerOptions,
    /// Those below it.
    pub under: Vec<LayerOptions>,
}

impl Layers {
    /// `None`: there is no path.
    pub fn new(
        paths: Vec<PathBuf>,
        dialects: &[Option<DialectName>],
        absolute: impl Fn(&Path) -> PathBuf,
    ) -> Option<Layers> {
        let layer = |(at, path): (usize, PathBuf)| LayerOptions {
            path: absolute(&path),
            dialect: dialects.get(at).copied().flatten(),
        };
        let mut layers = paths.into_iter().enumerate().map(layer);
        Some(Layers { first: layers.next()?, under: layers.collect() })
    }

    /// Options that name these layers, and nothing else.
    pub fn options(&self) -> OpenOptions {
        OpenOptions {
            base: self.first.path.clone(),
            dialect: self.first.dialect,
            under: self.under.clone(),
            ..OpenOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mini_fo_core::MetaName;

    fn split_text(list: &str) -> Vec<String> {
        split(OsStr::new(list)).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn lists_of_paths() {
        assert_eq!(split_text("/a:/b:/c"), ["/a", "/b", "/c"]);
        assert_eq!(split_text("/a\\:b:/c\\\\"), ["/a:b", "/c\\"]);
        assert_eq!(split_text("/a::/b:"), ["/a", "/b"]);
        assert_eq!(split_text("/a\\x"), ["/a\\x"]);
        let dir = tempfile::TempDir::new().unwrap();
        let whole = dir.path().join("x:y");
        std::fs::create_dir(&whole).unwrap();
        assert_eq!(split(whole.as_os_str()), [whole]);
    }

    #[test]
    fn dialects_are_named() {
        let read = |text: &str| dialects(OsStr::new(text));
        assert_eq!(
            read("auto:oci::plain").unwrap(),
            [None, Some(DialectName::Oci), None, Some(DialectName::Plain)]
        );
        assert!(read("oci:aufs").unwrap_err().message.contains("'aufs'"));
        let named = Some(DialectName::MiniFo(Some(MetaName::new("a:b").unwrap())));
        assert_eq!(
            read("mini_fo:mini_fo=a\\:b").unwrap(),
            [Some(DialectName::MiniFo(None)), named]
        );
        assert!(read("mini_fo=a/b").unwrap_err().message.contains("'a/b'"));
    }
}
