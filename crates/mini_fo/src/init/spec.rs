//! The grammar of `storage=`.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;

/// How a storage is named.
const WANTED: &str = "wanted is tmpfs[:SIZE], LABEL=NAME, UUID=NUMBER or /dev/NAME (each with \
                      [:TYPE[:OPTIONS]]), or the path of a directory";

/// Where changes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// To memory; the size as tmpfs(5) takes it.
    Tmpfs(Option<String>),
    /// To a directory of the file system on a device.
    Device(Device),
    /// To a directory that is there.
    Directory(PathBuf),
}

/// A file system on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device.
    pub which: Which,
    /// Its type; `None`: to be found out.
    pub fs_type: Option<String>,
    /// Mount options.
    pub options: Option<String>,
}

/// How a device is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its node in `/dev`.
    Node(PathBuf),
    /// By the label of its file system.
    Label(String),
    /// By the UUID of its file system.
    Uuid(String),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Node(path) => write!(f, "{}", path.display()),
            Which::Label(label) => write!(f, "LABEL={label}"),
            Which::Uuid(uuid) => write!(f, "UUID={uuid}"),
        }
    }
}

impl Spec {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence that names the value and what is wanted.
    pub fn parse(text: &str) -> Result<Spec, String> {
        let wrong = || format!("storage '{text}' is not understood: {WANTED}");
        if text == "tmpfs" {
            return Ok(Spec::Tmpfs(None));
        }
        if let Some(size) = text.strip_prefix("tmpfs:") {
            let number = size.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G', '%']);
            let good = size.len() <= number.len() + 1 && number.parse::<u64>().is_ok_and(|n| n > 0);
            let wrong = || format!("storage '{text}': a size is a number with k, m, g or %");
            return good.then(|| Spec::Tmpfs(Some(size.to_owned()))).ok_or_else(wrong);
        }
        let mut parts = text.splitn(3, ':');
        let name = parts.next().unwrap_or_default();
        let which = match name.split_once('=') {
            Some((_, "")) => return Err(wrong()),
            Some(("LABEL", label)) => Which::Label(label.to_owned()),
            Some(("UUID", uuid)) => Which::Uuid(uuid.to_owned()),
            _ if name.starts_with("/dev/") => Which::Node(name.into()),
            _ if text.starts_with('/') => return Ok(Spec::Directory(text.into())),
            _ => return Err(wrong()),
        };
        let mut part = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        Ok(Spec::Device(Device { which, fs_type: part(), options: part() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(which: Which, fs_type: Option<&str>, options: Option<&str>) -> Spec {
        let (fs_type, options) = (fs_type.map(str::to_owned), options.map(str::to_owned));
        Spec::Device(Device { which, fs_type, options })
    }

    #[test]
    fn every_kind() {
        let node = || Which::Node("/dev/mtdblock3".into());
        for (text, wanted) in [
            ("tmpfs", Spec::Tmpfs(None)),
            ("tmpfs:32M", Spec::Tmpfs(Some("32M".into()))),
            ("tmpfs:50%", Spec::Tmpfs(Some("50%".into()))),
            ("LABEL=my data", device(Which::Label("my data".into()), None, None)),
            ("UUID=12-ab:f2fs", device(Which::Uuid("12-ab".into()), Some("f2fs"), None)),
            ("/dev/mtdblock3", device(node(), None, None)),
            (
                "/dev/mtdblock3:jffs2:noatime,x=1:2",
                device(node(), Some("jffs2"), Some("noatime,x=1:2")),
            ),
            ("/dev/mtdblock3::noatime", device(node(), None, Some("noatime"))),
            ("/var/lib/a:b", Spec::Directory("/var/lib/a:b".into())),
        ] {
            assert_eq!(Spec::parse(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for text in
            ["", "LABEL=", "UUID=", "sda1", "tmpfs:", "tmpfs:lots", "tmpfs:1kk", "NAME=x", "a/b"]
        {
            let error = Spec::parse(text).unwrap_err();
            assert!(error.contains(&format!("'{text}'")), "{error}");
        }
    }
}
