//! Compares all that can be seen.

use std::collections::{BTreeMap, HashMap};

use mini_fo_core::{Entry, ListFor, NodeId, OpenFile, OpenMode, Timestamp};

use super::super::naive::{Id, Kind, ROOT, Time};
use super::super::reader::Object;
use super::{Check, Driver, same};

impl Driver {
    pub fn check_content(&self, id: Id, file: &OpenFile) -> Check {
        let Kind::File(expected) = &self.model.get(id).kind else { return Ok(()) };
        let mut content = vec![0; expected.len() + 100];
        let got = self.overlay().read(file, &mut content, 0).map_err(|e| format!("read: {e}"))?;
        content.truncate(got);
        if &content == expected {
            return Ok(());
        }
        let at = content.iter().zip(expected).position(|(got, expected)| got != expected);
        let (got, size) = (content.len(), expected.len());
        Err(format!("the content differs, from {at:?} on; {got} of {size} bytes"))
    }

    pub fn check_attr(&mut self, id: Id, entry: &Entry) -> Check {
        let inode = self.model.get_mut(id);
        let attr = &entry.attr;
        if self.may_be_full {
            // That a copy-up does not show in it takes a record in META.
            inode.ctime = Time::Any;
            // MASK: an operation that is refused may have moved that of the
            // directory, where it had to begin its META.
            if matches!(inode.kind, Kind::Dir(_)) {
                inode.mtime = Time::Any;
            }
        }
        same("type", &inode.kind.bits(), &(attr.mode & libc::S_IFMT))?;
        same("mode", &format!("{:o}", inode.mode), &format!("{:o}", attr.mode & 0o7777))?;
        same("owner", &(inode.uid, inode.gid), &(attr.uid, attr.gid))?;
        check_time("mtime", &mut inode.mtime, attr.mtime)?;
        check_time("ctime", &mut inode.ctime, attr.ctime)?;
        match &inode.kind {
            Kind::File(content) => same("size", &(content.len() as u64), &attr.size)?,
            Kind::Special(_, device) => same("device", device, &attr.rdev)?,
            _ => {}
        }
        // MASK: a name of a hard-linked base object that a rename replaces is
        // still counted where META has no room.
        let is_base = inode.ino.is_some_and(|ino| ino >> 62 == 0);
        let counts = !(self.may_be_full && is_base);
        if !matches!(inode.kind, Kind::Dir(_)) && counts {
            same("nlink", &inode.nlink, &attr.nlink)?;
        }
        let ino = *inode.ino.get_or_insert(attr.ino);
        same("st_ino", &ino, &attr.ino)
    }

    pub fn verify(&mut self) -> Check {
        let mut numbers = HashMap::new();
        let attr = self.overlay().getattr(self.top).map_err(|errno| errno.to_string())?;
        numbers.insert(attr.ino, ROOT);
        let top = Entry { node: self.top, attr };
        self.check_attr(ROOT, &top).map_err(|what| format!("the root: {what}"))?;
        self.verify_object(ROOT, &top).map_err(|what| format!("the root: {what}"))?;
        self.verify_dir(ROOT, self.top, &mut numbers)
    }

    pub fn verify_dir(&mut self, id: Id, node: NodeId, numbers: &mut HashMap<u64, Id>) -> Check {
        let listed = self.list(node)?;
        let names: Vec<Vec<u8>> = self.model.entries(id).unwrap().keys().cloned().collect();
        same("names", &names, &listed.keys().cloned().collect())?;
        for name in names {
            let child = self.model.child(id, &name).unwrap();
            let entry = self.overlay().lookup(node, &name).map_err(|e| e.to_string())?;
            let entry = entry.ok_or_else(|| format!("{name:?} is listed, but not found"))?;
            let what = |err: String| format!("{:?}: {err}", String::from_utf8_lossy(&name));
            self.check_attr(child, &entry).map_err(what)?;
            same("d_ino", &entry.attr.ino, &listed[&name]).map_err(what)?;
            let owner = *numbers.entry(entry.attr.ino).or_insert(child);
            same("object of a number", &child, &owner).map_err(what)?;
            self.verify_object(child, &entry).map_err(what)?;
            if self.model.is_dir(child) {
                self.verify_dir(child, entry.node, numbers).map_err(what)?;
            }
            self.overlay().forget(entry.node, 1);
        }
        Ok(())
    }

    pub fn verify_object(&self, id: Id, entry: &Entry) -> Check {
        let inode = self.model.get(id);
        match &inode.kind {
            Kind::File(_) => {
                let file = self.overlay().open(entry.node, OpenMode::default());
                self.check_content(id, &*file.map_err(|errno| format!("open: {errno}"))?)?;
            }
            Kind::Symlink(target) => {
                same("target", &Ok(target.clone()), &self.overlay().readlink(entry.node))?;
            }
            Kind::Special(..) | Kind::Dir(_) => {}
        }
        let mut list = vec![0; 4096];
        let len =
            self.overlay().listxattr(entry.node, &|| true, &mut list).map_err(|e| e.to_string())?;
        list.truncate(len);
        let mut xattrs = BTreeMap::new();
        let names = list.split(|byte| *byte == 0);
        for name in names.filter(|name| name.starts_with(b"user.") || name.starts_with(b"trusted."))
        {
            let mut value = vec![0; 100];
            let len = self.overlay().getxattr(entry.node, name, &mut value);
            value.truncate(len.map_err(|errno| errno.to_string())?);
            xattrs.insert(name.to_vec(), value);
        }
        same("xattrs", &inode.xattrs, &xattrs)
    }

    /// Lists a directory in small steps: every name exactly once.
    pub fn list(&self, node: NodeId) -> Result<BTreeMap<Vec<u8>, u64>, String> {
        let dir = self.overlay().open_dir(node).map_err(|errno| errno.to_string())?;
        let (mut names, mut offset) = (BTreeMap::new(), 0);
        loop {
            let (mut taken, mut twice) = (0, None);
            let listed = self.overlay().read_dir(&dir, offset, ListFor::Entries, &mut |entry| {
                if taken == 3 {
                    return false;
                }
                taken += 1;
                offset = entry.next;
                if names.insert(entry.name.to_vec(), entry.ino).is_some() {
                    twice = Some(entry.name.to_vec());
                }
                true
            });
            listed.map_err(|errno| format!("read_dir: {errno}"))?;
            if let Some(name) = twice {
                return Err(format!("{name:?} is listed twice"));
            }
            if taken == 0 {
                break;
            }
        }
        for dots in [&b"."[..], b".."] {
            names.remove(dots).ok_or("a dot entry is missing")?;
        }
        Ok(names)
    }

    /// Compares with what base and storage hold by the rules of the format.
    pub fn verify_format(&self, read: &BTreeMap<Vec<u8>, Object>) -> Check {
        let mut expected = BTreeMap::new();
        self.flatten(ROOT, b"", &mut expected);
        same("names by the format", &expected.keys().collect(), &read.keys().collect::<Vec<_>>())?;
        for (path, id) in expected {
            let what = |err: String| format!("{:?}: {err}", String::from_utf8_lossy(&path));
            self.verify_read(id, &read[&path]).map_err(what)?;
        }
        Ok(())
    }

    fn flatten(&self, dir: Id, path: &[u8], out: &mut BTreeMap<Vec<u8>, Id>) {
        for (name, id) in self.model.entries(dir).unwrap() {
            let mut full = [path, name].concat();
            out.insert(full.clone(), *id);
            if self.model.is_dir(*id) {
                full.push(b'/');
                self.flatten(*id, &full, out);
            }
        }
    }

    fn verify_read(&self, id: Id, object: &Object) -> Check {
        let inode = self.model.get(id);
        let content = match &inode.kind {
            Kind::File(content) | Kind::Symlink(content) => &content[..],
            Kind::Dir(_) | Kind::Special(..) => &[],
        };
        let mode = inode.kind.bits() | inode.mode;
        same("mode stored", &format!("{mode:o}"), &format!("{:o}", object.mode))?;
        same("owner stored", &(inode.uid, inode.gid), &(object.uid, object.gid))?;
        if let Kind::Special(_, device) = inode.kind {
            same("device stored", &device, &object.rdev)?;
        }
        same("number by the format", &inode.ino, &Some(object.ino))?;
        same("xattrs stored", &inode.xattrs, &object.xattrs)?;
        if let Time::Is(mtime) = inode.mtime {
            same("mtime stored", &(mtime.sec, mtime.nsec), &object.mtime)?;
        }
        if content == object.content { Ok(()) } else { Err("other content stored".to_owned()) }
    }
}

/// Compares a time, which is known from then on.
fn check_time(what: &str, expected: &mut Time, got: Timestamp) -> Check {
    match *expected {
        Time::Is(time) => same(what, &time, &got)?,
        Time::Since(time) if got < time => {
            return Err(format!("{what} {got:?} did not move, at least to {time:?}"));
        }
        Time::Since(_) | Time::Any => {}
    }
    *expected = Time::Is(got);
    Ok(())
}
