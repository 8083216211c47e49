//! A commit of a live mount: what the command asks for, and what the daemon does.

use std::cell::Cell;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mini_fo_core::commit_steps::Part;
use mini_fo_core::{
    Change, CommitListener, CommitSide, CommitWish, Committed, InUse, LiveCommitError, OpenNow,
    Overlay, Renewed,
};

use super::bar::Bar;
use super::choice::Choice;
use super::list::{self, Form, Line, Listing, Sums, touches};
use super::{Outcome, Shown, others, patch, refused, show_args};
use crate::cli::args::CommitArgs;
use crate::cli::changes::out::Out;
use crate::cli::changes::quote::quoted;
use crate::cli::changes::{live, question};
use crate::control::client::Channel;
use crate::control::wire::{CommitForm, CommitSeen, OtherMount, PathBytes, Progress, Request};
use crate::exit::{Failure, code};

/// Commits what was asked for of a live mount.
///
/// # Errors
/// It cannot be done.
pub fn run(args: &CommitArgs, channel: &Channel, tops: Vec<Vec<u8>>) -> Result<Outcome, Failure> {
    if args.abort {
        // Nobody can mount a storage of which one was interrupted.
        return Err(refused::nothing_to_abort());
    }
    if args.theirs {
        return Err(refused::theirs_live());
    }
    if channel.is_read_only() && !args.dry_run {
        return Err(refused::read_only());
    }
    // What cannot be read is told here, and not by the daemon.
    Choice::new(Vec::new(), &args.only, &args.except)?;
    let (base, others) = others_of(channel)?;
    let colored = Out::new(&show_args(args), args.json || args.quiet).is_colored();
    let form = CommitForm {
        paths: tops.into_iter().map(PathBytes).collect(),
        only: args.only.clone(),
        except: args.except.clone(),
        ours: args.ours,
        others,
        quiet: args.quiet,
        json: args.json,
        colored,
        ..CommitForm::default()
    };
    let Some(form) = patch::live(args, channel, form)? else { return Ok(Outcome::Done) };
    let mut shown = None;
    if args.dry_run || !args.yes {
        match look(args, channel, &form, &base)? {
            Look::Go(mark) => shown = Some(mark),
            Look::End(outcome) => return Ok(outcome),
        }
    }
    // What was shown before the question is not shown again.
    let asks = shown.is_some() && !args.json;
    let seen = ask(args, channel, CommitForm { shown, asks, ..form })?;
    if seen.is_another {
        return Ok(Outcome::Undecided(refused::meanwhile_live()));
    }
    if seen.conflicts > 0 {
        return Ok(Outcome::Undecided(refused::conflicts(&sums_of(&seen))));
    }
    match seen.but {
        Some(but) => Err(Failure::new(code::STORAGE, but)),
        None => Ok(Outcome::Done),
    }
}

/// The base of a live mount, and the other mounts of that.
///
/// # Errors
/// The daemon does not answer.
pub fn others_of(channel: &Channel) -> Result<(PathBuf, Vec<OtherMount>), Failure> {
    let info = channel.info().map_err(|error| refused::no_answer(&error))?;
    let base = PathBuf::from(OsStr::from_bytes(info.base.first().map_or(b"", |base| &base.0)));
    let own = Path::new(OsStr::from_bytes(&info.mountpoint.0)).to_path_buf();
    let device = channel.device();
    let is_own = |point: &Path| {
        point == own || rustix::fs::stat(point).is_ok_and(|stat| Some(stat.st_dev) == device)
    };
    let others = others::of_base(&base, &is_own);
    Ok((base, others))
}

/// What has come of a look.
enum Look {
    /// It is to be done, as it was shown.
    Go(u64),
    End(Outcome),
}

/// Shows what would be done, and asks whether it is to be.
fn look(
    args: &CommitArgs,
    channel: &Channel,
    form: &CommitForm,
    base: &Path,
) -> Result<Look, Failure> {
    let quiet = !args.dry_run && (args.json || args.quiet || !question::can_be_asked());
    let first = CommitForm {
        dry_run: true,
        asks: !args.dry_run,
        quiet: form.quiet || quiet,
        json: form.json && !quiet,
        ..form.clone()
    };
    let seen = ask(args, channel, first)?;
    let sums = sums_of(&seen);
    if seen.is_another {
        return Ok(Look::End(Outcome::Undecided(refused::meanwhile_live())));
    }
    if seen.conflicts > 0 {
        return Ok(Look::End(Outcome::Undecided(refused::conflicts(&sums))));
    }
    if args.dry_run {
        let outcome = if seen.goes == 0 { Outcome::Done } else { Outcome::no() };
        return Ok(Look::End(outcome));
    }
    if seen.goes == 0 {
        // Told as by who was not asked.
        return Ok(Look::Go(seen.mark));
    }
    if !question::can_be_asked() {
        return Err(refused::unasked(&sums, base));
    }
    Ok(match question::ask(&sums.question(base)) {
        true => Look::Go(seen.mark),
        false => Look::End(Outcome::no()),
    })
}

fn sums_of(seen: &CommitSeen) -> Sums {
    let CommitSeen { goes, bytes, conflicts, .. } = *seen;
    Sums { goes, bytes, conflicts, ..Sums::default() }
}

fn ask(args: &CommitArgs, channel: &Channel, form: CommitForm) -> Result<CommitSeen, Failure> {
    let mut out = Out::new(&show_args(args), form.json || form.quiet);
    let bar = Cell::new(None);
    let mut each = |Progress { done, all }: Progress| {
        let shown: Bar = bar.take().unwrap_or_else(|| Bar::new(false, all));
        shown.copied(done);
        bar.set(Some(shown));
    };
    let form = CommitForm { progress: !(form.dry_run || args.quiet), ..form };
    let seen = live::show_with(channel, &Request::Commit(form), (&mut out, &mut each));
    bar.take().iter().for_each(Bar::end);
    let seen = seen?;
    out.finish()?;
    Ok(seen)
}

/// Where the daemon does it.
pub struct Site<'a> {
    pub overlay: &'a Overlay,
    /// Paths, for messages.
    pub base: &'a Path,
    pub storage: &'a Path,
    /// What programs have open.
    pub open_now: &'a dyn Fn() -> OpenNow,
    /// Bytes that were copied, of how many, while all is served still. `false`: nobody wants
    /// it any more.
    pub each: &'a dyn Fn(u64, u64) -> bool,
    /// Nodes are other objects, with the same content. Nothing is served meanwhile.
    pub renew: &'a dyn Fn(&Renewed),
    /// The same for the kernel, which may wait for what is served.
    pub tell: &'a dyn Fn(&Renewed),
}

/// Does what a command asks for, or tells what it would come to.
///
/// # Errors
/// It cannot be done; the message says why.
pub fn answer(
    site: &Site<'_>,
    form: &CommitForm,
    out: &mut Out<'_>,
) -> Result<CommitSeen, Failure> {
    let work = Work { site, form, choice: Choice::of(form)? };
    // What has not begun to write has nothing to commit.
    let is_unused = site.overlay.is_read_only() && !site.overlay.stays_read_only();
    if form.dry_run || is_unused {
        let pass = site.overlay.pass().map_err(|errno| Failure::new(code::FAILURE, errno))?;
        let in_use = site.overlay.in_use((site.open_now)());
        let found = work.planned(site.overlay, &in_use)?;
        drop(pass);
        let is_whole = !form.asks || found.sums.conflicts > 0;
        work.tell(&found, form.dry_run, is_whole, out);
        let is_another = work.choice.is_another().is_some();
        return Ok(CommitSeen { is_another, ..found.seen() });
    }
    work.carry_out(out)
}

struct Work<'a> {
    site: &'a Site<'a>,
    form: &'a CommitForm,
    choice: Choice,
}

/// A plan, and what of it stays because it is in use.
struct Found {
    shown: Shown,
    sums: Sums,
    in_use: Vec<Box<[u8]>>,
}

impl Found {
    fn seen(&self) -> CommitSeen {
        CommitSeen {
            goes: self.sums.goes + self.sums.follows,
            bytes: self.sums.bytes,
            conflicts: self.sums.conflicts,
            in_use: self.in_use.len() as u64,
            mark: self.mark(),
            ..CommitSeen::default()
        }
    }

    /// A number that another plan, or other lines, do not have.
    fn mark(&self) -> u64 {
        let (mut hasher, plan) = (DefaultHasher::new(), &self.shown.plan);
        for entry in &plan.entries {
            (&entry.path, format!("{:?}", entry.fate), entry.bytes).hash(&mut hasher);
        }
        for step in &plan.program().steps {
            format!("{step:?}").hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Work<'_> {
    fn planned(&self, overlay: &Overlay, in_use: &InUse) -> Result<Found, Failure> {
        let side = if self.form.ours { CommitSide::Ours } else { CommitSide::Neither };
        let mut open = Vec::new();
        let mut wish = |change: &Change<'_>| match self.choice.wish(change) {
            wish if in_use.has(change.path) => {
                if wish == CommitWish::Goes {
                    open.push(Box::from(change.path));
                }
                CommitWish::Stays
            }
            wish => wish,
        };
        let parts = self.choice.parts().iter().filter(|part| !in_use.has(&part.path));
        let parts: Vec<Part> = parts.cloned().collect();
        let held_to = (in_use.paths(), &*parts);
        let shown = Shown::of((side, self.form.json), overlay, &mut wish, held_to);
        let shown = shown.map_err(|refusal| refused::plan(&refusal, self.site.base))?;
        let changed = shown.lines.iter().flat_map(Line::paths);
        let is_there = |top: &[u8]| overlay.has_path(top).unwrap_or(true);
        self.choice.refuse_unknown(changed, &is_there)?;
        let sums = shown.sums;
        Ok(Found { shown, sums, in_use: open })
    }

    /// A base that others show does not change under them.
    fn refuse_others(&self, found: &Found) -> Result<(), Failure> {
        let shown = &found.shown;
        let met = self.form.others.iter().filter(|other| {
            let shows = other.shows.as_ref();
            shows.is_none_or(|path| touches(&shown.plan, &shown.lines, &path.0))
        });
        let mut points: Vec<PathBuf> =
            met.map(|other| PathBuf::from(OsStr::from_bytes(&other.point.0))).collect();
        points.sort();
        points.dedup();
        if points.is_empty() { Ok(()) } else { Err(others::refusal(self.site.base, &points)) }
    }

    fn carry_out(&self, out: &mut Out<'_>) -> Result<CommitSeen, Failure> {
        let site = self.site;
        let mut last: Option<Result<Found, Failure>> = None;
        let mut is_another = false;
        let mut plan = |overlay: &Overlay, in_use: &InUse| {
            let found = self.planned(overlay, in_use).and_then(|found| {
                let goes = found.sums.conflicts == 0 && !found.sums.is_nothing();
                if goes { self.refuse_others(&found).map(|()| found) } else { Ok(found) }
            });
            let plan = match &found {
                Ok(found) if found.sums.conflicts > 0 || found.sums.is_nothing() => None,
                Ok(found) => {
                    is_another = self.form.shown.is_some_and(|shown| shown != found.mark())
                        || self.choice.is_another().is_some();
                    (!is_another).then(|| found.shown.plan.clone())
                }
                Err(_) => None,
            };
            last = Some(found);
            plan
        };
        let mut renewed = Renewed::default();
        let mut renew = |these: Renewed| {
            (site.renew)(&these);
            renewed = these;
        };
        let told =
            CommitListener { each: &mut |done, all| (site.each)(done, all), tell: &mut renew };
        let done = site.overlay.commit_live(site.open_now, &mut plan, told);
        (site.tell)(&renewed);
        let committed = match done {
            Err(LiveCommitError::Commit(error)) => return Err(refused::commit(error, site.base)),
            Err(LiveCommitError::Unclean) => return Err(refused::unclean(site.storage)),
            Err(error) => return Err(Failure::new(code::FAILURE, error)),
            Ok(committed) => committed,
        };
        let found =
            last.unwrap_or_else(|| Err(Failure::new(code::FAILURE, "nothing was planned")))?;
        if is_another {
            return Ok(CommitSeen { is_another, ..found.seen() });
        }
        let would = committed.is_none();
        let listed = would || !self.form.asks;
        self.tell_of(&found, would, listed, true, out);
        let but = committed.and_then(|committed: Committed| {
            refused::left(&committed).err().map(|failure| failure.message)
        });
        Ok(CommitSeen { but, ..found.seen() })
    }

    fn tell(&self, found: &Found, would: bool, is_whole: bool, out: &mut Out<'_>) {
        self.tell_of(found, would, true, is_whole, out);
    }

    fn tell_of(&self, found: &Found, would: bool, listed: bool, is_whole: bool, out: &mut Out<'_>) {
        let Found { shown, sums, in_use } = found;
        let CommitForm { json, quiet, offers, .. } = *self.form;
        let form = Form { json, quiet, would, offers };
        if listed {
            Listing::of(&shown.plan, &shown.lines).show(form, out);
        }
        if !self.form.quiet && !self.form.json && !in_use.is_empty() && is_whole {
            let mut text = b"stays in the storage, for programs have it open:\n".to_vec();
            for path in in_use {
                text.extend(b"  ");
                text.extend(&*quoted(path));
                text.push(b'\n');
            }
            // Nobody reads any more: what is done is done.
            let _ = out.put(&text);
        }
        if is_whole {
            let sums = list::Sums { in_use: in_use.len() as u64, ..*sums };
            sums.tell(form, self.site.base, out);
        }
    }
}
