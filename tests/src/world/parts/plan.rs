//! What a host is made with.

use groupmgr::host::guests::GuestLimits;
use proto::host_message::Label;

use super::super::wire::LanId;
use super::udp::Speaks;

/// Links of a beacon's hash chain: enough for ten minutes.
const CHAIN_LEN: usize = 6_000;

/// What a host is made with.
#[derive(Clone, Debug)]
pub struct HostPlan {
    pub(in crate::world) name: String,
    pub(in crate::world) lans: Vec<LanId>,
    pub(in crate::world) keep: bool,
    pub(in crate::world) plain: bool,
    pub(in crate::world) sessions_max: usize,
    pub(in crate::world) cpus: u16,
    /// The machine that it shares with others of the same number.
    pub(in crate::world) machine: Option<u64>,
    pub(in crate::world) rack: Label,
    pub(in crate::world) site: Label,
    pub(in crate::world) pair: Option<String>,
    pub(in crate::world) clock: u32,
    pub(in crate::world) cannot_spawn: Option<String>,
    pub(in crate::world) chain_len: usize,
    pub(in crate::world) guests: GuestLimits,
    pub(in crate::world) speaks: Speaks,
    /// The name it goes by in its group, if another host of the world has that name too.
    pub(in crate::world) called: Option<String>,
    /// Its daemon is not started with it.
    pub(in crate::world) is_off: bool,
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
            machine: None,
            rack: Label::default(),
            site: Label::default(),
            pair: None,
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

    /// It shares a machine with all that have this number.
    #[must_use]
    pub const fn machine(mut self, number: u64) -> Self {
        self.machine = Some(number);
        self
    }

    /// It is in this rack of this site.
    #[must_use]
    pub fn at(mut self, rack: &Label, site: &Label) -> Self {
        (self.rack, self.site) = (rack.clone(), site.clone());
        self
    }

    /// Its operator wants this host to keep its sessions.
    #[must_use]
    pub fn paired_with(mut self, host: &str) -> Self {
        self.pair = Some(host.to_owned());
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

    /// Its beacons' hash chain has so many values.
    #[must_use]
    pub fn chain_len(mut self, values: usize) -> Self {
        self.chain_len = values;
        self
    }
}
