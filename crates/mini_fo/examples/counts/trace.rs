//! What strace(1) has seen, sorted into periods.

use std::collections::BTreeMap;
use std::path::Path;

/// What one period has cost.
#[derive(Default)]
pub struct Tally {
    /// Requests by name.
    pub requests: BTreeMap<String, u32>,
    /// System calls that did the work.
    pub calls: BTreeMap<String, u32>,
    /// System calls that fetched requests and delivered answers.
    pub transport: BTreeMap<String, u32>,
}

impl Tally {
    /// Fewer requests first, then fewer calls.
    pub fn weight(&self) -> (u32, u32) {
        (self.requests.values().sum(), self.calls.values().sum())
    }
}

/// Reads the traces in a directory. A call counts where it ended.
pub fn read(dir: &Path, periods: &[(f64, f64)]) -> std::io::Result<Vec<Tally>> {
    let mut tallies: Vec<Tally> = periods.iter().map(|_| Tally::default()).collect();
    for entry in std::fs::read_dir(dir)? {
        let text = std::fs::read(entry?.path())?;
        for line in String::from_utf8_lossy(&text).lines() {
            let Some(call) = Call::parse(line) else { continue };
            let at = periods.iter().position(|(from, to)| (*from..*to).contains(&call.end));
            if let Some(tally) = at.and_then(|at| tallies.get_mut(at)) {
                call.enter(tally);
            }
        }
    }
    Ok(tallies)
}

struct Call<'a> {
    end: f64,
    name: &'a str,
    args: &'a str,
    failed: bool,
}

impl Call<'_> {
    /// `1700000000.000001 read(5</dev/fuse>, "\x38"..., 4096) = 56 <0.000002>`
    fn parse(line: &str) -> Option<Call<'_>> {
        let (begin, rest) = line.split_once(' ')?;
        let (name, rest) = rest.split_once('(')?;
        let (rest, took) = rest.strip_suffix('>')?.rsplit_once(" <")?;
        let (args, result) = rest.rsplit_once(" = ")?;
        let end = begin.parse::<f64>().ok()? + took.parse::<f64>().ok()?;
        Some(Call { end, name, args, failed: result.starts_with('-') })
    }

    fn enter(&self, tally: &mut Tally) {
        let count = |counts: &mut BTreeMap<String, u32>, name: &str| {
            *counts.entry(name.to_owned()).or_default() += 1;
        };
        let device = self.args.split(',').next().is_some_and(|fd| fd.contains(&device_path()));
        match self.name {
            // Looking whether there is anything, and waiting.
            "read" if device && self.failed => {}
            "sched_yield" | "futex" | "clock_nanosleep" | "restart_syscall" => {}
            // Memory and threads, now and then.
            "mmap" | "munmap" | "mprotect" | "madvise" | "brk" | "clone3" | "rseq" | "gettid"
            | "prctl" | "set_robust_list" | "sigaltstack" | "rt_sigprocmask" | "exit"
            | "sched_getaffinity" | "umask" | "unshare" => {}
            "read" if device => {
                count(&mut tally.transport, "read");
                if let Some(name) = self.request() {
                    count(&mut tally.requests, &name);
                }
            }
            "write" | "writev" if device => {
                let kind = if self.is_notification() { "write (notification)" } else { "write" };
                count(&mut tally.transport, kind);
            }
            "io_uring_enter" => count(&mut tally.transport, self.name),
            "ioctl" if device => count(&mut tally.calls, "ioctl (backing file)"),
            // Numbers that strace has no name for yet.
            "syscall_0x1c4" => count(&mut tally.calls, "fchmodat2"),
            "syscall_0x1d0" => count(&mut tally.calls, "getxattrat"),
            name => count(&mut tally.calls, name),
        }
    }

    /// `len` bytes at `from` of the first buffer of the arguments, as a number.
    fn number(&self, from: usize, len: usize) -> Option<u64> {
        let bytes = self.args.split('"').nth(1)?;
        let mut bytes = bytes.split("\\x").skip(1 + from);
        let mut number = 0;
        for nth in 0..len {
            number |= u64::from_str_radix(bytes.next()?, 16).ok()? << (8 * nth);
        }
        Some(number)
    }

    /// The operation in the header of a request.
    fn request(&self) -> Option<String> {
        let code = usize::try_from(self.number(4, 4)?).ok()?;
        let name = NAMES.iter().find(|(known, _)| *known == code);
        Some(name.map_or_else(|| format!("operation {code}"), |(_, name)| (*name).to_owned()))
    }

    /// Messages that answer nothing have no number.
    fn is_notification(&self) -> bool {
        self.number(8, 8) == Some(0)
    }
}

/// `/dev/fuse`, as strace shows it here.
fn device_path() -> String {
    b"/dev/fuse".iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// `enum fuse_opcode` of linux/fuse.h.
const NAMES: &[(usize, &str)] = &[
    (1, "LOOKUP"),
    (2, "FORGET"),
    (3, "GETATTR"),
    (4, "SETATTR"),
    (5, "READLINK"),
    (6, "SYMLINK"),
    (8, "MKNOD"),
    (9, "MKDIR"),
    (10, "UNLINK"),
    (11, "RMDIR"),
    (12, "RENAME"),
    (13, "LINK"),
    (14, "OPEN"),
    (15, "READ"),
    (16, "WRITE"),
    (17, "STATFS"),
    (18, "RELEASE"),
    (20, "FSYNC"),
    (21, "SETXATTR"),
    (22, "GETXATTR"),
    (23, "LISTXATTR"),
    (24, "REMOVEXATTR"),
    (25, "FLUSH"),
    (27, "OPENDIR"),
    (28, "READDIR"),
    (29, "RELEASEDIR"),
    (34, "ACCESS"),
    (35, "CREATE"),
    (42, "BATCH_FORGET"),
    (44, "READDIRPLUS"),
    (45, "RENAME2"),
    (46, "LSEEK"),
    (51, "TMPFILE"),
    (52, "STATX"),
];
