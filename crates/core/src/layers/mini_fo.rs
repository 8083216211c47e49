//! The dialect of mini_fo itself: a storage that nobody writes any more (*frozen*) shows
//! exactly what it showed as the storage of a mount (docs/FORMAT.md).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::Statx;
use rustix::io::Errno;

use super::entry::There;
use super::met::Met;
use super::{Below, InStack, Part, Stack};
use crate::format::identity::BaseId;
use crate::format::mark::Mark;
use crate::format::meta::{Index, Kept, RealmRecord};
use crate::format::name::MetaName;
use crate::format::numbers::storage_ino;
use crate::store::durability::{Durability, Terms};
use crate::store::meta::{self, Firm, Session};
use crate::store::meta_dir::{MetaDir, decide};
use crate::store::partial::{Verdict, is_bare, read_mark};
use crate::store::realms::Realms;
use crate::store::server_lock::ServerLock;
use crate::store::shared_index::{Indexed, SharedIndex, is_shared};
use crate::sys::own::OwnAttributes;
use crate::sys::trust::Unusable;
use crate::sys::{self, Result, Spot, Within, Written};

/// What is known of a frozen storage as a whole.
pub(crate) struct Frozen {
    /// As the user named it, for messages.
    path: PathBuf,
    pub(super) shared: SharedIndex,
    /// The file systems below it, as it counts them.
    pub(super) realms: Realms,
    /// How its own attributes are named.
    pub(super) own: OwnAttributes,
    /// How names are written in it.
    pub(super) written: Written,
    /// The mount that did not end in order, if one did not.
    session: Session,
    /// It may have partial files.
    partial: bool,
    /// Holds the locks on it: nobody may write it.
    _lock: (OwnedFd, ServerLock),
}

impl Frozen {
    /// `path`: as the user named it; `meta`: what its META is called; `_lock`: holds the
    /// locks on the storage; `root`: of it; `realms`: of what is below it. EIO: META of it
    /// does not count.
    pub fn open(
        (path, meta): (&Path, MetaName),
        (_lock, root): ((OwnedFd, ServerLock), &OwnedFd),
        (named, partial): (bool, bool),
        (own, written): (OwnAttributes, Written),
        realms: Realms,
    ) -> Result<Frozen> {
        let session = meta::session(root.as_fd(), meta);
        let durability =
            Arc::new(Durability::new(Terms { firm: Firm::No, session, goes_on: false }));
        let shared = SharedIndex::open(path, root.as_fd(), named, &durability)?;
        let path = path.to_path_buf();
        Ok(Frozen { path, shared, realms, own, written, session, partial, _lock })
    }

    /// A mount of it did not end in order, and nobody has mounted it since.
    pub fn is_unended(&self) -> bool {
        self.session.is_open()
    }

    /// What its META is called.
    pub fn meta_name(&self) -> MetaName {
        self.session.meta
    }

    /// The file systems below it, as its index knows them.
    pub fn recorded(&self) -> Vec<RealmRecord> {
        self.shared.recorded_realms()
    }

    /// What META says of one of its directories.
    pub(super) fn load(&self, dir: BorrowedFd<'_>) -> Result<Index> {
        let mut loaded = meta::look(dir, self.session).map_err(|unusable| match unusable {
            Unusable::Failed(errno) => errno,
            Unusable::Foreign(foreign) => {
                let layer = self.path.display();
                tracing::error!("layer {layer}: META of a directory does not count: {foreign}");
                Errno::IO
            }
        })?;
        decide(Within::new(dir, self.written), &mut loaded.index)?;
        Ok(loaded.index)
    }

    /// Lets the root show what META says of it.
    pub(super) fn show_root(&self, root: BorrowedFd<'_>, stat: &mut Statx) -> Result<()> {
        let meta = self.load(root)?;
        show_ctime(stat, &meta, b".");
        Ok(())
    }

    /// Mode and owners that META tells of the root.
    pub(super) fn root_owner(&self, root: BorrowedFd<'_>) -> Result<Option<(u32, u32, u32)>> {
        Ok(self.load(root)?.owner(b"."))
    }

    /// The descriptor of its index.
    pub(super) fn index(&self) -> Option<Arc<MetaDir>> {
        self.shared.dir().ok()
    }

    /// What the storage could not hold of an object of its index.
    pub(super) fn kept_of_index(&self, id: BaseId) -> Option<Kept> {
        let dir = self.index()?;
        let meta = dir.meta();
        meta.kept(id.index_name().as_bytes()).cloned()
    }

    /// The mark of a file of which data is missing. EIO: it cannot be read.
    pub(super) fn mark(&self, spot: Spot<'_>) -> Result<Option<Mark>> {
        if !self.partial {
            return Ok(None);
        }
        read_mark(self.own, spot).inspect_err(|errno| {
            tracing::error!("layer {}: a mark cannot be read: {errno}", self.path.display());
        })
    }
}

/// Shows what META keeps of an object.
fn show_kept(stat: &mut Statx, kept: &Kept) {
    stat.stx_mode = kept.mode(stat.stx_mode.into()) as u16;
    if let Some((_, device)) = kept.device {
        (stat.stx_rdev_major, stat.stx_rdev_minor) =
            (rustix::fs::major(device), rustix::fs::minor(device));
    }
    if let Some((_, uid, gid)) = kept.owner {
        (stat.stx_uid, stat.stx_gid) = (uid, gid);
    }
}

fn show_ctime(stat: &mut Statx, meta: &Index, name: &[u8]) {
    if let Some(shown) = meta.ctime(name, stat.stx_ctime.into()) {
        (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec) = (shown.sec, shown.nsec);
    }
}

impl Stack {
    /// An object that a frozen storage has under a name. `below`: what is below of the
    /// same name, or at its redirect.
    pub(super) fn join_frozen(
        &self,
        met: &Met,
        (frozen, part, name): (&Frozen, &Part, &[u8]),
        there: There,
        below: Option<Below>,
    ) -> Result<Below> {
        let There { mut stat, told } = there;
        let mut number = storage_ino(&stat);
        let mut id = self.own_id(part, &stat, name)?;
        let mut indexed = None;
        let below = below
            .filter(|below| sys::kind(&below.stat) == sys::kind(&stat) || is_shared(&below.stat));
        if sys::kind(&stat) == libc::S_IFDIR {
            let merges = below.is_some();
            if let Some(below) = below {
                (id, number) = (below.id, below.number);
            }
            self.show_frozen_dir(frozen, (part, name), merges, &mut stat)?;
        } else {
            if let Some(below) = below.filter(|_| told.is_none()) {
                if is_shared(&below.stat) {
                    let (known, shown) = self.known_in(frozen, &below)?;
                    if matches!(frozen.shared.indexed(&below.stat, known)?,
                        Indexed::As(index) if index.stx_ino == stat.stx_ino)
                    {
                        (indexed, number) = (Some(known), shown);
                    }
                } else {
                    number = below.number;
                }
            }
            if let Some(told) = told.filter(|_| stat.stx_nlink > 1) {
                indexed = frozen.shared.indexed_by_number(told, &stat)?;
            }
            if stat.stx_nlink > 1
                && indexed.is_none()
                && let Some((known, shown)) = frozen.shared.indexed_object(&stat)?
            {
                (indexed, number) = (Some(known), shown);
            }
            self.show_frozen(met, (frozen, part, name), indexed, &mut stat)?;
        }
        let number = told.unwrap_or(number);
        let place = match indexed {
            Some(_) => InStack::by_detour(part.layer),
            None => InStack::at(part.layer),
        };
        Ok(Below { stat, id, number, place })
    }

    /// What a frozen storage calls an object below it that has several names, and the
    /// number that it shows.
    fn known_in(&self, frozen: &Frozen, below: &Below) -> Result<(BaseId, u64)> {
        let root = self.layer(below.place.layer())?.root.as_fd();
        let id = frozen.realms.id(&below.stat, Spot::Fd(root))?;
        Ok(frozen.shared.known_as(&frozen.realms, &below.stat, (id, below.number)))
    }

    /// A name of which a frozen storage has no entry: it may have copied up the object,
    /// which has other names.
    pub(super) fn through_index(
        &self,
        met: &Met,
        (frozen, layer): (&Frozen, u16),
        below: Option<Below>,
    ) -> Result<Option<Below>> {
        let Some(mut below) = below else { return Ok(None) };
        if !is_shared(&below.stat) {
            return Ok(Some(below));
        }
        let (known, number) = self.known_in(frozen, &below)?;
        match frozen.shared.indexed(&below.stat, known)? {
            Indexed::As(stat) => {
                let mut stat = *stat;
                let id = self.id_in(layer, &stat)?;
                self.show_indexed(met, (frozen, layer), known, &mut stat)?;
                Ok(Some(Below { stat, id, number, place: InStack::by_detour(layer) }))
            }
            // Some of its names may be hidden.
            Indexed::No => {
                if let Some(record) = frozen.shared.record(known) {
                    below.stat.stx_nlink = record.left;
                    let ctime = record.ctime;
                    (below.stat.stx_ctime.tv_sec, below.stat.stx_ctime.tv_nsec) =
                        (ctime.sec, ctime.nsec);
                    // The count is what it is looked again for.
                    below.place = InStack::by_detour(below.place.layer());
                }
                Ok(Some(below))
            }
            Indexed::Another => {
                frozen.shared.warn_of_another(known);
                Ok(Some(below))
            }
        }
    }

    /// Lets an object that is no directory show what META says of it. `indexed`: what
    /// the index calls it.
    pub(super) fn show_frozen(
        &self,
        met: &Met,
        (frozen, part, name): (&Frozen, &Part, &[u8]),
        indexed: Option<BaseId>,
        stat: &mut Statx,
    ) -> Result<()> {
        if let Some(id) = indexed {
            return self.show_indexed(met, (frozen, part.layer), id, stat);
        }
        if let Some(meta) = part.meta() {
            show_ctime(stat, meta, name);
            if let Some(kept) = meta.kept(name) {
                show_kept(stat, kept);
            }
        }
        self.show_missing(met, (frozen, part.layer), part.spot(name), stat)
    }

    /// The same of an object of the index.
    fn show_indexed(
        &self,
        met: &Met,
        (frozen, layer): (&Frozen, u16),
        id: BaseId,
        stat: &mut Statx,
    ) -> Result<()> {
        let Some(dir) = frozen.index() else { return Ok(()) };
        let name = id.index_name();
        let left = frozen.shared.record(id).map_or(0, |record| record.left);
        stat.stx_nlink = stat.stx_nlink.saturating_sub(1).saturating_add(left);
        {
            let meta = dir.meta();
            show_ctime(stat, &meta, name.as_bytes());
            if let Some(kept) = meta.kept(name.as_bytes()) {
                show_kept(stat, kept);
            }
        }
        self.show_missing(met, (frozen, layer), Spot::At(dir.writable()?, name.as_bytes()), stat)
    }

    fn show_frozen_dir(
        &self,
        frozen: &Frozen,
        (part, name): (&Part, &[u8]),
        merges: bool,
        stat: &mut Statx,
    ) -> Result<()> {
        if let Some(kept) = part.meta().and_then(|meta| meta.kept(name)) {
            show_kept(stat, kept);
        }
        if merges {
            // Entries of several layers: 1 says that nothing is to be concluded.
            stat.stx_nlink = 1;
        }
        if let Some(own) = sys::absent(sys::open_dir(part.within(), name))? {
            show_ctime(stat, &frozen.load(own.as_fd())?, b".");
        }
        Ok(())
    }

    /// Lets a file of which data is missing show the space, and the size and time, of
    /// what the layers below have of it.
    fn show_missing(
        &self,
        met: &Met,
        (frozen, layer): (&Frozen, u16),
        spot: Spot<'_>,
        stat: &mut Statx,
    ) -> Result<()> {
        let whole = stat.stx_blocks >= stat.stx_size.div_ceil(512);
        if whole || sys::kind(stat) != libc::S_IFREG {
            return Ok(());
        }
        let Some(mut mark) = frozen.mark(spot)? else { return Ok(()) };
        if let Ok(now) = self.marked_stat_with(met, usize::from(layer) + 1, &mark)
            && (mark.unfinished.is_some() || self.evidence.compare(&mark, &now) != Verdict::Same)
            && is_bare(
                frozen.index().as_ref().and_then(|dir| dir.storage()).map(Within::fd),
                &mark,
                stat,
            )
        {
            let new = self.renewed(&mark, &now);
            let shown = mark.shown(&new, stat.stx_mtime.into());
            (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec) = (shown.sec, shown.nsec);
            stat.stx_size = new.size;
            mark = new;
        }
        stat.stx_blocks = stat.stx_blocks.max(mark.blocks.min(stat.stx_size.div_ceil(512)));
        Ok(())
    }

    /// A mark, as of another file below.
    pub(crate) fn renewed(&self, mark: &Mark, now: &Statx) -> Mark {
        let (size, mtime) = (now.stx_size, now.stx_mtime.into());
        let file = self.evidence.file(now);
        Mark { size, mtime, file, blocks: now.stx_blocks, ..mark.clone() }
    }
}
