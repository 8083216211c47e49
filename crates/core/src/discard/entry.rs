//! One name, or a tree, shows what is below again.

use std::sync::Arc;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::skeleton::restored;
use super::told::Discarded;
use crate::format::path::{Path, join};
use crate::ops::gone::{leaving, still_there};
use crate::reach::overlay::Overlay;
use crate::reach::refs::NodeRef;
use crate::store::aside::{has_fixed, remove_tree};
use crate::store::meta_dir::{ANY, MetaEdit, together};
use crate::sys::{self, Result, Spot};
use crate::tree::dir::Dir;
use crate::tree::node::{Held, Node};

/// How often names are looked for that come while others go.
const ROUNDS: usize = 8;

/// How often something is tried again that others have changed meanwhile.
const TRIES: usize = 16;

/// A directory, of which names are left to be restored.
struct Level<'a> {
    node: NodeRef<'a>,
    /// Where it is; `None`: the root.
    at: Option<(Arc<Node>, Path)>,
    left: Vec<Path>,
    tries: usize,
    /// Something in it could not go.
    stays: bool,
}

impl Overlay {
    /// A name shows what is below the storage, and so does all below it.
    pub(super) fn restore(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
        told: &mut Discarded,
    ) -> Result<()> {
        match self.restore_one(parent, name, told) {
            Ok(Some(node)) => {
                self.restore_tree(node, Some((Arc::clone(parent), name.into())), told)
            }
            Ok(None) => Ok(()),
            Err(errno) => self.note_failed((parent, name), errno, told),
        }
    }

    /// An entry stays as it was. An error that is not of this entry alone ends it all.
    fn note_failed(
        &self,
        (parent, name): (&Arc<Node>, &[u8]),
        errno: Errno,
        told: &mut Discarded,
    ) -> Result<()> {
        if !Discarded::stays(errno) {
            return Err(errno);
        }
        // Its directory may have been removed by others.
        if let Some(above) = sys::absent(self.tree_path(parent))? {
            told.fails(join(&above, name), errno, true);
        }
        Ok(())
    }

    /// What is at a name must not be taken away: an error says why. `itself`: only if that is
    /// said of the name itself.
    fn check_free(
        &self,
        (parent, name): (&Arc<Node>, &[u8]),
        itself: bool,
        told: &Discarded,
    ) -> Result<()> {
        if told.staying.is_empty() && (itself || told.mounted.is_empty()) {
            return Ok(());
        }
        let path = join(&self.tree_path(parent)?, name);
        let held = if itself { told.staying.get(&path).copied() } else { told.holds(&path) };
        held.map_or(Ok(()), Err)
    }

    /// The same of one entry. The result: it is a directory that goes back name by name.
    fn restore_one(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
        told: &mut Discarded,
    ) -> Result<Option<NodeRef<'_>>> {
        for _ in 0..TRIES {
            let dir = self.dir(parent)?;
            if dir.storage().is_none() {
                return Ok(None);
            }
            let node = self.find_node(parent, &dir, name)?.map(|(node, _)| node);
            self.check_free((parent, name), true, told)?;
            let done = match node {
                Some(node) if self.is_merged(&node) => return Ok(Some(node)),
                node => self.check_free((parent, name), false, told).and_then(|()| match node {
                    Some(node) if node.is_dir() && node.in_storage() => {
                        self.with_reserve(|| self.replace_dir((parent, &dir, name), &node, told))
                    }
                    node => self.with_reserve(|| {
                        self.replace_entry((parent, &dir, name), node.as_deref(), told)
                    }),
                }),
            };
            match done {
                // It has gone, or another one came.
                Err(Errno::NOENT | Errno::AGAIN | Errno::STALE) => {}
                other => return other.map(|()| None),
            }
        }
        Err(Errno::BUSY)
    }

    /// A directory with all that is in it, name by name. `at`: where it is.
    pub(super) fn restore_tree(
        &self,
        node: NodeRef<'_>,
        at: Option<(Arc<Node>, Path)>,
        told: &mut Discarded,
    ) -> Result<()> {
        let left = self.names_in(&*self.dir(&node)?)?;
        let mut levels = vec![Level { node, at, left, tries: 0, stays: false }];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.left.pop() {
                match self.restore_one(&level.node, &name, told) {
                    Ok(Some(node)) => {
                        let at = Some((Arc::clone(&level.node), name));
                        let left = self.names_in(&*self.dir(&node)?)?;
                        levels.push(Level { node, at, left, tries: 0, stays: false });
                    }
                    Ok(None) => {}
                    Err(errno) => {
                        self.note_failed((&level.node, &name), errno, told)?;
                        level.stays = true;
                    }
                }
                continue;
            }
            let done = match &level.at {
                _ if level.stays => Ok(()),
                Some((parent, name)) => {
                    match self.with_reserve(|| self.drop_skeleton(parent, name, &level.node, told))
                    {
                        Err(errno) if Discarded::stays(errno) => {
                            level.stays = true;
                            told.fails(join(&self.tree_path(parent)?, name), errno, false);
                            Ok(())
                        }
                        other => other,
                    }
                }
                None => self.with_reserve(|| self.restore_root(told)),
            };
            match done {
                // Somebody has made something meanwhile.
                Err(Errno::NOTEMPTY) if level.tries < TRIES => {
                    level.tries += 1;
                    level.left = self.names_in(&*self.dir(&level.node)?)?;
                }
                other => {
                    other?;
                    let stays = level.stays;
                    levels.pop();
                    if let Some(above) = levels.last_mut() {
                        above.stays |= stays;
                    }
                }
            }
        }
        Ok(())
    }

    /// What is no directory, or nothing.
    fn replace_entry(
        &self,
        (parent, dir, name): (&Arc<Node>, &Dir, &[u8]),
        node: Option<&Arc<Node>>,
        told: &mut Discarded,
    ) -> Result<()> {
        let edit = dir.edit();
        let stored = sys::absent(sys::stat(Spot::at(dir.writable()?, name)))?;
        let records = restored(&edit, name);
        let Some(stored) = stored else {
            if !records.is_empty() {
                edit.append(&records)?;
                told.forgotten(parent.id, name);
            }
            return Ok(());
        };
        let node = node.filter(|_| sys::kind(&stored) != libc::S_IFDIR).ok_or(Errno::AGAIN)?;
        let (mut place, held) = self.lock_without(node, (parent.id, name))?;
        self.unlink_unseen(&edit, name)?;
        self.name_gone((parent, name), node, &mut place, held);
        if node.is_shared() {
            self.shared_name_removed(node, &mut place, true);
        }
        told.lost((parent.id, name), node.id, place.names.first().is_none());
        Ok(())
    }

    /// Removes a storage entry, and with it what META says of the name; the times of the
    /// directory stay.
    pub(super) fn unlink_unseen(&self, edit: &MetaEdit<'_>, name: &[u8]) -> Result<()> {
        let change = |storage: sys::Within<'_>| {
            let step = leaving(edit, name, ANY, restored(edit, name));
            together(&[step], || sys::unlink(storage, name, AtFlags::empty()))
        };
        edit.unseen(change, |()| Vec::new())
    }

    /// A directory in which nothing of the same name below shows: it goes at once, and what
    /// is in it then.
    fn replace_dir(
        &self,
        (parent, dir, name): (&Arc<Node>, &Dir, &[u8]),
        node: &Arc<Node>,
        told: &mut Discarded,
    ) -> Result<()> {
        if has_fixed(dir.writable()?, name)? {
            return Err(Errno::PERM);
        }
        // Nothing of it is taken from anybody before it has gone.
        let below = self.hold_below(node);
        let held = Held::new(self.hold(node)?);
        let edit = dir.edit();
        let temp = self.meta.temp();
        {
            let mut place = node.place_mut();
            still_there(&place, parent.id, name)?;
            self.durability.name_moved();
            let change = |storage: sys::Within<'_>| {
                let step = leaving(&edit, name, ANY, restored(&edit, name));
                together(&[step], || {
                    sys::rename((storage, name), (storage, &temp), RenameFlags::empty())?;
                    self.durability.name_moved();
                    self.commit_moved(true);
                    Ok(())
                })
            };
            edit.unseen(change, |()| Vec::new())?;
            self.detach_dir(node, &mut place, held);
        }
        let mut open = self.detach(below, told);
        for _ in 0..ROUNDS {
            let late = self.hold_all(self.table.below(node.id));
            if late.is_empty() {
                break;
            }
            open.extend(self.detach(late, told));
        }
        told.lost((parent.id, name), node.id, true);
        let has_partial = self.partials.exist();
        let removed = edit.unseen(
            |storage| {
                remove_tree(self.meta, storage.fd(), &temp, &mut |spot| {
                    if has_partial {
                        self.drop_map_of(spot, &open);
                    }
                })
            },
            |()| Vec::new(),
        );
        if let Err(errno) = removed {
            // The next mount removes it.
            told.leftover = Some(errno);
            tracing::warn!("what was discarded stays in the storage as a leftover: {errno}");
        }
        Ok(())
    }
}
