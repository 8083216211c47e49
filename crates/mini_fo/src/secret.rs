//! What nobody else can know.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use rustix::rand::{GetRandomFlags, getrandom};
use sha1::{Digest, Sha1};

use crate::exit::{Failure, code};

/// 256 bits that nobody knows, as digits.
///
/// # Errors
/// The system has none.
pub fn secret() -> Result<String, Failure> {
    let (mut bytes, mut filled) = ([0u8; 32], 0);
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += getrandom(rest, GetRandomFlags::empty())
            .map_err(|errno| Failure::new(code::FAILURE, format!("no random numbers: {errno}")))?;
    }
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Compared by what hash they have: the time tells nothing of the secret.
pub fn is_same(one: &str, other: &str) -> bool {
    Sha1::digest(one) == Sha1::digest(other) && one == other
}
