//! Whatever bytes come in by any door, and whatever order things happen in: nothing panics, bounds are kept, and
//! what was read says what was written.
//!
//! Every test here is a fuzz target. `cargo test` runs it on its kept corpus (`__fuzz__/<target>/corpus`), on
//! noise, and on mutants of the corpus, for a second each; a real fuzzer runs it for as long as one lets it:
//!
//! ```text
//! .ci/fuzz text::a_line_reads_back 3600
//! ```
//!
//! Without one, the same machine goes on for as long as it is told to:
//!
//! ```text
//! BOLERO_RANDOM_ITERATIONS=1000000000 BOLERO_RANDOM_TEST_TIME_MS=3600000 cargo test -p tests --test fuzz
//! ```
//!
//! What fails is printed with the seed that makes it fail again, or put into a file by the fuzzer; from there it goes
//! into the corpus, under a name that says what it is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on must stop"
)]

/// One fuzz target: a name that is a rule, and what checks it.
macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident => $check:expr;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            let seeds = $crate::mutant::Seeds::of(concat!(module_path!(), "::", stringify!($name)));
            bolero::check!().for_each(|bytes: &[u8]| {
                $check(bytes);
                let mutant = $crate::mutant::Tried(seeds.mutant(bytes));
                $check(&mutant.0);
            });
        }
    )*};
}

mod bytes;
mod feed;
mod group;
mod mutant;
mod screens;
mod sessions;
mod state;
mod text;
mod users;
