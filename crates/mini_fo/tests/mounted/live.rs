//! `-o live_base`: others change the base while it is mounted.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::{META, WorkDir, engine_is_product, mini_fo, sh, skip, standard_base, sys};

/// What the tests state.
const TIME: Duration = Duration::from_millis(200);

/// A mount whose base may change: no proof at its end.
struct Live {
    base: PathBuf,
    storage: PathBuf,
    mnt: PathBuf,
    _work: WorkDir,
}

impl Live {
    fn new(options: &str) -> Option<Live> {
        if !engine_is_product() {
            return None;
        }
        if !Path::new("/dev/fuse").exists() {
            skip("no /dev/fuse");
            return None;
        }
        let work = WorkDir::new();
        let (base, storage, mnt) = (work.dir("base"), work.dir("storage"), work.dir("mnt"));
        standard_base(&base);
        let live = Live { base, storage, mnt, _work: work };
        live.mount(options);
        Some(live)
    }

    fn fast() -> Option<Live> {
        Live::new("live_base=0.2")
    }

    fn mount(&self, options: &str) {
        let args: [&Path; 7] = [
            "mount".as_ref(),
            &self.base,
            &self.mnt,
            "--storage".as_ref(),
            &self.storage,
            "-o".as_ref(),
            options.as_ref(),
        ];
        mini_fo(&args).ok();
    }

    fn umount(&self) {
        mini_fo(&[Path::new("umount"), &self.mnt]).ok();
    }

    /// The same script in base and mount, after a change of the base by
    /// `change`: what it prints must become the same within the stated time.
    fn same_after(&self, change: &str, script: &str) {
        // Everything is known and cached before.
        let before = sh(&self.mnt, script);
        assert_eq!(before, sh(&self.base, script), "before {change}");
        sh(&self.base, change);
        let (changed, expected) = (Instant::now(), sh(&self.base, script));
        loop {
            let asked = changed.elapsed();
            let shown = sh(&self.mnt, script);
            if shown == expected {
                return;
            }
            // The machine may be slow, but what is asked after the time must be right.
            assert!(asked < TIME, "after {change}: {shown}\ninstead of {expected}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Waits for the stated time.
fn after_the_time() {
    std::thread::sleep(TIME + Duration::from_millis(20));
}

const TREE: &str = "find . -mindepth 1 ! -name sock -printf '%P %y %m %s %l %n %i %T@\\n' | sort
    find . -type f -exec md5sum {} + | sort";

#[test]
fn every_change_of_the_base_shows() {
    let Some(live) = Live::fast() else { return };
    for change in [
        "echo appended >> f",
        "echo longer than it was before, by far > g",
        ": > d/one",
        "truncate -s 5M big; printf x | dd of=big bs=1 seek=4000000 conv=notrunc status=none",
        "chmod 600 script; touch -d 2001-01-01 d/two; chmod 700 d/sub",
        "echo new > d/new; mkdir -p d/n/m; echo deep > d/n/m/deep",
        "rm d/two; rm -r d/n; rm link",
        "mv d/one d/uno; mv e E; mv E/five f5",
        "echo another > t; mv t f",
        "rm g; mkdir g; echo in > g/in",
        "rm -r g; ln -s f g",
        "rm g; mkfifo g",
        "rm g; echo file again > g",
        "ln -sfn d/uno d/dangling",
        "mv d old; mkdir d; echo other > d/uno",
        "mv d x; mv old d; mv x old",
        "rm -r d/sub; echo file > d/sub",
        "rm d/sub; mkdir -p d/sub/deep; echo back > d/sub/deep/four",
        "ln f hard; ln hard harder",
        "rm f",
        "rm -r d old empty 'long dir'",
    ] {
        live.same_after(change, TREE);
    }
    // Nothing but what belongs to mini_fo.
    assert_eq!(sh(&live.storage, &format!("ls -A | grep -v {META} | wc -l")).trim(), "0");
    live.umount();
}

#[test]
fn an_open_file_sees_changes_in_place_and_outlives_its_name() {
    let Some(live) = Live::fast() else { return };
    let path = live.mnt.join("f");
    let mut file = File::open(&path).expect("open");
    let mapping = sys::Mapping::shared(&file, 4096, false);
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read");
    assert_eq!(mapping.read(4), b"base");
    // In place, also with the times put back.
    let base = live.base.join("f");
    let (atime, mtime) = (1_109_678_400, 123_456_789);
    let writer = File::options().write(true).open(&base).expect("open");
    writer.write_all_at(b"BASE", 0).expect("write");
    sys::set_times(&base, atime, mtime);
    after_the_time();
    assert_eq!(mapping.read(4), b"BASE");
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 0).expect("read");
    assert_eq!(&bytes, b"BASE");
    // Longer, and read through the old descriptor.
    fs::write(&base, "a longer text than the one before").expect("write");
    after_the_time();
    assert_eq!(file.metadata().expect("fstat").len(), 33);
    file.read_exact_at(&mut bytes, 29).expect("read");
    assert_eq!(&bytes, b"fore");
    // Replaced: the old one stays for who has it open.
    fs::write(live.base.join("t"), "replacement").expect("write");
    fs::rename(live.base.join("t"), &base).expect("rename");
    after_the_time();
    assert_eq!(fs::read_to_string(&path).expect("read"), "replacement");
    file.read_exact_at(&mut bytes, 29).expect("read");
    assert_eq!(&bytes, b"fore");
    assert_eq!(mapping.read(8), b"a longer");
    let stat = file.metadata().expect("fstat of a replaced file");
    assert_eq!((stat.len(), stat.nlink()), (33, 0));
    drop((file, mapping));
    live.umount();
}

#[test]
fn directories_that_somebody_is_in() {
    let Some(live) = Live::fast() else { return };
    let script = format!(
        "cd {m}/d/sub; ls > /dev/null
         mv {b}/d/sub {b}/moved; sleep 0.3
         ! test -e {m}/d/sub || exit 1; test -e {m}/moved/deep/four
         ls -a > /dev/null; stat . > /dev/null; cd {m}/moved; ls deep
         cd {m}/e; ls > /dev/null; rm -r {b}/e; sleep 0.3; ls -a . || true; stat . > /dev/null
         ! touch new 2> /dev/null || exit 1; cd /",
        m = live.mnt.display(),
        b = live.base.display()
    );
    assert!(sh(&live.mnt, &script).contains("four"));
    // A stream that was opened before reads on.
    let listing = fs::read_dir(live.mnt.join("d")).expect("opendir");
    fs::remove_dir_all(live.base.join("d")).expect("rm");
    assert!(listing.count() <= 4);
    live.umount();
}

/// What the storage holds wins, whatever the base does.
#[test]
fn the_storage_wins() {
    let Some(live) = Live::fast() else { return };
    sh(
        &live.mnt,
        "echo mine >> f; rm g; echo made > d/made; chmod 711 e; mv 'long dir' renamed; mkdir own
         ln -s target ours; rm -r empty",
    );
    sh(
        &live.base,
        "echo theirs > f; rm f; mkdir f; echo g again > g; echo theirs > d/made; chmod 700 e
         echo their > e/their; rm 'long dir/a b'; mkdir own; echo x > own/x; echo x > empty/x
         echo x > ours; echo their > 'long dir/their'",
    );
    after_the_time();
    let mine =
        "test -f f; tail -1 f; ! test -e g || exit 1; cat d/made; stat -c %a e; readlink ours
         ! test -e empty || exit 1; ! test -e 'long dir' || exit 1; cat e/five e/their; ls renamed";
    let expected = "mine\nmade\n711\ntarget\n55555\ntheir\ntheir\n";
    assert_eq!(sh(&live.mnt, mine), expected);
    // What a redirect or a changed directory shows of the base may go and come.
    sh(&live.base, "mv 'long dir' gone; mv e E");
    after_the_time();
    assert_eq!(sh(&live.mnt, "ls renamed e; stat -c %a e"), "e:\n\nrenamed:\n711\n");
    sh(&live.base, "mv gone 'long dir'; mkdir e; echo new > e/new");
    after_the_time();
    assert_eq!(sh(&live.mnt, "ls renamed e; cat e/new"), "e:\nnew\n\nrenamed:\ntheir\nnew\n");
    sh(&live.mnt, "echo here > e/here; rm e/new; echo in > renamed/in; rm renamed/their");
    live.umount();
    live.mount("rw");
    assert_eq!(sh(&live.mnt, "tail -1 f; ls e renamed"), "mine\ne:\nhere\n\nrenamed:\nin\n");
    live.umount();
}

/// Copy-ups take the object that shows, never the one that took its name.
#[test]
fn a_change_right_after_a_replacement() {
    let Some(live) = Live::new("live_base=20") else { return };
    sh(&live.mnt, "cat f g d/one > /dev/null; ls -lR > /dev/null");
    sh(&live.base, "echo new f > t; mv t f; rm g; mkdir g; mv d D; mkdir d; echo new one > d/one");
    // The kernel believes in the old ones still.
    sh(
        &live.mnt,
        "echo more >> f || true; echo more >> g 2> /dev/null || true; echo more >> d/one || true
         chmod 600 d || true; rm -rf D",
    );
    let f = fs::read_to_string(live.mnt.join("f")).expect("read");
    assert_eq!(f, "new f\nmore\n");
    sh(&live.mnt, "ls -lR > /dev/null; rm -rf d g; ! test -e d || exit 1; ! test -e g || exit 1");
    sh(&live.base, "test -d g; test $(cat f) = 'new f' 2> /dev/null || test -e f; test -e D/two");
    live.umount();
}

/// A creation that finds what others have just made in the base is judged as an
/// opening of it.
#[test]
fn a_creation_that_finds_a_file_is_judged() {
    if crate::user::skipped() {
        return;
    }
    let Some(live) = Live::new("live_base=20") else { return };
    sh(&live.mnt, "chmod 777 d");
    let open = |name: &str| {
        let path = live.mnt.join("d").join(name);
        File::options().read(true).write(true).create(true).truncate(false).open(path)
    };
    sys::as_user(65_534, || {
        for name in ["secret", "theirs", "sl"] {
            assert!(!live.mnt.join("d").join(name).exists(), "{name}");
        }
    });
    sh(
        &live.base,
        "echo s > d/secret; chmod 600 d/secret; echo t > d/theirs; chmod 666 d/theirs
         ln -s /etc/mini_fo-nothing d/sl",
    );
    sys::as_user(65_534, || {
        for name in ["secret", "sl"] {
            let error = open(name).expect_err(name);
            assert_eq!(error.raw_os_error(), Some(libc::EACCES), "{name}: {error}");
        }
        let mut text = String::new();
        open("theirs").expect("open").read_to_string(&mut text).expect("read");
        assert_eq!(text, "t\n");
    });
    assert!(!live.storage.join("d/secret").exists());
    live.umount();
}

#[test]
fn values_of_the_option() {
    let Some(live) = Live::new("live_base") else { return };
    sh(&live.mnt, "cat f; ls d");
    live.umount();
    let refused = |value: &str| {
        let args: [&Path; 7] = [
            "mount".as_ref(),
            &live.base,
            &live.mnt,
            "--storage".as_ref(),
            &live.storage,
            "-o".as_ref(),
            value.as_ref(),
        ];
        mini_fo(&args).fails(2, &["live_base"]);
    };
    for value in ["live_base=soon", "live_base=0", "live_base=-1", "live_base=nan"] {
        refused(value);
    }
}

/// One changes the base as fast as it can, others work in the mount.
#[test]
fn everybody_at_once() {
    let Some(live) = Live::new("live_base=0.02") else { return };
    let stop = AtomicBool::new(false);
    let until = |f: &(dyn Fn(u32) + Sync)| {
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            f(round);
            round += 1;
        }
        assert!(round > 3, "only {round} rounds");
    };
    let (base, mnt) = (&live.base, &live.mnt);
    fs::write(mnt.join("mine"), "mine").expect("write");
    fs::create_dir(mnt.join("both")).expect("mkdir");
    std::thread::scope(|scope| {
        scope.spawn(|| until(&|round| change_base(base, round)));
        scope.spawn(|| until(&|_| read_all(mnt)));
        scope.spawn(|| until(&|_| read_all(mnt)));
        scope.spawn(|| until(&|round| work(mnt, round)));
        std::thread::sleep(Duration::from_secs(6));
        stop.store(true, Ordering::Relaxed);
    });
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(fs::read_to_string(mnt.join("mine")).expect("read"), "mine");
    // Only what was never touched through the mount: it is as in the base.
    let quiet = "cd churn; find . -printf '%P %y %i %s\\n' | sort; cat $(find . -type f) | md5sum";
    assert_eq!(sh(mnt, quiet), sh(base, quiet));
    sh(mnt, "cat both/* > /dev/null || true; rm -rf both w0 w1 w2; test ! -e both");
    live.umount();
}

fn change_base(base: &Path, round: u32) {
    let at = |name: &str| base.join("churn").join(name);
    let (n, m) = (round % 5, round % 3);
    let _ = fs::create_dir_all(at(&format!("d{n}/s{m}")));
    let _ = fs::write(at(&format!("d{n}/s{m}/f")), vec![b'x'; (round % 9000) as usize]);
    let _ = fs::write(at(&format!("f{n}")), format!("{round}"));
    let _ = fs::rename(at(&format!("f{n}")), at(&format!("d{m}")));
    let _ = fs::rename(at(&format!("d{n}")), at(&format!("e{m}")));
    let _ = fs::remove_file(at(&format!("d{m}")));
    let _ = symlink(format!("{round}"), at(&format!("l{n}")));
    let _ = fs::hard_link(at(&format!("f{m}")), at(&format!("h{n}")));
    if round.is_multiple_of(7) {
        let _ = fs::remove_dir_all(at(&format!("e{m}")));
        let _ = fs::remove_file(at(&format!("l{m}")));
        let _ = fs::remove_file(at(&format!("h{m}")));
    }
    let both = base.join(format!("w{m}"));
    if round.is_multiple_of(2) {
        let _ = fs::create_dir(&both);
        let _ = fs::write(both.join("in"), "theirs");
    } else {
        let _ = fs::remove_dir_all(&both);
        let _ = fs::write(&both, "a file");
    }
    if round % 4 == 3 {
        let _ = fs::remove_file(&both);
    }
}

/// Reads everything; what goes away meanwhile is no failure, but nothing may
/// fail in a way that a plain directory would not.
fn read_all(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir).map_err(|error| judge(dir, &error)) else { return };
    for entry in entries {
        let Ok(entry) = entry.map_err(|error| judge(dir, &error)) else { return };
        let path = entry.path();
        match fs::symlink_metadata(&path) {
            Ok(stat) if stat.is_dir() => read_all(&path),
            Ok(stat) if stat.is_file() => {
                let _ = fs::read(&path).map_err(|error| judge(&path, &error));
            }
            Ok(stat) if stat.is_symlink() => {
                let _ = fs::read_link(&path).map_err(|error| judge(&path, &error));
            }
            Ok(_) => {}
            Err(error) => judge(&path, &error),
        }
    }
}

fn judge(path: &Path, error: &std::io::Error) {
    let plain = [libc::ENOENT, libc::ENOTDIR, libc::EISDIR, libc::EINVAL, libc::ELOOP, libc::ENXIO];
    let code = error.raw_os_error().unwrap_or(0);
    // Names that change faster than they can be followed.
    let plain = plain.contains(&code) || code == libc::ESTALE;
    assert!(plain, "{}: {error}", path.display());
}

fn work(mnt: &Path, round: u32) {
    let m = round % 3;
    let both = mnt.join(format!("w{m}"));
    let _ = fs::create_dir(&both);
    let _ = fs::write(both.join(format!("x{}", round % 11)), "mine");
    let _ = fs::remove_file(both.join("in"));
    let _ = fs::rename(&both, mnt.join(format!("w{}", (m + 1) % 3)));
    if round.is_multiple_of(5) {
        let _ = fs::remove_dir_all(&both);
    }
    let _ = fs::write(mnt.join("both").join(format!("f{m}")), format!("{round}"));
    assert_eq!(fs::read_to_string(mnt.join("mine")).expect("mine"), "mine");
}
