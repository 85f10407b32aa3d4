//! What is known of the lab, ready to be drawn.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::Ground;
use crate::timeline::Event;
use crate::world::{Power, World};
use groupmgr::topology::Standing;

/// Events kept for the log; more do not fit on any screen.
const LOG_MAX: usize = 200;

/// The users of the lab; each has one card.
pub(super) const USERS: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

/// A host as it is drawn.
#[derive(Clone, Debug)]
pub(super) struct HostView {
    pub(super) name: String,
    pub(super) power: Power,
    /// What it thinks of the others, itself included; empty while it does not answer.
    pub(super) thinks: BTreeMap<String, Standing>,
    pub(super) sessions: Option<u32>,
}

/// A DTU as it is drawn.
#[derive(Clone, Debug)]
pub(super) struct DeskView {
    pub(super) name: String,
    pub(super) power: Power,
    /// Whose card is in it.
    pub(super) card: Option<usize>,
    /// What it reported last that concerns its session.
    pub(super) state: String,
    pub(super) host: Option<String>,
    pub(super) session: Option<String>,
    pub(super) gap_ms: Option<f64>,
    pub(super) screen: String,
}

/// The lab as it is drawn.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) ground: Ground,
    pub(super) hosts: Vec<HostView>,
    pub(super) desks: Vec<DeskView>,
    pub(super) log: VecDeque<Event>,
    pub(super) now_ms: f64,
    /// What is being done, and what went wrong last.
    pub(super) busy: Option<String>,
    pub(super) trouble: Option<String>,
}

impl View {
    pub(super) fn new(world: &World) -> Self {
        let host = |name: &str| HostView {
            name: name.to_owned(),
            power: Power::Off,
            thinks: BTreeMap::new(),
            sessions: None,
        };
        let desk = |name: &str| DeskView {
            name: name.to_owned(),
            power: Power::Off,
            card: None,
            state: "off".to_owned(),
            host: None,
            session: None,
            gap_ms: None,
            screen: String::new(),
        };
        Self {
            ground: world.backend().ground(),
            hosts: world.hosts().map(host).collect(),
            desks: world.desks().map(desk).collect(),
            log: VecDeque::new(),
            now_ms: 0.0,
            busy: None,
            trouble: None,
        }
    }

    /// Takes an event into the log, and into what is known of its desk.
    pub(super) fn on_event(&mut self, event: Event) {
        if let Some(desk) = event.dtu.as_deref().and_then(|name| self.desk_mut(name)) {
            desk.on_event(&event);
        }
        self.log.push_back(event);
        if self.log.len() > LOG_MAX {
            self.log.pop_front();
        }
    }

    pub(super) fn host_mut(&mut self, name: &str) -> Option<&mut HostView> {
        self.hosts.iter_mut().find(|host| host.name == name)
    }

    pub(super) fn desk_mut(&mut self, name: &str) -> Option<&mut DeskView> {
        self.desks.iter_mut().find(|desk| desk.name == name)
    }

    /// Sets what was done to a machine last.
    pub(super) fn set_power(&mut self, machine: &str, power: Power) {
        if let Some(host) = self.host_mut(machine) {
            host.power = power;
            if power != Power::On {
                host.thinks.clear();
                host.sessions = None;
            }
        } else if let Some(desk) = self.desk_mut(machine) {
            desk.power = power;
            if power == Power::Off {
                *desk = DeskView { power, card: None, host: None, session: None, ..desk.clone() };
                desk.state = "off".to_owned();
                desk.screen.clear();
            }
        }
    }
}

impl DeskView {
    fn on_event(&mut self, event: &Event) {
        match event.event.as_str() {
            "attached" | "failed_over" | "restored" | "redirected" => {
                self.host.clone_from(&event.host);
                if event.session.is_some() {
                    self.session.clone_from(&event.session);
                }
                if event.gap_ms.is_some() {
                    self.gap_ms = event.gap_ms;
                }
                self.state = if event.is("redirected") { "redirected" } else { "at work" }.to_owned();
            }
            "rejoined" => "at work".clone_into(&mut self.state),
            "detached" | "removed" | "lost" | "denied" => {
                self.session = None;
                self.host = None;
                self.state.clone_from(&event.event);
            }
            "booted" | "held" | "display_lost" => self.state.clone_from(&event.event),
            "no_host" => "no host".clone_into(&mut self.state),
            _ => {}
        }
    }
}

/// The view, shared between those who fill it and the one who draws it.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<View>>);

impl Shared {
    pub(super) fn new(view: View) -> Self {
        Self(Arc::new(Mutex::new(view)))
    }

    /// Reads or changes it.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A lab with all machines on.
    pub(in crate::tui) fn view(hosts: usize, desks: usize) -> View {
        let plan = crate::plan::Plan::simple(hosts, desks);
        let host = |node: &crate::plan::NodePlan| HostView {
            name: node.name.clone(),
            power: Power::On,
            thinks: plan.hosts.iter().map(|other| (other.name.clone(), Standing::Up)).collect(),
            sessions: Some(1),
        };
        let desk = |node: &crate::plan::NodePlan| DeskView {
            name: node.name.clone(),
            power: Power::On,
            card: None,
            state: "booted".to_owned(),
            host: None,
            session: None,
            gap_ms: None,
            screen: String::new(),
        };
        View {
            ground: Ground::Namespaces,
            hosts: plan.hosts.iter().map(host).collect(),
            desks: plan.desks.iter().map(desk).collect(),
            log: VecDeque::new(),
            now_ms: 1234.5,
            busy: None,
            trouble: None,
        }
    }

    #[test]
    fn a_desk_shows_where_it_is_at_work_and_its_last_gap() {
        let mut view = view(3, 2);
        view.on_event(Event {
            session: Some("0123".into()),
            ..Event::new("attached").dtu("desk-2").host("host-a")
        });
        let over = Event::new("failed_over").dtu("desk-2").host("host-b");
        view.on_event(Event { gap_ms: Some(7.5), session: Some("4567".into()), ..over });
        let desk = &view.desks[1];
        assert_eq!(
            (desk.state.as_str(), desk.host.as_deref(), desk.gap_ms),
            ("at work", Some("host-b"), Some(7.5))
        );
        assert_eq!(desk.session.as_deref(), Some("4567"));
        view.on_event(Event::new("removed").dtu("desk-2"));
        assert_eq!((view.desks[1].host.as_deref(), view.log.len()), (None, 3));
    }

    #[test]
    fn a_dead_host_thinks_nothing_and_a_desk_that_is_off_shows_nothing() {
        let mut view = view(2, 1);
        view.set_power("host-a", Power::Off);
        assert!(view.hosts[0].thinks.is_empty());
        view.desks[0].screen = "secret".to_owned();
        view.set_power("desk-1", Power::Off);
        assert_eq!(view.desks[0].screen, "");
    }

    #[test]
    fn the_log_is_bounded() {
        let mut view = view(1, 1);
        for _ in 0..LOG_MAX * 2 {
            view.on_event(Event::new("x"));
        }
        assert_eq!(view.log.len(), LOG_MAX);
    }
}
