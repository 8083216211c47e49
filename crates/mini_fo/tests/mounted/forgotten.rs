//! What is done for a file after its close is done to that file, also where the
//! kernel has forgotten it meanwhile and its name is another file's.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{BaseKind, Scene, StorageKind, engine_is_product, is_root, skip, sys};

const USER: u32 = 65534;

/// Until all that was closed is settled.
const SETTLED: Duration = Duration::from_secs(4);

/// A directory `d` of a user, with files `f0` to `f(COUNT-1)` of one byte each of
/// their own, and `victim`.
fn scene(count: usize, size: usize) -> Option<Scene> {
    if !engine_is_product() {
        return None;
    }
    if !is_root() {
        skip("makes the kernel forget, and becomes another user");
        return None;
    }
    let fill = |base: &Path| {
        let dir = base.join("d");
        fs::create_dir(&dir).expect("mkdir");
        fs::set_permissions(base, fs::Permissions::from_mode(0o755)).expect("chmod");
        let names = (0..count).map(|n| (format!("f{n}"), byte(n)));
        for (name, byte) in names.chain([("victim".to_owned(), b'v')]) {
            fs::write(dir.join(&name), vec![byte; size]).expect("write");
            chown(dir.join(&name), Some(USER), Some(USER)).expect("chown");
        }
        chown(&dir, Some(USER), Some(USER)).expect("chown");
    };
    Scene::unmounted(BaseKind::Plain, StorageKind::Plain, fill)
}

fn byte(n: usize) -> u8 {
    b'a' + (n % 20) as u8
}

fn forget_all() {
    fs::write("/proc/sys/vm/drop_caches", "2").expect("drop caches");
}

fn holds(path: &Path, data: &[u8]) {
    let found = fs::read(path).expect("read");
    assert!(found == data, "{}: {} bytes of another content", path.display(), found.len());
}

/// A line at the end of a file.
fn append(path: &Path) {
    let mut file = OpenOptions::new().append(true).open(path).expect("open");
    file.write_all(b"line\n").expect("append");
}

fn appended(n: usize, size: usize) -> Vec<u8> {
    [&vec![byte(n); size][..], b"line\n"].concat()
}

#[test]
fn a_changed_file_keeps_its_change_under_a_new_name() {
    const SIZE: usize = 1 << 20;
    let Some(mut s) = scene(40, SIZE) else { return };
    s.mount(&["-o", "blocks_from=64K"]);
    for n in 0..40 {
        let path = s.at(&format!("d/f{n}"));
        let file = OpenOptions::new().read(true).write(true).open(path).expect("open");
        file.write_all_at(b"changed", 100_000).expect("write");
        if n == 39 {
            file.sync_all().expect("fsync");
        }
    }
    forget_all();
    fs::rename(s.at("d/f39"), s.at("d/g")).expect("rename");
    fs::rename(s.at("d/victim"), s.at("d/f39")).expect("rename");
    std::thread::sleep(SETTLED);
    s.now_and_remounted(|mnt| {
        for n in 0..40 {
            let mut data = vec![byte(n); SIZE];
            data[100_000..100_007].copy_from_slice(b"changed");
            let name = if n == 39 { "g".to_owned() } else { format!("f{n}") };
            holds(&mnt.join("d").join(name), &data);
        }
        holds(&mnt.join("d/f39"), &[b'v'; SIZE]);
    });
}

/// With default options: append, rename, create.
#[test]
fn a_log_that_was_rotated_away_keeps_its_last_line() {
    const SIZE: usize = 1 << 20;
    let Some(mut s) = scene(40, SIZE) else { return };
    s.mount(&[]);
    for n in 0..40 {
        append(&s.at(&format!("d/f{n}")));
    }
    forget_all();
    for n in (0..40).rev() {
        let path = s.at(&format!("d/f{n}"));
        fs::rename(&path, s.at(&format!("d/f{n}.1"))).expect("rename");
        fs::write(&path, format!("new {n}\n")).expect("create");
    }
    std::thread::sleep(SETTLED);
    s.now_and_remounted(|mnt| are_rotated(mnt, 40, SIZE));
}

fn are_rotated(mnt: &Path, count: usize, size: usize) {
    for n in 0..count {
        holds(&mnt.join(format!("d/f{n}.1")), &appended(n, size));
        holds(&mnt.join(format!("d/f{n}")), format!("new {n}\n").as_bytes());
    }
}

/// An ordinary user of a mount that makes the kernel forget all the time.
#[test]
fn a_user_s_logs_are_rotated_while_the_kernel_forgets() {
    const COUNT: usize = 240;
    const SIZE: usize = 1 << 20;
    let Some(mut s) = scene(COUNT, SIZE) else { return };
    let log = s.work.0.join("log");
    s.mount(&["--verbose", "-o", &format!("max_nodes=5,log={}", log.display())]);
    let dir = s.at("d");
    // The user could not open it.
    let log = File::open(log).expect("log");
    let forgets = || {
        let mut text = vec![0; log.metadata().expect("log").len() as usize];
        log.read_exact_at(&mut text, 0).expect("log");
        String::from_utf8_lossy(&text).matches("nodes were known").count()
    };
    sys::as_user(USER, || {
        // As many as may wait to be settled.
        for batch in (0..COUNT).step_by(60) {
            let names = (batch..batch + 60).map(|n| (n, dir.join(format!("f{n}"))));
            let before = forgets();
            names.clone().for_each(|(_, path)| append(&path));
            // The kernel is asked to forget once in a second; better while they wait.
            let begun = Instant::now();
            while forgets() == before && begun.elapsed() < Duration::from_secs(2) {
                std::thread::sleep(Duration::from_millis(1));
            }
            for (n, path) in names.rev() {
                fs::rename(&path, dir.join(format!("f{n}.1"))).expect("rename");
                let mut file = File::create(&path).expect("create");
                writeln!(file, "new {n}").expect("write");
            }
            // So that the next ones are closed shortly before.
            let asked = forgets();
            while forgets() == asked && begun.elapsed() < Duration::from_secs(4) {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(900));
        }
    });
    std::thread::sleep(SETTLED);
    s.now_and_remounted(|mnt| are_rotated(mnt, COUNT, SIZE));
}
