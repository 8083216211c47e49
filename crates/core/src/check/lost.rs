//! What META and the storage say of a base that does not have it (any more).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hashbrown::HashSet;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::error::Warning;
use crate::meta::Index;
use crate::name::{INDEX_NAME, file_name, parent};
use crate::overlay::{Evidence, Verdict, is_bare, read_mark};
use crate::own::OwnAttributes;
use crate::sys::{self, Spot, Within};

/// Redirects that lead nowhere are listed up to this number also where only a
/// count was asked for: each hides a whole directory.
const LISTED: u64 = 100;

/// Whiteouts, and files of the storage, that are compared with the base where only
/// a count was asked for: a mount must not take seconds for a million of them. It
/// says so where there are more.
pub(super) const LOOKS: u64 = 10_000;

/// What a directory of the storage shows of the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Nothing.
    Nothing,
    /// The base directory of the same name in the parent's base directory.
    Same,
    /// The one of this path.
    Path(Box<[u8]>),
}

/// Its base directory, as far as it is known.
pub(super) enum BaseDir {
    /// Here it is.
    Open(OwnedFd),
    /// It has none: META says so.
    None,
    /// It is not there (any more).
    Gone,
    /// It was closed on the way down.
    Closed,
}

impl BaseDir {
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            BaseDir::Open(fd) => Some(fd.as_fd()),
            _ => None,
        }
    }

    fn of(opened: Result<OwnedFd, Errno>) -> BaseDir {
        opened.map_or(BaseDir::Gone, BaseDir::Open)
    }

    /// The root of the base.
    pub fn root(base: &OwnedFd) -> BaseDir {
        BaseDir::of(rustix::io::fcntl_dupfd_cloexec(base, 0))
    }

    /// That of a subdirectory `name` which shows `shows`. `above`: what the
    /// directories above it show, from the root (which is not among them).
    pub fn below<'l>(
        &self,
        base: &OwnedFd,
        name: &'l [u8],
        shows: &'l Shows,
        above: impl Iterator<Item = (&'l [u8], &'l Shows)>,
    ) -> BaseDir {
        match (shows, self) {
            (Shows::Nothing, _) | (Shows::Same, BaseDir::None) => BaseDir::None,
            (Shows::Same, BaseDir::Gone) => BaseDir::Gone,
            (Shows::Path(path), _) => BaseDir::of(open_path(base, path)),
            (Shows::Same, BaseDir::Open(fd)) => BaseDir::of(sys::open_dir(fd.as_fd(), name)),
            (Shows::Same, BaseDir::Closed) => {
                let mut path = Vec::new();
                for (name, shows) in above.chain([(name, shows)]) {
                    match shows {
                        Shows::Nothing => return BaseDir::None,
                        Shows::Path(target) => path = target.to_vec(),
                        Shows::Same => {
                            path.push(b'/');
                            path.extend_from_slice(name);
                        }
                    }
                }
                BaseDir::of(open_path(base, &path))
            }
        }
    }
}

/// Opens a base directory name by name.
fn open_path(base: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut at = rustix::io::fcntl_dupfd_cloexec(base, 0)?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        at = sys::open_dir(at.as_fd(), name)?;
    }
    Ok(at)
}

fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Collects what is lost.
pub(super) struct Lost<'a> {
    pub base: &'a OwnedFd,
    /// How the marks of partial files are named.
    names: OwnAttributes,
    /// Every entry is listed; else most are only counted.
    pub list: bool,
    /// Entries that were found and not listed.
    pub unlisted: u64,
    /// Files that lack data which the base has not any more, not listed.
    pub data_lost: u64,
    /// Files with data of their own on top of a base file, as far as was looked.
    pub dependent: u64,
    /// Maps of the files that were looked at.
    pub maps: HashSet<u64>,
    /// There may be marks that nobody has looked at.
    pub unsure: bool,
    /// There was more than is looked at, see [`LOOKS`].
    pub skipped: bool,
    /// Some files may be partial, so it is worth looking.
    pub partial: bool,
    /// What tells base files apart.
    evidence: Evidence,
    looks: u64,
    file_looks: u64,
    redirects: u64,
}

impl<'a> Lost<'a> {
    /// `partial`: the storage may have partial files. `accepted`: see [`Evidence::of`].
    pub fn new(
        (base, accepted): (&'a OwnedFd, bool),
        names: OwnAttributes,
        list: bool,
        partial: bool,
    ) -> Lost<'a> {
        Lost {
            base,
            names,
            list,
            unlisted: 0,
            data_lost: 0,
            dependent: 0,
            maps: HashSet::new(),
            unsure: false,
            skipped: false,
            partial,
            evidence: Evidence::of(base, accepted),
            looks: 0,
            file_looks: 0,
            redirects: 0,
        }
    }

    /// One more file of the storage may be looked at.
    pub fn may_look(&mut self) -> bool {
        self.file_looks += 1;
        let may = self.list || self.file_looks <= LOOKS;
        self.unsure |= !may;
        self.skipped |= self.partial && !may;
        self.partial && may
    }

    fn found(&mut self, warnings: &mut Vec<Warning>, warning: Warning) {
        if self.list {
            warnings.push(warning);
        } else {
            self.unlisted += 1;
        }
    }

    /// Compares META of the storage directory `dir` with the base.
    pub fn meta(&mut self, index: &Index, own: &BaseDir, dir: &Path, warnings: &mut Vec<Warning>) {
        for (name, target) in index.redirects() {
            if !open_path(self.base, target).is_err_and(is_gone) {
                continue;
            }
            self.redirects += 1;
            let target = PathBuf::from(OsStr::from_bytes(target));
            let warning = Warning::RedirectLost { path: dir.join(OsStr::from_bytes(name)), target };
            if self.redirects <= LISTED {
                warnings.push(warning);
            } else {
                self.found(warnings, warning);
            }
        }
        // Without a base they do not matter: a crash left an empty directory.
        let hidden = index.hidden().filter(|_| !matches!(own, BaseDir::None));
        for name in hidden {
            if !self.list && self.looks == LOOKS {
                self.skipped = true;
                break;
            }
            self.looks += 1;
            let there = own.fd().map(|own| sys::stat(Spot::at(own, name)).map(drop));
            if there.unwrap_or(Err(Errno::NOENT)).is_err_and(is_gone) {
                let path = dir.join(OsStr::from_bytes(name));
                self.found(warnings, Warning::WhiteoutLost { path });
            }
        }
    }

    /// Looks whether the base still has the data that a storage file lacks. For a
    /// file that only got new attributes or names any base file does.
    /// `root`: the storage as a whole.
    pub fn data(
        &mut self,
        root: BorrowedFd<'_>,
        storage: Within<'_>,
        name: &[u8],
        dir: &Path,
        warnings: &mut Vec<Warning>,
    ) {
        let read = read_mark(self.names, Spot::at(storage, name));
        self.unsure |= read.is_err();
        let Ok(Some(mark)) = read else { return };
        self.maps.insert(mark.map);
        let Ok(stored) = sys::stat(Spot::at(storage, name)) else { return };
        let index = sys::open_dir(root, INDEX_NAME.as_bytes()).ok();
        let bare = is_bare(index.as_ref().map(AsFd::as_fd), &mark, &stored);
        self.dependent += u64::from(!bare);
        let there = open_path(self.base, parent(&mark.path)).and_then(|dir| {
            let stat = sys::stat(Spot::at(dir.as_fd(), file_name(&mark.path)))?;
            let is_file = u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFREG;
            let same = || self.evidence.compare(&mark, &stat) != Verdict::Another;
            Ok(is_file && (bare || same()))
        });
        if there == Ok(true) {
            return;
        }
        if self.list {
            let path = dir.join(OsStr::from_bytes(name));
            let source_path = PathBuf::from(OsStr::from_bytes(&mark.path));
            warnings.push(Warning::DataLost { path, source_path });
        } else {
            self.data_lost += 1;
        }
    }

    /// Compares the type of a storage entry with that of the base entry that
    /// it replaces. `kind`: type bits, 0 where unknown.
    pub fn entry(
        &mut self,
        name: &[u8],
        kind: u32,
        own: BorrowedFd<'_>,
        dir: &Path,
        warnings: &mut Vec<Warning>,
    ) {
        let Ok(stat) = sys::stat(Spot::at(own, name)) else { return };
        if kind != 0 && u32::from(stat.stx_mode) & libc::S_IFMT != kind {
            let path = dir.join(OsStr::from_bytes(name));
            self.found(warnings, Warning::TypeChanged { path });
        }
    }
}
