//! What files must show: bytes in memory, an entry per file.

use std::collections::BTreeMap;

/// What a file must show.
#[derive(Clone, Debug)]
pub struct Inode {
    pub data: Vec<u8>,
    pub mode: u32,
    pub owner: u32,
    /// Seconds, where they were set and nothing has changed the data since.
    pub mtime: Option<i64>,
    pub xattr: Option<u8>,
    /// A write may have taken setuid and setgid bits away, though the writer is
    /// root: under passthrough the kernel writes without the right to keep them.
    pub bits_may_go: bool,
    /// It has had setuid or setgid bits: passthrough is avoided then, and
    /// mappings of both ways show each other's changes late.
    pub had_bits: bool,
    /// `st_ino`, once seen.
    pub number: Option<u64>,
    /// Where it was last changed: compared most often.
    pub hot: usize,
}

impl Inode {
    pub fn new(data: Vec<u8>, mode: u32, mtime: Option<i64>) -> Inode {
        let had_bits = mode & 0o6000 != 0;
        Inode {
            data,
            mode,
            owner: 0,
            mtime,
            xattr: None,
            bits_may_go: false,
            had_bits,
            number: None,
            hot: 0,
        }
    }

    fn touch(&mut self, at: usize) {
        self.hot = at;
        self.mtime = None;
        self.bits_may_go = self.mode & 0o6000 != 0;
    }

    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        self.data[at..end].copy_from_slice(bytes);
        self.touch(at);
    }

    pub fn truncate(&mut self, size: usize) {
        self.data.resize(size, 0);
        self.touch(size);
    }

    /// Zeroes inside the file.
    pub fn zero(&mut self, at: usize, len: usize) {
        let end = (at + len).min(self.data.len());
        if at < end {
            self.data[at..end].fill(0);
        }
        self.touch(at);
    }

    /// Grows to hold `end` bytes.
    pub fn reach(&mut self, end: usize) {
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        self.touch(end);
    }

    /// What a write takes away.
    pub fn without_bits(&self) -> u32 {
        let group = if self.mode & 0o010 != 0 { 0o2000 } else { 0 };
        self.mode & !(0o4000 | group)
    }

    /// What chown(2) does to the bits, whoever calls it.
    pub fn chown(&mut self, owner: u32) {
        self.owner = owner;
        self.mode = self.without_bits();
    }
}

/// All files of a case.
#[derive(Clone, Debug)]
pub struct Model {
    pub inodes: Vec<Inode>,
    /// By number of the name.
    pub names: BTreeMap<u8, usize>,
}

impl Model {
    pub fn nlink(&self, inode: usize) -> u64 {
        self.names.values().filter(|&&named| named == inode).count() as u64
    }

    pub fn add(&mut self, name: u8, inode: Inode) -> usize {
        self.inodes.push(inode);
        self.names.insert(name, self.inodes.len() - 1);
        self.inodes.len() - 1
    }

    /// rename(2): nothing where both are names of one file.
    pub fn rename(&mut self, from: u8, to: u8) {
        let Some(&moved) = self.names.get(&from) else { return };
        if self.names.get(&to) != Some(&moved) {
            self.names.remove(&from);
            self.names.insert(to, moved);
        }
    }
}
