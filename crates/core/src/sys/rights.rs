//! As whom the storage's file system judges what takes space.
//!
//! The daemon of a mount by root acts for everybody. Permissions are the
//! kernel's to check, before a request is sent; but space that is kept for root
//! (ext4, f2fs, ubifs: by the file-system user ID) and quotas (by
//! `CAP_SYS_RESOURCE`) are checked where the space is taken. So the calls that
//! take it run as the caller; both properties are those of a thread.

use std::cell::Cell;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::raw;

/// With what rights a call runs that takes space of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// File-system user ID; `None`: the process's own.
    pub uid: Option<u32>,
    /// With `CAP_SYS_RESOURCE`, which the process must have set aside.
    pub resources: bool,
}

thread_local! {
    static RIGHTS: Cell<Option<Rights>> = const { Cell::new(None) };
}

/// Gives `RIGHTS` back what it was.
struct Restore(Option<Rights>);

impl Drop for Restore {
    fn drop(&mut self) {
        RIGHTS.set(self.0);
    }
}

/// Runs something whose calls that take space are to have these rights; `None`:
/// those of the process.
///
/// The process must keep its capabilities when it changes its file-system user
/// ID (`SECBIT_NO_SETUID_FIXUP`), and that must be 0.
pub fn with_rights<T>(rights: Option<Rights>, run: impl FnOnce() -> T) -> T {
    let _restore = Restore(RIGHTS.replace(rights));
    run()
}

/// Runs a call that takes space, with the rights that [`with_rights`] has set.
pub(crate) fn taking_space<T>(call: impl FnOnce() -> T) -> T {
    match RIGHTS.get() {
        None => call(),
        Some(rights) => as_them(rights, call),
    }
}

/// Runs something with these rights at once.
pub fn as_them<T>(rights: Rights, call: impl FnOnce() -> T) -> T {
    let _restore = Restore(RIGHTS.take());
    let _entered = Entered::new(rights);
    call()
}

/// While it lives, the thread has other rights.
struct Entered(Rights);

impl Entered {
    fn new(rights: Rights) -> Entered {
        if rights.resources {
            set_resources(true);
        }
        if let Some(uid) = rights.uid.filter(|uid| *uid != 0) {
            raw::set_fsuid(uid);
        }
        Entered(rights)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.0.uid.is_some_and(|uid| uid != 0) {
            raw::set_fsuid(0);
        }
        if self.0.resources {
            set_resources(false);
        }
    }
}

/// What is refused leaves less: the call is judged the stricter.
fn set_resources(on: bool) {
    let done = capabilities(None).and_then(|mut held| {
        held.effective.set(CapabilitySet::SYS_RESOURCE, on);
        set_capabilities(None, held)
    });
    if let Err(errno) = done {
        tracing::debug!("CAP_SYS_RESOURCE: {errno}");
    }
}
