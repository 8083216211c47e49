//! Few descriptors: the daemon works with what it gets, and what programs hold
//! does not stop others.

use std::fs::{self, File};
use std::path::Path;

use crate::cli::daemon;
use crate::common::{
    BaseKind, Scene, StorageKind, engine_is_product, is_root, run, sh, skip, skip_unless,
    standard_base,
};

/// Mounts with this limit of open files, which root may not raise either.
pub fn mount_with(scene: &Scene, limit: u32, options: &str) {
    let program = env!("CARGO_BIN_EXE_mini_fo");
    let less = match is_root() {
        true => "setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource",
        false => "env",
    };
    let script = format!(
        "ulimit -n {limit}; {less} {program} mount {} {} --storage {} {options}",
        scene.base.display(),
        scene.mnt.display(),
        scene.storage.display()
    );
    sh(Path::new("/"), &script);
}

fn scene(fill: fn(&Path)) -> Option<Scene> {
    if !engine_is_product() || skip_unless(&["setpriv"]) {
        return None;
    }
    Scene::unmounted(BaseKind::Plain, StorageKind::Plain, fill)
}

fn umount(scene: &Scene) {
    run(env!("CARGO_BIN_EXE_mini_fo"), &[Path::new("umount"), &scene.mnt]).ok();
}

/// What a user is told who has too many open.
const TOO_MANY: i32 = libc::ENFILE;

/// With 64 descriptors: files are appended to one by one, in deep directories.
#[test]
fn a_daemon_with_few_descriptors() {
    let Some(s) = scene(|base| {
        standard_base(base);
        fs::create_dir(base.join("many")).expect("mkdir");
        for i in 0..300 {
            fs::write(base.join(format!("many/{i}")), vec![7; 100_000]).expect("write");
        }
        let deep = base.join("1/2/3/4/5/6/7/8/9/10/11/12/13/14");
        fs::create_dir_all(&deep).expect("mkdir");
        for at in deep.ancestors().take(14) {
            fs::write(at.join("file"), "deep").expect("write");
        }
    }) else {
        return;
    };
    for options in ["", "-o transport=classic"] {
        mount_with(&s, 64, options);
        sh(&s.mnt, "for f in many/*; do echo more >> $f; done; tail -qc 5 many/* | sort -u");
        sh(
            &s.mnt,
            "find 1 -type f | xargs cat > /dev/null; find 1 -name file -exec sh -c 'echo x >> {}' \\;",
        );
        sh(
            &s.mnt,
            "cd 1/2/3/4/5/6/7/8/9/10/11/12/13/14; for i in 1 2 3 4 5 6 7 8; do (cat file ../file; echo $i > $i; ls ..; stat ../../../..) & done; wait; test $(ls | wc -l) -ge 8",
        );
        sh(
            &s.mnt,
            "rm -r 1/2/3; find . | wc -l; mkdir -p 1/2/3/4/5/6/7/8/9/10/11/12/13/14; echo deep | tee 1/2/3/4/5/6/7/8/9/10/11/12/13/{file,14/file}",
        );
        umount(&s);
    }
}

/// Whoever has many files open is the one who is refused: names, attributes,
/// listings and removals go on.
#[test]
fn open_files_do_not_stop_lookups() {
    let Some(s) = scene(|base| {
        standard_base(base);
        fs::create_dir(base.join("many")).expect("mkdir");
        (0..900).for_each(|i| fs::write(base.join(format!("many/{i}")), "x").expect("write"));
    }) else {
        return;
    };
    mount_with(&s, 512, "");
    let mut held = Vec::new();
    let refused = loop {
        match File::open(s.at(&format!("many/{}", held.len()))) {
            Ok(file) => held.push(file),
            Err(error) => break error,
        }
        assert!(held.len() < 800, "nothing was refused");
    };
    assert_eq!(refused.raw_os_error(), Some(TOO_MANY), "{refused}");
    assert!(held.len() > 100, "only {} files", held.len());
    sh(
        &s.mnt,
        "ls -lR . > /dev/null; stat d/sub/deep/four many/899; mkdir new; mv new newer; rmdir newer; rm many/899; chmod 600 many/898; find . | wc -l",
    );
    // What it has open it may remove.
    fs::remove_file(s.at("many/0")).expect("unlink");
    drop(held);
    sh(&s.mnt, "cat many/1 many/2 f");
    umount(&s);
}

/// `CAP_SYS_RESOURCE`.
const SYS_RESOURCE: u32 = 24;

/// As root the limit is the kernel's for any process, whatever the shell's is.
#[test]
fn root_has_as_many_as_there_can_be() {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("CapEff");
    let held = u64::from_str_radix(held.trim(), 16).expect("a set");
    if held >> SYS_RESOURCE & 1 == 0 {
        return skip("needs CAP_SYS_RESOURCE");
    }
    let Some(s) = scene(standard_base) else { return };
    sh(
        Path::new("/"),
        &format!(
            "ulimit -n 1024; {} mount {} {} --storage {}",
            env!("CARGO_BIN_EXE_mini_fo"),
            s.base.display(),
            s.mnt.display(),
            s.storage.display()
        ),
    );
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon(&s))).expect("limits");
    let most = fs::read_to_string("/proc/sys/fs/nr_open").expect("nr_open");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert!(line.contains(most.trim()), "{line}");
    umount(&s);
}

/// Layers take descriptors that files cannot have then; where they take too many, the
/// message tells the limit, and not just which layer met it.
#[test]
fn many_layers_and_few_descriptors() {
    let Some(s) = scene(|base| {
        standard_base(base);
        fs::create_dir(base.join("many")).expect("mkdir");
        (0..100).for_each(|i| fs::write(base.join(format!("many/{i}")), "x").expect("write"));
    }) else {
        return;
    };
    let above = s.base.with_extension("above");
    for layer in 0..499 {
        let layer = above.join(layer.to_string());
        fs::create_dir_all(layer.join("many")).expect("mkdir");
        fs::write(layer.join("f"), "of a layer").expect("write");
    }
    let mount = |count: u32, limit: u32| {
        let less = if is_root() { "setpriv --bounding-set=-sys_resource" } else { "env" };
        let layers: Vec<_> =
            (0..count).map(|layer| above.join(layer.to_string()).display().to_string()).collect();
        let script = format!(
            "ulimit -n {limit}; exec {less} {} mount {}:{} {} --storage {} -o transport=classic",
            env!("CARGO_BIN_EXE_mini_fo"),
            layers.join(":"),
            s.base.display(),
            s.mnt.display(),
            s.storage.display(),
        );
        run("sh", &["-c", &script])
    };
    mount(499, 512).fails(3, &["500 layers", "512 files open", "ulimit -n"]);
    mount(499, 1024).ok();
    sh(&s.mnt, "cat f; ls; echo x >> f; ls d; mkdir -p a/b/c; touch a/b/c/d; rm -r a");
    umount(&s);
    fs::remove_dir_all(&s.storage).expect("rm");
    fs::create_dir(&s.storage).expect("mkdir");
    mount(250, 1024).ok();
    sh(
        &s.mnt,
        "for f in many/*; do echo more >> $f; done; ls many | wc -l; mkdir -p a/b/c/d
         for f in many/*; do exec {fd}< $f; done 2>/dev/null || true; cat f; touch a/b/c/d/e; ls -R > /dev/null",
    );
    umount(&s);
    fs::remove_dir_all(&above).expect("rm");
}
