//! Extended attributes of the storage itself, and what is told of files that
//! need them.

use std::path::Path;

use rustix::fd::OwnedFd;

use super::lost::LOOKS;
use super::scan::Scanned;
use crate::format::features::FEATURE_PARTIAL;
use crate::format::meta::{Index, Record};
use crate::interface::error::Warning;
use crate::sys::own::{Own, OwnAttributes, is_marked};

/// Tells of files that need data of the base, and how many have lost it.
pub(super) fn report_data(
    base: &Path,
    storage: &Path,
    scanned: &Scanned,
    warnings: &mut Vec<Warning>,
) {
    if scanned.data_lost > 0 {
        let (path, count) = (base.to_path_buf(), scanned.data_lost);
        warnings.push(Warning::LostData { path, count });
    }
    if scanned.dependent > 0 {
        let (path, count) = (storage.to_path_buf(), scanned.dependent);
        warnings.push(Warning::NeedsBase { path, count });
    }
    if scanned.skipped {
        warnings.push(Warning::NotCompared { path: storage.to_path_buf(), looks: LOOKS });
    }
}

/// Reports a volatile mount that did not end cleanly.
pub(super) fn is_unclean(
    path: &Path,
    storage: &OwnedFd,
    names: OwnAttributes,
    warnings: &mut Vec<Warning>,
) -> bool {
    let unclean = is_marked(storage, names, Own::Unclean);
    if unclean {
        warnings.push(Warning::Unclean { path: path.to_path_buf() });
    }
    unclean
}

/// Features that META does not tell: a `new` one, and what it has lost in a power cut,
/// while the storage's own mark, which is set first, is there.
pub(super) fn lost_features(
    storage: &OwnedFd,
    names: OwnAttributes,
    root: &Index,
    new: Option<&[u8]>,
) -> Option<Record> {
    let mut words: Vec<Box<[u8]>> = root.features().map(Into::into).collect();
    let before = words.len();
    if !words.iter().any(|word| **word == *FEATURE_PARTIAL)
        && is_marked(storage, names, Own::Storage)
    {
        words.push(FEATURE_PARTIAL.into());
    }
    words.extend(new.map(Into::into));
    (words.len() > before).then_some(Record::Features { words })
}
