//! Words of advice that are pasted into a shell.

use std::path::Path;

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./=+@%,:".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// A text with a backslash before some characters.
fn escaped(text: &str, which: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if which.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A path.
pub(super) fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// What stands in a list of options.
fn option(text: &str) -> String {
    quoted(&escaped(text, ",\\\""))
}

/// The option that says what META of the storage is called.
pub(super) fn meta_name(name: &str) -> String {
    option(&format!("meta_name={name}"))
}

/// The option that says what META of a layer is called: in a list with colons.
pub(super) fn dialect(name: &str) -> String {
    option(&format!("dialect=mini_fo={}", escaped(name, ":\\")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pasted_is_what_is_meant() {
        assert_eq!(meta_name(".m"), "meta_name=.m");
        assert_eq!(meta_name("a b"), "'meta_name=a b'");
        assert_eq!(meta_name("$(id)"), "'meta_name=$(id)'");
        assert_eq!(meta_name("it's,\\"), "'meta_name=it'\\''s\\,\\\\'");
        assert_eq!(dialect("a:b"), "'dialect=mini_fo=a\\\\:b'");
        assert_eq!(path(Path::new("/srv/my storage")), "'/srv/my storage'");
        assert_eq!(path(Path::new("/srv/s")), "/srv/s");
    }
}
