//! Handles that are kept open while their files change, move and vanish.

use std::sync::Arc;

use mini_fo_core::{Entry, NodeId, OpenFile, OpenMode, SetAttr};
use rustix::io::Errno;

use super::super::naive::{Id, Kind, New, Time};
use super::super::ops::{FALLOCATE, Op, Path};
use super::{Check, Driver, same, write_at};

const HANDLES: usize = 6;

pub struct Held {
    pub id: Id,
    /// With one reference.
    pub node: NodeId,
    file: Arc<OpenFile>,
    writes: bool,
    /// It never had a name, and may be given one.
    is_linkable: bool,
}

impl Held {
    pub(super) fn file(&self) -> &Arc<OpenFile> {
        &self.file
    }
}

impl Driver {
    pub(super) fn hold(&mut self, path: &Path, writes: bool) -> Check {
        if self.held.len() >= HANDLES {
            return Ok(());
        }
        self.on(path, |this, id, entry| {
            if !matches!(this.model.get(id).kind, Kind::File(_)) {
                return Ok(());
            }
            let open = OpenMode { write: writes, ..OpenMode::default() };
            let got = this.overlay().open(entry.node, open);
            let Some((file, ())) = this.settle("open", got, |_| Ok(()))? else { return Ok(()) };
            // One reference stays with the handle.
            let place = this.parent(path)?.ok_or("the parent is gone")?;
            this.overlay().lookup(place.node, place.name).unwrap();
            this.forget(&place);
            this.held.push(Held { id, node: entry.node, file, writes, is_linkable: false });
            Ok(())
        })
    }

    pub(super) fn tmpfile(&mut self, path: &Path, mode: u32, name: Option<&Path>) -> Check {
        if self.held.len() >= HANDLES {
            return Ok(());
        }
        let mode = mode | self.kept();
        let mut made = false;
        self.on(path, |this, dir, entry| {
            if !this.model.is_dir(dir) {
                return Ok(());
            }
            let open = OpenMode { write: true, ..OpenMode::default() };
            let got = this.overlay().tmpfile(&this.caller, entry.node, mode, open);
            let new = New { mode, uid: this.caller.uid, gid: this.caller.gid };
            let settled = this.settle("tmpfile", got, |model| {
                Ok(model.nameless(dir, Kind::File(Vec::new()), new))
            })?;
            let Some(((entry, file), id)) = settled else { return Ok(()) };
            made = true;
            let node = entry.node;
            this.held.push(Held { id, node, file, writes: true, is_linkable: true });
            this.check_attr(id, &entry)
        })?;
        let last = self.held.len().wrapping_sub(1);
        match name.filter(|_| made) {
            Some(name) => self.use_held(last, 3).and_then(|()| self.link_held(last, name)),
            None => Ok(()),
        }
    }

    pub(super) fn release(&mut self, index: usize) {
        if index < self.held.len() {
            let held = self.held.swap_remove(index);
            self.overlay().forget(held.node, 1);
        }
    }

    /// What is read through every handle, and what `fstat` says.
    pub(super) fn check_held(&mut self) -> Check {
        for index in 0..self.held.len() {
            let Held { id, node, file, .. } = &self.held[index];
            let (id, node) = (*id, *node);
            self.check_content(id, file)?;
            let attr = self.overlay().getattr(node).map_err(|errno| format!("getattr: {errno}"))?;
            self.check_attr(id, &Entry { node, attr })?;
        }
        Ok(())
    }

    pub(super) fn use_held(&mut self, index: usize, byte: u8) -> Check {
        let Some(held) = self.held.get(index).filter(|held| held.writes) else { return Ok(()) };
        let (id, file) = (held.id, Arc::clone(&held.file));
        let (data, offset) = ([byte; 100], usize::from(byte) * 7);
        let got = self.overlay().write(&file, &data, offset as u64, false);
        self.written(id, offset, &data, got)
    }

    pub(super) fn link_held(&mut self, index: usize, to: &Path) -> Check {
        let Some(held) = self.held.get_mut(index) else { return Ok(()) };
        let (id, node) = (held.id, held.node);
        // The kernel lets nobody link what has lost its names.
        if !held.is_linkable && self.model.get(id).nlink == 0 {
            return Ok(());
        }
        self.link(id, node, to)?;
        if self.model.get(id).nlink > 0 {
            self.held.iter_mut().filter(|h| h.id == id).for_each(|h| h.is_linkable = false);
        }
        Ok(())
    }

    pub(super) fn attr_held(&mut self, op: &Op) -> Check {
        let (Op::ResizeHeld(index, _) | Op::ChmodHeld(index, _)) = op else { return Ok(()) };
        let Some(held) = self.held.get(*index) else { return Ok(()) };
        let (id, node, writes, file) = (held.id, held.node, held.writes, Arc::clone(&held.file));
        let mut set = SetAttr::default();
        match op {
            Op::ResizeHeld(_, size) if writes => set.size = Some(u64::from(*size)),
            Op::ChmodHeld(_, mode) => set.mode = Some(mode | self.kept()),
            _ => return Ok(()),
        }
        let got = self.overlay().setattr(node, &set, Some(&file));
        self.attr_set(id, node, &set, got)
    }

    pub(super) fn fallocate(&mut self, index: usize, mode: usize, at: usize, len: usize) -> Check {
        let Some(held) = self.held.get(index).filter(|held| held.writes) else { return Ok(()) };
        let (id, file, mode) = (held.id, Arc::clone(&held.file), FALLOCATE[mode]);
        let bits = u32::try_from(mode).unwrap();
        let got = self.overlay().fallocate(&file, bits, at as u64, len as u64, false);
        if got == Err(Errno::OPNOTSUPP) {
            // Not every storage can do everything.
            return Ok(());
        }
        self.settle("fallocate", got, |model| {
            let content = model.content_mut(id);
            let end = at + len;
            if mode & libc::FALLOC_FL_KEEP_SIZE == 0 && content.len() < end {
                content.resize(end, 0);
            }
            let end = end.min(content.len());
            if mode & !libc::FALLOC_FL_KEEP_SIZE != 0 && at < end {
                content[at..end].fill(0);
            }
            // File systems differ.
            let inode = model.get_mut(id);
            (inode.mtime, inode.ctime) = (Time::Any, Time::Any);
            Ok(())
        })
        .map(drop)
    }

    /// Data must not be in a hole, and a hole must hold nothing but zeros.
    pub(super) fn seek(&mut self, index: usize, offset: usize, data: bool) -> Check {
        let Some(held) = self.held.get(index) else { return Ok(()) };
        let content = self.content(held.id);
        let whence = if data { libc::SEEK_DATA } else { libc::SEEK_HOLE };
        let got = self.overlay().seek(&held.file, offset as u64, whence);
        let zeros = |from: usize, to: usize| content[from..to].iter().all(|byte| *byte == 0);
        let fits = match got.map(|to| usize::try_from(to).unwrap()) {
            Err(Errno::NXIO) => offset >= content.len() || data && zeros(offset, content.len()),
            Err(_) => false,
            Ok(to) if data => offset <= to && to < content.len() && zeros(offset, to),
            Ok(to) => {
                offset <= to && (to == content.len() || to < content.len() && content[to] == 0)
            }
        };
        if fits { Ok(()) } else { Err(format!("data {data} from {offset}: {got:?}")) }
    }

    pub(super) fn copy_range(
        &mut self,
        (from, at): (usize, usize),
        (to, to_at): (usize, usize),
        len: usize,
    ) -> Check {
        let (Some(source), Some(target)) = (self.held.get(from), self.held.get(to)) else {
            return Ok(());
        };
        if !target.writes || source.id == target.id {
            return Ok(());
        }
        let id = target.id;
        let content = self.content(source.id);
        let start = at.min(content.len());
        let data = content[start..(at + len).min(content.len()).max(start)].to_vec();
        let got = self.overlay().copy_range(
            (&source.file, at as u64),
            (&target.file, to_at as u64),
            len,
            false,
        );
        if got == Err(Errno::XDEV) {
            return Ok(());
        }
        let copied = got.unwrap_or(0).min(data.len());
        let settled = self.settle("copy_range", got, |model| {
            if copied > 0 {
                write_at(model.content_mut(id), to_at, &data[..copied]);
            }
            Ok(())
        })?;
        if settled.is_none() {
            self.model.get_mut(id).mtime = Time::Any;
        }
        match settled {
            Some((count, ())) if self.may_be_full && count > 0 => same("copied", &copied, &count),
            Some((count, ())) => same("copied", &data.len(), &count),
            None => Ok(()),
        }
    }
}
