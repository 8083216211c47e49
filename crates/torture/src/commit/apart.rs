//! Base and storage have no object in common that a mount could write to.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::case::{Case, Verdict, brief, text};

/// Device and number.
type Id = (u64, u64);

impl Case {
    /// No file of the storage is one of the base. What a commit that was interrupted has gathered
    /// in its stage is nobody's.
    pub fn is_apart(&self) -> Verdict<()> {
        let mut known = HashMap::new();
        files(&self.layers.base, &mut |path, id| drop(known.insert(id, path)))?;
        let mut found = Vec::new();
        files(&self.layers.storage, &mut |path, id| {
            let other = known.get(&id).map(|other| other.display());
            found.extend(other.map(|other| format!("{} is {other}", path.display())));
        })?;
        brief("THE STORAGE HAS FILES OF THE BASE", found)
    }
}

fn files(root: &Path, each: &mut dyn FnMut(PathBuf, Id)) -> Verdict<()> {
    let mut left = vec![root.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).map_err(text)? {
            let path = entry.map_err(text)?.path();
            let Some(meta) = there(path.symlink_metadata()).map_err(text)? else { continue };
            match meta.is_dir() {
                true if path.as_os_str().to_string_lossy().ends_with("_stage") => {}
                true => left.push(path),
                false => each(path, (meta.dev(), meta.ino())),
            }
        }
    }
    Ok(())
}

/// Of a mount that goes on something may have gone meanwhile.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}
