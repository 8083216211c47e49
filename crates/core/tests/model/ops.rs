//! Operations and how they are drawn.

use mini_fo_core::RenameMode;
use proptest::prelude::*;

/// Names of the base tree come first; few, so that they meet often.
pub const NAMES: &[&[u8]] = &[
    b"a",
    b"b",
    b"f",
    b"g",
    b"l",
    b"n",
    b"with space",
    b"new\nline",
    b"A",
    b"meta_dafffghe39ktf3hd2sr",
    b"aux.~1 ",
    b"back\\slash",
    b"\xff\xfe",
    &[b'x'; 255],
];

/// Names by index, from the root.
#[derive(Clone, Debug)]
pub struct Path(pub Vec<usize>);

#[derive(Clone, Debug)]
pub enum Op {
    Create(Path, u32),
    Mkdir(Path, u32),
    Symlink(Path, u8),
    /// A FIFO, a socket or a character device.
    Special(Path, u32, u8),
    Unlink(Path),
    Rmdir(Path),
    /// All below and itself, entry by entry.
    RemoveAll(Path),
    Rename(Path, Path, RenameMode),
    Link(Path, Path),
    /// Opens for writing and writes nothing.
    Touch(Path),
    Write(Path, u16, u8, u16),
    Append(Path, u8, u16),
    Truncate(Path, u16),
    OpenTruncate(Path),
    Chmod(Path, u32),
    /// Owner, group, or both.
    Chown(Path, Option<u32>, Option<u32>),
    SetMtime(Path, i32),
    /// The last is 0, `XATTR_CREATE` or `XATTR_REPLACE`.
    SetXattr(Path, u8, Vec<u8>, u32),
    RemoveXattr(Path, u8),
    /// Opens and keeps a handle; `true`: for writing.
    Hold(Path, bool),
    /// Reads, or writes, through a held handle.
    UseHeld(usize, u8),
    /// A file without a name in a directory, held; then perhaps given one.
    Tmpfile(Path, u32, Option<Path>),
    LinkHeld(usize, Path),
    ResizeHeld(usize, u16),
    ChmodHeld(usize, u32),
    /// Index into the modes, offset, length.
    Fallocate(usize, usize, u16, u16),
    /// `true`: for data.
    Seek(usize, u16, bool),
    /// From, at, to, at, length.
    CopyRange(usize, u16, usize, u16, u16),
    Release(usize),
    /// Begins to list a directory.
    List(Path),
    /// Goes on with a listing; `true`: opened again, at the same offset.
    ListOn(usize, u8, bool),
    /// By its number alone.
    FindAgain(Path),
    /// The number of something that may be gone.
    FindAny(u16),
    /// Reserved names cannot be made.
    Reserved(Path),
    TooLong(Path),
    Verify,
    Remount,
    /// The storage becomes a layer under an empty one.
    Freeze,
}

fn path() -> impl Strategy<Value = Path> {
    let index = prop_oneof![8 => 0usize..6, 1 => 0usize..NAMES.len()];
    prop::collection::vec(index, 1..4).prop_map(Path)
}

fn mode() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0o644, 0o600, 0o755, 0o700, 0o1777, 0o444, 0o640])
}

fn rename_mode() -> impl Strategy<Value = RenameMode> {
    use RenameMode::{Exchange, NoReplace, Replace};
    prop_oneof![4 => Just(Replace), 1 => Just(NoReplace), 2 => Just(Exchange)]
}

fn owner() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(0u32..4)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..20)
}

pub fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![60 => on_names(), 20 => on_content(), 25 => on_handles(), 12 => on_listings()]
}

fn on_names() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (path(), mode()).prop_map(|(p, m)| Op::Create(p, m)),
        5 => (path(), mode()).prop_map(|(p, m)| Op::Mkdir(p, m)),
        2 => (path(), any::<u8>()).prop_map(|(p, n)| Op::Symlink(p, n)),
        1 => (path(), mode(), 0u8..3).prop_map(|(p, m, k)| Op::Special(p, m, k)),
        6 => path().prop_map(Op::Unlink),
        4 => path().prop_map(Op::Rmdir),
        2 => path().prop_map(Op::RemoveAll),
        12 => (path(), path(), rename_mode()).prop_map(|(a, b, m)| Op::Rename(a, b, m)),
        5 => (path(), path()).prop_map(|(a, b)| Op::Link(a, b)),
        1 => path().prop_map(Op::Reserved),
        1 => path().prop_map(Op::TooLong),
        1 => Just(Op::Verify),
        1 => Just(Op::Remount),
        1 => Just(Op::Freeze),
    ]
}

fn on_content() -> impl Strategy<Value = Op> {
    let small = any::<u8>();
    prop_oneof![
        3 => path().prop_map(Op::Touch),
        4 => (path(), 0u16..9000, small, 0u16..6000).prop_map(|(p, o, b, l)| Op::Write(p, o, b, l)),
        2 => (path(), small, 0u16..3000).prop_map(|(p, b, l)| Op::Append(p, b, l)),
        2 => (path(), 0u16..9000).prop_map(|(p, s)| Op::Truncate(p, s)),
        1 => path().prop_map(Op::OpenTruncate),
        2 => (path(), mode()).prop_map(|(p, m)| Op::Chmod(p, m)),
        2 => (path(), owner(), owner()).prop_map(|(p, u, g)| Op::Chown(p, u, g)),
        2 => (path(), any::<i32>()).prop_map(|(p, t)| Op::SetMtime(p, t)),
        3 => (path(), 0u8..4, value(), 0u32..3).prop_map(|(p, n, v, f)| Op::SetXattr(p, n, v, f)),
        2 => (path(), 0u8..4).prop_map(|(p, n)| Op::RemoveXattr(p, n)),
    ]
}

fn on_handles() -> impl Strategy<Value = Op> {
    let index = || 0usize..6;
    let range = || 0u16..9000;
    prop_oneof![
        5 => (path(), any::<bool>()).prop_map(|(p, w)| Op::Hold(p, w)),
        4 => (index(), any::<u8>()).prop_map(|(h, b)| Op::UseHeld(h, b)),
        2 => (path(), mode(), prop::option::of(path())).prop_map(|(p, m, l)| Op::Tmpfile(p, m, l)),
        2 => (index(), path()).prop_map(|(h, p)| Op::LinkHeld(h, p)),
        1 => (index(), range()).prop_map(|(h, s)| Op::ResizeHeld(h, s)),
        1 => (index(), mode()).prop_map(|(h, m)| Op::ChmodHeld(h, m)),
        3 => (index(), 0usize..FALLOCATE.len(), range(), 1u16..9000)
            .prop_map(|(h, m, o, l)| Op::Fallocate(h, m, o, l)),
        2 => (index(), range(), any::<bool>()).prop_map(|(h, o, d)| Op::Seek(h, o, d)),
        2 => (index(), range(), index(), range(), range())
            .prop_map(|(a, x, b, y, l)| Op::CopyRange(a, x, b, y, l)),
        3 => index().prop_map(Op::Release),
    ]
}

fn on_listings() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => path().prop_map(Op::List),
        6 => (0usize..3, 1u8..4, any::<bool>()).prop_map(|(l, n, r)| Op::ListOn(l, n, r)),
        1 => path().prop_map(Op::FindAgain),
        1 => any::<u16>().prop_map(Op::FindAny),
    ]
}

/// Modes of `fallocate(2)` that are tried.
pub const FALLOCATE: &[i32] = &[
    0,
    libc::FALLOC_FL_KEEP_SIZE,
    libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
    libc::FALLOC_FL_ZERO_RANGE,
    libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE,
];
