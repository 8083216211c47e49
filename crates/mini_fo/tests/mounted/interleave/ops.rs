//! What can be done in one step, and how steps are drawn.

use proptest::prelude::*;
use proptest::sample::select;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Read,
    Write,
    Both,
    Append,
    BothAppend,
    WriteTruncate,
    BothTruncate,
    ReadTruncate,
    DirectRead,
    DirectBoth,
    ReadQuietly,
}

impl How {
    pub const ALL: [How; 11] = [
        How::Read,
        How::Both,
        How::Write,
        How::Append,
        How::BothAppend,
        How::WriteTruncate,
        How::BothTruncate,
        How::ReadTruncate,
        How::DirectRead,
        How::DirectBoth,
        How::ReadQuietly,
    ];

    pub fn reads(self) -> bool {
        !matches!(self, How::Write | How::Append | How::WriteTruncate)
    }

    pub fn writes(self) -> bool {
        !matches!(self, How::Read | How::ReadTruncate | How::DirectRead | How::ReadQuietly)
    }

    pub fn appends(self) -> bool {
        matches!(self, How::Append | How::BothAppend)
    }

    pub fn truncates(self) -> bool {
        matches!(self, How::WriteTruncate | How::BothTruncate | How::ReadTruncate)
    }

    pub fn direct(self) -> bool {
        matches!(self, How::DirectRead | How::DirectBoth)
    }

    /// For open(2).
    pub fn flags(self) -> i32 {
        let access = match (self.reads(), self.writes()) {
            (true, true) => libc::O_RDWR,
            (false, _) => libc::O_WRONLY,
            (true, false) => libc::O_RDONLY,
        };
        let mut flags = access | libc::O_CLOEXEC;
        for (is, flag) in [
            (self.appends(), libc::O_APPEND),
            (self.truncates(), libc::O_TRUNC),
            (self.direct(), libc::O_DIRECT),
            (self == How::ReadQuietly, libc::O_NOATIME),
        ] {
            flags |= if is { flag } else { 0 };
        }
        flags
    }
}

/// How memory is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    SharedRead,
    SharedWrite,
    Private,
}

/// What fallocate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alloc {
    Plain,
    KeepSize,
    Punch,
    Zero,
    ZeroKeepSize,
}

/// One step. Slots of descriptors and mappings, names and values are small
/// numbers; what makes no sense at its time is passed over, so that any
/// sequence may be cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Open { fd: u8, name: u8, how: How },
    Create { fd: u8, name: u8 },
    Reopen { fd: u8, from: u8, how: How },
    Close { fd: u8 },
    Write { fd: u8, at: u32, len: u32 },
    Fsync { fd: u8 },
    Uncache { fd: u8 },
    Map { map: u8, fd: u8, page: u16, kind: MapKind },
    MapWrite { map: u8, at: u16, len: u16 },
    Msync { map: u8 },
    Unmap { map: u8 },
    Ftruncate { fd: u8, size: u32 },
    Truncate { name: u8, size: u32 },
    Fallocate { fd: u8, what: Alloc, at: u32, len: u32 },
    CopyRange { from: u8, to: u8, at: u32, to_at: u32, len: u32 },
    Sendfile { from: u8, to: u8, at: u32, to_at: u32, len: u32 },
    Chmod { name: u8, mode: u8 },
    Fchmod { fd: u8, mode: u8 },
    Chown { name: u8, owner: u8 },
    Utimes { name: u8, time: u8 },
    SetXattr { name: u8, value: u8 },
    RemoveXattr { name: u8 },
    Rename { from: u8, to: u8 },
    Exchange { from: u8, to: u8 },
    Link { from: u8, to: u8 },
    Unlink { name: u8 },
    Look { name: u8 },
    Exec { name: u8 },
    DropCaches,
    Remount,
    Crash,
}

impl Op {
    /// It would change something, in a tree where that can be.
    pub fn changes(&self) -> bool {
        match self {
            Op::Open { how, .. } | Op::Reopen { how, .. } => how.writes() || how.truncates(),
            Op::Map { kind, .. } => *kind == MapKind::SharedWrite,
            Op::Close { .. }
            | Op::Fsync { .. }
            | Op::Uncache { .. }
            | Op::MapWrite { .. }
            | Op::Msync { .. }
            | Op::Unmap { .. }
            | Op::Look { .. }
            | Op::Exec { .. }
            | Op::DropCaches
            | Op::Remount
            | Op::Crash => false,
            _ => true,
        }
    }
}

/// Descriptors that a case may have open.
pub const FDS: u8 = 4;
/// Mappings that a case may have.
pub const MAPS: u8 = 3;
/// Modes that files get.
pub const MODES: [u32; 6] = [0o644, 0o755, 0o600, 0o6755, 0o4711, 0o400];

/// A place in a file: near where pages, blocks and the files end.
fn place() -> impl Strategy<Value = u32> {
    const MIB: u32 = 1 << 20;
    let edges = vec![
        0,
        1,
        100,
        4095,
        4096,
        4097,
        8191,
        8192,
        12_288,
        65_535,
        65_536,
        131_072,
        262_143,
        MIB,
        MIB + 1,
        2 * MIB - 10,
        3 * MIB - 1,
        3 * MIB,
        3 * MIB + 100,
        3 * MIB + 4096,
    ];
    prop_oneof![3 => select(edges), 1 => 0..3 * MIB + 9000]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => select(vec![1, 10, 511, 4096, 4097, 8192, 70_000]),
        1 => 1..20_000u32,
        1 => Just(1_100_000),
    ]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![2 => Just(How::Read), 2 => Just(How::Both), 5 => select(How::ALL.to_vec())]
}

fn map_kind() -> impl Strategy<Value = MapKind> {
    select(vec![MapKind::SharedRead, MapKind::SharedWrite, MapKind::Private])
}

fn data_op() -> impl Strategy<Value = Op> {
    let fd = || 0..FDS;
    let map = || 0..MAPS;
    let kinds = vec![Alloc::Plain, Alloc::KeepSize, Alloc::Punch, Alloc::Zero, Alloc::ZeroKeepSize];
    prop_oneof![
        8 => (fd(), place(), length()).prop_map(|(fd, at, len)| Op::Write { fd, at, len }),
        5 => (map(), fd(), any::<u16>(), map_kind())
            .prop_map(|(map, fd, page, kind)| Op::Map { map, fd, page, kind }),
        6 => (map(), any::<u16>(), 1..9000u16)
            .prop_map(|(map, at, len)| Op::MapWrite { map, at, len }),
        1 => map().prop_map(|map| Op::Msync { map }),
        3 => map().prop_map(|map| Op::Unmap { map }),
        3 => (fd(), place()).prop_map(|(fd, size)| Op::Ftruncate { fd, size }),
        2 => (fd(), select(kinds), place(), length())
            .prop_map(|(fd, what, at, len)| Op::Fallocate { fd, what, at, len }),
        2 => (fd(), fd(), place(), place(), length())
            .prop_map(|(from, to, at, to_at, len)| Op::CopyRange { from, to, at, to_at, len }),
        1 => (fd(), fd(), place(), place(), length())
            .prop_map(|(from, to, at, to_at, len)| Op::Sendfile { from, to, at, to_at, len }),
        1 => fd().prop_map(|fd| Op::Fsync { fd }),
        1 => fd().prop_map(|fd| Op::Uncache { fd }),
        1 => (fd(), 0..6u8).prop_map(|(fd, mode)| Op::Fchmod { fd, mode }),
    ]
}

fn name_op(names: u8) -> impl Strategy<Value = Op> {
    let name = move || 0..names;
    prop_oneof![
        3 => (name(), place()).prop_map(|(name, size)| Op::Truncate { name, size }),
        2 => (name(), 0..6u8).prop_map(|(name, mode)| Op::Chmod { name, mode }),
        2 => (name(), 0..3u8).prop_map(|(name, owner)| Op::Chown { name, owner }),
        2 => (name(), 0..3u8).prop_map(|(name, time)| Op::Utimes { name, time }),
        2 => (name(), 0..3u8).prop_map(|(name, value)| Op::SetXattr { name, value }),
        1 => name().prop_map(|name| Op::RemoveXattr { name }),
        4 => (name(), name()).prop_map(|(from, to)| Op::Rename { from, to }),
        1 => (name(), name()).prop_map(|(from, to)| Op::Exchange { from, to }),
        2 => (name(), name()).prop_map(|(from, to)| Op::Link { from, to }),
        2 => name().prop_map(|name| Op::Unlink { name }),
        4 => name().prop_map(|name| Op::Look { name }),
        1 => name().prop_map(|name| Op::Exec { name }),
    ]
}

fn open_op(names: u8) -> impl Strategy<Value = Op> {
    let fd = || 0..FDS;
    prop_oneof![
        8 => (fd(), 0..names, how()).prop_map(|(fd, name, how)| Op::Open { fd, name, how }),
        1 => (fd(), 0..names).prop_map(|(fd, name)| Op::Create { fd, name }),
        3 => (fd(), fd(), how()).prop_map(|(fd, from, how)| Op::Reopen { fd, from, how }),
        5 => fd().prop_map(|fd| Op::Close { fd }),
    ]
}

/// Any step; `names` is how many names there are. Few of them are drawn in a
/// case: much is to happen to one file.
fn any_op(names: u8, few: Vec<u8>) -> impl Strategy<Value = Op> {
    let few_names = few.len() as u8;
    prop_oneof![
        10 => open_op(few_names),
        12 => data_op(),
        6 => name_op(few_names),
        1 => name_op(names).prop_map(|op| (op, true)).prop_map(|(op, _)| op),
        1 => prop_oneof![6 => Just(Op::Look { name: 0 }), 2 => Just(Op::DropCaches), 1 => Just(Op::Remount)],
    ]
    .prop_map(move |op| named(op, &few))
}

/// Names of `op` as numbers among the few that the case is about.
fn named(op: Op, few: &[u8]) -> Op {
    let pick = |name: u8| few.get(name as usize).copied().unwrap_or(name);
    let mut op = op;
    match &mut op {
        Op::Open { name, .. }
        | Op::Create { name, .. }
        | Op::Truncate { name, .. }
        | Op::Chmod { name, .. }
        | Op::Chown { name, .. }
        | Op::Utimes { name, .. }
        | Op::SetXattr { name, .. }
        | Op::RemoveXattr { name }
        | Op::Unlink { name }
        | Op::Look { name }
        | Op::Exec { name } => *name = pick(*name),
        Op::Rename { from, to } | Op::Exchange { from, to } | Op::Link { from, to } => {
            (*from, *to) = (pick(*from), pick(*to));
        }
        _ => {}
    }
    op
}

/// A whole case.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Everything is compared after each step. Otherwise at the end only: the
    /// comparison fills caches, too.
    pub watched: bool,
    pub ops: Vec<Op>,
}

/// Cases of up to `steps` steps on `names` names, a few of them in each.
pub fn sequences(names: u8, steps: usize) -> impl Strategy<Value = Sequence> {
    let few = proptest::sample::subsequence((0..names).collect::<Vec<_>>(), 2..5);
    (any::<bool>(), few).prop_flat_map(move |(watched, few)| {
        prop::collection::vec(any_op(names, few), 1..steps)
            .prop_map(move |ops| Sequence { watched, ops })
    })
}
