//! The group at work: cards, desks, hosts that die and come back.

use super::person::{PATIENCE, User, other_shell, shell_id, stand_up};
use super::{Play, Seen, Step, Trouble};
use crate::world::World;

/// What alice writes down.
const NOTE: &str = "milk and honey";

/// All steps, in order.
pub(super) const ALL: &[Step<DemoRun>] = &[
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
    Step {
        what: "carol's session is kept by a second host: it outlives its own",
        run: DemoRun::outlive_host,
    },
    Step { what: "the lab ends and leaves no process behind", run: DemoRun::end },
];

/// The lab and what the steps have found out.
pub(super) struct DemoRun {
    world: Option<World>,
    alice: Option<User>,
    bob: Option<User>,
    noted: bool,
    killed: Option<String>,
    cut: Option<String>,
}

impl Play for DemoRun {
    fn lab(&self) -> Option<&World> {
        self.world.as_ref()
    }
}

impl DemoRun {
    pub(super) fn new(world: World) -> Self {
        Self { world: Some(world), alice: None, bob: None, noted: false, killed: None, cut: None }
    }

    fn world(&mut self) -> Result<&mut World, Trouble> {
        self.world.as_mut().ok_or(Trouble::Needs("a lab"))
    }

    fn form_group(&mut self) -> Seen {
        let world = self.world()?;
        world.form_group()?;
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
        let mut alice = User::new(card);
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
        let mut bob = User::new(card);
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
        let saw = alice.fail_over(world, "desk-2", from, &host, at)?;
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
        let saw = alice.fail_over(world, "desk-2", from, &host, at)?;
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

    fn outlive_host(&mut self) -> Seen {
        let world = self.world()?;
        world.put_template("kept", &format!("continuity = \"replicated\"\n{}", world.shell()))?;
        let mut carol = User::new(world.new_card("carol")?);
        world.register(&carol.card, "carol", "kept")?;
        carol.sit_down(world, "desk-1")?;
        world.type_text("desk-1", &format!("clear; echo {}\n", NOTE.replace("and", "'and'")))?;
        world.wait_for_screen("desk-1", NOTE, PATIENCE, |screen| screen.has_line(NOTE))?;
        carol.until_kept(world)?;
        let (host, session) = (carol.host.clone().ok_or(Trouble::Needs("a host"))?, carol.session.clone());
        let from = world.timeline().end();
        let at = world.kill(&host)?;
        let saw = carol.fail_over(world, "desk-1", from, &host, at)?;
        if carol.session != session {
            return Err(Trouble::Seen(format!("{saw}, but in another session")));
        }
        world.wait_for_screen("desk-1", "the old screen", PATIENCE, |screen| screen.has_line(NOTE))?;
        Ok(format!("{saw}, the same session, and {NOTE:?} is still on the screen"))
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
