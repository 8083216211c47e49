//! Operations that change an object or make one.

use std::collections::BTreeMap;

use mini_fo_core::{Entry, NodeId, OpenMode, RenameMode, SetAttr, SetTime, Timestamp};
use rustix::io::Errno;

use super::super::naive::{Id, Kind, Naive, New, Time};
use super::super::ops::{Op, Path};
use super::{Check, Driver, Place, same, write_at};

impl Driver {
    /// The overlay of a user has that user's rights: its own objects stay
    /// readable and writable.
    pub(super) fn kept(&self) -> u32 {
        if self.is_root { 0 } else { 0o700 }
    }

    pub(super) fn make(&mut self, op: &Op) -> Check {
        let (Op::Create(path, _)
        | Op::Mkdir(path, _)
        | Op::Symlink(path, _)
        | Op::Special(path, ..)) = op
        else {
            return Ok(());
        };
        let own = self.kept();
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
                Op::Special(_, mode, which) => {
                    let (kind, device) = match which {
                        0 => (libc::S_IFIFO, 0),
                        1 if this.is_root => (libc::S_IFCHR, rustix::fs::makedev(1, 3)),
                        _ => (libc::S_IFSOCK, 0),
                    };
                    let made = overlay.mknod(caller, at.node, at.name, kind | *mode, device);
                    (Kind::Special(kind, device), *mode, made)
                }
                _ => return Ok(()),
            };
            let new = New { mode, uid: caller.uid, gid: caller.gid };
            let made = |model: &mut Naive| model.make(at.id, at.name, kind, new);
            let Some((entry, id)) = this.settle("make", got, made)? else { return Ok(()) };
            let checked = this.check_attr(id, &entry);
            this.overlay().forget(entry.node, 1);
            checked
        })
    }

    pub(super) fn unlink(&mut self, at: &Place<'_>) -> Check {
        let got = self.overlay().unlink(at.node, at.name);
        self.settle("unlink", got, |model| model.unlink(at.id, at.name)).map(drop)
    }

    pub(super) fn rmdir(&mut self, at: &Place<'_>) -> Check {
        let got = self.overlay().rmdir(at.node, at.name);
        self.settle("rmdir", got, |model| model.rmdir(at.id, at.name)).map(drop)
    }

    pub(super) fn remove_all(&mut self, at: &Place<'_>) -> Check {
        let Some(id) = self.model.child(at.id, at.name) else { return Ok(()) };
        if !self.model.is_dir(id) {
            return self.unlink(at);
        }
        let entry = self.overlay().lookup(at.node, at.name).unwrap().ok_or("it is gone")?;
        let names: Vec<Vec<u8>> = self.model.entries(id).unwrap().keys().cloned().collect();
        for name in &names {
            let below = Place { id, node: entry.node, name, looked: vec![] };
            self.remove_all(&below)?;
        }
        self.overlay().forget(entry.node, 1);
        self.rmdir(at)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, mode: RenameMode) -> Check {
        let Some(source) = self.parent(from)? else { return Ok(()) };
        let done = self.in_parent(to, |this, target| {
            let (from, to) = ((source.node, source.name), (target.node, target.name));
            let got = this.overlay().rename(from.0, from.1, to.0, to.1, mode);
            let (from, to) = ((source.id, source.name), (target.id, target.name));
            this.settle("rename", got, |model| model.rename(from, to, mode)).map(drop)
        });
        self.forget(&source);
        done
    }

    pub(super) fn link(&mut self, id: Id, node: NodeId, to: &Path) -> Check {
        self.in_parent(to, |this, at| {
            let got = this.overlay().link(node, at.node, at.name);
            let linked = |model: &mut Naive| model.link(id, at.id, at.name);
            let Some((new, ())) = this.settle("link", got, linked)? else { return Ok(()) };
            this.overlay().forget(new.node, 1);
            same("node of a link", &node, &new.node)?;
            this.check_attr(id, &new)
        })
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
            let truncate = matches!(op, Op::OpenTruncate(_));
            let append = matches!(op, Op::Append(..));
            let open = OpenMode { write: true, append, truncate, ..OpenMode::default() };
            let got = this.overlay().open(entry.node, open);
            let opened = this.settle("open", got, |model| {
                if truncate {
                    model.content_mut(id).clear();
                }
                Ok(())
            })?;
            let Some((file, ())) = opened else { return Ok(()) };
            let length = this.length(id);
            let (offset, data) = match op {
                Op::Write(_, offset, byte, len) => {
                    (usize::from(*offset), vec![*byte; usize::from(*len)])
                }
                Op::Append(_, byte, len) => (length, vec![*byte; usize::from(*len)]),
                _ => return Ok(()),
            };
            let got = this.overlay().write(&file, &data, offset as u64, false);
            this.written(id, offset, &data, got)
        })
    }

    /// Compares the result of a write; a full storage may take a part.
    pub(super) fn written(
        &mut self,
        id: Id,
        offset: usize,
        data: &[u8],
        got: Result<usize, Errno>,
    ) -> Check {
        let taken = got.unwrap_or(0);
        let Some((count, ())) = self.settle("write", got, |model| {
            if taken > 0 {
                write_at(model.content_mut(id), offset, &data[..taken]);
            }
            Ok(())
        })?
        else {
            // It may have moved before the space was asked for.
            self.model.get_mut(id).mtime = Time::Any;
            return Ok(());
        };
        if self.may_be_full && count < data.len() {
            return Ok(());
        }
        same("bytes written", &data.len(), &count)
    }

    pub(super) fn length(&self, id: Id) -> usize {
        self.content(id).len()
    }

    pub(super) fn content(&self, id: Id) -> &[u8] {
        match &self.model.get(id).kind {
            Kind::File(content) => content,
            _ => &[],
        }
    }

    pub(super) fn attr(&mut self, op: &Op) -> Check {
        let (Op::Truncate(path, _)
        | Op::Chmod(path, _)
        | Op::Chown(path, ..)
        | Op::SetMtime(path, _)) = op
        else {
            return Ok(());
        };
        let (is_root, own) = (self.is_root, self.kept());
        self.on(path, |this, id, entry| {
            let kind = this.model.get(id).kind.bits();
            let mut set = SetAttr::default();
            match op {
                Op::Truncate(_, size) if kind == libc::S_IFREG => {
                    set.size = Some(u64::from(*size));
                }
                Op::Chmod(_, mode) if kind != libc::S_IFLNK => set.mode = Some(*mode | own),
                Op::Chown(_, uid, gid) if is_root && (uid.is_some() || gid.is_some()) => {
                    (set.uid, set.gid) = (*uid, gid.map(|gid| gid + 1000));
                }
                Op::SetMtime(_, sec) => {
                    let time = Timestamp { sec: i64::from(*sec), nsec: 123_456_789 };
                    set.mtime = Some(SetTime::At(time));
                }
                _ => return Ok(()),
            }
            let got = this.overlay().setattr(entry.node, &set, None);
            this.attr_set(id, entry.node, &set, got)
        })
    }

    pub(super) fn attr_set(
        &mut self,
        id: Id,
        node: NodeId,
        set: &SetAttr,
        got: Result<mini_fo_core::Attr, Errno>,
    ) -> Check {
        let settled = self.settle("setattr", got, |model| {
            if let Some(size) = set.size {
                model.content_mut(id).resize(usize::try_from(size).unwrap(), 0);
            }
            model.changed(id);
            let inode = model.get_mut(id);
            inode.mode = set.mode.unwrap_or(inode.mode);
            inode.uid = set.uid.unwrap_or(inode.uid);
            inode.gid = set.gid.unwrap_or(inode.gid);
            if let Some(SetTime::At(time)) = set.mtime {
                inode.mtime = Time::Is(time);
            }
            Ok(())
        })?;
        match settled {
            Some((attr, ())) => self.check_attr(id, &Entry { node, attr }),
            None => Ok(()),
        }
    }

    pub(super) fn xattr(&mut self, op: &Op) -> Check {
        let (Op::SetXattr(path, n, ..) | Op::RemoveXattr(path, n)) = op else { return Ok(()) };
        let is_trusted = *n == 3 && self.is_root;
        let name =
            if is_trusted { b"trusted.x".to_vec() } else { format!("user.x{n}").into_bytes() };
        self.on(path, |this, id, entry| {
            let kind = this.model.get(id).kind.bits();
            if !is_trusted && ![libc::S_IFREG, libc::S_IFDIR].contains(&kind) {
                return Ok(());
            }
            let has = this.model.get(id).xattrs.contains_key(&name);
            let (expected, got) = match op {
                Op::SetXattr(_, _, value, flags) => {
                    let expected = match flags {
                        1 if has => Err(Errno::EXIST),
                        2 if !has => Err(Errno::NODATA),
                        _ => Ok(Some(value.clone())),
                    };
                    (expected, this.overlay().setxattr(entry.node, &name, value, *flags))
                }
                _ if has => (Ok(None), this.overlay().removexattr(entry.node, &name)),
                _ => (Err(Errno::NODATA), this.overlay().removexattr(entry.node, &name)),
            };
            this.settle("xattr", got, |model| {
                let value = expected?;
                let before = model.get_mut(id).xattrs.remove(&name);
                // ext4 leaves the time of change alone then, others do not.
                if value == before {
                    model.perhaps_changed(id)
                } else {
                    model.changed(id)
                }
                let xattrs = &mut model.get_mut(id).xattrs;
                xattrs.extend(value.map(|value| (name.clone(), value)));
                Ok(())
            })
            .map(drop)
        })
    }
}
