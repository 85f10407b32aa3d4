//! Real DTUs and the real program against small hosts over loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so by panicking")]

mod cli;
mod shell;
mod support;
