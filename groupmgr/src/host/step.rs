//! The steps of a host: what one machine tells another, and what inputs become. There is one enum for each receiver, and
//! its variants name what happened or what is wanted; whoever emits a step names its receiver.

use std::net::{Ipv4Addr, SocketAddrV4};

use authmgr::admission::{DtuProof, Policy};
use authmgr::{Denial, Order, Presentation};
use datastore::{Key, Response, StoreError};
use proto::alp::{Cookie, DisconnectCause};
use proto::digest::ShortTag;
use proto::frame::Size;
use proto::line::{Line, LineError};
use proto::net::{IfName, Interface};
use proto::time::Duration;
use proto::{
    BootId, DtuKey, Epoch, GrantId, HostName, KeyId, Last, Nonce, Serial, ServiceName, SessionId, StoreId,
    Token, TokenTag,
};
use sessiond::control::{Bytes, FromSession, Part, ToSession, Update};
use sessiond::manager::{Claim, NewSession};
use sessiond::template::{Replication, Service, Template};

use super::admin::Command;
use super::claim_record::ClaimRecord;
use super::driver::{AdminReq, ConnId, Datagram, Followed};
pub(super) use super::payload::{
    Asker, Attach, Began, ClaimRead, EndedSession, Fetched, Judgement, LookedUp, Lookup, LookupScope,
    NotFetched, NotMade, PresentationId, ReadClaim, ReadRecord, Recorded, TakeOver, Taken, Taking,
    TokenQuestion, Unasked,
};
use super::store::Bearing;
use crate::directory::{Answer, Found, TokenReply};
use crate::fitness::Finding;
use crate::keep::Message;
use crate::reach::Dtu;
use crate::topology::Change;

/// What a request to the data store came to.
pub(super) type Outcome = Box<Result<Response, StoreError>>;

macro_rules! machines {
    ($($machine:ident $to:ident)*) => {
        /// A machine of a host, in the order in which those that are due are called.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Machine {
            $($machine,)*
        }

        impl Machine {
            pub(super) const DUE_ORDER: [Self; [$(Self::$machine),*].len()] = [$(Self::$machine),*];

            /// The step that tells it that a deadline of its has come.
            pub(super) const fn due_step(self) -> Step {
                match self {
                    $(Self::$machine => Step::$machine($to::Due),)*
                }
            }
        }

        /// A step, by the machine that it is for.
        #[derive(Debug)]
        pub(super) enum Step {
            $($machine($to),)*
        }

        impl Step {
            /// Whom it is for.
            pub(super) const fn receiver(&self) -> Machine {
                match self {
                    $(Self::$machine(_) => Machine::$machine,)*
                }
            }
        }

        $(impl From<$to> for Step {
            fn from(step: $to) -> Self {
                Self::$machine(step)
            }
        })*
    };
}

machines! {
    Membership ToMembership
    Directory ToDirectory
    Connections ToConnections
    Store ToStore
    Claims ToClaims
    Admission ToAdmission
    Relay ToRelay
    Records ToRecords
    Keeping ToKeeping
    Sessions ToSessions
    Presentations ToPresentations
    Placing ToPlacing
    Attachments ToAttachments
    Operations ToOperations
}

// Thousands may be queued, and each is moved a few times.
const _: () = assert!(size_of::<Step>() <= 160);

/// What the machine of membership is told.
#[derive(Debug)]
pub(super) enum ToMembership {
    // An input is about to be handed in.
    Resumed,
    Interfaces(Vec<Interface>),
    // How busy the machine is.
    Vitals { run_queue: u32, mem_mib: u32 },
    // What was found of the things that sessions need.
    Findings(Vec<Finding>),
    // A session process was made.
    Spawned,
    SpawnFailed { reason: String },
    // Which data store this host uses.
    StoreIs(StoreId),
    Datagrams { iface: IfName, datagrams: Vec<Datagram> },
    // Nobody listens at an address that was asked.
    Refused { addr: SocketAddrV4 },
    // A token has its first session here, or its last one has ended.
    Token { tag: ShortTag, is_here: bool },
    // Take no new sessions, or take them again.
    Drain(bool),
    // Take a host out of the table, and answer the operator.
    Forget { req: AdminReq, host: HostName },
    // Say goodbye.
    Stop,
    Due,
}

/// For the directory.
#[derive(Debug)]
pub(super) enum ToDirectory {
    Look(Box<Lookup>),
    // A DTU brings a grant: it is used up.
    Redeem { id: PresentationId, grant: GrantId },
    // Which other hosts ask for the token at this moment.
    Rivals { id: PresentationId, token: Token },
    // Nobody listens at an address that was asked.
    Refused { addr: SocketAddrV4 },
    // A member asks for the sessions of a token.
    Asked(Box<TokenQuestion>),
    // A member answers such a question.
    Answered { host: HostName, boot: BootId, reply: Box<TokenReply> },
    // DTUs with these grants are on their way here.
    Coming(Vec<GrantId>),
    // A run of a host has ended or is out of sight.
    Lost(HostName),
    Due,
}

/// What the machine of placing is told.
#[derive(Debug)]
pub(super) enum ToPlacing {
    // Choose between this host and those that answered.
    Place { id: PresentationId, dtu: Dtu, answers: Vec<Answer> },
    // The session of a DTU that is here will be made here.
    Expect { conn: ConnId },
    // It will not.
    GaveUp { conn: ConnId },
    // A session has begun to start, of a DTU that waits for it or of none.
    Begun { conn: Option<ConnId> },
    // DTUs with these grants are on their way here.
    Coming(Vec<GrantId>),
    // One of them has come.
    Arrived(GrantId),
    Due,
}

/// What the machine of admission is told.
#[derive(Debug)]
pub(super) enum ToAdmission {
    // Whether a token is genuine and allowed, and the DTU that presents it is the one that its serial belongs to.
    Admit { asker: Asker, token: Token, dtu: Option<Box<DtuProof>> },
    // Fetch a template.
    Template { asker: Asker, name: String },
    // Be sure that a change of a key holds here, and answer the operator.
    Follow { req: AdminReq, key: Key },
    // News of the login policy and the registry.
    Followed(Followed),
    // The data store answers again.
    StoreUp,
    // The data store's answer to a question of this machine.
    Stored { seq: u64, outcome: Outcome },
    Due,
}

/// For the claims.
#[derive(Debug)]
pub(super) enum ToClaims {
    // Whose is the token?
    Read { asker: Asker, token: Token },
    // Make the claim of a session that is about to be made, in the place of what was read.
    Take(Box<Taking>),
    // A claim was made that nobody needs, or may have been.
    Release { token: Token, session: SessionId, epoch: Epoch },
    // A session was made.
    Made { session: SessionId, token: Token, claim: Claim, epoch: Epoch, offer_now: bool },
    // A session of an earlier daemon is known now.
    TakenUp { session: SessionId },
    // Its record has been read, and names no other home.
    Stands { session: SessionId },
    Ended(Box<EndedSession>),
    // A session is shown at a DTU.
    Shown { session: SessionId },
    // Another host goes on with a session of this one.
    MovedAway { session: SessionId },
    // Another host shows a session of the token, too.
    Contested { token: Token },
    // Something has become of another host.
    Group(Change),
    // This host was not run for so long that the others may have taken it for dead.
    OutOfSight,
    // The data store answers again.
    StoreUp,
    // It is another one: a backup was put in its place.
    Restored,
    // The host stops, and its sessions with it: all claims are given back.
    GiveBack,
    // The data store's answer to a question of this machine.
    Stored { seq: u64, outcome: Outcome },
    Due,
}

/// For the records.
#[derive(Debug)]
pub(super) enum ToRecords {
    // A session was made, or its claim or its epoch has changed.
    Changed { session: SessionId },
    // An earlier daemon has left it.
    TakenUp { session: SessionId },
    Ended { session: SessionId },
    // What is the record of a session?
    Read { id: PresentationId, session: SessionId },
    // Which other sessions does the token have?
    Seconds { id: PresentationId, token: Token },
    // Make the record of a session that is about to be made, in the place of what was read.
    Take(Box<TakeOver>),
    // It was not made after all.
    GaveUp { session: SessionId },
    // Who keeps a copy of a session from now on, if anybody does: answered when that is known to stand in its record.
    Secondary { session: SessionId, secondary: Option<HostName> },
    // What does the record say of a session of which this host keeps a copy?
    LookUp { session: SessionId },
    // The data store refused a write of a session, or somebody else says that it has another home.
    Check { session: SessionId },
    // Something has become of another host.
    Group(Change),
    // This host was not run for so long that the others may have taken it for dead.
    OutOfSight,
    // The data store answers again.
    StoreUp,
    // It is another one: a backup was put in its place.
    Restored,
    // The data store's answer to a question of this machine.
    Stored { seq: u64, outcome: Outcome },
    Due,
}

/// For the presentations.
#[derive(Debug)]
pub(super) enum ToPresentations {
    // A token is presented: whatever was being decided at this DTU is void.
    Presented { dtu: Dtu, conn: ConnId, presentation: Box<Presentation> },
    // The token is gone from the DTU, or the DTU is.
    Removed { conn: ConnId },
    // The card's answer to a challenge was judged.
    CardAnswered { conn: ConnId, token_seq: u32, result: Box<Judgement> },
    // Go on with a session though nobody presents its token here.
    GoOn(Box<Unasked>),
    // Whether a grant was good.
    Redeemed { id: PresentationId, good: bool },
    // A lookup is over; `skips` says whether it left anybody out who could have been asked.
    Found { id: PresentationId, skips: bool, found: Box<Found> },
    TooManyLookups { id: PresentationId },
    // The lowest other host that asks for the token at this moment.
    Rivals { id: PresentationId, lowest: Option<HostName> },
    Verdict { id: PresentationId, judgement: Box<Judgement> },
    // A template, or why there is none.
    Template { id: PresentationId, name: String, result: Result<Box<Template>, String> },
    Claim { id: PresentationId, token: Token, result: Box<ReadClaim> },
    // Where the new session goes: to one that answered, or here.
    Placed { id: PresentationId, elsewhere: Option<Box<Answer>> },
    Taken { id: PresentationId, token: Token, session: SessionId, epoch: Epoch, is_heir: bool, result: Taken },
    // The record of a session that may be gone on with.
    Record { id: PresentationId, session: SessionId, result: Box<ReadRecord> },
    // The claims of a token's other sessions.
    Seconds { id: PresentationId, claims: Vec<ClaimRecord> },
    // Whether the record of a session was written before its claim.
    RecordTaken { id: PresentationId, session: SessionId, result: Taken },
    // The objects of a session that is to be taken over.
    Fetched { id: PresentationId, session: SessionId, objects: Fetched },
    // Its session waits in the queue of those that are to start.
    Queued { id: PresentationId },
    // There is no room for its session.
    NotMade { id: PresentationId, new: Box<NotMade> },
    // A session can be attached.
    Ready { session: SessionId },
    // A session of an earlier daemon is known now.
    TakenUp { session: SessionId, guest: Option<Ipv4Addr> },
    Ended(Box<EndedSession>),
    // The session that a DTU was shown has ended.
    Over { conn: ConnId, lived: Duration },
    // Decide anew about a token wherever it is presented, and answer the operator.
    Again { req: AdminReq, token: Token },
    // The data store answers again.
    StoreUp,
    // The host stops.
    Stop,
    Due,
}

/// For the attachments.
#[derive(Debug)]
pub(super) enum ToAttachments {
    Attach(Box<Attach>),
    // Take what a DTU is shown off it.
    Detach { conn: ConnId },
    // The connection is lost, and the display may be alive: a DTU that comes back at once has lost nothing.
    Unseen { conn: ConnId },
    // Take a session off whatever DTU shows it, which is told why; and end it, if that is wanted.
    Evict { session: SessionId, cause: DisconnectCause, end: bool },
    // A session of an earlier daemon is known now.
    TakenUp { session: SessionId },
    // Another host than before keeps all of a session, or none does any more.
    Named { session: SessionId },
    // Another host goes on with a session of this one.
    MovedAway { session: SessionId },
    Ended(Box<EndedSession>),
    // Another host shows these tokens.
    ShownAt { host: HostName, tagged: KeyId, tokens: Vec<(TokenTag, Last)> },
    // A host came up, and has not heard what is shown here.
    HostUp(HostName),
    // The group's time was set back.
    ClockSetBack,
    Due,
}

/// For the connections.
#[derive(Debug)]
pub(super) enum ToConnections {
    Opened { conn: ConnId, peer: SocketAddrV4, plain: bool, key: Option<DtuKey> },
    Line { conn: ConnId, line: Result<Line, LineError> },
    Closed { conn: ConnId },
    // The host has started: whoever has come before is served.
    Begin,
    // Order something of a gate.
    Order { conn: ConnId, order: Box<Order> },
    // Show a line at a DTU, or at all, and answer the operator.
    Message { req: AdminReq, to: Option<Serial>, text: String },
    // The host stops: every DTU is told to go.
    SendAway,
    // Tell every DTU where it may fail over to.
    Refresh,
    // Tell one DTU that, and who keeps its session.
    Cookie { conn: ConnId, cookie: Box<Cookie> },
    Due,
}

/// For the sessions.
#[derive(Debug)]
pub(super) enum ToSessions {
    Spawned { session: SessionId, kept: bool },
    SpawnFailed { session: SessionId, reason: String },
    Exited { session: SessionId },
    Said { session: SessionId, said: Box<FromSession> },
    // A connection wants the display of a session.
    Display { conn: ConnId, session: SessionId },
    Make { asker: Asker, new: Box<NewSession> },
    // Show a running session at a DTU.
    Attach { session: SessionId, last: Last, ticket: Nonce, serial: Serial, size: Size },
    // Take it off its DTU; its services run on.
    Detach { session: SessionId },
    // The connection of its DTU is lost.
    Unseen { session: SessionId },
    End { session: SessionId },
    SetClaim { session: SessionId, claim: Claim, epoch: Epoch },
    // The data store has its record.
    Recorded { session: SessionId },
    // Set its time of last connection.
    SetLast { session: SessionId, last: Last },
    // Its token was registered: it is no guest's any more.
    Adopt { session: SessionId },
    // Start one of its services, or a new one, and answer the operator.
    StartService { req: AdminReq, session: SessionId, service: Box<Service> },
    // End one of its services, and answer the operator.
    StopService { req: AdminReq, session: SessionId, service: ServiceName },
    // Have it wait for something else.
    SetReplication { session: SessionId, replication: Replication },
    // Tell its process something of its copies.
    Keep { session: SessionId, message: Box<ToSession> },
    // This host was not run for so long.
    WasAway(Duration),
    Due,
}

/// For the relay of programs' requests.
#[derive(Debug)]
pub(super) enum ToRelay {
    // A program of a session asks the data store for something.
    Data { session: SessionId, owner: String, client: u32, request: Bytes },
    // The data store's answer to a question of this machine.
    Stored { seq: u64, outcome: Outcome },
    Due,
}

/// For the keeping of copies.
#[derive(Debug)]
pub(super) enum ToKeeping {
    // Get the objects of a session whose primary of this epoch is gone; its keeper may be this host.
    // What it has of before the epoch `floor` is not enough.
    Fetch { id: PresentationId, session: SessionId, epoch: Epoch, floor: Epoch, secondary: HostName },
    // This host runs the session now: what it kept of it is let go.
    TookOver { session: SessionId },
    // A replicated session runs here, and its record says so.
    Began(Box<Began>),
    // It is over here, whether or not another host goes on with it.
    Ended { session: SessionId },
    // It waits for something else from now on.
    Adjust { session: SessionId, replication: Replication },
    // Its process gives its services no more input.
    Still { session: SessionId },
    // This host does not go on with a session that it was to go on with unasked.
    NotGoneOn { session: SessionId },
    // The operator has drained this host: its sessions go to others.
    Drained,
    // What became of the secondary that its record was to name.
    Recorded { session: SessionId, secondary: Option<HostName>, result: Recorded },
    // What the record of a session says.
    Record { session: SessionId, result: LookedUp },
    // Another host says something about copies.
    Peer { host: HostName, message: Box<Message> },
    // What was said to it and not answered may not have come.
    PeerLost { host: HostName },
    // The process of a session here has a new version of a part.
    Said { session: SessionId, part: Part, update: Update },
    // Its process says which parts there are.
    Parts { session: SessionId, parts: Vec<Part> },
    // Something has become of another host.
    Group(Change),
    // This host was not run for so long.
    WasAway(Duration),
    Due,
}

/// For the store.
#[derive(Debug)]
pub(super) enum ToStore {
    Link { up: bool, store: Option<StoreId> },
    // Somebody was answered, or told that there will be no answer.
    Answered { in_time: bool, bearing: Bearing },
    // Somebody was not answered in time.
    Late,
    // The data store's answer to a question of this machine.
    Stored { seq: u64 },
    Due,
}

/// For the operations.
#[derive(Debug)]
pub(super) enum ToOperations {
    Command { req: AdminReq, command: Command },
    // Whether a token is admitted, and the policy in force.
    Verdict { req: AdminReq, judgement: Box<Judgement>, policy: Option<Policy> },
    // A template, or why there is none.
    Template { req: AdminReq, result: Result<Box<Template>, String> },
    Claim { req: AdminReq, result: Box<ReadClaim> },
    // A session was made, or why it was not.
    Made { req: AdminReq, result: Result<SessionId, Denial> },
    // A session of the token runs.
    Started(Token),
    // A session could not be made for the token.
    Failed { token: Token, why: String },
    Ended(Box<EndedSession>),
    // What was asked of a service has come out.
    ServiceSettled { session: SessionId, service: ServiceName },
    // All claims are given back, or cannot be.
    GivenBack,
    // Everything that was ordered when the host stopped has been done: queued last.
    Stopped { req: AdminReq },
    Due,
}
