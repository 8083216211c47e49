//! Requests of random bytes: whatever arrives, decoding does not panic, and
//! the answer stays within its buffer.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuse_server::abi::{self, opcode};
use fuse_server::{
    Answer, CreateArgs, DirPlusSink, DirSink, Dispatcher, Entry, FileSystem, InitFlags, IoctlArgs,
    IoctlReply, MkdirArgs, Negotiated, OpenReply, RawRequest, ReadArgs, RenameArgs, ReplyBuf,
    Request, Result, SetXattrArgs, WriteArgs, wire,
};
use proptest::prelude::*;
use rustix::io::Errno;

/// Looks at all that it is given and answers as much as it may.
#[derive(Default)]
struct Greedy {
    forgotten: AtomicU64,
}

fn check_name(name: &[u8]) {
    assert!(!name.is_empty());
    assert!(!name.contains(&b'/') && !name.contains(&0));
}

impl FileSystem for Greedy {
    fn lookup(&self, _: &Request, name: &[u8]) -> Result<Entry> {
        check_name(name);
        Ok(Entry { node: 5, ..Entry::default() })
    }
    fn forget(&self, _: u64, count: u64) {
        self.forgotten.fetch_add(count, Ordering::Relaxed);
    }
    fn mkdir(&self, _: &Request, args: &MkdirArgs<'_>) -> Result<Entry> {
        check_name(args.name);
        Ok(Entry::default())
    }
    fn rename(&self, _: &Request, args: &RenameArgs<'_>) -> Result<()> {
        check_name(args.name);
        check_name(args.new_name);
        Ok(())
    }
    fn create(&self, _: &Request, args: &CreateArgs<'_>) -> Result<(Entry, OpenReply)> {
        check_name(args.name);
        Ok((Entry { node: 6, ..Entry::default() }, OpenReply::default()))
    }
    fn read(&self, _: &Request, _: &ReadArgs, out: &mut [u8]) -> Result<usize> {
        out.fill(1);
        Ok(out.len())
    }
    fn write(&self, _: &Request, _: &WriteArgs, data: &[u8]) -> Result<usize> {
        Ok(data.len())
    }
    fn readlink(&self, _: &Request, out: &mut [u8]) -> Result<usize> {
        Ok(out.len() + 1)
    }
    fn readdir(&self, _: &Request, _: u64, _: u64, sink: &mut DirSink<'_>) -> Result<()> {
        while sink.add(1, 2, 0o100000, b"some name") {}
        Err(Errno::IO)
    }
    fn readdirplus(&self, _: &Request, _: u64, _: u64, sink: &mut DirPlusSink<'_>) -> Result<()> {
        let name = b"another";
        while sink.fits(name) {
            assert!(sink.add(&Entry::default(), 9, name));
        }
        assert!(!sink.add(&Entry::default(), 9, name));
        Ok(())
    }
    fn setxattr(&self, _: &Request, args: &SetXattrArgs<'_>) -> Result<()> {
        assert!(!args.name.is_empty());
        Ok(())
    }
    fn getxattr(&self, _: &Request, _: &[u8], out: &mut [u8]) -> Result<usize> {
        Ok(out.len())
    }
    fn listxattr(&self, _: &Request, out: &mut [u8]) -> Result<usize> {
        Ok(out.len() + 1)
    }
    fn ioctl(&self, _: &Request, _: &IoctlArgs<'_>, out: &mut [u8]) -> Result<IoctlReply> {
        Ok(IoctlReply { result: 0, len: out.len() })
    }
}

fn negotiated(flags: InitFlags) -> Negotiated {
    Negotiated {
        minor: 45,
        flags,
        offered: flags,
        max_write: 8192,
        max_pages: 2,
        max_readahead: 0,
        passthrough: false,
    }
}

fn dispatcher(flags: InitFlags) -> Dispatcher<Greedy> {
    Dispatcher::new(Arc::new(Greedy::default()), negotiated(flags))
}

/// A request with a true length.
fn request(code: u32, extlen: u16, rest: &[u8]) -> Vec<u8> {
    let header = abi::InHeader {
        len: (40 + rest.len()) as u32,
        opcode: code,
        unique: 2,
        nodeid: 1,
        total_extlen: extlen,
        ..abi::InHeader::default()
    };
    [wire::bytes_of(&header), rest].concat()
}

fn serve(dispatcher: &Dispatcher<Greedy>, bytes: &[u8]) -> (Option<i32>, Vec<u8>) {
    let mut body = vec![0; 8192];
    let Some(raw) = RawRequest::split(bytes, dispatcher.negotiated()) else {
        return (None, Vec::new());
    };
    let mut reply = ReplyBuf::new(&mut body);
    if dispatcher.dispatch(&raw, &mut reply) == Answer::None {
        return (None, Vec::new());
    }
    let (error, len) = (reply.error(), reply.len());
    assert!(len <= 8192);
    assert!(error == 0 || len == 0);
    (Some(error), body[..len].to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        serve(&dispatcher(InitFlags::empty()), &bytes);
    }

    #[test]
    fn noise_behind_a_true_header_is_survived(
        code in 0u32..60,
        extlen in prop_oneof![Just(0u16), 0u16..8, any::<u16>()],
        ext in any::<bool>(),
        mut bytes in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..300),
        size in prop_oneof![0u32..9000, any::<u32>()],
    ) {
        // Sizes stand at these places in most structures.
        for at in [0, 16, 28] {
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&size.to_ne_bytes());
            }
        }
        let flags = if ext { InitFlags::SETXATTR_EXT } else { InitFlags::empty() };
        serve(&dispatcher(flags), &request(code, extlen, &bytes));
    }
}

#[test]
fn names_are_checked() {
    let dispatcher = dispatcher(InitFlags::empty());
    let lookup = |rest: &[u8]| serve(&dispatcher, &request(opcode::LOOKUP, 0, rest)).0;
    assert_eq!(lookup(b"a\0"), Some(0));
    for bad in [&b"a"[..], b"", b"\0", b"a/b\0"] {
        assert_eq!(lookup(bad), Some(-Errno::IO.raw_os_error()), "{bad:?}");
    }
}

#[test]
fn xattr_sizes_are_asked_and_checked() {
    let dispatcher = dispatcher(InitFlags::empty());
    let ask = |code, size: u32| {
        let op = abi::GetxattrIn { size, padding: 0 };
        serve(&dispatcher, &request(code, 0, &[wire::bytes_of(&op), b"user.x\0"].concat()))
    };
    let (error, body) = ask(opcode::LISTXATTR, 0);
    assert_eq!((error, wire::read::<abi::GetxattrOut>(&body).unwrap().size), (Some(0), 1));
    assert_eq!(ask(opcode::LISTXATTR, 10).0, Some(-Errno::RANGE.raw_os_error()));
    assert_eq!(ask(opcode::GETXATTR, 10).1.len(), 10);
}

#[test]
fn setxattr_has_two_sizes() {
    let payload = b"user.x\0abc";
    for (flags, op) in [(InitFlags::empty(), 8), (InitFlags::SETXATTR_EXT, 16)] {
        let mut bytes = vec![0; op];
        bytes[0] = 3;
        bytes.extend_from_slice(payload);
        let served = serve(&dispatcher(flags), &request(opcode::SETXATTR, 0, &bytes));
        assert_eq!(served.0, Some(0));
    }
}

#[test]
fn forgets_have_no_answer() {
    let fs = Arc::new(Greedy::default());
    let dispatcher = Dispatcher::new(Arc::clone(&fs), negotiated(InitFlags::empty()));
    let one = serve(&dispatcher, &request(opcode::FORGET, 0, &3u64.to_ne_bytes()));
    assert_eq!(one.0, None);
    let mut batch = wire::bytes_of(&abi::BatchForgetIn { count: 2, dummy: 0 }).to_vec();
    for nlookup in [4, 5, 100] {
        batch.extend_from_slice(wire::bytes_of(&abi::ForgetOne { nodeid: 9, nlookup }));
    }
    assert_eq!(serve(&dispatcher, &request(opcode::BATCH_FORGET, 0, &batch)).0, None);
    assert_eq!(fs.forgotten.load(Ordering::Relaxed), 3 + 4 + 5);
}

#[test]
fn a_listing_cut_short_by_an_error_is_delivered() {
    let op = abi::ReadIn { size: 4096, ..abi::ReadIn::default() };
    let served =
        serve(&dispatcher(InitFlags::empty()), &request(opcode::READDIR, 0, wire::bytes_of(&op)));
    assert_eq!(served.0, Some(0));
    assert_eq!(served.1.len() % abi::dirent_size(9), 0);
    assert!(served.1.len() > 4096 - abi::dirent_size(9));
}

#[test]
fn unknown_operations_are_unimplemented() {
    let served = serve(&dispatcher(InitFlags::empty()), &request(opcode::INTERRUPT, 0, &[0; 8]));
    assert_eq!(served.0, Some(-Errno::NOSYS.raw_os_error()));
    let served = serve(&dispatcher(InitFlags::empty()), &request(4711, 0, &[]));
    assert_eq!(served.0, Some(-Errno::NOSYS.raw_os_error()));
}
