//! Why something that was believed changed nothing.

/// Why a verified message changed nothing. Each is counted by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Its sequence number was passed: reordered or replayed.
    Stale,
    /// It is our own, come back.
    Own,
    /// The table is full of trusted hosts.
    Full,
    /// It is of a protocol version that we do not speak with.
    Version,
    /// It is of a run that said goodbye, or that another one replaced.
    Ended,
    /// Of a host that must prove itself first; the proof has been asked for.
    Unproven,
    /// An answer nobody asked for.
    Unasked,
}

impl Ignored {
    /// The name under which it is counted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Own => "own",
            Self::Full => "table_full",
            Self::Version => "version",
            Self::Ended => "ended_run",
            Self::Unproven => "unproven",
            Self::Unasked => "unasked",
        }
    }
}
