//! Paths as people type them: of a mount, or of a tree.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::place::{self, Where};
use crate::exit::{Failure, code};

/// Where, and which paths of the tree: the first one is a path in a live mount, and so are
/// the others; or it is WHERE, and the others are paths of the tree. None: the current
/// directory.
///
/// # Errors
/// WHERE is not there, or does not answer; the paths are not of one mount, or climb.
pub fn asked(typed: &[PathBuf]) -> Result<(Where, Vec<Vec<u8>>), Failure> {
    let first = typed.first().map_or(Path::new("."), PathBuf::as_path);
    let rest = typed.get(1..).unwrap_or_default();
    let place = Where::find_name(first)?;
    // Whether all of them are paths in a mount.
    let (paths, of_tree) = match &place {
        Where::Live(_, Some(first)) => {
            let mut paths = vec![first.clone()];
            let mut known = None;
            for path in rest {
                paths.push(in_same(&place, path, &mut known)?);
            }
            (paths, &[][..])
        }
        _ => (place::inside(rest), rest),
    };
    let up = |path: &&PathBuf| path.components().any(|part| part == Component::ParentDir);
    if let Some(odd) = of_tree.iter().find(up) {
        let text = format!("{}: a path of the tree goes down only", odd.display());
        return Err(Failure::new(code::USAGE, text));
    }
    if let Some(odd) = typed.iter().find(|path| climbs(path)) {
        let text = format!("{}: a path with .. in it is not what it seems", odd.display());
        return Err(Failure::new(code::USAGE, text));
    }
    Ok((place, paths))
}

/// It goes up from something that may not be there.
fn climbs(path: &Path) -> bool {
    let mut names = path.components().skip_while(|part| !matches!(part, Component::Normal(_)));
    names.any(|part| part == Component::ParentDir)
}

/// A further path, which must lie in the mount that the first one names. `known`: a directory
/// that was asked for before, and its path in the mount.
fn in_same(
    place: &Where,
    path: &Path,
    known: &mut Option<(PathBuf, Vec<u8>)>,
) -> Result<Vec<u8>, Failure> {
    // What is no directory is in the mount that its directory is in.
    let in_dir = match (path.parent(), path.file_name(), path.symlink_metadata()) {
        (Some(dir), Some(name), Ok(found)) if !found.is_dir() => Some((dir, name)),
        _ => None,
    };
    if let (Some((dir, name)), Some((known, inside))) = (in_dir, &*known)
        && dir == known
    {
        return Ok(join(inside, name.as_bytes()));
    }
    let same = match (place, Where::find_name(path)?) {
        (Where::Live(first, _), Where::Live(channel, inside)) if first.is_same(&channel) => {
            Some(inside)
        }
        _ => None,
    };
    let Some(inside) = same.map(Option::unwrap_or_default) else {
        let text = format!("{}: it lies in another mount than the first path", path.display());
        return Err(Failure::new(code::USAGE, text));
    };
    if let Some((dir, name)) = in_dir
        && let Some(above) = inside.strip_suffix(name.as_bytes())
    {
        *known = Some((dir.to_path_buf(), above.strip_suffix(b"/").unwrap_or(above).to_vec()));
    }
    Ok(inside)
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}
