//! A copy of a directory takes over what META of the storage's root says of it.

use crate::format::meta::Record;
use crate::reach::overlay::Overlay;
use crate::sys::Result;
use crate::tree::dir::Dir;

impl Overlay {
    /// Lets the copy of a directory say what the root's META says of it. Its `copy_up`
    /// lock is held, or nobody else knows it.
    pub(crate) fn take_over_hidden(&self, own: &Dir) -> Result<()> {
        let names = own.far_hidden();
        if names.is_empty() {
            return Ok(());
        }
        let _lock = own.mutate.lock();
        own.append(&names.into_iter().map(|name| Record::Hide { name }).collect::<Vec<_>>())
    }
}
