//! Deep trees, long names, and names of any bytes.

use std::fs;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::kit::{
    Outcome, Place, create, ensure, entries_from, failed, names, open, refused, same, stat, there,
};
use crate::tree::{DEEP, one_byte_names};

super::cases!("depth_and_names";
    levels_in_the_base with deep, four_thousand_levels, the_longest_names with odd_names,
    names_of_any_bytes with odd_names,
);

fn levels_in_the_base(place: &Place) -> Outcome {
    let bottom = place.at(&"deep/".repeat(DEEP));
    same("content", fs::read(bottom.join("bottom"))?, b"bottom\n".to_vec())?;
    fs::write(bottom.join("bottom"), "changed\n")?;
    fs::write(bottom.join("new"), "new\n")?;
    fs::rename(place.at("deep/deep"), place.at("moved"))?;
    let bottom = place.at("moved").join("deep/".repeat(DEEP - 2));
    same("after a rename", fs::read(bottom.join("bottom"))?, b"changed\n".to_vec())?;
    fs::remove_dir_all(place.at("moved"))?;
    ensure(!there(place.at("moved")), "it is still there")
}

fn four_thousand_levels(place: &Place) -> Outcome {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o755);
    let mut at = openat(CWD, place.at("dir"), flags, Mode::empty())?;
    for level in 0..4000 {
        let next = mkdirat(&at, "d", mode).and_then(|()| openat(&at, "d", flags, Mode::empty()));
        at = next.or_else(|e| failed(format!("level {level}: {e}")))?;
    }
    openat(&at, "f", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, mode)?;
    let number = statat(&at, "f", AtFlags::empty())?.st_ino;
    place.drop_caches()?;
    same("number", statat(&at, "f", AtFlags::empty())?.st_ino, number)?;
    unlinkat(&at, "f", AtFlags::empty())?;
    for _ in 0..4000 {
        at = openat(&at, "..", flags, Mode::empty())?;
        unlinkat(&at, "d", AtFlags::REMOVEDIR)?;
    }
    ensure(stat(place.at("dir/a"))?.is_file(), "the way up leads elsewhere")
}

fn the_longest_names(place: &Place) -> Outcome {
    let (base, new, long) = ("n".repeat(255), "m".repeat(255), "l".repeat(256));
    fs::write(place.at("odd").join(&base), "x")?;
    fs::rename(place.at("odd").join(&base), place.at("odd").join(&new))?;
    create(place.at("odd").join(&base))?;
    fs::create_dir(place.at("k".repeat(255).as_str()))?;
    fs::remove_file(place.at("odd").join(&base))?;
    let odd = open(place.at("odd"))?;
    refused(statat(&odd, &long, AtFlags::empty()), Errno::NAMETOOLONG)?;
    refused(create(place.at("odd").join(&long)), Errno::NAMETOOLONG)?;
    refused(fs::create_dir(place.at("odd").join(&long)), Errno::NAMETOOLONG)?;
    refused(renameat(&odd, &new, &odd, &long), Errno::NAMETOOLONG)?;
    refused(unlinkat(&odd, &long, AtFlags::empty()), Errno::NAMETOOLONG)
}

fn names_of_any_bytes(place: &Place) -> Outcome {
    let dir = place.at("odd");
    same("in the base", names(&dir)?.len(), 255)?;
    for name in one_byte_names() {
        fs::write(dir.join(&name), "changed")?;
        let mut new = name.clone();
        new.push("new");
        fs::rename(dir.join(&name), dir.join(&new))?;
        create(dir.join(&name))?;
        fs::create_dir(place.at("empty").join(&name))?;
    }
    let found = entries_from(&open(&dir)?)?;
    same("entries", found.len(), 254 * 2 + 1)?;
    for name in one_byte_names() {
        let mut new = name.clone();
        new.push("new");
        same("content", fs::read(dir.join(&new))?, b"changed".to_vec())?;
        fs::remove_file(dir.join(&new))?;
        fs::remove_file(dir.join(&name))?;
        fs::remove_dir(place.at("empty").join(&name))?;
    }
    same("left", names(&dir)?.len(), 1)
}
