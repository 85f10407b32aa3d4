//! A person of a demonstration: sits down at a desk, types, and is moved when a host dies.

use std::time::{Duration, Instant};

use super::{Seen, Trouble};
use crate::timeline::{Cursor, Event};
use crate::world::{Card, World};

/// How long a step may take to be observed. Hundreds of times what it should: a failed step is a fault of the
/// system, not of a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A user with a card, and what is known of the shell behind it.
pub(super) struct User {
    pub(super) card: Card,
    pub(super) session: Option<String>,
    pub(super) shell: Option<String>,
    pub(super) host: Option<String>,
}

impl User {
    pub(super) const fn new(card: Card) -> Self {
        Self { card, session: None, shell: None, host: None }
    }

    /// Puts the card in and waits until the session is on the screen.
    pub(super) fn sit_down(&mut self, world: &World, desk: &str) -> Seen {
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

    /// Waits until another host keeps all of the session.
    pub(super) fn until_kept(&self, world: &World) -> Seen {
        let host = self.host.as_deref().ok_or(Trouble::Needs("a host"))?;
        let session = self.session.as_deref().ok_or(Trouble::Needs("a session"))?;
        let secondary = world.wait_until_kept(host, session, PATIENCE)?;
        Ok(format!("{secondary} keeps what runs on {host}"))
    }

    /// Waits until a desk is at work on another host than `dead`, which went `at` then, with a shell that answers. The gap
    /// is the DTU's own: since its screen was last known to be good, which was before.
    pub(super) fn fail_over(
        &mut self,
        world: &World,
        desk: &str,
        from: Cursor,
        dead: &str,
        at: Instant,
    ) -> Seen {
        let over = |e: &Event| e.is("failed_over");
        let event = world.wait_for_desk(desk, from, "failed over", PATIENCE, over)?;
        let host = event.host.unwrap_or_else(|| "an unnamed host".to_owned());
        if host == dead {
            return Err(Trouble::Seen(format!("it went back to {dead}")));
        }
        let shell = shell_id(world, desk, "new")?;
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
pub(super) fn stand_up(world: &World, desk: &str) -> Result<(), Trouble> {
    let from = world.timeline().end();
    world.remove(desk)?;
    world.wait_for_desk(desk, from, "without its card", PATIENCE, |e| e.is("removed"))?;
    Ok(())
}

/// Asks the shell at a desk for its process id. `word` marks the answer and is not used twice on one screen. The
/// question is put by a child of it, since shells differ in how they name themselves.
pub(super) fn shell_id(world: &World, desk: &str, word: &str) -> Result<String, Trouble> {
    world.type_text(desk, &format!("sh -c 'echo {word}=$PPID'\n"))?;
    let marked = format!("{word}=");
    let answer = |line: &str| !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit());
    let screen = world.wait_for_screen(desk, "the shell's process id", PATIENCE, |screen| {
        screen.after(&marked).is_some_and(answer)
    })?;
    screen.after(&marked).map(str::to_owned).ok_or(Trouble::Needs("an answer"))
}

pub(super) fn other_shell(before: &str, now: &str) -> Trouble {
    Trouble::Seen(format!("another shell answers: process {now}, not {before}"))
}
