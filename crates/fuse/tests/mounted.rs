//! A file system mounted for real. Without `/dev/fuse` or the right to mount,
//! the tests say so and pass.

pub(crate) mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::Mounted;
use fuse_server::{
    Config, FileSystem, InitFlags, Mount, MountFlags, MountOptions, Negotiated, Notifier, Session,
    SessionError,
};
use rustix::fs::{CWD, Mode, RenameFlags, StatxFlags, XattrFlags};
use rustix::io::Errno;

#[test]
fn files_and_directories() {
    let Some(mounted) = Mounted::default() else { return };
    fs::write(mounted.path("a"), b"hello").unwrap();
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"hello");
    OpenOptions::new().append(true).open(mounted.path("a")).unwrap().write_all(b"!").unwrap();
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"hello!");
    fs::create_dir(mounted.path("d")).unwrap();
    fs::rename(mounted.path("a"), mounted.path("d/b")).unwrap();
    assert!(!mounted.path("a").exists());
    fs::hard_link(mounted.path("d/b"), mounted.path("c")).unwrap();
    assert_eq!(fs::metadata(mounted.path("c")).unwrap().nlink(), 2);
    symlink("d/b", mounted.path("l")).unwrap();
    assert_eq!(fs::read_link(mounted.path("l")).unwrap().to_str(), Some("d/b"));
    assert_eq!(fs::read(mounted.path("l")).unwrap(), b"hello!");
    assert_eq!(fs::remove_dir(mounted.path("d")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    fs::remove_file(mounted.path("d/b")).unwrap();
    fs::remove_dir(mounted.path("d")).unwrap();
    let fs = mounted.end();
    assert_eq!(fs.inits.load(Ordering::SeqCst), 1);
    assert_eq!(fs.destroys.load(Ordering::SeqCst), 1);
}

#[test]
fn attributes() {
    let Some(mounted) = Mounted::default() else { return };
    let path = mounted.path("f");
    fs::write(&path, b"12345").unwrap();
    let meta = fs::metadata(&path).unwrap();
    // The number shown is not the node id.
    assert!(meta.ino() > 1000);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let past = std::time::UNIX_EPOCH - Duration::from_millis(1500);
    File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o640);
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (-2, 500_000_000));
    File::options().write(true).open(&path).unwrap().set_len(3).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"123");
    File::create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    let statfs = rustix::fs::statvfs(mounted.point()).unwrap();
    assert_eq!((statfs.f_blocks, statfs.f_bavail, statfs.f_namemax), (1000, 500, 255));
}

#[test]
fn creation_time_by_statx() {
    let Some(mounted) = Mounted::default() else { return };
    fs::write(mounted.path("f"), b"").unwrap();
    let want = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let flags = rustix::fs::AtFlags::STATX_FORCE_SYNC;
    let stat = rustix::fs::statx(CWD, mounted.path("f"), flags, want).unwrap();
    if mounted.negotiated.minor >= 39 {
        assert_eq!((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec), (12345, 678));
    }
}

/// The kernel refuses answers with errors from 512 on, and goes on waiting.
#[test]
fn an_error_of_the_kernels_inside_hangs_nobody() {
    use fuse_server::TransportChoice;
    for transport in [TransportChoice::Classic, TransportChoice::Auto] {
        let config = Config { transport, ..Config::default() };
        let Some(mounted) = Mounted::new(&config, &MountOptions::default()) else { return };
        let told = |number: i32| {
            let path = mounted.path(&format!("errno {number}"));
            fs::symlink_metadata(path).unwrap_err().raw_os_error()
        };
        assert_eq!(told(524), Some(libc::EOPNOTSUPP));
        for number in [512, 521, 528, 4095] {
            assert_eq!(told(number), Some(libc::EIO), "{number}");
        }
        assert_eq!(told(libc::EXDEV), Some(libc::EXDEV));
    }
}

#[test]
fn a_large_file_survives_in_pieces() {
    let Some(mounted) = Mounted::default() else { return };
    let data: Vec<u8> = (0..5_000_000u32).map(|i| (i % 251) as u8).collect();
    fs::write(mounted.path("big"), &data).unwrap();
    // From the page cache, then past it.
    assert!(fs::read(mounted.path("big")).unwrap() == data);
    let node = fs::metadata(mounted.path("big")).unwrap().ino() - 1000;
    mounted.notifier.inval_inode(node, 0, 0).unwrap();
    assert!(fs::read(mounted.path("big")).unwrap() == data);
    assert!(mounted.fs.reads.load(Ordering::SeqCst) > 0);
}

#[test]
fn many_entries_are_listed_once_each() {
    let Some(mounted) = Mounted::default() else { return };
    for n in 0..2000 {
        File::create(mounted.path(&format!("file number {n}"))).unwrap();
    }
    for _ in 0..2 {
        let mut names: Vec<_> =
            fs::read_dir(mounted.point()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2000);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 2000);
    }
    let entries: Vec<_> = fs::read_dir(mounted.point()).unwrap().map(|e| e.unwrap()).collect();
    for entry in entries {
        assert_eq!(entry.metadata().unwrap().ino(), entry.path().metadata().unwrap().ino());
        fs::remove_file(entry.path()).unwrap();
    }
    // Every lookup was given back: only the root is left once it forgets.
    let deadline = Instant::now() + Duration::from_secs(5);
    while mounted.fs.nodes() > 1 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(mounted.fs.nodes(), 1);
}

#[test]
fn without_readdirplus_and_with_other_flags() {
    let mut config = Config::default();
    config.flags = config.flags.without(
        InitFlags::DO_READDIRPLUS
            | InitFlags::MAX_PAGES
            | InitFlags::SETXATTR_EXT
            | InitFlags::DONT_MASK
            | InitFlags::ATOMIC_O_TRUNC,
    );
    config.clone_fd = false;
    let Some(mounted) = Mounted::new(&config, &MountOptions::default()) else { return };
    assert_eq!(mounted.negotiated.max_write, 128 * 1024);
    fs::write(mounted.path("x"), vec![1; 300_000]).unwrap();
    File::create(mounted.path("x")).unwrap().write_all(b"short").unwrap();
    assert_eq!(fs::read(mounted.path("x")).unwrap(), b"short");
    rustix::fs::setxattr(mounted.path("x"), "user.a", b"v", XattrFlags::empty()).unwrap();
    assert_eq!(fs::read_dir(mounted.point()).unwrap().count(), 1);
}

#[test]
fn extended_attributes() {
    let Some(mounted) = Mounted::default() else { return };
    let path = mounted.path("f");
    fs::write(&path, b"").unwrap();
    let value = vec![7; 40_000];
    rustix::fs::setxattr(&path, "user.big", &value, XattrFlags::empty()).unwrap();
    let mut buf = vec![0; 65536];
    let len = rustix::fs::getxattr(&path, "user.big", &mut buf[..]).unwrap();
    assert!(buf[..len] == value);
    assert_eq!(rustix::fs::getxattr_query(&path, "user.big"), Ok(40_000));
    assert_eq!(rustix::fs::getxattr(&path, "user.big", &mut [0u8; 10][..]), Err(Errno::RANGE));
    assert_eq!(rustix::fs::getxattr(&path, "user.none", &mut buf[..]), Err(Errno::NODATA));
    let len = rustix::fs::listxattr(&path, &mut buf[..]).unwrap();
    assert_eq!(&buf[..len], b"user.big\0");
    rustix::fs::removexattr(&path, "user.big").unwrap();
    assert_eq!(rustix::fs::listxattr(&path, &mut buf[..]), Ok(0));
}

#[test]
fn less_common_operations() {
    let Some(mounted) = Mounted::default() else { return };
    let path = mounted.path("f");
    let file = File::create_new(&path).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 300).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 300);
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(10)), Ok(100));
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(150)), Ok(200));
    file.write_all_at(b"copy me", 0).unwrap();
    file.set_len(7).unwrap();
    let source = File::open(&path).unwrap();
    let target = File::create(mounted.path("g")).unwrap();
    assert_eq!(rustix::fs::copy_file_range(&source, None, &target, None, 100), Ok(7));
    assert_eq!(fs::read(mounted.path("g")).unwrap(), b"copy me");
    file.sync_all().unwrap();
    let no = rustix::fs::renameat_with(CWD, &path, CWD, mounted.path("g"), RenameFlags::NOREPLACE);
    assert_eq!(no, Err(Errno::EXIST));
    rustix::fs::renameat_with(CWD, &path, CWD, mounted.path("h"), RenameFlags::NOREPLACE).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(CWD, mounted.path("p"), fifo, Mode::RWXU, 0).unwrap();
    assert!(fs::metadata(mounted.path("p")).unwrap().mode() & 0o170000 == 0o010000);
    // FS_IOC_GETVERSION: 4 or 8 bytes of output, each the low byte of the command.
    assert_eq!(rustix::fs::ioctl_getflags(&source).err(), None);
}

#[test]
fn files_without_names() {
    let Some(mounted) = Mounted::default() else { return };
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(mounted.point());
    if mounted.negotiated.minor < 37 {
        return;
    }
    let file = open.unwrap();
    file.write_all_at(b"secret", 0).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    assert_eq!(fs::read_dir(mounted.point()).unwrap().count(), 0);
}

#[test]
fn a_panic_costs_an_eio_and_the_mount_lives() {
    let Some(mounted) = Mounted::default() else { return };
    for _ in 0..10 {
        let error = fs::metadata(mounted.path("panic")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }
    fs::write(mounted.path("after"), b"fine").unwrap();
    assert_eq!(fs::read(mounted.path("after")).unwrap(), b"fine");
}

#[test]
fn negative_entries_are_remembered_until_invalidated() {
    let Some(mounted) = Mounted::default() else { return };
    assert!(!mounted.path("nothing").exists());
    assert!(!mounted.path("nothing").exists());
    mounted.notifier.inval_entry(1, b"nothing").unwrap();
    assert!(!mounted.path("nothing").exists());
    if mounted.negotiated.minor >= 44 {
        mounted.notifier.inc_epoch().unwrap();
    }
    if mounted.negotiated.minor >= 45 {
        fs::write(mounted.path("f"), b"").unwrap();
        let node = fs::metadata(mounted.path("f")).unwrap().ino() - 1000;
        mounted.notifier.prune(&[node]).unwrap();
    }
    assert_eq!(mounted.notifier.inval_inode(4711, 0, 0), Err(Errno::NOENT));
}

#[test]
fn slow_methods_do_not_stop_others() {
    let config = Config { threads: 2, max_threads: 2, ..Config::default() };
    let Some(mounted) = Mounted::new(&config, &MountOptions::default()) else { return };
    fs::write(mounted.path("f"), b"").unwrap();
    let (go_on, wait) = mpsc::channel();
    *mounted.fs.slow.lock().unwrap() = Some(wait);
    // More slow requests than there may be threads. They wait for one another.
    let slow: Vec<_> = (0..8)
        .map(|n| {
            let dir = mounted.path(&format!("d{n}"));
            fs::create_dir(&dir).unwrap();
            std::thread::spawn(move || dir.join("slow").exists())
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    for _ in 0..100 {
        File::open(mounted.path("f")).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for _ in 0..8 {
        go_on.send(()).unwrap();
    }
    assert!(slow.into_iter().all(|thread| !thread.join().unwrap()));
}

#[test]
fn stopping_while_in_use_ends_with_the_last_use() {
    let Some(mounted) = Mounted::default() else { return };
    fs::write(mounted.path("f"), b"still here").unwrap();
    let open = File::open(mounted.path("f")).unwrap();
    mounted.stop.stop().unwrap();
    assert!(!mounted.path("f").exists());
    let mut buf = [0; 10];
    open.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"still here");
    mounted.stop.stop().unwrap();
    drop(open);
    mounted.wait().unwrap();
}

#[test]
fn aborting_breaks_the_connection() {
    let Some(mounted) = Mounted::default() else { return };
    fs::write(mounted.path("f"), b"x").unwrap();
    let open = File::open(mounted.path("f")).unwrap();
    if mounted.stop.abort().is_err() {
        println!("skipped: only root may abort");
        return;
    }
    mounted.wait().unwrap();
    assert!(open.sync_all().is_err());
}

#[test]
fn mount_flags_are_obeyed_and_changed() {
    let flags = MountFlags::RDONLY | MountFlags::NOEXEC;
    let options = MountOptions { flags, subtype: Some("mem".into()), ..MountOptions::default() };
    let Some(mounted) = Mounted::new(&Config::default(), &options) else { return };
    let denied = fs::write(mounted.path("f"), b"").unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::ReadOnlyFilesystem);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(mounted.point().to_str().unwrap())).unwrap();
    assert!(line.contains("fuse.mem"), "{line}");
    if fuse_server::mount::remount(mounted.point(), MountFlags::empty()).is_ok() {
        fs::write(mounted.path("f"), b"").unwrap();
    }
}

#[test]
fn plain_unmounting_ends_the_session() {
    let Some(mounted) = Mounted::default() else { return };
    fs::write(mounted.path("f"), b"x").unwrap();
    let open = File::open(mounted.path("f")).unwrap();
    let busy = fuse_server::mount::unmount(mounted.point(), false).unwrap_err();
    assert!(matches!(busy, fuse_server::MountError::Busy(_)), "{busy}");
    drop(open);
    // RELEASE is asynchronous, but no longer keeps the mount busy.
    fuse_server::mount::unmount(mounted.point(), false).unwrap();
    let again = fuse_server::mount::unmount(mounted.point(), false).unwrap_err();
    assert!(matches!(again, fuse_server::MountError::NotMounted(_)), "{again}");
    mounted.wait().unwrap();
}

/// A file system that does not start.
struct Refuses;

impl FileSystem for Refuses {
    fn init(&self, _: &Negotiated, _: &Notifier) -> fuse_server::Result<()> {
        Err(Errno::NOMEM)
    }
}

fn mounted_on(dir: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.contains(&format!(" {} ", dir.display()))
}

#[test]
fn a_session_that_fails_or_is_dropped_unmounts() {
    let dir = tempfile::tempdir().unwrap();
    let Ok(mount) = Mount::new(dir.path(), &MountOptions::default()) else {
        return println!("skipped: cannot mount");
    };
    assert!(mounted_on(dir.path()));
    let failed = Session::new(mount, Arc::new(Refuses), &Config::default()).unwrap_err();
    assert!(matches!(failed, SessionError::Init(Errno::NOMEM)), "{failed}");
    assert!(!mounted_on(dir.path()));

    let mount = Mount::new(dir.path(), &MountOptions::default()).unwrap();
    let fs = Arc::new(common::MemFs::new());
    drop(Session::new(mount, Arc::clone(&fs), &Config::default()).unwrap());
    assert!(!mounted_on(dir.path()));
    assert_eq!(fs.destroys.load(Ordering::SeqCst), 1);
}
