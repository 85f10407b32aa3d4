//! What the machine of a state socket and its driver say to each other.

use proto::ServiceName;
use proto::time::Duration;

use crate::effects::Ticket;
use crate::encoded::Encoded;

/// Names one connection to the state socket. The driver never uses a number again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Program(pub u32);

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send these bytes to a program.
    Say {
        /// The program that is told.
        program: Program,
        /// Whole lines, with their payloads.
        bytes: Vec<u8>,
    },
    /// Close the connection of a program that broke the rules, after what was said to it.
    Close(Program),
    /// A version was committed. Its answer is held until [`StateSession::safe`](crate::session::StateSession::safe).
    Committed(Encoded),
    /// Ask the data store, on the session's behalf, for what is done once; [`StateSession::answered`](crate::session::StateSession::answered) says what it
    /// answers.
    Ask {
        /// Names it in the answer.
        ticket: Ticket,
        /// What is asked, without a guard: the session's host sets that.
        request: Box<datastore::Request>,
    },
    /// Call another service; [`StateSession::replied`](crate::session::StateSession::replied) says what it answers.
    Call {
        /// Names it in the answer.
        ticket: Ticket,
        /// The service that is called.
        service: ServiceName,
        /// How long the reply may take.
        within: Duration,
        /// The operation of the caller that the call belongs to, so that it can be told from its repetition.
        operation: Option<u64>,
        /// What is asked.
        payload: Vec<u8>,
    },
    /// A call is answered that this service was [told of](crate::session::StateSession::called).
    Reply {
        /// The number that it was told with.
        call: u32,
        /// What is said to it.
        payload: Vec<u8>,
    },
}

/// When a service no longer takes changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disable {
    /// What is on the stack or in hand may be brought to its end; nothing new is begun.
    Gracefully,
    /// At once, whatever is begun.
    Now,
}
