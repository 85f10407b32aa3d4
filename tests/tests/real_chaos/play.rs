//! Doing what is planned to a real group, and looking at what comes of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::net::{End, Rule, Way};
use lab::plan::Plan as LabPlan;
use lab::timeline::{Cursor, Event};
use lab::world::{Card, START_PATIENCE};

use crate::faults::{CARDS, DESKS, Deed, Fault, HOSTS, Lan, Plan};
use crate::judge::{Happened, judge};
use crate::scene::{Played, Scene, Trouble};

/// How long faults go on, unless HOTDESK_SECONDS says otherwise.
const SECONDS: u64 = 60;
/// The plan, unless HOTDESK_SEED says otherwise.
const SEED: u64 = 1;
/// When everything is repaired, every desk is at work within this time.
const AT_WORK_WITHIN: Duration = Duration::from_secs(10);
/// A shell is only asked on a host to which nothing was done for so long.
const CALM: Duration = Duration::from_secs(5);
/// Between two looks at what another process does.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long the desks are watched beside busy processes.
const BUSY: Duration = Duration::from_secs(20);
const SPINNING: usize = 8;

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// With default settings, on whatever processors there are.
pub(crate) fn busy(binary: PathBuf) -> Played {
    let scene = Scene::start(LabPlan::simple(HOSTS, DESKS), binary)?;
    let mut from = scene.now();
    let spinning = Spinning::start()?;
    let _ = scene.world.timeline().wait(scene.now(), BUSY, |_| false);
    for desk in scene.world.desks() {
        scene.shell_at(desk)?;
    }
    drop(spinning);
    let found = judge(&scene.world.timeline().since(&mut from), &[]);
    if found.is_empty() { Ok(()) } else { Err(found.join("\n").into()) }
}

pub(crate) fn chaos(binary: PathBuf) -> Played {
    let (seed, seconds) = (number("HOTDESK_SEED", SEED), number("HOTDESK_SECONDS", SECONDS));
    eprintln!("seed {seed}, {seconds} s");
    let plan = Plan::draw(seed, Duration::from_secs(seconds));
    let scene = Scene::start(LabPlan::simple(HOSTS, DESKS).seed(seed), binary)?;
    let mut run = Run::new(scene, plan)?;
    let played = run.play();
    let mut found = run.judge();
    if let Err(why) = played {
        found.insert(0, why.to_string());
    }
    if found.is_empty() {
        return Ok(());
    }
    let kept = std::env::temp_dir().join(format!("hotdesk-chaos-{seed}-{}", std::process::id()));
    run.keep(&kept)?;
    Err(format!("seed {seed}, everything is in {}:\n{}", kept.display(), found.join("\n")).into())
}

/// Busy loops, ended when dropped.
struct Spinning(Vec<Child>);

impl Spinning {
    fn start() -> Result<Self, Trouble> {
        let mut spinning = Self(Vec::new());
        for _ in 0..SPINNING {
            let mut command = Command::new("/bin/sh");
            spinning.0.push(command.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn()?);
        }
        Ok(spinning)
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Run {
    scene: Scene,
    plan: Plan,
    hosts: Vec<String>,
    desks: Vec<String>,
    cards: Vec<Card>,
    spinning: Option<Spinning>,
    /// Faults that began, by their numbers in the plan.
    happened: BTreeMap<usize, Happened>,
    /// What desks reported.
    events: Vec<Event>,
    seen: Cursor,
    /// The shell of each session, as it said itself.
    shells: BTreeMap<String, String>,
    found: Vec<String>,
    asked: usize,
}

impl Run {
    fn new(scene: Scene, plan: Plan) -> Result<Self, Trouble> {
        let hosts = scene.world.hosts().map(str::to_owned).collect();
        let desks = scene.world.desks().map(str::to_owned).collect();
        let cards =
            (0..CARDS).map(|n| scene.world.new_card(&format!("card-{n}"))).collect::<Result<_, _>>()?;
        Ok(Self {
            seen: scene.now(),
            scene,
            plan,
            hosts,
            desks,
            cards,
            spinning: None,
            happened: BTreeMap::new(),
            events: Vec::new(),
            shells: BTreeMap::new(),
            found: Vec::new(),
            asked: 0,
        })
    }

    /// Plays the plan, repairs what is left, and sees everybody at work again.
    fn play(&mut self) -> Played {
        let began = Instant::now();
        for (at, deed) in self.plan.deeds.clone() {
            while let Some(left) = at.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
                self.take_events();
                let _ = self.scene.world.timeline().wait(self.scene.now(), left.min(LOOK_AGAIN), |_| false);
            }
            self.act(deed).map_err(|why| format!("{deed:?} at {at:?}: {why}"))?;
            // Whose card was just put into another desk has not heard of it yet; what is typed there takes it back.
            if matches!(deed, Deed::Begin(_) | Deed::End(_)) {
                self.ask_a_shell()?;
            }
        }
        self.scene.world.wait_for_group(START_PATIENCE)?;
        self.take_events();
        let until = Instant::now() + AT_WORK_WITHIN;
        for desk in self.desks.clone() {
            self.see_at_work(&desk, until)?;
        }
        for host in &self.hosts {
            assert!(self.scene.world.is_alive(host), "{host} has ended by itself");
        }
        Ok(())
    }

    fn act(&mut self, deed: Deed) -> Played {
        match deed {
            Deed::Begin(n) => {
                let planned = self.plan.faults[n];
                let host = self.hosts[planned.host].clone();
                let from_ms = self.scene.world.timeline().now_ms();
                let word = format!("{:?}", planned.fault);
                self.scene.world.timeline().push(Event::new("fault").host(&host).with("fault", word));
                self.happened.insert(n, Happened { host, fault: planned.fault, from_ms, until_ms: f64::MAX });
                self.begin(n)
            }
            Deed::End(n) => {
                self.end(n)?;
                let host = self.happened[&n].host.clone();
                self.scene.world.timeline().push(Event::new("fault_over").host(&host));
                let now = self.scene.world.timeline().now_ms();
                self.happened.entry(n).and_modify(|h| h.until_ms = now);
                Ok(())
            }
            Deed::Insert { desk, card } => {
                Ok(self.scene.world.insert(&self.desks[desk], &self.cards[card])?)
            }
            Deed::Remove { desk } => Ok(self.scene.world.remove(&self.desks[desk])?),
        }
    }

    fn begin(&mut self, n: usize) -> Played {
        let Happened { host, fault, .. } = self.happened[&n].clone();
        let world = &mut self.scene.world;
        match fault {
            Fault::Kill => drop(world.kill(&host)?),
            Fault::KillDaemon => drop(world.kill_daemon(&host)?),
            Fault::Freeze => drop(world.freeze(&host)?),
            Fault::FreezeDaemon => drop(world.freeze_daemon(&host)?),
            Fault::FreezeSessions => drop(world.freeze_sessions(&host)?),
            Fault::Busy => self.spinning = Some(Spinning::start()?),
            Fault::Cut(lan, way) => {
                let (id, lan) = self.port(&host, lan)?;
                self.scene.world.backend().net().ok_or("no networks")?.cut_on(id, lan, way);
            }
            Fault::Unplug(lan) => {
                let (id, lan) = self.port(&host, lan)?;
                self.scene.world.backend_mut().net_mut().ok_or("no networks")?.unplug(id, lan)?;
            }
            Fault::Line(lan, way, rule) => self.set_rule(&host, lan, way, rule)?,
        }
        Ok(())
    }

    fn end(&mut self, n: usize) -> Played {
        let Happened { host, fault, .. } = self.happened[&n].clone();
        match fault {
            Fault::Kill | Fault::KillDaemon => self.scene.world.start_host(&host)?,
            Fault::Freeze | Fault::FreezeDaemon | Fault::FreezeSessions => self.scene.world.thaw(&host)?,
            Fault::Busy => self.spinning = None,
            Fault::Cut(..) => self.scene.world.heal(&host)?,
            Fault::Unplug(lan) => {
                let (id, lan) = self.port(&host, lan)?;
                self.scene.world.backend_mut().net_mut().ok_or("no networks")?.plug(id, lan)?;
            }
            Fault::Line(lan, way, _) => self.set_rule(&host, lan, way, Rule::default())?,
        }
        Ok(())
    }

    fn port(&self, host: &str, lan: Lan) -> Result<(lab::net::HostId, lab::net::LanId), Trouble> {
        let name = if lan == Lan::Desks { LabPlan::DESKS } else { LabPlan::STORE };
        let backend = self.scene.world.backend();
        Ok((backend.id(host).ok_or("no such host")?, backend.lan(name).ok_or("no such LAN")?))
    }

    fn set_rule(&self, host: &str, lan: Lan, way: Way, rule: Rule) -> Played {
        let (id, lan) = self.port(host, lan)?;
        let network = self.scene.world.backend().net().ok_or("no networks")?;
        if way != Way::In {
            network.set_rule(lan, End::Is(id), End::Any, rule);
        }
        if way != Way::Out {
            network.set_rule(lan, End::Any, End::Is(id), rule);
        }
        Ok(())
    }

    fn take_events(&mut self) {
        let news = self.scene.world.timeline().since(&mut self.seen);
        self.events.extend(news);
    }

    /// Whether nothing was done to a host of late.
    fn is_calm(&self, host: &str) -> bool {
        let now = self.scene.world.timeline().now_ms();
        let past = |h: &Happened| now - h.until_ms > CALM.as_secs_f64() * 1_000.0;
        self.happened.values().filter(|h| h.host == host || h.fault == Fault::Busy).all(past)
    }

    /// Has one desk that is on a healthy host say which shell it shows: a session keeps its shell.
    fn ask_a_shell(&mut self) -> Played {
        self.asked += 1;
        let desk = self.desks[self.asked % self.desks.len()].clone();
        let look = self.scene.world.asker().look(&desk)?;
        let at_work = look.state == "attached" && look.host.as_deref().is_some_and(|h| self.is_calm(h));
        if at_work { self.note_shell(&desk) } else { Ok(()) }
    }

    fn note_shell(&mut self, desk: &str) -> Played {
        let before = self.scene.world.asker().look(desk)?.session;
        // What is typed while the desk moves is rightly dropped.
        let shell = self.scene.shell_at(desk).or_else(|_| self.scene.shell_at(desk))?;
        let after = self.scene.world.asker().look(desk)?.session;
        let Some(session) = after.filter(|_| before.is_some()).filter(|after| Some(after) == before.as_ref())
        else {
            return Ok(());
        };
        let known = self.shells.entry(session.clone()).or_insert_with(|| shell.clone());
        if *known != shell {
            self.found.push(format!("session {session} had shell {known} and has {shell} at {desk}"));
        }
        Ok(())
    }

    /// Waits until a desk works. One whose card was put into another desk meanwhile has nothing to show.
    fn see_at_work(&mut self, desk: &str, until: Instant) -> Played {
        loop {
            let look = self.scene.world.asker().look(desk)?;
            match look.state.as_str() {
                "attached" => return self.note_shell(desk),
                "detached" if self.was_moved_on(desk, &look.token) => return Ok(()),
                other if Instant::now() >= until => {
                    return Err(format!("{desk} is {other} {AT_WORK_WITHIN:?} after the last repair").into());
                }
                _ => {}
            }
            let _ = self.scene.world.timeline().wait(self.scene.now(), LOOK_AGAIN, |_| false);
        }
    }

    /// Whether the card in a desk was put into another one after that.
    fn was_moved_on(&self, desk: &str, token: &str) -> bool {
        let last = |wanted: &dyn Fn(&Event) -> bool| {
            let inserted = |e: &&Event| e.is("inserted") && e.token.as_deref() == Some(token);
            self.events.iter().filter(inserted).filter(|e| wanted(e)).map(|e| e.t_ms).fold(0.0, f64::max)
        };
        last(&|e: &Event| !e.at(desk)) > last(&|e: &Event| e.at(desk))
    }

    fn judge(&mut self) -> Vec<String> {
        self.take_events();
        let faults: Vec<Happened> = self.happened.values().cloned().collect();
        let mut found = std::mem::take(&mut self.found);
        found.extend(judge(&self.events, &faults));
        for machine in self.hosts.iter().chain(&self.desks) {
            let log = self.scene.world.log(machine);
            found
                .extend(log.lines().filter(|l| l.contains("panicked at")).map(|l| format!("{machine}: {l}")));
        }
        let attached = self.events.iter().filter(|e| e.is("attached")).count();
        let moved = self.events.iter().filter(|e| e.is("failed_over")).count();
        eprintln!(
            "{} faults, {attached} times attached, {moved} times failed over, {} sessions asked for their shell",
            faults.len(),
            self.shells.len()
        );
        found
    }

    /// Puts the logs and the list of events where they outlive the lab.
    fn keep(&self, to: &std::path::Path) -> Played {
        self.scene.world.copy_logs(to)?;
        let lines: Result<Vec<String>, _> = self.events.iter().map(serde_json::to_string).collect();
        Ok(std::fs::write(to.join("events.jsonl"), lines?.join("\n"))?)
    }
}
