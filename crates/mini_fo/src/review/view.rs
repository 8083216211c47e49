//! What the page shows of the two sides of a change.

use serde_json::{Value, json};

use super::list::{Facts, Told};
use super::rows::rows;
use super::{picture, text};
use crate::cli::changes::diff::lines::{Lines, MOST_BYTES, are_texts};
use crate::control::wire::Sent;

/// Pictures of more bytes are not shown.
pub const MOST_PICTURE: u64 = 16 << 20;

/// What the page shows of both sides.
pub fn view(
    told: &Told,
    (old, before): (Sent, Vec<u8>),
    (new, after): (Sent, Vec<u8>),
    context: usize,
) -> Value {
    if !old.there && !new.there {
        return json!({ "as": "nothing" });
    }
    let is_link = |facts: &Option<Facts>| facts.as_ref().is_some_and(|f| f.kind == "symlink");
    if is_link(&told.before) || is_link(&told.after) {
        let target = |there: bool, is_link: bool, bytes: &[u8]| {
            (there && is_link).then(|| text::name(bytes))
        };
        let before = target(old.there, is_link(&told.before), &before);
        let after = target(new.there, is_link(&told.after), &after);
        return json!({ "as": "link", "before": before, "after": after });
    }
    let shown = |sent: &Sent, bytes: &[u8]| {
        sent.there && sent.size <= MOST_PICTURE && picture::kind(bytes).is_some()
    };
    let (picture_before, picture_after) = (shown(&old, &before), shown(&new, &after));
    if picture_before || picture_after {
        return json!({ "as": "picture", "before": picture_before, "after": picture_after });
    }
    if old.size > MOST_BYTES || new.size > MOST_BYTES {
        return json!({ "as": "large", "most": MOST_BYTES });
    }
    let texts = [before, after];
    if !are_texts(&texts) {
        let same = old.there && new.there && texts.iter().all(|text| Some(text) == texts.first());
        return json!({ "as": "binary", "same": same });
    }
    let lines = Lines::new(&texts);
    let (added, deleted) = lines.counts();
    let shown = rows(&lines, context);
    json!({
        "as": "text", "rows": shown.rows, "cut": shown.cut, "added": added, "deleted": deleted,
    })
}
