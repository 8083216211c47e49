//! Data of one large file, through one descriptor.

use std::io;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, pread, pwrite};

use super::Scene;

pub const BASE: [&str; 5] = [
    "read 1 MiB base, first pass",
    "read 1 MiB base, second pass",
    "read 4 KiB base, random",
    "write 1 MiB base, in order",
    "write 4 KiB base, random",
];
pub const STORAGE: [&str; 4] = [
    "write 1 MiB storage, in order",
    "read 1 MiB storage, in order",
    "write 4 KiB storage, random",
    "read 4 KiB storage, random",
];

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;
/// Operations of a random row.
const RANDOM: usize = 2000;
/// Steps between pages: prime, so that all are met before one is again.
const STRIDE: usize = 7919;

fn in_order(size: usize) -> impl ExactSizeIterator<Item = u64> {
    (0..size / MIB).map(|i| (i * MIB) as u64)
}

fn random(size: usize) -> impl ExactSizeIterator<Item = u64> {
    let pages = size / PAGE;
    (0..RANDOM).map(move |i| (i * STRIDE % pages * PAGE) as u64)
}

fn whole(done: usize, wanted: usize) -> rustix::io::Result<()> {
    if done == wanted { Ok(()) } else { Err(Errno::IO) }
}

pub fn base(scene: &mut Scene) -> io::Result<()> {
    let size = scene.size.big;
    let path = scene.path("big")?;
    let [first, second, scattered, write_order, write_random] = BASE;
    let mut block = vec![b'w'; MIB];
    let file = open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    for row in [first, second] {
        scene.each(row, in_order(size), |at| whole(pread(&file, &mut block[..], at)?, MIB))?;
    }
    let mut page = [0; PAGE];
    scene.each(scattered, random(size), |at| whole(pread(&file, &mut page, at)?, PAGE))?;
    drop(file);
    // Opening copies the file up: not part of these rows.
    let file = open(path.as_c_str(), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    scene.each(write_order, in_order(size), |at| whole(pwrite(&file, &block, at)?, MIB))?;
    scene.each(write_random, random(size), |at| whole(pwrite(&file, &page, at)?, PAGE))
}

pub fn storage(scene: &mut Scene) -> io::Result<()> {
    let size = scene.size.big;
    let path = scene.path("big-new")?;
    let [write_order, read_order, write_random, read_random] = STORAGE;
    let mut block = vec![b'w'; MIB];
    let mut page = [b'v'; PAGE];
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = open(path.as_c_str(), flags, Mode::from(0o644))?;
    scene.each(write_order, in_order(size), |at| whole(pwrite(&file, &block, at)?, MIB))?;
    scene.each(read_order, in_order(size), |at| whole(pread(&file, &mut block[..], at)?, MIB))?;
    scene.each(write_random, random(size), |at| whole(pwrite(&file, &page, at)?, PAGE))?;
    scene.each(read_random, random(size), |at| whole(pread(&file, &mut page, at)?, PAGE))
}
