//! Files that are open in several ways at once: what one writes all others see.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, ftruncate};
use rustix::io::ReadWriteFlags;
use rustix::mm::MapFlags;

use crate::kit::{
    Failure, Outcome, Place, append, chmod, create, ensure, open, open_rw, read_at, same, write_at,
};
use crate::sys::Mapping;

super::cases!("mixtures";
    two_openings_of_a_base_file with blocks, two_openings_of_a_new_file,
    two_openings_of_a_renamed_base_file with blocks, two_openings_of_a_removed_file,
    three_openings_one_after_the_other, a_mapping_without_a_descriptor,
    a_mapping_without_a_descriptor_and_special_bits, truncation_beside_every_opening,
    a_reader_that_stays_through_many_writers, appending_by_flag, appending_per_call,
    a_file_made_without_rights, positions_are_kept,
);

/// A way to have a file open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Read,
    Write,
    Both,
    Append,
    DirectRead,
    DirectBoth,
    Mapped,
    MappedForWriting,
}

const WAYS: [Way; 8] = [
    Way::Read,
    Way::Write,
    Way::Both,
    Way::Append,
    Way::DirectRead,
    Way::DirectBoth,
    Way::Mapped,
    Way::MappedForWriting,
];

/// Bytes of each file; what direct I/O wants.
const SIZE: usize = 4096;

struct Opened {
    way: Way,
    file: File,
    mapping: Option<Mapping>,
}

impl Opened {
    fn new(path: &Path, way: Way) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        match way {
            Way::Read | Way::Mapped => options.read(true),
            Way::Write => options.write(true),
            Way::Both | Way::MappedForWriting => options.read(true).write(true),
            Way::Append => options.append(true),
            Way::DirectRead => options.read(true).custom_flags(libc::O_DIRECT),
            Way::DirectBoth => options.read(true).write(true).custom_flags(libc::O_DIRECT),
        };
        let file = options.open(path)?;
        let mapping = match way {
            Way::Mapped => Some(Mapping::shared(&file, SIZE)?),
            Way::MappedForWriting => Some(Mapping::new(&file, SIZE, true, MapFlags::SHARED)?),
            _ => None,
        };
        Ok(Self { way, file, mapping })
    }

    /// Fills the whole file with `byte`; false when it cannot.
    fn fill(&self, byte: u8) -> Result<bool, Failure> {
        let mut space = vec![byte; 2 * SIZE];
        let skip = space.as_ptr().align_offset(SIZE);
        let block = space.get_mut(skip..skip + SIZE).unwrap_or_default();
        match (self.way, &self.mapping) {
            (Way::Write | Way::Both | Way::DirectBoth, _) => self.file.write_all_at(block, 0)?,
            (Way::MappedForWriting, Some(mapping)) => {
                (0..SIZE).for_each(|at| mapping.set(at, byte));
                mapping.sync()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The whole file must be `byte`.
    fn sees(&self, byte: u8) -> Outcome {
        let mut space = vec![0; 2 * SIZE];
        let skip = space.as_ptr().align_offset(SIZE);
        let block = space.get_mut(skip..skip + SIZE).unwrap_or_default();
        match (self.way, &self.mapping) {
            (Way::Write | Way::Append, _) => return Ok(()),
            (_, Some(mapping)) => block.copy_from_slice(&mapping.bytes(0, SIZE)),
            _ => same("bytes read", self.file.read_at(block, 0)?, SIZE)?,
        }
        let wrong = block.iter().position(|&found| found != byte);
        ensure(wrong.is_none(), &format!("{:?} does not see what was written", self.way))
    }
}

/// Opens in both ways, with `between` in between, and writes through each.
fn pair(
    path: &Path,
    ways: (Way, Way),
    between: impl FnOnce() -> Result<std::path::PathBuf, Failure>,
) -> Outcome {
    let named = |failure: Failure| match failure {
        Failure::Failed(text) => Failure::Failed(format!("{ways:?}: {text}")),
        skipped => skipped,
    };
    let body = || -> Outcome {
        let first = Opened::new(path, ways.0)?;
        first.sees(b'0')?;
        let path = between()?;
        let both = [Opened::new(&path, ways.1)?, first];
        for (number, writer) in both.iter().enumerate() {
            let byte = b'A' + number as u8;
            if writer.fill(byte)? {
                both.iter().try_for_each(|opened| opened.sees(byte))?;
                Opened::new(&path, Way::Read)?.sees(byte)?;
            }
        }
        write_at(&path, 0, &[b'z'; SIZE])?;
        both.iter().try_for_each(|opened| opened.sees(b'z'))
    };
    body().map_err(named)
}

fn pairs() -> impl Iterator<Item = (usize, (Way, Way))> {
    WAYS.into_iter().flat_map(|first| WAYS.map(|second| (first, second))).enumerate()
}

fn two_openings_of_a_base_file(place: &Place) -> Outcome {
    for (number, ways) in pairs() {
        let path = place.at(&format!("blocks/{number}"));
        pair(&path, ways, || Ok(path.clone()))?;
    }
    Ok(())
}

fn two_openings_of_a_renamed_base_file(place: &Place) -> Outcome {
    for (number, ways) in pairs() {
        let (path, moved) = (place.at(&format!("blocks/{number}")), place.at(&format!("{number}")));
        pair(&path, ways, || {
            fs::rename(&path, &moved)?;
            Ok(moved.clone())
        })?;
    }
    Ok(())
}

fn two_openings_of_a_new_file(place: &Place) -> Outcome {
    for (number, ways) in pairs() {
        let path = place.at(&format!("dir/{number}"));
        fs::write(&path, [b'0'; SIZE])?;
        pair(&path, ways, || Ok(path.clone()))?;
    }
    Ok(())
}

fn two_openings_of_a_removed_file(place: &Place) -> Outcome {
    for (number, ways) in pairs() {
        let path = place.at(&format!("dir/{number}"));
        fs::write(&path, [b'0'; SIZE])?;
        let held = open(&path)?;
        pair(&path, ways, || {
            fs::remove_file(&path)?;
            Ok(crate::kit::proc_path(&held))
        })?;
    }
    Ok(())
}

/// Old pages must not come back when the way to the data changes.
fn three_openings_one_after_the_other(place: &Place) -> Outcome {
    let path = place.at("dir/new");
    for name in ["dir/new", "f"] {
        let path = if name == "f" { place.at("f") } else { path.clone() };
        fs::write(&path, [b'0'; SIZE])?;
        for first in WAYS {
            for second in WAYS {
                for (byte, way) in [(b'1', first), (b'2', second)] {
                    let opened = Opened::new(&path, way)?;
                    if !opened.fill(byte)? {
                        write_at(&path, 0, &[byte; SIZE])?;
                    }
                    opened.sees(byte)?;
                    drop(opened);
                    Opened::new(&path, Way::Mapped)?.sees(byte)?;
                    Opened::new(&path, Way::Read)?.sees(byte)?;
                }
            }
        }
    }
    Ok(())
}

fn a_mapping_without_a_descriptor(place: &Place) -> Outcome {
    let mapping = Mapping::new(open_rw(place.at("f"))?, 20_000, true, MapFlags::SHARED)?;
    mapping.set(7, b'!');
    same("read", read_at(&open(place.at("f"))?, 7, 1)?, b"!".to_vec())?;
    write_at(place.at("f"), 8, b"?")?;
    same("mapped", mapping.bytes(7, 2), b"!?".to_vec())?;
    place.drop_caches()?;
    mapping.set(9, b'!');
    same("read", read_at(&open(place.at("f"))?, 7, 3)?, b"!?!".to_vec())
}

fn a_mapping_without_a_descriptor_and_special_bits(place: &Place) -> Outcome {
    let mapping = Mapping::new(open_rw(place.at("f"))?, 20_000, true, MapFlags::SHARED)?;
    mapping.set(7, b'!');
    chmod(place.at("f"), 0o6777)?;
    let writer = open_rw(place.at("f"))?;
    same("read", read_at(&writer, 7, 1)?, b"!".to_vec())?;
    writer.write_all_at(b"?", 8)?;
    same("mapped", mapping.bytes(7, 2), b"!?".to_vec())?;
    mapping.set(7, b'.');
    same("read", read_at(&writer, 7, 2)?, b".?".to_vec())?;
    drop(writer);
    mapping.set(7, b',');
    same("read", read_at(&open(place.at("f"))?, 7, 2)?, b",?".to_vec())
}

fn truncation_beside_every_opening(place: &Place) -> Outcome {
    for way in WAYS {
        let path = place.at("dir/new");
        fs::write(&path, [b'0'; SIZE])?;
        let opened = Opened::new(&path, way)?;
        OpenOptions::new().write(true).truncate(true).open(&path)?;
        same("size", opened.file.metadata()?.len(), 0)?;
        ftruncate(open_rw(&path)?, SIZE as u64)?;
        opened.sees(0)?;
    }
    Ok(())
}

fn a_reader_that_stays_through_many_writers(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    let mapping = Mapping::shared(&held, 20_000)?;
    for round in 0..30_u8 {
        let byte = [b'a' + round % 26];
        match round % 3 {
            0 => write_at(place.at("f"), 100, &byte)?,
            1 => open_rw(place.at("f"))?.write_all_at(&byte, 100)?,
            _ => {
                let fresh = Mapping::new(open_rw(place.at("f"))?, 20_000, true, MapFlags::SHARED)?;
                fresh.set(100, byte[0]);
            }
        }
        same("read", read_at(&held, 100, 1)?, byte.to_vec())?;
        same("mapped", mapping.byte(100), byte[0])?;
    }
    Ok(())
}

fn appending_by_flag(place: &Place) -> Outcome {
    create(place.at("dir/new"))?.write_all_at(b"new\n", 0)?;
    for name in ["g", "dir/new"] {
        let file = open_rw(place.at(name))?;
        let size = file.metadata()?.len();
        fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::APPEND)?;
        rustix::io::write(&file, b"one")?;
        append(place.at(name), b"two")?;
        rustix::io::write(&file, b"three")?;
        same("appended", read_at(&file, size, 100)?, b"onetwothree".to_vec())?;
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::APPEND)?;
        file.write_all_at(b"X", 0)?;
        same("not appended", file.metadata()?.len(), size + 11)?;
    }
    Ok(())
}

fn appending_per_call(place: &Place) -> Outcome {
    create(place.at("dir/new"))?.write_all_at(b"second\n", 0)?;
    for name in ["g", "dir/new"] {
        let file = open_rw(place.at(name))?;
        let text = [std::io::IoSlice::new(b"end")];
        rustix::io::pwritev2(&file, &text, 0, ReadWriteFlags::APPEND)?;
        same("content", fs::read(place.at(name))?, b"second\nend".to_vec())?;
        rustix::io::pwritev2(&file, &text, 0, ReadWriteFlags::DSYNC)?;
        same("content", fs::read(place.at(name))?, b"endond\nend".to_vec())?;
    }
    Ok(())
}

/// The mode given at creation does not bind the descriptor that it gives.
fn a_file_made_without_rights(place: &Place) -> Outcome {
    crate::sys::as_user(|| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o000);
        let file = options.open(place.at("public/new"))?;
        file.write_all_at(b"text", 0)?;
        same("content", read_at(&file, 0, 10)?, b"text".to_vec())?;
        crate::kit::refused(open(place.at("public/new")), rustix::io::Errno::ACCESS)
    })
}

fn positions_are_kept(place: &Place) -> Outcome {
    use std::io::{Read, Seek, SeekFrom};
    let mut held = open(place.at("f"))?;
    held.read_exact(&mut [0; 100])?;
    write_at(place.at("f"), 100, b"NEW")?;
    fs::rename(place.at("f"), place.at("dir/f"))?;
    let mut next = [0; 3];
    held.read_exact(&mut next)?;
    same("next", next, *b"NEW")?;
    append(place.at("dir/f"), b"end")?;
    same("end", held.seek(SeekFrom::End(-3))?, 20_000)?;
    held.read_exact(&mut next)?;
    same("last", next, *b"end")
}
