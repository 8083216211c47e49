//! What the daemon of a live mount shows of its changes.

use std::io::{self, BufRead, Read};

use serde::de::DeserializeOwned;

use super::out::Out;
use crate::control::client::{self, Channel};
use crate::control::wire::{COMPLAINT, PROGRESS, Progress, Request};
use crate::exit::{Failure, code};

/// Asks, and hands on what comes.
///
/// # Errors
/// The daemon cannot tell, or has ended.
pub fn show<T: Default + DeserializeOwned>(
    channel: &Channel,
    request: &Request,
    out: &mut Out,
) -> Result<T, Failure> {
    show_with(channel, request, (out, &mut |_| {}))
}

/// The same. `each` is told how far it is.
///
/// # Errors
/// As [`show`].
pub fn show_with<T: Default + DeserializeOwned>(
    channel: &Channel,
    request: &Request,
    to: (&mut Out, &mut dyn FnMut(Progress)),
) -> Result<T, Failure> {
    let line = hand_on(channel, request, to).map_err(|error| {
        Failure::new(code::FAILURE, format!("the daemon of the mount does not answer: {error}"))
    })?;
    if let Some(trouble) = client::trouble(&line) {
        return Err(Failure::new(code::FAILURE, trouble.trouble));
    }
    match serde_json::from_str(&line) {
        Ok(end) => Ok(end),
        // Nobody reads any more, so nobody asked for the end.
        Err(_) if line.is_empty() => Ok(T::default()),
        Err(error) => Err(Failure::new(code::FAILURE, format!("an answer without end: {error}"))),
    }
}

/// The result is what follows the last part.
fn hand_on(
    channel: &Channel,
    request: &Request,
    (out, each): (&mut Out, &mut dyn FnMut(Progress)),
) -> io::Result<String> {
    let mut answer = channel.ask(request)?;
    let (mut head, mut part) = ([0; 4], Vec::new());
    let mut line = String::new();
    loop {
        // A daemon that does not know the request answers with a line alone.
        if answer.fill_buf()?.starts_with(b"{\"trouble\"") {
            break;
        }
        answer.read_exact(&mut head)?;
        let head = u32::from_ne_bytes(head);
        let len = head & !(COMPLAINT | PROGRESS);
        if len == 0 {
            break;
        }
        part.clear();
        (&mut answer).take(len.into()).read_to_end(&mut part)?;
        if head & COMPLAINT != 0 {
            out.complain(&part);
        } else if head & PROGRESS != 0 {
            each(serde_json::from_slice(&part)?);
        } else if !out.put(&part) {
            return Ok(line);
        }
    }
    answer.read_line(&mut line)?;
    Ok(line)
}
