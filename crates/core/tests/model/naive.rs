//! A file system as simple as can be: inodes in a table, directories as maps.

use std::collections::BTreeMap;

use mini_fo_core::{RenameMode, Timestamp};
use rustix::io::Errno;

pub type Id = usize;
pub const ROOT: Id = 0;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Dir(BTreeMap<Vec<u8>, Id>),
    File(Vec<u8>),
    Symlink(Vec<u8>),
    /// A FIFO, socket or character device (`S_IFIFO` ...) and its number.
    Special(u32, u64),
}

impl Kind {
    /// Type bits of `st_mode`.
    pub fn bits(&self) -> u32 {
        match self {
            Kind::Dir(_) => libc::S_IFDIR,
            Kind::File(_) => libc::S_IFREG,
            Kind::Symlink(_) => libc::S_IFLNK,
            Kind::Special(kind, _) => *kind,
        }
    }
}

/// What is known of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    Is(Timestamp),
    /// An operation moved it, which began at this time.
    Since(Timestamp),
    Any,
}

#[derive(Clone, Debug)]
pub struct Inode {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub mtime: Time,
    pub ctime: Time,
    /// The number it was first seen with.
    pub ino: Option<u64>,
}

/// Who owns what is made, and its permission bits.
#[derive(Clone, Copy, Debug)]
pub struct New {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

pub struct Naive {
    inodes: Vec<Inode>,
    /// When the present operation began.
    now: Timestamp,
}

impl Naive {
    pub fn new() -> Naive {
        let new = New { mode: 0o755, uid: 0, gid: 0 };
        let now = clock();
        Naive { inodes: vec![inode(Kind::Dir(BTreeMap::new()), new, now)], now }
    }

    /// An operation begins.
    pub fn begin(&mut self) {
        self.now = clock();
    }

    pub fn ids(&self) -> std::ops::Range<Id> {
        0..self.inodes.len()
    }

    pub fn get(&self, id: Id) -> &Inode {
        &self.inodes[id]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Inode {
        &mut self.inodes[id]
    }

    pub fn entries(&self, dir: Id) -> Option<&BTreeMap<Vec<u8>, Id>> {
        match &self.inodes[dir].kind {
            Kind::Dir(entries) => Some(entries),
            _ => None,
        }
    }

    fn entries_mut(&mut self, dir: Id) -> &mut BTreeMap<Vec<u8>, Id> {
        // Whoever asks changes entries, and with them the times.
        self.modified(dir);
        match &mut self.inodes[dir].kind {
            Kind::Dir(entries) => entries,
            other => panic!("not a directory: {other:?}"),
        }
    }

    /// Data or entries changed.
    pub fn modified(&mut self, id: Id) {
        self.inodes[id].mtime = Time::Since(self.now);
        self.changed(id);
    }

    /// Attributes changed.
    pub fn changed(&mut self, id: Id) {
        self.inodes[id].ctime = Time::Since(self.now);
    }

    /// Attributes were set to what they were.
    pub fn perhaps_changed(&mut self, id: Id) {
        self.inodes[id].ctime = Time::Any;
    }

    /// The bytes of a file, which are about to change.
    pub fn content_mut(&mut self, id: Id) -> &mut Vec<u8> {
        self.modified(id);
        match &mut self.inodes[id].kind {
            Kind::File(content) => content,
            other => panic!("not a file: {other:?}"),
        }
    }

    pub fn child(&self, dir: Id, name: &[u8]) -> Option<Id> {
        self.entries(dir)?.get(name).copied()
    }

    pub fn is_dir(&self, id: Id) -> bool {
        self.entries(id).is_some()
    }

    pub fn make(&mut self, dir: Id, name: &[u8], kind: Kind, new: New) -> Result<Id, Errno> {
        if self.child(dir, name).is_some() {
            return Err(Errno::EXIST);
        }
        let id = self.nameless(dir, kind, new);
        self.inodes[id].nlink = 1;
        self.entries_mut(dir).insert(name.to_vec(), id);
        Ok(id)
    }

    /// An object that has no name yet, made in a directory.
    pub fn nameless(&mut self, dir: Id, kind: Kind, mut new: New) -> Id {
        let above = &self.inodes[dir];
        if above.mode & libc::S_ISGID != 0 {
            new.gid = above.gid;
            new.mode |= if matches!(kind, Kind::Dir(_)) { libc::S_ISGID } else { 0 };
        }
        self.inodes.push(inode(kind, new, self.now));
        self.inodes.len() - 1
    }

    pub fn unlink(&mut self, dir: Id, name: &[u8]) -> Result<(), Errno> {
        let id = self.child(dir, name).ok_or(Errno::NOENT)?;
        if self.is_dir(id) {
            return Err(Errno::ISDIR);
        }
        self.entries_mut(dir).remove(name);
        self.inodes[id].nlink -= 1;
        self.changed(id);
        Ok(())
    }

    pub fn rmdir(&mut self, dir: Id, name: &[u8]) -> Result<(), Errno> {
        let id = self.child(dir, name).ok_or(Errno::NOENT)?;
        match self.entries(id) {
            None => Err(Errno::NOTDIR),
            Some(entries) if !entries.is_empty() => Err(Errno::NOTEMPTY),
            Some(_) => {
                self.entries_mut(dir).remove(name);
                Ok(())
            }
        }
    }

    pub fn link(&mut self, id: Id, dir: Id, name: &[u8]) -> Result<(), Errno> {
        if self.is_dir(id) {
            return Err(Errno::PERM);
        }
        if self.child(dir, name).is_some() {
            return Err(Errno::EXIST);
        }
        self.entries_mut(dir).insert(name.to_vec(), id);
        self.inodes[id].nlink += 1;
        self.changed(id);
        Ok(())
    }

    /// `id` is `above` or lies below it.
    fn is_below(&self, id: Id, above: Id) -> bool {
        id == above
            || self
                .entries(above)
                .is_some_and(|entries| entries.values().any(|child| self.is_below(id, *child)))
    }

    pub fn rename(
        &mut self,
        (dir, name): (Id, &[u8]),
        (new_dir, new_name): (Id, &[u8]),
        mode: RenameMode,
    ) -> Result<(), Errno> {
        let id = self.child(dir, name).ok_or(Errno::NOENT)?;
        let target = self.child(new_dir, new_name);
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(Errno::EXIST),
            (RenameMode::Exchange, None) => return Err(Errno::NOENT),
            (_, Some(target)) if target == id => return Ok(()),
            _ => {}
        }
        if self.is_dir(id) && self.is_below(new_dir, id) {
            return Err(Errno::INVAL);
        }
        if let (RenameMode::Exchange, Some(target)) = (mode, target) {
            if self.is_dir(target) && self.is_below(dir, target) {
                return Err(Errno::INVAL);
            }
            self.entries_mut(dir).insert(name.to_vec(), target);
            self.entries_mut(new_dir).insert(new_name.to_vec(), id);
            self.changed(id);
            self.changed(target);
            return Ok(());
        }
        if let Some(target) = target {
            match (self.is_dir(id), self.entries(target)) {
                (true, None) => return Err(Errno::NOTDIR),
                (false, Some(_)) => return Err(Errno::ISDIR),
                (true, Some(entries)) if !entries.is_empty() => return Err(Errno::NOTEMPTY),
                _ => {}
            }
            if !self.is_dir(target) {
                self.inodes[target].nlink -= 1;
            }
            self.changed(target);
        }
        self.entries_mut(dir).remove(name);
        self.entries_mut(new_dir).insert(new_name.to_vec(), id);
        self.changed(id);
        Ok(())
    }
}

fn inode(kind: Kind, new: New, now: Timestamp) -> Inode {
    let New { mode, uid, gid } = new;
    let (nlink, xattrs, time) = (0, BTreeMap::new(), Time::Since(now));
    Inode { kind, mode, uid, gid, nlink, xattrs, mtime: time, ctime: time, ino: None }
}

/// The clock that file systems take times from, or an earlier time.
fn clock() -> Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Timestamp { sec: now.tv_sec, nsec: u32::try_from(now.tv_nsec).unwrap() }
}
