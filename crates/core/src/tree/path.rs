//! Paths of nodes in the layers below the storage.

use std::sync::Arc;

use super::node::{BaseRef, Node};

/// The path in the base of what a directory shows, without a leading slash. `moved`: also
/// of one that was moved, or lies in one. `None`: it shows nothing of the base, or was
/// moved.
pub(crate) fn path_below(node: &Arc<Node>, moved: bool) -> Option<Vec<u8>> {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let mut node = Arc::clone(node);
    while !node.is_root() {
        let place = node.place();
        match &place.base {
            BaseRef::SameName => {}
            BaseRef::Path(path) if moved => {
                names.push(path.as_ref().clone());
                break;
            }
            BaseRef::Path(_) | BaseRef::None => return None,
        }
        let link = place.names.first()?.clone();
        drop(place);
        names.push(link.name().into());
        node = Arc::clone(link.parent());
    }
    names.reverse();
    Some(names.join(&b'/'))
}
