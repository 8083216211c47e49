//! What a run has changed.
#![forbid(unsafe_code)]

use std::path::Path;

use serde_json::Value;

use crate::cli::changes::{self, out::Out};
use crate::exit::{Failure, code};

/// What a run has changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// How many changes there are of a kind, in the order in which they are told.
    pub counts: Vec<(&'static str, u64)>,
    /// All of them, as JSON objects.
    pub objects: Vec<String>,
}

/// Kinds of changes, as JSON calls them and as people do.
const KINDS: [(&str, &str); 7] = [
    ("added", "added"),
    ("modified", "modified"),
    ("attributes", "with other attributes"),
    ("renamed", "renamed"),
    ("type", "of another type"),
    ("deleted", "deleted"),
    ("unreadable", "unreadable"),
];

impl Changes {
    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|(_, count)| *count == 0)
    }

    /// How many of each kind, in words.
    pub fn summary(&self) -> String {
        let shown = KINDS.iter().filter_map(|(kind, words)| {
            let (_, count) = self.counts.iter().find(|(known, _)| known == kind)?;
            (*count > 0).then(|| format!("{count} {words}"))
        });
        let shown: Vec<String> = shown.collect();
        if shown.is_empty() { "nothing has changed".to_owned() } else { shown.join(", ") }
    }

    /// Asks what has changed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(path: &Path) -> Result<Changes, Failure> {
        let mut text = Vec::new();
        let mut out = Out::into_program(&mut text);
        changes::status::put(path, &mut out)?;
        out.finish()?;
        let text = String::from_utf8_lossy(&text);
        let mut objects: Vec<String> = text.lines().map(str::to_owned).collect();
        let totals = objects.pop().unwrap_or_default();
        let totals: Value = serde_json::from_str(&totals).map_err(|error| {
            Failure::new(code::RUN, format!("the changes cannot be read: {error}"))
        })?;
        let count = |kind: &str| totals.get(kind).and_then(Value::as_u64).unwrap_or(0);
        let counts = KINDS.iter().map(|(kind, _)| (*kind, count(kind))).collect();
        Ok(Changes { counts, objects })
    }
}
