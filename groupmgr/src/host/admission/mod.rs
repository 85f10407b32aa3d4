//! Whether a token is genuine and allowed, and from which template its sessions are made.
//!
//! Owns authmgr's knowledge of policy and registry, keeps it up to date with the data store, and remembers templates.

mod admitting;
mod entrants;
mod registry;
mod templates;

pub(super) use registry::CHANGES_MAX;
pub(super) use templates::TEMPLATES_MAX;

use authmgr::admission::{
    DtuProof, Part, Record, dtu_key, dtu_of, is_removal, policy_key, token_key, token_of,
};
use authmgr::{Admission, Denial, Lookup, StoreAway, Verdict};
use datastore::{Answer, Event, Key, Page, Request, Response, StoreError, Value};
use proto::time::Duration;
use proto::{Instant, Token};

use super::admin::Reply;
use super::driver::{AdminReq, Followed, Port};
use super::env::Ctx;
use super::note::Note;
use super::out::Out;
use super::port::{Arrival, StorePort, away, unanswered};
use super::step::{Asker, Judgement, ToAdmission, ToOperations, ToPresentations};
use entrants::Entrants;
use proto::rng::SecretRng;
use registry::{Change, Listing, Registry};
use templates::Templates;

/// How often policy and registry are read again, or while they are watched, whether the watch still holds is checked.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How soon, when that failed.
const LIST_AGAIN: Duration = Duration::from_secs(1);

/// What the store is asked for.
#[derive(Clone, Debug)]
enum Wanted {
    /// The registry's record of a token.
    Record(Asker, Token),
    /// The key that is pinned to the serial of a DTU.
    Pinned(Asker),
    /// That the key of a DTU is pinned to its serial, as this record says.
    Pin(Asker, Value),
    Template(Asker, String),
    Policy,
    /// A page of a listing of the registry.
    Page {
        listing: u64,
        part: Part,
    },
    /// An operator wants to be sure that a change holds here.
    Follow(AdminReq, Key),
}

/// The machine that answers for the registry: authmgr's judgement, and what it is kept up to date with.
#[derive(Debug)]
pub(super) struct Gatekeeper {
    admission: Admission,
    registry: Registry,
    templates: Templates,
    entrants: Entrants,
    port: StorePort<Wanted>,
}

impl Gatekeeper {
    pub(super) fn new(now: Instant, entropy: SecretRng) -> Self {
        Self {
            admission: Admission::new(entropy),
            registry: Registry::new(now),
            templates: Templates::default(),
            entrants: Entrants::default(),
            port: StorePort::new(Port::Admission),
        }
    }

    /// Changes and templates remembered, requests under way, tokens that wait for them, and addresses for whose DTUs keys
    /// were pinned, for the bounds check.
    pub(super) fn sizes(&self) -> [usize; 5] {
        let Self { admission, registry, templates, entrants, port } = self;
        [registry.changes(), templates.len(), port.len(), entrants.len(), admission.pinned_for()]
    }

    pub(super) fn awaits(&self, seq: u64) -> bool {
        self.port.awaits(seq)
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 2] {
        [("registry", self.registry.due), ("admission, unanswered", self.port.poll_at())]
    }

    pub(super) fn handle(&mut self, ctx: &Ctx<'_>, step: ToAdmission, out: &mut Out<'_>) {
        match step {
            ToAdmission::Admit { asker, token, dtu } => self.admit(ctx, asker, token, dtu, out),
            ToAdmission::Template { asker, name } => self.fetch_template(ctx, asker, name, out),
            ToAdmission::Follow { req, key } => self.follow(ctx, req, key, out),
            ToAdmission::Followed(news) => self.on_followed(ctx, news, out),
            ToAdmission::StoreUp => self.registry.read_at(ctx.now),
            ToAdmission::Stored { seq, outcome } => {
                if let Some(Arrival::InTime(wanted)) = self.port.arrived(seq) {
                    self.on_stored(ctx, wanted, *outcome, out);
                }
            }
            ToAdmission::Due => {
                while let Some(wanted) = self.port.overdue(ctx.now, out) {
                    self.on_stored(ctx, wanted, Err(unanswered()), out);
                }
                self.read_registry(ctx, out);
            }
        }
    }

    /// Asks the store, unless it is away: then that is the answer.
    fn ask(&mut self, ctx: &Ctx<'_>, wanted: Wanted, request: Request, out: &mut Out<'_>) {
        let refused =
            if ctx.store.is_up() { self.port.ask(ctx.now, wanted, request, out).err() } else { Some(wanted) };
        if let Some(wanted) = refused {
            self.on_stored(ctx, wanted, Err(away("it does not reach the data store")), out);
        }
    }

    fn on_stored(
        &mut self,
        ctx: &Ctx<'_>,
        wanted: Wanted,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        match wanted {
            Wanted::Record(asker, token) => {
                let record = self.newest_of(&token_key(&token), outcome);
                let verdict = self.admission.on_record(ctx.now, &token, record);
                self.on_token_judged(ctx, asker, verdict, out);
            }
            Wanted::Pinned(asker) => self.on_pinned_read(ctx, asker, outcome, out),
            Wanted::Pin(asker, new) => self.on_pin_tried(ctx, asker, new, outcome, out),
            Wanted::Template(asker, name) => {
                let found = match outcome {
                    Ok(Response { answer: Answer::Value(value), .. }) => {
                        self.templates.put(ctx.now, &name, value.as_ref()).map(|ignored| {
                            for what in ignored {
                                let what = what.to_string();
                                out.note(Note::TemplateIgnored { template: name.clone(), what });
                            }
                        })
                    }
                    // Away: what was fetched before has to do, else the default.
                    _ => Ok(()),
                };
                self.tell_template(asker, &name, found, out);
            }
            Wanted::Policy => self.on_policy(ctx, outcome, out),
            Wanted::Page { listing, part } => self.on_page(ctx, (listing, part), outcome, out),
            Wanted::Follow(req, key) => self.on_follow(ctx, req, &key, outcome, out),
        }
    }

    fn tell_verdict(&self, ctx: &Ctx<'_>, asker: Asker, verdict: Verdict, out: &mut Out<'_>) {
        let policy = self.admission.policy();
        let is_early = verdict == Verdict::Refuse(Denial::StoreAway) && policy.is_none();
        // Just after its start a host has not yet read the policy, which is a matter of a round trip.
        let judgement =
            Box::new(if is_early && ctx.store.is_up() { Judgement::NotYet } else { verdict.into() });
        match asker {
            Asker::Presentation(id) => out.step(ToPresentations::Verdict { id, judgement }),
            Asker::Operator(req) => out.step(ToOperations::Verdict { req, judgement, policy }),
        }
    }

    fn fetch_template(&mut self, ctx: &Ctx<'_>, asker: Asker, name: String, out: &mut Out<'_>) {
        // Who orders a session may have changed the template a moment ago.
        if matches!(asker, Asker::Presentation(_)) && self.templates.is_fresh(ctx.now, &name) {
            return self.tell_template(asker, &name, Ok(()), out);
        }
        match format!("template/{name}").parse() {
            Ok(key) => self.ask(ctx, Wanted::Template(asker, name), Request::Get { key }, out),
            Err(_) => {
                let why = format!("{name:?} cannot name a template");
                self.tell_template(asker, &name, Err(why), out);
            }
        }
    }

    fn tell_template(&self, asker: Asker, name: &str, found: Result<(), String>, out: &mut Out<'_>) {
        let result = found.map(|()| Box::new(self.templates.get(name)));
        match asker {
            Asker::Presentation(id) => {
                out.step(ToPresentations::Template { id, name: name.to_owned(), result });
            }
            Asker::Operator(req) => out.step(ToOperations::Template { req, result }),
        }
    }

    /// Reads policy and registry when it is time.
    fn read_registry(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        if self.registry.due.is_none_or(|at| at > ctx.now) {
            return;
        }
        self.registry.due = Some(ctx.now + LIST_EVERY);
        // Its answer also says that the connection lives, on which changes are told, and that the store is back.
        if self.port.ask(ctx.now, Wanted::Policy, Request::Get { key: policy_key() }, out).is_err()
            || !self.registry.catches_up()
        {
            return;
        }
        self.registry.listing = Listing::UnderWay;
        self.registry.number += 1;
        self.admission.listing_begins(ctx.now);
        self.list(ctx, Part::Tokens, None, out);
    }

    fn list(&mut self, ctx: &Ctx<'_>, part: Part, after: Option<Key>, out: &mut Out<'_>) {
        let request = Request::Scan { prefix: part.prefix(), after, limit: Page::ENTRIES_MAX };
        let page = Wanted::Page { listing: self.registry.number, part };
        if self.port.ask(ctx.now, page, request, out).is_err() {
            self.registry.read_at(ctx.now + LIST_AGAIN);
        }
    }

    /// The policy was read.
    fn on_policy(&mut self, ctx: &Ctx<'_>, outcome: Result<Response, StoreError>, out: &mut Out<'_>) {
        let revision = outcome.as_ref().ok().map(|response| response.revision);
        let before = self.admission.policy();
        let policy = self.newest_of(&policy_key(), outcome);
        match &policy {
            Err(StoreAway) => self.registry.read_at(ctx.now + LIST_AGAIN),
            Ok(_) if !self.registry.catches_up() => {
                for part in Part::ALL {
                    self.admission.is_whole(ctx.now, part);
                }
            }
            Ok(_) => {}
        }
        self.take_policy(policy.as_ref().map(Option::as_ref).map_err(|away| *away), out);
        let has_changed = before.is_some() && before != self.admission.policy();
        if let (Ok(value), Some(revision)) = (policy, revision)
            && has_changed
            && self.registry.catches_up()
        {
            let change = Change::of(revision, value);
            self.registry.remember(policy_key(), change.clone());
            self.note_policy(change, true, out);
        }
    }

    fn take_policy(&mut self, policy: Result<Option<&Value>, StoreAway>, out: &mut Out<'_>) {
        if self.admission.on_policy(policy.map(|value| value.map(Value::as_bytes))).is_err() {
            out.refused("bad_policy");
        }
    }

    fn on_page(
        &mut self,
        ctx: &Ctx<'_>,
        (listing, part): (u64, Part),
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        if listing != self.registry.number {
            return;
        }
        let Ok(Response { answer: Answer::Page(page), revision, .. }) = outcome else {
            self.registry.read_at(ctx.now + LIST_AGAIN);
            return;
        };
        for (key, value) in &page.entries {
            let newest = self.registry.newest(key, revision, Some(value.clone()));
            if self.admission.learn_listed(ctx.now, key, newest.clone()) {
                self.note_missed(key, Change::of(revision, newest), out);
            }
        }
        match page.entries.last() {
            Some((key, _)) if page.more => self.list(ctx, part, Some(key.clone()), out),
            _ => {
                for key in self.admission.is_whole(ctx.now, part) {
                    self.note_missed(&key, Change::of(revision, None), out);
                }
                if part == Part::Tokens {
                    return self.list(ctx, Part::Dtus, None, out);
                }
                if self.registry.listing == Listing::UnderWay {
                    self.registry.listing = Listing::Complete;
                }
            }
        }
    }

    /// The watch of policy and registry has news.
    fn on_followed(&mut self, ctx: &Ctx<'_>, news: Followed, out: &mut Out<'_>) {
        match news {
            Followed::Anew => {
                self.registry.watched = true;
                self.registry.forget_changes();
                self.registry.read_at(ctx.now);
            }
            Followed::Lost => {
                self.registry.watched = false;
                self.registry.read_at(ctx.now);
            }
            Followed::Changed(Event { revision, change }) => {
                let key = change.key;
                let mut change = Change::of(revision, change.value);
                // A listing was quicker.
                if self.registry.knows(&key, revision) {
                    return;
                }
                let before = self.registry.remember(key.clone(), change.clone());
                if key == policy_key() {
                    self.take_policy(Ok(change.value.as_ref()), out);
                    self.note_policy(change, false, out);
                } else {
                    self.admission.learn(ctx.now, &key, change.value.clone());
                    // Who deletes a record writes so first, and signs that.
                    change.by = change.by.or_else(|| before.filter(|_| change.value.is_none())?.by);
                    note_record(&key, change, false, out);
                }
            }
        }
    }

    /// The policy that was just taken in is another one than before.
    fn note_policy(&self, Change { value, by, .. }: Change, late: bool, out: &mut Out<'_>) {
        let policy = self.admission.policy().filter(|_| value.is_some());
        let policy = policy.map(|policy| policy.to_line().to_string());
        out.note(Note::PolicyChanged { policy, by, late });
    }

    /// A listing has found a change that was not told.
    fn note_missed(&mut self, key: &Key, change: Change, out: &mut Out<'_>) {
        self.registry.remember(key.clone(), change.clone());
        note_record(key, change, true, out);
    }

    /// What the data store has under `key`, by its answer or by a newer change.
    fn newest_of(
        &self,
        key: &Key,
        outcome: Result<Response, StoreError>,
    ) -> Result<Option<Value>, StoreAway> {
        match outcome {
            Ok(Response { answer: Answer::Value(value), revision, .. }) => {
                Ok(self.registry.newest(key, revision, value))
            }
            _ => Err(StoreAway),
        }
    }

    /// An operator wants to be sure that a change of `key` holds here.
    fn follow(&mut self, ctx: &Ctx<'_>, req: AdminReq, key: Key, out: &mut Out<'_>) {
        if key != policy_key() && token_of(&key).is_none() && dtu_of(&key).is_none() {
            let why = format!("{key} is neither the login policy nor a token's record nor a DTU's key");
            out.answer(req, Reply::Refused(why));
        } else if !ctx.store.is_up() {
            out.answer(req, Reply::Refused("it does not reach the data store".into()));
        } else {
            self.ask(ctx, Wanted::Follow(req, key.clone()), Request::Get { key }, out);
        }
    }

    fn on_follow(
        &mut self,
        ctx: &Ctx<'_>,
        req: AdminReq,
        key: &Key,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        let reply = match &outcome {
            Ok(Response { answer: Answer::Value(_), generation, revision, .. }) => Reply::Follows {
                generation: generation.0,
                revision: revision.0,
                store: ctx.config.identity.store.to_string(),
            },
            Ok(_) => Reply::Refused("the data store answered something else".into()),
            Err(error) => Reply::Refused(error.to_string()),
        };
        if let Ok(value) = self.newest_of(key, outcome) {
            match *key == policy_key() {
                true => self.take_policy(Ok(value.as_ref()), out),
                false => self.admission.learn(ctx.now, key, value),
            }
        }
        out.answer(req, reply);
    }
}

/// Says what is registered under a key now, unless it is only marked for deletion. That a DTU's key was pinned is said by
/// the host that did it.
fn note_record(key: &Key, Change { value, by, .. }: Change, late: bool, out: &mut Out<'_>) {
    if value.as_ref().is_some_and(|value| is_removal(value.as_bytes())) {
        return;
    }
    let Some(token) = token_of(key) else {
        if let Some(serial) = dtu_of(key).filter(|_| value.is_none()) {
            out.note(Note::DtuForgotten { serial, by, late });
        }
        return;
    };
    let record = value.map(|value| match Record::from_bytes(&token, value.as_bytes()) {
        Ok(record) => record.summary(),
        Err(error) => format!("damaged: {error}"),
    });
    out.note(Note::RegistryChanged { token, record, by, late });
}
