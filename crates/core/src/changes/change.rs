//! What is told of changes.

use std::cell::OnceCell;
use std::ops::AddAssign;
use std::sync::Arc;

use rustix::io::Errno;

use super::base_state::BaseState;
use super::content::Content;
use super::sides::{Lower, Sides};
use crate::format::print::Print;
use crate::interface::types::{Attr, NodeId};
use crate::sys::Result;
use crate::tree::node::Node;

/// What of the changes is told, and how.
#[derive(Clone, Debug, Default)]
pub struct ChangesOptions {
    /// Only what is at these paths of the upper view, or below them; empty: everything.
    pub within: Vec<Vec<u8>>,
    /// What was in a deleted directory is told, too: each entry after its directory.
    pub deleted_below: bool,
    /// What is in a renamed directory is told, too, as renamed.
    pub renamed_below: bool,
    /// Directories are told of which only the time of modification differs.
    pub directory_times: bool,
    /// Names of the base that show a changed object are told, even if the storage does not
    /// have them: that takes a walk through the base, where there is such an object.
    pub all_links: bool,
}

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    /// There is nothing of this name below.
    Added,
    /// The content differs: data, target of a link, number of a device.
    Modified,
    /// Only attributes differ.
    Attributes,
    /// It is not there any more. Of a directory all below it is not either.
    Deleted,
    /// It has another path below, and is not there any more. Content and attributes may
    /// differ as well.
    Renamed,
    /// There is something of another type below.
    TypeChanged,
}

impl ChangeKind {
    /// All of them.
    pub const ALL: [ChangeKind; 6] = [
        ChangeKind::Added,
        ChangeKind::Modified,
        ChangeKind::Attributes,
        ChangeKind::Deleted,
        ChangeKind::Renamed,
        ChangeKind::TypeChanged,
    ];
}

/// Which attributes differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Permission bits.
    pub mode: bool,
    /// Owner.
    pub owner: bool,
    /// Group.
    pub group: bool,
    /// Time of modification.
    pub mtime: bool,
    /// What `chattr +a`, `+d` and `+i` set.
    pub flags: bool,
    /// Names of extended attributes, access lists (`system.posix_acl_*`) among them.
    pub xattrs: Vec<Vec<u8>>,
}

impl Differences {
    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.mtime && self.are_times_only()
    }

    /// There are none but in the time of modification.
    #[must_use]
    pub fn are_times_only(&self) -> bool {
        !(self.mode || self.owner || self.group || self.flags) && self.xattrs.is_empty()
    }
}

/// One entry that differs.
pub struct Change<'a> {
    /// Where the upper view has it, or would have it.
    pub path: &'a [u8],
    /// What happened.
    pub kind: ChangeKind,
    /// Where the lower view has what it is compared with, if that is another path: it was
    /// renamed, or a directory above it was.
    pub from: Option<&'a [u8]>,
    /// The content differs.
    pub content: bool,
    /// The attributes that differ.
    pub differs: Differences,
    /// As the lower view has it.
    pub before: Option<Attr>,
    /// As the upper view has it.
    pub after: Option<Attr>,
    /// So many names of the base show it that are not told (see
    /// [`ChangesOptions::all_links`]).
    pub more_names: u32,
    pub(super) print: Option<Print>,
    pub(super) state: OnceCell<BaseState>,
    pub(super) sides: Sides<'a>,
    pub(super) upper: Option<&'a Arc<Node>>,
    pub(super) lower: Option<&'a Lower>,
}

impl Change<'_> {
    /// The node of the upper view, which stays known as long as the change is.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.upper.map(|node| node.id)
    }

    /// Whether what is below still is what the change was made from. Content is read only
    /// where its hash alone can tell. Attributes count, too; of a directory that still shows,
    /// entries do not. It is [`BaseState::Unknown`] of changes by earlier versions, of
    /// what is in a directory that was made anew, of layers, and where a crash has taken it.
    ///
    /// # Errors
    /// As `open(2)` and `read(2)`.
    pub fn base_state(&self) -> Result<BaseState> {
        if let Some(known) = self.state.get() {
            return Ok(*known);
        }
        let kind = |attr: Attr| attr.mode & libc::S_IFMT;
        let deleted = self.after.is_none_or(|attr| kind(attr) != libc::S_IFDIR);
        let state = self.sides.base_state(self.print.as_ref(), self.lower, deleted)?;
        Ok(*self.state.get_or_init(|| state))
    }

    /// The data of a file as the lower view has it.
    ///
    /// # Errors
    /// ENOENT: that has none; as `open(2)`.
    pub fn open_before(&self) -> Result<Content> {
        self.sides.open_lower(self.lower.ok_or(Errno::NOENT)?)
    }

    /// The data of a file as the upper view has it.
    ///
    /// # Errors
    /// ENOENT: that has none; EIO: the base does not have the data (any more); as `open(2)`.
    pub fn open_after(&self) -> Result<Content> {
        self.sides.open_upper(self.upper.ok_or(Errno::NOENT)?)
    }

    /// Where a symbolic link led.
    ///
    /// # Errors
    /// As `readlink(2)`.
    pub fn target_before(&self) -> Result<Vec<u8>> {
        let lower = self.lower.ok_or(Errno::NOENT)?;
        self.sides.at(lower, |object| object.read_link())
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// As `readlink(2)`.
    pub fn target_after(&self) -> Result<Vec<u8>> {
        self.sides.overlay.readlink(self.upper.ok_or(Errno::NOENT)?.id)
    }

    /// It is a directory, or was one if it is deleted.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        let attr = self.after.or(self.before);
        attr.is_some_and(|attr| attr.mode & libc::S_IFMT == libc::S_IFDIR)
    }
}

/// An entry of which it could not be found out whether it differs.
#[derive(Clone, Copy, Debug)]
pub struct UnreadChange<'a> {
    /// Where the upper view has it.
    pub path: &'a [u8],
    /// Why.
    pub errno: Errno,
}

/// What is found by the walk.
pub enum FoundChange<'a> {
    /// An entry that differs.
    Change(&'a Change<'a>),
    /// One that cannot be read; the walk goes on.
    Unread(UnreadChange<'a>),
}

/// How much has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeTotals {
    /// Entries of each kind, in the order of [`ChangeKind::ALL`].
    pub kinds: [u64; 6],
    /// Bytes that files have of which the content differs, or that were added.
    pub bytes: u64,
    /// Bytes that these had, and deleted files.
    pub bytes_before: u64,
    /// Entries that could not be read.
    pub unread: u64,
}

impl ChangeTotals {
    /// Entries of a kind.
    #[must_use]
    pub fn of(&self, kind: ChangeKind) -> u64 {
        let all = ChangeKind::ALL.iter().zip(self.kinds);
        all.filter(|(other, _)| **other == kind).map(|(_, count)| count).sum()
    }

    /// All entries that differ.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// Counts one more.
    pub fn add(&mut self, change: &Change<'_>) {
        for (kind, count) in ChangeKind::ALL.iter().zip(&mut self.kinds) {
            *count += u64::from(*kind == change.kind);
        }
        let file = |attr: &Attr| attr.mode & libc::S_IFMT == libc::S_IFREG;
        let size = |attr: Option<Attr>| attr.filter(file).map_or(0, |attr| attr.size);
        if change.content || change.after.is_none() || change.before.is_none() {
            self.bytes = self.bytes.saturating_add(size(change.after));
            self.bytes_before = self.bytes_before.saturating_add(size(change.before));
        }
    }
}

impl AddAssign for ChangeTotals {
    fn add_assign(&mut self, other: ChangeTotals) {
        self.kinds.iter_mut().zip(other.kinds).for_each(|(own, other)| *own += other);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.bytes_before = self.bytes_before.saturating_add(other.bytes_before);
        self.unread += other.unread;
    }
}
