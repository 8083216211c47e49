//! The promises, one function each; its name stands in the table.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use crate::kit::{Outcome, Place};
use crate::tree;

mod data;
mod depth_and_names;
mod directories;
mod errors;
mod fallocate;
mod handles;
mod hard_links;
mod identity;
mod locks;
mod mixtures;
mod open_files;
pub mod persistence;
mod races;
mod renames;
mod rights;
mod rights_acl;
mod rights_bits;
mod special;
mod times;
mod times_changes;
mod unlinked;
mod xattrs;

/// One promise.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its module.
    pub group: &'static str,
    /// Its function.
    pub name: &'static str,
    /// What its directory in the base holds besides [`tree::standard`].
    pub setup: fn(&Path) -> io::Result<()>,
    /// Tries it.
    pub run: fn(&Place) -> Outcome,
}

impl Case {
    /// `group::name`.
    pub fn full_name(&self) -> String {
        format!("{}::{}", self.group, self.name)
    }

    /// Its directory below the root of the mount.
    pub fn directory(&self) -> String {
        format!("{}.{}", self.group, self.name)
    }
}

/// The list of a module's cases: `group; function, function with setup`.
macro_rules! cases {
    ($group:literal; $($name:ident $(with $setup:ident)?),* $(,)?) => {
        /// The cases of this module.
        pub const CASES: &[$crate::cases::Case] = &[$($crate::cases::Case {
            group: $group,
            name: stringify!($name),
            setup: $crate::cases::cases!(@setup $($setup)?),
            run: $name,
        }),*];
    };
    (@setup) => { $crate::tree::nothing };
    (@setup $setup:ident) => { $crate::tree::$setup };
}
use cases;

/// All of them.
pub fn all() -> Vec<Case> {
    [
        open_files::CASES,
        mixtures::CASES,
        locks::CASES,
        identity::CASES,
        handles::CASES,
        hard_links::CASES,
        directories::CASES,
        depth_and_names::CASES,
        data::CASES,
        fallocate::CASES,
        unlinked::CASES,
        rights::CASES,
        rights_acl::CASES,
        rights_bits::CASES,
        xattrs::CASES,
        times::CASES,
        times_changes::CASES,
        renames::CASES,
        errors::CASES,
        special::CASES,
        races::CASES,
        persistence::CASES,
    ]
    .concat()
}

/// Makes everything that `cases` find, below `base`.
pub fn populate(base: &Path, cases: &[Case]) -> io::Result<()> {
    for case in cases {
        let dir = base.join(case.directory());
        tree::standard(&dir)
            .and_then(|()| (case.setup)(&dir))
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", dir.display())))?;
    }
    Ok(())
}
