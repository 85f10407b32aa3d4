//! The steps of the demonstration.

use std::time::{Duration, Instant};

use super::Outcome;
use crate::timeline::{Cursor, Event, Timeline};
use crate::world::{Card, LabError, START_PATIENCE, World};

/// How long a step may take to be observed. Hundreds of times what it should: a failed step is a fault of the
/// system, not of a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What alice writes down.
const NOTE: &str = "milk and honey";

/// One step of the demonstration: what is done, and what must be seen of it.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// What must be observed.
    pub(super) what: &'static str,
    run: fn(&mut DemoRun) -> Result<String, Trouble>,
}

/// Why a step did not hold.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It was tried.
    Seen(String),
    /// It was not: what it builds on is not there.
    Needs(&'static str),
}

impl From<LabError> for Trouble {
    fn from(error: LabError) -> Self {
        Self::Seen(error.to_string())
    }
}

/// All steps, in order.
pub(super) const ALL: &[Step] = &[
    Step { what: "the data store and three hosts are up and see each other", run: DemoRun::form_group },
    Step { what: "four desks are switched on and find a host", run: DemoRun::switch_on },
    Step { what: "alice's card at desk-1 brings up a session", run: DemoRun::alice_arrives },
    Step { what: "alice types into a real shell", run: DemoRun::alice_types },
    Step { what: "alice stores a note", run: DemoRun::alice_notes },
    Step { what: "alice's card at desk-2: the same shell goes on there", run: DemoRun::alice_moves },
    Step { what: "bob's card at desk-3 brings up a session of his own", run: DemoRun::bob_arrives },
    Step { what: "the host under desk-2 is killed: desk-2 is at work on another", run: DemoRun::kill_host },
    Step { what: "alice's note is still there", run: DemoRun::note_after_kill },
    Step { what: "the killed host is restarted and is one of the group again", run: DemoRun::restart_host },
    Step { what: "the host under desk-2 is cut off: desk-2 is at work on another", run: DemoRun::cut_host },
    Step { what: "alice's note is there once more", run: DemoRun::note_after_cut },
    Step { what: "the link is healed: the group is whole and desk-2 stays at work", run: DemoRun::heal_host },
    Step { what: "bob's card at desk-4 finds his session", run: DemoRun::bob_moves },
    Step { what: "the lab ends and leaves no process behind", run: DemoRun::end },
];

/// A user with a card, and what is known of the shell behind it.
struct User {
    card: Card,
    session: Option<String>,
    shell: Option<String>,
    host: Option<String>,
}

/// The lab and what the steps have found out.
pub(super) struct DemoRun {
    world: Option<World>,
    alice: Option<User>,
    bob: Option<User>,
    noted: bool,
    killed: Option<String>,
    cut: Option<String>,
}

type Seen = Result<String, Trouble>;

impl DemoRun {
    pub(super) fn new(world: World) -> Self {
        Self { world: Some(world), alice: None, bob: None, noted: false, killed: None, cut: None }
    }

    pub(super) fn take(&mut self, step: &Step) -> Outcome {
        match (step.run)(self) {
            Ok(saw) => Outcome::Held(saw),
            Err(Trouble::Seen(why)) => Outcome::Failed(why),
            Err(Trouble::Needs(what)) => Outcome::NotTried(what),
        }
    }

    /// Puts the logs of all machines where they outlive the lab, and says where.
    pub(super) fn keep_logs(&self, timeline: &Timeline) {
        let Some(world) = &self.world else { return };
        let mut kept = world.files().as_os_str().to_owned();
        kept.push("-logs");
        if world.copy_logs(kept.as_ref()).is_ok() {
            timeline.push(Event::new("logs_kept").with("dir", kept.to_string_lossy().into_owned()));
        }
    }

    fn world(&mut self) -> Result<&mut World, Trouble> {
        self.world.as_mut().ok_or(Trouble::Needs("a lab"))
    }

    fn form_group(&mut self) -> Seen {
        let world = self.world()?;
        world.start_store()?;
        world.start_hosts()?;
        world.wait_for_group(START_PATIENCE)?;
        world.share_home()?;
        Ok(world.hosts().collect::<Vec<_>>().join(", "))
    }

    fn switch_on(&mut self) -> Seen {
        let world = self.world()?;
        let from = world.timeline().end();
        let desks: Vec<String> = world.desks().map(str::to_owned).collect();
        for desk in &desks {
            world.start_desk(desk)?;
        }
        for desk in &desks {
            world.wait_for_desk(desk, from, "connected to a host", PATIENCE, |e| e.is("host_found"))?;
        }
        Ok(desks.join(", "))
    }

    fn alice_arrives(&mut self) -> Seen {
        let card = self.world()?.new_card("alice")?;
        let mut alice = User { card, session: None, shell: None, host: None };
        let saw = alice.sit_down(self.world()?, "desk-1")?;
        self.alice = Some(alice);
        Ok(saw)
    }

    fn alice_types(&mut self) -> Seen {
        let (world, alice) = self.at_work()?;
        let shell = shell_id(world, "desk-1", "shell")?;
        alice.shell = Some(shell.clone());
        Ok(format!("process {shell}"))
    }

    fn alice_notes(&mut self) -> Seen {
        let (world, _) = self.at_work()?;
        // The word that the screen is searched for is not in what is typed.
        world.type_text("desk-1", &format!("datastore put note '{NOTE}' && echo do''ne\n"))?;
        world.wait_for_screen("desk-1", "\"done\"", PATIENCE, |screen| screen.has_line("done"))?;
        self.noted = true;
        Ok(format!("note = {NOTE:?}"))
    }

    fn alice_moves(&mut self) -> Seen {
        let (world, alice) = self.at_work()?;
        let (session, shell) =
            (alice.session.clone(), alice.shell.clone().ok_or(Trouble::Needs("her shell"))?);
        stand_up(world, "desk-1")?;
        let saw = alice.sit_down(world, "desk-2")?;
        if alice.session != session {
            return Err(Trouble::Seen(format!("{saw}, but in another session")));
        }
        let old = format!("shell={shell}");
        world
            .wait_for_screen("desk-2", "what was on the screen of desk-1", PATIENCE, |s| s.has_line(&old))?;
        let now = shell_id(world, "desk-2", "again")?;
        if now == shell { Ok(format!("{saw}, process {shell}")) } else { Err(other_shell(&shell, &now)) }
    }

    fn bob_arrives(&mut self) -> Seen {
        let card = self.world()?.new_card("bob")?;
        let mut bob = User { card, session: None, shell: None, host: None };
        let saw = bob.sit_down(self.world()?, "desk-3")?;
        let shell = shell_id(self.world()?, "desk-3", "shell")?;
        if self.alice.as_ref().is_some_and(|alice| alice.session == bob.session) {
            return Err(Trouble::Seen("he was given alice's session".to_owned()));
        }
        bob.shell = Some(shell.clone());
        self.bob = Some(bob);
        Ok(format!("{saw}, process {shell}"))
    }

    fn kill_host(&mut self) -> Seen {
        let (world, alice) = self.at_work()?;
        let host = alice.host.clone().ok_or(Trouble::Needs("a host under desk-2"))?;
        let from = world.timeline().end();
        let at = world.kill(&host)?;
        let saw = alice.fail_over(world, from, &host, at)?;
        self.killed = Some(host);
        Ok(saw)
    }

    fn note_after_kill(&mut self) -> Seen {
        self.killed.as_ref().ok_or(Trouble::Needs("a killed host"))?;
        self.read_note()
    }

    fn restart_host(&mut self) -> Seen {
        let host = self.killed.clone().ok_or(Trouble::Needs("a killed host"))?;
        let world = self.world()?;
        world.start_host(&host)?;
        world.wait_for_group(PATIENCE)?;
        Ok(format!("{host} is up for all"))
    }

    fn cut_host(&mut self) -> Seen {
        let (world, alice) = self.at_work()?;
        let host = alice.host.clone().ok_or(Trouble::Needs("a host under desk-2"))?;
        let from = world.timeline().end();
        let at = world.cut(&host)?;
        let saw = alice.fail_over(world, from, &host, at)?;
        let how = if world.backend().cut_freezes() { " (cut by freezing its processes)" } else { "" };
        self.cut = Some(host);
        Ok(format!("{saw}{how}"))
    }

    fn note_after_cut(&mut self) -> Seen {
        self.cut.as_ref().ok_or(Trouble::Needs("a host that was cut off"))?;
        self.read_note()
    }

    fn heal_host(&mut self) -> Seen {
        let host = self.cut.clone().ok_or(Trouble::Needs("a host that was cut off"))?;
        let (world, alice) = self.at_work()?;
        let from = world.timeline().end();
        world.heal(&host)?;
        world.wait_for_group(PATIENCE)?;
        let before = alice.shell.clone().ok_or(Trouble::Needs("her shell"))?;
        let now = shell_id(world, "desk-2", "still")?;
        if now != before {
            return Err(other_shell(&before, &now));
        }
        let mut seen = from;
        let news = world.timeline().since(&mut seen);
        match news.iter().find(|e| e.at("desk-2") && (e.is("detached") || e.is("lost"))) {
            Some(event) => Err(Trouble::Seen(format!("desk-2 was disturbed: {}", event.event))),
            None => Ok(format!("{host} is up for all, process {now} goes on")),
        }
    }

    fn bob_moves(&mut self) -> Seen {
        let (world, bob) = (self.world.as_mut(), self.bob.as_mut());
        let (Some(world), Some(bob)) = (world, bob) else { return Err(Trouble::Needs("bob's session")) };
        let lost =
            [&self.killed, &self.cut].into_iter().flatten().any(|host| bob.host.as_ref() == Some(host));
        let before = bob.shell.clone().ok_or(Trouble::Needs("his shell"))?;
        stand_up(world, "desk-3")?;
        let saw = bob.sit_down(world, "desk-4")?;
        let now = shell_id(world, "desk-4", "again")?;
        if lost || now == before {
            let fresh = if now == before { "" } else { ", a fresh shell, for its host had died" };
            Ok(format!("{saw}, process {now}{fresh}"))
        } else {
            Err(other_shell(&before, &now))
        }
    }

    fn end(&mut self) -> Seen {
        let world = self.world.as_mut().ok_or(Trouble::Needs("a lab"))?;
        let left = world.end()?;
        if left == 0 {
            Ok("none".to_owned())
        } else {
            Err(Trouble::Seen(format!("{left} processes are left")))
        }
    }

    fn read_note(&mut self) -> Seen {
        if !self.noted {
            return Err(Trouble::Needs("a note"));
        }
        let (world, _) = self.at_work()?;
        // Cleared first, so that only an answer given now counts.
        world.type_text("desk-2", "clear; datastore get note\n")?;
        world.wait_for_screen("desk-2", "the note", PATIENCE, |screen| screen.has_line(NOTE))?;
        Ok(format!("note = {NOTE:?}"))
    }

    fn at_work(&mut self) -> Result<(&mut World, &mut User), Trouble> {
        match (self.world.as_mut(), self.alice.as_mut()) {
            (Some(world), Some(alice)) => Ok((world, alice)),
            _ => Err(Trouble::Needs("alice's session")),
        }
    }
}

impl User {
    /// Puts the card in and waits until the session is on the screen.
    fn sit_down(&mut self, world: &World, desk: &str) -> Seen {
        let from = world.timeline().end();
        world.insert(desk, &self.card)?;
        let start = world.wait_for_desk(desk, from, "with a card", PATIENCE, |e| e.is("inserted"))?.t_ms;
        let mine = |e: &Event| e.is("attached") && e.token.as_deref() == Some(&self.card.token);
        let attached = world.wait_for_desk(desk, from, "attached", PATIENCE, mine)?;
        // Not the session that the desk had without a card.
        let on_screen = |e: &Event| e.is("shown") && e.session == attached.session;
        let shown = world.wait_for_desk(desk, from, "shown the session", PATIENCE, on_screen)?;
        let (attached_ms, shown_ms) = (attached.t_ms - start, shown.t_ms - start);
        self.session = attached.session;
        self.host = attached.host;
        let host = self.host.as_deref().unwrap_or("an unnamed host");
        Ok(format!("on {host}: attached after {attached_ms:.1} ms, on the screen after {shown_ms:.1} ms"))
    }

    /// Waits until desk-2 is at work on another host than `dead`, which went `at` then, with a shell that answers. The gap
    /// is the DTU's own: since its screen was last known to be good, which was before.
    fn fail_over(&mut self, world: &World, from: Cursor, dead: &str, at: Instant) -> Seen {
        let over = |e: &Event| e.is("failed_over");
        let event = world.wait_for_desk("desk-2", from, "failed over", PATIENCE, over)?;
        let host = event.host.unwrap_or_else(|| "an unnamed host".to_owned());
        if host == dead {
            return Err(Trouble::Seen(format!("it went back to {dead}")));
        }
        let shell = shell_id(world, "desk-2", "new")?;
        if self.shell.as_ref() == Some(&shell) {
            return Err(Trouble::Seen(format!("the shell that answers has the id of the old one, {shell}")));
        }
        self.session = event.session;
        self.shell = Some(shell.clone());
        self.host = Some(host.clone());
        let gap = event.gap_ms.map_or_else(|| "unknown".to_owned(), |ms| format!("{ms:.1} ms"));
        let after = event.t_ms - world.timeline().ms(at);
        Ok(format!("from {dead} to {host} within {after:.1} ms, gap {gap}, process {shell}"))
    }
}

/// Takes the card out and waits until the screen is dark.
fn stand_up(world: &World, desk: &str) -> Result<(), Trouble> {
    let from = world.timeline().end();
    world.remove(desk)?;
    world.wait_for_desk(desk, from, "without its card", PATIENCE, |e| e.is("removed"))?;
    Ok(())
}

/// Asks the shell at a desk for its process id. `word` marks the answer and is not used twice on one screen. The
/// question is put by a child of it, since shells differ in how they name themselves.
fn shell_id(world: &World, desk: &str, word: &str) -> Result<String, Trouble> {
    world.type_text(desk, &format!("sh -c 'echo {word}=$PPID'\n"))?;
    let marked = format!("{word}=");
    let answer = |line: &str| !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit());
    let screen = world.wait_for_screen(desk, "the shell's process id", PATIENCE, |screen| {
        screen.after(&marked).is_some_and(answer)
    })?;
    screen.after(&marked).map(str::to_owned).ok_or(Trouble::Needs("an answer"))
}

fn other_shell(before: &str, now: &str) -> Trouble {
    Trouble::Seen(format!("another shell answers: process {now}, not {before}"))
}
