//! What of a storage programs have open, or mapped: it stays there.

use std::sync::Arc;

use hashbrown::HashSet;
use rustix::fs::OFlags;

use crate::commit::plan::{CommitFate, CommitPlan};
use crate::format::commit::Path;
use crate::ops::listing::OpenDir;
use crate::reach::overlay::Overlay;
use crate::state::open_file::OpenFile;
use crate::sys::{self, Result};

/// What a server has handed out.
#[derive(Default)]
pub struct OpenNow {
    /// Open files.
    pub files: Vec<Arc<OpenFile>>,
    /// Open directories.
    pub dirs: Vec<Arc<OpenDir>>,
    /// Mappings may have outlived the files that they were made by.
    pub outlived: bool,
}

/// Paths of the tree where something in the storage is in use.
pub struct InUse {
    paths: Vec<Path>,
    known: HashSet<Path>,
    pub(super) files: Vec<Arc<OpenFile>>,
    pub(super) dirs: Vec<Arc<OpenDir>>,
    outlived: bool,
}

impl InUse {
    pub(super) fn of(overlay: &Overlay, open: OpenNow) -> InUse {
        let OpenNow { files, dirs, outlived } = open;
        let (paths, known) = (Vec::new(), HashSet::new());
        let mut in_use = InUse { paths, known, files: Vec::new(), dirs, outlived };
        for file in &files {
            let node = file.node();
            if !node.in_storage() {
                continue;
            }
            let names: Vec<_> = node.place().names.iter().cloned().collect();
            for name in names {
                if let Ok(above) = overlay.tree_path(name.parent()) {
                    in_use.add(crate::format::path::join(&above, name.name()));
                }
            }
        }
        in_use.files = files;
        in_use
    }

    /// A file that is open has lost the name that it was opened by, and lies in the storage
    /// under other names: what is written to it shows there.
    pub(super) fn has_lost_name(&self, overlay: &Overlay) -> Result<bool> {
        for file in &self.files {
            let node = file.node();
            if !node.in_storage() || node.place().names.first().is_some() {
                continue;
            }
            if node.is_indexed() || sys::stat_fd(overlay.current(file)?.fd())?.stx_nlink > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All of them.
    #[must_use]
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// What is at this path is.
    #[must_use]
    pub fn has(&self, path: &[u8]) -> bool {
        self.known.contains(path)
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    fn add(&mut self, path: Path) {
        if self.known.insert(path.clone()) {
            self.paths.push(path);
        }
    }

    /// Adds files that go by this plan, and that somebody has mapped. `false`: none.
    pub(super) fn add_mapped(&mut self, overlay: &Overlay, plan: &CommitPlan) -> bool {
        if !self.outlived {
            return false;
        }
        let before = self.paths.len();
        let goes = |fate| matches!(fate, CommitFate::Goes | CommitFate::Follows);
        for entry in plan.entries.iter().filter(|entry| goes(entry.fate)) {
            if is_mapped(overlay, &entry.path) {
                self.add(entry.path.clone());
            }
        }
        self.paths.len() > before
    }
}

/// Somebody has the file of the storage at this path mapped. Nobody has it open.
fn is_mapped(overlay: &Overlay, path: &[u8]) -> bool {
    let Ok(Some(node)) = overlay.reach(path) else { return false };
    if node.kind() != libc::S_IFREG || !node.in_storage() {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let opened = overlay.at(&node, |object| sys::open_untraced(object.stored_at()?, flags));
    opened.is_ok_and(sys::has_users)
}
