//! Paths by globs: what is to be kept, or chosen.

use fast_glob::glob_match;

/// Paths that match, with all that is below them.
#[derive(Debug, Default)]
pub struct Globs {
    /// Of whole paths.
    globs: Vec<String>,
}

/// The globs of a list: one a line.
pub fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim_end_matches('\r'));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

impl Globs {
    /// One with a slash, but at its end, is matched with the whole path, others with each
    /// name.
    ///
    /// # Errors
    /// Which one cannot be read, and why.
    pub fn of(globs: &[String]) -> Result<Globs, String> {
        let whole = |glob: &String| {
            check(glob).map_err(|why| format!("'{glob}': {why}"))?;
            let text = glob.trim_end_matches('/');
            Ok(match text.contains('/') {
                // At the beginning it would turn the whole glob round.
                true => text.trim_start_matches('/').replacen(
                    '!',
                    "\\!",
                    usize::from(text.starts_with('!')),
                ),
                false => format!("**/{text}"),
            })
        };
        Ok(Globs { globs: globs.iter().map(whole).collect::<Result<_, String>>()? })
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.globs.is_empty()
    }

    /// A path, without a leading slash, or a directory above it matches.
    pub fn has(&self, path: &[u8]) -> bool {
        if self.globs.is_empty() {
            return false;
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut prefixes = ends.chain([path.len()]).filter_map(|end| path.get(..end));
        prefixes.any(|prefix| self.globs.iter().any(|glob| glob_match(glob, prefix)))
    }
}

/// What has no end would match nothing, and nobody would be told.
fn check(glob: &str) -> Result<(), &'static str> {
    let (mut chars, mut braces) = (glob.chars(), 0u32);
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next().ok_or("nothing follows the last '\\'")?),
            '{' => braces += 1,
            '}' => braces = braces.checked_sub(1).ok_or("a '}' without its '{'")?,
            '[' => {
                let mut rest = chars.clone();
                if matches!(rest.clone().next(), Some('!' | '^')) {
                    rest.next();
                }
                // The first one can be a ']' itself.
                rest.next();
                rest.find(|c| *c == ']').ok_or("a '[' without its ']'")?;
                chars = rest;
            }
            _ => {}
        }
    }
    if braces == 0 { Ok(()) } else { Err("a '{' without its '}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_of_paths_or_of_names() {
        let keep = |globs: &str| Globs::of(&lines(globs)).unwrap();
        let has = |globs: &str, path: &str| keep(globs).has(path.as_bytes());
        assert!(has("*.log", "var/log/a.log") && has("*.log", "a.log") && has("x", "x/y/z"));
        assert!(has("/etc/*.conf", "etc/a.conf") && !has("/etc/*.conf", "etc/d/a.conf"));
        assert!(has("etc/**/a", "etc/x/y/a") && has("/home/", "home/me/f"));
        assert!(!has("home", "nohome") && !has("", "a") && !has("# a\n\n", "# a"));
        assert!(has("a[bc]\r\n", "ac") && has("\\*", "*") && !has("\\*", "a"));
        assert!(keep("?").has(b"d/\xff") || keep("*").has(b"d/\xff"));
        assert!(has("{a,b*}/x", "bc/x/y") && !has("{a,b*}/x", "c/x") && has("[!a]b", "d/cb"));
        assert!(has("!a/b", "!a/b") && !has("!a/b", "c/b") && has("!a", "x/!a"));
        for bad in ["a[", "[]", "{a", "a}", "a\\", "x/[!]"] {
            assert!(Globs::of(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
