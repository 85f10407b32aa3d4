//! The rules a DTU keeps, each as a short story in virtual time.

mod chaos;
mod cookie;
mod display;
mod failure;
mod faults;
mod finding;
mod host;
mod redirect;
mod session;
mod transitions;
mod world;
