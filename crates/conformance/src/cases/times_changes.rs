//! Which operation moves which time of modification and of change.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, chown};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, ftruncate, renameat_with};

use crate::kit::{
    Failure, Outcome, Place, append, chmod, create, differ, failed, move_dir, open, open_rw, same,
    stat, write_at,
};
use crate::sys::Mapping;
use crate::tree::set_xattr;

super::cases!("times_changes";
    creating, removing, making_a_directory, removing_a_directory, linking, symlinking, renaming,
    renaming_a_directory, renaming_over_another, exchanging, writing, writing_nothing, truncating,
    opening_with_truncation, changing_the_mode, changing_the_owner, setting_an_attribute,
    opening_changes_nothing, writing_leaves_the_directory, failures_change_nothing,
    writing_through_a_mapping, writing_through_an_old_descriptor,
    changes_of_a_removed_file, changes_survive_a_remount,
);

/// Modification and change.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Times {
    modified: (i64, i64),
    changed: (i64, i64),
}

fn times(place: &Place, name: &str) -> Result<Times, Failure> {
    let stat = stat(place.at(name))?;
    Ok(Times {
        modified: (stat.mtime(), stat.mtime_nsec()),
        changed: (stat.ctime(), stat.ctime_nsec()),
    })
}

/// What is expected to move.
#[derive(Clone, Copy)]
enum Moves {
    Both,
    Change,
    Nothing,
}
use Moves::{Both, Change, Nothing};

/// `action` moves these times, and no other of the objects named. The objects
/// are found under the second name afterwards.
fn moves(
    place: &Place,
    expected: &[(&str, &str, Moves)],
    action: impl FnOnce() -> Outcome,
) -> Outcome {
    let before = expected.iter().map(|&(name, _, _)| times(place, name));
    let before = before.collect::<Result<Vec<_>, _>>()?;
    // Longer than the clock of file times takes to step.
    std::thread::sleep(Duration::from_millis(12));
    action()?;
    for (&(_, name, moves), before) in expected.iter().zip(before) {
        let after = times(place, name)?;
        let moved = (after.modified != before.modified, after.changed != before.changed);
        let wanted = match moves {
            Both => (true, true),
            Change => (false, true),
            Nothing => (false, false),
        };
        if moved != wanted {
            return failed(format!(
                "{name}: (modified, changed) is {moved:?} instead of {wanted:?}"
            ));
        }
    }
    Ok(())
}

fn creating(place: &Place) -> Outcome {
    moves(place, &[("dir", "dir", Both), ("", "", Nothing)], || {
        Ok(create(place.at("dir/new")).map(drop)?)
    })?;
    let (new, dir) = (times(place, "dir/new")?, times(place, "dir")?);
    same("the new file's", new.modified.0 - dir.modified.0, 0)
}

fn removing(place: &Place) -> Outcome {
    moves(place, &[("dir", "dir", Both), ("h1", "h1", Change), ("dir/a", "dir/a", Nothing)], || {
        Ok(fs::remove_file(place.at("dir/h3"))?)
    })
}

fn making_a_directory(place: &Place) -> Outcome {
    moves(place, &[("dir", "dir", Both), ("dir/sub", "dir/sub", Nothing)], || {
        Ok(fs::create_dir(place.at("dir/made"))?)
    })
}

fn removing_a_directory(place: &Place) -> Outcome {
    moves(place, &[("", "", Both), ("dir", "dir", Nothing)], || {
        Ok(fs::remove_dir(place.at("empty"))?)
    })
}

fn linking(place: &Place) -> Outcome {
    moves(place, &[("f", "f", Change), ("dir", "dir", Both), ("", "", Nothing)], || {
        Ok(fs::hard_link(place.at("f"), place.at("dir/f2"))?)
    })
}

fn symlinking(place: &Place) -> Outcome {
    moves(place, &[("f", "f", Nothing), ("dir", "dir", Both)], || {
        Ok(std::os::unix::fs::symlink("../f", place.at("dir/l"))?)
    })
}

fn renaming(place: &Place) -> Outcome {
    let expected = [
        ("dir/a", "other/z", Change),
        ("dir", "dir", Both),
        ("other", "other", Both),
        ("", "", Nothing),
    ];
    moves(place, &expected, || Ok(fs::rename(place.at("dir/a"), place.at("other/z"))?))
}

fn renaming_a_directory(place: &Place) -> Outcome {
    let expected = [
        ("dir/sub", "other/sub", Change),
        ("dir", "dir", Both),
        ("other", "other", Both),
        ("dir/sub/c", "other/sub/c", Nothing),
        ("dir/sub/deep", "other/sub/deep", Nothing),
    ];
    moves(place, &expected, || Ok(fs::rename(place.at("dir/sub"), place.at("other/sub"))?))
}

fn renaming_over_another(place: &Place) -> Outcome {
    let expected = [("h1", "h1", Change), ("dir/a", "dir/h3", Change), ("dir", "dir", Both)];
    moves(place, &expected, || Ok(fs::rename(place.at("dir/a"), place.at("dir/h3"))?))
}

fn exchanging(place: &Place) -> Outcome {
    let expected =
        [("dir/a", "f", Change), ("f", "dir/a", Change), ("dir", "dir", Both), ("", "", Both)];
    moves(place, &expected, || {
        Ok(renameat_with(CWD, place.at("dir/a"), CWD, place.at("f"), RenameFlags::EXCHANGE)?)
    })
}

fn writing(place: &Place) -> Outcome {
    moves(place, &[("f", "f", Both), ("g", "g", Nothing)], || {
        Ok(write_at(place.at("f"), 0, b"x")?)
    })?;
    moves(place, &[("f", "f", Both)], || Ok(append(place.at("f"), b"x")?))
}

fn writing_nothing(place: &Place) -> Outcome {
    let file = open_rw(place.at("f"))?;
    moves(place, &[("f", "f", Nothing)], || same("written", file.write_at(b"", 0)?, 0))
}

fn truncating(place: &Place) -> Outcome {
    for size in [100, 5000] {
        moves(place, &[("f", "f", Both), ("", "", Nothing)], || {
            Ok(ftruncate(open_rw(place.at("f"))?, size)?)
        })?;
    }
    Ok(())
}

fn opening_with_truncation(place: &Place) -> Outcome {
    for _ in 0..2 {
        moves(place, &[("f", "f", Both), ("", "", Nothing)], || {
            let file = OpenOptions::new().write(true).truncate(true).open(place.at("f"));
            Ok(file.map(drop)?)
        })?;
    }
    Ok(())
}

fn changing_the_mode(place: &Place) -> Outcome {
    for name in ["f", "dir", "fifo"] {
        moves(place, &[(name, name, Change), ("", "", Nothing)], || {
            Ok(chmod(place.at(name), 0o700)?)
        })?;
    }
    Ok(())
}

fn changing_the_owner(place: &Place) -> Outcome {
    for name in ["f", "dir", "fifo"] {
        moves(place, &[(name, name, Change), ("", "", Nothing)], || {
            Ok(chown(place.at(name), Some(3), Some(4))?)
        })?;
    }
    Ok(())
}

fn setting_an_attribute(place: &Place) -> Outcome {
    for name in ["f", "dir"] {
        moves(place, &[(name, name, Change), ("", "", Nothing)], || {
            Ok(set_xattr(&place.at(name), "user.x", b"y")?)
        })?;
    }
    moves(place, &[("f", "f", Change)], || Ok(rustix::fs::removexattr(place.at("f"), "user.x")?))
}

fn opening_changes_nothing(place: &Place) -> Outcome {
    let all = [("dir/a", "dir/a", Nothing), ("dir", "dir", Nothing), ("", "", Nothing)];
    moves(place, &all, || Ok(open(place.at("dir/a")).map(drop)?))?;
    moves(place, &all, || Ok(open_rw(place.at("dir/a")).map(drop)?))?;
    place.drop_caches()?;
    moves(place, &all, || Ok(OpenOptions::new().append(true).open(place.at("dir/a")).map(drop)?))
}

fn writing_leaves_the_directory(place: &Place) -> Outcome {
    moves(place, &[("dir", "dir", Nothing), ("dir/sub", "dir/sub", Nothing)], || {
        append(place.at("dir/sub/c"), b"x")?;
        chmod(place.at("dir/a"), 0o600)?;
        place.drop_caches()
    })
}

fn failures_change_nothing(place: &Place) -> Outcome {
    let all = [("dir", "dir", Nothing), ("", "", Nothing), ("f", "f", Nothing)];
    moves(place, &all, || {
        let failed = [
            fs::create_dir(place.at("dir/sub")).is_err(),
            fs::remove_dir(place.at("dir")).is_err(),
            fs::remove_file(place.at("dir/none")).is_err(),
            create(place.at("dir/a")).is_err(),
            fs::rename(place.at("f"), place.at("dir/sub")).is_err(),
            fs::hard_link(place.at("f"), place.at("dir/a")).is_err(),
        ];
        same("failed", failed, [true; 6])
    })
}

fn writing_through_a_mapping(place: &Place) -> Outcome {
    let mapping =
        Mapping::new(open_rw(place.at("f"))?, 20_000, true, rustix::mm::MapFlags::SHARED)?;
    moves(place, &[("f", "f", Both)], || {
        mapping.set(0, b'x');
        Ok(mapping.sync()?)
    })
}

fn writing_through_an_old_descriptor(place: &Place) -> Outcome {
    let held = open_rw(place.at("f"))?;
    fs::rename(place.at("f"), place.at("dir/f"))?;
    moves(place, &[("dir/f", "dir/f", Both), ("dir", "dir", Nothing)], || {
        Ok(held.write_all_at(b"x", 0)?)
    })
}

fn changes_of_a_removed_file(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    let before = held.metadata()?;
    std::thread::sleep(Duration::from_millis(12));
    fs::remove_file(place.at("f"))?;
    let after = held.metadata()?;
    same("modified", (after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()))?;
    differ("changed", (after.ctime(), after.ctime_nsec()), (before.ctime(), before.ctime_nsec()))
}

fn changes_survive_a_remount(place: &Place) -> Outcome {
    append(place.at("f"), b"x")?;
    create(place.at("dir/new"))?;
    chmod(place.at("other"), 0o700)?;
    move_dir(&place.at("dir/sub"), &place.at("sub"))?;
    let names = ["f", "dir", "dir/new", "other", "sub", "", "g", "dir/a"];
    let all = || names.iter().map(|&name| times(place, name)).collect::<Result<Vec<_>, _>>();
    let before = all()?;
    place.remount()?;
    for ((name, after), before) in names.iter().zip(all()?).zip(before) {
        same(name, after, before)?;
    }
    Ok(())
}
