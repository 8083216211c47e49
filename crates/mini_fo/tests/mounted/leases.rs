//! Leases (fcntl(2), `F_SETLEASE`): who holds them keeps those waiting who open
//! his files, and nobody else.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Scene, engine_is_product, standard_base};

const LEASED: usize = 120;

/// A lease on a base file, given back when dropped.
struct Lease(#[expect(dead_code, reason = "held open")] File);

impl Lease {
    fn take(path: &Path) -> Lease {
        let file = File::open(path).expect("open the base file");
        // SAFETY: the number of a signal and a constant; this process expects no
        // SIGIO, which would tell that a lease is asked back.
        unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
        // SAFETY: the descriptor is open; the call takes numbers only.
        let rc = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
        assert_eq!(rc, 0, "F_SETLEASE: {}", std::io::Error::last_os_error());
        Lease(file)
    }
}

/// Ended with the test, also if it fails.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn cat(path: &Path) -> Client {
    let mut cat = Command::new("cat");
    cat.arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    Client(cat.spawn().expect("cat"))
}

/// Somebody holds leases on more files than the daemon has threads, and they are
/// opened.
#[test]
fn leases_stop_nobody_else() {
    if !engine_is_product() {
        return;
    }
    let Some(s) = Scene::new(|base| {
        standard_base(base);
        fs::create_dir(base.join("leased")).expect("mkdir");
        for i in 0..LEASED {
            fs::write(base.join(format!("leased/{i}")), format!("content {i}")).expect("write");
        }
        fs::write(base.join("leased/changed"), "small").expect("write");
    }) else {
        return;
    };
    let name = |i: usize| format!("leased/{i}");
    let mut leases: Vec<_> = (0..LEASED).map(|i| Lease::take(&s.base.join(name(i)))).collect();
    leases.push(Lease::take(&s.base.join("leased/changed")));
    let mut cats: Vec<_> = (0..LEASED).map(|i| cat(&s.at(&name(i)))).collect();
    let changed = s.at("leased/changed");
    let chmod = std::thread::spawn(move || {
        fs::set_permissions(&changed, Permissions::from_mode(0o600)).map(|()| Instant::now())
    });
    std::thread::sleep(Duration::from_secs(1));

    let begun = Instant::now();
    assert_eq!(fs::read(s.at("f")).expect("read another file").first(), Some(&b'b'));
    fs::write(s.at("made meanwhile"), "x").expect("make a file");
    assert!(!s.at("d/not there").exists());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "others waited {took:?}");

    // Some wait, as on a plain file system; the rest was told to try again.
    let waiting = cats.iter_mut().filter_map(|cat| cat.0.try_wait().expect("wait")).count();
    let waiting = LEASED - waiting;
    assert!((8..LEASED).contains(&waiting), "{waiting} wait");
    let freed = Instant::now();
    drop(leases);
    let mut read = 0;
    for cat in &mut cats {
        read += usize::from(cat.0.wait().expect("wait").success());
    }
    assert!(freed.elapsed() < Duration::from_secs(3), "they waited {:?}", freed.elapsed());
    assert!(read >= waiting, "{read} read, though {waiting} waited");
    match chmod.join().expect("join") {
        Ok(done) => assert!(done >= freed, "changed under a lease"),
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EAGAIN)),
    }
    for i in 0..LEASED {
        let content = fs::read_to_string(s.at(&name(i))).expect("read");
        assert_eq!(content, format!("content {i}"));
    }
    s.prove_base();
}
