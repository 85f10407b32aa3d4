//! What a host is made with.

use groupmgr::host::guests::GuestLimits;

use super::udp::Speaks;
use super::wire::LanId;

/// Links of a beacon's hash chain: enough for ten minutes.
const CHAIN_LEN: usize = 6_000;

/// What a host is made with.
#[derive(Clone, Debug)]
pub struct HostPlan {
    pub(super) name: String,
    pub(super) lans: Vec<LanId>,
    pub(super) keep: bool,
    pub(super) plain: bool,
    pub(super) sessions_max: usize,
    pub(super) cpus: u16,
    pub(super) clock: u32,
    pub(super) cannot_spawn: Option<String>,
    pub(super) chain_len: usize,
    pub(super) guests: GuestLimits,
    pub(super) speaks: Speaks,
    /// The name it goes by in its group, if another host of the world has that name too.
    pub(super) called: Option<String>,
    /// Its daemon is not started with it.
    pub(super) is_off: bool,
}

impl HostPlan {
    /// A host of this name without an interface.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            lans: Vec::new(),
            keep: false,
            plain: false,
            sessions_max: 0,
            cpus: 2,
            clock: 2_000,
            cannot_spawn: None,
            chain_len: CHAIN_LEN,
            guests: GuestLimits::default(),
            speaks: Speaks::AsWeDo,
            called: None,
            is_off: false,
        }
    }

    /// With an interface on this LAN: the first one is its primary.
    #[must_use]
    pub fn on(mut self, lan: LanId) -> Self {
        self.lans.push(lan);
        self
    }

    /// Its sessions outlive its daemon.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    /// It takes so many sessions.
    #[must_use]
    pub fn sessions_max(mut self, sessions: usize) -> Self {
        self.sessions_max = sessions;
        self
    }

    /// It takes so many sessions of tokens that nobody registered.
    #[must_use]
    pub const fn guests(mut self, guests: GuestLimits) -> Self {
        self.guests = guests;
        self
    }

    /// It holds the key of another group.
    #[must_use]
    pub fn of_another_group(mut self) -> Self {
        self.speaks = Speaks::Foreign;
        self
    }

    /// It goes by the name of another host of the world, as a cloned machine does; the world knows it by its own.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        self.called = Some(name.to_owned());
        self
    }

    /// Its beacons' hash chain has so many links.
    #[must_use]
    pub fn chain_len(mut self, links: usize) -> Self {
        self.chain_len = links;
        self
    }
}
