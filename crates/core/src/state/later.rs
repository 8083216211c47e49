//! What a read-only mount needs to begin to write.

use std::path::PathBuf;
use std::time::Instant;

use rustix::io::Errno;

use crate::interface::options::OpenOptions;

/// What a read-only mount needs to begin to write.
pub(crate) struct Later {
    pub options: OpenOptions,
    pub paths: Paths,
    pub lock: Lock,
    /// The last attempt.
    pub failed: Option<(Instant, Errno)>,
    /// What the log was told of it.
    pub told: String,
    /// See `Overlay::keep_reserve`, if that was asked for.
    pub reserve: Option<Option<u64>>,
}

/// The lock on the storage.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Shared with other readers.
    Shared,
    /// Held alone.
    Alone,
    /// Somebody else has held it alone for a while.
    Lost,
}

/// Full paths of base and storage.
#[derive(Clone)]
pub(crate) struct Paths {
    pub base: PathBuf,
    pub storage: PathBuf,
}
