//! Real programs do the same work on the mount and on a plain directory.

use std::fs;
use std::path::Path;

use crate::common::{
    Scene, assert_same_tree, assert_same_tree_except, run, sh, skip_unless, standard_base,
};

/// Runs a script on the mount and on a copy of the base, compares, remounts
/// and compares again.
fn same_work(needs: &[&str], fill: impl Fn(&Path), script: &str) {
    same_work_except(needs, fill, script, &|_| false);
}

fn same_work_except(
    needs: &[&str],
    fill: impl Fn(&Path),
    script: &str,
    leave_out: &dyn Fn(&Path) -> bool,
) {
    if skip_unless(needs) {
        return;
    }
    let Some(mut scene) = Scene::new(fill) else {
        return;
    };
    let plain = scene.plain_copy();
    let expected = sh(&plain, script);
    assert_eq!(sh(&scene.mnt, script), expected, "other output");
    scene.now_and_remounted(|mnt| assert_same_tree_except(mnt, &plain, leave_out));
}

#[test]
fn cp() {
    same_work(
        &["cp"],
        standard_base,
        "cp -a d d-copy; cp -a f link script big e/; cp -al d/sub hardlinked; cp -r e e2
         cp --remove-destination g f; cp -a --sparse=always big sparse; cp -a . /dev/null 2>&1 | wc -l",
    );
}

#[test]
fn tar() {
    same_work(
        &["tar"],
        standard_base,
        "tar --xattrs --exclude ./all.tar --exclude sock -cpf all.tar .; mkdir out
         tar --xattrs -xpf all.tar -C out; rm -r d; tar -xpf all.tar ./d; rm all.tar; tar -cf t d; rm t",
    );
}

#[test]
fn git() {
    let script = "git config --global --add safe.directory '*' 2>/dev/null || true
        export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0=n
        export GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=e GIT_CONFIG_KEY_2=safe.directory GIT_CONFIG_VALUE_2='*'
        git init -q -b main .; rm -f fifo sock null; git add -A; git commit -qm one; echo more >> f; rm -r d/sub
        git mv e e2; git commit -qam two; git checkout -q HEAD~1; git checkout -q main; git gc -q
        git branch side; git checkout -q side; echo s > s; git add s; git commit -qm three
        git checkout -q main; git merge -q side; git status --porcelain; git fsck; git log --format=%H";
    same_work_except(&["git"], standard_base, script, &|path| {
        path.ends_with(".git/index") || path.starts_with(".git/logs")
    });
}

/// Work inside a repository that is part of the base.
#[test]
fn git_in_a_base_repository() {
    let fill = |base: &Path| {
        for i in 0..200 {
            fs::create_dir_all(base.join(format!("dir{}", i % 20))).expect("mkdir");
            fs::write(base.join(format!("dir{}/file{i}", i % 20)), format!("{i}\n"))
                .expect("write");
        }
        sh(
            base,
            "git init -q -b main .; git add -A; git -c user.name=n -c user.email=e commit -qm base",
        );
    };
    let script = "g() { git -c safe.directory='*' -c user.name=n -c user.email=e \"$@\"; }
        g status --porcelain; echo x > dir1/file1; rm dir2/*; g mv dir3 dir3b; g add -A
        g commit -qm work; g checkout -q -b other HEAD~1; g stash list; g rebase -q main; g gc -q --prune=now
        g reset -q --hard HEAD~1; g clean -qfdx; g checkout -q main; g fsck; g status --porcelain";
    same_work_except(&["git"], fill, script, &|path| {
        path.ends_with(".git/index") || path.starts_with(".git/logs")
    });
}

#[test]
fn rsync() {
    same_work(
        &["rsync"],
        |base| {
            standard_base(base);
            fs::hard_link(base.join("g"), base.join("e/g-link")).expect("link");
        },
        "rsync -aHAX --exclude /copy . copy/; echo x > copy/f; rm -r copy/d
         rsync -aHAX --delete --exclude /copy . copy/; rsync -aHAX --checksum --delete copy/d/ e/",
    );
}

/// Into the mount, from outside, over what the base has.
#[test]
fn rsync_into_the_mount() {
    if skip_unless(&["rsync"]) {
        return;
    }
    let Some(mut scene) = Scene::new(standard_base) else {
        return;
    };
    let plain = scene.plain_copy();
    sh(&plain, "rm -r d/sub; echo new > d/new; chmod 711 e; touch -d @5 g; ln g g2");
    let (from, to) = (plain.join("."), scene.mnt.join("."));
    run("rsync", &[Path::new("-aHAX"), Path::new("--delete"), &from, &to]).ok();
    scene.now_and_remounted(|mnt| assert_same_tree(mnt, &plain));
}

#[test]
fn sqlite3() {
    if skip_unless(&["sqlite3"]) {
        return;
    }
    let Some(mut scene) = Scene::new(|base| {
        sh(
            base,
            "sqlite3 db 'create table t(a integer primary key, b text);
             with recursive c(x) as (select 1 union all select x+1 from c where x<2000)
             insert into t select x, hex(randomblob(50)) from c;'",
        );
    }) else {
        return;
    };
    for mode in ["delete", "wal", "truncate", "persist"] {
        let script = format!(
            "sqlite3 db 'pragma journal_mode={mode}; begin; update t set b=b||a where a%3=0;
             delete from t where a%7=0; insert into t(b) values(\"new\"); commit; vacuum;
             pragma integrity_check;' | tail -1"
        );
        assert_eq!(sh(&scene.mnt, &script), "ok\n", "{mode}");
        scene.remount();
        assert_eq!(sh(&scene.mnt, "sqlite3 db 'pragma integrity_check'"), "ok\n");
    }
    sh(
        &scene.mnt,
        "for i in 1 2 3 4; do sqlite3 -cmd '.timeout 20000' db 'insert into t(b) values(7)' & done; wait",
    );
    let count = sh(&scene.mnt, "sqlite3 db 'select count(*) from t where b=7'");
    assert_eq!(count, "4\n");
}

#[test]
fn rm_and_find() {
    same_work(
        &["find"],
        standard_base,
        "find . -type f -size +1k | sort; find d -newermt 2004-01-01 | sort; rm -rf d; mkdir d; rm -rf d
         find . -name '*e*' -type f -delete; find . -depth -type d -empty -delete; find . | sort",
    );
}

#[test]
fn editors_and_shells() {
    same_work(
        &["sed"],
        standard_base,
        "sed -i s/base/BASE/ f; echo a >> g; : > d/one; truncate -s 100 d/two; sort -o e/five e/five
         dd if=big of=big bs=4k count=3 seek=7 conv=notrunc status=none; install -m 600 g h
         ln -s d dl; ln -sf e dl2; ln -sfn e dl; cat dl/five; ./script; touch d/{1,2,3}; rm d/[12]
         (cd d/sub && pwd -P | grep -c sub); fallocate -l 8192 fa; fallocate -p -o 0 -l 4096 fa; cp fa fb",
    );
}

/// Building software: many small files made, renamed, run and removed.
#[test]
fn a_build() {
    let fill = |base: &Path| {
        fs::write(
            base.join("Makefile"),
            "all: a b\na b: %: %.sh\n\tcp $< $@.tmp && chmod +x $@.tmp && mv $@.tmp $@\n",
        )
        .expect("write");
        for name in ["a", "b"] {
            fs::write(base.join(format!("{name}.sh")), "#!/bin/sh\necho built\n").expect("write");
        }
    };
    same_work(
        &["make"],
        fill,
        "make -s; ./a; ./b; make -s; touch -d '+1 hour' a.sh; make -s -n | wc -l",
    );
}
