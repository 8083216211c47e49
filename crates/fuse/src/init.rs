//! What is asked of the kernel, and what it grants (INIT).

use crate::abi;
use crate::flags::flag_set;
use crate::transport::TransportChoice;

flag_set! {
    /// Features of a connection (`FUSE_*` in the kernel's header), negotiated
    /// bit by bit: what both sides have is in force.
    pub struct InitFlags(u64) {
        /// Reads of one file may be in flight side by side.
        ASYNC_READ = 1 << 0;
        /// POSIX locks are the file system's affair.
        POSIX_LOCKS = 1 << 1;
        /// `O_TRUNC` comes with OPEN rather than as SETATTR.
        ATOMIC_O_TRUNC = 1 << 3;
        /// LOOKUP of `.` and `..` by node, for NFS export.
        EXPORT_SUPPORT = 1 << 4;
        /// Writes larger than 4 KiB.
        BIG_WRITES = 1 << 5;
        /// The umask is applied by the file system (default ACLs need it).
        DONT_MASK = 1 << 6;
        /// Splice from the device.
        SPLICE_WRITE = 1 << 7;
        /// Move pages when splicing.
        SPLICE_MOVE = 1 << 8;
        /// Splice to the device.
        SPLICE_READ = 1 << 9;
        /// BSD locks are the file system's affair.
        FLOCK_LOCKS = 1 << 10;
        /// Ioctl on directories.
        HAS_IOCTL_DIR = 1 << 11;
        /// Changed attributes invalidate cached data.
        AUTO_INVAL_DATA = 1 << 12;
        /// READDIRPLUS is used.
        DO_READDIRPLUS = 1 << 13;
        /// ... but only where attributes seem wanted.
        READDIRPLUS_AUTO = 1 << 14;
        /// Asynchronous direct I/O.
        ASYNC_DIO = 1 << 15;
        /// Writes are cached. Excludes passthrough.
        WRITEBACK_CACHE = 1 << 16;
        /// ENOSYS to OPEN turns it off.
        NO_OPEN_SUPPORT = 1 << 17;
        /// Lookups and listings of one directory side by side.
        PARALLEL_DIROPS = 1 << 18;
        /// The file system drops setuid and setgid on write, truncate, chown.
        HANDLE_KILLPRIV = 1 << 19;
        /// ACLs are checked by the kernel; implies `default_permissions`.
        POSIX_ACL = 1 << 20;
        /// Reading the device after an abort gives ECONNABORTED.
        ABORT_ERROR = 1 << 21;
        /// Requests larger than 128 KiB.
        MAX_PAGES = 1 << 22;
        /// Targets of symbolic links are cached.
        CACHE_SYMLINKS = 1 << 23;
        /// ENOSYS to OPENDIR turns it off.
        NO_OPENDIR_SUPPORT = 1 << 24;
        /// Cached data are dropped on notification only.
        EXPLICIT_INVAL_DATA = 1 << 25;
        /// DAX mappings have an alignment.
        MAP_ALIGNMENT = 1 << 26;
        /// Directories may be submounts.
        SUBMOUNTS = 1 << 27;
        /// As `HANDLE_KILLPRIV`, told request by request, and only where the
        /// caller lacks `CAP_FSETID` (5.11).
        HANDLE_KILLPRIV_V2 = 1 << 28;
        /// SETXATTR carries flags of its own (5.12).
        SETXATTR_EXT = 1 << 29;
        /// INIT has a second word of flags (5.17).
        INIT_EXT = 1 << 30;
        /// Creations carry a security context.
        SECURITY_CTX = 1 << 32;
        /// DAX file by file.
        HAS_INODE_DAX = 1 << 33;
        /// Creations carry a supplementary group.
        CREATE_SUPP_GROUP = 1 << 34;
        /// Entries can be told to expire (6.2).
        HAS_EXPIRE_ONLY = 1 << 35;
        /// Shared mmap of files open with `DIRECT_IO` (6.6).
        DIRECT_IO_ALLOW_MMAP = 1 << 36;
        /// Files can be backed by other files (6.9).
        PASSTHROUGH = 1 << 37;
        /// File handles are refused rather than unreliable (6.9).
        NO_EXPORT_SUPPORT = 1 << 38;
        /// Requests can be asked for again (6.9).
        HAS_RESEND = 1 << 39;
        /// Idmapped mounts (6.12).
        ALLOW_IDMAP = 1 << 40;
        /// Requests over io_uring (6.14).
        OVER_IO_URING = 1 << 41;
        /// Requests time out (6.15).
        REQUEST_TIMEOUT = 1 << 42;
    }
}

/// Features in which this library itself takes part, or that bind it, and that
/// a wish alone cannot bring. Rings are asked for by [`Config::transport`].
const UNSUPPORTED: InitFlags = InitFlags::OVER_IO_URING
    .with(InitFlags::SPLICE_READ)
    .with(InitFlags::SPLICE_WRITE)
    .with(InitFlags::SPLICE_MOVE)
    .with(InitFlags::MAP_ALIGNMENT);

/// What a session asks for. The default suits a file system on local disks
/// that nobody else changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Features wanted; each is in force only if the kernel has it too.
    pub flags: InitFlags,
    /// Passthrough: how many file systems may be stacked below this one, 1 or
    /// 2, itself counted; 0 turns passthrough off.
    pub max_stack_depth: u32,
    /// Largest request, in pages of 4 KiB: 1..=65535. Kernels cap it (256, or
    /// the sysctl `fs.fuse.max_pages_limit`).
    pub max_pages: u16,
    /// Upper bound of the kernel's read-ahead in bytes.
    pub max_readahead: u32,
    /// Asynchronous requests in flight; 0 leaves the kernel's default.
    pub max_background: u16,
    /// ... from which on the device counts as congested; 0: the default.
    pub congestion_threshold: u16,
    /// Granularity of times in nanoseconds.
    pub time_gran: u32,
    /// Seconds after which the kernel gives a request up; 0: never.
    pub request_timeout: u16,
    /// Reader threads at work at once under load; 0 means one per CPU and at
    /// least 2. One alone waits for requests, the others join when needed.
    pub threads: usize,
    /// Upper bound of reader threads. Those in a
    /// [`blocking_section`](crate::blocking_section) do not count, up to four times
    /// as many.
    pub max_threads: usize,
    /// Gives each reader a descriptor of its own, where the kernel can.
    pub clone_fd: bool,
    /// How requests are to come. With rings, `threads` does not count, and
    /// `max_threads` bounds the threads that are added under load.
    pub transport: TransportChoice,
    /// With rings: threads wait and serve short requests under `SCHED_IDLE`, so
    /// that clients stay on their CPUs, where the process may leave that class
    /// again (`CAP_SYS_NICE`, or an `RLIMIT_NICE` of 20 and more).
    pub idle_class: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            flags: InitFlags::ASYNC_READ
                | InitFlags::ATOMIC_O_TRUNC
                | InitFlags::BIG_WRITES
                | InitFlags::DONT_MASK
                | InitFlags::DO_READDIRPLUS
                | InitFlags::READDIRPLUS_AUTO
                | InitFlags::ASYNC_DIO
                | InitFlags::PARALLEL_DIROPS
                | InitFlags::MAX_PAGES
                | InitFlags::CACHE_SYMLINKS
                | InitFlags::EXPLICIT_INVAL_DATA
                | InitFlags::HANDLE_KILLPRIV_V2
                | InitFlags::SETXATTR_EXT
                | InitFlags::HAS_EXPIRE_ONLY
                | InitFlags::DIRECT_IO_ALLOW_MMAP,
            max_stack_depth: 0,
            max_pages: 256,
            max_readahead: u32::MAX,
            max_background: 64,
            congestion_threshold: 48,
            time_gran: 1,
            request_timeout: 0,
            threads: 0,
            max_threads: 64,
            clone_fd: true,
            transport: TransportChoice::Auto,
            idle_class: true,
        }
    }
}

/// What was agreed upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Minor version in use: the smaller of both sides'.
    pub minor: u32,
    /// Features in force.
    pub flags: InitFlags,
    /// Features that the kernel offered.
    pub offered: InitFlags,
    /// Largest WRITE in bytes.
    pub max_write: u32,
    /// Largest request in the kernel's pages.
    pub max_pages: u16,
    /// Read-ahead in bytes.
    pub max_readahead: u32,
    /// Whether files may be opened with
    /// [`OpenFlags::PASSTHROUGH`](crate::OpenFlags::PASSTHROUGH). Registering
    /// a backing file needs `CAP_SYS_ADMIN` besides.
    pub passthrough: bool,
}

impl Negotiated {
    /// Whether all these features are in force.
    pub fn has(&self, flags: InitFlags) -> bool {
        self.flags.contains(flags)
    }

    /// Bytes of the largest request or answer: the kernel bounds direct reads by
    /// its pages alone.
    pub(crate) fn largest(&self) -> usize {
        largest(self.max_pages, rustix::param::page_size()).max(self.max_write as usize)
    }
}

fn largest(max_pages: u16, page_size: usize) -> usize {
    usize::from(max_pages) * page_size
}

/// As many of the kernel's pages as hold so many of 4 KiB, but at least one.
fn kernel_pages(pages: u16, page_size: usize) -> u16 {
    u16::try_from(usize::from(pages) * 4096 / page_size).unwrap_or(u16::MAX).max(1)
}

/// Pages per request without `MAX_PAGES`.
const DEFAULT_MAX_PAGES: u16 = 32;

/// Works out the agreement and the answer to an INIT request.
///
/// `rings`: requests shall come through rings, which are ready to be used.
pub(crate) fn negotiate(
    config: &Config,
    init: &abi::InitIn,
    rings: bool,
) -> (Negotiated, abi::InitOut) {
    let offered = offered(init);
    let mut flags = wanted(config) & offered;
    if rings {
        flags |= InitFlags::OVER_IO_URING & offered;
    }
    let max_pages = if flags.contains(InitFlags::MAX_PAGES) {
        kernel_pages(config.max_pages, rustix::param::page_size())
    } else {
        DEFAULT_MAX_PAGES
    };
    let most = largest(max_pages, rustix::param::page_size());
    let negotiated = Negotiated {
        minor: init.minor.min(abi::KERNEL_MINOR_VERSION),
        flags,
        offered,
        max_write: u32::try_from(most).unwrap_or(u32::MAX),
        max_pages,
        max_readahead: init.max_readahead.min(config.max_readahead),
        passthrough: flags.contains(InitFlags::PASSTHROUGH),
    };
    let out = abi::InitOut {
        major: abi::KERNEL_VERSION,
        minor: negotiated.minor,
        max_readahead: negotiated.max_readahead,
        flags: flags.bits() as u32,
        max_background: config.max_background,
        congestion_threshold: config.congestion_threshold,
        max_write: negotiated.max_write,
        time_gran: config.time_gran,
        max_pages,
        flags2: (flags.bits() >> 32) as u32,
        max_stack_depth: if negotiated.passthrough { config.max_stack_depth } else { 0 },
        request_timeout: config.request_timeout,
        ..abi::InitOut::default()
    };
    (negotiated, out)
}

/// What the kernel can do.
pub(crate) fn offered(init: &abi::InitIn) -> InitFlags {
    let mut offered = u64::from(init.flags);
    if offered & InitFlags::INIT_EXT.bits() != 0 {
        offered |= u64::from(init.flags2) << 32;
    }
    InitFlags::from_bits(offered)
}

/// The wishes, made consistent.
fn wanted(config: &Config) -> InitFlags {
    let mut flags = config.flags.without(UNSUPPORTED) | InitFlags::INIT_EXT;
    // The kernel ignores passthrough with a depth out of range or with cached
    // writes, and does not say so.
    let depth_ok = (1..=2).contains(&config.max_stack_depth);
    if depth_ok && !flags.contains(InitFlags::WRITEBACK_CACHE) {
        flags |= InitFlags::PASSTHROUGH;
    } else {
        flags = flags.without(InitFlags::PASSTHROUGH);
    }
    if config.request_timeout > 0 {
        flags |= InitFlags::REQUEST_TIMEOUT;
    } else {
        flags = flags.without(InitFlags::REQUEST_TIMEOUT);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init(minor: u32, flags: InitFlags) -> abi::InitIn {
        abi::InitIn {
            major: 7,
            minor,
            max_readahead: 131072,
            flags: flags.bits() as u32,
            flags2: (flags.bits() >> 32) as u32,
            ..abi::InitIn::default()
        }
    }

    #[test]
    fn an_old_kernel_gets_no_new_flags() {
        // Linux 5.10: no INIT_EXT, so the second word is noise.
        let old = InitFlags::ASYNC_READ | InitFlags::MAX_PAGES | InitFlags::PASSTHROUGH;
        let config = Config { max_stack_depth: 1, ..Config::default() };
        let (agreed, out) = negotiate(&config, &init(32, old), false);
        assert_eq!(agreed.flags, InitFlags::ASYNC_READ | InitFlags::MAX_PAGES);
        assert!(!agreed.passthrough);
        assert_eq!((out.minor, out.flags2, out.max_stack_depth), (32, 0, 0));
        assert_eq!(out.max_write, 1 << 20);
    }

    /// A direct read is as long as the kernel's pages allow, which may be of 64 KiB.
    #[test]
    fn large_pages_make_no_larger_requests() {
        assert_eq!(kernel_pages(256, 4096), 256);
        assert_eq!(largest(kernel_pages(256, 65536), 65536), 1 << 20);
        assert_eq!(kernel_pages(1, 65536), 1);
        let none = negotiate(&Config::default(), &init(32, InitFlags::empty()), false).0;
        assert_eq!(none.largest(), 32 * rustix::param::page_size());
    }

    #[test]
    fn passthrough_needs_a_depth_and_no_writeback() {
        let all = InitFlags::from_bits(u64::MAX);
        let ask = |depth, more| {
            let config = Config {
                max_stack_depth: depth,
                flags: Config::default().flags | more,
                ..Config::default()
            };
            negotiate(&config, &init(45, all), false).0.passthrough
        };
        assert!(ask(1, InitFlags::empty()));
        assert!(ask(2, InitFlags::empty()));
        assert!(!ask(0, InitFlags::PASSTHROUGH));
        assert!(!ask(3, InitFlags::empty()));
        assert!(!ask(1, InitFlags::WRITEBACK_CACHE));
    }

    #[test]
    fn a_newer_kernel_gets_our_minor_version() {
        let (agreed, out) = negotiate(&Config::default(), &init(99, InitFlags::MAX_PAGES), true);
        assert_eq!((agreed.minor, out.minor), (45, 45));
    }
}
