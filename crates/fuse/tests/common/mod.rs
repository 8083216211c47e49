//! A file system in memory with most operations, and a mount of it that
//! cleans up after itself.

#![allow(dead_code, reason = "each test uses a part of it")]

mod memfs;
pub mod rings;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use fuse_server::{
    Config, Mount, MountError, MountOptions, Negotiated, Notifier, Session, SessionError,
    StopHandle, Transport, TransportChoice,
};

pub use memfs::MemFs;

/// Time that a test may have its file system for: a request that is lost would
/// hold it forever.
const PATIENCE: Duration = Duration::from_secs(120);

/// Breaks the connection of a test that takes too long, so that everybody who
/// waits for an answer gets an error.
fn watch(stop: StopHandle) -> mpsc::Sender<()> {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("a test has taken more than {PATIENCE:?}: its connection is broken");
            if let Err(error) = stop.abort() {
                eprintln!("{error}");
                std::process::abort();
            }
        }
    });
    done
}

/// A mounted [`MemFs`], unmounted when dropped, also by a failing test.
pub struct Mounted {
    pub fs: Arc<MemFs>,
    pub negotiated: Negotiated,
    pub notifier: Notifier,
    pub stop: StopHandle,
    pub transport: Transport,
    server: Option<JoinHandle<Result<(), SessionError>>>,
    _watch: mpsc::Sender<()>,
    _rings: Option<rings::Allowed>,
    dir: tempfile::TempDir,
}

impl Mounted {
    /// `None`, with the reason printed, where this machine cannot mount.
    pub fn new(config: &Config, options: &MountOptions) -> Option<Mounted> {
        let mut config = config.clone();
        let mut allowed = None;
        // The tests of mounts are built twice: for both transports.
        if env!("CARGO_CRATE_NAME") == "uring" && config.transport == TransportChoice::Auto {
            allowed = Some(rings::Allowed::new()?);
            config.transport = TransportChoice::Uring;
        }
        let dir = tempfile::tempdir().unwrap();
        let mount = match Mount::new(dir.path(), options) {
            Ok(mount) => mount,
            Err(
                error @ (MountError::NoDevice
                | MountError::DeviceDenied
                | MountError::NoKernelSupport
                | MountError::NoHelper
                | MountError::NotPermitted(_)
                | MountError::Helper(_)),
            ) => {
                println!("skipped: {error}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let fs = Arc::new(MemFs::new());
        let session = Session::new(mount, Arc::clone(&fs), &config).unwrap();
        Some(Mounted {
            fs,
            negotiated: session.negotiated().clone(),
            notifier: session.notifier(),
            stop: session.stop_handle(),
            _watch: watch(session.stop_handle()),
            transport: session.transport(),
            _rings: allowed,
            server: Some(std::thread::spawn(|| session.run())),
            dir,
        })
    }

    pub fn default() -> Option<Mounted> {
        Mounted::new(&Config::default(), &MountOptions::default())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn point(&self) -> &Path {
        self.dir.path()
    }

    /// Unmounts and waits for the server's end.
    pub fn end(mut self) -> Arc<MemFs> {
        self.stop.stop().unwrap();
        self.server.take().unwrap().join().unwrap().unwrap();
        Arc::clone(&self.fs)
    }

    /// Waits for an end that somebody else brings about.
    pub fn wait(mut self) -> Result<(), SessionError> {
        self.server.take().unwrap().join().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = self.stop.stop();
            let _ = server.join();
        }
    }
}
