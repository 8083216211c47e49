//! The ways by which requests come, and why it is not the better one.

use rustix::io::Errno;

/// Path of the parameter of the kernel's fuse module that allows rings.
pub const ENABLE_URING: &str = "/sys/module/fuse/parameters/enable_uring";

/// Which transport is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportChoice {
    /// io_uring where it is to be had, else `/dev/fuse`.
    #[default]
    Auto,
    /// `/dev/fuse`.
    Classic,
    /// io_uring or nothing.
    Uring,
}

/// Which transport a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Requests are read from `/dev/fuse`.
    Classic(NoRing),
    /// Requests come through a ring for each CPU.
    Uring,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Transport::Classic(_) => "classic",
            Transport::Uring => "io_uring",
        })
    }
}

/// Why a session has no rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRing {
    /// They were not wanted.
    #[error("io_uring was not asked for")]
    NotWanted,
    /// The kernel's fuse module is told not to.
    #[error("the kernel's fuse module has io_uring switched off ({ENABLE_URING} is N)")]
    Disabled,
    /// The kernel is too old or was built without.
    #[error("this kernel has no FUSE over io_uring (it came with Linux 6.14)")]
    Unknown,
    /// No ring can be made.
    #[error(
        "io_uring cannot be used: {0} (see the sysctl kernel.io_uring_disabled, and whether a \
         container forbids it)"
    )]
    Setup(Errno),
    /// The number of CPUs is not known, or has holes.
    #[error("/sys/devices/system/cpu/possible does not tell the number of CPUs")]
    Cpus,
    /// The kernel refused when all was agreed.
    #[error("the kernel refused the rings: {0}")]
    Refused(Errno),
}

impl NoRing {
    /// Why the kernel does not offer rings.
    pub(crate) fn not_offered() -> NoRing {
        match std::path::Path::new(ENABLE_URING).exists() {
            true => NoRing::Disabled,
            false => NoRing::Unknown,
        }
    }
}
