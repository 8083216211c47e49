//! What somebody may have meant who mistyped an option.
#![forbid(unsafe_code)]

use super::SPECS;

/// The option that a mistyped name most resembles.
pub fn nearest(name: &str) -> Option<&'static str> {
    SPECS
        .iter()
        .filter(|spec| !spec.help.is_empty())
        .map(|spec| (distance(name, spec.name), spec.name))
        .min()
        .filter(|&(distance, known)| distance * 3 <= known.len().max(3))
        .map(|(_, known)| known)
}

/// Number of insertions, deletions and replacements between two words.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let best = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
