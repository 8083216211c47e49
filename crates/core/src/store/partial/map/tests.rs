use super::*;

use rustix::fs::{MemfdFlags, memfd_create};

fn file() -> OwnedFd {
    memfd_create("map", MemfdFlags::CLOEXEC).unwrap()
}

/// A storage file of `size` bytes that has data in `data` alone.
fn storage(size: u64, data: &[(u64, u64)]) -> OwnedFd {
    let fd = file();
    rustix::fs::ftruncate(&fd, size).unwrap();
    for (start, end) in data {
        sys::write_at(&fd, &vec![1; (end - start) as usize], *start).unwrap();
    }
    fd
}

fn reload(map: &Map, size: u64, storage: &OwnedFd) -> Map {
    Map::load(map.file().unwrap().unwrap(), size, storage).unwrap()
}

#[test]
fn runs_end_where_the_layer_changes() {
    let size = 10 * 4096 + 100;
    let mut map = Map::empty(size);
    assert_eq!(map.run(0, size), (false, size));
    assert_eq!(map.run(0, size + 5000), (false, size));
    assert_eq!(map.run(size, size + 5000), (true, size + 5000));
    map.record_in(file()).unwrap();
    map.set(4096, 8192).unwrap();
    assert_eq!(map.run(0, size), (false, 4096));
    assert_eq!(map.run(4096, size), (true, 8192));
    assert_eq!(map.run(5000, 6000), (true, 6000));
    assert_eq!(map.run(8192, size + 1), (false, size));
    // The last block is shorter, and behind it is the storage's.
    map.set(size - 1, size).unwrap();
    assert_eq!(map.run(10 * 4096, size + 1), (true, size + 1));
    assert_eq!(map.missing(), 9 * 4096);
}

#[test]
fn what_is_recorded_counts_after_a_crash_if_its_data_is_there() {
    let size = 8 * 4096;
    let mut map = Map::empty(size);
    map.record_in(file()).unwrap();
    map.set(0, 3 * 4096).unwrap();
    map.set(5 * 4096, 6 * 4096).unwrap();
    // Data of blocks 0, 1 and half of 2 reached the device; none of block 5.
    let cut = storage(size, &[(0, 2 * 4096)]);
    let seen = reload(&map, size, &cut);
    assert_eq!(seen.run(0, size), (true, 2 * 4096));
    assert_eq!(seen.run(2 * 4096, size), (false, size));
    let whole = storage(size, &[(0, 3 * 4096), (5 * 4096, 6 * 4096)]);
    let seen = reload(&map, size, &whole);
    assert_eq!(seen.missing(), 4 * 4096);
    // Once it is firm, a hole is a hole.
    let states = map.states();
    map.set(7 * 4096, size).unwrap();
    assert_eq!(map.make_firm(&states), Ok(true));
    assert_eq!(map.make_firm(&states), Ok(false));
    let seen = reload(&map, size, &storage(size, &[]));
    assert_eq!(seen.missing(), 4 * 4096);
    assert!(seen.has(5 * 4096) && !seen.has(7 * 4096));
}

#[test]
fn the_limit_is_recorded() {
    let size = 8 * 4096;
    let mut map = Map::empty(size);
    assert_eq!(map.end_at(5000), Err(Errno::BADF), "there is no file to record in");
    let mut map = Map::empty(size);
    map.record_in(file()).unwrap();
    map.end_at(5000).unwrap();
    map.end_at(6000).unwrap();
    let seen = reload(&map, size, &storage(size, &[]));
    assert_eq!((seen.limit(), seen.missing()), (5000, 5000));
    assert_eq!(seen.run(0, size), (false, 5000));
    assert_eq!(seen.run(5000, size), (true, size));
}

#[test]
fn large_files_have_larger_blocks() {
    let map = Map::empty(1 << 45);
    assert_eq!(map.block(), 32 << 20);
    assert_eq!(map.states().len(), 256 << 10);
    assert_eq!(Map::empty(4 << 30).block(), 4096);
    assert_eq!(Map::empty(0).missing(), 0);
}

#[test]
fn damage_is_an_error_and_an_empty_file_is_nothing() {
    let storage = storage(4096, &[]);
    assert_eq!(Map::load(file(), 4096, &storage).map(|map| map.missing()), Ok(4096));
    for text in ["mini_fo map 2 4096 4096\n", "mini_fo map 1 4096 5000\n", "mini_fo map 1 x y\n"] {
        let fd = file();
        sys::write_at(&fd, text.as_bytes(), 0).unwrap();
        assert_eq!(Map::load(fd, 4096, &storage).err(), Some(Errno::IO), "{text}");
    }
}
