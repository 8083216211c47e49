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
    Fifo(Path, u32),
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
    Chown(Path, u32),
    SetMtime(Path, i32),
    SetXattr(Path, u8, Vec<u8>),
    RemoveXattr(Path, u8),
    /// Opens and keeps a handle; `true`: for writing.
    Hold(Path, bool),
    /// Reads, or writes, through a held handle.
    UseHeld(usize, u8),
    Release(usize),
    /// Reserved names cannot be made.
    Reserved(Path),
    TooLong(Path),
    Verify,
    Remount,
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

pub fn any_op() -> impl Strategy<Value = Op> {
    let small = any::<u8>();
    prop_oneof![
        6 => (path(), mode()).prop_map(|(p, m)| Op::Create(p, m)),
        5 => (path(), mode()).prop_map(|(p, m)| Op::Mkdir(p, m)),
        2 => (path(), small).prop_map(|(p, n)| Op::Symlink(p, n)),
        1 => (path(), mode()).prop_map(|(p, m)| Op::Fifo(p, m)),
        6 => path().prop_map(Op::Unlink),
        4 => path().prop_map(Op::Rmdir),
        2 => path().prop_map(Op::RemoveAll),
        12 => (path(), path(), rename_mode()).prop_map(|(a, b, m)| Op::Rename(a, b, m)),
        4 => (path(), path()).prop_map(|(a, b)| Op::Link(a, b)),
        3 => path().prop_map(Op::Touch),
        4 => (path(), 0u16..9000, small, 0u16..6000).prop_map(|(p, o, b, l)| Op::Write(p, o, b, l)),
        2 => (path(), small, 0u16..3000).prop_map(|(p, b, l)| Op::Append(p, b, l)),
        2 => (path(), 0u16..9000).prop_map(|(p, s)| Op::Truncate(p, s)),
        1 => path().prop_map(Op::OpenTruncate),
        2 => (path(), mode()).prop_map(|(p, m)| Op::Chmod(p, m)),
        1 => (path(), 0u32..4).prop_map(|(p, u)| Op::Chown(p, u)),
        2 => (path(), any::<i32>()).prop_map(|(p, t)| Op::SetMtime(p, t)),
        2 => (path(), 0u8..3, prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(p, n, v)| Op::SetXattr(p, n, v)),
        1 => (path(), 0u8..3).prop_map(|(p, n)| Op::RemoveXattr(p, n)),
        3 => (path(), any::<bool>()).prop_map(|(p, w)| Op::Hold(p, w)),
        4 => (0usize..6, small).prop_map(|(h, b)| Op::UseHeld(h, b)),
        2 => (0usize..6).prop_map(Op::Release),
        1 => path().prop_map(Op::Reserved),
        1 => path().prop_map(Op::TooLong),
        1 => Just(Op::Verify),
        1 => Just(Op::Remount),
    ]
}
