//! `mini_fo run`: a command whose changes are kept apart.
//!
//! [`plan`] is what is to be run, [`place`] where changes are kept, [`start`] the processes,
//! [`spaces`] and [`scene`] what the command is in and sees, [`watch`] waits for its end, and
//! [`end`] does with the changes what is to be done.
#![deny(unsafe_code)]

use std::os::unix::ffi::OsStrExt;

mod devices;
mod end;
pub mod join;
pub mod list;
pub mod place;
mod plan;
mod remove;
mod scene;
mod sockets;
mod spaces;
mod start;
mod sys;
mod watch;

use crate::cli::args::run::{Net, RunArgs};
use crate::exit::{Failure, code};
use crate::options;
use crate::request::{MountRequest, Order, Typed};
use end::Run;
use join::Found;
pub use list::rm;
use place::Place;
use plan::Plan;
use start::Started;
use sys::Signals;

/// Runs a command, and ends as it has ended.
///
/// # Errors
/// Its exit status, without a message; or why it could not be run.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let signals = Signals::block();
    let own = |mut failure: Failure| {
        if !failure.is_silent() {
            failure.code = code::RUN;
        }
        failure
    };
    let plan = Plan::new(args).map_err(own)?;
    let place = match (&args.storage, &args.name) {
        (Some(dir), _) => Place::at(dir, &plan)?,
        (None, Some(name)) => Place::of(name, &plan)?,
        (None, None) => Some(Place::temporary(&plan)?),
    };
    let Some(place) = place else {
        return match joined(args, &plan, &signals)? {
            Some((place, started)) => follow(args, &place, started, &signals).map_err(own),
            // It has ended meanwhile.
            None => run(args),
        };
    };
    let request = request(args, &plan, &place).map_err(own)?;
    let started = start::start(&plan, &place, &request, args.tmpfs.as_deref(), &signals);
    let started = started.map_err(own).inspect_err(|_| {
        if place.temporary && place.is_unused() {
            // It is empty, so nobody will miss it; who lists runs takes it away later.
            let _ = place.remove();
        }
    })?;
    follow(args, &place, started, &signals).map_err(own)
}

/// Waits for a command, and ends as it has ended.
fn follow(
    args: &RunArgs,
    place: &Place,
    started: Started,
    signals: &Signals,
) -> Result<(), Failure> {
    let ended = watch::until_end(started.command, signals)?;
    Run { args, place, ended }.conclude(started)?;
    ended.pass_on(signals)
}

/// Starts a command in a run that others are in. `None`: nobody is any more.
fn joined(
    args: &RunArgs,
    plan: &Plan,
    signals: &Signals,
) -> Result<Option<(Place, Started)>, Failure> {
    let dir = match (&args.storage, &args.name) {
        (Some(dir), _) => dir.clone(),
        (None, Some(name)) => place::runs()?.join(name),
        (None, None) => return Ok(None),
    };
    let failed = |why: &str| Failure::new(code::RUN, format!("{}: {why}", dir.display()));
    let options = plan.rules.is_empty() && args.options.is_empty() && args.net == Net::Host;
    if !options {
        return Err(failed(
            "it is running, and what it may see is settled: leave out --allow, \
                           --hide, --read-only, --net and --options",
        ));
    }
    match join::find(&dir) {
        Some(Found::Live(member)) => {
            let place = Place::joined(&dir, args.name.as_deref());
            let place = place.map_err(|error| failed(&error.to_string()))?;
            let base = place::read(&place.dir).map(|(note, _)| note.base.0);
            if base.is_some_and(|base| base != plan.base.as_os_str().as_bytes()) {
                return Err(failed("it is running on another base"));
            }
            Ok(Some((place, start::join(plan, &member, signals)?)))
        }
        Some(Found::Ended) => Ok(None),
        None => Err(failed("it is in use, and nobody who is in it can be found")),
    }
}

/// The mount that the daemon is to make: on the storage, where nobody else looks for it.
fn request(args: &RunArgs, plan: &Plan, place: &Place) -> Result<MountRequest, Failure> {
    let mut items = options::parse("submounts".as_ref(), false)?;
    if plan.is_system() {
        // A system is never at rest.
        items.extend(options::parse("live_base".as_ref(), false)?);
    }
    if plan.for_users {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let owner = format!("squash_to_uid={uid},squash_to_gid={gid}");
        items.extend(options::parse(owner.as_ref(), false)?);
    } else {
        // A device that somebody makes in the tree would be a real one.
        items.extend(options::parse("nodev".as_ref(), false)?);
    }
    for list in &args.options {
        items.extend(options::parse(list, false)?);
    }
    if !place.meta_name.is_empty() {
        let name = format!("meta_name={}", place.meta_name);
        items.extend(options::parse(name.as_ref(), false)?);
    }
    let typed = Typed {
        source: Some("mini_fo".into()),
        base: Some(plan.base.clone()),
        storage: Some(place.storage()),
        mountpoint: place.storage(),
        items,
        ..Typed::default()
    };
    let Order::Mount(mut request) = typed.order()? else {
        return Err(Failure::new(code::RUN, "-o remount: there is nothing to remount"));
    };
    // What changes nothing leaves nothing.
    request.writes_late = true;
    request.of_run = true;
    Ok(*request)
}
