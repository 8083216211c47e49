//! From a raw request to a method of the file system and to an answer.

mod attrs;
mod files;
mod names;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustix::io::Errno;

use crate::abi::{self, opcode};
use crate::init::Negotiated;
use crate::reply::ReplyBuf;
use crate::request::{Failure, RawRequest};
use crate::server::FileSystem;
use crate::types::Request;
use crate::wire;

/// Serves requests, whatever transport they come by.
#[derive(Debug)]
pub struct Dispatcher<F> {
    fs: Arc<F>,
    negotiated: Negotiated,
}

/// What a transport is to do after a request was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send what the [`ReplyBuf`] holds.
    Send,
    /// Nothing: the operation has no answer.
    None,
}

/// One request being served.
struct Call<'a, F> {
    fs: &'a F,
    raw: &'a RawRequest<'a>,
    req: Request,
    negotiated: &'a Negotiated,
}

type Handler<'a, F> = fn(&Call<'a, F>, &mut ReplyBuf<'_>) -> Result<(), Failure>;

impl<F: FileSystem> Dispatcher<F> {
    /// Serves requests by `fs` under the agreement `negotiated`.
    pub fn new(fs: Arc<F>, negotiated: Negotiated) -> Dispatcher<F> {
        Dispatcher { fs, negotiated }
    }

    /// The agreement.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// See [`FileSystem::give_back`].
    pub(crate) fn give_back(&self) {
        self.fs.give_back();
    }

    /// Serves a request. Never panics: a malformed request or a panic of the
    /// file system is logged and answered with EIO.
    pub fn dispatch(&self, raw: &RawRequest<'_>, reply: &mut ReplyBuf<'_>) -> Answer {
        let code = raw.header.opcode;
        let served = catch_unwind(AssertUnwindSafe(|| self.serve(raw, reply)));
        match served {
            Ok(Ok(())) => {}
            Ok(Err(Failure::Errno(errno))) => {
                let told = || self.fs.failed(&raw.request(), opcode::name(code), errno);
                if catch_unwind(AssertUnwindSafe(told)).is_err() {
                    tracing::error!(opcode = code, "a handler panicked");
                }
                reply.fail(errno);
            }
            Ok(Err(Failure::Malformed(what))) => {
                tracing::error!(opcode = code, node = raw.header.nodeid, what, "malformed request");
                reply.fail(Errno::IO);
            }
            Err(_) => {
                tracing::error!(opcode = code, node = raw.header.nodeid, "a handler panicked");
                reply.fail(Errno::IO);
            }
        }
        match code {
            opcode::FORGET | opcode::BATCH_FORGET => Answer::None,
            _ => Answer::Send,
        }
    }

    /// Takes back one lookup of `node`: the answer that counted it
    /// ([`ReplyBuf::entry`]) did not reach the kernel.
    pub fn undelivered(&self, node: u64) {
        let forget = AssertUnwindSafe(|| {
            // Who serves nothing any more needs to forget nothing.
            let _ = self.fs.serve(&mut || self.fs.forget(node, 1));
        });
        if catch_unwind(forget).is_err() {
            tracing::error!(node, "a handler panicked");
        }
    }

    fn serve(&self, raw: &RawRequest<'_>, reply: &mut ReplyBuf<'_>) -> Result<(), Failure> {
        let Some(handler) = handler(raw.header.opcode) else {
            return Err(Failure::Errno(Errno::NOSYS));
        };
        let call = Call { fs: &*self.fs, raw, req: raw.request(), negotiated: &self.negotiated };
        if raw.header.opcode == opcode::IOCTL {
            return handler(&call, reply);
        }
        let mut served = Ok(());
        self.fs.serve(&mut || served = handler(&call, reply)).map_err(Failure::Errno)?;
        served
    }
}

/// The operations served; `None` is answered with ENOSYS. For INTERRUPT that
/// tells the kernel to send no more of them.
fn handler<'a, F: FileSystem>(code: u32) -> Option<Handler<'a, F>> {
    Some(match code {
        opcode::LOOKUP => Call::lookup,
        opcode::FORGET => Call::forget,
        opcode::GETATTR => Call::getattr,
        opcode::SETATTR => Call::setattr,
        opcode::READLINK => Call::readlink,
        opcode::SYMLINK => Call::symlink,
        opcode::MKNOD => Call::mknod,
        opcode::MKDIR => Call::mkdir,
        opcode::UNLINK => Call::unlink,
        opcode::RMDIR => Call::rmdir,
        opcode::RENAME => Call::rename,
        opcode::LINK => Call::link,
        opcode::OPEN => Call::open,
        opcode::READ => Call::read,
        opcode::WRITE => Call::write,
        opcode::STATFS => Call::statfs,
        opcode::RELEASE => Call::release,
        opcode::FSYNC => Call::fsync,
        opcode::SETXATTR => Call::setxattr,
        opcode::GETXATTR => Call::getxattr,
        opcode::LISTXATTR => Call::listxattr,
        opcode::REMOVEXATTR => Call::removexattr,
        opcode::FLUSH => Call::flush,
        opcode::OPENDIR => Call::opendir,
        opcode::READDIR => Call::readdir,
        opcode::RELEASEDIR => Call::releasedir,
        opcode::FSYNCDIR => Call::fsyncdir,
        opcode::GETLK => Call::getlk,
        opcode::SETLK => Call::setlk,
        opcode::SETLKW => Call::setlkw,
        opcode::ACCESS => Call::access,
        opcode::CREATE => Call::create,
        opcode::DESTROY => |_, _| Ok(()),
        opcode::IOCTL => Call::ioctl,
        opcode::BATCH_FORGET => Call::batch_forget,
        opcode::FALLOCATE => Call::fallocate,
        opcode::READDIRPLUS => Call::readdirplus,
        opcode::RENAME2 => Call::rename2,
        opcode::LSEEK => Call::lseek,
        opcode::COPY_FILE_RANGE => Call::copy_file_range,
        opcode::SYNCFS => Call::syncfs,
        opcode::TMPFILE => Call::tmpfile,
        opcode::STATX => Call::statx,
        opcode::COPY_FILE_RANGE_64 => Call::copy_file_range_64,
        _ => return None,
    })
}

/// `count` forgets out of the payload of BATCH_FORGET.
fn forgets(payload: &[u8], count: usize) -> impl Iterator<Item = (u64, u64)> + '_ {
    payload
        .chunks_exact(size_of::<abi::ForgetOne>())
        .take(count)
        .filter_map(wire::read::<abi::ForgetOne>)
        .map(|one| (one.nodeid, one.nlookup))
}
