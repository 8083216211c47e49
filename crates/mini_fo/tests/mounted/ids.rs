//! Owners translated and squashed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use crate::common::{
    BaseKind, Scene, StorageKind, WorkDir, engine_is_product, is_root, run, sh, skip, skip_unless,
    standard_base, sys,
};
use crate::user::{as_nobody, skipped};

/// The base of another user namespace, which begins at 100000; `stray` is
/// from outside of it.
fn foreign_base(base: &Path) {
    standard_base(base);
    own_all(base);
    lchown(base.join("g"), Some(100_005), Some(100_006)).expect("chown");
    fs::write(base.join("stray"), "stray\n").expect("write");
    lchown(base.join("stray"), Some(7), Some(7)).expect("chown");
    fs::create_dir(base.join("shared")).expect("mkdir");
    lchown(base.join("shared"), Some(100_000), Some(100_000)).expect("chown");
    fs::set_permissions(base.join("shared"), fs::Permissions::from_mode(0o1777)).expect("chmod");
}

fn own_all(dir: &Path) {
    lchown(dir, Some(100_000), Some(100_000)).expect("chown");
    for entry in fs::read_dir(dir).expect("readdir") {
        let path = entry.expect("readdir").path();
        lchown(&path, Some(100_000), Some(100_000)).expect("chown");
        if path.is_dir() && !path.is_symlink() {
            own_all(&path);
        }
    }
}

const MAP: &str = "uidmap=0:100000:65536,gidmap=0:100000:65536";

fn scene(fill: fn(&Path), options: &str) -> Option<Scene> {
    if !engine_is_product() {
        return None;
    }
    if !is_root() {
        skip("gives files to other users, which needs root");
        return None;
    }
    let mut scene = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, fill)?;
    scene.mount(&["-o", options]);
    Some(scene)
}

fn owner(path: &Path) -> (u32, u32) {
    let stat = fs::symlink_metadata(path).expect("stat");
    (stat.uid(), stat.gid())
}

fn as_user(id: u32, script: &str) -> crate::common::Outcome {
    let (uid, gid) = (format!("--reuid={id}"), format!("--regid={id}"));
    run("setpriv", &[&*uid, &gid, "--clear-groups", "bash", "-euc", script])
}

#[test]
fn a_map_translates_owners() {
    let Some(mut s) = scene(foreign_base, MAP) else { return };
    let shown = sh(&s.mnt, "ls -nR . > /dev/null; find . ! -user 0 -printf '%p %U:%G '");
    let mut shown: Vec<_> = shown.split_terminator(' ').collect();
    shown.sort_unstable();
    assert_eq!(shown, ["./g", "./stray", "5:6", "65534:65534"]);
    assert_eq!(owner(&s.mnt), (0, 0));

    sh(&s.mnt, "touch new; mkdir dir; ln -s x sl; mkfifo pipe; chown 5:6 pipe; chown -h 3 link");
    for name in ["new", "dir", "sl"] {
        assert_eq!(owner(&s.at(name)), (0, 0), "{name}");
        assert_eq!(owner(&s.storage.join(name)), (100_000, 100_000), "{name}");
    }
    assert_eq!(owner(&s.at("pipe")), (5, 6));
    assert_eq!(owner(&s.storage.join("pipe")), (100_005, 100_006));
    assert_eq!(owner(&s.storage.join("link")), (100_003, 100_000));
    // Copied up without its owner being touched, and with it.
    sh(&s.mnt, "echo x >> g; chown 9:9 f");
    assert_eq!(owner(&s.storage.join("g")), (100_005, 100_006));
    assert_eq!(owner(&s.storage.join("f")), (100_009, 100_009));
    // Another user, inside and outside.
    let mnt = s.mnt.display();
    as_user(65_534, &format!("cd {mnt}/shared; echo mine > mine; test $(stat -c %u mine) = 65534"))
        .ok();
    assert_eq!(owner(&s.storage.join("shared/mine")), (165_534, 165_534));
    assert_eq!(owner(&s.at("shared/mine")), (65_534, 65_534));

    s.umount();
    s.mount(&[]);
    assert_eq!(owner(&s.at("pipe")), (100_005, 100_006));
    assert_eq!(owner(&s.at("stray")), (7, 7));
}

#[test]
fn ids_without_a_mapping() {
    let Some(s) = scene(foreign_base, "uidmap=0:100000:1000,gidmap=0:100000:1000") else {
        return;
    };
    let refused = |result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EOVERFLOW));
    };
    refused(lchown(s.at("f"), Some(1000), None));
    refused(lchown(s.at("f"), None, Some(65_534)));
    // As the kernel's idmapped mounts: nobody can change what belongs to no
    // id, not even the user who has the overflow id ...
    assert_eq!(owner(&s.at("stray")), (65_534, 65_534));
    let mode = fs::Permissions::from_mode(0o666);
    refused(fs::set_permissions(s.at("stray"), mode));
    let mnt = s.mnt.display();
    for change in ["chmod 666 stray", "echo >> stray"] {
        assert_ne!(as_user(65_534, &format!("cd {mnt}; {change}")).code, 0, "{change}");
    }
    as_user(65_534, &format!("cat {mnt}/stray")).ok();
    // ... but somebody can be made its owner.
    lchown(s.at("stray"), Some(1), Some(1)).expect("chown");
    assert_eq!(owner(&s.storage.join("stray")), (100_001, 100_001));
    // A user without an id outside makes nothing.
    let said = as_user(1000, &format!("cd {mnt}/shared; touch mine"));
    said.fails(1, &["Value too large"]);
    assert!(!s.at("shared/mine").exists());
}

#[test]
fn access_control_lists_are_translated() {
    if skip_unless(&["setfacl", "getfacl"]) {
        return;
    }
    let fill = |base: &Path| {
        foreign_base(base);
        sh(base, "setfacl -m u:100003:rwx,g:100004:r,u:8:r g; setfacl -m d:u:100003:rwx d");
    };
    let Some(s) = scene(fill, MAP) else { return };
    let acl = |dir: &Path, name: &str| sh(dir, &format!("getfacl -cnp {name} | tr '\\n' ' '"));
    // The entry for user 8 means nobody inside.
    let shown = "user::rw- user:3:rwx group::r-- group:4:r-- mask::rwx other::r--  ";
    assert_eq!(acl(&s.mnt, "g"), shown);
    // The kernel checks what is shown.
    let mnt = s.mnt.display();
    as_user(3, &format!("echo three >> {mnt}/g")).ok();
    assert_ne!(as_user(4, &format!("echo four >> {mnt}/g")).code, 0);
    assert!(acl(&s.storage, "g").contains("user:8:r-- user:100003:rwx"));
    sh(&s.mnt, "setfacl -m u:5:r f; touch d/new");
    assert!(acl(&s.storage, "f").contains("user:100005:r--"), "{}", acl(&s.storage, "f"));
    assert!(acl(&s.mnt, "d/new").contains("user:3:rwx"));
    assert!(acl(&s.storage, "d/new").contains("user:100003:rwx"));
    let outcome = run("setfacl", &["-m", "u:65536:r", s.at("f").to_str().expect("UTF-8")]);
    outcome.fails(1, &["Invalid argument"]);
}

#[test]
fn everything_belongs_to_one_owner() {
    let squash = "squash_to_uid=65534,squash_to_gid=65533";
    let Some(mut s) = scene(foreign_base, squash) else { return };
    assert_eq!(
        sh(
            &s.mnt,
            "find . ! ( -user 65534 -group 65533 )"
                .replace('(', "\\(")
                .replace(')', "\\)")
                .as_str()
        ),
        ""
    );
    // That user may do what an owner may, also what only root might.
    let mnt = s.mnt.display();
    as_user(65_534, &format!("cd {mnt}; echo x >> g; chmod 700 d; rm script; mkdir -p own/er"))
        .ok();
    sh(&s.mnt, "touch by_root; chown 65534:65533 g");
    assert_eq!(owner(&s.at("by_root")), (65_534, 65_533));
    assert_eq!(owner(&s.storage.join("by_root")), (65_534, 65_533));
    assert_eq!(owner(&s.storage.join("own/er")), (65_534, 65_533));
    let refused = lchown(s.at("g"), Some(0), None).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    // What comes from the base keeps its owner below.
    assert_eq!(owner(&s.storage.join("g")), (100_005, 100_006));
    s.umount();
    s.mount(&["-o", "squash_to_root"]);
    assert_eq!(owner(&s.at("g")), (0, 0));
    assert_eq!(owner(&s.at("by_root")), (0, 0));
}

/// What a user does to a tree of root's that is squashed to the user.
const CHANGES: &str = "
    refused() { if eval \"$@\" 2>/dev/null; then echo \"not refused: $*\" >&2; exit 9; fi; }
    test -z \"$(find mnt ! -user $ID)\"; test $(stat -c %g mnt/d) = $(id -g)
    echo x >> mnt/g; echo y > mnt/d/one; chmod 600 mnt/script; mkdir mnt/d/new; touch mnt/d/new/f
    rm mnt/d/two; mv mnt/e mnt/E; mv mnt/d/sub/three mnt/; rm -r 'mnt/long dir'
    ln mnt/big mnt/big2; touch -d @77 mnt/empty; ln -s x mnt/sl; chown $ID mnt/g
    if [ $ID != 0 ]; then refused 'echo >> mnt/locked'; fi
    chmod u+w mnt/locked; echo z >> mnt/locked
    getfattr -n user.colour --only-values mnt/locked | grep -q red
    echo c >> mnt/closed/c; test $(stat -c %a storage/closed) = 555
    touch mnt/su; test $(stat -c %a mnt/su) = 4755; test $(stat -c %a storage/su) = 755; refused 'cat mnt/secret'; refused 'chown 1:1 mnt/g'
    test -z \"$(find storage ! -user $ID)\"
    $MINI_FO umount mnt
    $MINI_FO mount $BASE mnt --storage storage -o squash_to_uid=$ID,squash_to_gid=$(id -g)
    test \"$(cat mnt/locked)\" = \"$(printf 'locked\\nz')\"; test $(stat -c %a mnt/locked) = 644
    test -d mnt/E; test ! -e mnt/d/two; test -f mnt/three; test $(stat -c %Y mnt/empty) = 77
    test -z \"$(find mnt ! -user $ID)\"
    $MINI_FO umount mnt; echo done";

fn squashed_for_a_user(wrap: &[&str]) {
    if skipped() || skip_unless(&["setpriv", "fusermount3", "unshare", "getfattr"]) {
        return;
    }
    let work = WorkDir::new();
    if as_nobody(&work, false, wrap, "true").code != 0 {
        return skip("user namespaces are not allowed here");
    }
    let base = work.dir("foreign");
    standard_base(&base);
    fs::write(base.join("locked"), "locked\n").expect("write");
    fs::set_permissions(base.join("f"), fs::Permissions::from_mode(0o644)).expect("chmod");
    sh(
        &base,
        "chmod 755 d/sub; echo > su; chmod 4755 su; mkdir closed; echo c > closed/c; chmod 555 closed; echo s > secret; chmod 600 secret; setfattr -n user.colour -v red locked",
    );
    fs::set_permissions(base.join("locked"), fs::Permissions::from_mode(0o444)).expect("chmod");
    let script = format!(
        "export BASE={}; ID=$(id -u)
        $MINI_FO mount $BASE mnt --storage storage -o squash_to_uid=$ID,squash_to_gid=$(id -g)
        {CHANGES}",
        base.display()
    );
    let said = as_nobody(&work, true, wrap, &script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn a_user_changes_a_foreign_tree() {
    squashed_for_a_user(&[]);
}

#[test]
fn a_user_changes_a_foreign_tree_in_a_namespace() {
    squashed_for_a_user(&["unshare", "-Urm"]);
}

/// Idmapped mounts of the kernel (6.12) over a mount of ours.
#[test]
fn an_idmapped_mount() {
    if skip_unless(&["unshare"]) {
        return;
    }
    let Some(s) = scene(standard_base, "rw") else { return };
    let moved = s.work.dir("moved");
    if let Err(error) = sys::bind_idmapped(&s.mnt, &moved, 200_000) {
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
        return skip("this kernel knows no idmapped mounts over FUSE");
    }
    assert_eq!(owner(&moved.join("g")), (200_000, 200_000));
    assert_eq!(owner(&moved.join("f")), (200_012, 200_034));
    lchown(moved.join("f"), Some(200_001), Some(200_002)).expect("chown");
    assert_eq!(owner(&s.at("f")), (1, 2));
    // root has no id in there; the one who is root there has 200000 here.
    let refused = fs::write(moved.join("new"), "x").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EOVERFLOW));
    let script =
        format!("cd {}; echo x > new; mkdir dir; ln -s x sl; echo >> g; rm d/one", moved.display());
    as_user(200_000, &script).ok();
    for name in ["new", "dir", "sl", "g"] {
        assert_eq!(owner(&s.at(name)), (0, 0), "{name}");
        assert_eq!(owner(&s.storage.join(name)), (0, 0), "{name}");
    }
    assert!(!s.at("d/one").exists());
    sh(&s.work.0, "umount moved");
}

#[test]
fn mistakes_are_named() {
    if !engine_is_product() {
        return;
    }
    let Some(mut s) = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base) else {
        return;
    };
    for (options, words) in [
        ("uidmap=0:1", ["option 'uidmap'", "INSIDE:OUTSIDE:COUNT, for example"]),
        ("gidmap=0:0:5/4:9:1", ["'0:0:5' and '4:9:1' overlap", "inside"]),
        ("uidmap=1:1:4294967295", ["beyond the last id", "smaller count"]),
        ("squash_to_uid=me", ["option 'squash_to_uid'", "'me' is not a number"]),
        ("squash_to_uid=0,uidmap=0:0:1", ["'squash_to_uid' and 'uidmap'", "give one"]),
    ] {
        s.try_mount(&["-o", options]).fails(2, &words);
    }
}
