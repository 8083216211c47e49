//! Applies operations to overlay and model and compares.

#[path = "change.rs"]
mod change;
#[path = "verify.rs"]
mod verify;

use std::sync::Arc;
use std::time::Duration;

use mini_fo_core::{Caller, Entry, NodeId, OpenFile, OpenOptions, Overlay};
use rustix::io::Errno;

use super::naive::{Id, Naive, ROOT};
use super::ops::{NAMES, Op, Path};
use super::reader;
use super::tree::{make_base, snapshot};

type Check = Result<(), String>;

const HANDLES: usize = 6;

struct Held {
    id: Id,
    node: NodeId,
    file: Arc<OpenFile>,
    writes: bool,
}

pub struct Driver {
    work: tempfile::TempDir,
    base_before: Vec<String>,
    overlay: Option<Overlay>,
    model: Naive,
    held: Vec<Held>,
    caller: Caller,
    is_root: bool,
    mounts: u32,
}

impl Driver {
    pub fn new() -> Driver {
        let work = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let mut model = Naive::new();
        make_base(&work.path().join("base"), &mut model, uid);
        std::fs::create_dir(work.path().join("storage")).unwrap();
        let base_before = snapshot(&work.path().join("base"));
        let caller = Caller { uid, gid, umask: 0 };
        let mut driver = Driver {
            work,
            base_before,
            overlay: None,
            model,
            held: Vec::new(),
            caller,
            is_root: uid == 0,
            mounts: 0,
        };
        driver.mount();
        driver
    }

    fn mount(&mut self) {
        self.mounts += 1;
        let options = OpenOptions {
            // A base that could change, and does not, shows the same.
            live_base: (self.mounts % 2 == 0).then_some(Duration::ZERO),
            base: self.work.path().join("base"),
            storage: self.work.path().join("storage"),
            volatile: true,
            ..OpenOptions::default()
        };
        let overlay = Overlay::assemble(&options).unwrap();
        assert!(overlay.warnings().is_empty(), "{:?}", overlay.warnings());
        self.overlay = Some(overlay);
    }

    fn overlay(&self) -> &Overlay {
        self.overlay.as_ref().unwrap()
    }

    /// Compares everything once more, also after a remount, and the base.
    pub fn finish(mut self) -> Check {
        self.apply(&Op::Remount)?;
        let after = snapshot(&self.work.path().join("base"));
        same("the base", &self.base_before, &after)?;
        let work = self.work.path();
        self.verify_format(&reader::read(&work.join("base"), &work.join("storage")))
    }

    /// The directory and name of a path, in the model and in the overlay. The
    /// caller forgets what is in `looked`.
    fn parent<'p>(&self, path: &'p Path) -> Result<Option<Place<'p>>, String> {
        let (last, above) = path.0.split_last().unwrap();
        let mut place = Place { id: ROOT, node: NodeId::ROOT, name: NAMES[*last], looked: vec![] };
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
        match op {
            Op::Create(..) | Op::Mkdir(..) | Op::Symlink(..) | Op::Fifo(..) => self.make(op),
            Op::Unlink(path) => self.in_parent(path, |this, at| {
                let got = this.overlay().unlink(at.node, at.name);
                same("unlink", &this.model.unlink(at.id, at.name), &got)
            }),
            Op::Rmdir(path) => self.in_parent(path, |this, at| {
                let got = this.overlay().rmdir(at.node, at.name);
                same("rmdir", &this.model.rmdir(at.id, at.name), &got)
            }),
            Op::RemoveAll(path) => self.in_parent(path, |this, at| this.remove_all(at)),
            Op::Rename(from, to, mode) => {
                let Some(source) = self.parent(from)? else { return Ok(()) };
                let done = self.in_parent(to, |this, target| {
                    let got = this.overlay().rename(
                        source.node,
                        source.name,
                        target.node,
                        target.name,
                        *mode,
                    );
                    let from = (source.id, source.name);
                    same("rename", &this.model.rename(from, (target.id, target.name), *mode), &got)
                });
                self.forget(&source);
                done
            }
            Op::Link(from, to) => self.on(from, |this, id, entry| {
                this.in_parent(to, |this, at| {
                    let got = this.overlay().link(entry.node, at.node, at.name);
                    if let Ok(new) = &got {
                        this.overlay().forget(new.node, 1);
                        same("node of a link", &entry.node, &new.node)?;
                    }
                    same("link", &this.model.link(id, at.id, at.name), &got.map(drop))
                })
            }),
            Op::Touch(_) | Op::Write(..) | Op::Append(..) | Op::OpenTruncate(_) => self.data(op),
            Op::Truncate(..) | Op::Chmod(..) | Op::Chown(..) | Op::SetMtime(..) => self.attr(op),
            Op::SetXattr(..) | Op::RemoveXattr(..) => self.xattr(op),
            Op::Hold(path, writes) => self.hold(path, *writes),
            Op::UseHeld(index, byte) => self.use_held(*index, *byte),
            Op::Release(index) => {
                if *index < self.held.len() {
                    let held = self.held.swap_remove(*index);
                    self.overlay().forget(held.node, 1);
                }
                Ok(())
            }
            Op::Reserved(path) => self.in_parent(path, |this, at| {
                let name = b"META_dAfFgHE39ktF3HD2sr.x";
                let got = this.overlay().mkdir(&this.caller, at.node, name, 0o755).map(drop);
                same("mkdir of a reserved name", &Err(Errno::PERM), &got)
            }),
            Op::TooLong(path) => self.in_parent(path, |this, at| {
                let got = this.overlay().lookup(at.node, &[b'x'; 256]).map(drop);
                same("lookup of a long name", &Err(Errno::NAMETOOLONG), &got)
            }),
            Op::Verify => self.verify(),
            Op::Remount => self.remount(),
        }
    }

    fn remount(&mut self) -> Check {
        self.verify()?;
        for held in std::mem::take(&mut self.held) {
            self.overlay().forget(held.node, 1);
        }
        same("known nodes", &1, &self.overlay().known_nodes())?;
        self.overlay = None;
        self.mount();
        self.verify()
    }
}

struct Place<'a> {
    id: Id,
    node: NodeId,
    name: &'a [u8],
    looked: Vec<NodeId>,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, got: &T) -> Check {
    if expected == got {
        Ok(())
    } else {
        Err(format!("{what}: {expected:?} expected, got {got:?}"))
    }
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
