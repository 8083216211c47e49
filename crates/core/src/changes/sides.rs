//! The two trees that are compared, and how each is read.

use std::sync::Arc;

use rustix::fs::Statx;
use rustix::io::Errno;

use crate::format::identity::BaseId;
use crate::format::name::is_dot;
use crate::format::numbers::STORAGE_BIT;
use crate::interface::types::Attr;
use crate::layers::{Beneath, InStack, LowerDir, Object};
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result};
use crate::tree::dir::Dir;
use crate::tree::node::{BaseRef, Node};

/// Both trees.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a> {
    pub overlay: &'a Overlay,
    /// The lower view is what the layers from this one on show.
    from: usize,
}

/// An object of the lower view.
pub(super) struct Lower {
    /// Its attributes, with the number that it shows.
    pub attr: Attr,
    /// The same as they were found.
    pub stat: Statx,
    /// Which object it is; not of the root.
    pub id: Option<BaseId>,
    at: Whereabouts,
}

enum Whereabouts {
    Root,
    Entry(Arc<LowerDir>, Box<[u8]>, InStack),
}

/// What is known of a name before it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hint {
    /// The upper view has a directory there.
    Directory,
    /// It has something else there.
    Other,
    Unknown,
}

/// Names that are to be looked at.
pub(super) type Names = Vec<(Box<[u8]>, Hint)>;

/// Where an object of the upper view is from, if it does not show under its own name below.
pub(super) enum Origin {
    /// It is the object of the lower view that shows this number.
    Number(u64),
    /// It is the one at this path.
    Path(Box<[u8]>),
}

impl Lower {
    pub fn kind(&self) -> u32 {
        self.attr.mode & libc::S_IFMT
    }

    pub fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    fn new(stat: Statx, (number, id): (u64, Option<BaseId>), at: Whereabouts) -> Lower {
        let attr = Attr { ino: number, ..Attr::from(&stat) };
        Lower { attr, stat, id, at }
    }
}

impl<'a> Sides<'a> {
    /// Without a storage the uppermost layer is what is compared with those below it.
    pub fn of(overlay: &'a Overlay) -> Sides<'a> {
        Sides { overlay, from: usize::from(overlay.bare) }
    }

    /// The root of the lower view. `None`: there is nothing below.
    pub fn lower_root(&self) -> Result<Option<(Lower, Arc<LowerDir>)>> {
        let stack = &self.overlay.stack;
        let Some(dir) = stack.root_below(self.from)? else { return Ok(None) };
        let (stat, number) = (stack.root_stat_below(self.from)?, stack.root_number()?);
        Ok(Some((Lower::new(stat, (number, None), Whereabouts::Root), dir)))
    }

    /// What the lower view has under a name.
    pub fn look(&self, dir: &Arc<LowerDir>, name: &[u8]) -> Result<Option<Lower>> {
        let Some(below) = self.overlay.stack.look(dir, name)? else { return Ok(None) };
        let at = Whereabouts::Entry(Arc::clone(dir), name.into(), below.place);
        Ok(Some(Lower::new(below.stat, (below.number, Some(below.id)), at)))
    }

    /// What the lower view has at a path.
    pub fn look_path(&self, path: &[u8]) -> Result<Option<Lower>> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..)),
            None => (&b""[..], Some(path)),
        };
        match (self.open_path(parent)?, name) {
            (Some(dir), Some(name)) => self.look(&dir, name),
            _ => Ok(None),
        }
    }

    /// A directory in one of the lower view. `None`: it has nothing to show (any more).
    pub fn open_below(&self, dir: &LowerDir, name: &[u8]) -> Result<Option<Arc<LowerDir>>> {
        match self.overlay.stack.open_below(dir, name) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            other => other,
        }
    }

    /// A directory of the lower view by its path.
    pub fn open_path(&self, path: &[u8]) -> Result<Option<Arc<LowerDir>>> {
        self.overlay.stack.open_path(self.from, path)
    }

    /// Runs `f` with an object of the lower view.
    pub fn at<T>(&self, lower: &Lower, f: impl FnOnce(Object<'_>) -> Result<T>) -> Result<T> {
        let stack = &self.overlay.stack;
        match &lower.at {
            Whereabouts::Root => f(stack.root_object_below(self.from)?),
            Whereabouts::Entry(dir, name, place) => stack.at(dir, *place, name, f),
        }
    }

    /// The names of a directory of which the storage, or the uppermost layer, speaks.
    pub fn changed_names(&self, dir: &Dir, names: &mut Names) -> Result<()> {
        let hint = |kind: u32| match kind {
            libc::S_IFDIR => Hint::Directory,
            // A layer's whiteouts are files, too.
            0 => Hint::Unknown,
            _ if self.overlay.bare => Hint::Unknown,
            _ => Hint::Other,
        };
        if self.overlay.bare {
            let Some(base) = dir.base() else { return Ok(()) };
            let mut take = |name: &[u8], kind| names.push((name.into(), hint(kind)));
            return self.overlay.stack.said_by_top(base, &mut take);
        }
        if let Some(storage) = dir.storage() {
            sys::each_entry(storage, |entry| {
                if !is_dot(entry.name) && !self.overlay.meta.reserves(entry.name) {
                    names.push((entry.name.into(), hint(entry.kind)));
                }
                true
            })?;
        }
        let meta = dir.meta();
        let told = meta.hidden().chain(meta.redirects().map(|(name, _)| name));
        names.extend(told.map(|name| (name.into(), Hint::Unknown)));
        Ok(())
    }

    /// All names of a directory of the upper view, and perhaps more.
    pub fn all_names(&self, dir: &Dir, names: &mut Names) -> Result<()> {
        if !self.overlay.bare {
            self.changed_names(dir, names)?;
        }
        match dir.base() {
            Some(base) => self.lower_names(base, names),
            None => Ok(()),
        }
    }

    /// All names of a directory of the layers.
    pub fn lower_names(&self, dir: &LowerDir, names: &mut Names) -> Result<()> {
        self.overlay.stack.list(dir, &mut |entry| {
            names.push((entry.name.into(), Hint::Unknown));
            true
        })
    }

    /// The path in the lower view of what a directory shows of it, if anything. `parent`:
    /// the same of the directory that it is in.
    pub fn merged(
        &self,
        (dir, parent): (&Dir, Option<&[u8]>),
        node: &Arc<Node>,
        name: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let in_parent = |name: &[u8]| parent.map(|parent| join(parent, name));
        if !self.overlay.bare {
            return Ok(match &node.place().base {
                BaseRef::None => None,
                BaseRef::SameName => in_parent(name),
                BaseRef::Path(path) => Some(path.to_vec()),
            });
        }
        let Some(base) = dir.base() else { return Ok(None) };
        Ok(match self.overlay.stack.beneath_top(base, name)? {
            Beneath::Nothing => None,
            Beneath::SameName => in_parent(name),
            Beneath::Name(other) => in_parent(&other),
            Beneath::Path(path) => Some(path.into_vec()),
        })
    }

    /// Where something that is no directory is from, as far as that is told.
    pub fn origin(
        &self,
        (dir, parent): (&Dir, Option<&[u8]>),
        node: &Node,
        name: &[u8],
    ) -> Result<Option<Origin>> {
        if !self.overlay.bare {
            return Ok((node.ino() & STORAGE_BIT == 0).then_some(Origin::Number(node.ino())));
        }
        let Some(base) = dir.base() else { return Ok(None) };
        Ok(match self.overlay.stack.beneath_top(base, name)? {
            Beneath::Nothing | Beneath::SameName => None,
            Beneath::Name(other) => parent.map(|parent| Origin::Path(join(parent, &other).into())),
            Beneath::Path(path) => Some(Origin::Path(path)),
        })
    }

    /// Something that is no directory may be from elsewhere.
    pub fn may_have_moved(&self, dir: &Dir, name: &[u8]) -> bool {
        self.overlay.bare || dir.meta().has_identity(name)
    }
}

/// A path with one name more.
pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// A path is another one, or below it.
pub(super) fn is_within(path: &[u8], other: &[u8]) -> bool {
    let rest = path.strip_prefix(other);
    other.is_empty() || rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Each name once, in the order of their bytes.
pub(super) fn in_order(mut names: Names) -> Names {
    names.sort_unstable();
    names.dedup_by(|next, kept| next.0 == kept.0);
    names
}
