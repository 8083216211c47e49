//! Resets, without a mount.

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::create_dir_all(place.at("mini_fo/etc")).unwrap();
        fs::write(place.at("mini_fo/etc/changed"), "x").unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn boot(&self, line: &str) -> bool {
        let settings = Settings::read(None, line);
        let storage = self.at("mini_fo");
        let done = perform(Path::new("/"), &storage, self.0.path(), &settings);
        assert!(done.is_ok());
        assert!(!self.at("mini_fo.old").exists() && !self.at("mini_fo.gone").exists());
        let empty = fs::read_dir(&storage).unwrap().next().is_none();
        assert!(empty || self.at("mini_fo/etc/changed").exists());
        empty
    }
}

#[test]
fn only_when_it_is_asked_for() {
    let place = Place::new();
    assert!(!place.boot(""));
    assert!(place.boot("mini_fo.reset"));
    let place = Place::new();
    fs::write(place.at("mini_fo").join(REQUEST), "").unwrap();
    assert!(place.boot(""));
}

#[test]
fn what_somebody_uses_is_not_reset() {
    for line in ["mini_fo.reset", "mini_fo.reset mini_fo.keep=/etc"] {
        let place = Place::new();
        let used = File::open(place.at("mini_fo")).unwrap();
        rustix::fs::flock(&used, FlockOperation::NonBlockingLockShared).unwrap();
        let settings = Settings::read(None, line);
        let storage = place.at("mini_fo");
        let done = perform(Path::new("/"), &storage, place.0.path(), &settings);
        assert!(done.is_err_and(|failure| !failure.begun));
        assert!(place.at("mini_fo/etc/changed").exists());
    }
}

#[test]
fn once_for_each_word() {
    let place = Place::new();
    assert!(place.boot("mini_fo.reset=a"));
    fs::create_dir_all(place.at("mini_fo/etc")).unwrap();
    fs::write(place.at("mini_fo/etc/changed"), "x").unwrap();
    assert!(!place.boot("mini_fo.reset=a"));
    assert!(place.boot("mini_fo.reset=b"));
}

#[test]
fn it_goes_on_after_a_cut() {
    let place = Place::new();
    fs::rename(place.at("mini_fo"), place.at("mini_fo.old")).unwrap();
    fs::create_dir_all(place.at("mini_fo/half")).unwrap();
    fs::write(place.at(KEEP), "").unwrap();
    assert!(place.boot(""));
    let place = Place::new();
    fs::create_dir_all(place.at("mini_fo.gone/rest")).unwrap();
    assert!(!place.boot(""));
}

/// Else each boot would begin again, and throw away what the last one wrote.
#[test]
fn a_word_that_cannot_be_noted_lets_nothing_be_written() {
    for (line, storage_stays) in [("mini_fo.keep=/var", true), ("", false)] {
        let place = Place::new();
        let what = if storage_stays { KEEP } else { DONE };
        fs::create_dir_all(place.at(&format!("{what}.new/in the way"))).unwrap();
        let settings = Settings::read(None, &format!("mini_fo.reset=a {line}"));
        let storage = place.at("mini_fo");
        let failed = perform(Path::new("/"), &storage, place.0.path(), &settings);
        assert_eq!(failed.unwrap_err().begun, !storage_stays, "{line}");
        assert_eq!(storage.join("etc/changed").exists(), storage_stays, "{line}");
        assert!(!place.at("mini_fo.old").exists());
    }
}

/// The words of another boot do not say what this one keeps.
#[test]
fn one_that_was_begun_keeps_what_it_was_told_to() {
    let place = Place::new();
    let storage = place.at("mini_fo");
    fs::rename(&storage, place.at("mini_fo.old")).unwrap();
    fs::create_dir(&storage).unwrap();
    let settings = Settings::read(None, "");
    let failed = perform(Path::new("/"), &storage, place.0.path(), &settings).unwrap_err();
    assert!(failed.begun && failed.text.contains(KEEP), "{failed:?}");
    assert!(place.at("mini_fo.old/etc/changed").exists());
    let keep = [PathBuf::from("/var"), PathBuf::from("/home/a b")];
    write_keep(&place.at(KEEP), &keep).unwrap();
    assert_eq!(read_keep(&place.at(KEEP)).unwrap(), keep);
}

/// The word of an earlier reset stands until another one has come to its end.
#[test]
fn one_that_fails_asks_for_no_other() {
    let place = Place::new();
    fs::write(place.at(DONE), "a").unwrap();
    fs::create_dir_all(place.at("mini_fo.reset-keep.new/in the way")).unwrap();
    let settings = Settings::read(None, "mini_fo.reset=b mini_fo.keep=/var");
    let storage = place.at("mini_fo");
    let failed = perform(Path::new("/"), &storage, place.0.path(), &settings).unwrap_err();
    assert!(!failed.begun);
    assert!(!place.boot("mini_fo.reset=a"));
}

/// As far as this user and file system let files be protected.
#[test]
fn what_is_protected_goes_too() {
    let place = Place::new();
    let dir = File::open(place.at("mini_fo/etc")).unwrap();
    let now = rustix::fs::ioctl_getflags(&dir).unwrap_or(IFlags::empty());
    let _ = rustix::fs::ioctl_setflags(&dir, now | IFlags::IMMUTABLE);
    assert!(place.boot("mini_fo.reset=a"));
}

#[test]
fn a_reserve_is_given_up_and_nothing_else() {
    let (place, meta) = (Place::new(), MetaName::new("app").unwrap());
    let (storage, reserve) = (place.at("mini_fo"), place.at("mini_fo/app_reserve"));
    let make = |name: &str| {
        fs::create_dir_all(&reserve).unwrap();
        fs::write(reserve.join(name), "mine").unwrap();
    };
    let write = |text: &str| {
        fs::write(storage.join("app"), text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(storage.join("app"), mode).unwrap();
    };
    for no_meta in [None, Some("settings of an app\n"), Some("D f\n")] {
        make("0");
        no_meta.map(write).unwrap_or_default();
        give_up_reserve(&storage, meta);
        assert!(reserve.join("0").exists(), "{no_meta:?}");
    }
    write("b 0 2 /\nt 1 1.000000000\n");
    give_up_reserve(&storage, meta);
    assert!(!reserve.exists());
    make("0");
    make("notes");
    fs::create_dir(reserve.join("1")).unwrap();
    give_up_reserve(&storage, meta);
    assert!(!reserve.join("0").exists());
    assert!(reserve.join("notes").exists() && reserve.join("1").exists());
    // What it leads to is somebody's.
    let elsewhere = place.at("elsewhere");
    fs::rename(&reserve, &elsewhere).unwrap();
    fs::write(elsewhere.join("2"), "").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &reserve).unwrap();
    give_up_reserve(&storage, meta);
    assert!(elsewhere.join("2").exists());
}

#[test]
fn not_in_a_boot_without_changes() {
    let place = Place::new();
    let settings = Settings::read(None, "mini_fo.reset mini_fo.ro");
    let storage = place.at("mini_fo");
    assert!(perform(Path::new("/"), &storage, place.0.path(), &settings).is_err());
    assert!(storage.join("etc/changed").exists());
}
