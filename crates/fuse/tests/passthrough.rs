//! Files that the kernel reads and writes by itself. Needs root and Linux 6.9.

#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fuse_server::{
    Attr, AttrReply, BackingId, BackingRegistry, Config, Entry, FileSystem, Mount, MountOptions,
    Negotiated, Notifier, OpenArgs, OpenFlags, OpenReply, ROOT_ID, ReadArgs, Request, Result,
    Session, SetAttr, WriteArgs,
};
use rustix::io::Errno;

const FILE: u64 = 2;

/// A directory with one file, `f`, that is really `real`.
struct OneFile {
    real: PathBuf,
    registry: OnceLock<BackingRegistry>,
    backing: Mutex<Option<BackingId>>,
    data_requests: AtomicUsize,
}

impl OneFile {
    fn attr(&self, node: u64) -> Result<Attr> {
        if node == ROOT_ID {
            return Ok(Attr { ino: 1, mode: 0o040755, nlink: 2, ..Attr::default() });
        }
        let meta = fs::metadata(&self.real).map_err(|_| Errno::IO)?;
        let (mode, size) = (meta.mode(), meta.len());
        let (uid, gid) = (meta.uid(), meta.gid());
        Ok(Attr { ino: 2, mode, size, uid, gid, nlink: 1, ..Attr::default() })
    }
}

impl FileSystem for OneFile {
    fn init(&self, _: &Negotiated, notifier: &Notifier) -> Result<()> {
        let _ = self.registry.set(notifier.backing());
        Ok(())
    }
    fn lookup(&self, _: &Request, name: &[u8]) -> Result<Entry> {
        if name != b"f" {
            return Err(Errno::NOENT);
        }
        let entry_ttl = Duration::from_secs(60);
        Ok(Entry { node: FILE, attr: self.attr(FILE)?, entry_ttl, ..Entry::default() })
    }
    fn getattr(&self, req: &Request, _: Option<u64>) -> Result<AttrReply> {
        Ok(AttrReply { attr: self.attr(req.node)?, ttl: Duration::ZERO })
    }
    fn open(&self, _: &Request, _: &OpenArgs) -> Result<OpenReply> {
        let mut backing = self.backing.lock().unwrap();
        if backing.is_none() {
            let flags = rustix::fs::OFlags::PATH;
            let file = rustix::fs::open(&self.real, flags, rustix::fs::Mode::empty())?;
            *backing = Some(self.registry.get().ok_or(Errno::IO)?.open(file)?);
        }
        let backing_id = backing.as_ref().map_or(0, BackingId::raw);
        Ok(OpenReply { fh: 0, flags: OpenFlags::PASSTHROUGH, backing_id })
    }
    fn setattr(&self, req: &Request, set: &SetAttr) -> Result<AttrReply> {
        // The kernel asks so before a write that is to drop setuid.
        assert_eq!(*set, SetAttr::default());
        self.getattr(req, None)
    }
    fn read(&self, _: &Request, _: &ReadArgs, _: &mut [u8]) -> Result<usize> {
        self.data_requests.fetch_add(1, Ordering::SeqCst);
        Err(Errno::IO)
    }
    fn write(&self, _: &Request, _: &WriteArgs, _: &[u8]) -> Result<usize> {
        self.data_requests.fetch_add(1, Ordering::SeqCst);
        Err(Errno::IO)
    }
}

/// Runs `test` with the real file and the mounted one.
fn with_mount(test: impl FnOnce(&Path, &Path)) {
    if !rustix::process::getuid().is_root() {
        println!("skipped: registering backing files takes root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (real, point) = (dir.path().join("real"), dir.path().join("point"));
    fs::write(&real, b"behind the scenes").unwrap();
    fs::create_dir(&point).unwrap();
    let options = MountOptions { allow_other: true, ..MountOptions::default() };
    let mount = match Mount::new(&point, &options) {
        Ok(mount) => mount,
        Err(error) => return println!("skipped: {error}"),
    };
    let file = OneFile {
        real: real.clone(),
        registry: OnceLock::new(),
        backing: Mutex::new(None),
        data_requests: AtomicUsize::new(0),
    };
    let (fs, config) = (Arc::new(file), Config { max_stack_depth: 2, ..Config::default() });
    let session = Session::new(mount, Arc::clone(&fs), &config).unwrap();
    let stop = session.stop_handle();
    let passthrough = session.negotiated().passthrough;
    let server = std::thread::spawn(|| session.run());
    let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        if passthrough {
            test(&real, &point.join("f"));
        } else {
            println!("skipped: this kernel has no passthrough");
        }
    }));
    fs.backing.lock().unwrap().take();
    stop.stop().unwrap();
    server.join().unwrap().unwrap();
    tested.unwrap();
    assert_eq!(fs.data_requests.load(Ordering::SeqCst), 0, "data went through the server");
}

#[test]
fn data_bypass_the_server() {
    with_mount(|real, mounted| {
        let mut file = OpenOptions::new().read(true).write(true).open(mounted).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "behind the scenes");
        file.write_all(b"!").unwrap();
        assert_eq!(fs::read(real).unwrap(), b"behind the scenes!");
        // A second open shares the registration.
        let second = File::open(mounted).unwrap();
        let mut buf = [0; 6];
        second.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"behind");
    });
}

#[test]
fn an_unprivileged_write_drops_setuid() {
    with_mount(|real, mounted| {
        fs::set_permissions(real, PermissionsExt::from_mode(0o6777)).unwrap();
        chown(real, Some(0), Some(0)).unwrap();
        fs::set_permissions(real, PermissionsExt::from_mode(0o6777)).unwrap();
        let status = Command::new("sh")
            .args(["-c", "printf x >>\"$0\""])
            .arg(mounted)
            .uid(65534)
            .gid(65534)
            .status()
            .unwrap();
        assert!(status.success());
        let mode = fs::metadata(real).unwrap().mode();
        assert_eq!(mode & 0o6000, 0, "{mode:o}");
        // The server's own thread has its capability back.
        assert_eq!(fs::read(real).unwrap(), b"behind the scenesx");
    });
}
