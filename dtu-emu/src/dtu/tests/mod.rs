//! The rules a DTU keeps, each as a short story in virtual time.

mod chaos;
mod display;
mod failure;
mod finding;
mod redirect;
mod session;
mod world;
