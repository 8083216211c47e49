//! Binary files, as `git apply` takes them: compressed (zlib), in lines of base 85.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use rustix::io::{Errno, Result};
use sha1::{Digest, Sha1};

use super::body::Body;
use crate::cli::changes::out::Out;

const DIGITS: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// Bytes that one line stands for at most.
const LINE: usize = 52;

/// Both hold the same. Their sizes are equal.
pub fn is_same(before: &Body, after: &Body) -> Result<bool> {
    Ok(hash(before)? == hash(after)?)
}

/// The line by which `git apply` makes sure that it has the right file.
pub fn index_line(before: &Body, after: &Body) -> Result<String> {
    let of = |body: &Body| match body.is_git() {
        true => hash(body),
        false => Ok("0".repeat(40)),
    };
    let mode = match (before.mode(), after.mode()) {
        (Some(old), Some(new)) if old == new => format!(" {new}"),
        _ => String::new(),
    };
    Ok(format!("index {}..{}{mode}\n", of(before)?, of(after)?))
}

/// What git calls the content.
fn hash(body: &Body) -> Result<String> {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", body.size()));
    body.each_piece(|piece| {
        hash.update(piece);
        true
    })?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes what the file becomes, and what it was.
pub fn write(before: &Body, after: &Body, out: &mut Out) -> Result<bool> {
    Ok(out.put(b"GIT binary patch\n") && literal(after, out)? && literal(before, out)?)
}

fn literal(body: &Body, out: &mut Out) -> Result<bool> {
    if !out.put(format!("literal {}\n", body.size()).as_bytes()) {
        return Ok(false);
    }
    let mut encoder = ZlibEncoder::new(Base85 { out, pending: Vec::new() }, Compression::default());
    let mut written = Ok(());
    body.each_piece(|piece| {
        written = encoder.write_all(piece);
        written.is_ok()
    })?;
    let ended = written.and_then(|()| encoder.finish()).and_then(Base85::end);
    match ended {
        Ok(out) => Ok(out.put(b"\n")),
        // Nobody reads any more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(_) => Err(Errno::IO),
    }
}

/// Makes lines of bytes.
struct Base85<'o, 'w> {
    out: &'o mut Out<'w>,
    pending: Vec<u8>,
}

impl<'o, 'w> Base85<'o, 'w> {
    fn end(mut self) -> io::Result<&'o mut Out<'w>> {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.line(&pending)?;
        }
        Ok(self.out)
    }

    fn line(&mut self, bytes: &[u8]) -> io::Result<()> {
        let text = line(bytes);
        if self.out.put(&text) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}

impl Write for Base85<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let whole = pending.len() - pending.len() % LINE;
        let (lines, rest) = pending.split_at(whole);
        for bytes in lines.chunks(LINE) {
            self.line(bytes)?;
        }
        self.pending = rest.to_vec();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The count as a letter, then five digits for each four bytes.
fn line(bytes: &[u8]) -> Vec<u8> {
    let count = u8::try_from(bytes.len()).unwrap_or(LINE as u8);
    let mut text = vec![if count <= 26 { b'A' + count - 1 } else { b'a' + count - 27 }];
    for four in bytes.chunks(4) {
        let mut value = (0..4)
            .fold(0_u32, |value, at| value << 8 | u32::from(four.get(at).copied().unwrap_or(0)));
        let mut digits = [b'0'; 5];
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS.get(value as usize % 85).copied().unwrap_or(b'0');
            value /= 85;
        }
        text.extend(digits);
    }
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As git writes them: an empty file, compressed, and the ends of the alphabet of counts.
    #[test]
    fn lines_are_those_of_git() {
        assert_eq!(line(&[0x78, 0x01, 0x03, 0, 0, 0, 0, 1]), b"HcmV?d00001\n");
        assert_eq!(line(&[0]).first(), Some(&b'A'));
        assert_eq!(line(&[0; 26]).first(), Some(&b'Z'));
        assert_eq!(line(&[0; 27]).first(), Some(&b'a'));
        assert_eq!(line(&[0; 52]).first(), Some(&b'z'));
        assert_eq!(line(&[0xff; 4]), b"D|NsC0\n");
    }
}
