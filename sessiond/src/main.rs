//! The spawner and the session process as a program of their own.

fn main() {}
