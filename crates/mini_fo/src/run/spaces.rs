//! The namespaces of a command.
//!
//! Root has a mount namespace of its own. Who may not make one makes a user namespace
//! first, in which he is himself and nobody else is anybody: there he may mount, and when
//! the command is executed it has no rights but his.
#![forbid(unsafe_code)]

use std::fs;
use std::io;

use rustix::fd::AsFd;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::sys;
use crate::cli::args::run::Net;
use crate::exit::{Failure, code};

/// A setting that may keep users from making namespaces.
struct Setting {
    name: &'static str,
    /// The value that forbids it.
    forbidding: &'static str,
    way: &'static str,
}

const SETTINGS: [Setting; 3] = [
    Setting {
        name: "kernel/apparmor_restrict_unprivileged_userns",
        forbidding: "1",
        way: "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    },
    Setting {
        name: "kernel/unprivileged_userns_clone",
        forbidding: "0",
        way: "sudo sysctl kernel.unprivileged_userns_clone=1",
    },
    Setting {
        name: "user/max_user_namespaces",
        forbidding: "0",
        way: "sudo sysctl user.max_user_namespaces=10000",
    },
];

/// Whether this process needs a user namespace to mount something.
pub fn are_for_users() -> bool {
    let held = rustix::thread::capabilities(None);
    !held.is_ok_and(|held| held.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Leaves for the namespaces of a command. `map` maps users where the user namespace has more
/// than one.
///
/// # Errors
/// They may not be made; the message has the way out.
pub fn enter(
    for_users: bool,
    net: Net,
    map_all: Option<impl FnOnce() -> Result<(), Failure>>,
) -> Result<(), Failure> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut wanted = UnshareFlags::NEWNS;
    wanted.set(UnshareFlags::NEWUSER, for_users);
    wanted.set(UnshareFlags::NEWNET, net == Net::None);
    sys::leave_for(wanted).map_err(|errno| refused(for_users, errno))?;
    if let Some(map_all) = map_all {
        map_all()?;
    } else if for_users {
        map(uid, gid).map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => refused(true, errno),
            None => Failure::new(code::RUN, format!("the user namespace: {error}")),
        })?;
    }
    if net == Net::None {
        let up = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)
            .map_err(io::Error::from)
            .and_then(|socket| sys::loopback_up(socket.as_fd()));
        up.map_err(|error| Failure::new(code::RUN, format!("the loopback interface: {error}")))?;
    }
    Ok(())
}

/// Becomes root of the user namespace.
///
/// # Errors
/// As setuid(2).
pub fn become_root() -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// This user is who he was.
fn map(uid: u32, gid: u32) -> io::Result<()> {
    // Without this the kernel maps no group; it came with Linux 3.19.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Why there are no namespaces, and how there would be.
pub fn refused(for_users: bool, errno: Errno) -> Failure {
    if !for_users {
        return Failure::new(code::RUN, format!("no mount namespace can be made: {errno}"));
    }
    let forbids = |setting: &&Setting| {
        let text = fs::read_to_string(format!("/proc/sys/{}", setting.name));
        text.is_ok_and(|text| text.trim() == setting.forbidding)
    };
    let way = match SETTINGS.iter().find(forbids) {
        Some(Setting { name, way, .. }) => {
            format!("the setting {} forbids it; '{way}' allows it", name.replace('/', "."))
        }
        None => {
            "a container may need '--security-opt seccomp=unconfined', or '--privileged'".to_owned()
        }
    };
    Failure::new(
        code::RUN,
        format!(
            "this user may make no user namespace, in which the command would run ({errno}): \
             {way}; root needs none"
        ),
    )
}
