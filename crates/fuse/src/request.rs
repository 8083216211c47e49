//! Requests as bytes: the split into header, fixed structure and payload, and
//! what can be taken out of them. Everything is checked against its bounds.

use rustix::io::Errno;

use crate::abi::{self, opcode};
use crate::init::{InitFlags, Negotiated};
use crate::types::Request;
use crate::wire::{self, Pod};

/// A request that has arrived, in the three parts in which transports deliver
/// it: apart over io_uring, in one piece from the classic device.
#[derive(Clone, Copy, Debug)]
pub struct RawRequest<'a> {
    /// The common header.
    pub header: abi::InHeader,
    /// The fixed structure of the operation; may be longer than it.
    pub op: &'a [u8],
    /// Names, data and extensions.
    pub payload: &'a [u8],
}

impl<'a> RawRequest<'a> {
    /// Splits a request that lies in one piece. `None` if it is shorter than
    /// its header or its own statement of length.
    pub fn split(bytes: &'a [u8], negotiated: &Negotiated) -> Option<RawRequest<'a>> {
        let header: abi::InHeader = wire::read(bytes)?;
        let len = header.len as usize;
        let rest = bytes.get(size_of::<abi::InHeader>()..len)?;
        let op_size = op_size(header.opcode, negotiated).min(rest.len());
        let (op, payload) = rest.split_at_checked(op_size)?;
        Some(RawRequest { header, op, payload })
    }

    /// The fixed structure.
    pub(crate) fn op<T: Pod>(&self) -> Result<T, Failure> {
        wire::read(self.op).ok_or(Failure::Malformed("structure too short"))
    }

    /// The payload, to be taken apart.
    pub(crate) fn payload(&self) -> Cursor<'a> {
        Cursor(self.payload)
    }

    /// Who asks about what.
    pub(crate) fn request(&self) -> Request {
        Request {
            unique: self.header.unique,
            node: self.header.nodeid,
            uid: self.header.uid,
            gid: self.header.gid,
            pid: self.header.pid,
            supplementary_group: self.supplementary_group(),
        }
    }

    /// The group in the extensions at the end of the payload.
    fn supplementary_group(&self) -> Option<u32> {
        let len = usize::from(self.header.total_extlen) * 8;
        if len == 0 {
            return None;
        }
        let mut rest = self.payload.get(self.payload.len().checked_sub(len)?..)?;
        loop {
            let header: abi::ExtHeader = wire::read(rest)?;
            let size = header.size as usize;
            if header.r#type == abi::EXT_GROUPS {
                let body = rest.get(size_of::<abi::ExtHeader>()..size)?;
                let count: u32 = wire::read(body)?;
                return if count == 0 { None } else { wire::read(body.get(4..)?) };
            }
            if size < size_of::<abi::ExtHeader>() {
                return None;
            }
            rest = rest.get(size.next_multiple_of(8)..)?;
        }
    }
}

/// What is left of a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Bytes up to a NUL, which is taken too.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Failure> {
        let end = self.0.iter().position(|&byte| byte == 0);
        let end = end.ok_or(Failure::Malformed("string without end"))?;
        let (string, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Ok(string)
    }

    /// A name: one component.
    pub(crate) fn name(&mut self) -> Result<&'a [u8], Failure> {
        let name = self.string()?;
        if name.is_empty() || name.contains(&b'/') {
            return Err(Failure::Malformed("not a name"));
        }
        Ok(name)
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Failure> {
        let (bytes, rest) =
            self.0.split_at_checked(len).ok_or(Failure::Malformed("data too short"))?;
        self.0 = rest;
        Ok(bytes)
    }
}

/// Why a request is answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The file system says so.
    Errno(Errno),
    /// The request makes no sense.
    Malformed(&'static str),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure::Errno(errno)
    }
}

/// Bytes of an operation's fixed structure.
fn op_size(code: u32, negotiated: &Negotiated) -> usize {
    match code {
        opcode::FORGET => size_of::<abi::ForgetIn>(),
        opcode::GETATTR => size_of::<abi::GetattrIn>(),
        opcode::SETATTR => size_of::<abi::SetattrIn>(),
        opcode::MKNOD => size_of::<abi::MknodIn>(),
        opcode::MKDIR => size_of::<abi::MkdirIn>(),
        opcode::RENAME => size_of::<abi::RenameIn>(),
        opcode::RENAME2 => size_of::<abi::Rename2In>(),
        opcode::LINK => size_of::<abi::LinkIn>(),
        opcode::OPEN | opcode::OPENDIR => size_of::<abi::OpenIn>(),
        opcode::CREATE | opcode::TMPFILE => size_of::<abi::CreateIn>(),
        opcode::READ | opcode::READDIR | opcode::READDIRPLUS => size_of::<abi::ReadIn>(),
        opcode::WRITE => size_of::<abi::WriteIn>(),
        opcode::RELEASE | opcode::RELEASEDIR => size_of::<abi::ReleaseIn>(),
        opcode::FSYNC | opcode::FSYNCDIR => size_of::<abi::FsyncIn>(),
        opcode::SETXATTR if !negotiated.has(InitFlags::SETXATTR_EXT) => {
            abi::COMPAT_SETXATTR_IN_SIZE
        }
        opcode::SETXATTR => size_of::<abi::SetxattrIn>(),
        opcode::GETXATTR | opcode::LISTXATTR => size_of::<abi::GetxattrIn>(),
        opcode::FLUSH => size_of::<abi::FlushIn>(),
        opcode::GETLK | opcode::SETLK | opcode::SETLKW => size_of::<abi::LkIn>(),
        opcode::ACCESS => size_of::<abi::AccessIn>(),
        opcode::INTERRUPT => size_of::<abi::InterruptIn>(),
        opcode::IOCTL => size_of::<abi::IoctlIn>(),
        opcode::BATCH_FORGET => size_of::<abi::BatchForgetIn>(),
        opcode::FALLOCATE => size_of::<abi::FallocateIn>(),
        opcode::LSEEK => size_of::<abi::LseekIn>(),
        opcode::COPY_FILE_RANGE | opcode::COPY_FILE_RANGE_64 => size_of::<abi::CopyFileRangeIn>(),
        opcode::SYNCFS => size_of::<abi::SyncfsIn>(),
        opcode::STATX => size_of::<abi::StatxIn>(),
        _ => 0,
    }
}
