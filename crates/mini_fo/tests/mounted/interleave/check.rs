//! What every descriptor, mapping and name must show.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use super::case::{Case, Fd, Step, at};
use super::maps::Map;
use super::model::Inode;
use crate::common::sys::{self, Errno};

/// Files up to this are compared whole after each step.
const WHOLE: usize = 96 << 10;

/// Fails if `found`, read at `from`, is not `expected`; says where they differ.
pub fn same(what: &str, from: usize, expected: &[u8], found: &[u8]) -> Step {
    if expected == found {
        return Ok(());
    }
    if expected.len() != found.len() {
        return Err(format!(
            "{what}: {} bytes read at {from}, not {}",
            found.len(),
            expected.len()
        ));
    }
    let differs = |i: &usize| expected[*i] != found[*i];
    let first = (0..found.len()).find(differs).unwrap_or(0);
    let last = (0..found.len()).rfind(differs).unwrap_or(0);
    Err(format!(
        "{what}: bytes {}..={} differ; the first is {} and not {}",
        from + first,
        from + last,
        found[first],
        expected[first]
    ))
}

/// Parts of a file that are compared after each step.
fn parts(file: &Inode, whole: bool) -> Vec<(usize, usize)> {
    let len = file.data.len();
    if whole || len <= WHOLE {
        return vec![(0, len + 10)];
    }
    let around = file.hot.saturating_sub(8192).min(len);
    vec![(0, 4096), (around, 24_576), (len - 5000, 5010)]
}

fn cut(data: &[u8], from: usize, len: usize) -> &[u8] {
    &data[from.min(data.len())..(from + len).min(data.len())]
}

impl Case<'_> {
    /// Compares everything with the model; `whole`: also what is large.
    pub fn check(&mut self, whole: bool) -> Step {
        for name in 0..self.names.len() as u8 {
            self.check_name(name)?;
        }
        for (slot, fd) in &self.fds {
            let what = format!("descriptor {slot}");
            let found = at(&what, fd.file.metadata())?;
            let nlink = self.model.nlink(fd.inode);
            attributes(&what, &mut self.model.inodes[fd.inode], nlink, &found)?;
            self.check_data(&what, fd, whole)?;
        }
        for (slot, map) in &self.maps {
            check_map(*slot, map, &self.model.inodes[map.inode])?;
        }
        Ok(())
    }

    fn check_name(&mut self, name: u8) -> Step {
        let what = self.names[name as usize];
        let path = self.path(name);
        let found = fs::symlink_metadata(&path);
        let Some(&inode) = self.model.names.get(&name) else {
            return match found {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                other => Err(format!("{what}: must not be there: {other:?}")),
            };
        };
        let found = at(what, found)?;
        let nlink = self.model.nlink(inode);
        let file = &mut self.model.inodes[inode];
        attributes(what, file, nlink, &found)?;
        let xattr = match sys::get_xattr(&path, "user.t") {
            Ok(value) => Some(value),
            Err(Errno::NODATA) => None,
            Err(errno) => return at(what, Err(errno.into())),
        };
        match xattr == file.xattr.map(|value| vec![value]) {
            true => Ok(()),
            false => {
                Err(format!("{what}: the extended attribute is {xattr:?}, not {:?}", file.xattr))
            }
        }
    }

    fn check_data(&self, what: &str, fd: &Fd, whole: bool) -> Step {
        if !fd.how.reads() {
            return Ok(());
        }
        let file = &self.model.inodes[fd.inode];
        for (from, len) in parts(file, whole) {
            let found = at(what, Self::read_part(fd, from, len))?;
            same(what, from, cut(&file.data, from, len), &found)?;
        }
        Ok(())
    }

    /// Compares all contents by names, with nothing else open.
    pub fn check_closed(&mut self) -> Step {
        self.check_these(&(0..self.names.len() as u8).collect::<Vec<_>>())
    }

    /// As `check_closed`, of these names.
    pub fn check_these(&mut self, names: &[u8]) -> Step {
        for &name in names {
            self.check_name(name)?;
            let Some(&inode) = self.model.names.get(&name) else { continue };
            let what = self.names[name as usize];
            let found = at(what, fs::read(self.dir.join(what)))?;
            same(what, 0, &self.model.inodes[inode].data, &found)?;
        }
        Ok(())
    }

    /// Lets go of all files; what mappings have written is acknowledged.
    pub fn close_all(&mut self) -> Step {
        self.maps.clear();
        self.fds.clear();
        Ok(())
    }
}

fn attributes(what: &str, file: &mut Inode, nlink: u64, found: &Metadata) -> Step {
    let number = *file.number.get_or_insert(found.ino());
    if file.bits_may_go && found.mode() & 0o7777 == file.without_bits() {
        (file.mode, file.bits_may_go) = (file.without_bits(), false);
    }
    let expected = (file.data.len() as u64, file.mode, file.owner, nlink, number);
    let found_all = (found.size(), found.mode() & 0o7777, found.uid(), found.nlink(), found.ino());
    if expected != found_all {
        return Err(format!(
            "{what}: (size, mode, owner, nlink, ino) are {}, not {}",
            show(found_all),
            show(expected)
        ));
    }
    match file.mtime {
        Some(time) if time != found.mtime() => {
            Err(format!("{what}: modified at {}, not at {time}", found.mtime()))
        }
        _ => Ok(()),
    }
}

fn show((size, mode, owner, nlink, number): (u64, u32, u32, u64, u64)) -> String {
    format!("({size}, {mode:o}, {owner}, {nlink}, {number})")
}

fn check_map(slot: u8, map: &Map, file: &Inode) -> Step {
    let what = format!("mapping {slot}");
    let end = map.end().min(file.data.len());
    if end <= map.start {
        return Ok(());
    }
    let found = at(&what, map.read(map.start, end - map.start))?;
    let mut expected = file.data[map.start..end].to_vec();
    for (page, held) in &map.private {
        for (offset, byte) in held.iter().enumerate() {
            if let Some(place) = expected.get_mut(page - map.start + offset) {
                *place = *byte;
            }
        }
    }
    same(&what, map.start, &expected, &found)
}
