//! What one side of one change holds, for who shows it otherwise than as a patch.

use mini_fo_core::{Change, ChangeKind, ChangesOptions, FoundChange, Overlay};
use rustix::io::{Errno, Result};

use super::diff::body::Body;
use super::out::Out;
use crate::control::wire::{ContentForm, Sent, Side};

/// Sends it.
///
/// # Errors
/// ENOENT: there is no such change (any more); it cannot be read.
pub fn show(overlay: &Overlay, form: &ContentForm, out: &mut Out) -> Result<Sent> {
    let options = ChangesOptions { within: vec![form.path.0.clone()], ..ChangesOptions::default() };
    let mut sent = Err(Errno::NOENT);
    overlay.changes(&options, &mut |found| match found {
        FoundChange::Change(change) if is_meant(change, form) => {
            sent = send(change, form, out);
            false
        }
        FoundChange::Unread(unread) if *unread.path == *form.path.0 => {
            sent = Err(unread.errno);
            false
        }
        _ => true,
    })?;
    sent
}

fn is_meant(change: &Change<'_>, form: &ContentForm) -> bool {
    *change.path == *form.path.0 && (change.kind == ChangeKind::Deleted) == form.deleted
}

fn send(change: &Change<'_>, form: &ContentForm, out: &mut Out) -> Result<Sent> {
    let body = match form.side {
        Side::Before => Body::before(change)?,
        Side::After => Body::after(change)?,
    };
    let size = body.size();
    let mut left = if size > form.most { form.beginning } else { size };
    body.each_piece(|piece| {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        left -= len as u64;
        out.put(piece.get(..len).unwrap_or_default()) && left > 0
    })?;
    Ok(Sent { there: body.is_git(), size })
}
