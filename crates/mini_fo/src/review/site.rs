//! What the page asks for.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::http::{Ask, Reply};
use super::list::{List, Told};
use super::plan::{Done, Order, Plan};
use super::source::Source;
use super::view::{MOST_PICTURE, view};
use super::{picture, text};
use crate::cli::changes::diff::lines::MOST_BYTES;
use crate::control::wire::{ContentForm, PathBytes, Sent, Side};
use crate::exit::Failure;
use crate::secret::secret;

/// Rows of the list that are sent at once.
const PAGE: usize = 5000;

/// What is served.
pub struct Site {
    source: Source,
    list: Mutex<Arc<List>>,
    /// Held while changes are read or go: a storage that is not mounted is open once.
    one: Mutex<()>,
}

type Answer = Result<Value, Reply>;

/// It cannot be done, or read.
pub fn trouble(failure: &Failure) -> Reply {
    Reply::trouble(500, &failure.to_string())
}

/// It is not as it was shown.
pub fn stale() -> Reply {
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
            "base": self.source.base().map(|base| text::name(base.as_os_str().as_encoded_bytes())),
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
        Ok(json!(Plan::of(&self.source, &list, order)?))
    }

    /// Does what was confirmed, if nothing else would come of it.
    fn apply(&self, order: &Order) -> Answer {
        let one = self.one.lock();
        let list = self.of(Some(order.turn))?;
        let plan = Plan::of(&self.source, &list, order)?;
        let Done { failed, error } = plan.carry_out(&self.source, &list, order)?;
        drop(one);
        let read = self.read();
        // After an error nobody knows but by a look at what is left.
        let done = error.is_none().then(|| plan.goes.saturating_sub(failed.len()));
        let error = error.or_else(|| read.err().map(|failure| failure.to_string()));
        Ok(json!({ "done": done, "failed": failed, "error": error, "about": self.about() }))
    }
}

fn number(ask: &Ask, name: &str) -> Option<u64> {
    ask.value(name)?.parse().ok()
}

/// The page, in which only what belongs to it runs.
fn page() -> Reply {
    let nonce = match secret() {
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
