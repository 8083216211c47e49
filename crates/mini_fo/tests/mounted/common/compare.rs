//! Two trees, object by object.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::proof::{Facts, Tree, record};

/// Fails unless both trees hold the same: names, types, contents, modes,
/// owners, extended attributes, hard links among themselves, and modification
/// times, the latter exactly where they are older than this hour.
pub fn assert_same_tree(left: &Path, right: &Path) {
    assert_same_tree_except(left, right, &|_| false);
}

/// As [`assert_same_tree`], with some paths left out.
pub fn assert_same_tree_except(left: &Path, right: &Path, leave_out: &dyn Fn(&Path) -> bool) {
    let a = keep(record(left), leave_out);
    let b = keep(record(right), leave_out);
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b), "different names in {left:?} and {right:?}");
    let recent = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|since| since.as_secs() as i64 - 3600)
        .unwrap_or(0);
    for (path, mine) in &a {
        let other = &b[path];
        assert_eq!(essence(mine, recent), essence(other, recent), "{} differs", path.display());
    }
    assert_eq!(link_groups(&a), link_groups(&b), "different hard links");
}

fn keep(mut tree: Tree, leave_out: &dyn Fn(&Path) -> bool) -> Tree {
    tree.retain(|path, _| !leave_out(path));
    tree
}

/// What must agree. Sizes of directories and symlinks are a matter of the file
/// system; the target of a symlink is its content here.
fn essence(facts: &Facts, recent: i64) -> impl PartialEq + std::fmt::Debug {
    let kind = facts.mode & libc::S_IFMT;
    let sized = kind != libc::S_IFDIR && kind != libc::S_IFLNK;
    let old = facts.mtime.0 < recent;
    (
        format!("mode {:o}", facts.mode),
        facts.owner,
        sized.then_some((facts.size, facts.rdev)),
        old.then_some(facts.mtime),
        facts.content,
        facts.xattrs.clone(),
    )
}

/// The names of each file that has several.
fn link_groups(tree: &Tree) -> Vec<Vec<PathBuf>> {
    let mut groups: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    for (path, facts) in tree {
        if facts.mode & libc::S_IFMT != libc::S_IFDIR && facts.nlink > 1 {
            groups.entry(facts.ino).or_default().push(path.clone());
        }
    }
    let mut groups: Vec<_> = groups.into_values().filter(|g| g.len() > 1).collect();
    groups.sort();
    groups
}
