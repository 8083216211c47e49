//! What META of all storage directories says of names that were moved.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use rustix::io::Errno;

use crate::format::identity::BaseId;
use crate::format::meta::Index;
use crate::format::name::is_dot;
use crate::format::path::{Path, join, split};
use crate::layers::{Below, LowerDir};
use crate::reach::overlay::Overlay;
use crate::store::meta;
use crate::store::meta_dir::{decide, with_access};
use crate::store::shared_index::is_shared;
use crate::sys::{self, Result, Spot, StoredDir, each_entry};

/// Where an entry of the storage has come from.
pub(super) enum Origin {
    /// A directory that shows this one below.
    Path(Path),
    /// An object that shows this number, which is not its own.
    Number(u64),
}

/// Where an object of the layers below was, of which the name is hidden.
pub(super) struct Place {
    /// In the tree.
    pub at: Path,
    /// Below.
    pub base: Path,
}

/// What the storage tells.
#[derive(Default)]
pub(super) struct Scan {
    /// Where directories show that the storage has, by what they show below.
    pub shown: HashMap<Path, Path>,
    /// The other way round.
    pub bases: HashMap<Path, Path>,
    /// What has come from elsewhere, by where it is.
    pub moved: BTreeMap<Path, Origin>,
    /// Names that are hidden and where nothing is, in the tree.
    pub free: HashSet<Path>,
    /// Hidden names, by their directory below.
    pub hidden: BTreeMap<Path, Vec<Path>>,
    /// Hidden objects, by their number; only those that something in `moved` shows.
    pub origins: HashMap<u64, Place>,
    /// Names that do not show what is below, by their directory there: of those directories
    /// that the storage has.
    pub covered: HashMap<Path, HashSet<Path>>,
    /// Entries that are objects of the index, by their `st_ino`.
    pub links: HashMap<u64, Vec<Path>>,
    /// Of these, what was renamed: one name of an object that is none below, with one that is
    /// hidden there.
    pub renamed: BTreeMap<Path, Place>,
    /// The same by where that is below.
    pub renamed_from: BTreeMap<Path, Path>,
    /// The first name of each object that is none of its names below.
    new_names: HashMap<BaseId, Path>,
    /// Directories that do not merge with what is below under their name, but with
    /// something else, or with nothing: META says so.
    pub alone: HashSet<Path>,
    /// All entries that are no directories, by their `st_ino`, where that is wanted.
    pub names: Option<HashMap<u64, Vec<Path>>>,
}

/// What a directory shows of the layers below.
enum Shows {
    Nothing,
    /// The directory of this name there, with its path.
    Same(Arc<LowerDir>, Path),
    Path(Path),
}

/// A storage directory that is to be looked at.
struct Next {
    parent: Rc<StoredDir>,
    name: Path,
    path: Path,
    shows: Shows,
}

/// A directory that is being looked at.
struct Here {
    dir: Rc<StoredDir>,
    path: Path,
    base: Option<(Arc<LowerDir>, Path)>,
}

impl Scan {
    /// Looks through the storage.
    pub fn of(overlay: &Overlay) -> Result<Scan> {
        Scan::default().look_through(overlay)
    }

    /// The same, with all names.
    pub fn with_names(overlay: &Overlay) -> Result<Scan> {
        Scan { names: Some(HashMap::new()), ..Scan::default() }.look_through(overlay)
    }

    fn look_through(self, overlay: &Overlay) -> Result<Scan> {
        let (mut scan, indexed) = (self, overlay.indexed_numbers()?);
        let root = overlay.root_dir.storage().map(|dir| dir.written());
        let root = Rc::new(StoredDir::new(
            rustix::io::fcntl_dupfd_cloexec(&overlay.storage, 0)?,
            root.unwrap_or(sys::Written::Plain),
        ));
        let base = Some((overlay.stack.root()?, Path::default()));
        let mut left = Vec::new();
        scan.visit(overlay, Here { dir: root, path: Path::default(), base }, &indexed, &mut left)?;
        while let Some(Next { parent, name, path, shows }) = left.pop() {
            let opened = match StoredDir::open(parent.within(), &name) {
                // Programs go on meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                other => other?,
            };
            let dir = Rc::new(opened);
            let base = match shows {
                Shows::Nothing => None,
                Shows::Same(above, path) => sys::absent(overlay.stack.open_below(&above, &name))
                    .ok()
                    .flatten()
                    .flatten()
                    .map(|dir| (dir, path)),
                Shows::Path(path) => overlay.stack.open_path(0, &path)?.map(|dir| (dir, path)),
            };
            scan.visit(overlay, Here { dir, path, base }, &indexed, &mut left)?;
        }
        scan.find_origins(overlay)?;
        Ok(scan)
    }

    fn visit(
        &mut self,
        overlay: &Overlay,
        here: Here,
        indexed: &HashMap<u64, BaseId>,
        left: &mut Vec<Next>,
    ) -> Result<()> {
        let Here { dir, path, base } = here;
        let within = dir.within();
        let session = overlay.durability.terms().session;
        let mut loaded = with_access(within.fd(), || meta::load(within.fd(), session))?;
        decide(within, &mut loaded.index)?;
        let index = loaded.index;
        let mut entries: Vec<(Path, u64, u32)> = Vec::new();
        with_access(within.fd(), || {
            entries.clear();
            each_entry(within, |entry| {
                if !is_dot(entry.name) && !overlay.meta.reserves(entry.name) {
                    entries.push((entry.name.into(), entry.ino, entry.kind));
                }
                true
            })
        })?;
        self.hear(&index, (&path, base.as_ref()), &entries);
        self.alone.extend(index.redirects().map(|(name, _)| join(&path, name)));
        for (name, ino, kind) in entries {
            let kind = match kind {
                0 => match sys::absent(sys::stat(Spot::at(within, &name)))? {
                    Some(stat) => sys::kind(&stat),
                    None => continue,
                },
                known => known,
            };
            let at = join(&path, &name);
            if kind == libc::S_IFDIR {
                let shows = match (index.redirect(&name), &base) {
                    (Some(from), _) => {
                        self.moved.insert(at.clone(), Origin::Path(from.into()));
                        Shows::Path(from.into())
                    }
                    (None, Some((base, below))) if !index.hides(&name) => {
                        Shows::Same(Arc::clone(base), join(below, &name))
                    }
                    _ => Shows::Nothing,
                };
                if index.hides(&name) {
                    self.alone.insert(at.clone());
                }
                left.push(Next { parent: Rc::clone(&dir), name, path: at, shows });
                continue;
            }
            if let Some(names) = &mut self.names {
                names.entry(ino).or_default().push(at.clone());
            }
            if let Some(id) = indexed.get(&ino) {
                let below = match &base {
                    Some((base, _)) => overlay.stack.look(base, &name)?,
                    None => None,
                };
                if below.and_then(|below| overlay.shared_id(&below)) != Some(*id) {
                    self.add_new_name(*id, &at);
                }
                self.links.entry(ino).or_default().push(at);
            } else if let Some(number) = index.identity(&name, ino) {
                self.moved.insert(at, Origin::Number(number));
            }
        }
        Ok(())
    }

    /// What META says of names where nothing is.
    fn hear(
        &mut self,
        index: &Index,
        (path, base): (&[u8], Option<&(Arc<LowerDir>, Path)>),
        entries: &[(Path, u64, u32)],
    ) {
        let Some((_, below)) = base else { return };
        self.shown.insert(below.clone(), path.into());
        self.bases.insert(path.into(), below.clone());
        // A directory that shows is gone through by itself.
        let covered = index.hidden().chain(entries.iter().map(|(name, ..)| &**name));
        self.covered.insert(below.clone(), covered.map(Into::into).collect());
        if index.hidden().next().is_none() {
            return;
        }
        let there: HashSet<&[u8]> = entries.iter().map(|(name, ..)| &**name).collect();
        let free = index.hidden().filter(|name| !there.contains(name));
        self.free.extend(free.map(|name| join(path, name)));
        self.hidden.insert(below.clone(), index.hidden().map(Into::into).collect());
    }

    fn find_origins(&mut self, overlay: &Overlay) -> Result<()> {
        let numbers: HashSet<u64> = self.numbers().collect();
        if numbers.is_empty() && self.new_names.is_empty() {
            return Ok(());
        }
        let mut gone: HashMap<BaseId, Place> = HashMap::new();
        for (below, names) in &self.hidden {
            let (Some(at), Some(dir)) = (self.shown.get(below), overlay.stack.open_path(0, below)?)
            else {
                continue;
            };
            for name in names {
                let Some(found) = overlay.stack.look(&dir, name)? else { continue };
                if sys::kind(&found.stat) == libc::S_IFDIR {
                    continue;
                }
                let place = Place { at: join(at, name), base: join(below, name) };
                let id = overlay.shared_id(&found).filter(|id| self.new_names.contains_key(id));
                if let Some(id) = id.filter(|_| self.free.contains(&place.at)) {
                    let first =
                        gone.get(&id).is_none_or(|known| is_before(&place.base, &known.base));
                    if first {
                        gone.insert(id, place);
                    }
                } else if numbers.contains(&found.number) {
                    self.origins.insert(found.number, place);
                }
            }
        }
        for (id, place) in gone {
            let Some(at) = self.new_names.get(&id) else { continue };
            self.renamed_from.insert(place.base.clone(), at.clone());
            self.renamed.insert(at.clone(), place);
        }
        Ok(())
    }

    /// A name of an object that is none of its names below. As `status` tells it, the first
    /// one was renamed.
    fn add_new_name(&mut self, id: BaseId, at: &Path) {
        let known = self.new_names.get(&id);
        if known.is_none_or(|known| is_before(at, known)) {
            self.new_names.insert(id, at.clone());
        }
    }

    /// Numbers that entries show which have come from elsewhere.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.moved.values().filter_map(|origin| match origin {
            Origin::Number(number) => Some(*number),
            Origin::Path(_) => None,
        })
    }

    /// Something at this path below, or a directory above it, is hidden.
    pub fn hides(&self, base: &[u8]) -> bool {
        let mut path = base;
        while !path.is_empty() {
            let (dir, name) = split(path);
            if self.hidden.get(dir).is_some_and(|names| names.iter().any(|known| **known == *name))
            {
                return true;
            }
            path = dir;
        }
        false
    }
}

/// A walk comes to one path before the other.
fn is_before(path: &[u8], other: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').lt(other.split(|byte| *byte == b'/'))
}

/// What of a map lies at a path or below it.
pub(super) fn range_within<'a, K: Ord + Borrow<[u8]>, V>(
    map: &'a BTreeMap<K, V>,
    top: &[u8],
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let (from, to) = ([top, b"/"].concat(), [top, b"0"].concat());
    let all = top.is_empty();
    // What has other characters behind the name lies between the two.
    let itself = map.get_key_value(top).filter(|_| !all);
    let from = if all { Bound::Unbounded } else { Bound::Included(&*from) };
    let to = if all { Bound::Unbounded } else { Bound::Excluded(&*to) };
    itself.into_iter().chain(map.range::<[u8], _>((from, to)))
}

impl Overlay {
    /// What the index calls an object below that has several names.
    pub(super) fn shared_id(&self, below: &Below) -> Option<BaseId> {
        is_shared(&below.stat).then(|| self.known_as(below).0)
    }

    /// The objects in the index, by `st_ino`.
    pub(super) fn indexed_numbers(&self) -> Result<HashMap<u64, BaseId>> {
        let mut numbers = HashMap::new();
        let Ok(index) = self.shared.dir() else { return Ok(numbers) };
        each_entry(index.writable()?, |entry| {
            numbers.extend(BaseId::of_index_name(entry.name).map(|id| (entry.ino, id)));
            true
        })?;
        Ok(numbers)
    }
}
