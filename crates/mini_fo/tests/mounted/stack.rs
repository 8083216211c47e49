//! Several trees below the storage: plain ones, storages, and what others have written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::common::{
    Tree, WorkDir, assert_same_tree, cannot_mount, engine_is_product, is_root, mini_fo, record,
    run, sh, skip, skip_unless, standard_base,
};

/// A work directory with a mount point; what is mounted goes with it.
pub struct Place {
    mnt: PathBuf,
    work: WorkDir,
}

impl Place {
    pub fn new() -> Option<Place> {
        if !engine_is_product() || cannot_mount() {
            return None;
        }
        let work = WorkDir::new();
        Some(Place { mnt: work.dir("mnt"), work })
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        self.work.dir(name)
    }

    /// A path in it, made or not.
    pub fn at(&self, name: &str) -> PathBuf {
        self.work.0.join(name)
    }

    /// Layers from the top down, mounted while `f` runs; they must stay as they are.
    pub fn shown<T>(&self, layers: &[&Path], more: &[&str], f: impl FnOnce(&Path) -> T) -> T {
        let before: Vec<Tree> = layers.iter().map(|layer| facts(layer)).collect();
        let (first, under) = layers.split_first().unwrap();
        let mut args = vec!["mount".into(), first.into(), self.mnt.clone()];
        args.extend(under.iter().flat_map(|dir| ["--under".into(), PathBuf::from(dir)]));
        args.extend(more.iter().map(PathBuf::from));
        mini_fo(&args).ok();
        let value = f(&self.mnt);
        mini_fo(&["umount".into(), self.mnt.clone()]).ok();
        for (layer, before) in layers.iter().zip(before) {
            assert!(facts(layer) == before, "{} was changed", layer.display());
        }
        value
    }
}

/// All but times of access, which this look at directories moves itself.
fn facts(layer: &Path) -> Tree {
    let mut tree = record(layer);
    tree.values_mut().for_each(|facts| facts.atime = (0, 0));
    tree
}

/// A copy with everything but numbers.
pub fn copy(from: &Path, to: &Path) {
    run("cp", &[Path::new("-a"), Path::new("-T"), from, to]).ok();
}

const WORK: [&str; 3] = [
    "echo more >> f; chmod 600 g; rm d/one; mv e empty/; rm -r 'long dir'; mkdir 'long dir'
        echo new > 'long dir/in it'; ln -s f sl; touch -d @77 script",
    "rm -r d; mkdir d; echo again > d/two; mv empty/e e2 2>/dev/null || cp -a empty/e e2
        truncate -s 1M big; mkdir -p n/m; echo q > n/m/q; rm -f sl; mkdir sl",
    "rm f; mkdir f; echo inside > f/x; mv n N 2>/dev/null || { cp -a n N; rm -r n; }
        chmod 640 N/m/q; setfattr -n user.note -v here N; rm -r 'long dir'; echo file > 'long dir'",
];

/// What the kernel's overlayfs has written shows as it showed there.
fn as_the_kernel_shows_it(options: &str) {
    let Some(place) = Place::new() else { return };
    if !is_root() {
        return skip("overlayfs needs root");
    }
    let (lower, upper) = (place.dir("lower"), place.dir("upper"));
    let (inner, over) = (place.dir("inner"), place.dir("over"));
    standard_base(&lower);
    let mount = |uppers: &[&Path], write: bool| {
        let lowers: Vec<_> = uppers.iter().map(|dir| dir.display().to_string()).collect();
        let mut line = format!("lowerdir={}", lowers.join(":"));
        if write {
            line = format!("{line},upperdir={},workdir={}", upper.display(), inner.display());
        }
        let line = format!("{line},{options}");
        let line = line.trim_end_matches(',').to_owned();
        let words = ["-t", "overlay", "overlay", "-o", &line].map(PathBuf::from);
        run("mount", &words.iter().map(|w| &**w).chain([&*over]).collect::<Vec<_>>())
    };
    let mounted = mount(&[&lower], true);
    if mounted.code != 0 {
        return skip(&format!("no overlayfs with {options}: {}", mounted.stderr.trim()));
    }
    WORK.iter().for_each(|work| drop(sh(&over, work)));
    run("umount", &[&over]).ok();
    mount(&[&lower], true).ok();
    let plain = place.dir("plain");
    copy(&over, &plain);
    run("umount", &[&over]).ok();
    let dialect =
        if options.contains("userxattr") { "dialect=overlay-user" } else { "dialect=auto" };
    place.shown(&[&upper, &lower], &["-r", "-o", dialect], |mnt| assert_same_tree(mnt, &plain));
    let storage = place.dir("storage");
    let more = ["--storage", storage.to_str().unwrap(), "-o", dialect];
    place.shown(&[&upper, &lower], &more, |mnt| {
        for dir in [mnt, &plain] {
            sh(dir, "echo x >> big; rm -r d; mv N back; chmod 700 script; mkdir d");
        }
        assert_same_tree(mnt, &plain);
    });
}

#[test]
fn an_upper_directory_of_overlayfs() {
    as_the_kernel_shows_it("");
}

#[test]
fn one_with_redirects_and_metacopy() {
    as_the_kernel_shows_it("redirect_dir=on,metacopy=on");
}

#[test]
fn one_with_user_attributes() {
    as_the_kernel_shows_it("userxattr");
}

/// Marks that are made inside an overlayfs, for another one above it, are escaped; and what
/// lies in a mount of ours can be a layer, of ours and of overlayfs.
#[test]
fn overlays_in_overlays() {
    let Some(place) = Place::new() else { return };
    if !is_root() || skip_unless(&["setfattr", "getfattr"]) {
        return skip("needs root and setfattr");
    }
    let (lower, upper, work) = (place.dir("lower"), place.dir("upper"), place.dir("work"));
    let (over, inner) = (place.dir("over"), place.dir("inner"));
    fs::create_dir(lower.join("low")).expect("mkdir");
    standard_base(&lower.join("low"));
    let mount = |at: &Path, line: String| {
        let words = ["-t", "overlay", "overlay", "-o", &line].map(PathBuf::from);
        run("mount", &words.iter().map(|word| &**word).chain([at]).collect::<Vec<_>>())
    };
    let umount = |at: &Path| drop(run("umount", &[at]).ok());
    let stacked = |dir: &Path| ["up", "low"].map(|name| dir.join(name).display().to_string());
    let line = [&lower, &upper, &work].map(|dir| dir.display().to_string());
    let line = format!("lowerdir={},upperdir={},workdir={}", line[0], line[1], line[2]);
    if mount(&over, line).code != 0 {
        return skip("no overlayfs");
    }
    sh(
        &over,
        "mkdir -p up/d up/moved; mark() { setfattr -n trusted.overlay.$1 -v $2 $3; }
         mark opaque x up; : > up/f; mark whiteout y up/f; mark opaque y up/d; echo q > up/d/new
         mark redirect /e up/moved; echo changed > up/g",
    );
    let (shown, marked) = (place.dir("shown"), place.dir("marked"));
    let seen = mount(&inner, format!("lowerdir={}", stacked(&over).join(":")));
    if seen.code == 0 {
        copy(&inner, &shown);
        umount(&inner);
    }
    copy(&over, &marked);
    umount(&over);
    let marks = sh(&upper, "getfattr -Rhd -m . . 2>/dev/null");
    if seen.code != 0 || !marks.contains("trusted.overlay.overlay.") {
        return skip("overlayfs does not escape (before Linux 6.7)");
    }
    assert!(!shown.join("f").exists() && !shown.join("d/one").exists());
    place.shown(&[&upper, &lower], &["-r"], |mnt| {
        assert_same_tree(mnt, &marked);
        let layers = stacked(mnt).join(":");
        mount(&inner, format!("lowerdir={layers}")).ok();
        assert_same_tree(&inner, &shown);
        umount(&inner);
        let inner_text = inner.to_str().expect("text");
        mini_fo(&["mount", &layers, inner_text, "-r", "-o", "dialect=overlay"]).ok();
        assert_same_tree(&inner, &shown);
        mini_fo(&["umount", inner_text]).ok();
    });
}

/// Numbers, link counts and change times of a tree.
fn numbers(dir: &Path) -> String {
    let line = "find . -printf '%p %i %n %C@ %s %b %m\\n' | sort";
    sh(dir, line)
}

#[test]
fn a_frozen_storage_shows_what_it_showed() {
    let Some(place) = Place::new() else { return };
    let base = place.dir("base");
    standard_base(&base);
    fs::write(base.join("large"), vec![b'l'; 300_000]).unwrap();
    let storages: Vec<PathBuf> = (0..4).map(|n| place.dir(&format!("storage{n}"))).collect();
    let plain = place.dir("plain");
    copy(&base, &plain);
    let mut layers: Vec<&Path> = vec![&base];
    let works = WORK.iter().copied().chain(["chmod 600 large; ln large large2; echo e >> large"]);
    for (storage, work) in storages.iter().zip(works) {
        let more = ["--storage", storage.to_str().unwrap()];
        let before = place.shown(&layers, &more, |mnt| {
            for dir in [mnt, &plain] {
                sh(dir, work);
            }
            assert_same_tree(mnt, &plain);
            numbers(mnt)
        });
        layers.insert(0, storage);
        place.shown(&layers, &["-r"], |mnt| {
            assert_eq!(numbers(mnt), before);
            assert_same_tree(mnt, &plain);
        });
    }
}

#[test]
fn one_alone_stands_on_its_base() {
    let Some(place) = Place::new() else { return };
    let [base, storage] = ["base", "storage"].map(|name| place.dir(name));
    standard_base(&base);
    let more = ["--storage", storage.to_str().unwrap()];
    place.shown(&[&base], &more, |mnt| drop(sh(mnt, "echo x > new; rm f")));
    place.shown(&[&storage], &["-r"], |mnt| {
        assert!(!mnt.join("f").exists() && mnt.join("g").exists());
        assert_eq!(fs::read(mnt.join("new")).unwrap(), b"x\n");
        assert_eq!(
            mnt.metadata().unwrap().mode(),
            base.metadata().unwrap().mode(),
            "the root is closed"
        );
    });
}

#[test]
fn below_the_lowest_storage_comes_what_it_was_made_for() {
    let Some(place) = Place::new() else { return };
    let [base, first, second, third] = ["base", "1", "2", "3"].map(|name| place.dir(name));
    standard_base(&base);
    let mut below = &base;
    for storage in [&first, &second] {
        let more = ["--storage", storage.to_str().unwrap()];
        let work = "if [ -e new ]; then rm d/two; touch more; else rm d/one; touch new; fi";
        place.shown(&[below], &more, |mnt| drop(sh(mnt, work)));
        below = storage;
    }
    let names = |mnt: &Path| sh(mnt, "find . | sort");
    let expected = place.shown(&[&second, &first, &base], &["-r"], names);
    assert_eq!(place.shown(&[&second], &["-r"], names), expected);
    assert_eq!(place.shown(&[&second, &first], &["-r"], names), expected);
    let more = ["--storage", third.to_str().unwrap()];
    assert_eq!(place.shown(&[&second], &more, names), expected);
    // A storage over several layers tells them all.
    let [upper, fourth] = ["upper", "4"].map(|name| place.dir(name));
    fs::write(upper.join("above"), "").unwrap();
    let more = ["--storage", fourth.to_str().unwrap()];
    let expected = place.shown(&[&upper, &base], &more, |mnt| {
        sh(mnt, "rm f; mv d moved; touch new");
        names(mnt)
    });
    assert_eq!(place.shown(&[&fourth], &["-r"], names), expected);
    // Nothing that was named counts as what comes below.
    let all = place.shown(&[&base, &second], &["-r"], names);
    assert!(all.contains("./d/one\n") && all.contains("./more\n"), "{all}");
}

#[test]
fn layers_of_images() {
    let Some(place) = Place::new() else { return };
    let [low, mid, top, plain] = ["low", "mid", "top", "plain"].map(|name| place.dir(name));
    sh(&low, "mkdir -p d/e keep; echo 1 > d/one; echo 2 > d/e/two; echo g > gone; echo k > keep/k");
    sh(&mid, "mkdir d keep; touch .wh.gone d/.wh.one; echo 3 > d/three; touch keep/.wh..wh..opq");
    sh(&top, "mkdir -p d/e; echo 1b > d/one; touch d/e/.wh.two");
    sh(&plain, "mkdir -p d/e keep; echo 3 > d/three; echo 1b > d/one");
    place.shown(&[&top, &mid, &low], &["-r"], |mnt| {
        let names = "find . | sort; cat d/one d/three";
        assert_eq!(sh(mnt, names), sh(&plain, names));
    });
    // The names are taken as they are where somebody says so.
    place.shown(&[&top, &mid, &low], &["-r", "-o", "dialect=plain:plain"], |mnt| {
        assert!(mnt.join(".wh.gone").exists() && mnt.join("gone").exists());
    });
}

#[test]
fn a_storage_is_refused_over_other_layers() {
    let Some(place) = Place::new() else { return };
    let [a, b, c, storage] = ["a", "b", "c", "storage"].map(|name| place.dir(name));
    let more = ["--storage", storage.to_str().unwrap()];
    place.shown(&[&a, &b, &c], &more, |mnt| drop(sh(mnt, "echo x > new")));
    place.shown(&[&a, &b, &c], &more, |mnt| drop(sh(mnt, "test -e new")));
    let refused = |layers: &[&Path], more: &[&str]| {
        let (first, under) = layers.split_first().unwrap();
        let mut args = vec![PathBuf::from("mount"), first.into(), place.mnt.clone()];
        args.extend(under.iter().flat_map(|dir| ["--under".into(), PathBuf::from(dir)]));
        args.extend(["--storage".into(), storage.clone()]);
        args.extend(more.iter().map(PathBuf::from));
        mini_fo(&args)
    };
    for layers in [&[&*a, &*c, &*b][..], &[&a, &b], &[&a]] {
        let outcome = refused(layers, &[]);
        let named = format!("{}, {}", b.display(), c.display());
        assert!(outcome.code == 6 && outcome.stderr.contains(&named), "{outcome:?}");
    }
    // The check says so, too, and names the storage.
    let checked = |under: &[&Path]| {
        let mut args = vec![PathBuf::from("check"), a.clone(), "--storage".into(), storage.clone()];
        args.extend(under.iter().flat_map(|dir| ["--under".into(), PathBuf::from(dir)]));
        mini_fo(&args)
    };
    checked(&[&b, &c]).ok();
    for under in [&[&*c, &*b][..], &[&b], &[]] {
        let outcome = checked(under).fails(11, &["1 problem"]);
        let (at, from) = (storage.display(), format!("{}, {}", b.display(), c.display()));
        let said = format!("storage {at}: below its base it was made for {from}");
        assert!(outcome.stdout.contains(&said), "{outcome:?}");
    }
    // The same directory at another path is the same.
    let moved = place.work.0.join("moved");
    fs::rename(&c, &moved).unwrap();
    place.shown(&[&a, &b, &moved], &more, |mnt| drop(sh(mnt, "test -e new")));
    refused(&[&a, &b], &["--accept-base"]).ok();
    mini_fo(&["umount".into(), place.mnt.clone()]).ok();
    place.shown(&[&a, &b], &more, |mnt| drop(sh(mnt, "test -e new")));
}

#[test]
fn what_cannot_be_a_stack_is_refused() {
    let Some(place) = Place::new() else { return };
    let [a, b] = ["a", "b"].map(|name| place.dir(name));
    let refused = |args: &[&str]| {
        let words = [Path::new("mount"), &a, &place.mnt].into_iter();
        let words = words.chain(args.iter().map(Path::new)).map(Path::to_path_buf);
        let outcome = mini_fo(&words.collect::<Vec<_>>());
        assert_ne!(outcome.code, 0);
        outcome.stderr
    };
    let under = b.to_str().unwrap();
    assert!(refused(&["--under", under]).contains("no storage is given"));
    assert!(refused(&["-r", "--under", "/nowhere/at/all"]).contains("/nowhere/at/all"));
    assert!(refused(&["-r", "--under", under, "-o", "live_base"]).contains("live_base"));
    assert!(refused(&["-r", "-o", "dialect=aufs"]).contains("'aufs'"));
}
