//! Walks through what is gone.

use std::sync::Arc;
use std::vec::IntoIter;

use rustix::io::Errno;

use super::sides::{Hint, Lower, Names, Sides, in_order, join};
use crate::layers::LowerDir;
use crate::sys::Result;

/// So many directories of a path are kept open; those above them are opened again.
pub(super) const KEPT_OPEN: usize = 64;

/// A directory of the lower view on the way of a walk.
struct Level {
    path: Vec<u8>,
    opened: Option<Arc<LowerDir>>,
    names: IntoIter<(Box<[u8]>, Hint)>,
}

/// Gives what is below a directory of the lower view to `each`, with its path, or why it
/// cannot be read; entries are in order, each before what is below it. `each` tells whether
/// to go into a directory; an error of it ends the walk.
pub(super) fn walk(sides: &Sides<'_>, path: &[u8], each: &mut Each<'_>) -> Goes<()> {
    let mut levels = Vec::new();
    if let Err(errno) = enter(sides, path.to_vec(), &mut levels) {
        each(path, Err(errno))?;
    }
    while let Some(level) = levels.last_mut() {
        let Some((name, _)) = level.names.next() else {
            levels.pop();
            continue;
        };
        let path = join(&level.path, &name);
        let found = reopen(sides, &mut level.opened, &level.path)
            .and_then(|dir| dir.map_or(Ok(None), |dir| sides.look(&dir, &name)));
        match found {
            Ok(None) => {}
            Ok(Some(lower)) => {
                if each(&path, Ok(&lower))?
                    && lower.is_dir()
                    && let Err(errno) = enter(sides, path.clone(), &mut levels)
                {
                    each(&path, Err(errno))?;
                }
            }
            Err(errno) => drop(each(&path, Err(errno))?),
        }
    }
    Ok(())
}

/// Nobody wants to know more.
pub(super) struct Stopped;

/// Gets a path and what is there, and tells whether to go into it.
pub(super) type Each<'e> = dyn FnMut(&[u8], Result<&Lower>) -> Goes<bool> + 'e;

/// What goes on unless somebody stops it.
pub(super) type Goes<T> = std::result::Result<T, Stopped>;

fn enter(sides: &Sides<'_>, path: Vec<u8>, levels: &mut Vec<Level>) -> Result<()> {
    let parent = levels.last_mut();
    let opened = match parent {
        Some(parent) => {
            let name = path.get(parent.path.len()..).unwrap_or_default();
            let name = name.strip_prefix(b"/").unwrap_or(name);
            match reopen(sides, &mut parent.opened, &parent.path)? {
                Some(dir) => sides.open_below(&dir, name)?,
                None => None,
            }
        }
        None => sides.open_path(&path)?,
    };
    let Some(opened) = opened else { return Ok(()) };
    let mut names = Names::new();
    sides.lower_names(&opened, &mut names)?;
    let names = in_order(names).into_iter();
    let far = levels.len().checked_sub(KEPT_OPEN).and_then(|at| levels.get_mut(at));
    if let Some(far) = far {
        far.opened = None;
    }
    levels.push(Level { path, opened: Some(opened), names });
    Ok(())
}

/// A directory of the lower view, opened again if it was closed meanwhile.
pub(super) fn reopen(
    sides: &Sides<'_>,
    opened: &mut Option<Arc<LowerDir>>,
    path: &[u8],
) -> Result<Option<Arc<LowerDir>>> {
    if opened.is_none() {
        match sides.open_path(path) {
            Err(Errno::NOENT) => {}
            other => *opened = other?,
        }
    }
    Ok(opened.clone())
}
