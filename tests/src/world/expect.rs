//! What a scenario expects, and by when. What does not come true ends the test with the story of the run.

use dtu_emu::dtu::Phase;
use groupmgr::topology::Standing;
use proto::SessionId;

use super::parts::desk::DeskId;
use super::{Duration, World};

type Test = Box<dyn Fn(&World) -> bool>;

/// Something that is expected, with the words for its failure.
#[must_use = "an expectation is checked by within(), now() or throughout()"]
pub struct Goal<'w> {
    world: &'w mut World,
    what: String,
    test: Test,
}

impl Goal<'_> {
    /// It comes true within this time; says how long it took.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn within(self, time: Duration) -> Duration {
        match self.world.run_until(time, self.test) {
            Some(took) => {
                let line = format!("✓ {} after {:?}", self.what, took);
                self.world.history.tell(self.world.now, || line);
                took
            }
            None => self.world.fail(&format!("expected within {time:?}: {}", self.what)),
        }
    }

    /// It is true now.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn now(self) {
        if !(self.test)(self.world) {
            self.world.fail(&format!("expected now: {}", self.what));
        }
    }

    /// It is true now and stays so for this time.
    ///
    /// # Panics
    /// When it is not at any moment.
    #[track_caller]
    pub fn throughout(self, time: Duration) {
        let Self { world, what, test } = self;
        if let Some(after) = world.run_until(time, |w| !test(w)) {
            world.fail(&format!("expected for {time:?}, broken after {after:?}: {what}"));
        }
    }
}

/// What is expected of a desk.
#[must_use]
pub struct Expect<'w> {
    world: &'w mut World,
    desk: DeskId,
}

impl<'w> Expect<'w> {
    fn that(self, what: &str, test: impl Fn(&World, DeskId) -> bool + 'static) -> Goal<'w> {
        let desk = self.desk;
        let what = format!("{} {what}", self.world.desks[desk.0].name);
        Goal { world: self.world, what, test: Box::new(move |w| test(w, desk)) }
    }

    /// It is attached to this host and has its session on the screen.
    pub fn attached_to(self, host: &str) -> Goal<'w> {
        let host = host.to_owned();
        self.that(&format!("is attached to {host}"), move |w, d| {
            w.shows(d).is_some() && w.host_of(d).as_ref() == Some(&host)
        })
    }

    /// It is attached to some host.
    pub fn attached(self) -> Goal<'w> {
        self.that("is attached", |w, d| w.shows(d).is_some())
    }

    /// It is not attached.
    pub fn not_attached(self) -> Goal<'w> {
        self.that("is not attached", |w, d| w.host_of(d).is_none())
    }

    /// It shows this session.
    pub fn showing(self, session: SessionId) -> Goal<'w> {
        self.that(&format!("shows {}", session.short()), move |w, d| w.shows(d) == Some(session))
    }

    /// A text can be read on its screen.
    pub fn reading(self, text: &str) -> Goal<'w> {
        let text = text.to_owned();
        self.that(&format!("shows {text:?}"), move |w, d| w.can_read(d, &text))
    }

    /// Nothing can be read on its screen.
    pub fn blank(self) -> Goal<'w> {
        self.that("has a blank screen", |w, d| w.screen(d).is_empty())
    }

    /// It tells the person this.
    pub fn noticing(self, text: &str) -> Goal<'w> {
        let text = text.to_owned();
        self.that(&format!("tells {text:?}"), move |w, d| {
            w.notice(d).is_some_and(|notice| notice.contains(&text))
        })
    }

    /// It is doing this.
    pub fn in_phase(self, phase: Phase) -> Goal<'w> {
        self.that(&format!("is {phase}"), move |w, d| w.status(d).phase == phase)
    }
}

/// What is expected of a host.
#[must_use]
pub struct HostExpect<'w> {
    world: &'w mut World,
    host: String,
}

impl<'w> HostExpect<'w> {
    /// It thinks so of another one.
    pub fn thinking(self, other: &str, standing: Option<Standing>) -> Goal<'w> {
        let (host, other) = (self.host, other.to_owned());
        let what = format!("{host} has {other} as {standing:?}");
        Goal { world: self.world, what, test: Box::new(move |w| w.standing(&host, &other) == standing) }
    }

    /// Another one is up for it, in its present run.
    pub fn knowing(self, other: &str) -> Goal<'w> {
        let (host, other) = (self.host, other.to_owned());
        let what = format!("{host} knows {other} in its present run");
        Goal { world: self.world, what, test: Box::new(move |w| w.is_up_at(&host, &other)) }
    }

    /// It has counted something as refused for this reason.
    pub fn refusing(self, reason: &str) -> Goal<'w> {
        let (host, reason) = (self.host, reason.to_owned());
        let what = format!("{host} refuses something as {reason}");
        Goal { world: self.world, what, test: Box::new(move |w| w.refused(&host, &reason) > 0) }
    }
}

impl World {
    /// Something is expected of a desk.
    pub const fn expect(&mut self, desk: DeskId) -> Expect<'_> {
        Expect { world: self, desk }
    }

    /// Something is expected of a host.
    pub fn expect_host(&mut self, host: &str) -> HostExpect<'_> {
        let host = host.to_owned();
        HostExpect { world: self, host }
    }

    /// Something is expected that has no words of its own.
    pub fn expect_that(&mut self, what: &str, test: impl Fn(&Self) -> bool + 'static) -> Goal<'_> {
        Goal { world: self, what: what.to_owned(), test: Box::new(test) }
    }
}
