//! FUSE server library.
