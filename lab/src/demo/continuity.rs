//! Sessions that outlive their host: a shell, a catalogue and a cart, once in a session that a second host keeps
//! (`replicated`) and once in one that is started afresh (`restart`); their hosts are killed.

use std::time::Instant;

use serde_json::json;

use super::person::{PATIENCE, User};
use super::{Play, Seen, Step, Trouble};
use crate::timeline::{Cursor, Event};
use crate::world::{LabError, Screen, World};

/// The programs of the examples, as they stand there.
const PROGRAMS: [(&str, &str); 2] = [
    ("catalogue", include_str!("../../../examples/catalogue.sh")),
    ("cart", include_str!("../../../examples/cart.sh")),
];

/// What the person in the shell has on the screen.
const WORDS: &str = "milk and honey";
/// The catalogue where it is left.
const PAGE: &str = "Router: 40 hits, page 3 of 8";
/// And where it begins.
const FIRST_PAGE: &str = "Router: 40 hits, page 1 of 8";
/// What is in the cart.
const CART: [&str; 3] =
    ["10 of the anvil of our catalogue", "20 of the bolt of our catalogue", "30 of the cog of our catalogue"];

/// All steps, in order.
pub(super) const ALL: &[Step<Run>] = &[
    Step { what: "the data store, three hosts and a template of each class", run: Run::form_group },
    Step {
        what: "ann's session, which a second host keeps: a shell, page 3, a full cart",
        run: Run::ann_works,
    },
    Step { what: "ben's session, which is of class restart: the same", run: Run::ben_works },
    Step { what: "another host holds all of ann's session", run: Run::is_kept },
    Step { what: "ann's host is killed: the same session goes on elsewhere", run: Run::kill_anns_host },
    Step { what: "ann's shell: its old screen, and what was lost", run: Run::anns_shell },
    Step { what: "ann's catalogue is on page 3", run: Run::anns_catalogue },
    Step { what: "ann's cart is full", run: Run::anns_cart },
    Step { what: "ben's host is killed: he has a new session, on page 1", run: Run::kill_bens_host },
    Step { what: "the lab ends and leaves no process behind", run: Run::end },
];

/// Somebody at a desk, and what the displays showed before the host died.
struct Person {
    desk: &'static str,
    class: &'static str,
    user: User,
    before: Vec<(&'static str, Screen)>,
}

/// The lab and what the steps have found out.
pub(super) struct Run {
    world: Option<World>,
    ann: Option<Person>,
    ben: Option<Person>,
    killed: Option<Killed>,
}

/// A host that was killed.
#[derive(Clone)]
struct Killed {
    host: String,
    at: Instant,
    /// The timeline as it was then.
    from: Cursor,
}

impl Play for Run {
    fn lab(&self) -> Option<&World> {
        self.world.as_ref()
    }
}

impl Run {
    pub(super) const fn new(world: World) -> Self {
        Self { world: Some(world), ann: None, ben: None, killed: None }
    }

    fn world(&mut self) -> Result<&mut World, Trouble> {
        self.world.as_mut().ok_or(Trouble::Needs("a lab"))
    }

    fn ann(&mut self) -> Result<(&mut World, &mut Person), Trouble> {
        match (self.world.as_mut(), self.ann.as_mut()) {
            (Some(world), Some(ann)) => Ok((world, ann)),
            _ => Err(Trouble::Needs("ann's session")),
        }
    }

    fn form_group(&mut self) -> Seen {
        let world = self.world()?;
        world.form_group()?;
        for class in ["replicated", "restart"] {
            let mut template = format!("continuity = \"{class}\"\n{}", world.shell());
            for (name, text) in PROGRAMS {
                let file = world.files().join(name);
                let written = std::fs::write(&file, text);
                written.map_err(|error| Trouble::Seen(format!("{}: {error}", file.display())))?;
                let command = json!(["/bin/sh", file.to_string_lossy()]);
                template.push_str(&format!("[[service]]\nname = \"{name}\"\ncommand = {command}\n"));
            }
            world.put_template(class, &template)?;
        }
        for desk in ["desk-1", "desk-2"] {
            world.start_desk(desk)?;
        }
        Ok(world.hosts().collect::<Vec<_>>().join(", "))
    }

    fn ann_works(&mut self) -> Seen {
        let (ann, saw) = Person::begin(self.world()?, "desk-1", "ann", "replicated")?;
        self.ann = Some(ann);
        Ok(saw)
    }

    fn ben_works(&mut self) -> Seen {
        let (ben, saw) = Person::begin(self.world()?, "desk-2", "ben", "restart")?;
        self.ben = Some(ben);
        Ok(saw)
    }

    fn is_kept(&mut self) -> Seen {
        let (world, ann) = self.ann()?;
        ann.user.until_kept(world)
    }

    fn kill_anns_host(&mut self) -> Seen {
        let (world, ann) = self.ann()?;
        let before = ann.user.session.clone();
        let killed = Killed::under(world, ann)?;
        let saw = ann.fail_over(world, &killed)?;
        if ann.user.session != before {
            return Err(Trouble::Seen(format!("{saw}, but in another session")));
        }
        self.killed = Some(killed);
        Ok(format!("{saw}, the same session"))
    }

    fn anns_shell(&mut self) -> Seen {
        self.compare("terminal", WORDS)
    }

    fn anns_catalogue(&mut self) -> Seen {
        self.compare("catalogue", PAGE)
    }

    fn anns_cart(&mut self) -> Seen {
        self.compare("cart", CART[2])
    }

    /// Looks at one of ann's displays again, and shows both.
    fn compare(&mut self, service: &'static str, line: &str) -> Seen {
        self.killed.as_ref().ok_or(Trouble::Needs("a killed host"))?;
        let (world, ann) = self.ann()?;
        let after = ann.look(world, service, line)?;
        ann.show(world, service, &after);
        if service == "cart" && !CART.iter().all(|line| after.has_line(line)) {
            return Err(Trouble::Seen(format!("not all of it is there: {}", after.0)));
        }
        Ok(format!("{line:?} is on the screen again"))
    }

    fn kill_bens_host(&mut self) -> Seen {
        let (Some(world), Some(ben)) = (self.world.as_mut(), self.ben.as_mut()) else {
            return Err(Trouble::Needs("ben's session"));
        };
        let before = ben.user.session.clone();
        // It may have been ann's, too.
        let killed = match self.killed.clone().filter(|killed| ben.user.host.as_ref() == Some(&killed.host)) {
            Some(killed) => killed,
            None => Killed::under(world, ben)?,
        };
        let saw = ben.fail_over(world, &killed)?;
        if ben.user.session == before {
            return Err(Trouble::Seen(format!("{saw}, in the same session")));
        }
        let after = ben.look(world, "catalogue", FIRST_PAGE)?;
        ben.show(world, "catalogue", &after);
        Ok(format!("{saw}, {FIRST_PAGE:?}"))
    }

    fn end(&mut self) -> Seen {
        match self.world()?.end()? {
            0 => Ok("none".to_owned()),
            left => Err(Trouble::Seen(format!("{left} processes are left"))),
        }
    }
}

impl Killed {
    /// Kills the host under a person.
    fn under(world: &mut World, person: &Person) -> Result<Self, Trouble> {
        let host = person.user.host.clone().ok_or(Trouble::Needs("a host under the desk"))?;
        let from = world.timeline().end();
        let at = world.kill(&host)?;
        Ok(Self { host, at, from })
    }
}

impl Person {
    /// Sits down with a new card and leaves something on each display.
    fn begin(
        world: &World,
        desk: &'static str,
        name: &str,
        class: &'static str,
    ) -> Result<(Self, String), Trouble> {
        let card = world.new_card(name)?;
        world.register(&card, name, class)?;
        let mut person = Self { desk, class, user: User::new(card), before: Vec::new() };
        let saw = person.user.sit_down(world, desk)?;
        person.look(world, "cart", "a product and how many units, or q:")?;
        world.type_text(desk, "anvil 10\nbolt 20\ncog 30\n")?;
        person.leave(world, "cart", CART[2])?;
        person.look(world, "catalogue", FIRST_PAGE)?;
        world.type_text(desk, "n\nn\n")?;
        person.leave(world, "catalogue", PAGE)?;
        // The shell last: that is what is looked at when the host dies.
        person.look(world, "terminal", "")?;
        world.type_text(desk, "clear; cd /tmp; echo milk 'and' honey\n")?;
        person.leave(world, "terminal", WORDS)?;
        Ok((person, saw))
    }

    /// Remembers what a display shows as soon as this is on it.
    fn leave(&mut self, world: &World, service: &'static str, line: &str) -> Result<(), Trouble> {
        let screen = self.look(world, service, line)?;
        self.before.push((service, screen));
        Ok(())
    }

    /// Flips to a display, and waits for a line on it that is this or begins so.
    fn look(&self, world: &World, service: &str, line: &str) -> Result<Screen, Trouble> {
        let shows = || Ok::<_, LabError>(world.asker().look(self.desk)?.service.as_deref() == Some(service));
        for _ in 0..=PROGRAMS.len() {
            if shows()? {
                break;
            }
            world.flip(self.desk)?;
        }
        let is_there = |screen: &Screen| screen.0.lines().any(|shown| shown.trim().starts_with(line));
        Ok(world.wait_for_screen(self.desk, line, PATIENCE, is_there)?)
    }

    /// Waits until the desk is at work elsewhere.
    fn fail_over(&mut self, world: &World, killed: &Killed) -> Seen {
        self.user.fail_over(world, self.desk, killed.from, &killed.host, killed.at)
    }

    /// Puts what a display showed before and shows now into the timeline.
    fn show(&self, world: &World, service: &str, after: &Screen) {
        let before = self.before.iter().find(|(of, _)| *of == service).map(|(_, screen)| screen);
        let event = Event::new("screens").dtu(self.desk).with("service", service).with("class", self.class);
        let lines = |screen: &Screen| {
            json!(screen.0.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect::<Vec<_>>())
        };
        world.timeline().push(event.with("before", before.map(lines)).with("after", lines(after)));
    }
}
