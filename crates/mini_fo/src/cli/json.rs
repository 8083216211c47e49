//! JSON, as the program writes it.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

/// A member that holds bytes (a path, a name). JSON has none: what is no UTF-8 shows as
/// U+FFFD, and a second member `NAME_hex` has all bytes then.
pub fn bytes(name: &str, bytes: &[u8]) -> String {
    let mut out = format!("\"{name}\":{}", quoted(&String::from_utf8_lossy(bytes)));
    if std::str::from_utf8(bytes).is_err() {
        let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        // Writing to a string does not fail.
        let _ = write!(out, ",\"{name}_hex\":\"{hex}\"");
    }
    out
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_exactly() {
        let told = "\"base\":\"/\u{fffd}\\u000a\",\"base_hex\":\"2fff0a\"";
        assert_eq!(bytes("base", b"/\xff\n"), told);
        assert_eq!(bytes("a", "\"ä\\".as_bytes()), "\"a\":\"\\\"ä\\\\\"");
    }
}
