//! Layers on every kind of file system.

use std::path::{Path, PathBuf};

use super::run::{run, skip, skip_unless};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseKind {
    Plain,
    Tmpfs,
    Squashfs,
    Erofs,
    Ext4ReadOnly,
    Iso,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageKind {
    Plain,
    Tmpfs,
    Ext4,
    Xfs,
    Btrfs,
    /// A tmpfs that is soon full.
    Tiny,
}

impl BaseKind {
    /// Makes `work/base` hold what `fill` makes. None, and a line saying why,
    /// where a tool or the file system is missing.
    pub fn make(self, work: &Path, fill: &dyn Fn(&Path)) -> Option<PathBuf> {
        let base = work.join("base");
        std::fs::create_dir(&base).expect("mkdir base");
        match self {
            BaseKind::Plain => fill(&base),
            BaseKind::Tmpfs => {
                mount(&["-t", "tmpfs", "-o", "size=1g,mode=755", "base"], &base)?;
                fill(&base);
            }
            BaseKind::Squashfs => self.image(work, fill, "mksquashfs", |source, image| {
                vec![source, image, "-noappend".into(), "-quiet".into(), "-no-progress".into()]
            })?,
            BaseKind::Erofs => self.image(work, fill, "mkfs.erofs", |source, image| {
                vec!["--quiet".into(), image, source]
            })?,
            BaseKind::Ext4ReadOnly => self.image(work, fill, "mke2fs", |source, image| {
                ["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"]
                    .iter()
                    .map(|&word| word.to_owned())
                    .chain([source, image, "256m".into()])
                    .collect()
            })?,
            BaseKind::Iso => self.image(work, fill, "xorriso", |source, image| {
                ["-as", "mkisofs", "-quiet", "-R", "-o"]
                    .iter()
                    .map(|&word| word.to_owned())
                    .chain([image, source])
                    .collect()
            })?,
        }
        Some(base)
    }

    fn image(
        self,
        work: &Path,
        fill: &dyn Fn(&Path),
        tool: &str,
        args: impl Fn(String, String) -> Vec<String>,
    ) -> Option<()> {
        if skip_unless(&[tool]) {
            return None;
        }
        let source = work.join("source");
        let image = work.join("image");
        std::fs::create_dir(&source).expect("mkdir source");
        fill(&source);
        run(tool, &args(path_text(&source), path_text(&image))).ok();
        std::fs::remove_dir_all(&source).expect("remove the source");
        if self == BaseKind::Iso && !have_iso9660() {
            let args = [path_text(&image), path_text(&work.join("base"))];
            return match skip_unless(&["fuseiso"]) {
                true => None,
                false => run("fuseiso", &args).ok().is_empty().then_some(()),
            };
        }
        mount(&["-o", "loop,ro", &path_text(&image)], &work.join("base"))
    }
}

/// Some kernels have no ISO 9660; a FUSE server then stands in for it.
fn have_iso9660() -> bool {
    run("modprobe", &["-q", "iso9660"]);
    let kinds = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    kinds.contains("iso9660")
}

impl StorageKind {
    pub const ALL: [StorageKind; 5] = [
        StorageKind::Plain,
        StorageKind::Tmpfs,
        StorageKind::Ext4,
        StorageKind::Xfs,
        StorageKind::Btrfs,
    ];

    /// Makes an empty `work/storage`.
    pub fn make(self, work: &Path) -> Option<PathBuf> {
        let storage = work.join("storage");
        std::fs::create_dir(&storage).expect("mkdir storage");
        match self {
            StorageKind::Plain => {}
            StorageKind::Tmpfs => {
                let args = ["-t", "tmpfs", "-o", "size=4g,mode=755", "storage"];
                mount(&args, &storage)?;
                return Some(storage);
            }
            StorageKind::Tiny => {
                mount(&["-t", "tmpfs", "-o", "size=100k,mode=755", "storage"], &storage)?;
                return Some(storage);
            }
            StorageKind::Ext4 => device(work, "mke2fs", &["-q", "-t", "ext4"], "512M", &storage)?,
            StorageKind::Xfs => device(work, "mkfs.xfs", &["-q"], "512M", &storage)?,
            StorageKind::Btrfs => device(work, "mkfs.btrfs", &["-q"], "512M", &storage)?,
        }
        if self == StorageKind::Plain {
            return Some(storage);
        }
        // Not the root of the file system: that may hold lost+found.
        let inside = storage.join("storage");
        std::fs::create_dir(&inside).expect("mkdir storage");
        Some(inside)
    }
}

fn device(work: &Path, tool: &str, args: &[&str], size: &str, at: &Path) -> Option<()> {
    if skip_unless(&[tool]) {
        return None;
    }
    let image = path_text(&work.join("device"));
    run("truncate", &["-s", size, &image]).ok();
    let args: Vec<&str> = args.iter().copied().chain([image.as_str()]).collect();
    run(tool, &args).ok();
    mount(&["-o", "loop", &image], at)
}

fn mount(args: &[&str], at: &Path) -> Option<()> {
    let at = path_text(at);
    let args: Vec<&str> = args.iter().copied().chain([at.as_str()]).collect();
    let outcome = run("mount", &args);
    if outcome.code != 0 {
        skip(&format!("mount {args:?}: {}", outcome.stderr.trim()));
        return None;
    }
    Some(())
}

fn path_text(path: &Path) -> String {
    path.to_str().expect("the work directory is UTF-8").to_owned()
}
