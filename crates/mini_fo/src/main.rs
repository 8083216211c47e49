//! mini_fo.
fn main() {}
