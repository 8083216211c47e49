//! Operations that change an object or make one.

use std::collections::BTreeMap;
use std::sync::Arc;

use mini_fo_core::{Entry, OpenMode, SetAttr, SetTime, Timestamp};
use rustix::io::Errno;

use super::super::naive::{Id, Kind};
use super::super::ops::{Op, Path};
use super::{Check, Driver, HANDLES, Held, Place, same, write_at};

impl Driver {
    pub(super) fn make(&mut self, op: &Op) -> Check {
        let (Op::Create(path, _) | Op::Mkdir(path, _) | Op::Symlink(path, _) | Op::Fifo(path, _)) =
            op
        else {
            return Ok(());
        };
        // The overlay of a user has that user's rights: its own objects stay writable.
        let own = if self.is_root { 0 } else { 0o700 };
        self.in_parent(path, |this, at| {
            let (overlay, caller) = (this.overlay(), &this.caller);
            let (kind, mode, got) = match op {
                Op::Create(_, mode) => {
                    let mode = *mode | own;
                    let open = OpenMode { write: true, ..OpenMode::default() };
                    let made = overlay.create(caller, at.node, at.name, mode, open);
                    (Kind::File(Vec::new()), mode, made.map(|(entry, _)| entry))
                }
                Op::Mkdir(_, mode) => {
                    let mode = *mode | own;
                    let made = overlay.mkdir(caller, at.node, at.name, mode);
                    (Kind::Dir(BTreeMap::new()), mode, made)
                }
                Op::Symlink(_, n) => {
                    let target = format!("to {n}").into_bytes();
                    let made = overlay.symlink(caller, at.node, at.name, &target);
                    (Kind::Symlink(target), 0o777, made)
                }
                Op::Fifo(_, mode) => {
                    let made = overlay.mknod(caller, at.node, at.name, libc::S_IFIFO | *mode, 0);
                    (Kind::Fifo, *mode, made)
                }
                _ => return Ok(()),
            };
            let expected = this.model.make(at.id, at.name, kind, mode, this.caller.uid);
            if let (Ok(id), Ok(entry)) = (&expected, &got) {
                let checked = this.check_attr(*id, entry);
                this.overlay().forget(entry.node, 1);
                checked?;
            }
            same("make", &expected.map(drop), &got.map(drop))
        })
    }

    pub(super) fn remove_all(&mut self, at: &Place<'_>) -> Check {
        let Some(id) = self.model.child(at.id, at.name) else { return Ok(()) };
        if !self.model.is_dir(id) {
            let got = self.overlay().unlink(at.node, at.name);
            return same("unlink", &self.model.unlink(at.id, at.name), &got);
        }
        let entry = self.overlay().lookup(at.node, at.name).unwrap().ok_or("it is gone")?;
        let names: Vec<Vec<u8>> = self.model.entries(id).unwrap().keys().cloned().collect();
        for name in &names {
            let below = Place { id, node: entry.node, name, looked: vec![] };
            self.remove_all(&below)?;
        }
        self.overlay().forget(entry.node, 1);
        let got = self.overlay().rmdir(at.node, at.name);
        same("rmdir", &self.model.rmdir(at.id, at.name), &got)
    }

    pub(super) fn data(&mut self, op: &Op) -> Check {
        let (Op::Touch(path) | Op::Write(path, ..) | Op::Append(path, ..) | Op::OpenTruncate(path)) =
            op
        else {
            return Ok(());
        };
        self.on(path, |this, id, entry| {
            if !matches!(this.model.get(id).kind, Kind::File(_)) {
                return Ok(());
            }
            let open = OpenMode {
                write: true,
                append: matches!(op, Op::Append(..)),
                truncate: matches!(op, Op::OpenTruncate(_)),
                ..OpenMode::default()
            };
            let file = this.overlay().open(entry.node, open).map_err(|e| format!("open: {e}"))?;
            let length = this.length(id);
            let (offset, data) = match op {
                Op::Write(_, offset, byte, len) => {
                    (usize::from(*offset), vec![*byte; usize::from(*len)])
                }
                Op::Append(_, byte, len) => (length, vec![*byte; usize::from(*len)]),
                Op::OpenTruncate(_) => {
                    this.put(id, |content| content.clear());
                    return Ok(());
                }
                _ => return Ok(()),
            };
            let got = this.overlay().write(&file, &data, offset as u64, false);
            this.put(id, |content| write_at(content, offset, &data));
            same("write", &Ok(data.len()), &got)
        })
    }

    pub(super) fn put(&mut self, id: Id, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = self.model.get_mut(id);
        inode.mtime = None;
        if let Kind::File(content) = &mut inode.kind {
            change(content);
        }
    }

    pub(super) fn length(&self, id: Id) -> usize {
        match &self.model.get(id).kind {
            Kind::File(content) => content.len(),
            _ => 0,
        }
    }

    pub(super) fn attr(&mut self, op: &Op) -> Check {
        let (Op::Truncate(path, _)
        | Op::Chmod(path, _)
        | Op::Chown(path, _)
        | Op::SetMtime(path, _)) = op
        else {
            return Ok(());
        };
        let (is_root, own) = (self.is_root, if self.is_root { 0 } else { 0o700 });
        self.on(path, |this, id, entry| {
            let kind = this.model.get(id).kind.clone();
            let mut set = SetAttr::default();
            match (op, &kind) {
                (Op::Truncate(_, size), Kind::File(_)) => {
                    set.size = Some(u64::from(*size));
                    this.put(id, |content| content.resize(usize::from(*size), 0));
                }
                (Op::Chmod(_, mode), Kind::File(_) | Kind::Dir(_) | Kind::Fifo) => {
                    let mode = *mode | own;
                    set.mode = Some(mode);
                    this.model.get_mut(id).mode = mode;
                }
                (Op::Chown(_, uid), _) if is_root => {
                    set.uid = Some(*uid);
                    this.model.get_mut(id).uid = *uid;
                }
                (Op::SetMtime(_, sec), _) => {
                    let time = Timestamp { sec: i64::from(*sec), nsec: 123_456_789 };
                    set.mtime = Some(SetTime::At(time));
                    this.model.get_mut(id).mtime = Some(time);
                }
                _ => return Ok(()),
            }
            let attr = this.overlay().setattr(entry.node, &set, None);
            let attr = attr.map_err(|errno| format!("setattr: {errno}"))?;
            this.check_attr(id, &Entry { node: entry.node, attr })
        })
    }

    pub(super) fn xattr(&mut self, op: &Op) -> Check {
        let (Op::SetXattr(path, n, _) | Op::RemoveXattr(path, n)) = op else { return Ok(()) };
        let name = format!("user.x{n}").into_bytes();
        self.on(path, |this, id, entry| {
            if !matches!(this.model.get(id).kind, Kind::File(_) | Kind::Dir(_)) {
                return Ok(());
            }
            let xattrs = &mut this.model.get_mut(id).xattrs;
            let (expected, got) = if let Op::SetXattr(_, _, value) = op {
                xattrs.insert(name.clone(), value.clone());
                (Ok(()), this.overlay().setxattr(entry.node, &name, value, 0))
            } else {
                let expected = xattrs.remove(&name).map(drop).ok_or(Errno::NODATA);
                (expected, this.overlay().removexattr(entry.node, &name))
            };
            same("xattr", &expected, &got)
        })
    }

    pub(super) fn hold(&mut self, path: &Path, writes: bool) -> Check {
        if self.held.len() >= HANDLES {
            return Ok(());
        }
        self.on(path, |this, id, entry| {
            if !matches!(this.model.get(id).kind, Kind::File(_)) {
                return Ok(());
            }
            let open = OpenMode { write: writes, ..OpenMode::default() };
            let file = this.overlay().open(entry.node, open).map_err(|e| format!("open: {e}"))?;
            // One reference stays with the handle.
            let place = this.parent(path)?.ok_or("the parent is gone")?;
            this.overlay().lookup(place.node, place.name).unwrap();
            this.forget(&place);
            this.held.push(Held { id, node: entry.node, file, writes });
            Ok(())
        })
    }

    pub(super) fn use_held(&mut self, index: usize, byte: u8) -> Check {
        let Some(held) = self.held.get(index) else { return Ok(()) };
        let (id, node, file) = (held.id, held.node, Arc::clone(&held.file));
        if held.writes {
            let data = [byte; 100];
            let offset = usize::from(byte) * 7;
            let got = self.overlay().write(&file, &data, offset as u64, false);
            self.put(id, |content| write_at(content, offset, &data));
            same("write through a handle", &Ok(data.len()), &got)?;
        }
        self.check_content(id, &file)?;
        let attr = self.overlay().getattr(node).map_err(|errno| format!("getattr: {errno}"))?;
        self.check_attr(id, &Entry { node, attr })
    }
}
