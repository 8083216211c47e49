//! Every mode of fallocate(2), on a base file and on a new one.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::kit::{Failure, Outcome, Place, content, create, ensure, open, open_rw, refused, same};

super::cases!("fallocate";
    allocate, keep_size, punch_hole, zero_range, collapse_range, insert_range,
    wrong_ranges, holes_punched_free_space,
);

const BLOCK: u64 = 4096;

/// The base file `f`, and a new file of the same content, one after the other.
fn both(place: &Place, part: impl Fn(&File, &mut Vec<u8>) -> Outcome) -> Outcome {
    create(place.at("dir/new"))?.write_all_at(&content(), 0)?;
    for name in ["dir/new", "f"] {
        let mut expected = content();
        let named = |failure: Failure| match failure {
            Failure::Failed(text) => Failure::Failed(format!("{name}: {text}")),
            skipped => skipped,
        };
        part(&open_rw(place.at(name))?, &mut expected).map_err(named)?;
        let found = fs::read(place.at(name))?;
        same(&format!("size of {name}"), found.len(), expected.len())?;
        ensure(found == expected, &format!("content of {name}"))?;
    }
    Ok(())
}

fn allocate(place: &Place) -> Outcome {
    both(place, |file, expected| {
        fallocate(file, FallocateFlags::empty(), 0, 30_000)?;
        expected.resize(30_000, 0);
        ensure(file.metadata()?.blocks() >= 58, "no space is reserved")
    })
}

fn keep_size(place: &Place) -> Outcome {
    both(place, |file, _| {
        fallocate(file, FallocateFlags::KEEP_SIZE, 0, 1 << 20)?;
        ensure(file.metadata()?.blocks() >= 2000, "no space is reserved")
    })
}

fn punch_hole(place: &Place) -> Outcome {
    both(place, |file, expected| {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(file, flags, 100, 10_000)?;
        expected.iter_mut().skip(100).take(10_000).for_each(|byte| *byte = 0);
        Ok(())
    })
}

fn zero_range(place: &Place) -> Outcome {
    both(place, |file, expected| {
        fallocate(file, FallocateFlags::ZERO_RANGE, 15_000, 10_000)?;
        expected.resize(25_000, 0);
        expected.iter_mut().skip(15_000).for_each(|byte| *byte = 0);
        Ok(())
    })
}

fn collapse_range(place: &Place) -> Outcome {
    both(place, |file, expected| {
        fallocate(file, FallocateFlags::COLLAPSE_RANGE, BLOCK, 2 * BLOCK)?;
        expected.drain(BLOCK as usize..3 * BLOCK as usize);
        Ok(())
    })
}

fn insert_range(place: &Place) -> Outcome {
    both(place, |file, expected| {
        fallocate(file, FallocateFlags::INSERT_RANGE, BLOCK, BLOCK)?;
        let at = BLOCK as usize;
        expected.splice(at..at, vec![0; BLOCK as usize]);
        Ok(())
    })
}

fn wrong_ranges(place: &Place) -> Outcome {
    let file = open_rw(place.at("f"))?;
    refused(fallocate(&file, FallocateFlags::empty(), 0, 0), Errno::INVAL)?;
    refused(fallocate(&file, FallocateFlags::empty(), i64::MAX as u64, 1), Errno::FBIG)?;
    refused(fallocate(&file, FallocateFlags::PUNCH_HOLE, 0, 10), Errno::OPNOTSUPP)?;
    refused(fallocate(open(place.at("f"))?, FallocateFlags::empty(), 0, 10), Errno::BADF)
}

fn holes_punched_free_space(place: &Place) -> Outcome {
    both(place, |file, expected| {
        let before = file.metadata()?.blocks();
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(file, flags, BLOCK, 3 * BLOCK)?;
        expected.iter_mut().skip(4096).take(3 * 4096).for_each(|byte| *byte = 0);
        rustix::fs::fsync(file)?;
        let after = file.metadata()?.blocks();
        ensure(after + 24 <= before.max(40), &format!("{before} blocks before, {after} after"))
    })
}
