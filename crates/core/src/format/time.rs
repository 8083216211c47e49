//! Points in time.

/// A point in time; negative seconds lie before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 UTC.
    pub sec: i64,
    /// Nanoseconds, 0..=999_999_999.
    pub nsec: u32,
}

impl Timestamp {
    /// The current time.
    #[must_use]
    pub fn now() -> Timestamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let nsec = u32::try_from(now.tv_nsec).unwrap_or(0);
        Timestamp { sec: now.tv_sec, nsec }
    }

    /// Nanoseconds since 1970, as far as they fit (292 years either way).
    #[must_use]
    pub fn to_nanoseconds(self) -> i64 {
        let exact = i128::from(self.sec) * 1_000_000_000 + i128::from(self.nsec);
        exact.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// The time so many nanoseconds after 1970.
    #[must_use]
    pub fn from_nanoseconds(nanoseconds: i64) -> Timestamp {
        let nsec = u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0);
        Timestamp { sec: nanoseconds.div_euclid(1_000_000_000), nsec }
    }
}
