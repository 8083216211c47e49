//! What the file system of a storage can hold.

use crate::format::name::MetaName;
use crate::sys::Written;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holds {
    /// Permission bits that are set are there afterwards.
    pub modes: bool,
    /// Symbolic links.
    pub symlinks: bool,
    /// FIFOs, and so sockets and devices.
    pub specials: bool,
    /// Names: all of them, each apart from all others. `None`: that is not known.
    pub names: Option<bool>,
    /// What is missing and cannot be kept in META, in words.
    pub missing: Vec<&'static str>,
}

impl Holds {
    /// A file system that holds everything.
    pub const ALL: Holds = Holds {
        modes: true,
        symlinks: true,
        specials: true,
        names: Some(true),
        missing: Vec::new(),
    };

    /// One of which nothing is known.
    pub const LEAST: Holds =
        Holds { modes: false, symlinks: false, specials: false, names: None, missing: Vec::new() };

    /// How names are to be written, which were written as `before` in what is there.
    /// `None`: that cannot go on, for names that are as they are would be mixed up.
    pub fn written(&self, before: Written, meta: MetaName, fresh: bool) -> Option<Written> {
        match (before, self.names) {
            (Written::Escaped(_), _) | (_, Some(true)) => Some(before),
            _ if fresh => Some(Written::Escaped(meta)),
            // It was tried when the storage was new.
            (_, None) => Some(before),
            (_, Some(false)) => None,
        }
    }
}
