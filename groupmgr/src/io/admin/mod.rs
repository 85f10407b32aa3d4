//! An operator's requests: from the command line by a Unix socket, and from other hosts of the group by TLS.
//!
//! The command line asks the daemon of its own machine, which asks the other hosts: they trust each other by the
//! group key, while an operator needs none. What one host cannot answer for another is listed as such, never left out.
//!
//! | Module | Owns |
//! |---|---|
//! | [`wire`] | what is asked and answered, one line of JSON each |
//! | [`service`] | answering for this host, and gathering the answers of others |
//! | [`local`] | the Unix socket |
//! | [`audit`] | the records of who ordered what |
//! | [`trust`], [`peer`] | how two hosts prove themselves, and the connection between them |
//! | [`links`], [`talk`] | the links to other hosts, on which they ask each other; one of them |
//! | [`keep`] | what the host machines say to each other on it |

pub(crate) mod audit;
mod busy;
pub(crate) mod keep;
mod links;
pub(crate) mod local;
mod peer;
pub mod service;
mod talk;
mod trust;
pub mod wire;
