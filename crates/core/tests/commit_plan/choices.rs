//! Some changes are committed, and others stay.
