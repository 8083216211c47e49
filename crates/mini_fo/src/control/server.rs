//! The daemon's end.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use fuse_server::Result;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::wire::{self, FRAME, HEADER, LONGEST, Request, Trouble};

/// Pieces of an answer that wait for who asked.
const WAITING: usize = 16;

/// What was asked on open directories, by their handles.
#[derive(Default)]
pub struct Sessions {
    /// A leaf: nothing is done while it is held.
    open: Mutex<HashMap<u64, Arc<Session>>>,
}

#[derive(Default)]
struct Session {
    /// What has come of a request.
    asked: Mutex<Vec<u8>>,
    /// What goes out. Held while a piece is waited for, by who fetches it alone.
    answer: Mutex<Option<Receiver<Vec<u8>>>>,
}

/// Where an answer is written. When nobody wants it any more, writing fails with EPIPE.
pub struct Answer {
    pieces: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
}

impl Write for Answer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = FRAME - HEADER - self.piece.len();
        let taken = data.get(..room).unwrap_or(data);
        self.piece.extend_from_slice(taken);
        if self.piece.len() == FRAME - HEADER {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        self.pieces.send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Answer {
    /// Writes one JSON object as a line.
    ///
    /// # Errors
    /// EPIPE: nobody wants it any more.
    pub fn line(&mut self, object: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self, object)?;
        self.write_all(b"\n")
    }
}

impl Sessions {
    /// Takes a piece of a request. The last one begins the answer: `carry_out` runs in a
    /// thread of its own.
    ///
    /// # Errors
    /// EINVAL: it is none; EMSGSIZE: it is too long; EAGAIN: no thread can be started.
    pub fn send(
        &self,
        handle: u64,
        frame: &[u8],
        carry_out: impl FnOnce(Request, &mut Answer) -> io::Result<()> + Send + 'static,
    ) -> Result<()> {
        let (data, more) = wire::unpack(frame).ok_or(Errno::INVAL)?;
        let session = Arc::clone(self.open.lock().entry(handle).or_default());
        let mut asked = session.asked.lock();
        if asked.len() + data.len() > LONGEST {
            asked.clear();
            return Err(Errno::MSGSIZE);
        }
        asked.extend_from_slice(data);
        if more {
            return Ok(());
        }
        let request = serde_json::from_slice(&std::mem::take(&mut *asked));
        drop(asked);
        let (pieces, answer) = sync_channel(WAITING);
        let mut to = Answer { pieces, piece: Vec::new() };
        let work = move || {
            let done = match request {
                Ok(request) => carry_out(request, &mut to),
                Err(error) => to.line(&Trouble {
                    trouble: format!("the daemon does not know this request: {error}"),
                    errno: None,
                }),
            };
            // Whoever does not listen any more needs no end either.
            let _ = done.and_then(|()| to.flush());
        };
        let started = std::thread::Builder::new().name("control".to_owned()).spawn(work);
        started.map_err(|_| Errno::AGAIN)?;
        *session.answer.lock() = Some(answer);
        Ok(())
    }

    /// Gives the next piece of the answer; waits for it. An empty one is the end.
    ///
    /// # Errors
    /// ENODATA: nothing was asked.
    pub fn fetch(&self, handle: u64, frame: &mut [u8]) -> Result<usize> {
        let session = self.open.lock().get(&handle).map(Arc::clone).ok_or(Errno::NODATA)?;
        let _waits = fuse_server::blocking_section();
        let answer = session.answer.lock();
        let piece = answer.as_ref().ok_or(Errno::NODATA)?.recv().unwrap_or_default();
        let frame = frame.get_mut(..FRAME).ok_or(Errno::INVAL)?;
        wire::pack(frame, &piece, !piece.is_empty()).ok_or(Errno::INVAL)?;
        Ok(FRAME)
    }

    /// The directory is closed: what was asked for ends when it writes the next time.
    pub fn closed(&self, handle: u64) {
        self.open.lock().remove(&handle);
    }
}
