//! Images of file systems: made, copied, mounted, and rebuilt as a power cut
//! leaves them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::dice::Dice;
use super::disk::{Record, zero};

/// How long something may stay busy.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(2);
const MIB: u64 = 1 << 20;

/// A file system to have the storage on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FsKind {
    /// 64 MiB of ext4.
    Ext4,
    /// 300 MiB of XFS, the least that it takes.
    Xfs,
    /// 128 MiB of btrfs.
    Btrfs,
}

impl FsKind {
    /// As mount(8) calls it.
    pub fn name(self) -> &'static str {
        match self {
            FsKind::Ext4 => "ext4",
            FsKind::Xfs => "xfs",
            FsKind::Btrfs => "btrfs",
        }
    }

    /// Makes an empty file system in the new file `image`.
    ///
    /// # Errors
    /// mkfs fails, or is not installed.
    pub fn make(self, image: &Path) -> io::Result<()> {
        let (size, program, arguments): (u64, &str, &[&str]) = match self {
            FsKind::Ext4 => {
                let extended = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
                (64, "mkfs.ext4", &["-q", "-F", "-E", extended])
            }
            FsKind::Xfs => (300, "mkfs.xfs", &["-q", "-f", "-K"]),
            FsKind::Btrfs => (128, "mkfs.btrfs", &["-q", "-f", "-K"]),
        };
        File::create_new(image)?.set_len(size * MIB)?;
        run(Command::new(program).args(arguments).arg(image))
    }

    /// What the disk has to write whole. ext4 has a super block of 1 KiB with a check sum,
    /// btrfs one of 4 KiB that it goes by, and neither mounts with half of it.
    pub fn sector(self) -> usize {
        match self {
            FsKind::Xfs => 512,
            FsKind::Ext4 => 1024,
            FsKind::Btrfs => 4096,
        }
    }

    fn options(self) -> &'static str {
        match self {
            FsKind::Ext4 | FsKind::Btrfs => "loop",
            FsKind::Xfs => "loop,nouuid",
        }
    }
}

/// Runs a program to its success.
///
/// # Errors
/// It cannot be run or fails; with what it wrote to standard error.
pub fn run(command: &mut Command) -> io::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| io::Error::other(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program}: {}", text.trim())))
}

/// A mounted image; unmounted, and its loop device released, when dropped.
pub struct MountedImage {
    dir: PathBuf,
}

impl MountedImage {
    /// Mounts `image` on the directory `dir` by a loop device that goes away
    /// with the mount.
    ///
    /// # Errors
    /// What mount(8) says.
    pub fn new(kind: FsKind, image: &Path, dir: &Path) -> io::Result<Self> {
        let mut command = Command::new("mount");
        run(command.args(["-t", kind.name(), "-o", kind.options()]).arg(image).arg(dir))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for MountedImage {
    fn drop(&mut self) {
        leave(&self.dir);
    }
}

/// Unmounts; as soon as nobody uses it, and without waiting for ever.
pub fn leave(dir: &Path) {
    let start = Instant::now();
    loop {
        match unmount(dir, UnmountFlags::empty()) {
            Err(Errno::BUSY) if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(Errno::BUSY) => {
                eprintln!("{} stays busy", dir.display());
                let _ = unmount(dir, UnmountFlags::DETACH);
                return;
            }
            _ => return,
        }
    }
}

/// Copies an image; holes, and blocks of zeros, become holes.
///
/// # Errors
/// What reading and writing gives.
pub fn copy_sparse(from: &Path, to: &Path) -> io::Result<File> {
    const BLOCK: usize = 64 << 10;
    let source = File::open(from)?;
    let size = source.metadata()?.len();
    let target = File::options().read(true).write(true).create_new(true).open(to)?;
    target.set_len(size)?;
    let mut block = vec![0; BLOCK];
    let mut place = 0;
    while let Some(start) = next(&source, SeekFrom::Data(place))? {
        let end = next(&source, SeekFrom::Hole(start))?.unwrap_or(size);
        place = start;
        while place < end {
            let length = (end - place).min(BLOCK as u64) as usize;
            let part = block.get_mut(..length).unwrap_or_default();
            source.read_exact_at(part, place)?;
            if part.iter().any(|&byte| byte != 0) {
                target.write_all_at(part, place)?;
            }
            place += length as u64;
        }
    }
    Ok(target)
}

fn next(file: &File, from: SeekFrom) -> io::Result<Option<u64>> {
    match seek(file, from) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// What reached the disk of that which was written since the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// Nothing.
    Nothing,
    /// Everything.
    All,
    /// Some whole writes.
    Some,
    /// Some sectors of this size.
    Torn(usize),
}

impl Remains {
    /// One of them.
    pub fn choose(sector: usize, dice: &mut Dice) -> Self {
        let all = [Self::Nothing, Self::All, Self::Some, Self::Torn(sector)];
        *dice.pick(&all).unwrap_or(&Self::All)
    }
}

/// How many of the first `at` records are durable.
pub fn last_flush(records: &[Record], at: usize) -> usize {
    let before = records.get(..at).unwrap_or(records);
    let flush = before.iter().rposition(|record| matches!(record, Record::Flush));
    flush.map_or(0, |place| place + 1)
}

/// Brings `image`, as it was at the beginning of the log, to what the disk holds
/// after `records`, of which the first `durable` reached it in any case.
///
/// # Errors
/// What writing gives.
pub fn replay(
    image: &File,
    records: &[Record],
    durable: usize,
    remains: Remains,
    dice: &mut Dice,
) -> io::Result<()> {
    for (place, record) in records.iter().enumerate() {
        let late = place >= durable;
        match (record, remains) {
            (Record::Write { offset, data }, Remains::Torn(sector)) if late => {
                torn(image, *offset, data, sector, dice)?;
            }
            _ if late && remains == Remains::Nothing => (),
            _ if late && remains != Remains::All && dice.chance(50) => (),
            (Record::Write { offset, data }, _) => image.write_all_at(data, *offset)?,
            (Record::Zero { offset, length }, _) => zero(image, *offset, *length)?,
            _ => (),
        }
    }
    Ok(())
}

/// Some sectors of a write: from nothing to all of it.
fn torn(image: &File, offset: u64, data: &[u8], sector: usize, dice: &mut Dice) -> io::Result<()> {
    let percent = *dice.pick(&[0, 50, 90, 100]).unwrap_or(&0);
    for (part, place) in data.chunks(sector).zip((offset..).step_by(sector)) {
        if dice.chance(percent) {
            image.write_all_at(part, place)?;
        }
    }
    Ok(())
}
