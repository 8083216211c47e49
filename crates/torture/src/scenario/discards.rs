//! Changes that are discarded, by the command, on the live mount: after a kill the next mount
//! has finished what was begun.

use rustix::fs::OFlags;

use super::Scenario;
use crate::ops::Op::{
    Append, Chmod, Chown, Close, Discard, Link, Mkdir, Mknod, Open, Put, Remount, Rename, Rmdir,
    SetXattr, Symlink, Unlink, Utimes,
};

pub(super) fn all() -> Vec<Scenario> {
    let append = OFlags::WRONLY | OFlags::APPEND;
    let regular = libc::S_IFREG | 0o600;
    let new = |name, before: &[_], step| Scenario::new(name, before, &[step]);
    let mut all = vec![
        new(
            "discard_modified",
            &[Open("full/a", append), Append(b'+', 9), Close],
            Discard(&["full/a"], &["full/a"]),
        ),
        new("discard_deleted", &[Unlink("full/a")], Discard(&["full/a"], &["full/a"])),
        new(
            "discard_added",
            &[
                Mkdir("full/n"),
                Mkdir("full/n/m"),
                Mknod("full/n/m/f", regular, (0, 0)),
                Symlink("f", "full/n/l"),
            ],
            Discard(&["full/n"], &["full/n"]),
        ),
        new(
            "discard_tree",
            &[
                Chmod("d/sub/three", 0o600),
                Unlink("d/sub/deep/four"),
                Mkdir("d/sub/new"),
                Chmod("d/sub", 0o700),
                SetXattr("d/sub/deep", "user.mood", b"odd"),
            ],
            Discard(&["d/sub"], &["d/sub"]),
        ),
        new(
            "discard_opaque",
            &[
                Unlink("full/a"),
                Unlink("full/x/b"),
                Rmdir("full/x"),
                Rmdir("full"),
                Mkdir("full"),
                Mkdir("full/x"),
            ],
            Discard(&["full"], &["full"]),
        ),
        new("discard_type", &[Unlink("f"), Mkdir("f"), Mkdir("f/in")], Discard(&["f"], &["f"])),
        new(
            "discard_renamed",
            &[Rename("full/a", "empty/b")],
            Discard(&["full/a"], &["full/a", "empty/b"]),
        ),
        new(
            "discard_dir_moved",
            &[Rename("d/sub", "e/moved"), Chmod("e/moved/three", 0o600), Mkdir("e/moved/n")],
            Discard(&["e/moved"], &["d/sub", "e/moved"]),
        ),
        new(
            "discard_names",
            &[Open("h1", append), Append(b'+', 9), Close],
            Discard(&["d/h2"], &[""]),
        ),
        new(
            "discard_name_deleted",
            &[Unlink("k2"), Link("k1", "k4")],
            Discard(&["k2", "k4"], &[""]),
        ),
        new(
            "discard_partial",
            &[Open("big", OFlags::WRONLY), Put(b'x', 70_000, 5_000), Close, Remount],
            Discard(&["big"], &["big"]),
        ),
        new(
            "discard_all",
            &[
                Rename("d", "D"),
                Rename("e/in", "D/in"),
                Open("h1", append),
                Append(b'+', 9),
                Close,
                Unlink("k2"),
                Chmod("big", 0o600),
                Mkdir("n"),
                Utimes("g", 5),
                Rename("g", "n/g"),
            ],
            Discard(&[""], &[""]),
        ),
        Scenario {
            poor: true,
            ..new(
                "discard_kept",
                &[
                    Chown("full/a", 7, 8),
                    Chown("d/sub", 7, 8),
                    Mknod("full/dev", libc::S_IFIFO, (0, 0)),
                ],
                Discard(&["full", "d/sub"], &["full", "d/sub"]),
            )
        },
    ];
    for scenario in &mut all {
        // What fails half-way is finished by the next mount, not taken back.
        scenario.kills_only = true;
        scenario.quick = matches!(scenario.name, "discard_tree" | "discard_all");
        if scenario.name == "discard_partial" {
            scenario.options = "blocks_from=64K";
        }
    }
    all
}
