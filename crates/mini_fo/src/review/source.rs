//! Where changes are read from, and who lets them go: the daemon of a live mount, or a
//! storage that is not mounted. Nothing is kept open in between, so that nothing is in the
//! way of an unmount, or of a mount.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mini_fo_core::Overlay;
use serde::de::DeserializeOwned;

use crate::cli::args::WhereArgs;
use crate::cli::changes::ask::ask;
use crate::cli::changes::commit::asked::{self, Fate};
use crate::cli::changes::out::{Lines, Out};
use crate::cli::changes::place::{self, Where};
use crate::cli::changes::{content, discard, status};
use crate::control::wire::{
    CommitForm, CommitSeen, ContentForm, DiscardForm, Gone, PathBytes, Request, Seen, Sent,
    StatusForm,
};
use crate::exit::{Failure, code};

/// What is looked at.
pub struct Source {
    path: PathBuf,
    args: WhereArgs,
    live: bool,
    /// Only what is at this path of the tree, or below it.
    within: Option<Vec<u8>>,
    can_change: bool,
    /// What changes can be committed into.
    base: Option<Box<Path>>,
}

/// What is done with changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Back to what is below.
    Discard,
    /// Into what is below.
    Commit,
}

impl Source {
    /// Finds out what WHERE is.
    ///
    /// # Errors
    /// It is nothing of which changes can be told.
    pub fn find(path: &Path, args: WhereArgs) -> Result<Source, Failure> {
        let path = std::path::absolute(path)
            .map_err(|error| Failure::new(code::FAILURE, format!("{}: {error}", path.display())))?;
        let mut source =
            Source { path, args, live: false, within: None, can_change: false, base: None };
        match Where::find(&source.path)? {
            Where::Live(channel, within) => {
                (source.live, source.within) = (true, within);
                let info = channel.info().map_err(|error| {
                    Failure::new(code::FAILURE, format!("the daemon does not answer: {error}"))
                })?;
                source.can_change =
                    !info.read_only && info.storage.is_some() && !channel.is_read_only();
                if let [base] = &*info.base {
                    let base = Path::new(OsStr::from_bytes(&base.0));
                    source.base = Some(base.into()).filter(|_| source.can_change);
                }
            }
            Where::AtRest(path) => {
                source.can_change = place::at_rest(&path, &source.args)?.has_storage();
                // Why not is told by the command.
                source.base = asked::base(&path, &source.args).ok().map(|(_, base)| base);
            }
        }
        Ok(source)
    }

    /// For people.
    pub fn name(&self) -> &Path {
        &self.path
    }

    /// A program may change the tree meanwhile.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// What can be done with changes here.
    pub fn actions(&self) -> &'static [Action] {
        match (self.can_change, &self.base) {
            (true, Some(_)) => &[Action::Discard, Action::Commit],
            (true, None) => &[Action::Discard],
            (false, _) => &[],
        }
    }

    /// What changes are committed into.
    pub fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// A path is one of those that are looked at.
    pub fn has(&self, path: &[u8]) -> bool {
        self.within.as_ref().is_none_or(|top| discard::is_within(path, top))
    }

    /// All changes, each as a line of JSON, as `mini_fo status --json` tells them.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn changes(&self, each: &mut dyn FnMut(&str)) -> Result<Seen, Failure> {
        let within = self.within.iter().cloned().map(PathBytes).collect();
        let form = StatusForm { within, json: true, ..StatusForm::default() };
        let shown = form.clone();
        self.ask(Request::Status(form), &mut Lines::new(each), &|overlay, out| {
            status::show(overlay, &shown, out)
        })
    }

    /// What one side of a change holds.
    ///
    /// # Errors
    /// It is not there any more, or cannot be read.
    pub fn content(&self, form: &ContentForm) -> Result<(Sent, Vec<u8>), Failure> {
        let mut bytes = Vec::new();
        let sent = self.ask(Request::Content(form.clone()), &mut bytes, &|overlay, out| {
            content::show(overlay, form, out)
        })?;
        Ok((sent, bytes))
    }

    /// Commits changes, all or nothing, or tells what would come of it: a line of JSON for
    /// each of which anything is to be said.
    ///
    /// # Errors
    /// It cannot be done.
    pub fn commit(
        &self,
        form: CommitForm,
        each: &mut dyn FnMut(&str, Fate),
    ) -> Result<CommitSeen, Failure> {
        match self.place()? {
            Where::AtRest(storage) => asked::at_rest(&storage, &self.args, &form, each),
            Where::Live(channel, _) => asked::live(&channel, form, each),
        }
    }

    /// Lets changes go, or tells what would come of it: a line of JSON for each change that
    /// goes and for each that cannot.
    ///
    /// # Errors
    /// It cannot be done, or not as a whole.
    pub fn discard(
        &self,
        paths: &[Vec<u8>],
        dry_run: bool,
        each: &mut dyn FnMut(&str),
    ) -> Result<u64, Failure> {
        let paths = paths.iter().cloned().map(PathBytes).collect();
        let form =
            DiscardForm { paths, dry_run, quiet: !dry_run, json: true, ..DiscardForm::default() };
        let form = DiscardForm { mounted: discard::mounted_in(&Where::find(&self.path)?), ..form };
        let wanted = form.clone();
        let gone: Gone =
            self.ask(Request::Discard(form), &mut Lines::new(each), &|overlay, out| {
                discard::carry_out(overlay, &wanted, out, &mut |_| {})
            })?;
        Ok(gone.failed)
    }

    fn ask<T: Default + DeserializeOwned>(
        &self,
        request: Request,
        to: &mut dyn Write,
        here: &dyn Fn(&Overlay, &mut Out<'_>) -> rustix::io::Result<T>,
    ) -> Result<T, Failure> {
        let mut out = Out::into_program(to);
        let place = self.place()?;
        let end = ask(&place, &request, &self.args, &mut out, here)?;
        out.finish()?;
        Ok(end)
    }

    /// What is looked at, if it is still what it was.
    fn place(&self) -> Result<Where, Failure> {
        let place = Where::find(&self.path)?;
        let same = match &place {
            Where::Live(_, within) => self.live && *within == self.within,
            Where::AtRest(_) => !self.live,
        };
        if same { Ok(place) } else { Err(self.moved()) }
    }

    fn moved(&self) -> Failure {
        let text =
            format!("{}: it was mounted or unmounted meanwhile; start again", self.path.display());
        Failure::new(code::FAILURE, text)
    }
}
