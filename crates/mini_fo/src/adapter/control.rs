//! The control channel's end in the daemon: who is answered, and what.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use fuse_server::{IoctlArgs, IoctlReply, Request, Result};
use mini_fo_core::{MetaName, NodeId, Overlay};
use rustix::io::Errno;

use super::caller;
use crate::cli::changes::{self, out::Out};
use crate::control::server::{Answer, Sessions};
use crate::control::wire::{self, FETCH, Info, PathBytes, SEND, Trouble};
use crate::usage::Usage;

/// What only who has mounted it knows of a mount.
#[derive(Debug, Default)]
pub struct Facts {
    /// Where it was mounted.
    pub mountpoint: PathBuf,
    /// The trees that are only read, from the top down.
    pub layers: Vec<PathBuf>,
    /// What receives the changes; empty: there is none.
    pub storage: PathBuf,
    /// What META is called there.
    pub meta_name: MetaName,
}

#[derive(Default)]
pub(super) struct Control {
    sessions: Sessions,
    facts: Arc<Facts>,
}

/// An ioctl of the channel.
pub(super) fn is(cmd: u32) -> bool {
    matches!(cmd, SEND | FETCH)
}

impl Control {
    pub fn new(facts: Facts) -> Control {
        Control { sessions: Sessions::default(), facts: Arc::new(facts) }
    }

    /// ENOTTY for who has no business here, as if there were no channel.
    pub fn ioctl(
        &self,
        overlay: &Arc<Overlay>,
        req: &Request,
        args: &IoctlArgs<'_>,
        out: &mut [u8],
    ) -> Result<IoctlReply> {
        if !args.dir || !is_answered(req) {
            return Err(Errno::NOTTY);
        }
        let len = match args.cmd {
            FETCH => self.sessions.fetch(args.fh, out)?,
            _ => {
                let (overlay, facts) = (Arc::clone(overlay), Arc::clone(&self.facts));
                let directory = NodeId(req.node);
                self.sessions.send(args.fh, args.input, move |request, answer| {
                    carry_out(&overlay, &facts, directory, &request, answer)
                })?;
                0
            }
        };
        Ok(IoctlReply { result: 0, len })
    }

    pub fn closed(&self, handle: u64) {
        self.sessions.closed(handle);
    }
}

/// Root, and who has mounted it.
fn is_answered(req: &Request) -> bool {
    let own = rustix::process::geteuid().as_raw();
    caller::fsuid(req).is_some_and(|user| user == 0 || user == own)
}

fn carry_out(
    overlay: &Overlay,
    facts: &Facts,
    directory: NodeId,
    request: &wire::Request,
    answer: &mut Answer,
) -> io::Result<()> {
    match request {
        wire::Request::Info => answer.line(&info(overlay, facts, directory)),
        wire::Request::Status(form) => {
            in_parts(answer, form.colored, |out| changes::status::show(overlay, form, out))
        }
        wire::Request::Diff(form) => {
            in_parts(answer, form.colored, |out| changes::diff::show(overlay, form, out))
        }
        wire::Request::Usage(wanted) => match Usage::of(overlay, wanted) {
            Ok(usage) => answer.line(&usage),
            Err(errno) => answer.line(&Trouble {
                trouble: format!("the storage cannot be read: {errno}"),
                errno: Some(errno.raw_os_error()),
            }),
        },
    }
}

/// Shows changes as text in parts, and how it ended.
fn in_parts(
    answer: &mut Answer,
    colored: bool,
    show: impl FnOnce(&mut Out<'_>) -> rustix::io::Result<wire::Seen>,
) -> io::Result<()> {
    let mut out = Out::into_answer(answer, colored);
    let seen = show(&mut out);
    // Who does not read any more needs no end either.
    out.finish().map_err(|_| io::ErrorKind::BrokenPipe)?;
    answer.write_all(&0u32.to_ne_bytes())?;
    match seen {
        Ok(seen) => answer.line(&seen),
        Err(errno) => answer.line(&Trouble {
            trouble: format!("the tree cannot be read: {errno}"),
            errno: Some(errno.raw_os_error()),
        }),
    }
}

fn info(overlay: &Overlay, facts: &Facts, directory: NodeId) -> Info {
    let bytes = |path: &PathBuf| PathBytes(path.as_os_str().as_encoded_bytes().to_vec());
    let storage = (!facts.storage.as_os_str().is_empty()).then(|| bytes(&facts.storage));
    Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        path: PathBytes(overlay.shown_path(directory)),
        mountpoint: bytes(&facts.mountpoint),
        base: facts.layers.iter().map(bytes).collect(),
        storage,
        meta_name: facts.meta_name.to_string(),
        read_only: overlay.is_read_only(),
    }
}
