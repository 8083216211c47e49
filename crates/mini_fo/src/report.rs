//! What a mount got from the system, and how to get more.
#![forbid(unsafe_code)]

use fuse_server::{ENABLE_URING, FileSystem, InitFlags, Negotiated, NoRing, Session, Transport};

use crate::exit::{Failure, code};
use crate::request::MountRequest;

/// What a mount got, each in words for its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How requests come: `io_uring` or `classic`.
    pub transport: String,
    /// How data go: `passthrough` or `cached`.
    pub data: String,
    /// Further capabilities in force, separated by blanks.
    pub capabilities: String,
    /// Why it is not more, and what would change that; empty: it is.
    pub advice: String,
}

impl Report {
    /// Of a session.
    pub fn of<F: FileSystem>(session: &Session<F>, request: &MountRequest) -> Report {
        let (transport, negotiated) = (session.transport(), session.negotiated());
        let root = rustix::process::geteuid().is_root();
        let advice = [ring_advice(transport), data_advice(negotiated, request.passthrough, root)];
        Report {
            transport: transport.to_string(),
            data: if negotiated.passthrough { "passthrough" } else { "cached" }.to_owned(),
            capabilities: capabilities(negotiated).join(" "),
            advice: advice.into_iter().flatten().collect::<Vec<_>>().join("; "),
        }
    }
}

fn ring_advice(transport: Transport) -> Option<String> {
    let Transport::Classic(why) = transport else { return None };
    Some(match why {
        NoRing::NotWanted => "io_uring was not asked for (transport=classic)".to_owned(),
        NoRing::Disabled => format!("{why}: mount with --enable-uring, as root"),
        why => why.to_string(),
    })
}

fn data_advice(negotiated: &Negotiated, wanted: bool, root: bool) -> Option<String> {
    let text = match (negotiated.passthrough, wanted, root) {
        (true, _, _) => return None,
        (_, false, _) => "passthrough was declined (nopassthrough)",
        (_, _, false) => "passthrough needs root",
        _ => "this kernel has no passthrough (it came with Linux 6.9)",
    };
    Some(text.to_owned())
}

fn capabilities(negotiated: &Negotiated) -> Vec<&'static str> {
    let named = [
        (InitFlags::POSIX_ACL, "acl"),
        (InitFlags::DO_READDIRPLUS, "readdirplus"),
        (InitFlags::CACHE_SYMLINKS, "cached-links"),
        (InitFlags::PARALLEL_DIROPS, "parallel-dirs"),
        (InitFlags::HANDLE_KILLPRIV_V2, "killpriv"),
        (InitFlags::DIRECT_IO_ALLOW_MMAP, "direct-mmap"),
    ];
    named.into_iter().filter(|(flag, _)| negotiated.has(*flag)).map(|(_, name)| name).collect()
}

/// Lets the kernel's fuse module use io_uring.
///
/// # Errors
/// EACCES for others than root; ENOENT: a kernel without.
pub fn enable_uring() -> Result<(), Failure> {
    match std::fs::read(ENABLE_URING) {
        Ok(now) if now.starts_with(b"Y") => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::new(code::MOUNT, NoRing::Unknown));
        }
        _ => {}
    }
    std::fs::write(ENABLE_URING, "Y")
        .map_err(|error| Failure::new(code::MOUNT, format!("{ENABLE_URING}: {error}")))
}
