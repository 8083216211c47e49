//! Whether the base has changed since a change was made, where what that was made from
//! does not tell.
//!
//! What was changed in the base after the storage got its own is a change of the base of
//! which that knew nothing. So the time of change of what is there now (`st_ctime`, which
//! nobody can set) is held against a time at which the change was begun at the latest.

use hashbrown::{HashMap, HashSet};

use super::found::{AllFound, Found};
use crate::changes::{BaseChanges, BaseState, ChangeKind};
use crate::commit::path::on_the_way;
use crate::format::commit::Path;
use crate::format::name::{file_name, parent};
use crate::format::time::Timestamp;
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result, Spot};

/// Looks at all changes of which it is not known otherwise. `alone`: directories that do not
/// show what is below under their name.
pub(super) fn settle(overlay: &Overlay, all: &mut AllFound, alone: &HashSet<Path>) -> Result<()> {
    let mut units: HashMap<Path, Said> = HashMap::new();
    for found in all.list.iter_mut().filter(|found| is_another_directory(found)) {
        found.state = appeared();
    }
    for found in all.list.iter_mut().filter(|found| found.state == BaseState::Unknown) {
        let Some(changed) = last_change(found) else { continue };
        let unit = on_the_way(parent(&found.path)).find(|above| alone.contains(*above));
        if unit.is_none() && is_another(found) {
            found.state = appeared();
            continue;
        }
        let since = match unit {
            _ if found.printed || found.kind == ChangeKind::Renamed => found.since,
            // What is compared with what was in a directory that was made anew.
            Some(unit) => {
                let said = match units.get(unit) {
                    Some(known) => *known,
                    None => *units.entry(unit.into()).or_insert(said_of(overlay, unit)?),
                };
                // Somebody has changed what is in it, or it is another one: who knows what of it
                // was there.
                if said.is_another {
                    found.state = appeared();
                    continue;
                }
                said.since
            }
            // It was made from nothing, so what is there has come since.
            None if found.upper.is_some() => {
                found.state = appeared();
                continue;
            }
            None => said_of(overlay, &found.path)?.written,
        };
        if since.is_some_and(|since| changed > since) {
            let changes = BaseChanges { mtime: true, ..BaseChanges::default() };
            found.state = BaseState::Changed(changes);
        }
    }
    Ok(())
}

/// The state of a base that has something where nothing was.
fn appeared() -> BaseState {
    BaseState::Changed(BaseChanges { content: true, ..BaseChanges::default() })
}

/// A name of an object with several, of which the storage has a copy: somebody has put another
/// object under it in the base. Who did that in the tree has left a print of what was there.
fn is_another(found: &Found) -> bool {
    let copy_of = found.upper.as_ref().and_then(|upper| upper.indexed);
    let compared = matches!(found.kind, ChangeKind::Modified | ChangeKind::Attributes);
    let below = found.lower.as_ref().filter(|_| compared && found.from.is_none());
    match (copy_of, below) {
        (Some(id), Some(lower)) => lower.shared != Some(id),
        _ => false,
    }
}

/// When what the lower view has was changed last, with all that is lost with it. Of what
/// goes on to show in a directory of the upper view only its own attributes matter.
fn last_change(found: &Found) -> Option<Timestamp> {
    let lower = found.lower.as_ref()?;
    match (found.was_dir(), &found.lost) {
        (true, Some(lost)) => lost.newest,
        (true, None) => None,
        (false, _) => Some(lower.changed),
    }
}

/// Another directory than the one that was renamed: it was made when that had its new name.
/// What others do in that is no conflict, so nothing else tells.
fn is_another_directory(found: &Found) -> bool {
    let lower = found.lower.as_ref().filter(|_| found.is_dir() && found.was_dir());
    let made = lower.and_then(|lower| lower.made);
    found.kind == ChangeKind::Renamed
        && found.since.zip(made).is_some_and(|(since, made)| made > since)
}

/// What is known of the name of a path of the tree.
#[derive(Clone, Copy, Default)]
struct Said {
    /// Since when META says something of it.
    since: Option<Timestamp>,
    /// When META itself was written last, which is later than whatever it says.
    written: Option<Timestamp>,
    /// The base has a directory there with another time of modification than it had.
    is_another: bool,
}

fn said_of(overlay: &Overlay, path: &[u8]) -> Result<Said> {
    let Some(above) = overlay.reach(parent(path))?.filter(|above| above.is_dir()) else {
        return Ok(Said::default());
    };
    let (dir, name) = (overlay.dir(&above)?, file_name(path));
    let Some(storage) = dir.storage() else { return Ok(Said::default()) };
    let print = dir.meta().print(name).filter(|print| print.kind() == libc::S_IFDIR);
    let meta = sys::absent(sys::stat(Spot::at(storage, overlay.meta.as_bytes())))?;
    let below = match dir.base() {
        Some(base) => overlay.stack.look(base, name)?,
        None => None,
    };
    Ok(Said {
        since: print.and_then(|print| print.since),
        written: meta.map(|meta| meta.stx_mtime.into()),
        is_another: below.zip(print).is_some_and(|(below, print)| {
            sys::kind(&below.stat) == libc::S_IFDIR
                && Timestamp::from(below.stat.stx_mtime) != print.mtime
        }),
    })
}
