//! A change that can be picked, as `mini_fo commit --json` tells it.

use mini_fo_core::commit_steps::Hash;
use serde::Deserialize;

use crate::cli::changes::commit::list::IN_PARTS;
use crate::cli::changes::discard::is_within;
use crate::control::wire::{HashBytes, PathBytes, Picked, PickedPart};

/// One of them.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Offer {
    path: String,
    path_hex: Option<String>,
    pub kind: String,
    #[serde(default)]
    attributes: Vec<String>,
    #[serde(default)]
    xattrs: Vec<String>,
    before: Option<Side>,
    after: Option<Side>,
    pub in_parts: bool,
    fate: String,
    /// Hash of what was told of it.
    #[serde(skip)]
    seen: [u8; 16],
}

/// What there is, or was.
#[derive(Clone, Debug, Default, Deserialize)]
struct Side {
    r#type: String,
    mode: String,
    uid: u32,
    gid: u32,
}

impl Offer {
    /// `None`: the line tells of no change, or not by which it would be known again.
    pub fn of(line: &str) -> Option<Offer> {
        let (told, _) = line.rsplit_once(IN_PARTS)?;
        let offer: Offer = serde_json::from_str(line).ok()?;
        Some(Offer { seen: Hash::of(told.as_bytes()).0, ..offer })
    }

    /// Where it is.
    pub fn path(&self) -> Vec<u8> {
        let Some(hex) = &self.path_hex else { return self.path.clone().into_bytes() };
        let digit = |c: u8| char::from(c).to_digit(16).unwrap_or(0) as u8;
        let pair = |pair: &[u8]| pair.iter().fold(0, |byte, c| byte << 4 | digit(*c));
        hex.as_bytes().chunks(2).map(pair).collect()
    }

    /// It is to be decided by other means first.
    pub fn is_conflict(&self) -> bool {
        self.fate == "conflict"
    }

    /// It takes something away.
    pub fn is_deleted(&self) -> bool {
        self.kind == "deleted"
    }

    /// There is, or was, a directory.
    pub fn is_dir(&self) -> bool {
        let side = self.after.as_ref().or(self.before.as_ref());
        side.is_some_and(|side| side.r#type == "directory")
    }

    /// Attributes that differ and do not follow from the content, in words.
    pub fn attributes(&self) -> Vec<String> {
        let (Some(before), Some(after)) = (&self.before, &self.after) else { return Vec::new() };
        let words = self.attributes.iter().filter_map(|name| match &**name {
            "mode" => Some(format!("mode {} -> {}", before.mode, after.mode)),
            "owner" => Some(format!("owner {} -> {}", before.uid, after.uid)),
            "group" => Some(format!("group {} -> {}", before.gid, after.gid)),
            "xattrs" => Some(format!("extended attributes: {}", self.xattrs.join(", "))),
            "mtime" => None,
            other => Some(other.to_owned()),
        });
        words.collect()
    }

    /// It, or a part of it.
    pub fn picked(&self, part: Option<PickedPart>) -> Picked {
        let (path, seen) = (PathBytes(self.path()), HashBytes(self.seen));
        Picked { path, deleted: self.is_deleted(), seen, part }
    }
}

/// Of which somebody is asked. A directory that was added goes along with what is in it.
pub fn asked_for(offers: &[Offer]) -> Vec<&Offer> {
    let mut asked = Vec::new();
    let mut offers = offers.iter().filter(|offer| offer.fate == "goes").peekable();
    while let Some(offer) = offers.next() {
        let path = offer.path();
        let next = offers.peek().is_some_and(|next| is_within(&next.path(), &path));
        if !(next && offer.kind == "added" && offer.is_dir()) {
            asked.push(offer);
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(path: &str, kind: &str, of: &str) -> Offer {
        let side = format!("{{\"type\":\"{of}\",\"mode\":\"0644\",\"uid\":1,\"gid\":2}}");
        let line = format!(
            "{{\"path\":\"{path}\",\"kind\":\"{kind}\",\"attributes\":[\"mode\",\"mtime\"],\
             \"before\":{side},\"after\":{side},\"in_parts\":true,\"fate\":\"goes\"}}"
        );
        Offer::of(&line).unwrap()
    }

    #[test]
    fn what_is_on_the_way_is_not_asked_for() {
        let offers = [
            offer("d", "added", "directory"),
            offer("d/e", "added", "directory"),
            offer("d/e/f", "added", "file"),
            offer("empty", "added", "directory"),
            offer("g", "modified", "file"),
        ];
        let asked = asked_for(&offers);
        let paths: Vec<_> = asked.iter().map(|offer| &*offer.path).collect();
        assert_eq!(paths, ["d/e/f", "empty", "g"]);
        assert_eq!(offers[4].attributes(), ["mode 0644 -> 0644"]);
        assert!(Offer::of("{\"path\":\"g\",\"kind\":\"modified\",\"fate\":\"goes\"}").is_none());
    }

    #[test]
    fn any_path_is_read() {
        let line = "{\"path\":\"a\u{fffd}\",\"path_hex\":\"61ff\",\"kind\":\"deleted\",\
                    \"in_parts\":false,\"fate\":\"conflict\"}";
        let offer = Offer::of(line).unwrap();
        assert_eq!(offer.path(), b"a\xff");
        assert!(offer.is_conflict() && offer.is_deleted() && !offer.is_dir());
    }
}
