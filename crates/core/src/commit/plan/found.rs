//! The changes of the tree, as far as a commit needs to know them.

use std::sync::Arc;

use hashbrown::HashSet;
use rustix::fs::Statx;
use rustix::io::Errno;

use super::lost::Lost;
use super::{CommitRefusal, CommitWish};
use crate::changes::{BaseState, Change, ChangeKind, ChangesOptions, FoundChange};
use crate::commit::path::in_walk;
use crate::format::commit::{Dress, Part, Path, Seen};
use crate::format::identity::BaseId;
use crate::format::time::Timestamp;
use crate::interface::types::Attr;
use crate::reach::overlay::Overlay;
use crate::store::aside::is_fixed;
use crate::store::partial::read_mark;
use crate::sys::{self, Result};
use crate::tree::node::{BaseRef, Node};
use crate::tree::path::path_below;

/// One change.
pub(super) struct Found {
    /// Where the upper view has it.
    pub path: Path,
    /// Where the lower view has what it is compared with, if that is another path.
    pub from: Option<Path>,
    pub kind: ChangeKind,
    /// As the upper view has it.
    pub upper: Option<Upper>,
    /// As the lower view has it.
    pub lower: Option<Lower>,
    /// Content and attributes are the same.
    pub same: bool,
    /// Attributes of a directory that differ.
    pub dress: Option<Box<(Dress, Dress)>>,
    /// Whether the lower view has what the change was made from.
    pub state: BaseState,
    /// What the lower view has was known to the change as it was at this time, or before;
    /// `None`: nothing tells of any.
    pub since: Option<Timestamp>,
    /// It was recorded what the change was made from.
    pub printed: bool,
    pub wish: CommitWish,
    /// What goes with it, if it was a directory.
    pub lost: Option<Lost>,
    /// A directory of which nothing but the time of modification differs.
    pub times_only: bool,
    /// A part of it can go.
    pub in_parts: bool,
    /// That goes, and the rest stays.
    pub part: Option<Part>,
}

/// An object of the upper view.
pub(super) struct Upper {
    /// Its type, as in `st_mode`.
    pub kind: u32,
    pub size: u64,
    pub mtime: Timestamp,
    /// What the index calls it.
    pub indexed: Option<BaseId>,
    /// It is no directory, has several names, and lies in the base: where.
    pub in_base: Option<Path>,
    /// The path in the base of the file that has a part of its data.
    pub data_at: Option<Path>,
}

/// An object of the lower view.
pub(super) struct Lower {
    pub seen: Seen,
    /// Which object it is, if that has several names.
    pub shared: Option<BaseId>,
    pub place: Placed,
    /// When it was changed last: of a directory, what is in it.
    pub changed: Timestamp,
    /// When it was made, where the file system tells that.
    pub made: Option<Timestamp>,
}

/// What may keep an object of the base from being changed.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    /// `chattr +i`, `+a`.
    pub fixed: bool,
    /// The file system that it is on.
    pub device: u64,
}

impl Placed {
    pub fn of(stat: &Statx) -> Placed {
        Placed { fixed: is_fixed(stat), device: sys::device(stat) }
    }
}

impl Found {
    /// Where the lower view has what it is compared with, if there is anything.
    pub fn below(&self) -> Option<&[u8]> {
        self.lower.as_ref().map(|_| self.from.as_deref().unwrap_or(&self.path))
    }

    /// The upper view has a directory there.
    pub fn is_dir(&self) -> bool {
        self.upper.as_ref().is_some_and(|upper| upper.kind == libc::S_IFDIR)
    }

    /// The lower view has one.
    pub fn was_dir(&self) -> bool {
        self.lower.as_ref().is_some_and(|lower| lower.seen.kind() == libc::S_IFDIR)
    }

    /// The whole tree that the lower view has there does not show any more.
    pub fn loses_tree(&self) -> bool {
        self.was_dir() && matches!(self.kind, ChangeKind::Deleted | ChangeKind::TypeChanged)
    }

    /// Bytes of content that it comes to.
    pub fn bytes(&self) -> u64 {
        if let (Some(part), Some(lower)) = (&self.part, &self.lower) {
            return part.size_of(lower.seen.size);
        }
        let file = |upper: &&Upper| upper.kind == libc::S_IFREG;
        let moved = self.kind == ChangeKind::Renamed && self.same;
        self.upper.as_ref().filter(file).filter(|_| !moved).map_or(0, |upper| upper.size)
    }
}

/// All changes in the order of a walk, and what could not be read.
#[derive(Default)]
pub(super) struct AllFound {
    pub list: Vec<Found>,
    pub unread: Vec<(Path, Errno)>,
    /// An entry was found that cannot be looked at.
    failed: Option<(Path, Errno)>,
}

impl AllFound {
    pub fn of(
        overlay: &Overlay,
        asked: &mut dyn FnMut(&Change<'_>) -> CommitWish,
    ) -> std::result::Result<AllFound, CommitRefusal> {
        let options =
            ChangesOptions { directory_times: true, all_links: true, ..ChangesOptions::default() };
        let mut all = AllFound::default();
        let told = overlay.changes(&options, &mut |found| {
            all.take(overlay, &found, asked);
            all.failed.is_none()
        });
        told.map_err(|errno| CommitRefusal::Base(Path::default(), errno))?;
        if let Some((path, errno)) = all.failed {
            return Err(CommitRefusal::Unread(path, errno));
        }
        all.list.sort_by(|a, b| in_walk(&a.path, &b.path));
        let renamed = all.list.iter().filter(|found| found.kind == ChangeKind::Renamed);
        let moved: HashSet<Path> = renamed.filter_map(|found| found.from.clone()).collect();
        for found in all.list.iter_mut().filter(|found| found.loses_tree()) {
            let Some(below) = found.below() else { continue };
            let lost = Lost::of(overlay, below, &moved);
            let failed = |errno| CommitRefusal::Unread(found.path.clone(), errno);
            found.lost = Some(lost.map_err(failed)?);
        }
        Ok(all)
    }

    /// Of these changes only parts go.
    pub fn take_parts(&mut self, parts: &[Part]) -> std::result::Result<(), CommitRefusal> {
        for part in parts {
            let found = self.list.binary_search_by(|found| in_walk(&found.path, &part.path));
            let found = found.ok().and_then(|at| self.list.get_mut(at));
            let Some(found) = found else {
                return Err(CommitRefusal::NotInParts(part.path.clone()));
            };
            (found.wish, found.part) = (CommitWish::Stays, Some(part.clone()));
        }
        Ok(())
    }

    fn take(
        &mut self,
        overlay: &Overlay,
        found: &FoundChange<'_>,
        asked: &mut dyn FnMut(&Change<'_>) -> CommitWish,
    ) {
        match found {
            FoundChange::Change(change) => match one(overlay, change, asked) {
                Ok(one) => self.list.push(one),
                Err(errno) => self.failed = Some((change.path.into(), errno)),
            },
            FoundChange::Unread(unread) => self.unread.push((unread.path.into(), unread.errno)),
        }
    }
}

fn one(
    overlay: &Overlay,
    change: &Change<'_>,
    asked: &mut dyn FnMut(&Change<'_>) -> CommitWish,
) -> Result<Found> {
    let upper = match (change.node_above(), change.after) {
        (Some(node), Some(attr)) => Some(Upper {
            kind: attr.mode & libc::S_IFMT,
            size: attr.size,
            mtime: attr.mtime,
            indexed: node.is_indexed().then(|| overlay.base_id(node)),
            in_base: if attr.nlink > 1 { path_in_base(node) } else { None },
            data_at: data_in_base(overlay, node)?,
        }),
        _ => None,
    };
    let lower = change.found_below().map(|stat| Lower {
        seen: Seen::of(stat),
        shared: change.shared_below(),
        place: Placed::of(stat),
        changed: changed(stat),
        made: Attr::from(stat).btime,
    });
    let is_dir = upper.as_ref().is_some_and(|upper| upper.kind == libc::S_IFDIR);
    let compared =
        !matches!(change.kind, ChangeKind::Added | ChangeKind::Deleted | ChangeKind::TypeChanged);
    let state = change.base_state()?;
    // What is in conflict is a change of which somebody must decide.
    let times_only = is_dir
        && change.kind == ChangeKind::Attributes
        && change.differs.are_times_only()
        && !matches!(state, BaseState::Changed(_));
    Ok(Found {
        path: change.path.into(),
        from: change.from.map(Into::into),
        kind: change.kind,
        same: compared && !change.content && change.differs.is_empty(),
        dress: if is_dir && compared { change.dress()?.map(Box::new) } else { None },
        state,
        since: since(change),
        printed: change.print().is_some(),
        wish: if times_only { CommitWish::MayGo } else { asked(change) },
        lost: None,
        times_only,
        in_parts: can_be_parted(change, upper.as_ref(), lower.as_ref()),
        part: None,
        upper,
        lower,
    })
}

/// Files of more bytes are committed as a whole: both sides are in memory for less.
const MOST_OF_PARTS: u64 = 64 << 20;

/// A file that is where it was, with one name, and with all that it shows in the storage.
fn can_be_parted(change: &Change<'_>, upper: Option<&Upper>, lower: Option<&Lower>) -> bool {
    let (Some(upper), Some(lower)) = (upper, lower) else { return false };
    let files = upper.kind == libc::S_IFREG && lower.seen.kind() == libc::S_IFREG;
    let names = change.after.is_some_and(|attr| attr.nlink == 1)
        && upper.indexed.is_none()
        && lower.shared.is_none();
    let stored = change.node_above().is_some_and(|node| node.in_storage());
    let kind = change.kind == ChangeKind::Modified && change.from.is_none();
    let small = upper.size.max(lower.seen.size) <= MOST_OF_PARTS;
    kind && files && names && stored && small && upper.data_at.is_none()
}

/// When an object was changed last. Attributes of a directory do not count, nor that an
/// object with several names got or lost one: an earlier commit may have done that.
pub(super) fn changed(stat: &Statx) -> Timestamp {
    match sys::kind(stat) {
        libc::S_IFDIR => stat.stx_mtime.into(),
        _ if stat.stx_nlink > 1 => stat.stx_mtime.into(),
        _ => stat.stx_ctime.into(),
    }
}

/// A time at which a change was begun at the latest: it was recorded, or the storage got
/// its own object.
fn since(change: &Change<'_>) -> Option<Timestamp> {
    if let Some(print) = change.print() {
        return print.since;
    }
    let stored = change.node_above().is_some_and(|node| node.in_storage());
    change.after.filter(|_| stored)?.btime
}

/// Where the base has data of a file of the storage, if it has any.
fn data_in_base(overlay: &Overlay, node: &Arc<Node>) -> Result<Option<Path>> {
    if !node.in_storage() || node.kind() != libc::S_IFREG {
        return Ok(None);
    }
    let mark = overlay.at(node, |object| read_mark(overlay.own, object.stored_at()?))?;
    Ok(mark.map(|mark| mark.path.into()))
}

/// Where a file lies in the base, if it does.
fn path_in_base(node: &Arc<Node>) -> Option<Path> {
    let plain = !node.is_dir() && !node.in_storage();
    let same = plain && matches!(node.place().base, BaseRef::SameName | BaseRef::Path(_));
    if same { path_below(node, true).map(Into::into) } else { None }
}
