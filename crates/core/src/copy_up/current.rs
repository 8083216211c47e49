//! The descriptors that hold the data of a file now.

use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::interface::types::OpenMode;
use crate::layers::Object;
use crate::locks::{Rank, is_held};
use crate::reach::overlay::Overlay;
use crate::state::open_file::{Backing, OpenFile};
use crate::store::partial::{Data, PartialFile, read_mark};
use crate::sys::{self, Result, Spot};
use crate::tree::node::{Contents, Node};

impl Overlay {
    /// EAGAIN: somebody has a lease on the file.
    pub(crate) fn open_now(&self, node: &Arc<Node>, mode: OpenMode) -> Result<Backing> {
        let mut flags = if mode.write { OFlags::RDWR } else { OFlags::RDONLY };
        // Not to wait here, with `place` held, for somebody's lease.
        flags |= OFlags::NONBLOCK;
        flags.set(OFlags::DIRECT, mode.direct);
        flags.set(OFlags::NOATIME, mode.no_access_time);
        let mut opened = self.at(node, |object| {
            if !object.is_stored() {
                return self.open_below(object, flags);
            }
            let spot = object.stored_at()?;
            let fd = match sys::open(spot, flags) {
                Err(Errno::PERM) if mode.no_access_time => {
                    sys::open(spot, flags.difference(OFlags::NOATIME))
                }
                // A file that may be written, but not read.
                Err(Errno::ACCESS) if mode.write => {
                    sys::open(spot, flags.difference(OFlags::RDWR) | OFlags::WRONLY)
                }
                // A file that may only be appended to (chattr +a).
                Err(Errno::PERM) if mode.write && mode.at_end => {
                    sys::open(spot, flags | OFlags::APPEND)
                }
                other => other,
            }?;
            Ok(Backing { fd, in_storage: true, partial: None, generated: false })
        })?;
        if opened.in_storage {
            opened.partial = self.partial_file(node, &opened.fd)?;
        }
        Ok(opened)
    }

    /// A file of the layers below the storage.
    fn open_below(&self, object: Object<'_>, flags: OFlags) -> Result<Backing> {
        let data = match object.open_data(&self.stack, flags) {
            // The owner whom the tree shows need not be the one below.
            Err(Errno::PERM) if flags.contains(OFlags::NOATIME) => {
                object.open_data(&self.stack, flags.difference(OFlags::NOATIME))
            }
            other => other,
        };
        match data? {
            Data::Mixed(fd, partial) => {
                Ok(Backing { fd, in_storage: false, partial: Some(partial), generated: false })
            }
            Data::File(fd) => {
                let generated = self.submounts && sys::is_generated(&fd);
                if generated {
                    // Of what is made up when it is read, some waits for there to be any.
                    rustix::fs::fcntl_setfl(&fd, flags.difference(OFlags::NONBLOCK))?;
                }
                Ok(Backing { fd, in_storage: false, partial: None, generated })
            }
        }
    }

    /// The descriptor that holds the data now.
    pub(crate) fn current(&self, file: &OpenFile) -> Result<Arc<Backing>> {
        let opened = Arc::clone(&file.opened.read());
        if opened.in_storage || !file.node.in_storage() {
            return Ok(opened);
        }
        let fresh = Arc::new(self.past_leases(|| self.open_now(&file.node, file.mode))?);
        *file.opened.write() = Arc::clone(&fresh);
        Ok(fresh)
    }

    /// The shared state of a partial file; `None`: it is whole. `storage`: its
    /// storage file, opened.
    ///
    /// # Errors
    /// EIO: the base does not have (this version of) the data any more, or the
    /// map is damaged.
    pub(crate) fn partial_file(
        &self,
        node: &Arc<Node>,
        storage: &OwnedFd,
    ) -> Result<Option<Arc<PartialFile>>> {
        if !self.is_partial(node)? {
            return Ok(None);
        }
        if let Some(known) = self.partials.open(node.id) {
            if node.contents() == Contents::Partial {
                known.set_end(None);
            }
            return Ok(Some(known).filter(|known| !known.is_whole()));
        }
        let _lock = self.lock_copy_up(node);
        self.make_partial_file(node, storage)
    }

    /// Makes the shared state of a partial file, unless somebody has, under the
    /// node's `copy_up`: the mark goes away only by this state, or under the same lock
    /// where there is none.
    pub(crate) fn make_partial_file(
        &self,
        node: &Arc<Node>,
        storage: &OwnedFd,
    ) -> Result<Option<Arc<PartialFile>>> {
        debug_assert!(is_held(Rank::CopyUp, Some(node.id.0)));
        if let Some(known) = self.partials.open(node.id) {
            return Ok(Some(known).filter(|known| !known.is_whole()));
        }
        let Some(mark) = read_mark(self.own, Spot::Fd(storage.as_fd()))? else {
            node.set_contents(Contents::Whole);
            return Ok(None);
        };
        let new = if node.contents() == Contents::Stale { self.new_mark(&mark) } else { None };
        let end = new.as_ref().map(|new| new.size);
        let mark = new.unwrap_or(mark);
        let (base, map) = (self.stack.open_marked(0, &mark)?, self.open_map(&mark)?);
        let fresh =
            Arc::new(PartialFile::new(mark, base, storage, (map, end), self.partials.order)?);
        let mut open = self.partials.open.lock();
        open.retain(|_, file| file.strong_count() > 0);
        open.insert(node.id, Arc::downgrade(&fresh));
        Ok(Some(fresh))
    }
}
