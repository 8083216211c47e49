//! A copy of a directory takes over what META of the storage's root says of it.

use std::sync::Arc;

use crate::format::meta::Record;
use crate::reach::overlay::Overlay;
use crate::sys::Result;
use crate::tree::dir::Dir;
use crate::tree::node::Node;
use crate::tree::path::path_below;

impl Overlay {
    /// Lets the copy of a directory say what the root's META says of it.
    pub(crate) fn take_over_hidden(&self, node: &Arc<Node>, own: &Dir) -> Result<()> {
        let names = own.far_hidden();
        if names.is_empty() {
            return Ok(());
        }
        let edit = own.edit();
        let records = names.iter().map(|name| Record::Hide { name: name.clone() });
        edit.append(&records.collect::<Vec<_>>())?;
        edit.says_itself(&names);
        drop(edit);
        // On btrfs META of the root could reach the device before that of the copy.
        if let Some(path) =
            path_below(node, false).filter(|_| !self.durability.syncs_before_changes())
        {
            self.root_dir.edit().index_mut().far_mut().forget_names(&path, &names);
        }
        Ok(())
    }
}
