//! The control channel's end in the daemon: who is answered, and what.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fuse_server::{IoctlArgs, IoctlReply, Notifier, Request, Result};
use mini_fo_core::{Discarded, MetaName, NodeId, OpenDir, OpenNow, Overlay};
use rustix::io::Errno;
use serde::Serialize;

use super::caller;
use super::data::Files;
use crate::cli::changes::{self, out::Out};
use crate::control::server::{Answer, Sessions};
use crate::control::wire::{self, FETCH, Info, PathBytes, SEND, Trouble};
use crate::handles::Handles;
use crate::secret::is_same;
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
    /// Who asks for a commit must tell this; `None`: nobody need.
    pub commit_key: Option<String>,
}

/// So long between two times that it is told how far a commit is.
const BETWEEN: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(super) struct Control {
    sessions: Sessions,
    facts: Arc<Facts>,
    /// The way to the kernel, once it is connected.
    notifier: Arc<OnceLock<Notifier>>,
}

/// An ioctl of the channel.
pub(super) fn is(cmd: u32) -> bool {
    matches!(cmd, SEND | FETCH)
}

impl Control {
    pub fn new(facts: Facts) -> Control {
        Control { facts: Arc::new(facts), ..Control::default() }
    }

    /// The kernel is there.
    pub fn connect(&self, notifier: &Notifier) {
        // It is connected once.
        let _ = self.notifier.set(notifier.clone());
    }

    /// ENOTTY for who has no business here, as if there were no channel.
    pub fn ioctl(
        &self,
        overlay: &Arc<Overlay>,
        (files, dirs): (&Arc<Files>, &Arc<Handles<OpenDir>>),
        (req, args): (&Request, &IoctlArgs<'_>),
        out: &mut [u8],
    ) -> Result<IoctlReply> {
        if !args.dir || !is_answered(req) {
            return Err(Errno::NOTTY);
        }
        let len = match args.cmd {
            FETCH => self.sessions.fetch(args.fh, out)?,
            _ => {
                let (overlay, facts) = (Arc::clone(overlay), Arc::clone(&self.facts));
                let notifier = Arc::clone(&self.notifier);
                let served = Served { overlay, files: Arc::clone(files), dirs: Arc::clone(dirs) };
                let directory = NodeId(req.node);
                self.sessions.send(args.fh, args.input, move |request, answer| {
                    if let wire::Request::Commit(form) = &request {
                        return commit(&served, &facts, form, answer);
                    }
                    carry_out((&served.overlay, &notifier), &facts, directory, &request, answer)
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

/// What a mount serves, and who uses it.
struct Served {
    overlay: Arc<Overlay>,
    files: Arc<Files>,
    dirs: Arc<Handles<OpenDir>>,
}

impl Served {
    fn open_now(&self) -> OpenNow {
        OpenNow {
            files: self.files.in_use(),
            dirs: self.dirs.all(),
            outlived: self.files.pass_by(),
        }
    }
}

/// No request is served meanwhile, but those of this channel; so nothing is told before the
/// end, for who listens may not be served either.
fn commit(
    served: &Served,
    facts: &Facts,
    form: &wire::CommitForm,
    answer: &mut Answer,
) -> io::Result<()> {
    // What runs apart does not decide that it comes into the base.
    let knows = |key: &String| form.key.as_ref().is_some_and(|told| is_same(told, key));
    if !facts.commit_key.as_ref().is_none_or(knows) {
        answer.write_all(&0u32.to_ne_bytes())?;
        let text = "a run is committed from outside of it: 'mini_fo list' there tells its name, and \
                    'mini_fo commit NAME' commits it; nothing was changed";
        return answer.line(&Trouble { trouble: text.to_owned(), errno: None });
    }
    let base = facts.layers.first().map(PathBuf::as_path).unwrap_or_else(|| Path::new(""));
    let mut text = Vec::new();
    let mut out = Out::into_answer(&mut text, form.colored);
    let told = RefCell::new((&mut *answer, Instant::now()));
    let each = |done: u64, all: u64| {
        let (answer, last) = &mut *told.borrow_mut();
        if !form.progress || done < all && last.elapsed() < BETWEEN {
            return true;
        }
        *last = Instant::now();
        tell_progress(answer, wire::Progress { done, all }).is_ok()
    };
    let site = changes::commit::live::Site {
        each: &each,
        overlay: &served.overlay,
        base,
        storage: &facts.storage,
        open_now: &|| served.open_now(),
        renew: &|renewed| served.files.renew(renewed),
        tell: &|renewed| served.files.tell_renewed(renewed),
    };
    let seen = changes::commit::live::answer(&site, form, &mut out);
    // It goes to memory, and that is to be had.
    let _ = out.finish();
    answer.write_all(&text)?;
    answer.write_all(&0u32.to_ne_bytes())?;
    match seen {
        Ok(seen) => answer.line(&seen),
        Err(failure) => answer.line(&Trouble { trouble: failure.message, errno: None }),
    }
}

/// A part that says how far it is.
fn tell_progress(answer: &mut Answer, progress: wire::Progress) -> io::Result<()> {
    let text = serde_json::to_vec(&progress)?;
    let len = u32::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    answer.write_all(&(len | wire::PROGRESS).to_ne_bytes())?;
    answer.write_all(&text)?;
    answer.flush()
}

fn carry_out(
    (overlay, notifier): (&Overlay, &OnceLock<Notifier>),
    facts: &Facts,
    directory: NodeId,
    request: &wire::Request,
    answer: &mut Answer,
) -> io::Result<()> {
    if let wire::Request::Info = request {
        return answer.line(&info(overlay, facts, directory));
    }
    let pass = overlay.pass();
    if let Err(errno) = pass {
        let trouble = "a commit into its base was not finished: unmount it, and finish that";
        return answer
            .line(&Trouble { trouble: trouble.to_owned(), errno: Some(errno.raw_os_error()) });
    }
    match request {
        wire::Request::Info | wire::Request::Commit(_) => Ok(()),
        wire::Request::Status(form) => {
            let show = |out: &mut Out<'_>| changes::status::show(overlay, form, out);
            in_parts(answer, form.colored, show, unreadable)
        }
        wire::Request::Diff(form) => {
            let show = |out: &mut Out<'_>| changes::diff::show(overlay, form, out);
            in_parts(answer, form.colored, show, unreadable)
        }
        wire::Request::Discard(form) => {
            let mut tell = |told: &Discarded| forget(notifier, told);
            let discard =
                |out: &mut Out<'_>| changes::discard::carry_out(overlay, form, out, &mut tell);
            in_parts(answer, form.colored, discard, changes::discard::failure)
        }
        wire::Request::Content(form) => {
            let show = |out: &mut Out<'_>| changes::content::show(overlay, form, out);
            in_parts(answer, false, show, unreadable)
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

fn unreadable(errno: Errno) -> String {
    format!("the tree cannot be read: {errno}")
}

/// Lets the kernel forget what it knows of names that stand for something else now.
fn forget(notifier: &OnceLock<Notifier>, told: &Discarded) {
    let Some(notifier) = notifier.get() else { return };
    // Who watches the object hears of it. That the kernel does not know it is no error.
    for (parent, node, name) in &told.removed {
        let _ = notifier.delete(parent.0, node.0, name);
    }
    for (parent, name) in &told.names {
        let _ = notifier.inval_entry(parent.0, name);
    }
    // Attributes alone: what is open goes on with its data.
    for node in &told.parted {
        let _ = notifier.inval_inode(node.0, -1, 0);
    }
    let mut dirs: Vec<u64> = told.names.iter().map(|(parent, _)| parent.0).collect();
    dirs.extend(told.nodes.iter().map(|node| node.0));
    dirs.sort_unstable();
    dirs.dedup();
    for dir in dirs {
        let _ = notifier.inval_inode(dir, 0, 0);
    }
}

/// Shows changes as text in parts, and how it ended.
fn in_parts<T: Serialize>(
    answer: &mut Answer,
    colored: bool,
    show: impl FnOnce(&mut Out<'_>) -> rustix::io::Result<T>,
    failure: fn(Errno) -> String,
) -> io::Result<()> {
    let mut out = Out::into_answer(answer, colored);
    let seen = show(&mut out);
    // Who does not read any more needs no end either.
    out.finish().map_err(|_| io::ErrorKind::BrokenPipe)?;
    answer.write_all(&0u32.to_ne_bytes())?;
    match seen {
        Ok(seen) => answer.line(&seen),
        Err(errno) => {
            answer.line(&Trouble { trouble: failure(errno), errno: Some(errno.raw_os_error()) })
        }
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
