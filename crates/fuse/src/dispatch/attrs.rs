//! Operations on attributes: stat, extended attributes, access.

use rustix::io::Errno;

use super::Call;
use crate::abi::{self, fattr};
use crate::args::{SetXattrArgs, StatxArgs};
use crate::init::InitFlags;
use crate::reply::{ReplyBuf, attr_reply_out, statfs_out, statx_out};
use crate::request::Failure;
use crate::server::FileSystem;
use crate::types::{SetAttr, SetTime, Timestamp};

type Done = Result<(), Failure>;

impl<F: FileSystem> Call<'_, F> {
    pub(super) fn getattr(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::GetattrIn = self.raw.op()?;
        let fh = (args.getattr_flags & abi::GETATTR_FH != 0).then_some(args.fh);
        let got = self.fs.getattr(&self.req, fh)?;
        Ok(reply.push(&attr_reply_out(&got.attr, got.ttl))?)
    }

    pub(super) fn statx(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::StatxIn = self.raw.op()?;
        let args = StatxArgs {
            fh: (args.getattr_flags & abi::GETATTR_FH != 0).then_some(args.fh),
            flags: args.sx_flags,
            mask: args.sx_mask,
        };
        Ok(reply.push(&statx_out(&self.fs.statx(&self.req, &args)?))?)
    }

    pub(super) fn setattr(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::SetattrIn = self.raw.op()?;
        let got = self.fs.setattr(&self.req, &set_attr(&args))?;
        Ok(reply.push(&attr_reply_out(&got.attr, got.ttl))?)
    }

    pub(super) fn statfs(&self, reply: &mut ReplyBuf<'_>) -> Done {
        Ok(reply.push(&statfs_out(&self.fs.statfs(&self.req)?))?)
    }

    pub(super) fn access(&self, _: &mut ReplyBuf<'_>) -> Done {
        let args: abi::AccessIn = self.raw.op()?;
        Ok(self.fs.access(&self.req, args.mask)?)
    }

    pub(super) fn setxattr(&self, _: &mut ReplyBuf<'_>) -> Done {
        let args = if self.negotiated.has(InitFlags::SETXATTR_EXT) {
            self.raw.op::<abi::SetxattrIn>()?
        } else {
            let old: abi::GetxattrIn = self.raw.op()?;
            // Two words, the second of which is named padding there.
            abi::SetxattrIn { size: old.size, flags: old.padding, ..Default::default() }
        };
        let mut payload = self.raw.payload();
        let name = xattr_name(payload.string()?)?;
        let args = SetXattrArgs {
            name,
            value: payload.bytes(args.size as usize)?,
            flags: args.flags,
            acl_kill_sgid: args.setxattr_flags & abi::SETXATTR_ACL_KILL_SGID != 0,
        };
        Ok(self.fs.setxattr(&self.req, &args)?)
    }

    pub(super) fn getxattr(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::GetxattrIn = self.raw.op()?;
        let name = xattr_name(self.raw.payload().string()?)?;
        self.xattr_bytes(reply, args.size, |out| self.fs.getxattr(&self.req, name, out))
    }

    pub(super) fn listxattr(&self, reply: &mut ReplyBuf<'_>) -> Done {
        let args: abi::GetxattrIn = self.raw.op()?;
        self.xattr_bytes(reply, args.size, |out| self.fs.listxattr(&self.req, out))
    }

    /// Answers with the bytes that `get` writes or, for size 0, their number.
    fn xattr_bytes(
        &self,
        reply: &mut ReplyBuf<'_>,
        size: u32,
        get: impl FnOnce(&mut [u8]) -> crate::types::Result<usize>,
    ) -> Done {
        if size == 0 {
            let len = u32::try_from(get(&mut [])?).map_err(|_| Errno::TOOBIG)?;
            return Ok(reply.push(&abi::GetxattrOut { size: len, padding: 0 })?);
        }
        let out = reply.space_at(0, size as usize)?;
        let len = get(out)?;
        if len > size as usize {
            return Err(Errno::RANGE.into());
        }
        Ok(reply.set_len(len)?)
    }

    pub(super) fn removexattr(&self, _: &mut ReplyBuf<'_>) -> Done {
        let name = xattr_name(self.raw.payload().string()?)?;
        Ok(self.fs.removexattr(&self.req, name)?)
    }

    pub(super) fn readlink(&self, reply: &mut ReplyBuf<'_>) -> Done {
        // The kernel takes at most a page less its own NUL.
        let room = reply.space();
        let size = room.len().min(4095);
        let out = room.get_mut(..size).ok_or(Errno::IO)?;
        let len = self.fs.readlink(&self.req, out)?;
        if len > size {
            return Err(Errno::NAMETOOLONG.into());
        }
        Ok(reply.set_len(len)?)
    }

    pub(super) fn syncfs(&self, _: &mut ReplyBuf<'_>) -> Done {
        Ok(self.fs.syncfs(&self.req)?)
    }
}

fn xattr_name(name: &[u8]) -> Result<&[u8], Failure> {
    if name.is_empty() {
        return Err(Failure::Malformed("empty attribute name"));
    }
    Ok(name)
}

fn set_attr(args: &abi::SetattrIn) -> SetAttr {
    let has = |bit| args.valid & bit != 0;
    let time = |set, now, sec: u64, nsec| match (has(set), has(now)) {
        (_, true) => Some(SetTime::Now),
        (true, false) => Some(SetTime::At(Timestamp { sec: sec.cast_signed(), nsec })),
        (false, false) => None,
    };
    SetAttr {
        mode: has(fattr::MODE).then_some(args.mode),
        uid: has(fattr::UID).then_some(args.uid),
        gid: has(fattr::GID).then_some(args.gid),
        size: has(fattr::SIZE).then_some(args.size),
        atime: time(fattr::ATIME, fattr::ATIME_NOW, args.atime, args.atimensec),
        mtime: time(fattr::MTIME, fattr::MTIME_NOW, args.mtime, args.mtimensec),
        ctime: has(fattr::CTIME)
            .then_some(Timestamp { sec: args.ctime.cast_signed(), nsec: args.ctimensec }),
        fh: has(fattr::FH).then_some(args.fh),
        lock_owner: has(fattr::LOCKOWNER).then_some(args.lock_owner),
        kill_suidgid: has(fattr::KILL_SUIDGID),
    }
}

const _: () = assert!(size_of::<abi::GetxattrIn>() == abi::COMPAT_SETXATTR_IN_SIZE);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn now_wins_over_a_given_time() {
        let mut args = wire::zeroed::<abi::SetattrIn>();
        args.valid = fattr::ATIME | fattr::ATIME_NOW | fattr::MTIME | fattr::SIZE;
        args.mtime = (-5i64).cast_unsigned();
        args.mtimensec = 7;
        args.size = 9;
        let set = set_attr(&args);
        assert_eq!(set.atime, Some(SetTime::Now));
        assert_eq!(set.mtime, Some(SetTime::At(Timestamp { sec: -5, nsec: 7 })));
        assert_eq!((set.size, set.mode, set.uid), (Some(9), None, None));
    }
}
