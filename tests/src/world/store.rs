//! The data store, and each daemon's connection to it by the real client machine.
//!
//! The store can be killed, stopped, cut off from some hosts, and restored from a backup. A write that was under way
//! when it was killed may or may not have been done.

use datastore::client::{Client, ConnectError, Effect};
use datastore::once::EffectId;
use datastore::wire::{Call, FromStore};
use datastore::{Answer, Key, Prefix, Refusal, Request, Response, Value, WatchEvent};
use groupmgr::host::{ClaimRecord, Followed, Input, SessionRecord, StoreReq};
use proto::time::Duration;
use proto::{Epoch, Instant, SessionId};

use super::parts::machine::ToDaemon;
use super::parts::observation::Observation;
use super::parts::store::{Backup, News, Power, StoreNews};
use super::{Event, World};

/// How long a host waits for a connection to open.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// Which store it is.
const STORE: proto::StoreId = proto::StoreId(0x5707e);

impl World {
    /// Runs a step of a daemon's store client and does what follows from it.
    pub(super) fn drive_store(
        &mut self,
        host: usize,
        step: impl FnOnce(&mut Client, Instant, &mut Vec<Effect>),
    ) {
        let machine = &mut self.machines[host];
        let now = machine.own_time(self.now);
        let Some(running) = machine.daemon.running() else { return };
        let mut out = Vec::new();
        step(&mut running.store.client, now, &mut out);
        for effect in out {
            self.perform_store(host, effect);
        }
        let Some(running) = self.machines[host].daemon.running() else { return };
        let up = running.store.client.is_up();
        if core::mem::replace(&mut running.store.told, up) != up {
            self.feed(host, Input::StoreLink { up, store: Some(STORE) });
            if up {
                self.watch_registry(host);
            }
        }
        self.rearm(host);
    }

    /// Has the store that a host reaches say that it is `store`.
    pub fn set_store(&mut self, host: &str, store: proto::StoreId) {
        let host = self.host_number(host);
        let input = Input::StoreLink { up: true, store: Some(store) };
        self.reach_daemon(host, ToDaemon::Input(Box::new(input)));
    }

    /// Has a daemon follow login policy and registry, unless it does already.
    fn watch_registry(&mut self, host: usize) {
        let now = self.machines[host].own_time(self.now);
        let Some(running) = self.machines[host].daemon.running() else { return };
        if !running.store.watches.is_empty() {
            return;
        }
        let mut out = Vec::new();
        for prefix in authmgr::admission::watched() {
            let id = running.store.client.call(now, Request::Watch { prefix }, &mut out);
            running.store.watches.insert(id, false);
        }
        for effect in out {
            self.perform_store(host, effect);
        }
    }

    fn tell_followed(&mut self, host: usize, news: Followed) {
        self.tell_daemon(host, ToDaemon::Input(Box::new(Input::Followed(news))));
    }

    pub(super) fn ask_store(&mut self, host: usize, req: StoreReq, request: Request) {
        let machine = &mut self.machines[host];
        let now = machine.own_time(self.now);
        let Some(running) = machine.daemon.running() else { return };
        let mut out = Vec::new();
        let id = running.store.client.call(now, request, &mut out);
        running.store.asked.insert(id, req);
        for effect in out {
            self.perform_store(host, effect);
        }
    }

    fn perform_store(&mut self, host: usize, effect: Effect) {
        let reached = self.is_store_reached(host);
        let (delay, power) = (self.store.delay, self.store.power);
        let Some(running) = self.machines[host].daemon.running() else { return };
        match effect {
            Effect::Connect => {
                running.store.number += 1;
                let number = running.store.number;
                let (after, what) = match power {
                    Power::Runs if reached => (delay * 4, News::Connected),
                    Power::Dead if reached => (delay * 2, News::NotConnected("connection refused")),
                    _ => (CONNECT_WITHIN, News::NotConnected("no answer")),
                };
                self.store_news(host, after, StoreNews { number, what });
            }
            Effect::Send(call) => {
                let number = running.store.number;
                self.queue.put(self.now + delay, Event::StoreCall { host, number, call: Box::new(call) });
            }
            Effect::Disconnect => running.store.number += 1,
            Effect::Done { id, result } => {
                if let Some(req) = running.store.asked.remove(&id) {
                    let input = Input::Store { req, outcome: result };
                    self.tell_daemon(host, ToDaemon::Input(Box::new(input)));
                } else if let Some(has_begun) = running.store.watches.get_mut(&id) {
                    *has_begun = result.is_ok();
                    if running.store.watches.values().all(|begun| *begun) {
                        self.tell_followed(host, Followed::Anew);
                    } else if result.is_err() {
                        // Asked for again with the next connection.
                        running.store.watches.clear();
                    }
                }
            }
            Effect::Event { event: WatchEvent::Changed(event), .. } => {
                self.tell_followed(host, Followed::Changed(event));
            }
            Effect::Event { event: WatchEvent::Lagged, .. } => self.tell_followed(host, Followed::Anew),
            Effect::Ended { .. } => {
                running.store.watches.clear();
                self.tell_followed(host, Followed::Lost);
            }
        }
    }

    fn store_news(&mut self, host: usize, after: Duration, news: StoreNews) {
        let boot = self.machines[host].daemon.boot();
        self.queue.put(self.now + after, Event::Daemon { host, boot, what: ToDaemon::Store(news) });
    }

    fn is_store_reached(&self, host: usize) -> bool {
        !self.machines[host].is_store_cut && self.machines[host].has_power
    }

    pub(super) fn on_store_news(&mut self, host: usize, StoreNews { number, what }: StoreNews) {
        let reached = self.is_store_reached(host);
        let Some(running) = self.machines[host].daemon.running() else { return };
        if running.store.number != number {
            return;
        }
        match what {
            News::Connected if reached => self.drive_store(host, Client::connected),
            News::Connected => {
                self.store_news(host, CONNECT_WITHIN, StoreNews { number, what: News::NotConnected("cut") });
            }
            News::NotConnected(why) => self.drive_store(host, |client, now, out| {
                client.connect_failed(now, ConnectError::Unreachable(why.into()), out);
            }),
            News::Broken => self.drive_store(host, |client, now, out| {
                client.disconnected(now, "it was closed", out);
            }),
            News::Said(message) if reached => self.drive_store(host, |client, now, out| {
                client.received(now, message, out);
            }),
            News::Said(_) => {}
        }
    }

    /// A call arrives at the store.
    pub(super) fn on_store_call(&mut self, host: usize, number: u64, call: Call) {
        if !self.is_store_reached(host) {
            return;
        }
        match self.store.power {
            Power::Runs => self.serve(host, number, call),
            Power::Stopped => self.store.held.push_back((host, number, call)),
            Power::Dead => {
                self.store_news(host, self.store.delay, StoreNews { number, what: News::Broken });
            }
        }
    }

    /// A read is answered at once; a write is seen by nobody before it is on the disk.
    fn serve(&mut self, host: usize, number: u64, call: Call) {
        if call.request.is_write() {
            let request = &call.request;
            self.history.tell(self.now, || format!("store: {} asks {request:?}", self.machines[host].name));
            let at = self.now + self.store.fsync;
            self.queue.put(at, Event::StoreCommit { host, number, call: Box::new(call) });
        } else {
            self.apply(host, number, call);
        }
    }

    /// A write is on the disk, if the store still runs.
    pub(super) fn on_store_commit(&mut self, host: usize, number: u64, call: Call) {
        if self.store.power != Power::Dead {
            self.apply(host, number, call);
        }
    }

    fn apply(&mut self, host: usize, number: u64, Call { id, request }: Call) {
        let key = written_key(&request);
        if let Request::Watch { prefix } = &request {
            // What it watched by an earlier connection ended with that.
            self.store.watches.retain(|(of, connection, _), _| *of != host || *connection == number);
            self.store.watches.insert((host, number, id), prefix.clone());
        }
        let effect = effect_of(&request);
        let response = match &request {
            write if self.store.is_full && write.is_write() => {
                self.answer_of_store(Answer::Failed(Refusal::no_room().into()))
            }
            Request::Status => {
                let full = u64::from(self.store.is_full);
                self.answer_of_store(Answer::Status(vec![("refuses_writes_disk_full".into(), full)]))
            }
            _ => self.write(request),
        };
        if !matches!(response.answer, Answer::Lost { .. })
            && let Some(token) = key.as_deref().and_then(|key| key.strip_prefix("claim/"))
        {
            self.observe(|w| {
                Some(Observation::Claimed { token: token.to_owned(), claim: w.claim_on(token) })
            });
        }
        if let Some((session, effect, believed)) = effect
            && matches!(response.answer, Answer::Stored)
        {
            self.observe(|w| {
                let recorded = w.record_of(session).map(|record| record.epoch);
                Some(Observation::Effect { session, effect, believed, recorded })
            });
        }
        if !matches!(response.answer, Answer::Lost { .. })
            && let Some(session) = key.and_then(|key| SessionRecord::session_of(&key.parse().ok()?))
        {
            self.observe(|w| {
                Some(Observation::Recorded { session, record: w.record_of(session).map(Box::new) })
            });
        }
        let what = News::Said(FromStore::Reply { id, response });
        self.store_news(host, self.store.delay + self.store.slowness, StoreNews { number, what });
    }

    /// Does a request, and tells whoever watches.
    fn write(&mut self, request: Request) -> Response {
        let mut changed = Vec::new();
        let response = self.store.data.apply(request, &mut changed);
        let after = self.store.delay + self.store.slowness;
        for event in changed {
            let concerned = |(_, prefix): &(_, &Prefix)| prefix.holds(&event.change.key);
            let watches = self.store.watches.iter().filter(concerned);
            for (host, number, watch) in watches.map(|(at, _)| *at).collect::<Vec<_>>() {
                let event = WatchEvent::Changed(event.clone());
                let what = News::Said(FromStore::Event { watch, event });
                self.store_news(host, after, StoreNews { number, what });
            }
        }
        response
    }

    fn answer_of_store(&mut self, answer: Answer) -> Response {
        Response { answer, ..self.write(Request::Ping) }
    }

    /// The store's disk is full, or has room again.
    pub fn fill_store(&mut self, is_full: bool) {
        self.history.tell(self.now, || format!("the store's disk is full: {is_full}"));
        self.store.is_full = is_full;
    }

    /// Kills the store: connections break, new ones are refused.
    pub fn kill_store(&mut self) {
        self.history.tell(self.now, || "the store is killed".into());
        self.store.power = Power::Dead;
        self.store.held.clear();
        self.break_store_links();
    }

    /// Stops the store: it says nothing until it runs on.
    pub fn stop_store(&mut self) {
        self.history.tell(self.now, || "the store is stopped".into());
        self.store.power = Power::Stopped;
    }

    /// The store runs again.
    pub fn start_store(&mut self) {
        self.history.tell(self.now, || "the store runs".into());
        self.store.power = Power::Runs;
        for (host, number, call) in core::mem::take(&mut self.store.held) {
            self.serve(host, number, call);
        }
    }

    /// Nothing passes between a host and the store, or again.
    pub fn cut_store(&mut self, host: &str, cut: bool) {
        self.history.tell(self.now, || format!("{host} and the store: cut {cut}"));
        let host = self.host_number(host);
        self.machines[host].is_store_cut = cut;
    }

    /// Every answer of the store takes so much longer.
    pub fn slow_down_store(&mut self, by: Duration) {
        self.history.tell(self.now, || format!("the store is slower by {by:?}"));
        self.store.slowness = by;
    }

    /// What a write costs the store.
    pub const fn set_fsync(&mut self, time: Duration) {
        self.store.fsync = time;
    }

    /// A copy of the store's data.
    #[must_use]
    pub fn back_up_store(&self) -> Backup {
        Backup(self.store.data.clone())
    }

    /// Restarts the store with a backup's data.
    pub fn restore_store(&mut self, backup: Backup) {
        self.history.tell(self.now, || "the store is restored from a backup".into());
        self.store.data.restore(backup.0);
        self.see(Observation::Restored);
        self.break_store_links();
    }

    fn break_store_links(&mut self) {
        for host in 0..self.machines.len() {
            let Some(running) = self.machines[host].daemon.alive() else { continue };
            if self.is_store_reached(host) {
                let number = running.store.number;
                self.store_news(host, self.store.delay, StoreNews { number, what: News::Broken });
            }
        }
    }

    /// The claim of a token, without asking anybody.
    #[must_use]
    pub fn claim_on(&self, token: &str) -> Option<ClaimRecord> {
        ClaimRecord::parse(self.stored(&format!("claim/{token}"))?.as_bytes()).ok()
    }

    /// The claims of all tokens, without asking anybody.
    #[must_use]
    pub fn claims(&self) -> Vec<(String, ClaimRecord)> {
        let entries = self.store.data.iter().filter_map(|(key, value)| {
            let token = key.as_str().strip_prefix("claim/")?;
            Some((token.to_owned(), ClaimRecord::parse(value.as_bytes()).ok()?))
        });
        entries.collect()
    }

    /// The records of all sessions, without asking anybody.
    #[must_use]
    pub fn records(&self) -> Vec<(SessionId, SessionRecord)> {
        let entries = self.store.data.iter().filter_map(|(key, value)| {
            Some((SessionRecord::session_of(key)?, SessionRecord::parse(value.as_bytes()).ok()?))
        });
        entries.collect()
    }

    /// The record of a session, without asking anybody.
    #[must_use]
    pub fn record_of(&self, session: SessionId) -> Option<SessionRecord> {
        let value = self.store.data.get(&SessionRecord::key(session)?)?;
        SessionRecord::parse(value.as_bytes()).ok()
    }

    /// What the store holds under a key, without asking it.
    #[must_use]
    pub fn stored(&self, key: &str) -> Option<String> {
        let key: Key = key.parse().ok()?;
        self.store.data.get(&key).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// Takes a value out of the store, past all hosts.
    pub fn store_delete(&mut self, key: &str) {
        if let Ok(key) = key.parse() {
            self.write(Request::Delete { key });
        }
    }

    /// Puts a value into the store, past all hosts.
    pub fn store_put(&mut self, key: &str, text: &str) {
        if let (Ok(key), Ok(value)) = (key.parse(), Value::new(text.as_bytes())) {
            self.write(Request::Put { key, value });
        }
    }
}

/// The key that a request writes, if it writes one.
fn written_key(request: &Request) -> Option<String> {
    match request {
        Request::Put { key, .. } | Request::Swap { key, .. } | Request::Delete { key } => {
            Some(key.as_str().to_owned())
        }
        Request::Guarded { write, .. } => Some(write.key().as_str().to_owned()),
        _ => None,
    }
}

/// Whose effect a request is, and in which epoch its host believes the session to be.
fn effect_of(request: &Request) -> Option<(SessionId, EffectId, Epoch)> {
    let Request::Once { guard: Some(guard), effect, .. } = request else { return None };
    let believed = Epoch { generation: guard.generation, counter: guard.counter };
    Some((SessionRecord::session_of(&guard.key)?, effect.clone(), believed))
}
