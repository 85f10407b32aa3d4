//! The thread that owns the lab and does what is ordered, one thing after another.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use super::view::{Shared, USERS};
use crate::world::{Card, LabError, Power, World, doing};

/// Something to be done to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) machine: String,
    pub(super) deed: Deed,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// The card of this user goes in; it leaves the desk that it is at.
    Insert(usize),
    /// The card comes out.
    Remove,
    /// These keys are pressed.
    Type(String),
    /// All its processes are killed.
    Kill,
    /// They are stopped; when they are already, they go on.
    Freeze,
    /// It is cut off.
    Cut,
    /// It is thawed and connected again.
    Heal,
    /// It is started, after a kill if it runs.
    Restart,
}

/// Starts the thread: it starts the lab, follows orders until nobody can give one any more, and ends the lab.
pub(super) fn start(world: World, shared: Shared, orders: Receiver<Order>) -> JoinHandle<()> {
    let mut worker = Worker { world, shared, cards: BTreeMap::new() };
    std::thread::spawn(move || {
        worker.set_up();
        while let Ok(order) = orders.recv() {
            let order = worker.with_more_keys(order, &orders);
            worker.follow(order);
        }
    })
}

struct Worker {
    world: World,
    shared: Shared,
    cards: BTreeMap<usize, Card>,
}

impl Worker {
    fn set_up(&mut self) {
        self.busy("starting the data store", |worker| worker.world.start_store());
        self.busy("starting the hosts", |worker| worker.world.start_hosts());
        self.busy("sharing a home directory", |worker| worker.world.share_home());
        let desks: Vec<String> = self.world.desks().map(str::to_owned).collect();
        for desk in desks {
            self.busy("switching desks on", |worker| worker.world.start_desk(&desk));
        }
    }

    /// Does something while the view says so; what went wrong stays there until something goes right.
    fn busy(&mut self, what: &str, task: impl FnOnce(&mut Self) -> Result<(), LabError>) {
        self.shared.update(|view| view.busy = Some(what.to_owned()));
        let trouble = task(self).err().map(|error| error.to_string());
        let machines: Vec<String> = self.world.hosts().chain(self.world.desks()).map(str::to_owned).collect();
        self.shared.update(|view| {
            view.busy = None;
            view.trouble = trouble;
            for machine in &machines {
                view.set_power(machine, self.world.power(machine));
            }
        });
    }

    /// Joins keys that were pressed at one desk while others were under way.
    fn with_more_keys(&mut self, order: Order, orders: &Receiver<Order>) -> Order {
        let Order { machine, deed: Deed::Type(mut keys) } = order else { return order };
        while let Ok(next) = orders.try_recv() {
            match next {
                Order { machine: same, deed: Deed::Type(more) } if same == machine => keys.push_str(&more),
                other => {
                    self.follow(Order { machine, deed: Deed::Type(keys) });
                    return self.with_more_keys(other, orders);
                }
            }
        }
        Order { machine, deed: Deed::Type(keys) }
    }

    fn follow(&mut self, Order { machine, deed }: Order) {
        let what = match deed {
            Deed::Insert(_) => "inserting a card",
            Deed::Remove => "removing a card",
            Deed::Type(_) => "typing",
            Deed::Kill => "killing",
            Deed::Freeze => "freezing",
            Deed::Cut => "cutting",
            Deed::Heal => "healing",
            Deed::Restart => "restarting",
        };
        self.busy(&format!("{what}: {machine}"), |worker| worker.perform(&machine, deed));
    }

    fn perform(&mut self, machine: &str, deed: Deed) -> Result<(), LabError> {
        let world = &mut self.world;
        match (deed, world.power(machine)) {
            (Deed::Insert(user), _) => self.insert(machine, user),
            (Deed::Remove, _) => self.remove(machine),
            (Deed::Type(keys), _) => world.type_text(machine, &keys),
            (Deed::Kill, _) => world.kill(machine).map(drop),
            (Deed::Freeze, Power::Frozen) => world.thaw(machine),
            (Deed::Freeze, _) => world.freeze(machine).map(drop),
            (Deed::Cut, _) => world.cut(machine).map(drop),
            (Deed::Heal, Power::Frozen) => world.thaw(machine).and_then(|()| world.heal(machine)),
            (Deed::Heal, _) => world.heal(machine),
            (Deed::Restart, power) => {
                if power != Power::Off {
                    world.kill(machine)?;
                }
                // It may have been cut off before it was killed.
                world.backend().heal(machine).map_err(doing("heal"))?;
                let is_host = world.hosts().any(|host| host == machine);
                if is_host { world.start_host(machine) } else { world.start_desk(machine) }
            }
        }
    }

    fn insert(&mut self, desk: &str, user: usize) -> Result<(), LabError> {
        let elsewhere = self.shared.update(|view| {
            view.desks.iter().find(|other| other.card == Some(user)).map(|other| other.name.clone())
        });
        if let Some(other) = elsewhere.filter(|other| other != desk) {
            self.remove(&other)?;
        }
        if !self.cards.contains_key(&user) {
            let card = self.world.new_card(USERS.get(user).copied().unwrap_or("nobody"))?;
            self.cards.insert(user, card);
        }
        if let Some(card) = self.cards.get(&user) {
            self.world.insert(desk, card)?;
        }
        self.set_card(desk, Some(user));
        Ok(())
    }

    fn remove(&mut self, desk: &str) -> Result<(), LabError> {
        self.world.remove(desk)?;
        self.set_card(desk, None);
        Ok(())
    }

    fn set_card(&self, desk: &str, card: Option<usize>) {
        self.shared.update(|view| {
            if let Some(desk) = view.desk_mut(desk) {
                desk.card = card;
            }
        });
    }
}
