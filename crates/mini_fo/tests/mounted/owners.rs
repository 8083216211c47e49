//! Whose a storage is: one of another user, or that others filled, is refused.

use crate::closed::{Layers, STORAGE, USER};
use crate::common::{run, sh, skip, sys};

#[test]
fn a_storage_of_another_user_is_refused() {
    let Some(layers) = Layers::new() else { return };
    let mut layers = layers.worked();
    let storage = layers.at("storage");
    sh(&storage, &format!("chown {USER} ."));
    for extra in [&[][..], &["-o", "ro"], &["-o", "damaged=rw"]] {
        let words = ["belongs to user 65534", "mount it as user 65534", "chown -hR 0"];
        layers.try_mount(extra).fails(STORAGE, &words);
    }
    assert_eq!(layers.check().code, STORAGE);
    sh(&storage, "chown 0 .; chmod 755 .");
    let script =
        format!("{} mount ../base ../mnt --storage . -o ro", env!("CARGO_BIN_EXE_mini_fo"));
    let user = format!("--reuid={USER}");
    let program = ["--clear-groups", &user, "sh", "-c"];
    let tried =
        run("setpriv", &[&program[..], &[&format!("cd {}; {script}", storage.display())]].concat());
    assert_ne!(tried.code, 0, "{tried:?}");
    assert!(!tried.stderr.contains("panicked"), "{tried:?}");
}

#[test]
fn what_others_could_have_put_into_a_storage_is_refused() {
    let Some(layers) = Layers::new() else { return };
    let mut layers = layers.worked();
    for mode in [0o777, 0o1777, 0o770, 0o702] {
        layers.set_mode(mode);
        layers.try_mount(&[]).fails(STORAGE, &["others", "chmod 700"]);
        assert_eq!(layers.mode(), mode, "a refusal changes nothing");
    }
    layers.set_mode(0o700);
    layers.mount();
    layers.umount();
    // A directory that is no storage, and was given by mistake.
    sh(
        &layers.work.0,
        "mkdir -m 755 precious; touch precious/f; mv storage old; mv precious storage",
    );
    layers.try_mount(&[]).fails(STORAGE, &["accept_storage"]);
    assert_eq!(layers.mode(), 0o755);
    layers.try_mount(&["-o", "accept_storage"]).ok();
    assert_eq!(layers.mode(), 0o700);
}

/// A file system without owners gives all of it to one user, who must be root.
#[test]
fn a_file_system_of_another_user_is_refused() {
    let Some(mut layers) = Layers::new() else { return };
    let storage = layers.at("storage");
    let options = format!("mode=755,uid={USER}");
    let at = storage.to_str().expect("UTF-8");
    run("mount", &["-t", "tmpfs", "-o", &options, "none", at]).ok();
    layers.try_mount(&[]).fails(STORAGE, &["belongs to user 65534"]);
    run("umount", &[at]).ok();
    // As `mount -t tmpfs` makes one.
    run("mount", &["-t", "tmpfs", "none", at]).ok();
    layers.mount();
    assert_eq!(layers.mode() & 0o777, 0o700);
}

/// An ordinary user has `user.` marks, and closes his storage as root does.
#[test]
fn a_storage_of_an_ordinary_user() {
    let Some(layers) = Layers::new() else { return };
    let script = "$MINI_FO mount base mnt --storage storage; chmod 600 mnt/f; $MINI_FO umount mnt
        test $(stat -c %a storage) = 700; $MINI_FO mount base mnt --storage storage
        test $(cat mnt/f) = content; $MINI_FO umount mnt";
    let wrap = ["unshare", "-Urm"];
    if crate::user::as_nobody(&layers.work, false, &wrap, "true").code != 0 {
        return skip("user namespaces are not allowed here");
    }
    crate::user::as_nobody(&layers.work, true, &wrap, script).ok();
    let mut layers = layers;
    sh(&layers.work.0, "rm -r base storage; cp -a home/base home/storage .");
    let file = layers.at("storage/f");
    assert!(sys::get_xattr(&file, "trusted.mini_fo.partial").is_err());
    let partial = sys::get_xattr(&file, "user.mini_fo.partial").is_ok();
    let words = ["belongs to user 65534", "chown -hR 0"];
    layers.try_mount(&["-o", "accept_base"]).fails(STORAGE, &words);
    // As the message says.
    sh(&layers.work.0, "chown -hR 0 storage");
    layers.try_mount(&["-o", "accept_base"]).ok();
    sh(&layers.at("mnt"), "test $(cat f) = content");
    layers.umount();
    assert_eq!(sys::get_xattr(&file, "trusted.mini_fo.partial").is_ok(), partial);
    // And the other way round: nothing turns into zeros.
    sh(&layers.work.0, &format!("chown -hR {USER} storage; rm -r home/base home/storage"));
    sh(&layers.work.0, "cp -a base storage home");
    let script = "$MINI_FO mount base mnt -s storage -o accept_base";
    let said = crate::user::as_nobody(&layers.work, false, &wrap, script);
    if partial {
        said.fails(STORAGE, &["extended attributes", "as root"]);
    }
}
