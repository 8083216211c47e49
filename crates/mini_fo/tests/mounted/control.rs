//! The control channel, and what is asked through it.

use std::fs;
use std::path::Path;

use rustix::io::Errno;

use crate::common::{
    BaseKind, Scene, StorageKind, engine_is_product, is_root, mini_fo, sh, skip, skip_unless,
    standard_base, sys,
};
use crate::rights::NOBODY;

/// Numbers of the channel: to send, and to fetch.
const SEND: u32 = 1 << 30 | 8176 << 16 | 0x6d68;
const FETCH: u32 = 2 << 30 | 8176 << 16 | 0x6d69;

fn scene() -> Option<Scene> {
    engine_is_product()
        .then(|| Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base))?
}

/// A member of the JSON object that `mini_fo du` prints.
fn du(place: &Path, more: &[&str]) -> serde_json::Value {
    let mut args = vec!["du", "--json"];
    args.extend(more);
    args.push(place.to_str().expect("text"));
    serde_json::from_str(&mini_fo(&args).ok()).expect("JSON")
}

fn errno(result: std::io::Result<()>) -> Option<Errno> {
    result.err().as_ref().and_then(Errno::from_io_error)
}

/// What du(1) counts in a storage that is on the device.
fn taken(storage: &Path) -> u64 {
    let counted = sh(storage, "sync -f . && du -s -B1 .");
    counted.split_whitespace().next().expect("a number").parse().expect("a number")
}

#[test]
fn what_takes_the_room() {
    let Some(mut s) = scene() else { return };
    s.mount(&["-o", "reserve=1M"]);
    sh(
        &s.mnt,
        "mkdir -p new/deep; head -c 300000 /dev/urandom > new/deep/large; echo x > new/small
         ln new/small new/again; head -c 5000 /dev/urandom > 'odd
name'; rm f; chmod 700 d; sync -f .",
    );
    for mounted in [true, false] {
        if !mounted {
            s.umount();
        }
        let place = if mounted { s.mnt.clone() } else { s.storage.clone() };
        let told = du(&place, &["--depth", "2", "--largest", "1"]);
        assert_eq!(told["bytes"], taken(&s.storage), "{told}");
        let paths = |list: &str| -> Vec<String> {
            let rows = told[list].as_array().expect("rows").iter();
            rows.map(|row| row["path"].as_str().expect("path").to_owned()).collect()
        };
        for path in ["new", "new/deep", "new/small", "odd\nname", "d"] {
            assert!(paths("entries").contains(&path.to_owned()), "{told}");
        }
        assert_eq!(paths("largest"), ["new/deep/large"]);
        let row = &told["entries"].as_array().expect("rows")[..];
        let new = row.iter().find(|row| row["path"] == "new").expect("new");
        assert_eq!((&new["files"], &new["directories"]), (&3.into(), &2.into()));
        assert!(told["records"]["bytes"].as_u64() > Some(0));
        assert!(told["reserve"]["bytes"].as_u64() >= Some(1 << 20) || !mounted, "{told}");
        let text = mini_fo(&["du", place.to_str().expect("text")]).ok();
        assert!(text.contains("  new\n") && text.contains("odd\\012name"), "{text}");
    }
    // The base of a storage at rest is not needed.
    s.prove_base();
    let elsewhere = s.base.with_extension("away");
    fs::rename(&s.base, &elsewhere).expect("rename");
    assert_eq!(du(&s.storage, &[])["bytes"], taken(&s.storage));
    fs::rename(&elsewhere, &s.base).expect("rename");
    s.retake_proof();
    mini_fo(&["du", s.base.to_str().expect("text")]).fails(4, &["storage"]);
}

/// Deleted files take room as long as they are open, whether the base had them or not.
#[test]
fn what_deleted_files_take() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    let before = du(&s.mnt, &[]);
    assert_eq!(before["deleted"]["files"], 0, "{before}");
    let open = |name: &str| {
        let file = fs::File::options().append(true).create(true).open(s.at(name)).expect("open");
        std::io::Write::write_all(&mut &file, &[1; 300_000]).expect("write");
        file.sync_all().expect("fsync");
        file
    };
    let files = ["f", "new"].map(open);
    sh(&s.mnt, "rm f new");
    let told = du(&s.mnt, &[]);
    assert_eq!(told["deleted"]["files"], 2, "{told}");
    assert!(told["deleted"]["bytes"].as_u64() >= Some(600_000), "{told}");
    assert!(told["bytes"].as_u64() >= Some(600_000), "{told}");
    drop(files);
    let begun = std::time::Instant::now();
    while du(&s.mnt, &[])["deleted"]["files"] != 0 {
        assert!(begun.elapsed().as_secs() < 10, "they stay");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// A directory of the mount is enough, wherever it shows.
#[test]
fn a_directory_in_a_mount_names_it() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(&s.mnt, "mkdir -p a/b; head -c 100000 /dev/urandom > a/b/f; echo x > other");
    let within = du(&s.at("a"), &[]);
    assert_eq!(within["entries"].as_array().map(Vec::len), Some(1));
    assert_eq!(within["entries"][0]["path"], "a/b");
    assert_eq!((&within["tree"]["files"], &within["tree"]["directories"]), (&1.into(), &2.into()));
    if !is_root() || skip_unless(&["unshare"]) {
        return skip("needs root and unshare");
    }
    let seen = s.base.with_extension("seen");
    fs::create_dir(&seen).expect("mkdir");
    let program = env!("CARGO_BIN_EXE_mini_fo");
    let script = format!(
        "mount --make-rprivate /; mount --bind {}/a {seen}; umount -l {}; cd {seen}
         {program} du --json --depth 9",
        s.mnt.display(),
        s.mnt.display(),
        seen = seen.display(),
    );
    let told = sh(&s.base, &format!("unshare -m sh -ec '{script}'"));
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let paths: Vec<_> =
        told["entries"].as_array().expect("rows").iter().map(|row| &row["path"]).collect();
    assert_eq!(paths, ["a/b", "a/b/f"]);
    fs::remove_dir(&seen).expect("rmdir");
}

#[test]
fn nobody_else_is_answered() {
    if !is_root() {
        return skip("needs root");
    }
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(&s.mnt, "chmod 755 .; echo x > file; chmod 666 file");
    let mut frame = vec![0u8; 8176];
    let mut ask =
        |path: &Path, number: u32| errno(sys::ioctl(path, number, frame.as_mut_ptr().cast()));
    assert_eq!(ask(&s.mnt, FETCH), Some(Errno::NODATA));
    assert_eq!(ask(&s.at("file"), FETCH), Some(Errno::NOTTY));
    let theirs = sys::as_user(NOBODY, || {
        let mut frame = vec![0u8; 8176];
        [SEND, FETCH].map(|number| errno(sys::ioctl(&s.mnt, number, frame.as_mut_ptr().cast())))
    });
    assert_eq!(theirs, [Some(Errno::NOTTY); 2]);
    // A frame that tells of more than it has, and a request that nobody knows.
    frame[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert_eq!(errno(sys::ioctl(&s.mnt, SEND, frame.as_mut_ptr().cast())), Some(Errno::INVAL));
    let nonsense = br#"{"ask":"nonsense"}"#;
    frame[4..8].copy_from_slice(&(nonsense.len() as u32).to_ne_bytes());
    frame[8..8 + nonsense.len()].copy_from_slice(nonsense);
    assert_eq!(errno(sys::ioctl(&s.mnt, SEND, frame.as_mut_ptr().cast())), None);
    mini_fo(&["du", s.mnt.to_str().expect("text")]).ok();
}

/// What a live mount tells of its changes is what its storage tells at rest.
#[test]
fn changes_of_a_live_mount() {
    let Some(mut s) = scene() else { return };
    s.mount(&[]);
    sh(
        &s.mnt,
        "echo more >> f; chmod 600 g; rm d/one; mkdir -p new/deep; echo x > new/deep/file
         mv e moved; head -c 70000 /dev/urandom > binary; ln -s f link2; rm -f sl",
    );
    let path = s.mnt.to_str().expect("text").to_owned();
    let ask = |args: &[&str]| {
        let outcome = mini_fo(args);
        assert!(outcome.code < 2, "{}", outcome.stderr);
        (outcome.code, outcome.stdout)
    };
    let forms: [&[&str]; 6] = [
        &["status"],
        &["status", "--json", "--all"],
        &["status", "-z"],
        &["diff", "--binary"],
        &["diff", "--stat"],
        &["diff", "--name-status"],
    ];
    let live = forms.map(|form| ask(&[form, &[&path]].concat()));
    assert!(live.iter().all(|(code, text)| *code == 1 && !text.is_empty()));
    // A part of it, also one that is not there any more.
    let deep = s.at("new");
    let within = ask(&["status", "-z", deep.to_str().expect("text")]).1;
    assert!(within.starts_with("A new") && !within.contains("M f"), "{within:?}");
    let gone = s.at("d/one");
    assert_eq!(ask(&["status", "-z", gone.to_str().expect("text")]).1, "D d/one\0");
    // Who has seen enough leaves nothing behind.
    for _ in 0..20 {
        sh(
            &s.base,
            &format!("{} diff --binary {path} | head -c 10", env!("CARGO_BIN_EXE_mini_fo")),
        );
    }
    let pid = crate::cli::daemon(&s);
    let threads = || {
        let all = fs::read_dir(format!("/proc/{pid}/task")).expect("tasks");
        let names = all.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "control").count()
    };
    let begun = std::time::Instant::now();
    while threads() > 0 && begun.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(threads(), 0);
    s.umount();
    let storage = s.storage.to_str().expect("text").to_owned();
    for (form, live) in forms.iter().zip(live) {
        assert_eq!(ask(&[*form, &[&storage]].concat()), live, "{form:?}");
    }
}
