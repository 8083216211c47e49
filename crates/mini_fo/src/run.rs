//! `mini_fo run`: a command whose changes are kept apart.
//!
//! [`plan`] is what is to be run, [`place`] where changes are kept, [`start`] the processes,
//! [`spaces`] and [`scene`] what the command is in and sees, [`watch`] waits for its end, and
//! [`end`] does with the changes what is to be done.
#![deny(unsafe_code)]

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

mod ask;
mod changed;
mod devices;
mod end;
pub mod join;
pub mod list;
pub mod note;
pub mod place;
mod plan;
mod policy;
mod remove;
mod scene;
mod settle;
mod sockets;
mod spaces;
mod start;
mod subids;
mod sys;
mod talk;
mod tell;
mod watch;

use crate::cli::args::run::{Ending, Net, RunArgs};
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

/// How long it is waited for somebody who decides what becomes of a run that is to go on, and
/// how long at first between two looks.
const PATIENCE: Duration = Duration::from_secs(10);
const A_MOMENT: Duration = Duration::from_millis(2);

/// Runs a command, and ends as it has ended.
///
/// # Errors
/// Its exit status, without a message; or why it could not be run.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let signals = Signals::block();
    if args.tmpfs.is_some() && [Some(args.on_exit), args.on_error].contains(&Some(Ending::Commit)) {
        let text = "changes in memory (--tmpfs) cannot be committed: leave that option out";
        return Err(Failure::new(code::RUN, text));
    }
    let plan = Plan::new(args).map_err(own)?;
    let (place, started) = begun(args, &plan, &signals)?;
    let ended = watch::until_end(started.command, &signals).map_err(own)?;
    // From here on nothing is lost when this process is ended.
    signals.let_pass();
    let (base, as_root) = (&*plan.base, started.users.is_some());
    Run { args, place: &place, base, as_root, ended }.conclude(started).map_err(own)?;
    ended.pass_on(&signals)
}

/// A failure of mini_fo itself. Without a message it is one of the command.
fn own(mut failure: Failure) -> Failure {
    if !failure.is_silent() {
        failure.code = code::RUN;
    }
    failure
}

/// Starts a command, or joins a run.
fn begun(args: &RunArgs, plan: &Plan, signals: &Signals) -> Result<(Place, Started), Failure> {
    let (mut beat, mut since, mut known) = (A_MOMENT, Instant::now(), None);
    loop {
        let place = match (&args.storage, &args.name) {
            (Some(dir), _) => Place::at(dir, plan)?,
            (None, Some(name)) => Place::of(name, plan)?,
            (None, None) => Some(Place::temporary(plan)?),
        };
        if let Some(place) = place {
            let started = begun_in(args, plan, &place, signals)?;
            return Ok((place, started));
        }
        if let Some(both) = joined(args, plan, signals)? {
            return Ok(both);
        }
        // It has ended meanwhile, or is about to.
        let now = directory(args)?.and_then(|dir| note::of(&dir));
        if now != known {
            (since, known) = (Instant::now(), now);
        }
        if since.elapsed() > PATIENCE {
            let text = "it has ended, and somebody has yet to say what becomes of its changes";
            return Err(Failure::new(code::RUN, text));
        }
        std::thread::sleep(beat);
        beat = (beat * 2).min(A_MOMENT * 50);
    }
}

fn begun_in(
    args: &RunArgs,
    plan: &Plan,
    place: &Place,
    signals: &Signals,
) -> Result<Started, Failure> {
    let started = request(plan, place)
        .and_then(|request| start::start(plan, place, &request, args.tmpfs.as_deref(), signals))
        .map_err(own);
    started.inspect_err(|_| {
        if place.temporary && place.is_unused() {
            // It is empty, so nobody will miss it; who lists runs takes it away later.
            let _ = place.remove();
        }
    })
}

/// The directory that the user has named.
fn directory(args: &RunArgs) -> Result<Option<PathBuf>, Failure> {
    Ok(match (&args.storage, &args.name) {
        (Some(dir), _) => Some(dir.clone()),
        (None, Some(name)) => Some(place::runs()?.join(name)),
        (None, None) => None,
    })
}

/// Starts a command in a run that others are in. `None`: nobody is any more.
fn joined(
    args: &RunArgs,
    plan: &Plan,
    signals: &Signals,
) -> Result<Option<(Place, Started)>, Failure> {
    let Some(dir) = directory(args)? else { return Ok(None) };
    let failed = |why: &str| Failure::new(code::RUN, format!("{}: {why}", dir.display()));
    let options = !plan.rules.is_empty() || !plan.options.is_empty() || plan.net != Net::Host;
    match join::find(&dir) {
        Some(Found::Live(_)) if options => Err(failed(
            "it is running, and what it may see is settled: leave out --policy, --allow, \
             --hide, --read-only, --net and --options",
        )),
        Some(Found::Live(member)) if plan.as_root.is_some() && member.users.is_none() => {
            Err(failed("it is running, and was begun without --as-root: leave it out"))
        }
        Some(Found::Live(member)) => {
            let place = Place::joined(&dir, args.name.as_deref());
            let place = match place {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                place => place.map_err(|error| failed(&error.to_string()))?,
            };
            let base = note::of(&place.dir).map(|note| note.base.0);
            if base.is_some_and(|base| base != plan.base.as_os_str().as_bytes()) {
                return Err(failed("it is running on another base"));
            }
            Ok(start::join(plan, &member, signals)?.map(|started| (place, started)))
        }
        Some(Found::Ended) => Ok(None),
        None => Err(failed("it is in use, and nobody who is in it can be found: try again")),
    }
}

/// The mount that the daemon is to make: on the storage, where nobody else looks for it.
fn request(plan: &Plan, place: &Place) -> Result<MountRequest, Failure> {
    let mut items = options::parse("submounts".as_ref(), false)?;
    if plan.is_system() {
        // A system is never at rest.
        items.extend(options::parse("live_base".as_ref(), false)?);
    }
    if plan.as_root.is_some() {
        // Others, for root is not the user who mounts.
        items.extend(options::parse("allow_other".as_ref(), false)?);
    } else if plan.for_users {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        // Nor lets root who has no right to mount, as in a container, others in: then not even
        // he could ask from outside.
        let owner = format!("squash_to_uid={uid},squash_to_gid={gid},noallow_other");
        items.extend(options::parse(owner.as_ref(), false)?);
    } else {
        // A device that somebody makes in the tree would be a real one.
        items.extend(options::parse("nodev".as_ref(), false)?);
    }
    for list in &plan.options {
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
    request.commit_key = Some(place.key.clone());
    request.hidden = vec![place.dir.join(note::KEY)];
    Ok(*request)
}
