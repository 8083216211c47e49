//! `mini_fo run`: a command whose changes are kept apart.
//!
//! [`plan`] is what is to be run, [`place`] where changes are kept, [`start`] the processes,
//! [`spaces`] and [`scene`] what the command is in and sees, [`watch`] waits for its end, and
//! [`end`] does with the changes what is to be done.
#![deny(unsafe_code)]

mod devices;
mod end;
pub mod place;
mod plan;
mod remove;
mod scene;
mod sockets;
mod spaces;
mod start;
mod sys;
mod watch;

use crate::cli::args::run::RunArgs;
use crate::exit::{Failure, code};
use crate::options;
use crate::request::{MountRequest, Order, Typed};
use end::Run;
use place::Place;
use plan::Plan;
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
    let place = match &args.storage {
        Some(dir) => Place::at(dir, &plan)?,
        None => Place::temporary(&plan)?,
    };
    let request = request(args, &plan, &place).map_err(own)?;
    let started = start::start(&plan, &place, &request, args.tmpfs.as_deref(), &signals);
    let started = started.map_err(own).inspect_err(|_| {
        if place.temporary && place.is_unused() {
            // It is empty, so nobody will miss it; who lists runs takes it away later.
            let _ = place.remove();
        }
    })?;
    let ended = watch::until_end(started.command, &signals)?;
    Run { args, place: &place, ended }.conclude(started).map_err(own)?;
    ended.pass_on(&signals)
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
