//! What the page asks for.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::guard;
use super::http::{Ask, Reply};
use super::list::{List, Told, is_totals};
use super::source::{Action, Source};
use super::view::{MOST_PICTURE, view};
use super::{picture, text};
use crate::cli::changes::diff::lines::MOST_BYTES;
use crate::control::wire::{ContentForm, PathBytes, Sent, Side};
use crate::exit::Failure;

/// Rows of the list that are sent at once.
const PAGE: usize = 5000;

/// Bytes of paths in one request to a daemon, less than its bound.
const MOST_PATHS: usize = 256 * 1024;

/// Names that are told of what goes as well.
const MOST_TOLD: usize = 200;

/// What is served.
pub struct Site {
    source: Source,
    list: Mutex<Arc<List>>,
    /// Held while changes are read or go: a storage that is not mounted is open once.
    one: Mutex<()>,
}

/// What is posted.
#[derive(Deserialize)]
struct Order {
    turn: u64,
    action: Action,
    /// Numbers of changes.
    ids: Vec<usize>,
    /// Numbers of those that must stay.
    keep: Vec<usize>,
    /// What was confirmed.
    plan: Option<String>,
}

/// What would come of an order.
struct Plan {
    parts: Vec<Vec<Vec<u8>>>,
    goes: usize,
    content: usize,
    /// What was not chosen, and hangs together with what was.
    also: Vec<String>,
    also_count: usize,
    kept: Vec<String>,
    failed: Vec<Value>,
    mark: String,
}

type Answer = Result<Value, Reply>;

fn trouble(failure: &Failure) -> Reply {
    Reply::trouble(500, &failure.to_string())
}

fn stale() -> Reply {
    let text = "The tree has changed since it was read. It is read again; look again.";
    Reply::json(409, &json!({ "error": text, "stale": true }))
}

impl Site {
    /// Reads what has changed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn new(source: Source) -> Result<Site, Failure> {
        let site = Site { source, list: Mutex::default(), one: Mutex::new(()) };
        site.read()?;
        Ok(site)
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.list.lock().len()
    }

    /// Answers.
    pub fn answer(&self, path: &str, ask: &Ask) -> Reply {
        let answer = match (ask.post, path) {
            (false, "") => return page(),
            (false, "api/picture") => return self.picture(ask).unwrap_or_else(|refused| refused),
            (false, "api/changes") => Ok(self.about()),
            (false, "api/list") => self.list(ask),
            (false, "api/change") => self.change(ask),
            (true, "api/read") => self.read().map(|()| self.about()).map_err(|e| trouble(&e)),
            (true, "api/plan") => self.order(ask).and_then(|order| self.plan(&order)),
            (true, "api/apply") => self.order(ask).and_then(|order| self.apply(&order)),
            _ => return Reply::text(404, "There is no such thing."),
        };
        answer.map_or_else(|refused| refused, |object| Reply::json(200, &object))
    }

    fn read(&self) -> Result<(), Failure> {
        let _one = self.one.lock();
        let turn = self.list.lock().turn + 1;
        let mut list = List::new(turn);
        self.source.changes(&mut |line| list.add(line))?;
        *self.list.lock() = Arc::new(list);
        Ok(())
    }

    fn about(&self) -> Value {
        let list = self.list.lock().clone();
        json!({
            "turn": list.turn,
            "count": list.len(),
            "where": text::name(self.source.name().as_os_str().as_encoded_bytes()),
            "live": self.source.is_live(),
            "actions": self.source.actions(),
        })
    }

    /// The list that is spoken of.
    fn of(&self, turn: Option<u64>) -> Result<Arc<List>, Reply> {
        let list = self.list.lock().clone();
        if turn == Some(list.turn) { Ok(list) } else { Err(stale()) }
    }

    fn list(&self, ask: &Ask) -> Answer {
        let list = self.of(number(ask, "turn"))?;
        let from = number(ask, "from").unwrap_or(0);
        Ok(json!(list.rows(usize::try_from(from).unwrap_or(usize::MAX), PAGE)))
    }

    fn told(&self, ask: &Ask) -> Result<Told, Reply> {
        let list = self.of(number(ask, "turn"))?;
        let id = number(ask, "id").and_then(|id| usize::try_from(id).ok());
        id.and_then(|id| list.told(id)).ok_or_else(|| Reply::trouble(404, "No such change."))
    }

    fn content(&self, told: &Told, side: Side, most: u64) -> Result<(Sent, Vec<u8>), Reply> {
        let facts = if side == Side::Before { &told.before } else { &told.after };
        if !facts.as_ref().is_some_and(|facts| matches!(&*facts.kind, "file" | "symlink")) {
            return Ok((Sent::default(), Vec::new()));
        }
        let form = ContentForm {
            path: PathBytes(told.path()),
            deleted: told.is_deleted(),
            side,
            most,
            beginning: picture::LOOKED_AT,
        };
        let _one = self.one.lock();
        self.source.content(&form).map_err(|failure| trouble(&failure))
    }

    /// One change with both sides.
    fn change(&self, ask: &Ask) -> Answer {
        let told = self.told(ask)?;
        let context = number(ask, "context").unwrap_or(3).min(1_000_000) as usize;
        let before = self.content(&told, Side::Before, MOST_BYTES)?;
        let after = self.content(&told, Side::After, MOST_BYTES)?;
        let (path, from) = told.names();
        let xattrs: Vec<String> = told.xattrs.iter().map(|x| text::name(x.as_bytes())).collect();
        Ok(json!({
            "path": path, "from": from, "kind": told.kind, "attributes": told.attributes,
            "xattrs": xattrs, "before": told.before, "after": told.after,
            "more_names": told.more_names, "error": told.error,
            "view": view(&told, before, after, context),
        }))
    }

    /// One side of a picture.
    fn picture(&self, ask: &Ask) -> Result<Reply, Reply> {
        let told = self.told(ask)?;
        let side = match ask.value("side") {
            Some("before") => Side::Before,
            _ => Side::After,
        };
        let (sent, bytes) = self.content(&told, side, MOST_PICTURE)?;
        let kind = picture::kind(&bytes).filter(|_| sent.size == bytes.len() as u64);
        let kind = kind.ok_or_else(|| Reply::trouble(404, "This is no picture that is shown."))?;
        Ok(Reply::new(200, kind, bytes))
    }

    fn order(&self, ask: &Ask) -> Result<Order, Reply> {
        let order: Order = serde_json::from_slice(&ask.body)
            .map_err(|error| Reply::trouble(400, &error.to_string()))?;
        if !self.source.actions().contains(&order.action) || order.ids.is_empty() {
            return Err(Reply::trouble(400, "Nothing can be done with that."));
        }
        Ok(order)
    }

    fn plan(&self, order: &Order) -> Answer {
        let _one = self.one.lock();
        let list = self.of(Some(order.turn))?;
        let plan = self.make_plan(&list, order)?;
        Ok(json!({
            "plan": plan.mark, "goes": plan.goes, "content": plan.content, "also": plan.also,
            "also_count": plan.also_count, "kept": plan.kept, "failed": plan.failed,
        }))
    }

    /// Does what was confirmed, if nothing else would come of it.
    fn apply(&self, order: &Order) -> Answer {
        let one = self.one.lock();
        let list = self.of(Some(order.turn))?;
        let plan = self.make_plan(&list, order)?;
        if !plan.kept.is_empty() || order.plan.as_ref() != Some(&plan.mark) {
            return Err(stale());
        }
        let (mut failed, mut error) = (Vec::new(), None);
        for part in &plan.parts {
            let mut take = |line: &str| failed.extend(failure_of(line));
            if let Err(failure) = self.source.act(order.action, part, false, &mut take) {
                error = Some(failure.to_string());
                break;
            }
        }
        drop(one);
        let read = self.read();
        // After an error nobody knows but by a look at what is left.
        let done = error.is_none().then(|| plan.goes.saturating_sub(failed.len()));
        let error = error.or_else(|| read.err().map(|failure| failure.to_string()));
        Ok(json!({ "done": done, "failed": failed, "error": error, "about": self.about() }))
    }

    fn make_plan(&self, list: &List, order: &Order) -> Result<Plan, Reply> {
        let no = || Reply::trouble(400, "There is no such change.");
        let paths = list.paths(&order.ids, |top| self.source.has(top)).ok_or_else(no)?;
        let parts = parts(paths);
        let (mut lines, mut failed, mut error) = (Vec::new(), Vec::new(), None);
        for part in &parts {
            let mut take = |line: &str| match failure_of(line) {
                Some(told) => failed.push(told),
                None => lines.push(line.to_owned()),
            };
            let would = self.source.act(order.action, part, true, &mut take);
            error = error.or(would.err());
        }
        if let Some(failure) = error {
            return Err(trouble(&failure));
        }
        lines.sort_unstable();
        lines.dedup();
        let mut plan = Plan {
            parts,
            goes: 0,
            content: 0,
            also: Vec::new(),
            also_count: 0,
            kept: Vec::new(),
            failed,
            mark: String::new(),
        };
        let chosen = set(list.len(), &order.ids).ok_or_else(no)?;
        let keep = set(list.len(), &order.keep).ok_or_else(no)?;
        let mut hash = Sha1::new();
        for line in &lines {
            hash.update(line);
            self.count(list, line, (&chosen, &keep), &mut plan)?;
        }
        plan.mark = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(plan)
    }

    /// One change that would go.
    fn count(
        &self,
        list: &List,
        line: &str,
        (chosen, keep): (&[bool], &[bool]),
        plan: &mut Plan,
    ) -> Result<(), Reply> {
        let Some(told) = Told::of(line).filter(|_| !is_totals(line)) else { return Ok(()) };
        plan.goes += 1;
        plan.content += usize::from(told.loses_content());
        let name = || told.names().0;
        match list.same(line, &told) {
            Ok(id) if chosen.get(id) == Some(&true) => {}
            Ok(id) if keep.get(id) == Some(&true) => plan.kept.push(name()),
            // Elsewhere in the tree, where the page does not look.
            Err(()) if self.source.has(&told.path()) => return Err(stale()),
            _ => {
                plan.also_count += 1;
                if plan.also.len() < MOST_TOLD {
                    plan.also.push(name());
                }
            }
        }
        Ok(())
    }
}

fn number(ask: &Ask, name: &str) -> Option<u64> {
    ask.value(name)?.parse().ok()
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

/// Paths for one request each.
fn parts(paths: Vec<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
    let (mut parts, mut size) = (vec![Vec::new()], 0);
    for path in paths {
        // As digits, at worst.
        size += path.len() * 2 + 16;
        if size > MOST_PATHS {
            parts.push(Vec::new());
            size = path.len() * 2 + 16;
        }
        parts.last_mut().into_iter().for_each(|part| part.push(path.clone()));
    }
    parts
}

/// The page, in which only what belongs to it runs.
fn page() -> Reply {
    let nonce = match guard::secret() {
        Ok(nonce) => nonce,
        Err(failure) => return Reply::text(500, &failure.to_string()),
    };
    let text = include_str!("page.html").replace("NONCE", &nonce);
    let mut reply = Reply::new(200, "text/html; charset=utf-8", text);
    reply.head = format!(
        "Content-Security-Policy: default-src 'none'; script-src 'nonce-{nonce}'; style-src \
         'nonce-{nonce}'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action \
         'none'; frame-ancestors 'none'\r\n"
    );
    reply
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
