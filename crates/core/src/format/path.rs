//! Paths, as text.

/// A path without a leading slash: of the tree, or of what is below the storage.
pub(crate) type Path = Box<[u8]>;

pub(crate) fn join(path: &[u8], name: &[u8]) -> Path {
    if path.is_empty() { name.into() } else { [path, b"/", name].concat().into() }
}

/// The directory and the name of a path that is not the root's.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => {
            let (dir, name) = path.split_at(at);
            (dir, name.strip_prefix(b"/").unwrap_or_default())
        }
        None => (&[], path),
    }
}

/// A path is another one, or lies below it.
pub(crate) fn is_within(path: &[u8], top: &[u8]) -> bool {
    top.is_empty()
        || path.strip_prefix(top).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}
