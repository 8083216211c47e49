//! `mini_fo review`: changes in a browser.
//!
//! A server for one browser on this machine ([`guard`] tells who is answered), with one page
//! (`page.html`) that loads nothing from elsewhere. What is shown is data: names and texts
//! never become part of the page's code.
#![forbid(unsafe_code)]

mod browser;
mod guard;
mod http;
mod list;
mod picture;
mod plan;
mod rows;
mod site;
mod source;
mod text;
mod view;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli;
use crate::cli::args::ReviewArgs;
use crate::daemon::EndSignals;
use crate::exit::{Failure, code};
use guard::{Guard, Way};
use http::Reply;
use site::Site;
use source::Source;

/// Connections that are served at a time; others wait.
const MOST: usize = 16;

/// How often it is looked whether all is to end.
const BEAT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

struct Server {
    guard: Guard,
    site: Site,
    /// It is to end.
    ends: AtomicBool,
    busy: AtomicUsize,
    /// When something of the page was asked for the last time. A leaf.
    last: Mutex<Instant>,
}

/// `mini_fo review`.
///
/// # Errors
/// Changes cannot be read, or nothing can be served.
pub fn run(args: ReviewArgs) -> Result<(), Failure> {
    let site = Site::new(Source::find(&args.path, args.place)?)?;
    let failed = |error| Failure::new(code::FAILURE, format!("127.0.0.1:{}: {error}", args.port));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    listener.set_nonblocking(true).map_err(failed)?;
    let server = Arc::new(Server {
        guard: Guard::new(port)?,
        site,
        ends: AtomicBool::new(false),
        busy: AtomicUsize::new(0),
        last: Mutex::new(Instant::now()),
    });
    let address = server.guard.address();
    let count = server.site.len();
    let changes = if count == 1 { "change" } else { "changes" };
    // Before signals are blocked, which it would inherit.
    let opened = if args.no_open { None } else { browser::open(&address) };
    end_on_signal(&server)?;
    cli::print(&format!("{count} {changes}, to be seen at\n{address}\n"))?;
    serve(&server, &listener, args.idle.map(|minutes| Duration::from_secs(minutes * 60)));
    drop(opened);
    Ok(())
}

/// The first signal lets what is being done come to its end, the second does not.
fn end_on_signal(server: &Arc<Server>) -> Result<(), Failure> {
    let signals = EndSignals::block();
    let server = Arc::clone(server);
    let wait = move || {
        signals.wait();
        server.ends.store(true, Ordering::Relaxed);
        std::process::exit(128 + signals.wait());
    };
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
    thread.map(drop).map_err(|error| Failure::new(code::FAILURE, format!("no thread: {error}")))
}

fn serve(server: &Arc<Server>, listener: &TcpListener, idle: Option<Duration>) {
    loop {
        let busy = server.busy.load(Ordering::Acquire);
        let idles = || idle.filter(|most| !most.is_zero());
        if busy == 0
            && (server.ends.load(Ordering::Relaxed)
                || idles().is_some_and(|most| server.last.lock().elapsed() >= most))
        {
            return;
        }
        let listens = busy < MOST && !server.ends.load(Ordering::Relaxed);
        let flags = if listens { PollFlags::IN } else { PollFlags::empty() };
        // Whatever it is, it shows in what follows.
        let _ = poll(&mut [PollFd::new(listener, flags)], Some(&BEAT));
        if !listens {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else { continue };
        server.busy.fetch_add(1, Ordering::AcqRel);
        let own = Arc::clone(server);
        let work = move || {
            // Whoever has gone needs no answer.
            let _ = own.converse(stream);
            own.busy.fetch_sub(1, Ordering::AcqRel);
        };
        if std::thread::Builder::new().name("request".to_owned()).spawn(work).is_err() {
            server.busy.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Server {
    fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        let reply = match http::read(&mut stream) {
            Ok(ask) => match self.guard.judge(&ask) {
                Way::Out(reply) => reply,
                Way::In(path) => {
                    *self.last.lock() = Instant::now();
                    let reply = self.answer(&path, &ask);
                    *self.last.lock() = Instant::now();
                    reply
                }
            },
            Err(Some(refusal)) => refusal,
            Err(None) => return Ok(()),
        };
        http::write(&mut stream, &reply)
    }

    fn answer(&self, path: &str, ask: &http::Ask) -> Reply {
        if ask.post && path == "api/end" {
            self.ends.store(true, Ordering::Relaxed);
            return Reply::json(200, &serde_json::json!({}));
        }
        self.site.answer(path, ask)
    }
}
