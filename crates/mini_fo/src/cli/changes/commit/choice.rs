//! Which changes are asked for.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use mini_fo_core::commit_steps::{Hash, Part, Piece};
use mini_fo_core::{Change, ChangeKind, CommitWish};

use super::refused;
use crate::cli::changes::discard::is_within;
use crate::cli::changes::globs::Globs;
use crate::cli::changes::status::object_with;
use crate::control::wire::{CommitForm, PathBytes, Picked};
use crate::exit::{Failure, code};

/// Paths, and globs.
pub struct Choice {
    tops: Vec<Vec<u8>>,
    /// Single changes instead of trees: those that go, and those that stay.
    single: Option<Single>,
    /// Changes that were looked at, and nothing else.
    looked_at: Option<LookedAt>,
    only: Globs,
    except: Globs,
}

/// Paths of changes.
struct Single {
    goes: HashSet<Vec<u8>>,
    stays: HashSet<Vec<u8>>,
}

/// Changes that somebody has looked at.
struct LookedAt {
    /// By path, and whether they are deletions: the hash of what was told.
    picked: HashMap<(Vec<u8>, bool), Hash>,
    parts: Vec<Part>,
    /// Those that are there as they were told.
    met: RefCell<HashSet<(Vec<u8>, bool)>>,
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
        let (only, except) = (globs("--only", only)?, globs("--except", except)?);
        Ok(Choice { tops, single: None, looked_at: None, only, except })
    }

    /// What a form from elsewhere asks for.
    ///
    /// # Errors
    /// As [`Choice::new`].
    pub fn of(form: &CommitForm) -> Result<Choice, Failure> {
        let paths = |of: &[PathBytes]| of.iter().map(|path| path.0.clone()).collect::<Vec<_>>();
        let choice = Choice::new(paths(&form.paths), &form.only, &form.except)?;
        let set = |of| paths(of).into_iter().collect();
        let single =
            form.single.then(|| Single { goes: set(&form.paths), stays: set(&form.stays) });
        let looked_at = form.picked.as_deref().map(LookedAt::of);
        Ok(Choice { single, looked_at, ..choice })
    }

    /// What goes in part.
    pub fn parts(&self) -> &[Part] {
        self.looked_at.as_ref().map_or(&[], |looked_at| &looked_at.parts)
    }

    /// A change that is not there as it was looked at. To be asked when all have been met.
    pub fn is_another(&self) -> Option<Box<[u8]>> {
        let LookedAt { picked, met, .. } = self.looked_at.as_ref()?;
        let met = met.borrow();
        let mut others = picked.keys().filter(|key| !met.contains(*key));
        others.next().map(|(path, _)| Box::from(&**path))
    }

    /// Refuses a path at which there is nothing, neither in the tree nor in the base.
    /// `changed`: all paths with changes; `is_there`: tells of one without.
    ///
    /// # Errors
    /// There is one.
    pub fn refuse_unknown<'a>(
        &self,
        changed: impl Iterator<Item = &'a [u8]>,
        is_there: &dyn Fn(&[u8]) -> bool,
    ) -> Result<(), Failure> {
        let mut unknown: Vec<&[u8]> =
            self.tops.iter().map(|top| &**top).filter(|top| !is_there(top)).collect();
        // Below what was added or renamed there may be what the base has elsewhere, or nothing.
        for path in changed {
            if unknown.is_empty() {
                break;
            }
            unknown.retain(|top| !is_within(path, top) && !is_within(top, path));
        }
        match unknown.first() {
            None => Ok(()),
            Some(path) => Err(refused::unknown(path)),
        }
    }

    /// Whichever end of a rename is meant, it is.
    pub fn wish(&self, change: &Change<'_>) -> CommitWish {
        if let Some(looked_at) = &self.looked_at {
            return looked_at.wish(change);
        }
        if let Some(Single { goes, stays }) = &self.single {
            return match () {
                () if stays.contains(change.path) => CommitWish::Stays,
                () if goes.contains(change.path) => CommitWish::Goes,
                () => CommitWish::MayGo,
            };
        }
        let from = change.from.filter(|_| change.kind == ChangeKind::Renamed);
        self.wish_for(change.path, from)
    }

    fn wish_for(&self, path: &[u8], from: Option<&[u8]>) -> CommitWish {
        let either = |meant: &dyn Fn(&[u8]) -> bool| meant(path) || from.is_some_and(meant);
        let named = |path: &[u8]| self.tops.iter().any(|top| is_within(path, top));
        if either(&|path| self.except.has(path)) {
            return CommitWish::Stays;
        }
        let wanted = (self.tops.is_empty() || either(&named))
            && (self.only.is_empty() || either(&|path| self.only.has(path)));
        if wanted { CommitWish::Goes } else { CommitWish::MayGo }
    }
}

impl LookedAt {
    fn of(picked: &[Picked]) -> LookedAt {
        let key = |one: &Picked| (one.path.0.clone(), one.deleted);
        let parts = picked.iter().filter_map(|one| {
            let part = one.part.as_ref()?;
            let piece = |[from, to, start, end]: &[u64; 4]| Piece {
                before: *from..*to,
                after: *start..*end,
            };
            Some(Part {
                path: one.path.0.clone().into(),
                pieces: part.pieces.iter().map(piece).collect(),
                before: Hash(part.before.0),
                after: Hash(part.after.0),
                attributes: part.attributes,
            })
        });
        LookedAt {
            parts: parts.collect(),
            picked: picked.iter().map(|one| (key(one), Hash(one.seen.0))).collect(),
            met: RefCell::default(),
        }
    }

    fn wish(&self, change: &Change<'_>) -> CommitWish {
        let key = (change.path.to_vec(), change.kind == ChangeKind::Deleted);
        match self.picked.get(&key) {
            Some(seen) => {
                let is_as_told = Hash::of(object_with(change).as_bytes()) == *seen;
                let mut met = self.met.borrow_mut();
                if is_as_told {
                    met.insert(key)
                } else {
                    met.remove(&key)
                };
                CommitWish::Goes
            }
            None if change.kind == ChangeKind::Added && change.is_dir() => CommitWish::MayGo,
            None => CommitWish::Stays,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_globs_choose() {
        let wish = |tops: &[&str], only: &[&str], except: &[&str], ends: (&str, Option<&str>)| {
            let texts = |of: &[&str]| of.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            let tops = tops.iter().map(|top| top.as_bytes().to_vec()).collect();
            let choice = Choice::new(tops, &texts(only), &texts(except)).unwrap();
            choice.wish_for(ends.0.as_bytes(), ends.1.map(str::as_bytes))
        };
        use CommitWish::{Goes, MayGo, Stays};
        let all: &[&str] = &[];
        assert_eq!(wish(all, all, all, ("a/b", None)), Goes);
        assert_eq!(wish(&[""], all, all, ("a", None)), Goes);
        assert_eq!(wish(&["a"], all, all, ("a/b", None)), Goes);
        assert_eq!(wish(&["a"], all, all, ("ab", None)), MayGo);
        assert_eq!(wish(all, &["*.c"], all, ("d/x.c", None)), Goes);
        assert_eq!(wish(all, &["*.c"], all, ("d/x.h", None)), MayGo);
        assert_eq!(wish(all, &["*.c", "*.h"], &["d"], ("d/x.h", None)), Stays);
        assert_eq!(wish(&["e"], &["*.c"], all, ("d/x.c", None)), MayGo);
        // Either end of what was renamed.
        assert_eq!(wish(&["old"], all, all, ("new", Some("old"))), Goes);
        assert_eq!(wish(all, &["old"], all, ("new", Some("old"))), Goes);
        assert_eq!(wish(all, all, &["old"], ("new", Some("old"))), Stays);
        assert!(Choice::new(Vec::new(), &["[".to_owned()], &[]).is_err());
    }
}
