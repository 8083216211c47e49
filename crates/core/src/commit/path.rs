//! Paths, as text, in the order of a walk.

use std::cmp::Ordering;

pub(super) use crate::format::path::is_within;

/// Each directory before what is in it, and entries by their bytes.
pub(super) fn in_walk(a: &[u8], b: &[u8]) -> Ordering {
    let place = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
    a.iter().map(place).cmp(b.iter().map(place))
}

/// The directories on the way to a path, from the root's first name down, and the path.
pub(super) fn on_the_way(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let inner = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
    let ends: Vec<usize> = inner.chain((!path.is_empty()).then_some(path.len())).collect();
    ends.into_iter().filter_map(|end| path.get(..end))
}

/// What of a list in the order of a walk lies at a path or below it.
pub(super) fn range<T>(
    list: &[T],
    top: &[u8],
    path: impl Fn(&T) -> &[u8],
) -> std::ops::Range<usize> {
    let start = list.partition_point(|one| in_walk(path(one), top) == Ordering::Less);
    let rest = list.get(start..).unwrap_or_default();
    let len = rest.partition_point(|one| is_within(path(one), top));
    start..start + len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_path_stands_together() {
        let mut all: Vec<&[u8]> = vec![b"a.b", b"a", b"a/x", b"b", b"a/x/y", b"", b"a/w"];
        all.sort_by(|a, b| in_walk(a, b));
        let order: Vec<&[u8]> = vec![b"", b"a", b"a/w", b"a/x", b"a/x/y", b"a.b", b"b"];
        assert_eq!(all, order);
        assert_eq!(range(&all, b"a", |path| path), 1..5);
        assert_eq!(range(&all, b"a/x", |path| path), 3..5);
        assert_eq!(range(&all, b"", |path| path), 0..7);
        assert_eq!(range(&all, b"a/z", |path| path), 5..5);
        let way: Vec<&[u8]> = on_the_way(b"a/x/y").collect();
        assert_eq!(way, [&b"a"[..], b"a/x", b"a/x/y"]);
        assert!(on_the_way(b"").next().is_none());
    }
}
