//! Names in text: as git writes them, so that no name can forge a line, steer the terminal,
//! or be read otherwise by `git apply`.

use std::borrow::Cow;

/// A name as it is, or in double quotes with escapes if anything in it needs that.
pub fn quoted(name: &[u8]) -> Cow<'_, [u8]> {
    let plain = std::str::from_utf8(name)
        .is_ok_and(|text| !text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')));
    if plain { Cow::Borrowed(name) } else { Cow::Owned(escaped(name)) }
}

fn escaped(name: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            let short = match c {
                '"' | '\\' => Some(c),
                '\n' => Some('n'),
                '\t' => Some('t'),
                '\r' => Some('r'),
                '\u{7}' => Some('a'),
                '\u{8}' => Some('b'),
                '\u{b}' => Some('v'),
                '\u{c}' => Some('f'),
                _ => None,
            };
            let mut buf = [0; 4];
            let bytes = c.encode_utf8(&mut buf).as_bytes();
            match short {
                Some(short) => out.extend([b'\\', short as u8]),
                None if c.is_control() => octal(bytes, &mut out),
                None => out.extend(bytes),
            }
        }
        octal(chunk.invalid(), &mut out);
    }
    out.push(b'"');
    out
}

fn octal(bytes: &[u8], out: &mut Vec<u8>) {
    bytes.iter().for_each(|byte| out.extend(format!("\\{byte:03o}").into_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_git_does() {
        for plain in ["a b", "ä", "", "a'b", "日本"] {
            assert_eq!(quoted(plain.as_bytes()), plain.as_bytes());
        }
        let odd: [(&[u8], &str); 5] = [
            (b"a\nb\t\"\\", r#""a\nb\t\"\\""#),
            (b"\x1b[31m", r#""\033[31m""#),
            (b"\xff\xc3\xa4", "\"\\377\u{e4}\""),
            ("\u{9b}".as_bytes(), r#""\302\233""#),
            (b"\x07\x08\x0b\x0c\r\x7f", r#""\a\b\v\f\r\177""#),
        ];
        for (name, expected) in odd {
            assert_eq!(String::from_utf8_lossy(&quoted(name)), expected);
        }
    }
}
