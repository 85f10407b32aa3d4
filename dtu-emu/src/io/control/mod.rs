//! How a running DTU is commanded: a Unix socket in a directory of its owner's, one per DTU.
//!
//! A request is one line of JSON and gets one line back. After [`Request::Attach`] the socket carries what
//! draws the screen in one direction and further requests, without answers, in the other.

mod client;
mod message;
mod place;
mod port;
mod server;

pub use client::{Client, ClientError, find, list};
pub use message::{Appearance, Reply, Request};
pub use place::default_dir;
pub(super) use port::{Port, open_port};
pub use server::{ControlSocket, serve};
