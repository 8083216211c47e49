//! Whether the base still is what a change was made from, in words.

use mini_fo_core::{BaseChanges, BaseState, Change, FoundChange};

use crate::cli::json;

/// What is not as it was. What cannot be read says nothing: the change itself was told.
fn changes(change: &Change<'_>) -> Option<BaseChanges> {
    match change.base_state() {
        Ok(BaseState::Changed(changes)) => Some(changes),
        _ => None,
    }
}

fn words(changes: &BaseChanges) -> Vec<&'static str> {
    let BaseChanges { gone, kind, content, mtime, mode, owner, group } = *changes;
    let words = [
        (gone, "gone"),
        (kind, "type"),
        (content, "content"),
        (mtime, "time"),
        (mode, "mode"),
        (owner, "owner"),
        (group, "group"),
    ];
    words.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).collect()
}

/// The base has something else since.
pub fn is_changed(found: &FoundChange<'_>) -> bool {
    matches!(found, FoundChange::Change(change) if changes(change).is_some())
}

/// The same for people, if it has.
pub fn text(change: &Change<'_>) -> Option<String> {
    changes(change).map(|changes| differs(&changes))
}

/// What differs, for people.
pub fn differs(changes: &BaseChanges) -> String {
    format!("base changed: {}", words(changes).join(", "))
}

/// The end of the last line.
pub fn summary(count: u64) -> String {
    match count {
        0 => String::new(),
        1 => "; the base of 1 has changed since".to_owned(),
        count => format!("; the base of {count} has changed since"),
    }
}

/// Members of a JSON object.
pub fn members(change: &Change<'_>) -> String {
    match change.base_state() {
        Ok(BaseState::Same) => ",\"base\":\"same\"".to_owned(),
        Ok(BaseState::Changed(changes)) => {
            let words: Vec<String> = words(&changes).into_iter().map(json::quoted).collect();
            format!(",\"base\":\"changed\",\"base_differs\":[{}]", words.join(","))
        }
        _ => String::new(),
    }
}
