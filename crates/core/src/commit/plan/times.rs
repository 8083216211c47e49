//! Times of modification of the directories in which something is done.

use hashbrown::HashMap;

use super::bonds::{Web, at};
use super::found::{AllFound, Placed};
use super::lowers::Lowers;
use super::steps::{Walked, Work};
use super::tops::Tops;
use super::{CommitRefusal, Fates};
use crate::commit::path::on_the_way;
use crate::format::commit::{Path, StagePlace, Step};
use crate::sys;

/// Directories of the base, where they will be.
type Touched = HashMap<Path, Dir>;

/// One of them.
struct Dir {
    /// Where it is before, if it is.
    below: Option<Path>,
    /// Where the tree shows it, if that is another path.
    shows: Option<Path>,
}

/// Told of each directory of the base in which something is done.
type Check<'a> = &'a mut dyn FnMut(&[u8], Placed) -> Result<(), CommitRefusal>;

impl From<Option<Path>> for Dir {
    fn from(below: Option<Path>) -> Dir {
        Dir { below, shows: None }
    }
}

/// The last steps. `check`: told of each directory of the base in which something is done.
pub(super) fn times(
    (all, web, fates): (&AllFound, &Web, &Fates),
    (lowers, work, tops): (&Lowers<'_>, &Work, &Tops),
    stages: &[StagePlace],
    check: Check<'_>,
) -> Result<Vec<Step>, CommitRefusal> {
    let failed = |errno| CommitRefusal::Base(Path::default(), errno);
    let mut touched = touched((all, fates), lowers, (work, tops)).map_err(failed)?;
    // Stages are made and removed there. These do not move.
    touched.extend(stages.iter().map(|place| (place.dir.clone(), Some(place.dir.clone()).into())));
    let mut steps: Vec<(Walked, Step)> = Vec::with_capacity(touched.len());
    for (path, Dir { below, shows }) in touched {
        let tree = shows.as_ref().unwrap_or(&path);
        let told = at(&all.list, tree).and_then(|at| all.list.get(at as usize));
        let shown = told.filter(|found| found.is_dir()).and_then(|found| found.upper.as_ref());
        let unit = web.unit_of(&path).filter(|unit| !fates.goes(unit.point));
        let hidden = unit.is_some() && shows.is_none() && !tops.holds(&path);
        let after = shown.filter(|_| !hidden).map(|upper| upper.mtime);
        let after = after.or_else(|| lowers.far_time(tree).filter(|_| !hidden));
        let before = match below {
            Some(below) => {
                let failed = |errno| CommitRefusal::Base(below.clone(), errno);
                let Some(stat) = lowers.stat(&below).map_err(failed)? else { continue };
                check(&below, Placed::of(&stat))?;
                let time = (below, stat.stx_mtime.into());
                (sys::kind(&stat) == libc::S_IFDIR).then_some(time)
            }
            None => None,
        };
        let Some(after) = after.or(before.as_ref().map(|(_, time)| *time)) else { continue };
        steps.push((Walked(path.clone()), Step::Time { at: path, before, after }));
    }
    steps.sort_by(|a, b| b.0.cmp(&a.0));
    Ok(steps.into_iter().map(|(_, step)| step).collect())
}

fn touched(
    (all, fates): (&AllFound, &Fates),
    lowers: &Lowers<'_>,
    (work, tops): (&Work, &Tops),
) -> sys::Result<Touched> {
    let mut touched = Touched::new();
    for step in &work.takes {
        let Step::Take { at, .. } = step else { continue };
        let below = Lowers::parent(at);
        if let Some(path) = lowers.moved(&below) {
            touched.insert(path, Some(below).into());
        }
    }
    let mut in_tree = |path: Path| {
        touched.entry(path).or_insert_with_key(|path| lowers.below(path).into());
    };
    for step in &work.steps {
        match step {
            Step::Put { at, .. } | Step::Swap { at, .. } => in_tree(Lowers::parent(at)),
            _ => {}
        }
    }
    for (change, found) in (0..).zip(&all.list).filter(|(_, found)| found.is_dir()) {
        if fates.goes(change) && !found.times_only || found.times_only && tops.holds(&found.path) {
            in_tree(found.path.clone());
        }
    }
    let homes = match tops.is_all() {
        true => Vec::new(),
        false => lowers.homes(&work.makes, &|change| fates.goes(change))?,
    };
    for below in homes {
        if let Some(path) = lowers.moved(&below) {
            touched.entry(path).or_insert_with(|| Some(below).into());
        }
    }
    // Directories of the storage that have nothing to say any more go.
    for top in &tops.tops {
        for path in on_the_way(top).chain([&b""[..]]) {
            let told = at(&all.list, path).and_then(|at| all.list.get(at as usize));
            if told.is_none_or(|found| !found.times_only) {
                continue;
            }
            // It may be in what was renamed and stays.
            let Some(below) = lowers.below(path) else { continue };
            if let Some(moved) = lowers.moved(&below) {
                let shows = Some(Path::from(path));
                touched.insert(moved, Dir { below: Some(below), shows });
            }
        }
    }
    Ok(touched)
}
