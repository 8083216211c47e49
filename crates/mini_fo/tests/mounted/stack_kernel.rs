//! What the kernel's overlayfs leaves behind after random changes is read as it shows it.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirEntryExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::common::{self, Tree, is_root, record, run, skip, standard_base};
use crate::stack::{Place, copy};

/// Numbers that are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// One to three names, so few that they meet.
    fn path(&mut self) -> PathBuf {
        const NAMES: [&str; 9] = ["d", "sub", "e", "f", "big", "one", "empty", "script", "link"];
        (0..=self.below(3)).map(|_| self.pick(&NAMES)).collect()
    }
}

/// One change of a tree. What is impossible fails, and changes nothing.
#[derive(Debug)]
enum Change {
    Write(PathBuf, usize),
    Append(PathBuf),
    Truncate(PathBuf, u64),
    Mkdir(PathBuf),
    Remove(PathBuf),
    /// Removed, and a directory of that name made.
    Anew(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Symlink(PathBuf),
    Chmod(PathBuf, u32),
    Chown(PathBuf, u32),
    Attribute(PathBuf, &'static str),
    Time(PathBuf, u64),
}

/// Attributes that users and overlays inside the overlay give.
const ATTRIBUTES: [&str; 6] = [
    "user.note",
    "trusted.note",
    "trusted.overlay.opaque",
    "trusted.overlay.overlay.redirect",
    "user.overlay.opaque",
    "user.overlay.whiteout",
];

impl Change {
    fn draw(dice: &mut Dice, attributes: &[&'static str]) -> Change {
        let path = dice.path();
        match dice.below(16) {
            0 => Change::Write(path, dice.pick(&[0, 5, 70_000, 300_000])),
            1 => Change::Append(path),
            2 => Change::Truncate(path, dice.pick(&[0, 3, 100_000])),
            3 => Change::Mkdir(path),
            4 | 5 => Change::Remove(path),
            6 => Change::Anew(path),
            7..=9 => Change::Rename(path, dice.path()),
            10 => Change::Link(path, dice.path()),
            11 => Change::Symlink(path),
            12 => Change::Chmod(path, dice.pick(&[0o600, 0o644, 0o755, 0o4755])),
            13 => Change::Chown(path, dice.pick(&[0, 7, 1000])),
            14 => Change::Attribute(path, dice.pick(attributes)),
            _ => Change::Time(path, 1000 + dice.below(1000)),
        }
    }

    fn apply(&self, root: &Path) -> io::Result<()> {
        let at = |path: &Path| root.join(path);
        match self {
            Change::Write(path, len) => fs::write(at(path), vec![b'w'; *len]),
            Change::Append(path) => {
                OpenOptions::new().append(true).open(at(path))?.write_all(b"more")
            }
            Change::Truncate(path, len) => {
                OpenOptions::new().write(true).open(at(path))?.set_len(*len)
            }
            Change::Mkdir(path) => fs::create_dir(at(path)),
            Change::Remove(path) => remove(&at(path)),
            Change::Anew(path) => remove(&at(path)).and_then(|()| fs::create_dir(at(path))),
            Change::Rename(from, to) => fs::rename(at(from), at(to)),
            Change::Link(from, to) => fs::hard_link(at(from), at(to)),
            Change::Symlink(path) => symlink("where/ever", at(path)),
            Change::Chmod(path, mode) => {
                fs::set_permissions(at(path), fs::Permissions::from_mode(*mode))
            }
            Change::Chown(path, owner) if at(path).is_symlink() => {
                lchown(at(path), Some(*owner), Some(*owner))
            }
            Change::Chown(path, owner) => chown(at(path), Some(*owner), Some(*owner)),
            Change::Attribute(path, name) if !at(path).is_symlink() => {
                Ok(common::sys::set_xattr(&at(path), name, b"y")?)
            }
            Change::Attribute(..) => Ok(()),
            Change::Time(path, seconds) => {
                let time = UNIX_EPOCH + Duration::from_secs(*seconds);
                File::open(at(path))?.set_times(FileTimes::new().set_modified(time))
            }
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

/// Which facts of a tree are compared.
#[derive(Clone, Copy, Default)]
struct Compared {
    nlink: bool,
    mtime: bool,
}

fn compared(root: &Path, what: Compared) -> Tree {
    let mut tree = record(root);
    for facts in tree.values_mut() {
        let is_dir = facts.mode & libc::S_IFMT == libc::S_IFDIR;
        (facts.ino, facts.atime, facts.ctime) = (0, (0, 0), (0, 0));
        if is_dir || !what.nlink {
            facts.nlink = 0;
        }
        if is_dir {
            facts.size = 0;
        }
        if !what.mtime {
            facts.mtime = (0, 0);
        }
        facts.xattrs.sort();
    }
    tree
}

fn assert_same(case: &str, expected: &Tree, got: &Tree) {
    for (path, facts) in expected {
        assert_eq!(Some(facts), got.get(path), "{case}: at {}", path.display());
    }
    for path in got.keys() {
        assert!(expected.contains_key(path), "{case}: {} is too much", path.display());
    }
}

/// Listings say what a look at each name says.
fn assert_listed(case: &str, dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, found) = (entry.path(), fs::symlink_metadata(entry.path()).unwrap());
        assert_eq!(entry.ino(), found.ino(), "{case}: number of {}", path.display());
        assert_eq!(entry.file_type().unwrap(), found.file_type(), "{case}: {}", path.display());
        if found.is_dir() {
            assert_listed(case, &path);
        }
    }
}

/// The kernel's overlay over some layers, the uppermost first.
struct Kernel<'a> {
    options: &'a str,
    at: &'a Path,
}

impl Kernel<'_> {
    /// `None`: the kernel cannot do that.
    fn mount(&self, lowers: &[&Path], upper: Option<(&Path, &Path)>) -> Result<(), String> {
        let lowers: Vec<_> = lowers.iter().map(|dir| dir.display().to_string()).collect();
        let mut line = format!("lowerdir={}", lowers.join(":"));
        if let Some((upper, inner)) = upper {
            line += &format!(",upperdir={},workdir={}", upper.display(), inner.display());
        }
        let line = format!("{line},{}", self.options);
        let words = ["-t", "overlay", "overlay", "-o", line.trim_end_matches(',')].map(Path::new);
        let done = run("mount", &words.into_iter().chain([self.at]).collect::<Vec<_>>());
        if done.code == 0 { Ok(()) } else { Err(done.stderr) }
    }

    fn umount(&self) {
        // Whatever else looks at mounts may have it open for a moment.
        for _ in 0..100 {
            if run("umount", &[self.at]).code == 0 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        run("umount", &[self.at]).ok();
    }
}

/// Random changes of up to three overlays, each on top of what the one before has left.
/// `marks`: what they must have left.
fn random(options: &str, marks: &[&str]) {
    let mut left = Vec::new();
    for seed in seeds() {
        let Some(place) = Place::new() else { return };
        if !is_root() {
            return skip("overlayfs needs root");
        }
        let case = format!("{options:?}, seed {seed}");
        let mut dice = Dice::new(seed);
        let (lower, over) = (place.dir("lower"), place.dir("over"));
        standard_base(&lower);
        fs::hard_link(lower.join("f"), lower.join("e/one")).unwrap();
        let kernel = Kernel { options, at: &over };
        let mut layers = vec![lower];
        for round in 0..1 + seed % 3 {
            let (upper, inner) = (place.dir(&format!("u{round}")), place.dir(&format!("w{round}")));
            let lowers: Vec<&Path> = layers.iter().map(|dir| &**dir).collect();
            if let Err(why) = kernel.mount(&lowers, Some((&upper, &inner))) {
                return skip(&format!("no overlayfs with {options}: {}", why.trim()));
            }
            for name in ATTRIBUTES {
                let _ = Change::Attribute("e".into(), name).apply(&over);
            }
            if seed % 2 == 0 {
                // The kernel gives it to no root, and does not ask there.
                let mark = if options.contains("userxattr") { "user" } else { "trusted" };
                let mark = format!("{mark}.overlay.opaque");
                common::sys::set_xattr(&upper, &mark, b"y").unwrap();
            }
            for _ in 0..30 {
                // What fails must do so for the reason that it is impossible.
                let _ = Change::draw(&mut dice, &ATTRIBUTES).apply(&over);
            }
            kernel.umount();
            let names = record(&upper).into_values().flat_map(|facts| facts.xattrs);
            left.extend(names.map(|(name, _)| String::from_utf8(name).unwrap()));
            layers.insert(0, upper);
        }
        as_the_kernel(&case, &place, &kernel, &layers, &mut dice);
    }
    for mark in marks {
        assert!(left.iter().any(|name| name == mark), "{options}: no {mark} was written");
    }
}

/// Compares what kernel and mini_fo make of the layers, then changes on top.
fn as_the_kernel(
    case: &str,
    place: &Place,
    kernel: &Kernel<'_>,
    layers: &[PathBuf],
    dice: &mut Dice,
) {
    let (options, over) = (kernel.options, kernel.at);
    let lowers: Vec<&Path> = layers.iter().map(|dir| &**dir).collect();
    kernel.mount(&lowers, None).unwrap();
    // Which names are one object tells the index only, and that is no part of a layer.
    let what = Compared { nlink: !options.contains("index=on"), mtime: true };
    let expected = compared(over, what);
    let plain = place.dir("plain");
    copy(over, &plain);
    kernel.umount();
    let mut dialects = vec![
        if options.contains("userxattr") { "overlay-user" } else { "overlay" };
        layers.len() - 1
    ];
    dialects.push("plain");
    let dialects = format!("dialect={}", dialects.join(":"));
    place.shown(&lowers, &["-r", "-o", &dialects], |mnt| {
        assert_same(case, &expected, &compared(mnt, what));
        assert_listed(case, mnt);
    });
    let storage = place.dir("storage");
    let more = ["--storage", storage.to_str().unwrap(), "-o", &dialects];
    let changes: Vec<_> = (0..40).map(|_| Change::draw(dice, &["user.note"])).collect();
    place.shown(&lowers, &more, |mnt| {
        for change in &changes {
            let done = [mnt, &plain].map(|dir| change.apply(dir).map_err(|error| error.kind()));
            assert_eq!(done[0], done[1], "{case}: {change:?}");
        }
        assert_same(
            case,
            &compared(&plain, Compared::default()),
            &compared(mnt, Compared::default()),
        );
        assert_listed(case, mnt);
    });
    place.shown(&lowers, &more, |mnt| {
        assert_same(
            case,
            &compared(&plain, Compared::default()),
            &compared(mnt, Compared::default()),
        );
        assert_listed(case, mnt);
    });
}

/// More of them by a variable of the environment.
fn seeds() -> std::ops::Range<u64> {
    let more = std::env::var("MINI_FO_SEEDS").ok().and_then(|text| text.parse().ok());
    0..more.unwrap_or(6)
}

#[test]
fn without_options() {
    random("redirect_dir=off", &["trusted.overlay.opaque", "trusted.overlay.overlay.opaque"]);
}

#[test]
fn with_redirects() {
    random("redirect_dir=on,xino=on", &["trusted.overlay.redirect"]);
}

#[test]
fn with_metacopy() {
    random(
        "redirect_dir=on,metacopy=on",
        &["trusted.overlay.redirect", "trusted.overlay.metacopy"],
    );
}

#[test]
fn with_an_index() {
    random(
        "redirect_dir=on,metacopy=on,index=on",
        &["trusted.overlay.redirect", "trusted.overlay.metacopy"],
    );
}

#[test]
fn with_user_attributes() {
    random("userxattr", &["user.overlay.opaque", "user.overlay.overlay.opaque"]);
}
