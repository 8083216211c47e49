//! The words by which the META of a storage says what is in it (docs/FORMAT.md, section 2).

/// Feature: there is an index of objects by number.
pub(crate) const FEATURE_INDEX: &[u8] = b"index";

/// Feature: the index calls objects by file system and number there, and not by
/// the number that they show. An index that is made has it.
pub(crate) const FEATURE_REALMS: &[u8] = b"realms";

/// Feature: there are partial files.
pub(crate) const FEATURE_PARTIAL: &[u8] = b"partial";

/// Feature: names in the storage are escaped.
pub(crate) const FEATURE_ESCAPED: &[u8] = b"escaped";

/// META of the root says what is hidden in directories that the storage does not have.
pub(crate) const FEATURE_FAR: &[u8] = b"far";

/// Features that this version knows.
pub(crate) const KNOWN_FEATURES: [&[u8]; 5] =
    [FEATURE_INDEX, FEATURE_REALMS, FEATURE_PARTIAL, FEATURE_ESCAPED, FEATURE_FAR];
