//! Which object of the base is which, and the number that it shows
//! (docs/FORMAT.md, section 5).
#![forbid(unsafe_code)]

/// A file system of the base, as this storage counts them; 0 is the one that
/// the root of the base is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Realm(pub u32);

/// An object of the base: its file system and `st_ino` there.
///
/// This tells objects apart, and not the number that is shown: that one has
/// fewer bits than the two together, so it may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BaseId {
    /// The file system.
    pub realm: Realm,
    /// Its number there.
    pub ino: u64,
}

/// The numbers from here up to 2^62 are those of base objects that cannot
/// show their own.
const MADE: u64 = 1 << 61;

/// Those among them that are a hash.
const HASHED: u64 = MADE | 1 << 60;

/// Bits of a number that are kept next to that of the file system.
const INO_BITS: u32 = 40;

/// 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Every bit of the result depends on every bit of the value, and no two values
/// have one result (the finalizer of SplitMix64).
pub fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

impl Realm {
    /// The one of the base's root.
    pub const ROOT: Realm = Realm(0);

    /// File systems are counted below this.
    pub const LIMIT: u32 = 1 << 20;

    /// The number that its object `ino` shows.
    pub fn number(self, ino: u64) -> u64 {
        BaseId { realm: self, ino }.number()
    }
}

impl BaseId {
    /// The number shown: below 2^62, and never 0.
    pub fn number(self) -> u64 {
        let BaseId { realm: Realm(realm), ino } = self;
        #[cfg(test)]
        if alike::ARE.get() {
            return HASHED;
        }
        match realm {
            0 if ino != 0 && ino < MADE => ino,
            1..Realm::LIMIT if ino < 1 << INO_BITS => MADE | u64::from(realm) << INO_BITS | ino,
            _ => {
                let hash = mix(mix(ino).wrapping_add(u64::from(realm).wrapping_mul(SPREAD)));
                HASHED | hash >> 4
            }
        }
    }

    /// What shows a number, if the number says it.
    pub fn of_number(number: u64) -> Option<BaseId> {
        let id = match number {
            ..MADE => BaseId { realm: Realm::ROOT, ino: number },
            _ => BaseId {
                realm: Realm((number >> INO_BITS) as u32 & (Realm::LIMIT - 1)),
                ino: number & ((1 << INO_BITS) - 1),
            },
        };
        (id.number() == number && number & HASHED != HASHED).then_some(id)
    }

    /// A node id where another object has the one that is the number: above
    /// all numbers.
    pub fn second_id(self) -> u64 {
        3 << 62 | mix(mix(self.ino) ^ u64::from(self.realm.0)) >> 2
    }

    /// What the index calls it.
    pub fn index_name(self) -> String {
        match self.realm {
            Realm::ROOT => format!("{:x}", self.ino),
            Realm(realm) => format!("{:x}@{realm:x}", self.ino),
        }
    }

    /// What the index calls so. `None`: no object.
    pub fn of_index_name(name: &[u8]) -> Option<BaseId> {
        let text = std::str::from_utf8(name).ok()?;
        let (ino, realm) = text.split_once('@').unwrap_or((text, "0"));
        let (ino, realm) = (u64::from_str_radix(ino, 16), u32::from_str_radix(realm, 16));
        let id = BaseId { realm: Realm(realm.ok()?), ino: ino.ok()? };
        (id.index_name().as_bytes() == name).then_some(id)
    }
}

/// For tests: all objects of the base have one number, as if the hash were the
/// worst there can be.
#[cfg(test)]
pub mod alike {
    use std::cell::Cell;

    thread_local! {
        /// Whether they do, for what this thread does.
        pub static ARE: Cell<bool> = const { Cell::new(false) };
    }
}

#[cfg(test)]
mod tests {
    use hashbrown::HashSet;

    use super::{BaseId, Realm};

    fn number(realm: u32, ino: u64) -> u64 {
        Realm(realm).number(ino)
    }

    #[test]
    fn ordinary_numbers_are_shown_as_they_are() {
        for ino in [1, 2, 3, 4711, (1 << 61) - 1] {
            assert_eq!(number(0, ino), ino);
        }
        assert_eq!(number(5, 7), 1 << 61 | 5 << 40 | 7);
        for id in [(0, 1), (0, 4711), (1, 0), (5, 7), ((1 << 20) - 1, (1 << 40) - 1)] {
            let id = BaseId { realm: Realm(id.0), ino: id.1 };
            assert_eq!(BaseId::of_number(id.number()), Some(id));
        }
        assert_eq!(BaseId::of_number(number(0, 1 << 61)), None);
        assert_eq!(BaseId::of_number(number(1, 1 << 40)), None);
    }

    #[test]
    fn numbers_of_different_objects_differ() {
        let inos =
            (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) + 1, u64::MAX - bit, bit, 3 << bit]);
        let all: HashSet<BaseId> = inos
            .flat_map(|ino| {
                [0, 1, 2, 3, Realm::LIMIT].map(|realm| BaseId { realm: Realm(realm), ino })
            })
            .collect();
        let numbers: HashSet<u64> = all.iter().map(|id| id.number()).collect();
        assert_eq!(numbers.len(), all.len());
        assert!(numbers.iter().all(|number| (1..1 << 62).contains(number)));
    }

    #[test]
    fn the_number_zero_is_shown_by_nothing() {
        assert_ne!(number(0, 0), 0);
        // What once gave 0 and 1.
        for ino in [1 << 62 | 1, 2 << 62 | 2, 3 << 62 | 3, 1 << 62, 2 << 62 | 3] {
            assert!(number(0, ino) > 1);
        }
    }
}
