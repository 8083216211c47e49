//! Data of one large file, through one descriptor.

use std::io;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, pread, pwrite};

use super::{BLOCK, Scene};

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

const PAGE: usize = 4096;
/// Operations of a random row.
const RANDOM: usize = 2000;
/// Steps between pages: prime, so that all are met before one is again.
const STRIDE: usize = 7919;

fn in_order(size: usize) -> Vec<u64> {
    (0..size / BLOCK).map(|i| (i * BLOCK) as u64).collect()
}

fn random(size: usize) -> Vec<u64> {
    let pages = (size / PAGE).max(1);
    (0..RANDOM).map(|i| (i * STRIDE % pages * PAGE) as u64).collect()
}

fn whole(done: usize, wanted: usize) -> rustix::io::Result<()> {
    if done == wanted { Ok(()) } else { Err(Errno::IO) }
}

fn get(file: &OwnedFd, at: u64, into: &mut [u8]) -> rustix::io::Result<()> {
    whole(pread(file, &mut *into, at)?, into.len())
}

fn put(file: &OwnedFd, at: u64, from: &[u8]) -> rustix::io::Result<()> {
    whole(pwrite(file, from, at)?, from.len())
}

/// Reads or writes one page.
fn page(
    file: &OwnedFd,
    op: fn(&OwnedFd, u64, &mut [u8]) -> rustix::io::Result<()>,
) -> impl Fn(&u64, &mut [u8]) -> rustix::io::Result<()> {
    move |&at, block| op(file, at, block.get_mut(..PAGE).unwrap_or_default())
}

pub fn base(scene: &mut Scene) -> io::Result<()> {
    let size = scene.job.size.big;
    let path = scene.path("big")?;
    let [first, second, scattered, write_order, write_random] = BASE;
    let file = open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    for row in [first, second] {
        scene.each(row, &in_order(size), |&at, block| get(&file, at, block))?;
    }
    scene.each(scattered, &random(size), page(&file, get))?;
    drop(file);
    // Opening copies the file up: not part of these rows.
    let file = open(path.as_c_str(), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    scene.each(write_order, &in_order(size), |&at, block| put(&file, at, block))?;
    scene.each(write_random, &random(size), page(&file, |file, at, page| put(file, at, page)))
}

pub fn storage(scene: &mut Scene) -> io::Result<()> {
    let size = scene.job.size.big;
    let path = scene.path("big-new")?;
    let [write_order, read_order, write_random, read_random] = STORAGE;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = open(path.as_c_str(), flags, Mode::from(0o644))?;
    scene.each(write_order, &in_order(size), |&at, block| put(&file, at, block))?;
    scene.each(read_order, &in_order(size), |&at, block| get(&file, at, block))?;
    scene.each(write_random, &random(size), page(&file, |file, at, page| put(file, at, page)))?;
    scene.each(read_random, &random(size), page(&file, get))
}
