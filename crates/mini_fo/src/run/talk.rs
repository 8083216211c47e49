//! What the processes of a run tell each other.
#![forbid(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// All is well.
    GoOn,
    /// Whom the command was to join has ended.
    Nobody,
    /// It is mounted, in the mount namespace of this number, as a device of this number, if
    /// that is known.
    Mounted(u64, Option<(u32, u32)>),
}

const LENGTH: usize = 17;

/// With as many descriptors as come with one message at most.
const MOST: usize = 3;

impl Word {
    fn bytes(self) -> [u8; LENGTH] {
        let (kind, namespace, (major, minor)) = match self {
            Word::GoOn => (b'!', 0, (0, 0)),
            Word::Nobody => (b'?', 0, (0, 0)),
            Word::Mounted(namespace, None) => (b'm', namespace, (0, 0)),
            Word::Mounted(namespace, Some(number)) => (b'M', namespace, number),
        };
        let mut bytes = [0; LENGTH];
        let device = u64::from(major) << 32 | u64::from(minor);
        let all = [kind].into_iter().chain(namespace.to_ne_bytes()).chain(device.to_ne_bytes());
        for (to, from) in bytes.iter_mut().zip(all) {
            *to = from;
        }
        bytes
    }

    fn of(bytes: &[u8; LENGTH]) -> Option<Word> {
        let (kind, numbers) = bytes.split_first()?;
        let (namespace, device) = numbers.split_first_chunk::<8>()?;
        let device = u64::from_ne_bytes(device.try_into().ok()?);
        let (major, minor) = ((device >> 32) as u32, device as u32);
        let namespace = u64::from_ne_bytes(*namespace);
        match kind {
            b'!' => Some(Word::GoOn),
            b'?' => Some(Word::Nobody),
            b'm' => Some(Word::Mounted(namespace, None)),
            b'M' => Some(Word::Mounted(namespace, Some((major, minor)))),
            _ => None,
        }
    }
}

/// Sends a message, and maybe descriptors.
///
/// # Errors
/// As sendmsg(2): nobody listens any more.
pub fn send(
    socket: &OwnedFd,
    word: Word,
    descriptors: &[BorrowedFd<'_>],
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(&word.bytes())], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Waits for one. `None`: there will be none any more.
pub fn receive(socket: &OwnedFd) -> Option<(Word, Vec<OwnedFd>)> {
    let mut bytes = [0; LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = loop {
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received.ok()?,
        }
    };
    if received.bytes != LENGTH {
        return None;
    }
    let all = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let descriptors = all.flatten().collect();
    Some((Word::of(&bytes)?, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_as_they_are() {
        let mounted = [Word::Mounted(7, None), Word::Mounted(u64::MAX, Some((1, u32::MAX)))];
        for word in [Word::GoOn, Word::Nobody].into_iter().chain(mounted) {
            assert_eq!(Word::of(&word.bytes()), Some(word));
        }
        assert_eq!(Word::of(&[0; LENGTH]), None);
    }
}
