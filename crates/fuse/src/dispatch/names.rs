//! Operations on names: lookup, forget, creation, removal, listing.

use super::{Call, forgets};
use crate::abi;
use crate::args::{CreateArgs, MkdirArgs, MknodArgs, RenameArgs};
use crate::reply::{DirPlusSink, DirSink, ReplyBuf, decode_dev};
use crate::request::Failure;
use crate::server::FileSystem;
use crate::types::{Entry, OpenFlags, OpenReply};

type Done = Result<(), Failure>;

/// The answer to an open, as the kernel wants it.
pub(super) fn open_out(open: &OpenReply) -> abi::OpenOut {
    let passthrough = open.flags.contains(OpenFlags::PASSTHROUGH);
    abi::OpenOut {
        fh: open.fh,
        open_flags: open.flags.bits(),
        backing_id: if passthrough { open.backing_id } else { 0 },
    }
}

impl<F: FileSystem> Call<'_, F> {
    pub(super) fn lookup(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let name = self.raw.payload().name()?;
        Ok(reply.push_entry(&self.fs.lookup(&self.req, name)?)?)
    }

    pub(super) fn forget(&self, _: &mut ReplyBuf<'_>) -> Done {
        let args: abi::ForgetIn = self.raw.op()?;
        self.fs.forget(self.req.node, args.nlookup);
        Ok(())
    }

    pub(super) fn batch_forget(&self, _: &mut ReplyBuf<'_>) -> Done {
        let args: abi::BatchForgetIn = self.raw.op()?;
        self.fs.batch_forget(&mut forgets(self.raw.payload, args.count as usize));
        Ok(())
    }

    pub(super) fn mknod(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::MknodIn = self.raw.op()?;
        let args = MknodArgs {
            name: self.raw.payload().name()?,
            mode: args.mode,
            rdev: decode_dev(args.rdev),
            umask: args.umask,
        };
        Ok(reply.push_entry(&self.fs.mknod(&self.req, &args)?)?)
    }

    pub(super) fn mkdir(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::MkdirIn = self.raw.op()?;
        let name = self.raw.payload().name()?;
        let args = MkdirArgs { name, mode: args.mode, umask: args.umask };
        Ok(reply.push_entry(&self.fs.mkdir(&self.req, &args)?)?)
    }

    pub(super) fn symlink(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let mut payload = self.raw.payload();
        let name = payload.name()?;
        let target = payload.string()?;
        Ok(reply.push_entry(&self.fs.symlink(&self.req, name, target)?)?)
    }

    pub(super) fn unlink(&self, _: &mut ReplyBuf<'_>) -> Done {
        Ok(self.fs.unlink(&self.req, self.raw.payload().name()?)?)
    }

    pub(super) fn rmdir(&self, _: &mut ReplyBuf<'_>) -> Done {
        Ok(self.fs.rmdir(&self.req, self.raw.payload().name()?)?)
    }

    pub(super) fn rename(&self, _: &mut ReplyBuf<'_>) -> Done {
        let args: abi::RenameIn = self.raw.op()?;
        self.rename_to(args.newdir, 0)
    }

    pub(super) fn rename2(&self, _: &mut ReplyBuf<'_>) -> Done {
        let args: abi::Rename2In = self.raw.op()?;
        self.rename_to(args.newdir, args.flags)
    }

    fn rename_to(&self, new_parent: u64, flags: u32) -> Done {
        let mut payload = self.raw.payload();
        let name = payload.name()?;
        let new_name = payload.name()?;
        Ok(self.fs.rename(&self.req, &RenameArgs { name, new_parent, new_name, flags })?)
    }

    pub(super) fn link(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::LinkIn = self.raw.op()?;
        let name = self.raw.payload().name()?;
        Ok(reply.push_entry(&self.fs.link(&self.req, args.oldnodeid, name)?)?)
    }

    pub(super) fn create(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let (entry, open) =
            self.fs.create(&self.req, &self.create_args(self.raw.payload().name()?)?)?;
        push_created(reply, &entry, &open)
    }

    // The kernel sends "/" for a name.
    pub(super) fn tmpfile(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let (entry, open) = self.fs.tmpfile(&self.req, &self.create_args(b"")?)?;
        push_created(reply, &entry, &open)
    }

    fn create_args<'a>(&self, name: &'a [u8]) -> Result<CreateArgs<'a>, Failure> {
        let args: abi::CreateIn = self.raw.op()?;
        Ok(CreateArgs {
            name,
            mode: args.mode,
            umask: args.umask,
            flags: args.flags,
            kill_suidgid: args.open_flags & abi::OPEN_KILL_SUIDGID != 0,
        })
    }

    pub(super) fn readdir(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::ReadIn = self.raw.op()?;
        let mut sink = DirSink::new(reply.space_at(0, args.size as usize)?);
        let result = self.fs.readdir(&self.req, args.fh, args.offset, &mut sink);
        let len = sink.len();
        // What was listed must be told; the error comes again with the rest.
        if len == 0 {
            result?;
        }
        Ok(reply.set_len(len)?)
    }

    pub(super) fn readdirplus(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::ReadIn = self.raw.op()?;
        let mut sink = DirPlusSink::new(reply.space_at(0, args.size as usize)?);
        let result = self.fs.readdirplus(&self.req, args.fh, args.offset, &mut sink);
        let len = sink.len();
        // The entries listed count lookups, so they must reach the kernel.
        if len == 0 {
            result?;
        }
        Ok(reply.set_len(len)?)
    }
}

fn push_created(reply: &mut ReplyBuf<'_>, entry: &Entry, open: &OpenReply) -> Done {
    reply.push_entry(entry)?;
    Ok(reply.push(&open_out(open))?)
}
