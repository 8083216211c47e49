//! The command line of fuse-overlayfs, as container engines use it. What the engines do
//! with it is in `scripts/podman.sh`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::common::{
    Outcome, WorkDir, cannot_mount, engine_is_product, have, is_root, mini_fo, run, sh, skip,
};

/// Directories of an engine, and the program under the name that it calls.
struct Engine {
    work: WorkDir,
    program: PathBuf,
}

impl Engine {
    fn new() -> Option<Engine> {
        if !engine_is_product() || cannot_mount() {
            return None;
        }
        let work = WorkDir::new();
        let program = work.0.join("fuse-overlayfs");
        symlink(env!("CARGO_BIN_EXE_mini_fo"), &program).unwrap();
        sh(
            &work.0,
            "mkdir -p low/d low/opaque top/opaque upper work mnt l
             echo low > low/a; echo low > low/d/b; echo low > low/opaque/hidden; echo low > low/gone
             touch top/.wh.gone top/opaque/.wh..wh..opq; echo top > top/a; echo top > top/opaque/c
             chmod 711 upper; ln -s ../top l/TOP; ln -s ../low l/LOW",
        );
        Some(Engine { work, program })
    }

    fn mount(&self, options: &str) -> Outcome {
        let script =
            format!("cd {} && exec {} -o {options} mnt", self.dir(), self.program.display());
        run("sh", &["-c", &script])
    }

    fn umount(&self) {
        mini_fo(&[Path::new("umount"), &self.work.0.join("mnt")]).ok();
    }

    fn dir(&self) -> String {
        self.work.0.display().to_string()
    }

    fn tree(&self) -> String {
        sh(&self.work.0.join("mnt"), "find . | sort | tr '\\n' ' '; cat a")
    }
}

const BOTH: &str = "lowerdir=l/TOP:l/LOW";
const WRITABLE: &str = "lowerdir=l/TOP:l/LOW,upperdir=upper,workdir=work,volatile,unheard=of";

#[test]
fn layers_by_relative_links() {
    let Some(engine) = Engine::new() else { return };
    engine.mount(BOTH).ok();
    let shown = ". ./a ./d ./d/b ./opaque ./opaque/c top\n";
    assert_eq!(engine.tree(), shown);
    assert!(fs::write(engine.work.0.join("mnt/new"), "").is_err());
    engine.umount();
    let said = engine.mount(WRITABLE);
    assert_eq!(said.code, 0);
    assert!(said.stderr.contains("unknown argument ignored: unheard"), "{}", said.stderr);
    assert_eq!(engine.tree(), shown);
    let root = fs::metadata(engine.work.0.join("mnt")).unwrap().permissions().mode();
    assert_eq!(root & 0o7777, 0o711);
    engine.umount();
}

#[test]
fn changes_show_as_a_layer_too() {
    let Some(engine) = Engine::new() else { return };
    engine.mount(WRITABLE).ok();
    let changed = "echo more >> mnt/a; rm mnt/d/b mnt/opaque/c; mkdir mnt/new; chmod 750 mnt";
    sh(&engine.work.0, changed);
    let shown = ". ./a ./d ./new ./opaque top\nmore\n";
    assert_eq!(engine.tree(), shown);
    engine.umount();
    // As an engine looks at a container's layer, and at two with a shared lower one.
    engine.mount("lowerdir=upper:l/TOP:l/LOW").ok();
    assert_eq!(engine.tree(), shown);
    let root = fs::metadata(engine.work.0.join("mnt")).unwrap().permissions().mode();
    assert_eq!(root & 0o7777, 0o750);
    engine.umount();
    engine.mount(WRITABLE).ok();
    assert_eq!(engine.tree(), shown);
    engine.umount();
    // The upper directory itself has what an engine put there, and nothing else.
    assert_eq!(sh(&engine.work.0, "stat -c %a upper"), "711\n".to_owned());
    assert_eq!(sh(&engine.work.0, "ls -A upper | wc -l"), "1\n");
}

/// An engine mounts the layer of an image with itself as upper directory, to compare it,
/// while containers have it as a lower one.
#[test]
fn what_is_only_looked_at_is_shared_and_stays() {
    let Some(engine) = Engine::new() else { return };
    sh(&engine.work.0, "mkdir other otherwork mnt2");
    let before = fs::metadata(engine.work.0.join("top")).unwrap();
    engine.mount("lowerdir=l/LOW,upperdir=l/TOP,workdir=work").ok();
    let shown = ". ./a ./d ./d/b ./opaque ./opaque/c top\n";
    assert_eq!(engine.tree(), shown);
    let script = format!(
        "cd {}; {} -o lowerdir=l/TOP:l/LOW,upperdir=other,workdir=otherwork mnt2 && echo x > mnt2/a",
        engine.dir(),
        engine.program.display()
    );
    run("sh", &["-c", &script]).ok();
    mini_fo(&[Path::new("umount"), &engine.work.0.join("mnt2")]).ok();
    assert_eq!(engine.tree(), shown);
    engine.umount();
    let after = fs::metadata(engine.work.0.join("top")).unwrap();
    assert_eq!((before.mode(), before.mtime_nsec()), (after.mode(), after.mtime_nsec()));
    let script = "find top | grep -v 'META_[^/]*_storage$' | sort | tr '\\n' ' '; find top/META*";
    let left = sh(&engine.work.0, script);
    assert!(
        left.starts_with("top top/.wh.gone top/a top/opaque top/opaque/.wh..wh..opq "),
        "{left}"
    );
    assert_eq!(left.matches("META").count(), 1, "{left}");
}

/// What fuse-overlayfs has changed shows the same, and goes on to be changed.
#[test]
fn goes_on_where_the_other_program_ended() {
    let Some(engine) = Engine::new() else { return };
    if !is_root() || !have("fuse-overlayfs") || !have("fusermount3") {
        return skip("needs root and fuse-overlayfs");
    }
    let other = "fuse-overlayfs -o lowerdir=top:low,upperdir=upper,workdir=work mnt 2>/dev/null";
    sh(&engine.work.0, other);
    sh(
        &engine.work.0,
        "rm -r mnt/d; mkdir mnt/d; echo own > mnt/d/own; rm mnt/opaque/c; echo 2 > mnt/a",
    );
    let shown = ". ./a ./d ./d/own ./opaque 2\n";
    assert_eq!(engine.tree(), shown);
    sh(&engine.work.0, "umount mnt");
    engine.mount(WRITABLE).ok();
    assert_eq!(engine.tree(), shown);
    sh(&engine.work.0, "rm mnt/d/own; echo 3 > mnt/a");
    engine.umount();
    engine.mount(WRITABLE).ok();
    assert_eq!(engine.tree(), ". ./a ./d ./opaque 3\n");
    engine.umount();
}

#[test]
fn ids_are_translated_as_there() {
    let Some(engine) = Engine::new() else { return };
    if !is_root() {
        return skip("needs root to give files away");
    }
    sh(&engine.work.0, "chown 5:6 top/a");
    let owners = |options: &str| {
        let script = "stat -c %u:%g mnt/a mnt/d; umount mnt";
        engine.mount(&format!("{BOTH},{options}")).ok();
        sh(&engine.work.0, script)
    };
    let mapped = "uidmapping=:0:1000:1:1:110000:65536,gidmapping=:0:1000:1:1:110000:65536";
    let expected = "110004:110005\n1000:1000\n";
    assert_eq!(owners(mapped), expected);
    assert_eq!(owners("squash_to_root"), "0:0\n0:0\n");
    assert_eq!(owners("squash_to_uid=7,squash_to_root"), "7:0\n7:0\n");
    if have("fuse-overlayfs") {
        let mapped = mapped.replace("=:", "=");
        let line = format!("fuse-overlayfs -o lowerdir=top:low,{mapped} mnt 2>/dev/null");
        sh(&engine.work.0, &line);
        assert_eq!(sh(&engine.work.0, "stat -c %u:%g mnt/a mnt/d; umount mnt"), expected);
    }
}

#[test]
fn how_it_ends() {
    let Some(engine) = Engine::new() else { return };
    engine.mount("upperdir=upper").fails(1, &["fuse-overlayfs: ", "lowerdir"]);
    engine.mount("lowerdir=missing").fails(1, &["fuse-overlayfs: ", "missing"]);
    engine.mount("lowerdir=low,upperdir=upper,workdir=missing").fails(1, &["workdir missing"]);
    let program = engine.program.display().to_string();
    let version = run(&program, &["--version"]).ok();
    assert!(version.starts_with("fuse-overlayfs: mini_fo "), "{version}");
    // Under its own name it knows the line by the option.
    let dir = engine.dir();
    let (low, mnt) = (format!("lowerdir={dir}/low"), format!("{dir}/mnt"));
    mini_fo(&["-o", &low, &mnt]).ok();
    engine.umount();
    mini_fo(&["-o", "base=/", &mnt]).fails(2, &[]);
}
