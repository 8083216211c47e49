//! What git would keep of an object: its mode, and its data.

use mini_fo_core::{Attr, Change, Content};
use rustix::io::{Errno, Result};

/// One side of a change.
pub enum Body {
    /// There is nothing, or something that git does not know.
    None,
    File(Content, u64, u32),
    Link(Vec<u8>),
}

impl Body {
    /// What was there.
    pub fn before(change: &Change<'_>) -> Result<Body> {
        Body::of(change.before, || change.open_before(), || change.target_before())
    }

    /// What is there.
    pub fn after(change: &Change<'_>) -> Result<Body> {
        Body::of(change.after, || change.open_after(), || change.target_after())
    }

    fn of(
        attr: Option<Attr>,
        open: impl FnOnce() -> Result<Content>,
        target: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Body> {
        let Some(attr) = attr else { return Ok(Body::None) };
        Ok(match attr.mode & libc::S_IFMT {
            libc::S_IFREG => {
                let content = open()?;
                let size = content.size()?;
                Body::File(content, size, attr.mode)
            }
            libc::S_IFLNK => Body::Link(target()?),
            _ => Body::None,
        })
    }

    /// git knows it.
    pub fn is_git(&self) -> bool {
        !matches!(self, Body::None)
    }

    /// What tells types apart.
    pub fn kind(&self) -> u8 {
        match self {
            Body::None => 0,
            Body::File(..) => 1,
            Body::Link(_) => 2,
        }
    }

    /// The mode that git gives it; `None`: there is nothing.
    pub fn mode(&self) -> Option<&'static str> {
        match self {
            Body::None => None,
            Body::File(_, _, mode) if mode & 0o100 != 0 => Some("100755"),
            Body::File(..) => Some("100644"),
            Body::Link(_) => Some("120000"),
        }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        match self {
            Body::None => 0,
            Body::File(_, size, _) => *size,
            Body::Link(target) => target.len() as u64,
        }
    }

    /// Gives all bytes to `take`, piece by piece, until that returns `false`.
    pub fn each_piece(&self, mut take: impl FnMut(&[u8]) -> bool) -> Result<()> {
        match self {
            Body::None => {}
            Body::Link(target) => drop(take(target)),
            Body::File(content, size, _) => {
                let mut buf = vec![0; 128 * 1024];
                let mut at = 0;
                while at < *size {
                    let got = content.read_at(&mut buf, at)?;
                    if got == 0 {
                        // It has become shorter meanwhile.
                        return Err(Errno::STALE);
                    }
                    let left = usize::try_from(*size - at).unwrap_or(got).min(got);
                    if !take(buf.get(..left).unwrap_or_default()) {
                        break;
                    }
                    at += left as u64;
                }
            }
        }
        Ok(())
    }

    /// All bytes, unless there are more than `most`.
    pub fn load(&self, most: u64) -> Result<Option<Vec<u8>>> {
        if self.size() > most {
            return Ok(None);
        }
        let mut all = Vec::new();
        self.each_piece(|piece| {
            all.extend_from_slice(piece);
            true
        })?;
        Ok(Some(all))
    }

    /// The first bytes.
    pub fn beginning(&self, most: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        self.each_piece(|piece| {
            all.extend_from_slice(piece.get(..most).unwrap_or(piece));
            false
        })?;
        Ok(all)
    }
}
