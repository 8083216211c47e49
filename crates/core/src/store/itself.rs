//! Which directory a storage is, as the `t` record of its META tells it: a copy is
//! another one.
#![forbid(unsafe_code)]

use rustix::fd::OwnedFd;
use rustix::fs::StatxFlags;

use crate::format::meta::Record;
use crate::format::time::Timestamp;
use crate::sys::{self, Result};

/// The record of a directory.
pub(crate) fn of(dir: &OwnedFd) -> Result<Record> {
    let stat = sys::stat_fd(dir)?;
    let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let born = if has_birth { stat.stx_btime.into() } else { Timestamp::default() };
    Ok(Record::Storage { ino: stat.stx_ino, born })
}

/// It is another directory than the recorded one.
pub(crate) fn is_copy(recorded: &Record, now: &Record) -> bool {
    match (recorded, now) {
        (Record::Storage { ino, born }, Record::Storage { ino: now_ino, born: now_born }) => {
            // A newer kernel may tell more.
            let unknown = [born, now_born].contains(&&Timestamp::default());
            ino != now_ino || born != now_born && !unknown
        }
        _ => false,
    }
}

/// It is the recorded one, which nobody can have made up who has not written in it: a
/// number alone, where there is no time of birth, could be guessed.
pub(crate) fn fits(recorded: &Record, now: &Record) -> bool {
    recorded == now && is_known(now)
}

/// It can be told from a copy.
pub(crate) fn is_known(now: &Record) -> bool {
    matches!(now, Record::Storage { born, .. } if *born != Timestamp::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_of_birth_is_a_proof() {
        let at = |ino, sec| Record::Storage { ino, born: Timestamp { sec, nsec: 0 } };
        assert!(fits(&at(2, 7), &at(2, 7)) && !is_copy(&at(2, 7), &at(2, 7)));
        for other in [at(3, 7), at(2, 8)] {
            assert!(!fits(&at(2, 7), &other) && is_copy(&at(2, 7), &other));
        }
        for (recorded, now) in [(0, 0), (0, 7), (7, 0)] {
            assert!(
                !fits(&at(2, recorded), &at(2, now)) && !is_copy(&at(2, recorded), &at(2, now))
            );
        }
        let other = Record::Hide { name: (*b"a").into() };
        assert!(!fits(&other, &other));
    }
}
