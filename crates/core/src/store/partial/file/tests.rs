use super::*;
use crate::format::time::Timestamp;

use rustix::fs::{MemfdFlags, memfd_create};

const BLOCK: usize = 4096;

fn file(data: &[u8]) -> OwnedFd {
    let fd = memfd_create("file", MemfdFlags::CLOEXEC).unwrap();
    sys::write_at(&fd, data, 0).unwrap();
    fd
}

/// A partial file of this base, its storage file, and what holds the map.
fn partial(base: OwnedFd) -> (PartialFile, OwnedFd, OwnedFd) {
    let size = sys::stat_fd(&base).unwrap().stx_size;
    let storage = file(b"");
    rustix::fs::ftruncate(&storage, size).unwrap();
    let mtime = Timestamp { sec: 1, nsec: 0 };
    let mark =
        Mark { map: 1, size, mtime, blocks: 0, file: None, unfinished: None, path: b"x".to_vec() };
    let order = WriteOut::Sync;
    let partial = PartialFile::new(mark, Data::File(base), &storage, (None, None), order).unwrap();
    let map = file(b"");
    partial.record_in(rustix::io::dup(&map).unwrap()).unwrap();
    (partial, storage, map)
}

/// The same after the daemon was killed.
fn again(partial: &PartialFile, storage: &OwnedFd, map: OwnedFd) -> PartialFile {
    let base = rustix::io::dup(partial.base().file().unwrap()).unwrap();
    let mark = partial.mark.clone();
    PartialFile::new(mark, Data::File(base), storage, (Some(map), None), WriteOut::Sync).unwrap()
}

fn contents(partial: &PartialFile, storage: &OwnedFd) -> Vec<u8> {
    let mut buf = vec![0; sys::stat_fd(storage).unwrap().stx_size as usize];
    assert_eq!(partial.read(storage, &mut buf, 0), Ok(buf.len()));
    buf
}

#[test]
fn of_a_write_that_was_cut_short_what_counts_is_in_the_storage() {
    let (partial, storage, _map) = partial(file(&[b'b'; 4 * BLOCK]));
    let _writing = partial.writing.lock();
    let end = 3 * BLOCK as u64;
    partial.before_write(&storage, 0, end).unwrap();
    // A block and a half found room.
    sys::write_at(&storage, &[b'w'; 6000], 0).unwrap();
    let counts = partial.written(0, 6000, end).unwrap() as usize;
    assert_eq!(counts, BLOCK);
    let mut expected = vec![b'b'; 4 * BLOCK];
    expected[..counts].fill(b'w');
    assert_eq!(contents(&partial, &storage), expected);
    // Where the block was there before, each byte counts.
    assert_eq!(partial.written(0, 100, 2000), Ok(100));
    assert_eq!(partial.written(2 * BLOCK as u64, 2 * BLOCK as u64 + 9, end), Ok(2 * BLOCK as u64));
}

#[test]
fn what_a_failed_write_left_does_not_show_once_the_file_is_whole() {
    let base = file(&[b'b'; BLOCK]);
    rustix::fs::ftruncate(&base, 4 * BLOCK as u64).unwrap();
    let (partial, storage, _map) = partial(base);
    let _writing = partial.writing.lock();
    sys::write_at(&storage, &[b'w'; 3 * BLOCK], BLOCK as u64 / 2).unwrap();
    let before = contents(&partial, &storage);
    assert_eq!(partial.fetch_piece(&storage, 0, false), Ok(None));
    partial.set_whole();
    assert!(contents(&partial, &storage) == before);
}

#[test]
fn a_cut_that_was_not_recorded_costs_no_data() {
    let (partial, storage, map) = partial(file(&[b'b'; 3 * BLOCK]));
    let _writing = partial.writing.lock();
    sys::write_at(&storage, &[b'w'; BLOCK], BLOCK as u64).unwrap();
    partial.written(BLOCK as u64, 2 * BLOCK as u64, 2 * BLOCK as u64).unwrap();
    // The daemon is killed in the midst of a truncation.
    rustix::fs::ftruncate(&storage, 6000).unwrap();
    let seen = again(&partial, &storage, map);
    let mut expected = vec![b'b'; 6000];
    expected[BLOCK..].fill(b'w');
    assert!(contents(&seen, &storage) == expected);
}

/// The last block shares a block of the file system with what was appended.
#[test]
fn the_last_block_is_recorded_once_it_is_on_the_device() {
    let (partial, storage, map) = partial(file(&[b'b'; 5000]));
    let _writing = partial.writing.lock();
    sys::write_at(&storage, b"appended", 5000).unwrap();
    // Written in full: the rest of the block is not the base's.
    partial.before_write(&storage, BLOCK as u64, 5008).unwrap();
    // A power cut now: the map says that the block is there, and it is.
    let seen = again(&partial, &storage, map);
    assert_eq!(seen.missing(), BLOCK as u64);
    assert_eq!(contents(&seen, &storage), [&[b'b'; 5000][..], b"appended"].concat());
}

/// Two threads fill one file, and a third writes as soon as it is whole.
#[test]
fn nothing_is_fetched_once_the_file_is_whole() {
    let (partial, storage, _map) = partial(file(&[b'b'; 2 * BLOCK]));
    let _writing = partial.writing.lock();
    assert_eq!(partial.fetch_piece(&storage, 0, false), Ok(None));
    partial.set_whole();
    sys::write_at(&storage, &[b'w'; 2 * BLOCK], 0).unwrap();
    assert_eq!(partial.fetch_piece(&storage, 0, true), Ok(None));
    assert_eq!(contents(&partial, &storage), [b'w'; 2 * BLOCK]);
}

#[test]
fn a_base_that_became_shorter_is_an_error_also_for_writes() {
    let (partial, storage, _map) = partial(file(&[b'b'; 2 * BLOCK]));
    let _writing = partial.writing.lock();
    rustix::fs::ftruncate(partial.base().file().unwrap(), 100).unwrap();
    assert_eq!(partial.before_write(&storage, 10, 20), Err(Errno::IO));
    assert_eq!(partial.missing(), 2 * BLOCK as u64);
}

#[test]
fn a_limit_that_could_not_be_recorded_is_before_the_file_grows() {
    let (first, storage, _map) = partial(file(&[b'b'; 2 * BLOCK]));
    rustix::fs::ftruncate(&storage, 100).unwrap();
    // A power cut has left the file, but nothing of the map.
    let seen = again(&first, &storage, file(b""));
    assert!(!seen.may_grow());
    assert!(seen.concerns(100, 200));
    seen.record_in(file(b"")).unwrap();
    assert!(seen.may_grow() && !seen.concerns(100, 200));
    assert_eq!(contents(&seen, &storage), [b'b'; 100]);
}
