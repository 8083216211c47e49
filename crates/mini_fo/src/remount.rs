//! Other flags for a live mount: what mount(8) asks its helper for.
//!
//! The kernel tells a daemon nothing of it, so the helper does.
#![forbid(unsafe_code)]

use std::fs::File;
use std::path::Path;

use fuse_server::MountError;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::adapter::flags::{REST, WRITE};
use crate::daemon;
use crate::exit::{Failure, code};
use crate::mountinfo::{self, Mount};
use crate::registry::{Record, Registry};
use crate::request::RemountRequest;

/// Changes the flags of a live mount.
///
/// # Errors
/// Why it cannot be done, with the exit code. The mount is as it was then.
pub fn carry_out(request: &RemountRequest) -> Result<(), Failure> {
    let path = request.mountpoint.display();
    let mounts = mountinfo::read()
        .map_err(|e| Failure::new(code::FAILURE, format!("/proc/self/mountinfo: {e}")))?;
    let mount = mountinfo::at(&mounts, &request.mountpoint).filter(|mount| mount.is_ours());
    let Some(mount) = mount else {
        let text = format!("{path} is not a mini_fo mount: there is nothing to remount");
        return Err(Failure::new(code::NOT_MOUNTED, text));
    };
    let flags = request.flags();
    if !flags.contains(MountFlags::RDONLY) {
        begin_to_write(mount)?;
    }
    fuse_server::mount::remount(&request.mountpoint, flags).map_err(|error| match error {
        MountError::Busy(_) => {
            let text = format!("{path} has files open for writing: it cannot become read-only");
            Failure::new(code::BUSY, text)
        }
        error => Failure::new(code::MOUNT, format!("cannot remount: {error}")),
    })?;
    if flags.contains(MountFlags::RDONLY) {
        bring_to_rest(&request.mountpoint);
    }
    Ok(())
}

/// Makes the daemon of a mount hand everything to the device and close what it has
/// open for writing in the storage.
pub fn bring_to_rest(mountpoint: &Path) {
    // Without it (a daemon of an older version) all is closed a moment later, or not.
    let rested = File::open(mountpoint).and_then(|root| daemon::plain_ioctl(&root, REST));
    if let Err(error) = rested {
        tracing::debug!("{}: {error}", mountpoint.display());
    }
}

/// Makes the daemon of a mount that was made read-only begin to write, before programs
/// may: so who asks is told if it cannot.
fn begin_to_write(mount: &Mount) -> Result<(), Failure> {
    let begun = File::open(&mount.mountpoint).and_then(|root| daemon::plain_ioctl(&root, WRITE));
    let Err(error) = begun else { return Ok(()) };
    let path = mount.mountpoint.display();
    let records = Registry::open().and_then(|registry| registry.live()).unwrap_or_default();
    let record = records.iter().find(|record| record.is_shown_by(mount));
    let refused = |code, why: &str| Err(Failure::new(code, format!("{path} {why}")));
    match Errno::from_io_error(&error) {
        // Nobody else may look into a user's mount, and who cannot see the helper's
        // rights does not answer: the first change shows.
        Some(Errno::ACCESS | Errno::PERM) => Ok(()),
        // A daemon of an older version.
        Some(Errno::NOTTY) if record.is_none_or(|record| record.writable) => Ok(()),
        Some(Errno::NOTTY) => refused(
            code::MOUNT,
            "was mounted read-only by an older version, which stays so: unmount it and mount \
             it again",
        ),
        Some(Errno::BUSY) => {
            let why = in_use(record, &records);
            refused(code::IN_USE, &why)
        }
        Some(Errno::ROFS) => refused(
            code::MOUNT,
            "stays read-only: it was mounted so for good (stays_ro), its storage is read-only \
             itself, or what the storage holds forbids to write; the daemon's log tells which",
        ),
        _ => refused(
            code::STORAGE,
            &format!("stays read-only: its storage cannot be prepared for writing: {error}"),
        ),
    }
}

/// Who else has the storage of a mount.
fn in_use(record: Option<&Record>, records: &[Record]) -> String {
    let other = record.and_then(|own| {
        let mut others = records.iter().filter(|other| other.storage_id == own.storage_id);
        others.find(|other| other.pid != own.pid)
    });
    let who = other.map_or("another mount".to_owned(), |other| {
        format!("the mount on {} (process {})", other.mountpoint.display(), other.pid)
    });
    format!("stays read-only: its storage is in use by {who}")
}
