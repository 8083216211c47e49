//! What tells the base file that a file has data on from another one with the same
//! size and time.
#![forbid(unsafe_code)]

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FsWord, Statx};

use crate::format::mark::{BaseFile, Mark};
use crate::format::time::Timestamp;
use crate::sys;
use crate::sys::magic::{
    BCACHEFS, BTRFS, CRAMFS, EROFS, EXT4, F2FS, ISO9660, JFFS2, JFS, NFS, ROMFS, SQUASHFS, TMPFS,
    UBIFS, XFS, ZFS,
};

/// File systems whose files keep their numbers, and their change times
/// as well. Of others (FAT, FUSE, overlayfs) numbers are made up at each mount.
const KEEPING: [FsWord; 11] =
    [EXT4, XFS, BTRFS, F2FS, TMPFS, NFS, UBIFS, JFFS2, JFS, BCACHEFS, ZFS];

/// Those of images, which have no change time of their own, or that of the build.
const IMAGES: [FsWord; 5] = [SQUASHFS, EROFS, ISO9660, CRAMFS, ROMFS];

/// What is known of the base as a whole.
pub(crate) struct Evidence {
    /// Device of its root: nothing is known of what is mounted below.
    device: Option<u64>,
    keeps_ctimes: bool,
    is_image: bool,
    fsid: u64,
    /// Time of modification of its root.
    built: Timestamp,
    /// The user says that the base is the same one.
    accepted: bool,
}

/// Whether a base file is the one that a mark is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is.
    Same,
    /// It is taken for it, and the mark does not say so yet.
    Taken,
    /// It is not, as far as can be told.
    Another,
}

impl Evidence {
    /// `accepted`: size and time of a base file are enough.
    pub fn of(base: &OwnedFd, accepted: bool) -> Evidence {
        let kind = rustix::fs::fstatfs(base).map_or(0, |stat| stat.f_type);
        let (keeps_ctimes, is_image) = (KEEPING.contains(&kind), IMAGES.contains(&kind));
        let stat = sys::stat_fd(base).ok();
        let built = stat.as_ref().map_or_else(Timestamp::default, |stat| stat.stx_mtime.into());
        let device = stat.filter(|_| keeps_ctimes || is_image).map(|stat| sys::device(&stat));
        let fsid = sys::fsid(base.as_fd()).unwrap_or(0);
        Evidence { device, keeps_ctimes, is_image, fsid, built, accepted }
    }

    /// What tells a base file apart, where that lasts.
    pub fn file(&self, stat: &Statx) -> Option<BaseFile> {
        let ctime = if self.keeps_ctimes { stat.stx_ctime.into() } else { Timestamp::default() };
        let file = BaseFile { ino: stat.stx_ino, ctime, fsid: self.fsid };
        (self.device == Some(sys::device(stat))).then_some(file)
    }

    /// Compares what a mark is of with the base file that is there.
    pub fn compare(&self, mark: &Mark, stat: &Statx) -> Verdict {
        if stat.stx_size != mark.size || mark.mtime != stat.stx_mtime.into() {
            return Verdict::Another;
        }
        let Some(known) = &mark.file else { return Verdict::Same };
        let now = self.file(stat);
        if now.as_ref().is_some_and(|now| known.agrees(now)) {
            return Verdict::Same;
        }
        // Numbers of an image change with whatever is added to it. If its files have
        // times, these tell.
        if self.accepted || !self.keeps_ctimes && self.is_telling(mark.mtime) {
            return Verdict::Taken;
        }
        Verdict::Another
    }

    /// Two files of one size and this time of modification hold the same, as far as
    /// anybody knows: it is none of an image whose files all have one.
    pub fn tells(&self, mtime: Timestamp) -> bool {
        !self.is_image || self.is_telling(mtime)
    }

    /// Not one of the times that a build gives to all files.
    fn is_telling(&self, time: Timestamp) -> bool {
        time.sec > 1 && time.sec != self.built.sec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(keeps_ctimes: bool, accepted: bool) -> Evidence {
        let built = Timestamp { sec: 1000, nsec: 0 };
        let is_image = !keeps_ctimes;
        Evidence { device: Some(0), keeps_ctimes, is_image, fsid: 7 << 32, built, accepted }
    }

    fn stat(sec: i64, ino: u64, changed: i64) -> Statx {
        let dir = tempfile::TempDir::new().unwrap();
        let fd = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let mut stat = sys::stat_fd(&fd).unwrap();
        (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_size, stat.stx_ino) = (0, 0, 9, ino);
        (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec) = (sec, 0);
        stat.stx_ctime.tv_sec = changed;
        stat.stx_ctime.tv_nsec = 0;
        stat
    }

    fn mark(evidence: &Evidence, stat: &Statx) -> Mark {
        let (size, mtime) = (stat.stx_size, stat.stx_mtime.into());
        let file = evidence.file(stat);
        Mark { map: 1, size, mtime, blocks: 0, file, unfinished: None, path: b"x".to_vec() }
    }

    #[test]
    fn number_and_change_time_tell_where_they_last() {
        let kept = evidence(true, false);
        let made = mark(&kept, &stat(500, 12, 600));
        assert_eq!(kept.compare(&made, &stat(500, 12, 600)), Verdict::Same);
        for other in [stat(500, 13, 600), stat(500, 12, 601)] {
            assert_eq!(kept.compare(&made, &other), Verdict::Another);
            assert_eq!(evidence(true, true).compare(&made, &other), Verdict::Taken);
        }
        let elsewhere = Evidence { fsid: 8 << 32, ..evidence(true, false) };
        assert_eq!(elsewhere.compare(&made, &stat(500, 12, 600)), Verdict::Another);
        let unknown = Evidence { fsid: 0, ..evidence(true, false) };
        assert_eq!(unknown.compare(&made, &stat(500, 12, 600)), Verdict::Same);
        let old = Mark { file: None, ..made };
        assert_eq!(kept.compare(&old, &stat(500, 13, 601)), Verdict::Same);
        assert_eq!(evidence(true, true).compare(&old, &stat(501, 13, 601)), Verdict::Another);
    }

    #[test]
    fn times_of_an_image_tell_unless_all_files_have_one() {
        let image = evidence(false, false);
        let made = mark(&image, &stat(500, 12, 600));
        assert_eq!(image.compare(&made, &stat(500, 12, 601)), Verdict::Same);
        assert_eq!(image.compare(&made, &stat(500, 13, 601)), Verdict::Taken);
        for fixed in [0, 1, 1000] {
            let made = mark(&image, &stat(fixed, 12, 600));
            assert_eq!(image.compare(&made, &stat(fixed, 12, 600)), Verdict::Same);
            assert_eq!(image.compare(&made, &stat(fixed, 13, 600)), Verdict::Another);
        }
    }
}
