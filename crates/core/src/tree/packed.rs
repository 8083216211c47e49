//! Listings of directories that have a part in both layers: 30 bytes and the
//! name for each entry, see `listed.rs` for how long.

/// The number of a listed entry.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    /// As it is shown.
    Shown(u64),
    /// As the storage has it: what is shown takes another look.
    Stored(u64),
    /// Another look tells it.
    Unknown,
}

/// All entries, in the order of the hashes of their names.
///
/// The offset of an entry is the hash of the one before it: it means the same
/// in every listing of the directory, whatever comes and goes meanwhile.
pub(crate) struct Packed {
    /// Hash of the name, and where in `bytes` the entry begins.
    order: Vec<(u64, usize)>,
    /// Entries one after the other: number, type, whether the number is the
    /// one to show, length of the name, name.
    bytes: Vec<u8>,
}

/// An entry of a [`Packed`] listing.
pub(crate) struct Listed<'a> {
    pub name: &'a [u8],
    pub number: Number,
    pub kind: u32,
    pub next: u64,
}

/// Offsets that follow the dots come before all hashes.
const DOTS: [(&[u8], u64); 2] = [(b".", 1), (b"..", 2)];

/// The place of a name among all that there can be: FNV-1a, spread once more.
fn place(name: &[u8]) -> u64 {
    if let Some((_, place)) = DOTS.iter().find(|(dot, _)| *dot == name) {
        return *place;
    }
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let spread = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // An offset is a signed number; room for those that follow the last one.
    ((spread >> 2) + 3).min(i64::MAX as u64 / 2)
}

impl Packed {
    /// Without entries.
    pub fn new() -> Packed {
        Packed { order: Vec::new(), bytes: Vec::new() }
    }

    pub fn push(&mut self, name: &[u8], number: Number, kind: u32) {
        let (ino, shown) = match number {
            Number::Shown(ino) => (ino, 1),
            Number::Stored(ino) => (ino, 0),
            Number::Unknown => (0, 2),
        };
        self.order.push((place(name), self.bytes.len()));
        // Names have at most 255 bytes.
        let length = name.len() as u8;
        self.bytes.extend_from_slice(&ino.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&[shown, length]);
        self.bytes.extend_from_slice(name);
    }

    /// Puts the entries in order, after which they can be read.
    pub fn sort(&mut self) {
        self.bytes.shrink_to_fit();
        self.order.shrink_to_fit();
        let bytes = &self.bytes;
        self.order.sort_unstable_by_key(|(place, at)| (*place, entry(bytes, *at).map(|e| e.name)));
        // Names of one hash, if there ever are, follow each other.
        let mut last = 0;
        for (place, _) in &mut self.order {
            *place = (*place).max(last + 1);
            last = *place;
        }
    }

    /// What it takes of memory.
    pub fn bytes(&self) -> usize {
        self.bytes.capacity() + self.order.capacity() * size_of::<(u64, usize)>()
    }

    /// The entries from an offset on that is 0 or came with an entry.
    pub fn from(&self, offset: u64) -> impl Iterator<Item = Listed<'_>> {
        let start = self.order.partition_point(|(place, _)| *place <= offset);
        let rest = self.order.get(start..).unwrap_or_default();
        rest.iter().filter_map(|(place, at)| {
            entry(&self.bytes, *at).map(|listed| Listed { next: *place, ..listed })
        })
    }
}

/// Reads the entry at a position.
fn entry(bytes: &[u8], at: usize) -> Option<Listed<'_>> {
    let rest = bytes.get(at..)?;
    let (ino, rest) = rest.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let ([shown, length], rest) = rest.split_first_chunk::<2>()?;
    let name = rest.get(..usize::from(*length))?;
    let ino = u64::from_ne_bytes(*ino);
    let number = match *shown {
        0 => Number::Stored(ino),
        1 => Number::Shown(ino),
        _ => Number::Unknown,
    };
    Some(Listed { name, number, kind: u32::from_ne_bytes(*kind), next: 0 })
}
