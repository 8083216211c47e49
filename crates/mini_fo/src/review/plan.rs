//! What is to be done with changes: what would come of it, and that nothing else is done.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::http::Reply;
use super::list::{List, Told, is_totals};
use super::site::{stale, trouble};
use super::source::{Action, Source};
use crate::cli::changes::commit::asked::Fate;
use crate::control::wire::{CommitForm, PathBytes};

/// Bytes of paths in one request to a daemon, less than its bound.
const MOST_PATHS: usize = 256 * 1024;

/// Names that are told of what goes as well.
const MOST_TOLD: usize = 200;

/// What is posted.
#[derive(Deserialize)]
pub struct Order {
    pub turn: u64,
    pub action: Action,
    /// Numbers of changes.
    pub ids: Vec<usize>,
    /// Numbers of those that must stay.
    keep: Vec<usize>,
    /// What was confirmed.
    plan: Option<String>,
}

/// What would come of an order.
#[derive(Default, Serialize)]
pub struct Plan {
    /// By what it is known that nothing else would.
    plan: String,
    pub goes: usize,
    /// How many changes are lost with their content.
    content: usize,
    /// What was not chosen, and hangs together with what was.
    also: Vec<String>,
    also_count: usize,
    /// What must stay, and would go.
    kept: Vec<String>,
    /// What was chosen, and hangs together with what must stay.
    held: Vec<String>,
    /// Where the base has something else than what changes were made from.
    conflicts: Vec<Value>,
    /// What cannot be read.
    failed: Vec<Value>,
    /// How many changes stay because programs have them open.
    in_use: u64,
    /// What a live mount calls it.
    #[serde(skip)]
    shown: Option<u64>,
    #[serde(skip)]
    parts: Vec<Vec<Vec<u8>>>,
}

/// What has come of it.
pub struct Done {
    /// What stays as it is.
    pub failed: Vec<Value>,
    pub error: Option<String>,
}

/// What was chosen, and what must stay, by numbers.
struct Chosen {
    ids: Vec<bool>,
    keep: Vec<bool>,
}

impl Plan {
    /// Looks what would come of it.
    ///
    /// # Errors
    /// It is not as it was, or cannot be read; there is no such change.
    pub fn of(source: &Source, list: &List, order: &Order) -> Result<Plan, Reply> {
        let mut plan = Plan::default();
        let chosen = Chosen::of(list, order).ok_or_else(unknown)?;
        let mut lines = match order.action {
            Action::Discard => plan.discarded(source, list, order)?,
            Action::Commit => plan.committed(source, list, &chosen)?,
        };
        lines.sort_unstable();
        lines.dedup();
        let mut hash = Sha1::new();
        for line in &lines {
            hash.update(line);
            plan.count((source, list), line, &chosen)?;
        }
        plan.plan = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if order.action == Action::Commit {
            plan.content = 0;
        }
        Ok(plan)
    }

    fn discarded(
        &mut self,
        source: &Source,
        list: &List,
        order: &Order,
    ) -> Result<Vec<String>, Reply> {
        let paths = list.paths(&order.ids, |top| source.has(top)).ok_or_else(unknown)?;
        self.parts = parts(paths);
        let (mut lines, mut error) = (Vec::new(), None);
        for part in &self.parts {
            let mut take = |line: &str| match failure_of(line) {
                Some(told) => self.failed.push(told),
                None => lines.push(line.to_owned()),
            };
            let would = source.discard(part, true, &mut take);
            error = error.or(would.err());
        }
        match error {
            Some(failure) => Err(trouble(&failure)),
            None => Ok(lines),
        }
    }

    fn committed(
        &mut self,
        source: &Source,
        list: &List,
        chosen: &Chosen,
    ) -> Result<Vec<String>, Reply> {
        let mut lines = Vec::new();
        let mut take = |line: &str, fate| {
            let name = || Told::of(line).map(|told| told.names().0).unwrap_or_default();
            match fate {
                Fate::Goes => lines.push(line.to_owned()),
                Fate::Held => self.held.push(name()),
                Fate::Conflict(what) => {
                    self.conflicts.push(json!({ "path": name(), "error": what }));
                }
            }
        };
        let form = CommitForm { dry_run: true, ..chosen.form(list) };
        let paths = form.paths.iter().chain(&form.stays);
        if source.is_live() && paths.map(|path| most_sent(&path.0)).sum::<usize>() > MOST_PATHS {
            let text = "So many changes at once are committed by the command mini_fo commit.";
            return Err(Reply::trouble(400, text));
        }
        let seen = source.commit(form, &mut take).map_err(|failure| trouble(&failure))?;
        (self.in_use, self.shown) = (seen.in_use, source.is_live().then_some(seen.mark));
        Ok(lines)
    }

    /// One change that would go.
    fn count(
        &mut self,
        (source, list): (&Source, &List),
        line: &str,
        chosen: &Chosen,
    ) -> Result<(), Reply> {
        let Some(told) = Told::of(line).filter(|_| !is_totals(line)) else { return Ok(()) };
        self.goes += 1;
        self.content += usize::from(told.loses_content());
        let name = || told.names().0;
        match list.same(line, &told) {
            Ok(id) if chosen.ids.get(id) == Some(&true) => {}
            Ok(id) if chosen.keep.get(id) == Some(&true) => self.kept.push(name()),
            // Elsewhere in the tree, where the page does not look.
            Err(()) if source.has(&told.path()) => return Err(stale()),
            _ => {
                self.also_count += 1;
                if self.also.len() < MOST_TOLD {
                    self.also.push(name());
                }
            }
        }
        Ok(())
    }

    /// Does what was confirmed, if nothing else would come of it.
    ///
    /// # Errors
    /// It would, or was not confirmed: nothing is done.
    pub fn carry_out(&self, source: &Source, list: &List, order: &Order) -> Result<Done, Reply> {
        let is_free = self.kept.is_empty() && self.held.is_empty() && self.conflicts.is_empty();
        if !is_free || order.plan.as_ref() != Some(&self.plan) {
            return Err(stale());
        }
        let (mut failed, mut error) = (Vec::new(), None);
        if order.action == Action::Commit {
            let chosen = Chosen::of(list, order).ok_or_else(unknown)?;
            let form = CommitForm { shown: self.shown, ..chosen.form(list) };
            let done = source.commit(form, &mut |_, _| {});
            return Ok(Done { failed, error: done.err().map(|failure| failure.to_string()) });
        }
        for part in &self.parts {
            let mut take = |line: &str| failed.extend(failure_of(line));
            if let Err(failure) = source.discard(part, false, &mut take) {
                error = Some(failure.to_string());
                break;
            }
        }
        Ok(Done { failed, error })
    }
}

impl Chosen {
    /// `None`: there is no such change.
    fn of(list: &List, order: &Order) -> Option<Chosen> {
        Some(Chosen { ids: set(list.len(), &order.ids)?, keep: set(list.len(), &order.keep)? })
    }

    /// What a commit is to do: what was not marked goes along where it must.
    fn form(&self, list: &List) -> CommitForm {
        let paths = |marks: &[bool]| {
            let marked = marks.iter().enumerate().filter(|(_, marked)| **marked);
            marked.filter_map(|(id, _)| Some(PathBytes(list.told(id)?.path()))).collect()
        };
        let (paths, stays) = (paths(&self.ids), paths(&self.keep));
        CommitForm { paths, stays, single: true, json: true, ..CommitForm::default() }
    }
}

fn unknown() -> Reply {
    Reply::trouble(400, "There is no such change.")
}

fn set(len: usize, ids: &[usize]) -> Option<Vec<bool>> {
    let mut set = vec![false; len];
    for id in ids {
        *set.get_mut(*id)? = true;
    }
    Some(set)
}

/// What could not be done, if a line tells that.
fn failure_of(line: &str) -> Option<Value> {
    let told = Told::of(line).filter(|told| matches!(&*told.kind, "failed" | "unreadable"))?;
    Some(json!({ "path": told.names().0, "error": told.error }))
}

/// Bytes that a path takes in a request: as digits, at worst.
fn most_sent(path: &[u8]) -> usize {
    path.len() * 2 + 16
}

/// Paths for one request each.
fn parts(paths: Vec<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
    let (mut parts, mut size) = (vec![Vec::new()], 0);
    for path in paths {
        size += most_sent(&path);
        if size > MOST_PATHS {
            parts.push(Vec::new());
            size = most_sent(&path);
        }
        parts.last_mut().into_iter().for_each(|part| part.push(path.clone()));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_orders_go_in_parts() {
        let paths: Vec<Vec<u8>> = (0..3000).map(|at| format!("{at:0200}").into_bytes()).collect();
        let parts = parts(paths.clone());
        assert!(parts.len() > 4 && parts.concat() == paths);
    }
}
