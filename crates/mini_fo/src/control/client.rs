//! A command's end.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::wire::{self, CommitForm, FETCH, FRAME, HEADER, Info, Request, SEND, Trouble};
use crate::daemon;

/// The channel to the daemon of a mount.
pub struct Channel {
    directory: File,
    /// Told to the daemon of a run with each commit.
    key: Option<String>,
}

/// What the daemon answers, as a stream.
pub struct Answer<'a> {
    channel: &'a Channel,
    frame: Vec<u8>,
    /// What of the frame is still to be read.
    left: std::ops::Range<usize>,
    more: bool,
}

impl Channel {
    /// Opens it by any directory of a mount.
    ///
    /// # Errors
    /// As open(2); ENOTTY: it is no mount of ours, of an older version, or of somebody else.
    pub fn open(directory: &Path) -> io::Result<(Channel, Info)> {
        let channel = Channel { directory: File::open(directory)?, key: None };
        let info = channel.info()?;
        Ok((channel, info))
    }

    /// The same with what the daemon of a run is told with each commit.
    #[must_use]
    pub fn with_key(self, key: String) -> Channel {
        Channel { key: Some(key), ..self }
    }

    /// Asks which mount it is.
    ///
    /// # Errors
    /// As [`Channel::ask`].
    pub fn info(&self) -> io::Result<Info> {
        let mut line = String::new();
        self.ask(&Request::Info)?.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// The kernel lets nobody write here, whatever the daemon would do.
    pub fn is_read_only(&self) -> bool {
        let vfs = rustix::fs::fstatvfs(&self.directory);
        vfs.is_ok_and(|vfs| vfs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    }

    /// Device number of the mount.
    pub fn device(&self) -> Option<u64> {
        rustix::fs::fstat(&self.directory).ok().map(|stat| stat.st_dev)
    }

    /// Both lead to the same mount.
    pub fn is_same(&self, other: &Channel) -> bool {
        self.device().is_some_and(|own| other.device() == Some(own))
    }

    /// Asks for something.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn ask(&self, request: &Request) -> io::Result<BufReader<Answer<'_>>> {
        let text = match (request, &self.key) {
            (Request::Commit(form), Some(key)) => {
                let form = CommitForm { key: Some(key.clone()), ..form.clone() };
                serde_json::to_vec(&Request::Commit(form))?
            }
            _ => serde_json::to_vec(request)?,
        };
        let pieces = text.chunks(FRAME - HEADER);
        let last = pieces.len().saturating_sub(1);
        for (at, piece) in pieces.enumerate() {
            let mut frame = vec![0; FRAME];
            wire::pack(&mut frame, piece, at < last).ok_or(io::ErrorKind::InvalidInput)?;
            daemon::data_ioctl(&self.directory, SEND, &mut frame)?;
        }
        let answer = Answer { channel: self, frame: vec![0; FRAME], left: 0..0, more: true };
        Ok(BufReader::with_capacity(FRAME, answer))
    }
}

impl Read for Answer<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() && self.more {
            daemon::data_ioctl(&self.channel.directory, FETCH, &mut self.frame)?;
            let (data, more) = wire::unpack(&self.frame).ok_or(io::ErrorKind::InvalidData)?;
            (self.left, self.more) = (HEADER..HEADER + data.len(), more);
        }
        let data = self.frame.get(self.left.clone()).unwrap_or_default();
        let taken = data.len().min(to.len());
        if let (Some(to), Some(data)) = (to.get_mut(..taken), data.get(..taken)) {
            to.copy_from_slice(data);
        }
        self.left.start += taken;
        Ok(taken)
    }
}

/// A line that ends an answer with why there is no more of it.
pub fn trouble(line: &str) -> Option<Trouble> {
    line.starts_with("{\"trouble\":").then(|| serde_json::from_str(line).ok())?
}
