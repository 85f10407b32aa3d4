//! What a LAN does to the frames between two of its ports.

use core::time::Duration;

/// One end of a rule: every port of the LAN, or the one of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End<P> {
    /// Every port for which no rule names a port.
    Any,
    /// The frame must leave or enter by this port.
    Is(P),
}

/// The fate of frames that pass from one port to another. The default lets everything through at once.
///
/// Chances are between 0 (never) and 1 (always); a value outside counts as the nearer of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Whether nothing passes at all.
    pub cut: bool,
    /// The chance that a frame is lost.
    pub loss: f64,
    /// The chance that a frame arrives twice.
    pub duplicate: f64,
    /// The chance that a frame is held for [`Rule::REORDER_HOLD`], so that later ones overtake it.
    pub reorder: f64,
    /// How long every frame is on its way.
    pub delay: Duration,
    /// A random time of up to this is added to `delay`, for each frame by itself.
    pub jitter: Duration,
}

impl Rule {
    /// How long a reordered frame is held: longer than a burst, shorter than a beacon interval.
    pub const REORDER_HOLD: Duration = Duration::from_millis(5);

    /// A rule by which nothing passes.
    #[must_use]
    pub fn cut() -> Self {
        Self { cut: true, ..Self::default() }
    }

    /// Each frame is lost with this chance.
    #[must_use]
    pub fn loss(chance: f64) -> Self {
        Self { loss: chance, ..Self::default() }
    }

    /// Each frame takes this long.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

/// Which way a port is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the host sends is lost.
    Out,
    /// What is sent to the host is lost.
    In,
    /// In both directions.
    Both,
}

/// What a LAN has done with frames so far, counted per frame and receiving port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that ports have sent.
    pub sent: u64,
    /// Frames handed to a port, copies included.
    pub delivered: u64,
    /// Frames that a chance took.
    pub lost: u64,
    /// Frames that met a cut.
    pub cut: u64,
    /// Frames that were delivered twice.
    pub duplicated: u64,
    /// Frames that were held for a while.
    pub held: u64,
    /// Frames dropped because too many were being held already, or because a port's kernel took no more.
    pub overflow: u64,
}
