//! What a mount remembers: times of access, names that the base lacks, objects with
//! several names, partial files, open files, and so on. Only what it is; who uses it is
//! above.
#![forbid(unsafe_code)]

pub(crate) mod access;
pub(crate) mod freed;
pub(crate) mod gate;
pub(crate) mod holds;
pub(crate) mod lacks;
pub(crate) mod later;
pub(crate) mod leaving;
pub(crate) mod linked;
pub(crate) mod live;
pub(crate) mod open_file;
pub(crate) mod parked;
pub(crate) mod partials;
pub(crate) mod reserve;
pub(crate) mod root_owner;
pub(crate) mod trail;
pub(crate) mod waiters;
pub(crate) mod written;
