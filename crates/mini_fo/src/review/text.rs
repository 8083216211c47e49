//! Names and lines as the page shows them.

use std::fmt::Write as _;

/// Bytes of a line that are shown.
const LONGEST: usize = 4000;

/// A name: what is no UTF-8, steers, or turns the direction of writing, shows by its number,
/// so that no name looks like another one.
pub fn name(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        visible(chunk.valid(), false, &mut out);
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A line of a text, without its end.
pub fn line(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let shown = bytes.get(..LONGEST).unwrap_or(bytes);
    let mut out = String::new();
    visible(&String::from_utf8_lossy(shown), true, &mut out);
    if bytes.len() > shown.len() {
        let _ = write!(out, " … ({} more bytes)", bytes.len() - shown.len());
    }
    out
}

fn visible(text: &str, tabs: bool, out: &mut String) {
    for c in text.chars() {
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{200b}' | '\u{feff}');
        match c {
            '\t' if tabs => out.push(c),
            c if c.is_control() || turns => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_passes_for_something_else() {
        assert_eq!(name("ä b/<i>".as_bytes()), "ä b/<i>");
        assert_eq!(name(b"a\xff\n\t"), "a\\xff\\u{a}\\u{9}");
        assert_eq!(name("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(line(b"\ta\xff\r\n"), "\ta\u{fffd}\\u{d}");
        assert_eq!(line(&[b'x'; LONGEST + 2]).len(), LONGEST + " … (2 more bytes)".len());
    }
}
