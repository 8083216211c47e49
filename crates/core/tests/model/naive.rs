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
    Fifo,
}

#[derive(Clone, Debug)]
pub struct Inode {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub nlink: u32,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Known only where it was set.
    pub mtime: Option<Timestamp>,
    /// The number it was first seen with.
    pub ino: Option<u64>,
}

pub struct Naive {
    inodes: Vec<Inode>,
}

impl Naive {
    pub fn new() -> Naive {
        Naive { inodes: vec![inode(Kind::Dir(BTreeMap::new()), 0o755, 0)] }
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
        // Whoever asks changes entries, and with them the time.
        self.inodes[dir].mtime = None;
        match &mut self.inodes[dir].kind {
            Kind::Dir(entries) => entries,
            other => panic!("not a directory: {other:?}"),
        }
    }

    pub fn child(&self, dir: Id, name: &[u8]) -> Option<Id> {
        self.entries(dir)?.get(name).copied()
    }

    pub fn is_dir(&self, id: Id) -> bool {
        self.entries(id).is_some()
    }

    pub fn make(
        &mut self,
        dir: Id,
        name: &[u8],
        kind: Kind,
        mode: u32,
        uid: u32,
    ) -> Result<Id, Errno> {
        if self.child(dir, name).is_some() {
            return Err(Errno::EXIST);
        }
        let id = self.inodes.len();
        self.inodes.push(inode(kind, mode, uid));
        self.entries_mut(dir).insert(name.to_vec(), id);
        Ok(id)
    }

    pub fn unlink(&mut self, dir: Id, name: &[u8]) -> Result<(), Errno> {
        let id = self.child(dir, name).ok_or(Errno::NOENT)?;
        if self.is_dir(id) {
            return Err(Errno::ISDIR);
        }
        self.entries_mut(dir).remove(name);
        self.inodes[id].nlink -= 1;
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
        }
        self.entries_mut(dir).remove(name);
        self.entries_mut(new_dir).insert(new_name.to_vec(), id);
        Ok(())
    }
}

fn inode(kind: Kind, mode: u32, uid: u32) -> Inode {
    Inode { kind, mode, uid, nlink: 1, xattrs: BTreeMap::new(), mtime: None, ino: None }
}
