//! Layers of container images: archives with whiteouts, each unpacked by tar(1), which
//! knows nothing of these, and all of them together by umoci(1), the tool of the Open
//! Container Initiative, into one directory. Both must show the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::sys::set_times;
use crate::common::{assert_same_tree, is_root, run, sh, skip, skip_unless};
use crate::stack::Place;

/// Numbers that are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

const NAMES: [&str; 7] = ["a", "b", "c", "d", "with space", "\u{fc}", ".hidden"];

fn made(dice: &mut Dice, at: &Path, number: u64, depth: u32, files: &mut Vec<PathBuf>) {
    fs::create_dir(at).unwrap();
    draw(dice, at, number, depth + 1, files);
}

/// Draws what a layer has in a directory. `number`: of the layer, the lowest is 0.
fn draw(dice: &mut Dice, dir: &Path, number: u64, depth: u32, files: &mut Vec<PathBuf>) {
    for name in NAMES {
        let (at, mark) = (dir.join(name), dir.join(format!(".wh.{name}")));
        match dice.below(if number == 0 { 8 } else { 16 }) {
            0 | 1 => {
                fs::write(&at, format!("{number} {name} {}", dice.below(1000))).unwrap();
                files.push(at.clone());
            }
            2 => std::os::unix::fs::symlink(NAMES[dice.below(7) as usize], &at).unwrap(),
            3 | 4 if depth < 3 => made(dice, &at, number, depth, files),
            5 if !files.is_empty() => {
                fs::hard_link(&files[dice.below(files.len() as u64) as usize], &at).unwrap();
            }
            8 | 9 => fs::write(&mark, "").unwrap(),
            // What it hides is that of the layers below.
            10 if depth < 3 => {
                fs::write(&mark, "").unwrap();
                made(dice, &at, number, depth, files);
            }
            11 => {
                fs::write(&mark, "").unwrap();
                fs::write(&at, format!("{number} again")).unwrap();
            }
            _ => {}
        }
        if let Ok(stat) = at.symlink_metadata()
            && !stat.is_symlink()
        {
            let modes = if stat.is_dir() { [0o755, 0o700, 0o1777] } else { [0o644, 0o600, 0o755] };
            let mode = modes[dice.below(3) as usize];
            fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
        }
        if is_root() && at.symlink_metadata().is_ok() && dice.below(3) == 0 {
            std::os::unix::fs::lchown(&at, Some(dice.below(3) as u32), Some(7)).unwrap();
        }
    }
    if number > 0 && depth > 0 && dice.below(5) == 0 {
        fs::write(dir.join(".wh..wh..opq"), "").unwrap();
    }
}

/// Gives everything a time of long ago.
fn age(dir: &Path, seconds: &mut i64) {
    let mut entries: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.is_symlink() {
            age(&path, seconds);
        } else {
            set_times(&path, *seconds, 0);
        }
        *seconds += 1;
    }
    set_times(dir, *seconds, 0);
}

/// Layers as archives, the lowest first.
fn archives(place: &Place, seed: u64) -> Vec<PathBuf> {
    let mut dice = Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let count = 2 + dice.below(4);
    let make = |number| {
        let dir = place.dir(&format!("tree{seed}-{number}"));
        draw(&mut dice, &dir, number, 0, &mut Vec::new());
        age(&dir, &mut (1_109_678_400 + number as i64 * 10_000));
        let archive = place.at(&format!("{seed}-{number}.tar"));
        // A whiteout comes before what its layer has under the name.
        let how = ["--sort=name", "--format=pax", "--numeric-owner", "-C"].map(PathBuf::from);
        let what = ["-cf".into(), archive.clone(), ".".into()];
        run("tar", &[&how[..], &[dir], &what].concat()).ok();
        archive
    };
    (0..count).map(make).collect()
}

/// All layers in one directory, by the tool of others.
fn by_umoci(place: &Place, seed: u64, archives: &[PathBuf]) -> PathBuf {
    let image = place.at(&format!("image{seed}"));
    let (image, to) = (image.to_str().unwrap(), place.at(&format!("unpacked{seed}")));
    sh(Path::new("/"), &format!("umoci init --layout {image}; umoci new --image {image}:x"));
    for archive in archives {
        let archive = archive.display();
        sh(Path::new("/"), &format!("umoci raw add-layer --image {image}:x {archive}"));
    }
    let rootless = if is_root() { "" } else { "--rootless" };
    let to_text = to.display();
    sh(Path::new("/"), &format!("umoci raw unpack {rootless} --image {image}:x {to_text}"));
    to
}

#[test]
fn what_umoci_makes_of_layers_is_what_they_show() {
    if skip_unless(&["umoci", "tar"]) {
        return;
    }
    let Some(place) = Place::new() else { return };
    let (mut whiteouts, mut opaque) = (0, 0);
    for seed in 0..12 {
        let archives = archives(&place, seed);
        let unpack = |archive: &PathBuf| {
            let to = place.dir(&format!("{}.d", archive.file_name().unwrap().to_str().unwrap()));
            let words = ["-xpf".into(), archive.clone(), "-C".into(), to.clone()];
            run("tar", &words).ok();
            to
        };
        let mut layers: Vec<PathBuf> = archives.iter().map(unpack).collect();
        for layer in &layers {
            let marks = sh(layer, "find . -name '.wh.*'");
            opaque += marks.matches(".wh..wh..opq").count();
            whiteouts += marks.lines().count();
        }
        layers.reverse();
        let layers: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
        let theirs = by_umoci(&place, seed, &archives);
        let storage = place.dir(&format!("storage{seed}"));
        for more in [&["-r"][..], &["--storage", storage.to_str().unwrap()]] {
            place.shown(&layers, more, |mnt| assert_same_tree(mnt, &theirs));
        }
    }
    assert!(whiteouts > 50 && opaque > 5, "{whiteouts} whiteouts, {opaque} opaque directories");
    if !is_root() {
        skip("owners: only root gives files away");
    }
}
