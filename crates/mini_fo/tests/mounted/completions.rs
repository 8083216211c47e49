//! What zsh and fish complete, in the shells themselves. (bash: `install.rs`.)

use crate::common::{BaseKind, Scene, StorageKind, WorkDir, run, sh, skip_unless, standard_base};
use crate::install::built;

/// A mount on a path with a blank in it, and the directory of the scripts.
fn mounted(work: &WorkDir) -> Option<(Scene, String)> {
    let target = built(work)?;
    let mut s = Scene::unmounted(BaseKind::Plain, StorageKind::Plain, standard_base)?;
    s.mnt = s.work.dir("a b");
    s.mount(&[]);
    Some((s, target.join("docs/completions").display().to_string()))
}

#[test]
fn zsh_completes_commands_options_and_mount_points() {
    if skip_unless(&["zsh"]) {
        return;
    }
    let work = WorkDir::new();
    let Some((s, scripts)) = mounted(&work) else { return };
    let place = s.work.0.display();
    let lines = [
        ("mini_fo um", "mini_fo umount ".to_owned()),
        ("mini_fo mount --accept-b", "mini_fo mount --accept-base ".to_owned()),
        ("mini_fo mount a b -o accept_b", "mini_fo mount a b -o accept_base,".to_owned()),
        ("mini_fo mount a b -o ro,transport=cl", {
            "mini_fo mount a b -o ro,transport=classic,".to_owned()
        }),
        (&format!("mini_fo umount {place}/a"), format!("mini_fo umount {place}/a\\ b")),
        (&format!("mini_fo umount -l {place}/a"), format!("mini_fo umount -l {place}/a\\ b")),
        (&format!("mini_fo umount {place}/none"), format!("mini_fo umount {place}/none")),
    ];
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mounted/complete.zsh");
    let mut words = vec!["60", "zsh", "-f", script, &*scripts];
    words.extend(lines.iter().flat_map(|(line, result)| [*line, &**result]));
    run("timeout", &words).ok();
}

#[test]
fn fish_completes_commands_options_and_mount_points() {
    if skip_unless(&["fish"]) {
        return;
    }
    let work = WorkDir::new();
    let Some((s, scripts)) = mounted(&work) else { return };
    let place = s.work.0.display();
    let first_words = |line: &str| {
        let script = format!("source {scripts}/mini_fo.fish; complete -C '{line}'");
        let said = sh(&work.0, &format!("HOME=$PWD timeout 60 fish -N -c \"{script}\""));
        let word = |line: &str| line.split('\t').next().map(str::to_owned);
        said.lines().filter_map(word).collect::<Vec<_>>()
    };
    for (line, wanted) in [
        ("mini_fo um", "umount".to_owned()),
        ("mini_fo mount --accept-b", "--accept-base".to_owned()),
        ("mini_fo mount a b -o accept_b", "accept_base".to_owned()),
        ("mini_fo mount a b -o ro,transport=cl", "ro,transport=classic".to_owned()),
        (&format!("mini_fo umount {place}/a"), format!("{place}/a b")),
    ] {
        assert_eq!(first_words(line), [wanted], "{line}");
    }
    assert!(first_words(&format!("mini_fo umount {place}/none")).is_empty());
}
