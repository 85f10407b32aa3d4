//! What a session of the class `replicated` gives to the host that keeps it, and what waits for that.
//!
//! What programs say of themselves arrives as whole versions ([`SessionCore::committed`]). Of a screen a version is made
//! only when one can be sent ([`SessionCore::screens_due`], [`SessionCore::screen_is`]), so output is never encoded more
//! often than round trips take, however much of it there is.

use std::sync::Arc;

use continuity::{DecodeError, Encoded, NotEncoded, Object, Stamp, Times, Version};
use proto::frame::Size;
use proto::time::{Duration, earliest};
use proto::{Epoch, Instant, Nonce, ServiceName};

use super::{Effect, SessionCore, Slot, Still};
use crate::control::{Acknowledged, Beginning, Bytes, FromSession, Kind, Part, Protection};
use crate::copies::{Copies, CopyEffect};
use crate::display::{DisplayFeed, Extent};
use crate::screen::{OUTPUT_MAX, PICTURE_MAX, Screen, Whereabouts};
use crate::template::{Command, Display, Service};

/// A program that was started by what is on the screen runs a little later; it is looked for once more after this.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// The daemon is told so often, while there is something new, how long acknowledgements have taken.
const SAY_TIMES_EVERY: Duration = Duration::from_secs(1);

/// A daemon gives up a secondary after 200 ms and says so. One that has said nothing a moment later does not run.
const DAEMON_WITHIN: Duration = Duration::from_millis(250);
/// What is said of it.
const DAEMON_SILENT: &str = "held: the host's daemon does not answer";

/// Longest picture where that and all else do not fit an object.
const PICTURE_SHORT_MAX: usize = 8 * 1024;

/// How the session is kept, if it is of the class `replicated`.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// From the beginning on.
    copies: Option<Copies>,
    epoch: Epoch,
    /// What whoever looks at the session has to know of how it is protected.
    word: Option<String>,
    /// What is held waits for a daemon that does not answer, and that was said.
    is_unanswered: bool,
    /// The host before has handed it over.
    is_moved: bool,
    /// Versions that programs have committed.
    pub(super) commits: u64,
    /// From the commits of programs until the secondary had them, and when the daemon is told.
    times: Times,
    say_times_at: Option<Instant>,
}

/// What of a service's screen is in the versions that were made of it.
#[derive(Debug, Default)]
pub(super) struct ScreenVersions {
    last: Version,
    picture: Arc<[u8]>,
    /// What was written since the picture was made.
    output: Vec<u8>,
    /// Run of the service, size, and how much had been written, when the last version was made.
    covered: Option<Written>,
    /// The same when somebody last looked whether there is something new.
    seen: Option<Written>,
    around: Whereabouts,
    under_way: Option<(Stamp, Written)>,
    look_at: Option<Instant>,
}

/// How far a service has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    stream: Nonce,
    size: Size,
    end: u64,
}

impl Written {
    fn by(feed: &DisplayFeed) -> Self {
        let Extent::Cells(size) = feed.extent();
        Self { stream: feed.stream(), size, end: feed.written() }
    }
}

/// How a service starts that ran at another host before.
#[derive(Debug, Default)]
pub(super) struct Returning {
    pub(super) directory: Option<String>,
    /// How people write and what time it is there, in the variables that it had.
    pub(super) variables: Vec<(String, String)>,
}

impl Returning {
    fn of(screen: &Screen, is_there: bool) -> Self {
        let text = core::str::from_utf8(&screen.around.environment).unwrap_or_default();
        let variables = text.split('\0').filter_map(|assignment| assignment.split_once('='));
        let counts = |name: &str| name == "LANG" || name == "TZ" || name.starts_with("LC_");
        Self {
            directory: screen.around.directory.clone().filter(|_| is_there),
            variables: variables
                .filter(|(name, _)| counts(name))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

/// Why what was kept of a part is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// It is no object.
    #[error(transparent)]
    Encoded(#[from] NotEncoded),
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// It is an object of another session or of another service.
    #[error("it belongs to another session or service")]
    Another,
}

fn screen_of(service: &ServiceName) -> Part {
    Part { service: service.clone(), kind: Kind::Screen }
}

impl SessionCore {
    /// A service of this name, as its template has it.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.slots.get(name).map(|slot| &slot.service)
    }

    /// Whether it may start services: one that is replicated waits for what another host kept of it.
    pub(super) fn has_begun(&self) -> bool {
        !self.spec.is_replicated() || self.keeping.copies.is_some()
    }

    /// A session of the class `replicated` begins, after what is restored was [shown](Self::returned).
    pub fn begin_kept(&mut self, now: Instant, beginning: &Beginning, out: &mut Vec<Effect>) {
        if self.keeping.copies.is_some() {
            return;
        }
        self.keeping.epoch = beginning.epoch;
        self.keeping.copies = Some(Copies::new(Protection::Alone));
        self.protect(now, beginning.protection, String::new(), out);
        self.start_required(out);
        let ran = |slot: &&Slot| !slot.service.required && slot.returning.is_some();
        let others: Vec<ServiceName> =
            self.slots.values().filter(ran).map(|s| s.service.name.clone()).collect();
        for name in others {
            self.start(&name, out);
        }
    }

    /// What was kept of a part at another host.
    ///
    /// # Errors
    /// See [`NotOurs`]; whoever kept it is at fault, or the session's user.
    pub fn open_kept(&self, part: &Part, object: &Bytes) -> Result<Object, NotOurs> {
        let object = Object::decode(&Encoded::open(&object.0)?)?;
        let head = &object.head;
        let is_ours = head.session == self.spec.session && head.service == part.service;
        is_ours.then_some(object).ok_or(NotOurs::Another)
    }

    /// What was kept of a part is of no use: whoever looks is told.
    pub fn not_returned(&mut self, part: &Part) {
        let what = match part.kind {
            Kind::State => "What was kept of what its programs said",
            Kind::Screen => "What was kept of this screen",
        };
        if let Some(slot) = self.slots.get_mut(&part.service) {
            slot.feed.restore(format!("{what} cannot be read.\r\n").as_bytes(), &[], false);
        }
    }

    /// The screen that a service had at the host `beginning` names. `elsewhere` is where it starts if its directory is not
    /// there. To be called before [`SessionCore::begin_kept`].
    pub fn returned(&mut self, beginning: &Beginning, object: &Object, elsewhere: Option<&str>) {
        let Some(slot) = self.slots.get_mut(&object.head.service) else { return };
        let Some(screen) = Screen::of(object).filter(|_| slot.service.display == Display::Terminal) else {
            return;
        };
        let mut above = if slot.service.required { Vec::new() } else { super::CLEAR.to_vec() };
        above.extend(screen.transcript());
        let is_moved = self.keeping.is_moved;
        let epitaph = screen.epitaph(beginning.lost.as_ref(), elsewhere, is_moved);
        above.extend(format!("\x1b[7m{epitaph}\x1b[m\r\n").into_bytes());
        slot.feed.restore(&above, &screen.input, is_moved && screen.is_still);
        if slot.service.required || screen.around.directory.is_some() {
            slot.returning = Some(Returning::of(&screen, elsewhere.is_none()));
        }
        slot.versions = Some(ScreenVersions { last: object.head.stamp.version, ..ScreenVersions::default() });
    }

    /// The host before has handed the session over.
    pub(super) const fn moves_here(&mut self) {
        self.keeping.is_moved = true;
    }

    /// A service runs from now on: its screen is kept too.
    pub(super) fn keep_screen(&mut self, name: &ServiceName, out: &mut Vec<Effect>) {
        let (Some(copies), Some(slot)) = (&mut self.keeping.copies, self.slots.get_mut(name)) else { return };
        if slot.service.display == Display::Terminal {
            copies.add(&screen_of(name));
            slot.versions.get_or_insert_default();
            if copies.holds() {
                slot.feed.hold();
            }
            self.act_on_copies(out);
        }
    }

    /// The session is protected in another way; `why` is for the person at the screen.
    pub(super) fn protect(&mut self, now: Instant, how: Protection, why: String, out: &mut Vec<Effect>) {
        let Some(copies) = &mut self.keeping.copies else { return };
        copies.protect(now, how);
        let was_unanswered = core::mem::take(&mut self.keeping.is_unanswered);
        for slot in self.slots.values_mut().filter(|slot| slot.versions.is_some()) {
            if copies.holds() { slot.feed.hold() } else { slot.feed.release_all() }
        }
        let word = match how {
            Protection::Alone if !why.is_empty() => Some(format!("unprotected: {why}")),
            Protection::Held => Some(format!("held: {why}")),
            _ => None,
        };
        // Filling does not protect yet: what was said holds on.
        if how != Protection::Filling {
            let was_told = self.keeping.word.is_some() || was_unanswered;
            let again = || was_told.then(|| "protected again".to_owned());
            if let Some(text) = word.clone().or_else(again) {
                self.slots.values_mut().for_each(|slot| slot.feed.notice(&text));
            }
            self.keeping.word = word;
        }
        self.act_on_copies(out);
    }

    /// Another daemon has taken the session up. What was on its way is lost with the one before: nothing is sent until this
    /// one says how the session is protected, and what waits goes on waiting.
    pub(super) fn taken_up(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(copies) = &mut self.keeping.copies else { return };
        copies.protect(now, if copies.holds() { Protection::Held } else { Protection::Alone });
        self.keeping.is_unanswered = false;
        self.still = self.still.map(|_| Still::Orphaned);
        self.act_on_copies(out);
    }

    /// What whoever begins to look has to know.
    pub(super) fn word(&self) -> Option<&str> {
        if self.keeping.is_unanswered { Some(DAEMON_SILENT) } else { self.keeping.word.as_deref() }
    }

    /// The session ends: nobody needs to go on with it, and nothing of it waits.
    pub(super) fn keep_no_longer(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.protect(now, Protection::Alone, String::new(), out);
    }

    /// The secondary keeps a version of a part.
    pub(super) fn protected(&mut self, now: Instant, part: &Part, stamp: Stamp, out: &mut Vec<Effect>) {
        if let Some(copies) = &mut self.keeping.copies {
            copies.protected(now, part, stamp);
            if core::mem::take(&mut self.keeping.is_unanswered) {
                self.slots.values_mut().for_each(|slot| slot.feed.notice("protected again"));
            }
            let before = self.keeping.times.count();
            self.act_on_copies(out);
            if self.keeping.times.count() > before {
                self.keeping.say_times_at.get_or_insert(now + SAY_TIMES_EVERY);
            }
            if self.still == Some(Still::Orphaned) {
                self.go_on(out);
            }
        }
    }

    /// The secondary needs the whole of a part.
    pub(super) fn whole(&mut self, now: Instant, part: &Part, out: &mut Vec<Effect>) {
        if let Some(copies) = &mut self.keeping.copies {
            copies.whole(now, part);
            self.act_on_copies(out);
        }
    }

    /// A program has committed a version of what it says of itself; [`Effect::Safe`] answers it.
    pub fn committed(
        &mut self,
        now: Instant,
        service: &ServiceName,
        version: Encoded,
        out: &mut Vec<Effect>,
    ) {
        self.keeping.commits += 1;
        let Some(copies) = &mut self.keeping.copies else {
            out.push(Effect::Safe(service.clone(), version.stamp()));
            return;
        };
        let part = Part { service: service.clone(), kind: Kind::State };
        copies.changed(now, &part);
        copies.made(now, &part, version);
        self.act_on_copies(out);
    }

    /// The services of whose screens a version is to be made now: [`SessionCore::screen_is`] makes it.
    pub fn screens_due(&mut self, now: Instant) -> Vec<ServiceName> {
        let Some(copies) = self.keeping.copies.as_mut().filter(|copies| copies.sends()) else {
            return Vec::new();
        };
        let mut due = Vec::new();
        for (name, slot) in &mut self.slots {
            let Some(versions) = &mut slot.versions else { continue };
            let (part, written) = (screen_of(name), Written::by(&slot.feed));
            if versions.seen.replace(written) != Some(written) {
                copies.changed(now, &part);
            }
            let looks = versions.look_at.is_some_and(|at| at <= now) && copies.is_free(&part);
            if looks || copies.is_due(now, &part) {
                due.push(name.clone());
            }
        }
        due
    }

    /// What is around a service's terminal now. Makes a version of its screen if there is something new.
    pub fn screen_is(
        &mut self,
        now: Instant,
        name: &ServiceName,
        around: Whereabouts,
        out: &mut Vec<Effect>,
    ) {
        let stands_still = self.stands_still();
        let (Some(copies), Some(slot)) = (&mut self.keeping.copies, self.slots.get_mut(name)) else { return };
        let Some(versions) = &mut slot.versions else { return };
        let part = screen_of(name);
        versions.look_at = None;
        if versions.around != around {
            versions.around = around;
            copies.changed(now, &part);
        }
        if !copies.is_due(now, &part) {
            return;
        }
        let was_covered = versions.covered;
        let mut screen = versions.draw(&mut slot.feed, command_of(&slot.service.command));
        screen.is_still = stands_still && slot.feed.ends_line();
        if versions.covered != was_covered {
            versions.look_at = Some(now + LOOK_AFTER);
        }
        versions.last = versions.last.next();
        let stamp = Stamp { epoch: self.keeping.epoch, version: versions.last };
        versions.under_way = versions.covered.map(|written| (stamp, written));
        let encode = |screen: &Screen| screen.to_object(self.spec.session, name, stamp).encode();
        let version =
            encode(&screen).or_else(|_| encode(&screen.shortened(slot.feed.picture(PICTURE_SHORT_MAX))));
        match version {
            Ok(version) => copies.made(now, &part, version),
            Err(_) => slot.feed.release_all(),
        }
        if slot.feed.take_answered() {
            out.push(Effect::Input(name.clone()));
        }
        self.act_on_copies(out);
    }

    /// Whether what a service writes is read now.
    #[must_use]
    pub fn takes_output(&self, name: &ServiceName) -> bool {
        self.slots.get(name).is_none_or(|slot| slot.feed.takes_output())
    }

    fn act_on_copies(&mut self, out: &mut Vec<Effect>) {
        let Some(copies) = &mut self.keeping.copies else { return };
        for effect in copies.take_effects() {
            match effect {
                CopyEffect::Parts(parts) => out.push(Effect::Tell(FromSession::Parts(parts))),
                CopyEffect::Send { part, update } => {
                    out.push(Effect::Tell(FromSession::Committed { part, update }));
                }
                CopyEffect::Acknowledged { service, after } => {
                    self.keeping.times.add(after);
                    out.push(Effect::Acknowledged(service, after));
                }
                CopyEffect::Safe { part: Part { service, kind: Kind::State }, stamp } => {
                    out.push(Effect::Safe(service, stamp));
                }
                CopyEffect::Safe { part: Part { service, kind: Kind::Screen }, stamp } => {
                    if let Some(slot) = self.slots.get_mut(&service) {
                        slot.release(stamp);
                    }
                }
            }
        }
    }

    /// Sends what has waited long enough.
    pub(super) fn send_due(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if let Some(copies) = &mut self.keeping.copies {
            copies.send_due(now);
            // It cannot strike the secondary from the record, so nothing may be shown without: but that is said.
            let is_late = copies.held_since().is_some_and(|since| since + DAEMON_WITHIN <= now);
            if is_late && !core::mem::replace(&mut self.keeping.is_unanswered, true) {
                self.slots.values_mut().for_each(|slot| slot.feed.notice(DAEMON_SILENT));
            }
            self.act_on_copies(out);
        }
        if self.keeping.say_times_at.take_if(|at| *at <= now).is_some() {
            let took = Acknowledged::of(&self.keeping.times);
            out.push(Effect::Tell(FromSession::Acknowledged(took)));
        }
    }

    /// When a version is to be made or sent though nothing happens.
    pub(super) fn keep_at(&self) -> Option<Instant> {
        let copies = self.keeping.copies.as_ref()?;
        let unsaid = copies.held_since().filter(|_| !self.keeping.is_unanswered);
        let first = earliest(copies.poll_at(), self.keeping.say_times_at);
        let first = earliest(first, unsaid.map(|since| since + DAEMON_WITHIN));
        self.slots.iter().fold(first, |at, (name, slot)| {
            let look_at = slot.versions.as_ref().and_then(|versions| versions.look_at);
            earliest(at, look_at.filter(|_| copies.is_free(&screen_of(name))))
        })
    }
}

impl Slot {
    /// A version of its screen is safe, and so is the output that is in it.
    fn release(&mut self, stamp: Stamp) {
        let Some(versions) = &mut self.versions else { return };
        if let Some((_, written)) = versions.under_way.take_if(|(under_way, _)| *under_way == stamp)
            && written.stream == self.feed.stream()
        {
            self.feed.release(written.end);
        }
    }
}

impl ScreenVersions {
    /// All that is to be kept of a screen now.
    fn draw(&mut self, feed: &mut DisplayFeed, command: String) -> Screen {
        feed.cover();
        let written = Written::by(feed);
        let news = self.covered.filter(|covered| Written { end: written.end, ..*covered } == written);
        let news = news.and_then(|covered| feed.since(covered.end));
        match news.filter(|news| self.output.len() + news.len() <= OUTPUT_MAX) {
            Some(news) => self.output.extend(news),
            None => {
                self.picture = feed.picture(PICTURE_MAX).into();
                self.output.clear();
            }
        }
        self.covered = Some(written);
        Screen {
            size: written.size,
            command,
            around: self.around.clone(),
            picture: Arc::clone(&self.picture),
            output: self.output.clone(),
            input: feed.input_applied(),
            is_still: false,
        }
    }
}

fn command_of(command: &Command) -> String {
    let text = match command {
        Command::LoginShell => "login shell".to_owned(),
        Command::Words(words) => words.join(" "),
    };
    proto::line::cut(&text, crate::screen::COMMAND_MAX).to_owned()
}

#[cfg(test)]
mod tests;
