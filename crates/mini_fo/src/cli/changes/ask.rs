//! Who is asked: the daemon of a live mount, or what is opened here.

use mini_fo_core::Overlay;
use serde::de::DeserializeOwned;

use super::out::Out;
use super::place::{self, Where};
use super::{discard, live};
use crate::cli::args::WhereArgs;
use crate::control::wire::Request;
use crate::exit::{Failure, code};

/// Asks the daemon of a live mount; what is not mounted is opened, and `here` shows it.
///
/// # Errors
/// It cannot be opened, read or changed, with its path and why; or as [`live::show`].
pub fn ask<T: Default + DeserializeOwned>(
    place: &Where,
    request: &Request,
    args: &WhereArgs,
    out: &mut Out<'_>,
    here: impl FnOnce(&Overlay, &mut Out<'_>) -> rustix::io::Result<T>,
) -> Result<T, Failure> {
    let path = match place {
        Where::Live(channel, _) => return live::show(channel, request, out),
        Where::AtRest(path) => path,
    };
    let changes = request.changes();
    let open = if changes { place::to_change } else { place::at_rest };
    let overlay = open(path, args)?;
    let end = here(&overlay, out);
    overlay.finish();
    end.map_err(|errno| {
        let why = match changes {
            true => discard::failure(errno),
            false => format!("cannot be read: {errno}"),
        };
        Failure::new(code::FAILURE, format!("{}: {why}", path.display()))
    })
}
