//! Bounds on everything that a program can make grow, each with its reason.

/// Longest encoding of an object, in bytes. A whole object must fit into the window of one channel between two hosts
/// ([`proto::link::WINDOW`]) beside what is said around it, so that a new secondary is filled without waiting.
pub const OBJECT_MAX: usize = 48 * 1024;

/// Longest value, in bytes. Two thirds of an object: the rest stays for what says where the session is.
pub const VALUE_MAX: usize = 32 * 1024;

/// Most values in an object, those of all states together. Each commit looks at all of them.
pub const VALUES_MAX: usize = 1024;

/// Deepest stack of composite steps. Deeper ones are programs that call themselves.
pub const STACK_MAX: usize = 16;

/// Most states of one series: so often "back" works. The oldest is dropped for one more.
pub const STATES_MAX: usize = 16;

/// Most simple steps that a state of a composite step has values of.
pub const STEPS_MAX: usize = 32;

/// Longest text of a query, in bytes: a statement, not what it found.
pub const QUERY_MAX: usize = 1024;

/// Longest path of a file or a directory, in bytes. Linux allows 4,096; who needs more than this puts bytes.
pub const PATH_MAX: usize = 1024;

/// Most fields of a later version that are kept unread.
pub const LATER_MAX: usize = 16;

/// Longest field of a later version, in bytes.
pub const LATER_LEN_MAX: usize = 1024;

/// Longest encoding of a delta, in bytes: at worst all of an object's bytes are new, behind a header and a few bytes
/// for each run of new ones.
pub const DELTA_MAX: usize = OBJECT_MAX + 256;

/// Versions that a [`History`](crate::History) holds at most, besides those that are pinned. A peer that acknowledges
/// within 16 commits gets a delta, whatever it missed.
pub const VERSIONS_MAX: usize = 16;

/// Bytes of all versions that a [`History`](crate::History) holds, besides those that are pinned: four whole objects.
pub const HISTORY_BYTES_MAX: usize = 4 * OBJECT_MAX;

/// Versions that can be pinned at a time: the last that each of so many peers has acknowledged.
pub const PINS_MAX: usize = 4;

const _: () = assert!(OBJECT_MAX + 4 * 1024 <= proto::link::WINDOW && DELTA_MAX < proto::link::WINDOW);
