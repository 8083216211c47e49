//! A file of the base with a part of what has changed in it. The storage keeps its own, so
//! that the tree shows the same; what that was made from is what the base has then.

use std::fs::File;
use std::io::{Read, Write};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Made, dress, take_no_dump};
use crate::changes::Content;
use crate::commit::base::Base;
use crate::commit::stage::Stage;
use crate::copy_up::attributes::copy_attributes;
use crate::format::commit::{Part, Slot};
use crate::format::meta::Kept;
use crate::format::print::{Hash, Print};
use crate::format::time::Timestamp;
use crate::interface::types::SetTime;
use crate::layers::Object;
use crate::reach::overlay::Overlay;
use crate::sys::{self, Result, Spot};

/// Makes it in a slot. ESTALE: one of both sides is not what was looked at.
pub(super) fn make(
    part: &Part,
    (overlay, base): (&Overlay, &Base),
    (stage, slot): (&Stage, Slot),
) -> Result<Made> {
    let node = overlay.reach(&part.path)?.ok_or(Errno::STALE)?;
    let there = open_base(part, base)?;
    let (before, after) = (read_file(&there)?, read(&overlay.shown_content(&node)?)?);
    if (Hash::of(&before), Hash::of(&after)) != (part.before, part.after) {
        return Err(Errno::STALE);
    }
    let content = part.apply(&before, &after).ok_or(Errno::INVAL)?;
    let file = File::from(sys::create_private(stage.dir(), &slot.name())?);
    (&file).write_all(&content).map_err(errno)?;
    let (was, attr) = (sys::stat_fd(&there)?, overlay.getattr(node.id)?);
    let spot = Spot::Fd(file.as_fd());
    if part.attributes {
        dress(overlay, node.id, &attr, spot)?;
    } else {
        let object = Object::plain(Spot::Fd(there.as_fd()));
        let copied = copy_attributes((&overlay.stack, object), spot, &was, true, None)?;
        if copied.narrowed || copied.kept != Kept::default() {
            return Err(Errno::PERM);
        }
        take_no_dump(sys::get_flags(&there).unwrap_or(0), spot)?;
    }
    // A content that was there has its time; another one is of now.
    let time = match () {
        () if content == after => attr.mtime,
        () if content == before => was.stx_mtime.into(),
        () => Timestamp::now(),
    };
    sys::set_times(spot, None, Some(SetTime::At(time)))?;
    let print = Print { hash: Some(Hash::of(&content)), ..Print::of(&sys::stat_fd(&file)?) };
    let (bytes, renewed) = (content.len() as u64, Some((part.path.clone(), print)));
    Ok(Made { bytes, renewed, ..Made::default() })
}

fn open_base(part: &Part, base: &Base) -> Result<OwnedFd> {
    let opened = base.at(&part.path, |dir, name| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |more| rustix::fs::openat(dir, name, flags | more, Mode::empty());
        // Somebody else's file is read by the rights of others.
        open(OFlags::NOATIME).or_else(|_| open(OFlags::empty()))
    });
    match opened {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(Errno::STALE),
        other => other,
    }
}

fn read_file(file: &OwnedFd) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut file = File::from(file.try_clone().map_err(errno)?);
    file.read_to_end(&mut all).map_err(errno)?;
    Ok(all)
}

fn read(content: &Content) -> Result<Vec<u8>> {
    let mut all = vec![0; usize::try_from(content.size()?).map_err(|_| Errno::FBIG)?];
    let mut at = 0;
    while let Some(rest) = all.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match content.read_at(rest, at as u64)? {
            0 => return Err(Errno::STALE),
            got => at += got,
        }
    }
    Ok(all)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
