//! Sessions: their services, their screens and their display channels.
//!
//! [`template`] says what a session is made of, [`control`] what daemon, spawner and session processes say to each
//! other, [`display`] what goes between a service and the DTU that shows it, [`session`] what a session process
//! decides, [`copies`] and [`screen`] what another host keeps of it. The processes themselves are in [`io`] (feature `io`): the spawner, the session process, and the
//! daemon's side of both. No group key is ever here.

pub mod control;
pub mod copies;
pub mod display;
#[cfg(feature = "io")]
pub mod io;
pub mod manager;
pub mod screen;
pub mod session;
pub mod template;
