//! A lab with a few more words: what scenarios do and expect.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use groupmgr::host::admin::{Command, Reply};
use groupmgr::topology::{RowView, Standing};
use lab::backend::Ground;
use lab::plan::Plan;
use lab::timeline::{Cursor, Event};
use lab::world::{Card, World};

/// Why a scenario failed, in one line or more.
pub(crate) type Trouble = Box<dyn std::error::Error>;
pub(crate) type Played = Result<(), Trouble>;

/// Many times what anything here should take: these tests decide whether it happens, not how quickly.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// How often a host's table is looked at again; there is no event to wait for inside another process.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(crate) struct Scene {
    pub(crate) world: World,
    marks: Cell<u32>,
}

impl Scene {
    /// Everything of the plan started: the store, the hosts in sight of each other, the desks at work.
    pub(crate) fn start(plan: Plan, binary: PathBuf) -> Result<Self, Trouble> {
        let mut scene = Self::not_started(plan, binary)?;
        let started = scene.world.start_all();
        scene.explain(started.map_err(Into::into))?;
        let desks: Vec<String> = scene.world.desks().map(str::to_owned).collect();
        for desk in desks {
            scene.expect(&desk, Cursor::default(), "shown its session", |e| e.is("shown"))?;
            scene.shell_at(&desk)?;
        }
        Ok(scene)
    }

    /// The plan's machines and wires, and nothing that runs on them.
    pub(crate) fn not_started(plan: Plan, binary: PathBuf) -> Result<Self, Trouble> {
        Ok(Self { world: World::new(plan, Ground::Namespaces, binary)?, marks: Cell::new(0) })
    }

    /// Adds the ends of all logs to an error.
    fn explain<T>(&self, result: Result<T, Trouble>) -> Result<T, Trouble> {
        result.map_err(|error| {
            let machines = self.world.hosts().chain(self.world.desks()).chain(["store"]);
            let logs = machines.map(|machine| format!("--- {machine}\n{}\n", self.world.log(machine)));
            format!("{error}\n{}", logs.collect::<String>()).into()
        })
    }

    pub(crate) fn now(&self) -> Cursor {
        self.world.timeline().end()
    }

    /// Waits for something at a desk since `from`.
    pub(crate) fn expect(
        &self,
        desk: &str,
        from: Cursor,
        what: &str,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, Trouble> {
        self.explain(self.world.wait_for_desk(desk, from, what, PATIENCE, wanted).map_err(Into::into))
    }

    /// Waits until a desk has failed over since `from`; returns the host it is on now.
    pub(crate) fn failed_over(&self, desk: &str, from: Cursor) -> Result<String, Trouble> {
        let event = self.expect(desk, from, "failed over", |e| e.is("failed_over"))?;
        eprintln!("{desk} failed over to {:?}, gap {:?} ms", event.host, event.gap_ms);
        event.host.ok_or_else(|| "failed over to no host".into())
    }

    /// Presents a card and waits until its session is on the screen; returns the host.
    pub(crate) fn insert(&self, desk: &str, card: &Card) -> Result<String, Trouble> {
        let from = self.now();
        self.world.insert(desk, card)?;
        let attached = self.expect(desk, from, "attached", |e| {
            e.is("attached") && e.token.as_deref().is_some_and(|token| token.starts_with("card."))
        })?;
        self.expect(desk, from, "shown its session", |e| e.is("shown") && e.session == attached.session)?;
        attached.host.ok_or_else(|| "attached to no host".into())
    }

    /// The process id of the shell at a desk: proof that it is the same one, and that it works.
    pub(crate) fn shell_at(&self, desk: &str) -> Result<String, Trouble> {
        // The mark is put together by the shell, so the echo of what was typed is not taken for its answer.
        self.marks.set(self.marks.get() + 1);
        let mark = format!("m{}x", self.marks.get());
        self.world.type_text(desk, &format!("clear; echo {mark}$((1+1))=$$\n"))?;
        let start = format!("{mark}2=");
        let typed =
            self.world.wait_for_screen(desk, "a shell that answers", PATIENCE, |s| s.after(&start).is_some());
        let screen = self.explain(typed.map_err(Into::into))?;
        Ok(screen.after(&start).unwrap_or_default().trim().to_owned())
    }

    /// A host's row of another host.
    pub(crate) fn row(&self, asked: &str, of: &str) -> Result<Option<RowView>, Trouble> {
        let rows = self.world.asker().topology(asked)?;
        Ok(rows.into_iter().find(|row| row.host.as_str() == of))
    }

    /// Waits until `asked` thinks so of `of`.
    pub(crate) fn until_standing(&self, asked: &str, of: &str, wanted: Standing) -> Played {
        self.until_row(asked, of, &format!("{wanted:?}"), |row| row.standing == Some(wanted))
    }

    /// Drains a host, or ends that, and waits until `asked` knows.
    pub(crate) fn drain(&self, host: &str, drain: bool, asked: &str) -> Played {
        self.world.asker().host(host, Command::Drain(drain))?;
        self.until_row(asked, host, &format!("drain {drain}"), |row| row.drain == drain)
    }

    /// Waits until the row that `asked` has of `of` is as wanted.
    fn until_row(&self, asked: &str, of: &str, what: &str, wanted: impl Fn(&RowView) -> bool) -> Played {
        let until = Instant::now() + PATIENCE;
        loop {
            let row = self.row(asked, of)?;
            if row.as_ref().is_some_and(&wanted) {
                return Ok(());
            }
            if Instant::now() >= until {
                return self.explain(Err(format!("{asked} thinks {row:?} of {of}, not {what}").into()));
            }
            let _ = self.world.timeline().wait(self.now(), LOOK_AGAIN, |_| false);
        }
    }

    /// How many sessions the whole group has for a card.
    pub(crate) fn sessions_of(&self, card: &Card) -> Result<usize, Trouble> {
        let host = self.world.hosts().next().ok_or("no host")?;
        let list = self.world.asker().command(host, &["session", "list"])?;
        let sessions = list["sessions"].as_array().ok_or("no list of sessions")?;
        Ok(sessions.iter().filter(|session| session["token"] == card.token.as_str()).count())
    }

    /// How often a host has counted a refusal.
    pub(crate) fn refused(&self, host: &str, reason: &str) -> Result<u64, Trouble> {
        match self.world.asker().host(host, Command::Status)? {
            Reply::Status(status) => Ok(status.refused.get(reason).copied().unwrap_or(0)),
            other => Err(format!("{host} answers something else: {other:?}").into()),
        }
    }

    /// Whether any desk has lost its host since `from`.
    pub(crate) fn lost(&self, mut from: Cursor) -> Vec<Event> {
        let events = self.world.timeline().since(&mut from);
        events.into_iter().filter(|e| e.is("failed_over") || e.is("lost")).collect()
    }
}
