//! Times that are set, and times of access.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, StatVfsMountFlags, Timespec, Timestamps, UTIME_NOW, openat,
    utimensat,
};

use crate::kit::{
    Failure, OLD, OMIT, Outcome, Place, append, chmod, create, differ, ensure, names, open,
    open_rw, read_at, same, set_times, skipped, stat, write_at,
};
use crate::sys::Mapping;

super::cases!("times";
    reading_moves_an_old_access_time, reading_again_does_not, reading_after_a_write_does,
    reading_a_directory, reading_a_link, reading_through_a_mapping, reading_with_noatime_flag,
    reading_does_not_move_other_times, access_time_survives_a_remount,
    access_time_survives_a_copy_up, setting_times, omitting_and_now, nanoseconds, far_dates,
    times_of_symbolic_links, setting_by_descriptor, set_times_survive_a_remount,
    copy_up_keeps_times, base_times_show,
);

type Time = (i64, i64);
const THEN: Time = (OLD.tv_sec, OLD.tv_nsec);

fn accessed(place: &Place, name: &str) -> Result<Time, Failure> {
    let stat = stat(place.at(name))?;
    Ok((stat.atime(), stat.atime_nsec()))
}

fn modified(place: &Place, name: &str) -> Result<Time, Failure> {
    let stat = stat(place.at(name))?;
    Ok((stat.mtime(), stat.mtime_nsec()))
}

/// Cases on times of access want a mount with relatime.
fn wants_relatime(place: &Place) -> Outcome {
    let flags = rustix::fs::statvfs(&place.dir)?.f_flag;
    if flags.contains(StatVfsMountFlags::NOATIME) {
        skipped("mounted with noatime")
    } else {
        Ok(())
    }
}

fn reading_moves_an_old_access_time(place: &Place) -> Outcome {
    wants_relatime(place)?;
    same("before", accessed(place, "f")?, THEN)?;
    fs::read(place.at("f"))?;
    differ("after", accessed(place, "f")?, THEN)
}

fn reading_again_does_not(place: &Place) -> Outcome {
    wants_relatime(place)?;
    fs::read(place.at("f"))?;
    let first = accessed(place, "f")?;
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::read(place.at("f"))?;
    same("again", accessed(place, "f")?, first)
}

fn reading_after_a_write_does(place: &Place) -> Outcome {
    wants_relatime(place)?;
    fs::read(place.at("f"))?;
    let first = accessed(place, "f")?;
    std::thread::sleep(std::time::Duration::from_millis(20));
    append(place.at("f"), b"x")?;
    same("after the write", accessed(place, "f")?, first)?;
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::read(place.at("f"))?;
    differ("after reading", accessed(place, "f")?, first)
}

fn reading_a_directory(place: &Place) -> Outcome {
    wants_relatime(place)?;
    same("before", accessed(place, "dir/sub")?, THEN)?;
    names(place.at("dir/sub"))?;
    differ("after", accessed(place, "dir/sub")?, THEN)
}

fn reading_a_link(place: &Place) -> Outcome {
    wants_relatime(place)?;
    same("before", accessed(place, "link")?, THEN)?;
    fs::read_link(place.at("link"))?;
    differ("after", accessed(place, "link")?, THEN)
}

fn reading_through_a_mapping(place: &Place) -> Outcome {
    wants_relatime(place)?;
    let mapping = Mapping::shared(open(place.at("f"))?, 20_000)?;
    same("content", mapping.byte(0), b'a')?;
    differ("after", accessed(place, "f")?, THEN)
}

fn reading_with_noatime_flag(place: &Place) -> Outcome {
    let flags = OFlags::RDONLY | OFlags::NOATIME | OFlags::CLOEXEC;
    let file = openat(CWD, place.at("f"), flags, Mode::empty())?.into();
    read_at(&file, 0, 100)?;
    same("after", accessed(place, "f")?, THEN)
}

fn reading_does_not_move_other_times(place: &Place) -> Outcome {
    let changed = |name: &str| stat(place.at(name)).map(|s| (s.ctime(), s.ctime_nsec()));
    let before = (changed("f")?, changed("dir")?);
    fs::read(place.at("f"))?;
    names(place.at("dir"))?;
    same("change", (changed("f")?, changed("dir")?), before)?;
    same("modification", (modified(place, "f")?, modified(place, "dir")?), (THEN, THEN))
}

fn access_time_survives_a_remount(place: &Place) -> Outcome {
    wants_relatime(place)?;
    fs::read(place.at("f"))?;
    let moved = accessed(place, "f")?;
    differ("after reading", moved, THEN)?;
    place.remount()?;
    same("after a remount", accessed(place, "f")?, moved)
}

fn access_time_survives_a_copy_up(place: &Place) -> Outcome {
    wants_relatime(place)?;
    fs::read(place.at("f"))?;
    let moved = accessed(place, "f")?;
    differ("after reading", moved, THEN)?;
    chmod(place.at("f"), 0o600)?;
    same("after a copy-up", accessed(place, "f")?, moved)
}

const A: Timespec = Timespec { tv_sec: 1_234_567_890, tv_nsec: 1 };
const B: Timespec = Timespec { tv_sec: 987_654_321, tv_nsec: 999_999_999 };

fn setting_times(place: &Place) -> Outcome {
    create(place.at("new"))?;
    for name in ["f", "dir", "fifo", "new", "null"] {
        set_times(&place.at(name), A, B)?;
        same(name, accessed(place, name)?, (A.tv_sec, A.tv_nsec))?;
        same(name, modified(place, name)?, (B.tv_sec, B.tv_nsec))?;
    }
    Ok(())
}

fn omitting_and_now(place: &Place) -> Outcome {
    set_times(&place.at("f"), OMIT, B)?;
    same("omitted access", accessed(place, "f")?, THEN)?;
    same("modification", modified(place, "f")?, (B.tv_sec, B.tv_nsec))?;
    set_times(&place.at("f"), A, OMIT)?;
    same("omitted modification", modified(place, "f")?, (B.tv_sec, B.tv_nsec))?;
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    set_times(&place.at("f"), OMIT, now)?;
    create(place.at("new"))?;
    let difference = modified(place, "new")?.0 - modified(place, "f")?.0;
    ensure((0..5).contains(&difference), "it is not now")?;
    same("access", accessed(place, "f")?, (A.tv_sec, A.tv_nsec))
}

fn nanoseconds(place: &Place) -> Outcome {
    create(place.at("new"))?;
    for name in ["f", "new"] {
        for nsec in [0, 1, 999, 123_456_789, 999_999_999] {
            let time = Timespec { tv_sec: 1_500_000_000, tv_nsec: nsec };
            set_times(&place.at(name), time, time)?;
            same(name, modified(place, name)?, (1_500_000_000, nsec))?;
            same(name, accessed(place, name)?, (1_500_000_000, nsec))?;
        }
    }
    Ok(())
}

/// 1901 and 2100: what ext4 can hold.
fn far_dates(place: &Place) -> Outcome {
    create(place.at("new"))?;
    for name in ["f", "new", "dir"] {
        for sec in [-2_147_483_000, -1, 0, 2_147_483_648, 4_102_444_800, 10_000_000_000] {
            let time = Timespec { tv_sec: sec, tv_nsec: 5 };
            set_times(&place.at(name), time, time)?;
            same(name, modified(place, name)?, (sec, 5))?;
            same(name, accessed(place, name)?, (sec, 5))?;
        }
    }
    Ok(())
}

fn times_of_symbolic_links(place: &Place) -> Outcome {
    set_times(&place.at("link"), A, B)?;
    same("link", modified(place, "link")?, (B.tv_sec, B.tv_nsec))?;
    same("target", modified(place, "f")?, THEN)?;
    let times = Timestamps { last_access: A, last_modification: A };
    utimensat(CWD, place.at("link"), &times, AtFlags::empty())?;
    same("link", modified(place, "link")?, (B.tv_sec, B.tv_nsec))?;
    same("target", modified(place, "f")?, (A.tv_sec, A.tv_nsec))
}

fn setting_by_descriptor(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    let times = Timestamps { last_access: A, last_modification: B };
    rustix::fs::futimens(&held, &times)?;
    same("by path", modified(place, "f")?, (B.tv_sec, B.tv_nsec))?;
    // Writing through a descriptor that was there before sets them anew.
    let writer = open_rw(place.at("f"))?;
    rustix::fs::futimens(&writer, &times)?;
    same("by descriptor", held.metadata()?.mtime(), B.tv_sec)?;
    write_at(place.at("f"), 0, b"x")?;
    differ("after a write", held.metadata()?.mtime(), B.tv_sec)
}

fn set_times_survive_a_remount(place: &Place) -> Outcome {
    create(place.at("new"))?;
    for name in ["f", "dir", "link", "new"] {
        set_times(&place.at(name), A, B)?;
    }
    place.remount()?;
    for name in ["f", "dir", "link", "new"] {
        same(name, modified(place, name)?, (B.tv_sec, B.tv_nsec))?;
        same(name, accessed(place, name)?, (A.tv_sec, A.tv_nsec))?;
    }
    Ok(())
}

fn copy_up_keeps_times(place: &Place) -> Outcome {
    for name in ["f", "dir", "fifo", "socket"] {
        chmod(place.at(name), 0o700)?;
        same(name, modified(place, name)?, THEN)?;
        same(name, accessed(place, name)?, THEN)?;
    }
    open_rw(place.at("g"))?;
    same("opened", (modified(place, "g")?, accessed(place, "g")?), (THEN, THEN))
}

fn base_times_show(place: &Place) -> Outcome {
    for name in ["f", "dir", "link", "fifo", "sparse", "h1", "dir/sub"] {
        same(name, modified(place, name)?, THEN)?;
        same(name, accessed(place, name)?, THEN)?;
    }
    Ok(())
}
