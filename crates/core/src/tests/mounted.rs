//! A mount for tests that run beside others.

use std::time::Duration;

use crate::interface::error::OpenError;
use crate::interface::options::OpenOptions;
use crate::reach::overlay::Overlay;

/// Assembles an overlay.
pub(crate) fn mounted(options: &OpenOptions) -> Overlay {
    patiently(|| Overlay::assemble(options)).unwrap()
}

/// Does it again as long as the storage is in use. While another test starts a program,
/// its child holds a copy of our descriptors, and so the lock of a storage that was given
/// back, until its exec.
pub(crate) fn patiently<T>(mut open: impl FnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    for _ in 0..500 {
        match open() {
            Err(OpenError::StorageInUse { .. }) => std::thread::sleep(Duration::from_millis(10)),
            other => return other,
        }
    }
    open()
}
