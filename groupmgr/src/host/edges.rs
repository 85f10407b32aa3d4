//! Which machine tells which something. What is not in this table is not told, which debug builds check: whoever
//! adds an edge sees here what it does to the whole.

use super::step::Machine;
use Machine::{
    Admission, Attachments, Claims, Connections, Directory, Keeping, Membership, Operations, Placing,
    Presentations, Records, Relay, Sessions, Store,
};

/// The receivers of each machine's steps.
pub(super) const EDGES: [(Machine, &[Machine]); 14] = [
    (Membership, &[Directory, Attachments, Claims, Records, Keeping, Connections, Sessions]),
    (Directory, &[Presentations, Placing]),
    (Placing, &[Presentations]),
    (Admission, &[Presentations, Operations, Store]),
    (Claims, &[Presentations, Operations, Records, Sessions, Store]),
    (
        Presentations,
        &[
            Admission,
            Directory,
            Placing,
            Claims,
            Records,
            Keeping,
            Sessions,
            Attachments,
            Connections,
            Operations,
        ],
    ),
    (Attachments, &[Connections, Sessions, Claims, Presentations]),
    (Connections, &[Presentations, Attachments]),
    (
        Sessions,
        &[Presentations, Attachments, Claims, Records, Keeping, Membership, Relay, Operations, Placing],
    ),
    (Records, &[Presentations, Attachments, Claims, Keeping, Sessions, Store]),
    (Relay, &[Records, Store]),
    (Keeping, &[Presentations, Sessions, Records, Attachments]),
    (Store, &[Membership, Admission, Claims, Records, Presentations, Store]),
    (
        Operations,
        &[Admission, Claims, Presentations, Attachments, Connections, Sessions, Membership, Operations],
    ),
];

/// Whether a machine may tell another something.
pub(super) fn is_one(from: Machine, to: Machine) -> bool {
    EDGES.iter().any(|(machine, receivers)| *machine == from && receivers.contains(&to))
}
