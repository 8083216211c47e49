//! META by another name (`-o meta_name=`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::{META, Outcome, WorkDir, is_root, mini_fo, run, sh, standard_base};
use crate::stack::{Place, copy};

const USAGE: i32 = 2;
const STORAGE: i32 = 4;
const FOUND: i32 = 11;

/// What a program does, and what then shows.
const WORK: &str = "rm f; echo x >> d/one; mv 'long dir' moved; ln g hard; rm -r e; mkdir e
    echo n > e/new; chmod 600 g; echo 1 > META_dAfFgHE39ktF3HD2sr; mkdir .minify";
const SHOWN: &str = "test ! -e f; tail -1 d/one | grep -q x; test -d moved; test ! -e 'long dir'
    test \"$(ls e)\" = new; cat META_dAfFgHE39ktF3HD2sr | grep -q 1; test $(stat -c %a g) = 600
    test $(stat -c %i g) = $(stat -c %i hard); ls -A | grep -qx .minify";

fn mount(place: &Place, layers: &[&Path], storage: &Path, options: &str) -> Outcome {
    let (first, under) = layers.split_first().unwrap();
    let mut args: Vec<PathBuf> = vec!["mount".into(), first.into(), place.at("mnt")];
    args.extend(under.iter().flat_map(|dir| ["--under".into(), PathBuf::from(dir)]));
    args.extend(["--storage".into(), storage.into(), "-o".into(), options.into()]);
    mini_fo(&args)
}

fn mounted(place: &Place, layers: &[&Path], storage: &Path, options: &str, script: &str) {
    mount(place, layers, storage, options).ok();
    let listed = mini_fo(&["list"]).ok();
    assert!(listed.contains(place.at("mnt").to_str().unwrap()), "{listed}");
    sh(&place.at("mnt"), script);
    mini_fo(&["umount".into(), place.at("mnt")]).ok();
}

fn check(base: &Path, storage: &Path, more: &[&str]) -> Outcome {
    let mut args: Vec<PathBuf> = vec!["check".into(), base.into(), "-s".into(), storage.into()];
    args.extend(more.iter().map(PathBuf::from));
    mini_fo(&args)
}

fn scene() -> Option<(Place, PathBuf, PathBuf)> {
    let place = Place::new()?;
    let (base, storage) = (place.dir("base"), place.dir("storage"));
    standard_base(&base);
    Some((place, base, storage))
}

#[test]
fn everything_is_called_after_it() {
    let Some((place, base, storage)) = scene() else { return };
    let more = "meta_name=.mini_fo meta,reserve=64K";
    mounted(&place, &[&base], &storage, more, WORK);
    mounted(&place, &[&base], &storage, more, SHOWN);
    let reserved = sh(&storage, "find . -name '.mini_fo meta*' | sort");
    for name in ["./.mini_fo meta", "./.mini_fo meta_index", "./.mini_fo meta_reserve"] {
        assert!(reserved.lines().any(|line| line == name), "{reserved}");
    }
    // The usual name is one like all others.
    assert_eq!(fs::read_to_string(storage.join(META)).unwrap(), "1\n");
    assert!(sh(&storage, &format!("find . -name '{META}*'")).lines().count() == 1);
    check(&base, &storage, &["--meta-name", ".mini_fo meta"]).ok();
    let advice = "-o 'meta_name=.mini_fo meta'";
    mount(&place, &[&base], &storage, "rw").fails(STORAGE, &[advice]);
    // In the mount the name belongs to mini_fo, and does not show.
    let script = "test -z \"$(ls -A | grep '^.mini_fo meta')\"; test ! -e '.mini_fo meta'
        ! mkdir '.mini_fo meta.x' 2>/tmp/$$ || exit 1; grep -q permitted /tmp/$$; rm /tmp/$$
        ! mv d '.mini_fo meta' 2>/dev/null || exit 1";
    mounted(&place, &[&base], &storage, more, script);
    // A line of fstab, which mount(8) hands over at a remount again.
    if is_root() {
        mount(&place, &[&base], &storage, &format!("{more},ro")).ok();
        mini_fo(&[
            "mount".into(),
            base,
            place.at("mnt"),
            "-o".into(),
            format!("remount,rw,{more}").into(),
        ])
        .ok();
        sh(&place.at("mnt"), &format!("{SHOWN}; echo later > later"));
        mini_fo(&["umount".into(), place.at("mnt")]).ok();
        assert!(storage.join("later").exists());
    }
}

#[test]
fn a_storage_of_2005_with_another_name() {
    let Some((place, base, storage)) = scene() else { return };
    sh(&storage, "mkdir d moved; echo again > d/new");
    let meta = storage.join("META_mine");
    fs::write(&meta, "D f\nD d\nD long dir\nR /long dir moved\n").unwrap();
    fs::set_permissions(&meta, fs::Permissions::from_mode(0o600)).unwrap();
    // It cannot be recognised, and does not look empty either.
    mount(&place, &[&base], &storage, "rw").fails(STORAGE, &["nothing in it says"]);
    let script = "test ! -e f; test \"$(ls d)\" = new; test -d moved; test ! -e 'long dir'";
    mounted(&place, &[&base], &storage, "meta_name=META_mine", script);
    mount(&place, &[&base], &storage, "rw").fails(STORAGE, &["-o meta_name=META_mine"]);
}

#[test]
fn a_storage_with_another_name_is_refused_by_that_name() {
    let Some((place, base, storage)) = scene() else { return };
    mounted(&place, &[&base], &storage, "meta_name=mine", WORK);
    let before = sh(&storage, "find . -printf '%P %T@ %C@ %s %m\\n' | sort");
    for other in ["rw", "ro", "meta_name=other", "meta_name=min", "accept_storage", "damaged=rw"] {
        let said = mount(&place, &[&base], &storage, other).fails(STORAGE, &["is called 'mine'"]);
        assert!(said.stderr.contains(storage.to_str().unwrap()), "{said:?}");
    }
    check(&base, &storage, &[]).fails(STORAGE, &["is called 'mine'", "meta_name=mine"]);
    assert_eq!(before, sh(&storage, "find . -printf '%P %T@ %C@ %s %m\\n' | sort"));
    // The same the other way round, of one that tells nothing but whiteouts (2005), too.
    let old = place.dir("old");
    fs::write(old.join(META), "D f\n").unwrap();
    fs::set_permissions(old.join(META), fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["meta_name=mine", "meta_name=META", "meta_name=META_"] {
        mount(&place, &[&base], &old, name).fails(STORAGE, &[&format!("is called '{META}'")]);
    }
    assert!(old.join(META).exists());
    mounted(&place, &[&base], &old, "rw", "test ! -e f");
}

#[test]
fn names_that_cannot_be_are_refused() {
    let Some((place, base, storage)) = scene() else { return };
    let long = "x".repeat(201);
    let turned = "a\u{202e}b";
    mount(&place, &[&base], &storage, &format!("meta_name={turned}"))
        .fails(USAGE, &["meta_name", "'a\\u{202e}b'", "do not show"]);
    for bad in [".", "..", "/", "a/b", &long, &format!("{META}_index")] {
        let said = mount(&place, &[&base], &storage, &format!("meta_name={bad}"));
        said.fails(USAGE, &["meta_name", &format!("'{bad}'")]);
        check(&base, &storage, &["--meta-name", bad]).fails(USAGE, &[&format!("'{bad}'")]);
    }
    mount(&place, &[&base], &storage, "meta_name=").fails(USAGE, &["meta_name"]);
    check(&base, &storage, &["--meta-name", ""]).fails(USAGE, &["''"]);
    // A name that the base has, in any of its trees, or that begins one.
    let (above, at) = (place.dir("above"), base.display().to_string());
    for (bad, entry) in [("g", "g"), ("scr", "script"), ("long ", "long dir")] {
        for layers in [&[&*base][..], &[&*above, &base]] {
            let said = mount(&place, layers, &storage, &format!("meta_name={bad}"));
            said.fails(STORAGE, &[&format!("meta_name={bad}"), &at, &format!("'{entry}'")]);
        }
    }
    // What somebody else has put into the storage is no unfinished work.
    fs::write(storage.join("config.txt"), "mine").unwrap();
    let said = mount(&place, &[&base], &storage, "meta_name=config,accept_storage");
    said.fails(STORAGE, &["'config.txt'"]);
    assert!(storage.join("config.txt").exists());
}

#[test]
fn storages_of_different_names_lie_on_each_other() {
    let Some((place, base, one)) = scene() else { return };
    let [two, three, four] = ["two", "three", "four"].map(|name| place.dir(name));
    mounted(&place, &[&base], &one, "meta_name=one", "rm f; mkdir two; echo 1 > two/x");
    let under_one = "test ! -e f; cat two/x; echo 2 > two/y; rm g; mkdir three";
    // What begins with the name of a storage below shows nowhere below that, as before.
    sh(&base, "mkdir onebase; echo 3 > d/onebelow");
    mounted(&place, &[&one, &base], &two, "rw", under_one);
    let script = "test ! -e f; test ! -e g; cat two/x two/y; test ! -e onebase
        test ! -e d/onebelow; ls d | { ! grep onebelow; }; mkdir d/onehere; rm two/x; mkdir e/four";
    mounted(&place, &[&two, &one, &base], &three, "meta_name=.three", script);
    let script = "test ! -e f; test ! -e g; test ! -e two/x; cat two/y; test -d d/onehere
        test ! -e one; test ! -e .three; test -z \"$(find . -name 'META*')\"";
    let dialect = "mini_fo=.three:mini_fo:mini_fo=one:plain";
    let layers: [&Path; 4] = [&three, &two, &one, &base];
    mounted(&place, &layers, &four, "meta_name=4", script);
    mounted(&place, &layers, &four, &format!("meta_name=4,dialect={dialect}"), script);
    let at = format!("base {}:", base.display());
    // The lowest tells what it was made for, whatever its name.
    let fifth = place.dir("fifth");
    mounted(&place, &[&one], &fifth, "rw", "test ! -e f; test -e g; cat two/x");
    let wrong = format!("meta_name=4,dialect={}", dialect.replace("=one", "=two"));
    let said = mount(&place, &layers, &four, &wrong);
    said.fails(STORAGE, &["is called 'one'", "'two'", one.to_str().unwrap()]);
    let more = ["--meta-name", "4", "--under"];
    let mut args: Vec<&str> = more.to_vec();
    args.extend([two.to_str().unwrap(), "--under", one.to_str().unwrap()]);
    args.extend(["--under", base.to_str().unwrap()]);
    // `onebase`, as every mount says.
    let hidden = "1 of its names begin with one and are hidden";
    for dialects in [&[][..], &["--dialect", dialect]] {
        args.extend(dialects);
        let said = check(&three, &four, &args).fails(FOUND, &["1 problem"]).stdout;
        assert!(said.contains(&at) && said.contains(hidden), "{said}");
    }
}

/// A power cut leaves the end of META in its attribute: it is looked for there.
#[test]
fn a_session_that_did_not_end_goes_on_by_its_name() {
    let Some((place, base, storage)) = scene() else { return };
    mount(&place, &[&base], &storage, "meta_name=.m").ok();
    sh(&place.at("mnt"), "rm f; mv 'long dir' moved; sync -f .");
    // As the storage is while it is mounted.
    let cut = place.at("cut");
    copy(&storage, &cut);
    mini_fo(&["umount".into(), place.at("mnt")]).ok();
    let attributes = run("getfattr", &["-d", cut.join(".m").to_str().unwrap()]);
    if attributes.code == 0 && attributes.stdout.contains("user.mini_fo.tail") {
        // The device has nothing of it.
        fs::OpenOptions::new().write(true).open(cut.join(".m")).unwrap().set_len(0).unwrap();
    }
    let script = "test ! -e f; test -d moved; test ! -e 'long dir'";
    mounted(&place, &[&base], &cut, "meta_name=.m", script);
}

/// Where names are escaped, so that two that differ in case do not meet.
#[test]
fn names_on_a_file_system_that_does_not_take_every_name() {
    let Some((place, base, _)) = scene() else { return };
    if !is_root() {
        return crate::common::skip("only root mounts file systems");
    }
    let work = WorkDir::new();
    let (image, at) = (work.0.join("image"), work.dir("fat"));
    sh(
        &work.0,
        "truncate -s 64M image; PATH=$PATH:/usr/sbin:/sbin; mkfs.vfat image >/dev/null || true",
    );
    let mounted_fat =
        run("mount", &["-o", "loop,umask=077", image.to_str().unwrap(), at.to_str().unwrap()]);
    if mounted_fat.code != 0 {
        return crate::common::skip("no FAT here");
    }
    let storage = at.join("storage");
    fs::create_dir(&storage).unwrap();
    let refused = mount(&place, &[&base], &storage, "poor_storage,meta_name=a:b");
    let script =
        "rm f; echo 1 > METAL; echo 2 > metal; mkdir Meta; test ! -e Metax; ls | grep -qx Meta";
    let more = "poor_storage,meta_name=Meta_";
    let tried = mount(&place, &[&base], &storage, more);
    let done = (tried.code == 0).then(|| {
        sh(&place.at("mnt"), script);
        mini_fo(&["umount".into(), place.at("mnt")]).ok();
        mount(&place, &[&base], &storage, more).ok();
        sh(
            &place.at("mnt"),
            "test ! -e f; test $(cat METAL) = 1; test $(cat metal) = 2; test -d Meta",
        );
        mini_fo(&["umount".into(), place.at("mnt")]).ok();
    });
    run("umount", &[at.to_str().unwrap()]).ok();
    refused.fails(STORAGE, &["meta_name=a:b", "does not take every name"]);
    assert!(done.is_some(), "{tried:?}");
}
