//! Applies operations to overlay and model and compares.

#[path = "change.rs"]
mod change;
#[path = "commit.rs"]
mod commit;
#[path = "handles.rs"]
mod handles;
#[path = "listers.rs"]
mod listers;
#[path = "verify.rs"]
mod verify;

use std::cell::Cell;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mini_fo_core::{Caller, Entry, LayerOptions, MetaName, NodeId, OpenOptions, Overlay, Warning};
use rustix::io::Errno;

use super::naive::{Id, Naive, ROOT};
use super::ops::{NAMES, Op, Path};
use super::reader;
use super::tree::{make_base, snapshot};
use handles::Held;
use listers::Lister;

pub type Check = Result<(), String>;

/// Where an overlay lies that the driver mounts itself.
struct Own {
    /// The trees below the first storage, the uppermost first.
    base: Vec<LayerOptions>,
    storage: PathBuf,
    /// What META is called in it.
    meta: MetaName,
    /// Storages that are layers by now, the last one first.
    frozen: Vec<PathBuf>,
    base_before: Vec<String>,
}

pub struct Driver {
    own: Option<Own>,
    overlay: Option<Arc<Overlay>>,
    /// The model's root: a directory that nobody else changes.
    top: NodeId,
    model: Naive,
    held: Vec<Held>,
    listers: Vec<Lister>,
    caller: Caller,
    is_root: bool,
    /// The storage may be full: then an operation fails, and changes nothing.
    may_be_full: bool,
    /// Mounts come to an orderly end.
    orderly: bool,
    /// Changes are committed while it is mounted, where else the storage would be frozen.
    commits: bool,
    /// How often that happened.
    pub refused: usize,
}

impl Driver {
    /// On a base of its own in `work`, which may hold a `storage` already.
    pub fn new(work: &FsPath, seed: u64) -> Driver {
        let mut model = Naive::new();
        let base = work.join("base");
        make_base(&base, &mut model, seed);
        let base = LayerOptions { path: base, dialect: None };
        Driver::over(work, vec![base], seed, model)
    }

    /// On trees that are there already, the uppermost first.
    pub fn over(work: &FsPath, base: Vec<LayerOptions>, seed: u64, model: Naive) -> Driver {
        let storage = work.join("storage");
        let meta = meta_name(seed);
        if !storage.exists() {
            std::fs::create_dir(&storage).unwrap();
            if seed % 3 == 1 {
                // As on a file system that does not take every name.
                mount_on(&base, (&storage, meta), &[]).finish();
                let meta = storage.join(meta.as_str());
                let mut lines = std::fs::read(&meta).unwrap();
                lines.extend(b"f escaped\n");
                std::fs::write(&meta, lines).unwrap();
            }
        }
        let overlay = mount_on(&base, (&storage, meta), &[]);
        let base_before = base.iter().flat_map(|layer| snapshot(&layer.path)).collect();
        let mut driver = Driver::below(overlay, NodeId::ROOT, model);
        driver.orderly = seed.is_multiple_of(2);
        driver.own = Some(Own { base, storage, meta, frozen: Vec::new(), base_before });
        driver
    }

    /// On a directory of an overlay that others work on, too.
    pub fn below(overlay: Arc<Overlay>, top: NodeId, model: Naive) -> Driver {
        let caller = caller();
        Driver {
            own: None,
            overlay: Some(overlay),
            top,
            model,
            held: Vec::new(),
            listers: Vec::new(),
            caller,
            is_root: caller.uid == 0,
            may_be_full: false,
            orderly: true,
            commits: false,
            refused: 0,
        }
    }

    pub fn with_a_small_storage(mut self) -> Driver {
        self.may_be_full = true;
        self
    }

    pub fn with_commits(mut self) -> Driver {
        self.commits = true;
        self
    }

    fn overlay(&self) -> &Arc<Overlay> {
        self.overlay.as_ref().unwrap()
    }

    /// The overlay, with nothing open, for one who goes on without the model.
    pub fn hand_over(&mut self) -> Arc<Overlay> {
        while !self.held.is_empty() {
            self.release(0);
        }
        while !self.listers.is_empty() {
            self.end_list(0);
        }
        Arc::clone(self.overlay())
    }

    /// Mounts again, without a look at the model.
    pub fn mount_again(&mut self) -> Arc<Overlay> {
        self.overlay = None;
        let own = self.own.as_ref().unwrap();
        let overlay = mount_on(&own.base, (&own.storage, own.meta), &own.frozen);
        self.overlay = Some(Arc::clone(&overlay));
        overlay
    }

    /// What is below the storage, as a tree of its own; its storage is `empty`.
    pub fn below_it(&self, empty: &FsPath) -> Arc<Overlay> {
        let own = self.own.as_ref().unwrap();
        std::fs::create_dir_all(empty).unwrap();
        mount_on(&own.base, (empty, own.meta), &own.frozen)
    }

    /// The storage, and what its META is called.
    pub fn storage(&self) -> (&FsPath, MetaName) {
        let own = self.own.as_ref().unwrap();
        (&own.storage, own.meta)
    }

    /// Compares everything once more, also after a remount, and the base.
    pub fn finish(mut self) -> Check {
        self.apply(&Op::Remount)?;
        let Some(own) = &self.own else { return Ok(()) };
        let after: Vec<_> = own.base.iter().flat_map(|layer| snapshot(&layer.path)).collect();
        same_lines("the base", &own.base_before, &after)?;
        // The reader knows one storage.
        match &*own.base {
            // Nor what is written down of discards.
            [base] if own.frozen.is_empty() && !self.commits => {
                reader::MAY_LACK.set(self.may_be_full || !self.orderly);
                let read = reader::read(&base.path, &own.storage, own.meta.as_str());
                self.verify_format(&read)
            }
            _ => Ok(()),
        }
    }

    /// Compares the result of an operation with the model's, which takes its
    /// turn only if the storage had room.
    fn settle<T, U>(
        &mut self,
        what: &str,
        got: Result<T, Errno>,
        model: impl FnOnce(&mut Naive) -> Result<U, Errno>,
    ) -> Result<Option<(T, U)>, String> {
        if self.may_be_full && matches!(got, Err(Errno::NOSPC)) {
            self.refused += 1;
            return Ok(None);
        }
        match (model(&mut self.model), got) {
            (Ok(expected), Ok(got)) => Ok(Some((got, expected))),
            (Err(expected), Err(got)) if expected == got => Ok(None),
            (expected, got) => {
                let (expected, got) = (expected.map(drop), got.map(drop));
                Err(format!("{what}: {expected:?} expected, got {got:?}"))
            }
        }
    }

    /// The directory and name of a path, in the model and in the overlay. The
    /// caller forgets what is in `looked`.
    fn parent<'p>(&self, path: &'p Path) -> Result<Option<Place<'p>>, String> {
        let (last, above) = path.0.split_last().unwrap();
        let mut place = Place { id: ROOT, node: self.top, name: NAMES[*last], looked: vec![] };
        for index in above {
            let name = NAMES[*index];
            let expected = self.model.child(place.id, name);
            let found = self.overlay().lookup(place.node, name);
            let found = found.map_err(|errno| format!("lookup of {name:?}: {errno}"))?;
            if expected.is_some() != found.is_some() {
                return Err(format!("{name:?} exists: {expected:?} but {found:?}"));
            }
            let (Some(id), Some(entry)) = (expected, found) else {
                self.forget(&place);
                return Ok(None);
            };
            place.looked.push(entry.node);
            if !self.model.is_dir(id) {
                self.forget(&place);
                return Ok(None);
            }
            place.id = id;
            place.node = entry.node;
        }
        Ok(Some(place))
    }

    fn forget(&self, place: &Place<'_>) {
        place.looked.iter().for_each(|node| self.overlay().forget(*node, 1));
    }

    /// Runs `f` on the object of a path, if both sides have it.
    fn on(&mut self, path: &Path, f: impl FnOnce(&mut Self, Id, &Entry) -> Check) -> Check {
        let Some(place) = self.parent(path)? else { return Ok(()) };
        let found = self.overlay().lookup(place.node, place.name).map_err(|e| e.to_string())?;
        let expected = self.model.child(place.id, place.name);
        let done = match (expected, found) {
            (None, None) => Ok(()),
            (Some(id), Some(entry)) => {
                let done = f(self, id, &entry);
                self.overlay().forget(entry.node, 1);
                done
            }
            (expected, found) => Err(format!("exists: {expected:?} but {found:?}")),
        };
        self.forget(&place);
        done
    }

    fn in_parent(&mut self, path: &Path, f: impl FnOnce(&mut Self, &Place<'_>) -> Check) -> Check {
        let Some(place) = self.parent(path)? else { return Ok(()) };
        let done = f(self, &place);
        self.forget(&place);
        done
    }

    pub fn apply(&mut self, op: &Op) -> Check {
        self.model.begin();
        let before = self.refused;
        self.run(op)?;
        self.note_names();
        self.check_held().map_err(|what| format!("through a held handle: {what}"))?;
        if self.refused > before {
            self.verify().map_err(|what| format!("after ENOSPC: {what}"))?;
        }
        Ok(())
    }

    fn run(&mut self, op: &Op) -> Check {
        match op {
            Op::Create(..) | Op::Mkdir(..) | Op::Symlink(..) | Op::Special(..) => self.make(op),
            Op::Unlink(path) => self.in_parent(path, |this, at| this.unlink(at)),
            Op::Rmdir(path) => self.in_parent(path, |this, at| this.rmdir(at)),
            Op::RemoveAll(path) => self.in_parent(path, |this, at| this.remove_all(at)),
            Op::Rename(from, to, mode) => self.rename(from, to, *mode),
            Op::Link(from, to) => self.on(from, |this, id, entry| this.link(id, entry.node, to)),
            Op::Touch(_) | Op::Write(..) | Op::Append(..) | Op::OpenTruncate(_) => self.data(op),
            Op::Truncate(..) | Op::Chmod(..) | Op::Chown(..) | Op::SetMtime(..) => self.attr(op),
            Op::SetXattr(..) | Op::RemoveXattr(..) => self.xattr(op),
            Op::Hold(path, writes) => self.hold(path, *writes),
            Op::Tmpfile(path, mode, name) => self.tmpfile(path, *mode, name.as_ref()),
            Op::UseHeld(index, byte) => self.use_held(*index, *byte),
            Op::LinkHeld(index, path) => self.link_held(*index, path),
            Op::ResizeHeld(..) | Op::ChmodHeld(..) => self.attr_held(op),
            Op::Fallocate(index, mode, offset, len) => {
                self.fallocate(*index, *mode, usize::from(*offset), usize::from(*len))
            }
            Op::Seek(index, offset, data) => self.seek(*index, usize::from(*offset), *data),
            Op::CopyRange(from, at, to, to_at, len) => self.copy_range(
                (*from, usize::from(*at)),
                (*to, usize::from(*to_at)),
                usize::from(*len),
            ),
            Op::Release(index) => {
                self.release(*index);
                Ok(())
            }
            Op::List(path) => self.start_list(path),
            Op::ListOn(index, count, again) => self.list_on(*index, *count, *again),
            Op::Freeze if self.commits => self.commit(),
            // Numbers change by a commit, and handles of what was forgotten with them.
            Op::FindAgain(_) | Op::FindAny(_) if self.commits => Ok(()),
            Op::FindAgain(path) => self.find_again(path),
            Op::FindAny(which) => self.find_any(usize::from(*which)),
            Op::Reserved(path) => self.in_parent(path, |this, at| {
                let meta = this.own.as_ref().map_or(MetaName::DEFAULT, |own| own.meta);
                let name = format!("{meta}.x").into_bytes();
                let got = this.overlay().mkdir(&this.caller, at.node, &name, 0o755);
                let refused = |_: &mut Naive| Err::<(), _>(Errno::PERM);
                this.settle("mkdir of a reserved name", got, refused).map(drop)
            }),
            Op::TooLong(path) => self.in_parent(path, |this, at| {
                let got = this.overlay().lookup(at.node, &[b'x'; 256]).map(drop);
                same("lookup of a long name", &Err(Errno::NAMETOOLONG), &got)
            }),
            Op::Verify => self.verify(),
            Op::Remount => self.remount(false),
            Op::Freeze => self.remount(true),
        }
    }

    /// `freeze`: the storage becomes a layer, and an empty one comes on top.
    fn remount(&mut self, freeze: bool) -> Check {
        self.verify()?;
        while !self.held.is_empty() {
            self.release(0);
        }
        while !self.listers.is_empty() {
            self.end_list(0);
        }
        if self.own.is_none() {
            return Ok(());
        }
        same("known nodes", &1, &self.overlay().known_nodes())?;
        let freeze = freeze && !self.may_be_full;
        if let Some(overlay) = self.overlay.take().filter(|_| freeze || self.orderly) {
            if freeze {
                // A layer must not have deletions that the root tells of.
                overlay.keep_reserve(Some(0));
            }
            overlay.finish();
        }
        let Some(own) = &mut self.own else { return Ok(()) };
        if freeze && own.frozen.len() < MOST_FROZEN {
            // It is not moved: that would be a change of its root.
            let next = own.storage.with_extension(format!("{}", own.frozen.len()));
            own.frozen.insert(0, std::mem::replace(&mut own.storage, next));
            std::fs::create_dir(&own.storage).unwrap();
            // Storages of different names may lie on each other.
            own.meta = meta_name(own.frozen.len() as u64 + u64::from(own.meta.is_chosen()));
        }
        self.overlay = Some(mount_on(&own.base, (&own.storage, own.meta), &own.frozen));
        self.verify().map_err(|what| format!("after a remount: {what}"))
    }
}

/// Storages under the one that is written.
const MOST_FROZEN: usize = 5;

/// The usual name of META, or another one, which no object has.
fn meta_name(number: u64) -> MetaName {
    match number % 4 {
        1 => MetaName::new("META").unwrap(),
        3 => MetaName::new(".other name").unwrap(),
        _ => MetaName::DEFAULT,
    }
}

/// On one base.
pub fn mount(base: &FsPath, storage: &FsPath) -> Arc<Overlay> {
    let base = LayerOptions { path: base.to_owned(), dialect: None };
    mount_on(&[base], (storage, MetaName::DEFAULT), &[])
}

thread_local! {
    static MOUNTS: Cell<u32> = const { Cell::new(0) };
}

/// How the next mounts of this thread are made depends on this number.
pub fn count_mounts_from(number: u32) {
    MOUNTS.set(number);
}

/// `base`: from the top down; `meta_name`: of the storage; `frozen`: storages above the
/// base, the uppermost first.
fn mount_on(
    base: &[LayerOptions],
    (storage, meta_name): (&FsPath, MetaName),
    frozen: &[PathBuf],
) -> Arc<Overlay> {
    // A base that could change, and does not, shows the same.
    let count = MOUNTS.replace(MOUNTS.get() + 1);
    let live = count % 4 == 1 && frozen.is_empty() && base.len() == 1;
    let layer = |path: &FsPath| LayerOptions { path: path.to_owned(), dialect: None };
    let mut layers = frozen.iter().map(|path| layer(path)).chain(base.iter().cloned());
    let first = layers.next().unwrap_or_default();
    let options = OpenOptions {
        live_base: live.then_some(Duration::ZERO),
        base: first.path,
        dialect: first.dialect,
        under: layers.collect(),
        storage: storage.to_owned(),
        meta_name,
        volatile: true,
        // How much of a file is copied must not show.
        whole_copies: count % 4 == 2,
        // Nor what tells of a deletion.
        far_first: count % 5 < 2,
        blocks_from: (count % 4 == 3).then_some(0),
        ..OpenOptions::default()
    };
    let overlay = Overlay::assemble(&options).unwrap();
    let mut bad = overlay.warnings().iter();
    // These trees come to no clean end, and may be partial.
    let expected = |warning: &Warning| {
        matches!(warning, Warning::StorageFull { .. } | Warning::Unclean { .. })
            || !warning.is_problem()
    };
    let bad = bad.find(|warning| !expected(warning));
    assert!(bad.is_none(), "{bad:?}");
    Arc::new(overlay)
}

pub fn caller() -> Caller {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Caller { uid: uid.as_raw(), gid: gid.as_raw(), umask: 0 }
}

struct Place<'a> {
    id: Id,
    node: NodeId,
    name: &'a [u8],
    looked: Vec<NodeId>,
}

pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, got: &T) -> Check {
    if expected == got {
        Ok(())
    } else {
        Err(format!("{what}: {expected:?} expected, got {got:?}"))
    }
}

/// Tells only the lines that differ.
fn same_lines(what: &str, expected: &[String], got: &[String]) -> Check {
    let without = |some: &[String], others: &[String]| {
        some.iter().filter(|line| !others.contains(line)).cloned().collect::<Vec<_>>()
    };
    let (lost, new) = (without(expected, got), without(got, expected));
    same(what, &lost, &new)
}

fn write_at(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    if content.len() < offset + data.len() {
        content.resize(offset + data.len(), 0);
    }
    content[offset..offset + data.len()].copy_from_slice(data);
}
