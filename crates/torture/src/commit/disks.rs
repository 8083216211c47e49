//! Base and storage on one disk, or on two, and what power cuts leave of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::case::{Verdict, text};
use crate::cuts::dice::Dice;
use crate::cuts::disk::{Log, Record, Served};
use crate::cuts::image::{FsKind, MountedImage, Remains, copy_sparse, last_flush, replay};
use crate::mount::Layers;

/// So many cuts of a hundred are where the command has just returned.
const AT_THE_END: usize = 15;

/// Bytes that reach a disk whole. Less is what `mini_fo_torture cut` tries: here a file system is
/// mounted and cut again, and XFS, which tells by the head of a block whether that was replayed,
/// does not stand half blocks in its recovery.
const SECTOR: usize = 4096;

/// Where the images are, and where they are mounted.
pub struct Disks {
    kind: FsKind,
    dir: PathBuf,
    /// The storage has one of its own.
    two: bool,
    /// They forget what was flushed.
    lie: bool,
}

/// Images of the disks as they were at some moment; removed when dropped.
pub struct Images(Vec<PathBuf>);

impl Drop for Images {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| drop(fs::remove_file(path)));
    }
}

/// What reached the disks while a command ran on them, each as it has seen it.
pub struct Recording {
    logs: Vec<Vec<Record>>,
    // Dropped in this order.
    _mounted: Vec<MountedImage>,
    _served: Vec<Served>,
    _images: Images,
}

/// What a cut has left.
pub struct Left {
    pub images: Images,
    /// The command had returned before it.
    pub ended: bool,
    pub story: String,
}

impl Disks {
    /// Makes file systems in a new directory `dir`, in which nothing is.
    ///
    /// # Errors
    /// mkfs fails.
    pub fn new(kind: FsKind, dir: &Path, lie: bool) -> io::Result<Disks> {
        let disks = Disks { kind, dir: dir.to_owned(), two: false, lie };
        fs::create_dir(dir)?;
        for number in [0, 1] {
            for part in ["fs", "disk"] {
                fs::create_dir(disks.place(part, number))?;
            }
            // No copies of each other: a kernel that knows both takes them for one.
            kind.make(&disks.place("template", number))?;
        }
        Ok(disks)
    }

    /// The same, with the storage on a disk of its own or not.
    pub fn with(&mut self, two: bool) {
        self.two = two;
    }

    pub fn layers(&self) -> Layers {
        let storage = self.place("fs", u8::from(self.two)).join("storage");
        Layers { base: self.place("fs", 0).join("base"), storage, mnt: self.dir.join("mnt") }
    }

    fn place(&self, name: &str, number: u8) -> PathBuf {
        self.dir.join(format!("{name}{number}"))
    }

    fn numbers(&self) -> std::ops::RangeInclusive<u8> {
        0..=u8::from(self.two)
    }

    /// New images like others, or like those of empty file systems.
    fn copies(&self, name: &str, of: Option<&Images>) -> io::Result<Images> {
        let mut images = Images(Vec::new());
        for number in self.numbers() {
            let template = self.place("template", number);
            let from = of.and_then(|images| images.0.get(usize::from(number)));
            let to = self.place(name, number);
            images.0.push(to.clone());
            copy_sparse(from.unwrap_or(&template), &to)?;
        }
        Ok(images)
    }

    /// Mounts images for as long as the result lives.
    ///
    /// # Errors
    /// What mount(8) says.
    pub fn mounted(&self, images: &Images) -> io::Result<Vec<MountedImage>> {
        let each = self.numbers().zip(&images.0);
        each.map(|(at, image)| MountedImage::new(self.kind, image, &self.place("fs", at))).collect()
    }

    /// Images of what `fill` makes on empty disks.
    ///
    /// # Errors
    /// It fails.
    pub fn filled<T>(&self, fill: impl FnOnce() -> Verdict<T>) -> Verdict<(Images, T)> {
        let images = self.copies("ready", None).map_err(text)?;
        let mounted = self.mounted(&images).map_err(text)?;
        let filled = fill()?;
        drop(mounted);
        Ok((images, filled))
    }

    /// Runs a command on copies of images. The disks stay mounted with what it has made of them,
    /// as long as the result lives.
    ///
    /// # Errors
    /// It fails.
    pub fn recorded<T>(
        &self,
        images: &Images,
        command: impl FnOnce() -> Verdict<T>,
    ) -> Verdict<(Recording, T)> {
        let copies = self.copies("run", Some(images)).map_err(text)?;
        let path = self.dir.join("log");
        let _ = fs::remove_file(&path);
        let each = self.numbers().zip(&copies.0);
        let serve =
            |(at, image): (u8, &PathBuf)| Served::new(image, &self.place("disk", at), &path, at);
        let served: Vec<Served> = each.map(serve).collect::<io::Result<_>>().map_err(text)?;
        let disks = self.numbers().zip(&served).map(|(at, disk)| {
            MountedImage::new(self.kind, &disk.path(), &self.place("fs", at)).map_err(text)
        });
        let mounted: Vec<MountedImage> = disks.collect::<Verdict<_>>()?;
        let log = Log::open(&path, 0).map_err(text)?;
        log.add(&Record::Begin(1)).map_err(text)?;
        let done = command()?;
        log.add(&Record::End(1)).map_err(text)?;
        let logs = self.numbers().map(|number| Log::read(&path, number));
        let logs = logs.collect::<io::Result<Vec<_>>>().map_err(text)?;
        Ok((Recording { logs, _mounted: mounted, _served: served, _images: copies }, done))
    }

    /// What a cut of the power at some moment of a recording has left, which began with `images`.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub fn cut(
        &self,
        name: &str,
        images: &Images,
        recording: &Recording,
        dice: &mut Dice,
    ) -> io::Result<Left> {
        let first = recording.logs.first().map_or(&[][..], Vec::as_slice);
        let begun = |record: &Record| matches!(record, Record::Begin(_));
        let start = first.iter().position(begun).unwrap_or(0);
        let end = first.iter().rposition(|record| matches!(record, Record::End(_)));
        let end = end.map_or(first.len(), |end| end + 1);
        // What comes behind the end is what was read from there on.
        let at = if dice.chance(AT_THE_END) { end } else { start + 1 + dice.below(end - start) };
        let left = self.copies(name, Some(images))?;
        let mut story = format!("cut {}/{}", at - start, end - start);
        for (path, records) in left.0.iter().zip(&recording.logs) {
            let image = fs::File::options().read(true).write(true).open(path)?;
            let before = records.get(..at).unwrap_or(records);
            let remains = Remains::choose(SECTOR, dice);
            let kept = if self.lie { start + dice.below(at - start) } else { at };
            replay(&image, before, last_flush(records, kept), remains, dice)?;
            story.push_str(&format!(" {remains:?}"));
        }
        Ok(Left { images: left, ended: at >= end, story })
    }
}
