//! Waiting for the next request.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{IDLE, Pool};
use crate::buffer::Buffers;
use crate::device::Device;
use crate::server::FileSystem;

/// How long a reader looks for the next request before it sleeps. Measured on
/// a virtual machine with two CPUs, where waking across them takes 80 us:
/// 50 us bring a round trip from 95 to 30 us, 200 us no further.
const LINGER: Duration = Duration::from_micros(50);

impl<F: FileSystem> Pool<F> {
    /// Reads a request. Looks for the next one for a moment before it sleeps:
    /// clients mostly come back soon, and waking a reader on another CPU costs
    /// more than most requests do. The second value is where the answer goes.
    pub(super) fn receive<'a>(
        &'a self,
        device: &'a Device,
        buffers: &mut Buffers,
        asked: Instant,
    ) -> (Result<usize, Errno>, &'a Device) {
        let alone = self.alone.load(Ordering::Relaxed);
        let (request, _) = buffers.split();
        if let Some(eager) = self.eager.as_deref().filter(|_| !alone) {
            loop {
                match rustix::io::read(eager.as_fd(), &mut *request) {
                    Err(Errno::AGAIN) if asked.elapsed() < LINGER => rustix::thread::sched_yield(),
                    Err(Errno::AGAIN) => break,
                    read => return (read, eager),
                }
            }
        }
        if buffers.are_large() && !device.has_request_within(IDLE) {
            buffers.trim();
        }
        let (request, _) = buffers.split();
        (rustix::io::read(device.as_fd(), request), device)
    }
}
