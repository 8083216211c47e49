//! Requests as the kernel puts them into a place, without a kernel.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::abi::opcode;
use crate::init::{Config, InitFlags, negotiate};
use crate::types::{Attr, AttrReply, Entry as Found, Request, Result as Done};
use crate::{ReadArgs, SetXattrArgs, WriteArgs, wire};

#[path = "../../tests/common/rings.rs"]
mod rings;

struct Fake;

impl FileSystem for Fake {
    fn getattr(&self, _: &Request, _: Option<u64>) -> Done<AttrReply> {
        let attr = Attr { ino: 1, mode: libc::S_IFDIR | 0o755, nlink: 1, ..Attr::default() };
        Ok(AttrReply { attr, ttl: Duration::ZERO })
    }

    fn lookup(&self, _: &Request, name: &[u8]) -> Done<Found> {
        match name {
            b"panic" => panic!("as asked for"),
            b"there" => Ok(Found { node: 7, attr: Attr::default(), ..Found::default() }),
            _ => Err(Errno::NOENT),
        }
    }

    fn read(&self, _: &Request, args: &ReadArgs, out: &mut [u8]) -> Done<usize> {
        let _ = args;
        out.fill(9);
        Ok(out.len())
    }

    fn write(&self, _: &Request, _: &WriteArgs, data: &[u8]) -> Done<usize> {
        Ok(data.iter().filter(|&&byte| byte == 5).count())
    }

    fn setxattr(&self, _: &Request, args: &SetXattrArgs<'_>) -> Done<()> {
        assert!(args.value.iter().all(|&byte| byte == 6));
        Ok(())
    }
}

fn dispatcher() -> Dispatcher<Fake> {
    let init = abi::InitIn {
        major: 7,
        minor: 45,
        flags: InitFlags::MAX_PAGES.bits() as u32,
        ..abi::InitIn::default()
    };
    Dispatcher::new(Arc::new(Fake), negotiate(&Config::default(), &init, true).0)
}

/// Error, length of the payload and its first bytes, and the node counted.
fn serve(code: u32, op: &[u8], payload: &[u8], said: usize) -> (i32, usize, Vec<u8>, Option<u64>) {
    let mut entry = Entry::new(1 << 20).unwrap();
    let header = abi::InHeader { opcode: code, unique: 4, nodeid: 1, ..Default::default() };
    entry.put(&header, op, payload, said as u32);
    let (commit, counted) = answer(&dispatcher(), &mut entry);
    assert_eq!(commit, 4);
    let headers = entry.headers();
    let out: abi::OutHeader = wire::read(&headers.in_out).unwrap();
    assert_eq!(out.unique, 4);
    let len = headers.ring_ent_in_out.payload_sz as usize;
    assert_eq!(out.len as usize, len + 16);
    (out.error, len, entry.parts().payload[..len.min(64)].to_vec(), counted)
}

const EIO: i32 = -libc::EIO;

#[test]
fn names_and_answers_share_a_place() {
    let (error, len, body, counted) = serve(opcode::LOOKUP, &[], b"there\0", 6);
    assert_eq!((error, len, counted), (0, size_of::<abi::EntryOut>(), Some(7)));
    assert_eq!(body[0], 7);
    assert_eq!(serve(opcode::LOOKUP, &[], b"gone\0", 5).0, -libc::ENOENT);
}

#[test]
fn nonsense_and_panics_cost_eio() {
    assert_eq!(serve(opcode::LOOKUP, &[], b"panic\0", 6).0, EIO);
    assert_eq!(serve(opcode::LOOKUP, &[], b"", 0).0, EIO);
    assert_eq!(serve(opcode::LOOKUP, &[], b"no end", 6).0, EIO);
    assert_eq!(serve(opcode::LOOKUP, &[], b"", usize::MAX).0, EIO);
    assert_eq!(serve(opcode::LOOKUP, &[], b"", (1 << 20) + 1).0, EIO);
    assert_eq!(serve(4711, &[], b"", 0).0, -libc::ENOSYS);
    let write = abi::WriteIn { size: 100, ..Default::default() };
    assert_eq!(serve(opcode::WRITE, wire::bytes_of(&write), &[5; 50], 50).0, EIO);
}

#[test]
fn large_data_either_way() {
    for size in [1, 4096, SMALL, SMALL + 1, 1 << 20] {
        let write = abi::WriteIn { size: size as u32, ..Default::default() };
        let data = vec![5; size];
        let (error, len, body, _) = serve(opcode::WRITE, wire::bytes_of(&write), &data, size);
        assert_eq!((error, len), (0, 8));
        assert_eq!(u32::from_ne_bytes(body[..4].try_into().unwrap()) as usize, size);
        let read = abi::ReadIn { size: size as u32, ..Default::default() };
        let (error, len, body, _) = serve(opcode::READ, wire::bytes_of(&read), &[], 0);
        assert_eq!((error, len), (0, size));
        assert!(body.iter().all(|&byte| byte == 9));
    }
    let set = abi::SetxattrIn { size: 60_000, ..Default::default() };
    let payload = [&b"user.a\0"[..], &[6; 60_000]].concat();
    let done = serve(opcode::SETXATTR, &wire::bytes_of(&set)[..8], &payload, payload.len());
    assert_eq!((done.0, done.1), (0, 0));
}

/// The kernel refuses all places, after it was told that there would be some:
/// everything comes through `/dev/fuse`, also what has waited.
#[test]
fn refused_after_init() {
    use crate::{Mount, MountOptions, Session, TransportChoice};
    let Some(_allowed) = rings::Allowed::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let Ok(mount) = Mount::new(dir.path(), &MountOptions::default()) else { return };
    let config = Config { transport: TransportChoice::Uring, ..Config::default() };
    let session = Session::new(mount, Arc::new(Fake), &config).unwrap();
    let stop = session.stop_handle();
    let waits = std::thread::spawn({
        let path = dir.path().join("gone");
        move || std::fs::symlink_metadata(path).unwrap_err().kind()
    });
    std::thread::sleep(Duration::from_millis(50));
    let server = std::thread::spawn(move || {
        super::super::TOO_SMALL.set(true);
        session.run()
    });
    assert_eq!(waits.join().unwrap(), std::io::ErrorKind::NotFound);
    let path = dir.path().join("gone");
    for _ in 0..100 {
        assert!(!path.exists());
    }
    stop.stop().unwrap();
    server.join().unwrap().unwrap();
}

/// A session with rings that are started; tells the first queue's places.
fn with_rings(dir: &std::path::Path) -> Option<(crate::Session<Fake>, Arc<Uring<Fake>>)> {
    use crate::{Mount, MountOptions, Session, TransportChoice};
    let mount = Mount::new(dir, &MountOptions::default()).ok()?;
    let config = Config { transport: TransportChoice::Uring, ..Config::default() };
    let mut session = Session::new(mount, Arc::new(Fake), &config).unwrap();
    let rings = session.start_rings().unwrap();
    Some((session, rings))
}

fn lose_all(rings: &Uring<Fake>) {
    while !rings.queue(0).unwrap().is_deserted() {
        rings.lost(0);
    }
}

#[test]
fn a_queue_that_lost_its_places_gets_another() {
    let Some(_allowed) = rings::Allowed::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some((session, rings)) = with_rings(dir.path()) else { return };
    lose_all(&rings);
    for _ in 0..500 {
        if !rings.queue(0).unwrap().is_deserted() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!rings.queue(0).unwrap().is_deserted());
    let stop = session.stop_handle();
    let server = std::thread::spawn(move || session.run());
    assert!(!dir.path().join("gone").exists());
    stop.stop().unwrap();
    server.join().unwrap().unwrap();
    rings.wait();
}

#[test]
fn where_no_place_can_be_made_the_connection_ends() {
    let Some(_allowed) = rings::Allowed::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some((session, rings)) = with_rings(dir.path()) else { return };
    rings.supervised.store(false, Ordering::Release);
    let server = std::thread::spawn(move || session.run());
    lose_all(&rings);
    server.join().unwrap().unwrap();
    rings.wait();
    assert!(dir.path().read_dir().unwrap().next().is_none(), "unmounted");
}
