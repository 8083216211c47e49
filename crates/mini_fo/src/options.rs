//! The `-o` grammar, shared by `mini_fo mount` and `mount.mini_fo`.
//!
//! One table (`options/specs.rs`) says which options there are; parsing, suggestions and the man
//! pages all read it. A list is options separated by commas. In a value `\,`
//! stands for a comma and `\\` for a backslash, and a value may stand in
//! double quotes, as mount(8) writes them.
#![forbid(unsafe_code)]

#[path = "options/error.rs"]
mod error;
#[path = "options/nearest.rs"]
mod nearest;
#[path = "options/specs.rs"]
mod specs;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

pub use error::OptionError;
pub use specs::*;

/// All options that are worth knowing, for `--help`.
pub fn help() -> String {
    let shown = SPECS.iter().filter(|spec| !spec.help.is_empty());
    shown.fold("Mount options:\n".to_owned(), |out, spec| {
        out + &crate::exit::entry(&format!("  {}\n", spec.written()), spec.help)
    })
}

/// One option as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its meaning.
    pub opt: Opt,
    /// What stood after `=`.
    pub value: Option<OsString>,
}

/// Reads an option list.
///
/// With `sloppy` unknown options are passed over, as `mount -s` asks for.
pub fn parse(list: &OsStr, sloppy: bool) -> Result<Vec<Item>, OptionError> {
    let mut items = Vec::new();
    for text in split(list.as_bytes())? {
        if text.is_empty() {
            continue;
        }
        match item(&text) {
            Ok(item) => items.push(item),
            Err(OptionError::Unknown { .. }) if sloppy => {}
            Err(error) => return Err(error),
        }
    }
    Ok(items)
}

/// Splits at commas that are neither escaped nor quoted, and takes escapes
/// and quotes away.
fn split(list: &[u8]) -> Result<Vec<Vec<u8>>, OptionError> {
    let mut items = vec![Vec::new()];
    let mut quoted = false;
    let mut bytes = list.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let last = items.last_mut();
        let Some(last) = last else { break };
        match (byte, bytes.peek()) {
            (b'\\', Some(&next @ (b',' | b'\\' | b'"'))) => {
                bytes.next();
                last.push(next);
            }
            // A quote counts at the beginning of a value and where one is open.
            (b'"', _) if quoted || last.last() == Some(&b'=') => quoted = !quoted,
            (b',', _) if !quoted => items.push(Vec::new()),
            _ => last.push(byte),
        }
    }
    match quoted {
        true => Err(OptionError::Quote(lossy(list))),
        false => Ok(items),
    }
}

/// Reads one option.
fn item(text: &[u8]) -> Result<Item, OptionError> {
    let (name, value) = match text.iter().position(|&byte| byte == b'=') {
        Some(at) => (text.get(..at).unwrap_or(text), text.get(at + 1..)),
        None => (text, None),
    };
    let Some(spec) = SPECS.iter().find(|spec| spec.is(name)) else {
        let name = lossy(name);
        return Err(OptionError::Unknown { like: nearest::nearest(&name), name });
    };
    let value = value.map(|bytes| OsString::from_vec(bytes.to_vec()));
    match (spec.value, &value) {
        (None, Some(_)) => return Err(OptionError::Value(spec.name)),
        (Some(what), None) if !what.starts_with('[') => {
            return Err(OptionError::NoValue { name: spec.name, value: what });
        }
        (Some(what), Some(empty)) if empty.is_empty() && !what.starts_with('[') => {
            return Err(OptionError::NoValue { name: spec.name, value: what });
        }
        (Some(what), Some(value))
            if what.contains('|') && !what.split('|').any(|known| value == known) =>
        {
            let value = value.to_string_lossy().into_owned();
            return Err(OptionError::BadValue { name: spec.name, value, known: what });
        }
        _ => {}
    }
    Ok(Item { opt: spec.opt, value })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
#[path = "options/tests.rs"]
mod tests;
