//! Hard links of the base stay hard links: `h1`, `h2` and `dir/h3` are one file.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::kit::{
    Outcome, Place, append, chmod, content, create, mode, move_dir, open, read_at, refused, same,
    stat, there, write_at,
};
use crate::sys::Mapping;
use crate::tree::set_xattr;

super::cases!("hard_links";
    before_any_change, a_write_shows_under_every_name, a_truncation_shows_under_every_name,
    chmod_shows_under_every_name, chown_shows_under_every_name, xattrs_show_under_every_name,
    a_descriptor_of_another_name, a_mapping_of_another_name, a_lock_through_another_name,
    an_unlinked_name, every_name_unlinked, a_renamed_name, a_renamed_directory,
    a_rename_onto_another_name, a_replaced_name, an_exchanged_name, a_new_name,
    a_new_name_of_a_single_file, a_change_and_a_remount, an_unlinked_name_and_a_remount,
    a_rename_and_a_remount, a_new_name_and_a_remount, names_made_in_the_mount,
    a_change_and_a_cache_drop,
);

const ALL: [&str; 3] = ["h1", "h2", "dir/h3"];

/// All of `names` are one file with `links` links and this content.
fn one_file(place: &Place, names: &[&str], links: u64, text: &str) -> Outcome {
    let mut number = None;
    for &name in names {
        let stat = stat(place.at(name))?;
        same(&format!("link count of {name}"), stat.nlink(), links)?;
        same(&format!("number of {name}"), stat.ino(), *number.get_or_insert(stat.ino()))?;
        same(&format!("size of {name}"), stat.len(), text.len() as u64)?;
        same(&format!("content of {name}"), fs::read_to_string(place.at(name))?, text.into())?;
    }
    Ok(())
}

fn before_any_change(place: &Place) -> Outcome {
    one_file(place, &ALL, 3, "linked\n")
}

fn a_write_shows_under_every_name(place: &Place) -> Outcome {
    one_file(place, &ALL, 3, "linked\n")?;
    let number = stat(place.at("h2"))?.ino();
    append(place.at("h2"), b"more\n")?;
    one_file(place, &ALL, 3, "linked\nmore\n")?;
    same("number", stat(place.at("h1"))?.ino(), number)?;
    append(place.at("dir/h3"), b"yet more\n")?;
    one_file(place, &ALL, 3, "linked\nmore\nyet more\n")
}

fn a_truncation_shows_under_every_name(place: &Place) -> Outcome {
    rustix::fs::ftruncate(crate::kit::open_rw(place.at("dir/h3"))?, 3)?;
    one_file(place, &ALL, 3, "lin")
}

fn chmod_shows_under_every_name(place: &Place) -> Outcome {
    for name in ALL {
        mode(place.at(name))?;
    }
    chmod(place.at("h1"), 0o604)?;
    for name in ALL {
        same(name, mode(place.at(name))?, 0o604)?;
    }
    one_file(place, &ALL, 3, "linked\n")
}

fn chown_shows_under_every_name(place: &Place) -> Outcome {
    chown(place.at("dir/h3"), Some(17), Some(18))?;
    for name in ALL {
        let stat = stat(place.at(name))?;
        same(name, (stat.uid(), stat.gid()), (17, 18))?;
    }
    one_file(place, &ALL, 3, "linked\n")
}

fn xattrs_show_under_every_name(place: &Place) -> Outcome {
    set_xattr(&place.at("h2"), "user.x", b"value")?;
    for name in ALL {
        let mut value = [0; 5];
        same(name, rustix::fs::getxattr(place.at(name), "user.x", &mut value)?, 5)?;
    }
    one_file(place, &ALL, 3, "linked\n")
}

fn a_descriptor_of_another_name(place: &Place) -> Outcome {
    let held = open(place.at("dir/h3"))?;
    write_at(place.at("h1"), 0, b"L")?;
    same("content", read_at(&held, 0, 10)?, b"Linked\n".to_vec())?;
    write_at(place.at("h2"), 1, b"I")?;
    same("content", read_at(&held, 0, 10)?, b"LInked\n".to_vec())
}

fn a_mapping_of_another_name(place: &Place) -> Outcome {
    let mapping = Mapping::shared(open(place.at("h2"))?, 7)?;
    same("before", mapping.bytes(0, 7), b"linked\n".to_vec())?;
    write_at(place.at("h1"), 0, b"L")?;
    same("after", mapping.bytes(0, 7), b"Linked\n".to_vec())
}

fn a_lock_through_another_name(place: &Place) -> Outcome {
    let held = open(place.at("h1"))?;
    flock(&held, FlockOperation::NonBlockingLockExclusive)?;
    let busy = FlockOperation::NonBlockingLockShared;
    refused(flock(open(place.at("h2"))?, busy), Errno::WOULDBLOCK)?;
    append(place.at("h2"), b"x")?;
    refused(flock(open(place.at("dir/h3"))?, busy), Errno::WOULDBLOCK)
}

fn an_unlinked_name(place: &Place) -> Outcome {
    one_file(place, &ALL, 3, "linked\n")?;
    fs::remove_file(place.at("h1"))?;
    one_file(place, &["h2", "dir/h3"], 2, "linked\n")?;
    append(place.at("h2"), b"more\n")?;
    one_file(place, &["h2", "dir/h3"], 2, "linked\nmore\n")
}

fn every_name_unlinked(place: &Place) -> Outcome {
    let held = open(place.at("h1"))?;
    for (name, left) in ALL.iter().zip([2, 1, 0]) {
        fs::remove_file(place.at(name))?;
        same(name, held.metadata()?.nlink(), left)?;
    }
    same("content", read_at(&held, 0, 10)?, b"linked\n".to_vec())
}

fn a_renamed_name(place: &Place) -> Outcome {
    fs::rename(place.at("h1"), place.at("other/h9"))?;
    let names = ["other/h9", "h2", "dir/h3"];
    one_file(place, &names, 3, "linked\n")?;
    append(place.at("other/h9"), b"more\n")?;
    one_file(place, &names, 3, "linked\nmore\n")
}

fn a_renamed_directory(place: &Place) -> Outcome {
    move_dir(&place.at("dir"), &place.at("moved"))?;
    append(place.at("h1"), b"more\n")?;
    one_file(place, &["h1", "h2", "moved/h3"], 3, "linked\nmore\n")
}

/// rename(2) between two names of one file does nothing.
fn a_rename_onto_another_name(place: &Place) -> Outcome {
    fs::rename(place.at("h1"), place.at("h2"))?;
    one_file(place, &ALL, 3, "linked\n")
}

fn a_replaced_name(place: &Place) -> Outcome {
    fs::rename(place.at("g"), place.at("h1"))?;
    same("the new one", fs::read_to_string(place.at("h1"))?, "second\n".into())?;
    same("its link count", stat(place.at("h1"))?.nlink(), 1)?;
    one_file(place, &["h2", "dir/h3"], 2, "linked\n")
}

fn an_exchanged_name(place: &Place) -> Outcome {
    renameat_with(CWD, place.at("h1"), CWD, place.at("dir/a"), RenameFlags::EXCHANGE)?;
    one_file(place, &["dir/a", "h2", "dir/h3"], 3, "linked\n")?;
    append(place.at("dir/a"), b"more\n")?;
    one_file(place, &["dir/a", "h2", "dir/h3"], 3, "linked\nmore\n")?;
    same("the other", fs::read_to_string(place.at("h1"))?, "dir/a\n".into())
}

fn a_new_name(place: &Place) -> Outcome {
    fs::hard_link(place.at("h2"), place.at("other/h4"))?;
    let names = ["h1", "h2", "dir/h3", "other/h4"];
    one_file(place, &names, 4, "linked\n")?;
    append(place.at("other/h4"), b"more\n")?;
    one_file(place, &names, 4, "linked\nmore\n")
}

fn a_new_name_of_a_single_file(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    fs::hard_link(place.at("f"), place.at("dir/f2"))?;
    same("link count by descriptor", held.metadata()?.nlink(), 2)?;
    write_at(place.at("dir/f2"), 0, b"NEW")?;
    same("by descriptor", read_at(&held, 0, 3)?, b"NEW".to_vec())?;
    fs::remove_file(place.at("f"))?;
    same("link count", held.metadata()?.nlink(), 1)?;
    same("size", fs::read(place.at("dir/f2"))?.len(), content().len())
}

fn a_change_and_a_remount(place: &Place) -> Outcome {
    let number = stat(place.at("h1"))?.ino();
    append(place.at("h2"), b"more\n")?;
    chmod(place.at("h2"), 0o604)?;
    place.remount()?;
    one_file(place, &["dir/h3", "h1", "h2"], 3, "linked\nmore\n")?;
    same("number", stat(place.at("h1"))?.ino(), number)?;
    same("mode", mode(place.at("dir/h3"))?, 0o604)?;
    append(place.at("h1"), b"yet more\n")?;
    one_file(place, &ALL, 3, "linked\nmore\nyet more\n")
}

fn an_unlinked_name_and_a_remount(place: &Place) -> Outcome {
    fs::remove_file(place.at("h1"))?;
    place.remount()?;
    one_file(place, &["h2", "dir/h3"], 2, "linked\n")?;
    append(place.at("h2"), b"more\n")?;
    place.remount()?;
    one_file(place, &["h2", "dir/h3"], 2, "linked\nmore\n")
}

fn a_rename_and_a_remount(place: &Place) -> Outcome {
    fs::rename(place.at("h1"), place.at("h9"))?;
    move_dir(&place.at("dir"), &place.at("moved"))?;
    place.remount()?;
    append(place.at("moved/h3"), b"more\n")?;
    one_file(place, &["h9", "h2", "moved/h3"], 3, "linked\nmore\n")?;
    place.remount()?;
    one_file(place, &["h9", "h2", "moved/h3"], 3, "linked\nmore\n")?;
    same("the old name", there(place.at("h1")), false)
}

fn a_new_name_and_a_remount(place: &Place) -> Outcome {
    fs::hard_link(place.at("h1"), place.at("h4"))?;
    fs::hard_link(place.at("f"), place.at("f2"))?;
    place.remount()?;
    one_file(place, &["h1", "h2", "dir/h3", "h4"], 4, "linked\n")?;
    write_at(place.at("f2"), 0, b"NEW")?;
    same("f", read_at(&open(place.at("f"))?, 0, 3)?, b"NEW".to_vec())?;
    same("link count of f", stat(place.at("f"))?.nlink(), 2)
}

fn names_made_in_the_mount(place: &Place) -> Outcome {
    create(place.at("n1"))?;
    fs::hard_link(place.at("n1"), place.at("n2"))?;
    fs::hard_link(place.at("n2"), place.at("dir/n3"))?;
    append(place.at("n1"), b"text")?;
    one_file(place, &["n1", "n2", "dir/n3"], 3, "text")?;
    fs::remove_file(place.at("n2"))?;
    one_file(place, &["n1", "dir/n3"], 2, "text")
}

fn a_change_and_a_cache_drop(place: &Place) -> Outcome {
    append(place.at("h2"), b"more\n")?;
    place.drop_caches()?;
    one_file(place, &["dir/h3", "h1", "h2"], 3, "linked\nmore\n")
}
