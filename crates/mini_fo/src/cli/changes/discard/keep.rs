//! What is to be kept: globs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Paths that stay, with all that is below them.
#[derive(Debug)]
pub struct Keep {
    globs: GlobSet,
}

/// The globs of a list: one a line.
pub fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim_end_matches('\r'));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

impl Keep {
    /// One with a slash, but at its end, is matched with the whole path, others with each
    /// name.
    ///
    /// # Errors
    /// Which one cannot be read, and why.
    pub fn of(globs: &[String]) -> Result<Keep, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            let text = glob.trim_end_matches('/');
            let whole = text.contains('/');
            let text = text.trim_start_matches('/');
            let text = if whole { text.to_owned() } else { format!("**/{text}") };
            let mut builder = GlobBuilder::new(&text);
            set.add(builder.literal_separator(true).backslash_escape(true).build()?);
        }
        Ok(Keep { globs: set.build()? })
    }

    /// A path, without a leading slash, or a directory above it is to be kept.
    pub fn has(&self, path: &[u8]) -> bool {
        if self.globs.is_empty() {
            return false;
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut prefixes = ends.chain([path.len()]).filter_map(|end| path.get(..end));
        prefixes.any(|prefix| self.globs.is_match(OsStr::from_bytes(prefix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_of_paths_or_of_names() {
        let keep = |globs: &str| Keep::of(&lines(globs)).unwrap();
        let has = |globs: &str, path: &str| keep(globs).has(path.as_bytes());
        assert!(has("*.log", "var/log/a.log") && has("*.log", "a.log") && has("x", "x/y/z"));
        assert!(has("/etc/*.conf", "etc/a.conf") && !has("/etc/*.conf", "etc/d/a.conf"));
        assert!(has("etc/**/a", "etc/x/y/a") && has("/home/", "home/me/f"));
        assert!(!has("home", "nohome") && !has("", "a") && !has("# a\n\n", "# a"));
        assert!(has("a[bc]\r\n", "ac") && has("\\*", "*") && !has("\\*", "a"));
        assert!(keep("?").has(b"d/\xff") || keep("*").has(b"d/\xff"));
        assert!(Keep::of(&["a[".to_owned()]).is_err());
    }
}
