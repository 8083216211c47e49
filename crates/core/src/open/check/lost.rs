//! What META and the storage say of a base that does not have it (any more).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashSet;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

use crate::format::meta::Index;
use crate::interface::error::Warning;
use crate::layers::{LowerDir, Stack};
use crate::store::partial::{Verdict, is_bare, read_mark};
use crate::sys::own::OwnAttributes;
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
    Open(Arc<LowerDir>),
    /// It has none: META says so.
    None,
    /// It is not there (any more).
    Gone,
    /// It was closed on the way down.
    Closed,
}

impl BaseDir {
    pub fn dir(&self) -> Option<&LowerDir> {
        match self {
            BaseDir::Open(dir) => Some(dir),
            _ => None,
        }
    }

    fn of(opened: Result<Option<Arc<LowerDir>>, Errno>) -> BaseDir {
        opened.ok().flatten().map_or(BaseDir::Gone, BaseDir::Open)
    }

    /// The root of the base.
    pub fn root(stack: &Stack) -> BaseDir {
        BaseDir::of(stack.root().map(Some))
    }

    /// That of a subdirectory `name` which shows `shows`. `above`: what the
    /// directories above it show, from the root (which is not among them).
    pub fn below<'l>(
        &self,
        stack: &Stack,
        name: &'l [u8],
        shows: &'l Shows,
        above: impl Iterator<Item = (&'l [u8], &'l Shows)>,
    ) -> BaseDir {
        match (shows, self) {
            (Shows::Nothing, _) | (Shows::Same, BaseDir::None) => BaseDir::None,
            (Shows::Same, BaseDir::Gone) => BaseDir::Gone,
            (Shows::Path(path), _) => BaseDir::of(stack.open_path(0, path)),
            (Shows::Same, BaseDir::Open(dir)) => BaseDir::of(stack.open_below(dir, name)),
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
                BaseDir::of(stack.open_path(0, &path))
            }
        }
    }
}

/// Collects what is lost.
pub(super) struct Lost<'a> {
    pub stack: &'a Stack,
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
    looks: u64,
    file_looks: u64,
    redirects: u64,
}

impl<'a> Lost<'a> {
    /// `partial`: the storage may have partial files.
    pub fn new(stack: &'a Stack, names: OwnAttributes, list: bool, partial: bool) -> Lost<'a> {
        Lost {
            stack,
            names,
            list,
            unlisted: 0,
            data_lost: 0,
            dependent: 0,
            maps: HashSet::new(),
            unsure: false,
            skipped: false,
            partial,
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
            if !matches!(self.stack.open_path(0, target), Ok(None)) {
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
            let there = own.dir().map(|own| self.stack.look(own, name));
            if matches!(there, None | Some(Ok(None))) {
                let path = dir.join(OsStr::from_bytes(name));
                self.found(warnings, Warning::WhiteoutLost { path });
            }
        }
    }

    /// Looks whether the base still has the data that a storage file lacks. For a
    /// file that only got new attributes or names any base file does.
    /// `root`: the storage as a whole, and what its index is called.
    pub fn data(
        &mut self,
        (root, index): (BorrowedFd<'_>, &str),
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
        let index = sys::open_dir(root, index.as_bytes()).ok();
        let bare = is_bare(index.as_ref().map(AsFd::as_fd), &mark, &stored);
        self.dependent += u64::from(!bare);
        let there = self.stack.marked_stat(0, &mark).is_ok_and(|stat| {
            bare || self.stack.evidence.compare(&mark, &stat) != Verdict::Another
        });
        if there {
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
        own: &LowerDir,
        dir: &Path,
        warnings: &mut Vec<Warning>,
    ) {
        let Ok(Some(below)) = self.stack.look(own, name) else { return };
        if kind != 0 && sys::kind(&below.stat) != kind {
            let path = dir.join(OsStr::from_bytes(name));
            self.found(warnings, Warning::TypeChanged { path });
        }
    }
}
