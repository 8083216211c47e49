//! The daemon is killed at any moment, in the midst of a step, too. What was
//! acknowledged is there afterwards; the step itself may have happened or not.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::case::{Case, Step};
use super::ops::Op;
use super::stage::{Stage, directory};
use crate::cli::daemon;

/// What a step that failed may have changed.
#[derive(Default)]
struct Doubtful {
    names: BTreeSet<u8>,
    inodes: BTreeSet<usize>,
}

impl Doubtful {
    fn of(case: &Case<'_>, op: &Op) -> Doubtful {
        let (names, fds): (Vec<u8>, Vec<u8>) = match *op {
            Op::Open { name, fd, .. } | Op::Create { name, fd } => (vec![name], vec![fd]),
            Op::Reopen { fd, from, .. } => (vec![], vec![fd, from]),
            Op::Truncate { name, .. }
            | Op::Chmod { name, .. }
            | Op::Chown { name, .. }
            | Op::SetXattr { name, .. }
            | Op::RemoveXattr { name }
            | Op::Unlink { name } => (vec![name], vec![]),
            Op::Rename { from, to } | Op::Exchange { from, to } | Op::Link { from, to } => {
                (vec![from, to], vec![])
            }
            Op::CopyRange { from, to, .. } | Op::Sendfile { from, to, .. } => {
                (vec![], vec![from, to])
            }
            Op::Write { fd, .. }
            | Op::Ftruncate { fd, .. }
            | Op::Fallocate { fd, .. }
            | Op::Fchmod { fd, .. } => (vec![], vec![fd]),
            _ => (vec![], vec![]),
        };
        let by_fd = fds.iter().filter_map(|fd| case.fds.get(fd)).map(|fd| fd.inode);
        let by_name = names.iter().filter_map(|name| case.model.names.get(name)).copied();
        let inodes = by_fd.chain(by_name).collect();
        Doubtful { names: names.into_iter().collect(), inodes }
    }
}

/// The kernel says that there is no daemon any more: ECANCELED by io_uring, EIO for
/// a request that was just being handed over.
fn is_end(what: &str) -> bool {
    let said = |number: i32| {
        let texts = [format!("os error {number})"), format!("code: {number},")];
        texts.iter().any(|text| what.contains(text))
    };
    [libc::ENOTCONN, libc::ECONNABORTED, libc::ECANCELED].into_iter().any(said) || said(libc::EIO)
}

impl Stage {
    /// Runs a case until its daemon is killed, `delay` after the step with
    /// number `from`, and looks at what is left.
    pub fn run_killed(&mut self, ops: &[Op], from: usize, delay: Duration) -> Step {
        let mine = directory(self.next);
        let mut case = self.case();
        let pid = rustix::process::Pid::from_raw(daemon(&self.scene)).ok_or("no daemon")?;
        let mut killer = None;
        let mut doubtful = Doubtful::default();
        for (step, op) in ops.iter().enumerate() {
            // Not acknowledged before a later step, or told of by a panic.
            if matches!(op, Op::MapWrite { .. } | Op::Utimes { .. } | Op::Remount | Op::DropCaches)
            {
                continue;
            }
            if step >= from && killer.is_none() {
                killer = Some(thread::spawn(move || {
                    thread::sleep(delay);
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL)
                }));
            }
            let may_change = Doubtful::of(&case, op);
            match case.apply(op) {
                Ok(()) => {}
                Err(what) if killer.is_some() && is_end(&what) => {
                    doubtful = may_change;
                    break;
                }
                Err(what) => return Err(format!("step {step}, {op:?}: {what}")),
            }
        }
        match killer {
            Some(killer) => drop(killer.join()),
            None => drop(rustix::process::kill_process(pid, rustix::process::Signal::KILL)),
        }
        self.mount_again(&mut case)?;
        // What it leaves out it does not know: the names go, and a file all of them.
        let model = &case.model;
        let known: Vec<u8> = (0..case.names.len() as u8)
            .filter(|name| !doubtful.names.contains(name))
            .filter(|name| !model.names.get(name).is_some_and(|i| doubtful.inodes.contains(i)))
            .collect();
        case.check_these(&known).map_err(|what| format!("after the kill: {what}"))?;
        self.remount()?;
        case.check_these(&known).map_err(|what| format!("after a remount: {what}"))?;
        self.check_base(&mine)
    }
}
