//! Hosts that should not be as they are: a second one of a name, and one that can make no session.

use groupmgr::fitness::{Condition, Finding};
use groupmgr::host::Input;
use proto::lack::Lack;

use super::parts::machine::ToDaemon;
use super::parts::observation::Observation;
use super::{Rule, Way, World};

impl World {
    /// By what name the world knows the second host of a name.
    fn name_of_second(host: &str) -> String {
        format!("{host}-second")
    }

    /// Starts a second host of a name on the same LANs, as a cloned machine does. A deaf one does not hear the first.
    pub fn start_second(&mut self, host: &str, is_deaf: bool) {
        self.history.tell(self.now, || format!("— a second {host} starts, deaf: {is_deaf}"));
        let second = Self::name_of_second(host);
        if !self.by_name.contains_key(&second) {
            let mut plan = self.machines[self.host_number(host)].plan.clone();
            (plan.name, plan.called, plan.keep, plan.is_off) =
                (second.clone(), Some(host.to_owned()), false, true);
            self.add_host(plan);
        }
        self.set_deaf(&second, is_deaf);
        self.start(&second);
    }

    /// It hears from now on.
    pub fn second_hears(&mut self, host: &str) {
        self.set_deaf(&Self::name_of_second(host), false);
    }

    fn set_deaf(&mut self, host: &str, cut: bool) {
        let number = self.host_number(host);
        for cable in self.machines[number].cables.clone() {
            self.rule_cable(cable, Way::In, Rule { cut, ..Rule::default() });
        }
    }

    /// Ends it, if it still runs.
    pub fn stop_second(&mut self, host: &str) {
        self.kill(&Self::name_of_second(host));
    }

    /// Whether a second host of a name runs.
    #[must_use]
    pub fn has_second(&self, host: &str) -> bool {
        let second = self.by_name.get(&Self::name_of_second(host));
        second.is_some_and(|second| self.machines[*second].daemon.alive().is_some())
    }

    /// Whether both hosts of a name run, and can hear and be heard by everybody.
    #[must_use]
    pub fn are_both_well(&self, host: &str) -> bool {
        let second = self.by_name.get(&Self::name_of_second(host)).copied();
        [Some(self.host_number(host)), second].into_iter().all(|n| n.is_some_and(|n| self.is_machine_well(n)))
    }

    /// The names that a host says two have.
    #[must_use]
    pub fn doubles_at(&self, host: &str) -> Vec<String> {
        let Some(running) = self.machines[self.host_number(host)].daemon.alive() else { return Vec::new() };
        running
            .core
            .doubles(self.machines[self.host_number(host)].own_time(self.now))
            .into_iter()
            .map(|d| d.host.to_string())
            .collect()
    }

    /// The spawner of a host is gone, or there is another one.
    pub fn set_spawner_gone(&mut self, host: &str, gone: bool) {
        self.history.tell(self.now, || format!("— the spawner of {host} is gone: {gone}"));
        let number = self.host_number(host);
        self.machines[number].is_spawner_gone = gone;
        self.observe(|w| Some(Observation::Spawner { host: w.names[number].clone(), gone }));
        let how = if gone { Condition::Wrong("it is gone".to_owned()) } else { Condition::Well };
        let input = Input::Found(vec![Finding { of: Lack::Spawner, how }]);
        self.tell_daemon(number, ToDaemon::Input(Box::new(input)));
    }
}
