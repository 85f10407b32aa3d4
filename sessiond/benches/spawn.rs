//! Sessions a second.

fn main() {}
