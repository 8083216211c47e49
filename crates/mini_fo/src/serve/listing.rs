//! The record by which other commands know of a mount.
#![forbid(unsafe_code)]

use fuse_server::Mount;
use mini_fo_core::Opened;

use crate::registry::{self, Record, Registry};
use crate::report::Report;
use crate::request::MountRequest;

/// The record of a mount to be, and where it will be entered.
///
/// Everything that takes a path happens here: once mounted, a path may lead
/// into the mount itself, which nobody serves yet.
pub struct Listing {
    registry: Registry,
    record: Record,
    of_run: bool,
}

/// A run is listed by its directory anyway.
fn not_listed(of_run: bool, error: &std::io::Error) {
    match of_run {
        true => tracing::debug!("this mount has no record: {error}"),
        false => tracing::warn!("this mount will not be listed: {error}"),
    }
}

impl Listing {
    /// `elsewhere`: the namespace in which it is, if it is another one than this process's.
    /// `None`: it will not be listed, but works as well.
    pub fn prepare(
        request: &MountRequest,
        opened: &Opened,
        elsewhere: Option<u64>,
    ) -> Option<Listing> {
        let pid = registry::own_pid()?;
        // Without one the base is all that there is to name it by.
        let id = match request.storage.as_os_str().is_empty() {
            true => (0, 0),
            false => {
                let storage = rustix::fs::stat(&request.storage).ok()?;
                (storage.st_dev, storage.st_ino)
            }
        };
        let registry =
            Registry::open().inspect_err(|error| not_listed(request.of_run, error)).ok()?;
        let record = Record {
            pid,
            start: registry::start_of(pid)?,
            dev: (0, 0),
            mountpoint: request.mountpoint.clone(),
            base: request.base().clone(),
            under: request.layers.under.iter().map(|layer| layer.path.clone()).collect(),
            storage: request.storage.clone(),
            storage_id: id,
            writable: !opened.is_read_only(),
            since: registry::now(),
            report: Report::default(),
            namespace: elsewhere.unwrap_or_else(registry::own_namespace),
            locked: false,
            lives: true,
        };
        Some(Listing { registry, record, of_run: request.of_run })
    }

    /// Writes it. `None`: it could not be written, and the mount works as well.
    pub fn enter(self, mount: &Mount, report: &Report) -> Option<registry::Entered> {
        let mountpoint = mount.point().to_owned();
        let (dev, report) = (mount.device_number()?, report.clone());
        let record = Record { dev, mountpoint, report, ..self.record };
        self.registry.enter(&record).inspect_err(|error| not_listed(self.of_run, error)).ok()
    }
}
