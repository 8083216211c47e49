//! As an ordinary user: through fusermount3, and inside a user namespace.

use crate::common::{
    META, Outcome, WorkDir, engine_is_product, is_root, run, sh, skip, skip_unless,
};

/// Runs a script as the user nobody, with the program as `$MINI_FO`; in a
/// mount namespace where this user may open /dev/fuse, if `device` says so.
pub fn as_nobody(work: &WorkDir, device: bool, wrap: &[&str], script: &str) -> Outcome {
    sh(
        &work.0,
        &format!(
            "mkdir -p home; cp {} home/mini_fo; chown -R 65534:65534 home",
            env!("CARGO_BIN_EXE_mini_fo")
        ),
    );
    if device {
        sh(&work.0, "mknod -m 666 fuse c 10 229; mount --bind fuse /dev/fuse");
    }
    let home = work.0.join("home");
    let setup = format!(
        "cd {home}; export HOME={home} MINI_FO={home}/mini_fo; unset XDG_RUNTIME_DIR
         mkdir -p base/d storage mnt; echo content > base/f; echo 1 > base/d/one\n{script}",
        home = home.display()
    );
    let mut args = vec!["--reuid=65534", "--regid=65534", "--clear-groups"];
    args.extend(wrap);
    args.extend(["bash", "-euc", &setup]);
    run("setpriv", &args)
}

const WORK: &str = "
    $MINI_FO mount base mnt --storage storage
    cat mnt/f; echo x > mnt/new; rm mnt/d/one; mv mnt/d mnt/e; chmod 600 mnt/f; ln mnt/new mnt/n2
    ! touch base/zzz/zz 2>/dev/null || exit 1; test \"$(ls base/d)\" = one
    $MINI_FO list | grep -q $HOME/mnt
    $MINI_FO umount mnt
    $MINI_FO mount base mnt --storage storage
    chmod 0 mnt/e; chmod 0 mnt/f; test $(stat -c %a:%s mnt/f) = 0:8; chmod 600 mnt/f; chmod 700 mnt/e
    test $(cat mnt/f) = content
    test $(cat mnt/n2) = x; test ! -e mnt/e/one; test -d mnt/e; test $(stat -c %a mnt/f) = 600
    $MINI_FO umount mnt; test -e mnt; test -z \"$(ls mnt)\"; echo done";

pub fn skipped() -> bool {
    if !is_root() {
        skip("becomes another user and needs root for it; the other tests run as this user");
    }
    !engine_is_product() || !is_root()
}

#[test]
fn through_fusermount3() {
    if skipped() || skip_unless(&["fusermount3", "setpriv"]) {
        return;
    }
    let work = WorkDir::new();
    let said = as_nobody(&work, false, &[], WORK);
    if said.stderr.contains("open /dev/fuse: Permission denied") {
        skip("users may not open /dev/fuse here, and fusermount3 respects that");
        // Where they may, as on most systems.
        let said = as_nobody(&work, true, &[], WORK).ok();
        assert!(said.ends_with("done\n"), "{said}");
        return;
    }
    let said = said.ok();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn inside_a_user_namespace() {
    if skipped() || skip_unless(&["unshare", "setpriv"]) {
        return;
    }
    let work = WorkDir::new();
    if as_nobody(&work, false, &["unshare", "-Urm"], "true").code != 0 {
        return skip("user namespaces are not allowed here");
    }
    // Without fusermount3: nothing set-user-ID helps in there.
    let script = format!("test $(id -u) = 0; {WORK}");
    let said = as_nobody(&work, true, &["unshare", "-Urm"], &script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

/// What the user may not read in the base stays unreadable.
#[test]
fn permissions_hold_for_other_users() {
    if skipped() {
        return;
    }
    let Some(s) = crate::common::Scene::new(crate::common::standard_base) else {
        return;
    };
    let as_user = |script: &str| {
        let args = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", script];
        run("setpriv", &args).code
    };
    let mnt = s.mnt.display();
    assert_eq!(as_user(&format!("cat {mnt}/g && ls -l {mnt}")), 0);
    for refused in ["cat f", "ls d/sub", "touch new", "rm g", "chmod 777 g", "touch g", "echo > g"]
    {
        assert_ne!(as_user(&format!("cd {mnt} && {refused}")), 0, "{refused}");
    }
    assert_eq!(sh(&s.storage, &format!("ls -A | grep -v {META} | wc -l")).trim(), "0");
    sh(&s.mnt, "mkdir -m 1777 shared; chmod 666 g");
    assert_eq!(as_user(&format!("cd {mnt}; echo mine > shared/mine; echo x >> g")), 0);
    sh(&s.mnt, "test $(stat -c %u shared/mine) = 65534; test $(stat -c %U g) = root");
}

/// The root of the system, though what is mounted below it is locked to it.
#[test]
fn an_ordinary_user_overlays_the_root() {
    if skipped() {
        return;
    }
    let work = WorkDir::new();
    let wrap = ["unshare", "-Urm"];
    if as_nobody(&work, false, &wrap, "true").code != 0 {
        return skip("user namespaces are not allowed here");
    }
    let script = "
        $MINI_FO mount / mnt --storage storage -o squash_to_root
        test -d mnt/etc; test -z \"$(ls mnt/proc)\"; ls mnt/usr >/dev/null
        for dir in proc dev; do mount --rbind /$dir mnt/$dir; done
        chroot mnt sh -ec 'echo mine > /own; test -r /proc/self/status; echo x > /dev/null'
        test ! -e /own; test $(cat storage/own) = mine
        umount -l mnt/proc mnt/dev; $MINI_FO umount mnt; echo done";
    let said = as_nobody(&work, true, &wrap, script);
    assert!(said.ok().contains("done"));
    // Without that right the way there is told.
    let script = "
        ! $MINI_FO mount / mnt --storage storage 2>said; cat said
        ! $MINI_FO mount $HOME mnt --storage storage 2>said; cat said";
    let said = as_nobody(&work, false, &[], script).ok();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("unshare -Urm")).collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(!lines[0].contains("outside") && lines[1].contains("outside"), "{said}");
}
