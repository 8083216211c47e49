//! Which changes are asked for.

use mini_fo_core::{Change, ChangeKind};

use crate::cli::changes::discard::is_within;
use crate::cli::changes::globs::Globs;
use crate::exit::{Failure, code};

/// Paths, and globs.
pub struct Choice {
    tops: Vec<Vec<u8>>,
    only: Globs,
    except: Globs,
}

impl Choice {
    /// No paths, or no glob of one kind: they do not matter.
    ///
    /// # Errors
    /// A glob cannot be read.
    pub fn new(tops: Vec<Vec<u8>>, only: &[String], except: &[String]) -> Result<Choice, Failure> {
        let globs = |name: &str, globs: &[String]| {
            Globs::of(globs).map_err(|why| Failure::new(code::USAGE, format!("{name} {why}")))
        };
        Ok(Choice { tops, only: globs("--only", only)?, except: globs("--except", except)? })
    }

    /// Whichever end of a rename is meant, it is.
    pub fn wants(&self, change: &Change<'_>) -> bool {
        let from = change.from.filter(|_| change.kind == ChangeKind::Renamed);
        self.wants_ends(change.path, from)
    }

    fn wants_ends(&self, path: &[u8], from: Option<&[u8]>) -> bool {
        let either = |meant: &dyn Fn(&[u8]) -> bool| meant(path) || from.is_some_and(meant);
        let named = |path: &[u8]| self.tops.iter().any(|top| is_within(path, top));
        (self.tops.is_empty() || either(&named))
            && (self.only.is_empty() || either(&|path| self.only.has(path)))
            && !either(&|path| self.except.has(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_globs_choose() {
        let wants = |tops: &[&str], only: &[&str], except: &[&str], ends: (&str, Option<&str>)| {
            let texts = |of: &[&str]| of.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            let tops = tops.iter().map(|top| top.as_bytes().to_vec()).collect();
            let choice = Choice::new(tops, &texts(only), &texts(except)).unwrap();
            choice.wants_ends(ends.0.as_bytes(), ends.1.map(str::as_bytes))
        };
        let all: &[&str] = &[];
        assert!(wants(all, all, all, ("a/b", None)) && wants(&[""], all, all, ("a", None)));
        assert!(wants(&["a"], all, all, ("a/b", None)) && !wants(&["a"], all, all, ("ab", None)));
        assert!(wants(all, &["*.c"], all, ("d/x.c", None)));
        assert!(!wants(all, &["*.c"], all, ("d/x.h", None)));
        assert!(!wants(all, &["*.c", "*.h"], &["d"], ("d/x.h", None)));
        assert!(!wants(&["e"], &["*.c"], all, ("d/x.c", None)));
        // Either end of what was renamed.
        assert!(wants(&["old"], all, all, ("new", Some("old"))));
        assert!(wants(all, &["old"], all, ("new", Some("old"))));
        assert!(!wants(all, all, &["old"], ("new", Some("old"))));
        assert!(Choice::new(Vec::new(), &["[".to_owned()], &[]).is_err());
    }
}
