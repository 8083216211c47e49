//! Operations on open files and directories.

use rustix::io::Errno;

use super::Call;
use super::names::open_out;
use crate::abi;
use crate::args::{
    CopyFileRangeArgs, FallocateArgs, IoctlArgs, LockArgs, OpenArgs, ReadArgs, ReleaseArgs,
    WriteArgs,
};
use crate::reply::ReplyBuf;
use crate::request::Failure;
use crate::server::FileSystem;
use crate::types::FileLock;

type Done = Result<(), Failure>;

impl<F: FileSystem> Call<'_, F> {
    pub(super) fn open(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let open = self.fs.open(&self.req, &self.open_args()?)?;
        Ok(reply.push(&open_out(&open))?)
    }

    pub(super) fn opendir(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let open = self.fs.opendir(&self.req, &self.open_args()?)?;
        Ok(reply.push(&open_out(&open))?)
    }

    fn open_args(&self) -> Result<OpenArgs, Failure> {
        let args: abi::OpenIn = self.raw.op()?;
        Ok(OpenArgs {
            flags: args.flags,
            kill_suidgid: args.open_flags & abi::OPEN_KILL_SUIDGID != 0,
        })
    }

    pub(super) fn release(&self, _: &mut ReplyBuf<'_>) -> Done {
        Ok(self.fs.release(&self.req, &self.release_args()?)?)
    }

    pub(super) fn releasedir(&self, _: &mut ReplyBuf<'_>) -> Done {
        Ok(self.fs.releasedir(&self.req, &self.release_args()?)?)
    }

    fn release_args(&self) -> Result<ReleaseArgs, Failure> {
        let args: abi::ReleaseIn = self.raw.op()?;
        Ok(ReleaseArgs {
            fh: args.fh,
            flags: args.flags,
            flush: args.release_flags & abi::RELEASE_FLUSH != 0,
            flock_unlock: args.release_flags & abi::RELEASE_FLOCK_UNLOCK != 0,
            lock_owner: args.lock_owner,
        })
    }

    pub(super) fn read(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::ReadIn = self.raw.op()?;
        let lock_owner = (args.read_flags & abi::READ_LOCKOWNER != 0).then_some(args.lock_owner);
        let size = args.size as usize;
        let args = ReadArgs { fh: args.fh, offset: args.offset, flags: args.flags, lock_owner };
        let len = self.fs.read(&self.req, &args, reply.space_at(0, size)?)?;
        if len > size {
            return Err(Errno::IO.into());
        }
        Ok(reply.set_len(len)?)
    }

    pub(super) fn write(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::WriteIn = self.raw.op()?;
        let data = self.raw.payload().bytes(args.size as usize)?;
        let has = |bit| args.write_flags & bit != 0;
        let args = WriteArgs {
            fh: args.fh,
            offset: args.offset,
            flags: args.flags,
            cached: has(abi::WRITE_CACHE),
            kill_suidgid: has(abi::WRITE_KILL_SUIDGID),
            lock_owner: has(abi::WRITE_LOCKOWNER).then_some(args.lock_owner),
        };
        let written = self.fs.write(&self.req, &args, data)?;
        push_written(reply, written as u64)
    }

    pub(super) fn flush(&self, _: &mut ReplyBuf<'_>) -> Done {
        let args: abi::FlushIn = self.raw.op()?;
        Ok(self.fs.flush(&self.req, args.fh, args.lock_owner)?)
    }

    pub(super) fn fsync(&self, _: &mut ReplyBuf<'_>) -> Done {
        let args: abi::FsyncIn = self.raw.op()?;
        let datasync = args.fsync_flags & abi::FSYNC_FDATASYNC != 0;
        Ok(self.fs.fsync(&self.req, args.fh, datasync)?)
    }

    pub(super) fn fsyncdir(&self, _: &mut ReplyBuf<'_>) -> Done {
        let args: abi::FsyncIn = self.raw.op()?;
        let datasync = args.fsync_flags & abi::FSYNC_FDATASYNC != 0;
        Ok(self.fs.fsyncdir(&self.req, args.fh, datasync)?)
    }

    pub(super) fn fallocate(&self, _: &mut ReplyBuf<'_>) -> Done {
        let args: abi::FallocateIn = self.raw.op()?;
        let args = FallocateArgs {
            fh: args.fh,
            offset: args.offset,
            length: args.length,
            mode: args.mode,
        };
        Ok(self.fs.fallocate(&self.req, &args)?)
    }

    pub(super) fn lseek(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::LseekIn = self.raw.op()?;
        let offset = self.fs.lseek(&self.req, args.fh, args.offset, args.whence)?;
        Ok(reply.push(&abi::LseekOut { offset })?)
    }

    pub(super) fn copy_file_range(&self, reply: &mut ReplyBuf<'_>) -> Done {
        // The answer holds 32 bits, and the kernel's limit of one transfer is
        // a page less than 2 GiB.
        let mut args = self.copy_args()?;
        args.len = args.len.min(0x7fff_f000);
        push_written(reply, self.fs.copy_file_range(&self.req, &args)?)
    }

    pub(super) fn copy_file_range_64(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let bytes_copied = self.fs.copy_file_range(&self.req, &self.copy_args()?)?;
        Ok(reply.push(&abi::CopyFileRangeOut { bytes_copied })?)
    }

    fn copy_args(&self) -> Result<CopyFileRangeArgs, Failure> {
        let args: abi::CopyFileRangeIn = self.raw.op()?;
        Ok(CopyFileRangeArgs {
            fh_in: args.fh_in,
            offset_in: args.off_in,
            node_out: args.nodeid_out,
            fh_out: args.fh_out,
            offset_out: args.off_out,
            len: args.len,
            flags: args.flags,
        })
    }

    pub(super) fn ioctl(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let op: abi::IoctlIn = self.raw.op()?;
        if op.flags & abi::IOCTL_UNRESTRICTED != 0 {
            return Err(Errno::NOTTY.into());
        }
        let args = IoctlArgs {
            fh: op.fh,
            cmd: op.cmd,
            arg: op.arg,
            input: self.raw.payload().bytes(op.in_size as usize)?,
            compat: op.flags & abi::IOCTL_COMPAT != 0,
            dir: op.flags & abi::IOCTL_DIR != 0,
        };
        let header = size_of::<abi::IoctlOut>();
        let out = reply.space_at(header, op.out_size as usize)?;
        let got = self.fs.ioctl(&self.req, &args, out)?;
        if got.len > op.out_size as usize {
            return Err(Errno::IO.into());
        }
        reply.push(&abi::IoctlOut { result: got.result, ..Default::default() })?;
        Ok(reply.set_len(header + got.len)?)
    }

    pub(super) fn getlk(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let lock = self.fs.getlk(&self.req, &self.lock_args()?)?;
        let lk =
            abi::FileLock { start: lock.start, end: lock.end, r#type: lock.kind, pid: lock.pid };
        Ok(reply.push(&abi::LkOut { lk })?)
    }

    pub(super) fn setlk(&self, _: &mut ReplyBuf<'_>) -> Done {
        Ok(self.fs.setlk(&self.req, &self.lock_args()?, false)?)
    }

    pub(super) fn setlkw(&self, _: &mut ReplyBuf<'_>) -> Done {
        Ok(self.fs.setlk(&self.req, &self.lock_args()?, true)?)
    }

    fn lock_args(&self) -> Result<LockArgs, Failure> {
        let args: abi::LkIn = self.raw.op()?;
        Ok(LockArgs {
            fh: args.fh,
            owner: args.owner,
            lock: FileLock {
                start: args.lk.start,
                end: args.lk.end,
                kind: args.lk.r#type,
                pid: args.lk.pid,
            },
            flock: args.lk_flags & abi::LK_FLOCK != 0,
        })
    }
}

fn push_written(reply: &mut ReplyBuf<'_>, bytes: u64) -> Done {
    let size = u32::try_from(bytes).map_err(|_| Errno::IO)?;
    Ok(reply.push(&abi::WriteOut { size, padding: 0 })?)
}
