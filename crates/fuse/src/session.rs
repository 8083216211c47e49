//! A session: INIT, reader threads, the end.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::abi::{self, opcode};
use crate::buffer::Buffers;
use crate::device::Device;
use crate::dispatch::Dispatcher;
use crate::error::{MountError, SessionError};
use crate::init::{Config, InitFlags, Negotiated, negotiate, offered};
use crate::mount::{Mount, MountPoint};
use crate::notify::Notifier;
use crate::pool::Pool;
use crate::server::FileSystem;
use crate::signals::SignalsBlocked;
use crate::transport::{NoRing, Transport, TransportChoice};
use crate::uring::{Prepared, Threads, Uring};
use crate::wire;

/// A mounted file system and its server.
///
/// [`Session::new`] brings the connection up; when it returns, the tree is
/// usable in that programs may enter it and wait. [`Session::start`] starts the
/// threads that serve them, and [`Session::run`] waits until the file system is unmounted. Dropping a session unmounts.
pub struct Session<F: FileSystem> {
    fs: Arc<F>,
    mount: Mount,
    pool: Arc<Pool<F>>,
    dispatcher: Arc<Dispatcher<F>>,
    negotiated: Negotiated,
    transport: Transport,
    rings: Option<Prepared>,
    /// Threads serve, those of the rings among them.
    started: Option<Option<Arc<Uring<F>>>>,
    spares: usize,
    idle_class: bool,
}

impl<F: FileSystem> Session<F> {
    /// Answers INIT and prepares reader threads, without starting any: the
    /// process may not yet fork, but may still change its root, namespaces
    /// and privileges.
    ///
    /// On failure the mount is undone.
    pub fn new(mount: Mount, fs: Arc<F>, config: &Config) -> Result<Session<F>, SessionError> {
        Session::begin(mount, config, || Ok(fs))
    }

    /// The same, with a file system that is made once nothing else can fail: the
    /// mount is there, and kernel and server agree. Nobody is answered before.
    pub fn begin<E: From<SessionError>>(
        mount: Mount,
        config: &Config,
        make: impl FnOnce() -> Result<Arc<F>, E>,
    ) -> Result<Session<F>, E> {
        let device = Arc::clone(mount.device());
        let notifier = Notifier::new(Arc::clone(&device));
        let Greeting { unique, negotiated, out, rings } = greeting(&device, config)?;
        let begun = make().and_then(|fs| {
            fs.init(&negotiated, &notifier).map_err(SessionError::Init)?;
            answer(&device, unique, 0, wire::bytes_of(&out))?;
            Ok(fs)
        });
        let fs = begun.inspect_err(|_| {
            // Whoever waits for the mount need not wait for its end.
            let _ = answer(&device, unique, -libc::EIO, &[]);
        })?;
        tracing::debug!(?negotiated, "FUSE connection");
        let (transport, rings) = match rings {
            Ok(rings) => (Transport::Uring, Some(rings)),
            Err(why) => (Transport::Classic(why), None),
        };
        let normal = match config.threads {
            0 => std::thread::available_parallelism().map_or(2, |n| n.get()).max(2),
            n => n,
        };
        let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&fs), negotiated.clone()));
        let devices = reader_devices(&device, normal, config.clone_fd);
        let eager = eager_device(&device, config.clone_fd);
        let pool = Pool::new(Arc::clone(&dispatcher), devices, eager, normal, config.max_threads);
        Ok(Session {
            fs,
            mount,
            pool,
            dispatcher,
            negotiated,
            transport,
            rings,
            spares: config.max_threads,
            idle_class: config.idle_class,
            started: None,
        })
    }

    /// What was agreed upon with the kernel.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// How requests come.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Sends notifications on this session.
    pub fn notifier(&self) -> Notifier {
        Notifier::new(Arc::clone(self.mount.device()))
    }

    /// Ends this session from elsewhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle { point: Arc::clone(self.mount.point_arc()) }
    }

    /// The mount.
    pub fn mount(&self) -> &Mount {
        &self.mount
    }

    /// The file system.
    pub fn file_system(&self) -> &Arc<F> {
        &self.fs
    }

    /// Starts the threads that serve. When it returns, requests are answered.
    ///
    /// # Errors
    /// No thread, or no memory for its buffers.
    pub fn start(&mut self) -> Result<(), SessionError> {
        if self.started.is_some() {
            return Ok(());
        }
        let _blocked = SignalsBlocked::enter();
        let rings = self.start_rings();
        self.pool.start(rings.is_some()).map_err(SessionError::Thread)?;
        self.started = Some(rings);
        Ok(())
    }

    /// Serves requests until the file system is unmounted and the last use of
    /// it is over. Then calls [`FileSystem::destroy`].
    ///
    /// The calling thread only waits; it keeps its signals.
    pub fn run(mut self) -> Result<(), SessionError> {
        self.start()?;
        let ended = self.pool.wait();
        if let Some(rings) = self.started.take().flatten() {
            rings.wait();
        }
        match ended {
            None => Ok(()),
            Some(errno) => Err(SessionError::Device(errno)),
        }
    }

    /// Starts the rings' threads, if rings were agreed upon. Where that fails,
    /// the kernel keeps to the classic transport.
    pub(crate) fn start_rings(&mut self) -> Option<Arc<Uring<F>>> {
        let prepared = self.rings.take()?;
        let threads = Threads { spares: self.spares, idle_class: self.idle_class };
        Uring::start(prepared, Arc::clone(&self.dispatcher), &self.mount, threads)
            .inspect_err(|&errno| {
                let why = NoRing::Refused(errno);
                tracing::warn!("{why}; going on without");
                self.transport = Transport::Classic(why);
            })
            .ok()
    }
}

impl<F: FileSystem> std::fmt::Debug for Session<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("mount", &self.mount)
            .field("negotiated", &self.negotiated)
            .finish_non_exhaustive()
    }
}

impl<F: FileSystem> Drop for Session<F> {
    fn drop(&mut self) {
        self.mount.undo();
        self.fs.destroy();
    }
}

/// Ends a session from another thread, such as one that waits for SIGTERM.
#[derive(Clone, Debug)]
pub struct StopHandle {
    point: Arc<MountPoint>,
}

impl StopHandle {
    /// Unmounts. If the file system is in use, it disappears from the tree at
    /// once, and [`Session::run`] returns when the last use of it is over.
    /// Success if it is unmounted already.
    pub fn stop(&self) -> Result<(), MountError> {
        match self.point.unmount(false) {
            Err(MountError::Busy(_)) => self.point.unmount(true),
            Err(MountError::NotMounted(_)) => Ok(()),
            done => done,
        }
    }

    /// Unmounts and breaks the connection: whoever still uses the file system
    /// gets errors. Needs the privilege to call umount2(2).
    pub fn abort(&self) -> Result<(), MountError> {
        self.point.abort()
    }
}

/// One device for each reader: clones, as far as the kernel makes them.
fn reader_devices(device: &Arc<Device>, count: usize, clone: bool) -> Vec<Arc<Device>> {
    let mut devices = vec![Arc::clone(device)];
    while devices.len() < count {
        let next = match if clone { device.try_clone() } else { Err(Errno::NOSYS) } {
            Ok(own) => Arc::new(own),
            Err(errno) => {
                if clone {
                    tracing::debug!(%errno, "readers share one descriptor");
                }
                Arc::clone(device)
            }
        };
        devices.push(next);
    }
    devices
}

/// A descriptor on which reading does not wait. It must be one of its own, for
/// the others are to wait. `None`: there is only one CPU, where looking again
/// would keep clients from running.
fn eager_device(device: &Device, clone: bool) -> Option<Arc<Device>> {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let eager = (clone && cpus > 1).then(|| device.try_clone().ok()).flatten()?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&eager, flags).ok().map(|()| Arc::new(eager))
}

/// What an INIT request has brought, and what is to be answered.
struct Greeting {
    unique: u64,
    negotiated: Negotiated,
    out: abi::InitOut,
    rings: Result<Prepared, NoRing>,
}

/// Reads INIT requests until one fits.
fn greeting(device: &Device, config: &Config) -> Result<Greeting, SessionError> {
    let mut buffers = Buffers::new(0).map_err(SessionError::Thread)?;
    loop {
        let (request, _) = buffers.split();
        let len = match rustix::io::read(device.as_fd(), &mut *request) {
            Ok(len) => len,
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => continue,
            Err(errno) => return Err(SessionError::Device(errno)),
        };
        let bytes = request.get(..len).unwrap_or_default();
        let (header, init) = parse_init(bytes).ok_or(SessionError::NotInit)?;
        if init.major > abi::KERNEL_VERSION {
            // The kernel asks again, in our version.
            let out = abi::InitOut {
                major: abi::KERNEL_VERSION,
                minor: abi::KERNEL_MINOR_VERSION,
                ..abi::InitOut::default()
            };
            answer(device, header.unique, 0, wire::bytes_of(&out))?;
            continue;
        }
        if init.major < abi::KERNEL_VERSION || init.minor < abi::OLDEST_MINOR_VERSION {
            answer(device, header.unique, -libc::EPROTO, &[])?;
            return Err(SessionError::Version { major: init.major, minor: init.minor });
        }
        let rings = prepare_rings(config.transport, offered(&init));
        if let (TransportChoice::Uring, Err(why)) = (config.transport, &rings) {
            answer(device, header.unique, -libc::EOPNOTSUPP, &[])?;
            return Err(SessionError::NoRing(*why));
        }
        let (negotiated, out) = negotiate(config, &init, rings.is_ok());
        return Ok(Greeting { unique: header.unique, negotiated, out, rings });
    }
}

/// Makes rings if they are wanted and offered: what is promised to the kernel
/// must then be kept.
fn prepare_rings(wanted: TransportChoice, offered: InitFlags) -> Result<Prepared, NoRing> {
    if wanted == TransportChoice::Classic {
        return Err(NoRing::NotWanted);
    }
    if !offered.contains(InitFlags::OVER_IO_URING) {
        return Err(NoRing::not_offered());
    }
    Prepared::new()
}

/// An INIT request; what an old kernel does not send is zero.
fn parse_init(bytes: &[u8]) -> Option<(abi::InHeader, abi::InitIn)> {
    let header: abi::InHeader = wire::read(bytes)?;
    if header.opcode != opcode::INIT || header.len as usize != bytes.len() {
        return None;
    }
    let body = bytes.get(size_of::<abi::InHeader>()..)?;
    if body.len() < abi::COMPAT_INIT_IN_SIZE {
        return None;
    }
    let mut full = [0; size_of::<abi::InitIn>()];
    let len = body.len().min(full.len());
    full.get_mut(..len)?.copy_from_slice(body.get(..len)?);
    Some((header, wire::read(&full)?))
}

fn answer(device: &Device, unique: u64, error: i32, body: &[u8]) -> Result<(), SessionError> {
    let len = size_of::<abi::OutHeader>() + body.len();
    let header = abi::OutHeader { len: len as u32, error, unique };
    let bytes = [wire::bytes_of(&header), body].concat();
    loop {
        match rustix::io::write(device.as_fd(), &bytes) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SessionError::Device(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init_bytes(body: &[u8]) -> Vec<u8> {
        let header = abi::InHeader {
            len: (40 + body.len()) as u32,
            opcode: opcode::INIT,
            unique: 1,
            ..abi::InHeader::default()
        };
        [wire::bytes_of(&header), body].concat()
    }

    #[test]
    fn short_and_long_init_are_understood() {
        let mut body = vec![0; 16];
        body[0] = 7;
        body[4] = 32;
        let (_, init) = parse_init(&init_bytes(&body)).unwrap();
        assert_eq!((init.major, init.minor, init.flags2), (7, 32, 0));
        body.resize(80, 1);
        let (_, init) = parse_init(&init_bytes(&body)).unwrap();
        assert_eq!(init.flags2, 0x0101_0101);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(parse_init(&[]).is_none());
        assert!(parse_init(&init_bytes(&[0; 8])).is_none());
        let mut other = init_bytes(&[0; 16]);
        other[4] = opcode::LOOKUP as u8;
        assert!(parse_init(&other).is_none());
    }
}
