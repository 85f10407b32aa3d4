//! How soon the death of a host is noticed and made good: `cargo bench -p hotdesk --bench failover`.
//!
//! A desk shows a fresh shell of a fresh card; then the host under it is killed (SIGKILL to all its processes),
//! frozen (SIGSTOP to all of them), or cut off (its links lose every frame), and repaired when everything below was
//! seen. Measured from that moment: when the first and the last of the other hosts wrote into their logs that it is
//! silent; when the desk had its connInf from another host; when the prompt of a shell that runs there was drawn on
//! its screen. All that first on an idle machine, then beside eight processes that only compute. Over the
//! whole of either part every word of any host about a silent host that was not killed, frozen or cut is a
//! false alarm, and so is every move of the desk away from a live host.
//!
//! `-- --rounds N` asks for N rounds of each kind, `-- --loopback` for loopback addresses, where a cut is a freeze.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and waits"
)]

mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::backend::Ground;
use support::desk::{Desk, Told};
use support::figures::{Figures, head};
use support::lab::Lab;
use support::logs::{Logs, Moment, Record, Said};
use support::spinning::Spinning;
use support::{Arguments, Ending, Outcome, cannot};

/// Rounds of each kind, unless the command line says otherwise.
const ROUNDS: usize = 50;
/// Hosts of the group: one dies, four notice.
const HOSTS: usize = 5;
/// Processes that only compute, in the second part.
const SPINNING: usize = 8;
/// The time between the prompt and the fault is spread over one beacon interval, since it decides how much of the
/// interval is still to come.
const SPREAD: Duration = Duration::from_millis(100);
/// Words about a host that was healed may still be on their way for so long.
const SETTLE: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    match Arguments::read("failover", ROUNDS).and_then(|arguments| arguments.map_or(Ok(()), |a| measure(&a)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("failover: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    let ground = arguments.settle()?;
    let ending = Ending::hold()?;
    let cut = if ground == Ground::Loopback { " (a cut is a freeze there)" } else { "" };
    println!("{HOSTS} hosts, {}, {ground:?}{cut}", support::machine());
    support::go_first();
    for spinning in [0, SPINNING] {
        let mut scene = Scene::new(ground, &ending)?;
        let spinners = Spinning::start(spinning)?;
        let began = Instant::now();
        let title = if spinning == 0 { "idle".to_owned() } else { format!("{spinning} spinning processes") };
        println!("\n{}", head(&title));
        for fault in Fault::ALL {
            let mut gaps = Gaps::default();
            for round in 0..arguments.rounds {
                scene.round(fault, &mut gaps).map_err(|why| {
                    let logs = scene.keep_logs();
                    format!("{} {}: {why}; the logs are in {logs}", fault.word(), round + 1)
                })?;
            }
            gaps.rows(fault).iter().for_each(|row| println!("{row}"));
        }
        println!("{} ({:.0} s)", scene.alarms()?, began.elapsed().as_secs_f64());
        drop(spinners);
    }
    Ok(())
}

/// What is done to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Freeze,
    Cut,
}

impl Fault {
    const ALL: [Self; 3] = [Self::Kill, Self::Freeze, Self::Cut];

    const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Cut => "cut",
        }
    }
}

/// The figures of one kind of fault.
#[derive(Default)]
struct Gaps {
    first: Figures,
    last: Figures,
    noticed: Figures,
    control: Figures,
    conn_inf: Figures,
    screen: Figures,
}

impl Gaps {
    fn rows(&self, fault: Fault) -> Vec<String> {
        let word = fault.word();
        [
            ("noticed by the first other host", &self.first),
            ("noticed by the last", &self.last),
            ("noticed by the desk", &self.noticed),
            ("TLS to another host", &self.control),
            ("connInf from another host", &self.conn_inf),
            ("prompt of a fresh shell on the screen", &self.screen),
        ]
        .map(|(what, figures)| figures.row(&format!("{word}: {what}")))
        .into()
    }
}

/// A host that was not itself for a while.
struct Absence {
    host: String,
    fault: Fault,
    from_us: u64,
    until_us: u64,
}

impl Absence {
    /// Whether it explains that one host called another silent.
    fn explains(&self, record: &Record) -> bool {
        let then = (self.from_us..=self.until_us).contains(&record.at_us);
        // Who is cut off cannot hear the others. Who was frozen and goes on must not accuse them.
        then && (record.about == self.host || (record.by == self.host && self.fault == Fault::Cut))
    }
}

/// The group, the desk and all that was seen of them.
struct Scene {
    // The desk first: it lives on a machine of the world.
    desk: Desk,
    logs: Logs,
    world: Lab,
    began: Moment,
    absences: Vec<Absence>,
    cards: u64,
    /// Times at which the desk left a host that lived.
    deserted: usize,
    seen: usize,
}

impl Scene {
    fn new(ground: Ground, ending: &Ending) -> Outcome<Self> {
        let world = support::start_group(ground, HOSTS, ending)?;
        let mut logs = Logs::of(&world);
        logs.wait_until_all_are_up()?;
        support::put_template(&world)?;
        let desk = Desk::start(&world)?;
        let began = Moment::now();
        Ok(Self { desk, logs, world, began, absences: Vec::new(), cards: 0, deserted: 0, seen: 0 })
    }

    /// A user sits down, the host fails, another one takes over, the host is repaired, the user leaves.
    fn round(&mut self, fault: Fault, gaps: &mut Gaps) -> Outcome<()> {
        self.cards += 1;
        let token = format!("card.bench{}", self.cards);
        let mark = self.desk.mark();
        self.desk.insert(&format!("card type=card id=bench{}", self.cards))?;
        let mine = |told: &Told| told.is("attached") && told.fields["token"] == token.as_str();
        let victim = host_of(&self.desk.wait(mark, "attached", mine)?)?;
        let (shell, _) = self.desk.wait_for_prompt(&victim, &token)?;
        self.count_desertions("");
        std::thread::sleep(SPREAD.mul_f64(golden(self.cards)));

        let mark = self.desk.mark();
        let from = Moment::now();
        let hit = self.strike(fault, &victim)?;
        let elsewhere = |told: &Told| mine(told) && told.host() != Some(&victim);
        let attached = self.desk.wait(mark, "attached to another host", elsewhere)?;
        let refuge = host_of(&attached)?;
        let (fresh, drawn) = self.desk.wait_for_prompt(&refuge, &token)?;
        if fresh == shell {
            return Err(format!("the shell on {refuge} has the process id of the one on {victim}"));
        }
        let (first, last) = self.logs.wait_until_silent(&victim, from)?;
        gaps.first.add(first);
        gaps.last.add(last);
        gaps.conn_inf.add(self.desk.moment(&attached)?.saturating_duration_since(hit));
        gaps.screen.add(drawn.saturating_duration_since(hit));
        let back = self.desk.wait(mark, "at work again", |told| told.is("failed_over"))?;
        for (part, figures) in [("noticed_ms", &mut gaps.noticed), ("control_ms", &mut gaps.control)] {
            figures.add(self.desk.part(&back, part)?.saturating_duration_since(hit));
        }

        self.repair(fault, &victim)?;
        self.logs.wait_until_all_are_up()?;
        let until_us = Moment::now().wall_us() + u64::try_from(SETTLE.as_micros()).unwrap_or_default();
        self.absences.push(Absence { host: victim.clone(), fault, from_us: from.wall_us(), until_us });
        self.count_desertions(&victim);
        // The shell that took over ends, so that sessions do not pile up.
        self.desk.type_text("exit\n")?;
        let ended = |told: &Told| told.is("exited") || told.is("detached");
        self.desk.wait(mark, "told that the shell has ended", ended)?;
        self.desk.remove()
    }

    /// The moment from which the desk's gap counts: for a kill, just before the first process died.
    fn strike(&mut self, fault: Fault, victim: &str) -> Outcome<Instant> {
        match fault {
            Fault::Kill => {
                let hit = self.world.kill(victim).map_err(cannot("kill a host"))?;
                self.logs.read()?;
                self.logs.forget_what_is_said_by(victim);
                Ok(hit)
            }
            Fault::Freeze => self.world.freeze(victim).map_err(cannot("freeze a host")),
            Fault::Cut => self.world.cut(victim).map_err(cannot("cut a host off")),
        }
    }

    fn repair(&mut self, fault: Fault, victim: &str) -> Outcome<()> {
        match fault {
            Fault::Kill => self.world.start_host(victim),
            Fault::Freeze => self.world.thaw(victim),
            Fault::Cut => self.world.heal(victim),
        }
        .map_err(cannot("repair a host"))
    }

    /// Takes note of whatever the desk told since the last call that befits only a host which is away.
    fn count_desertions(&mut self, away: &str) {
        let trouble = |told: &&Told| ["lost", "held", "display_lost"].iter().any(|event| told.is(event));
        let news = self.desk.events.iter().skip(self.seen);
        let odd: Vec<&Told> = news.filter(trouble).filter(|told| told.host() != Some(away)).collect();
        self.deserted += odd.len();
        for told in odd {
            eprintln!("the desk left a live host: {}", told.fields);
        }
        self.seen = self.desk.events.len();
    }

    /// Puts the logs where they outlive the lab.
    fn keep_logs(&self) -> String {
        let kept = std::env::temp_dir().join(format!("hotdesk-failover-logs-{}", std::process::id()));
        match self.world.copy_logs(&kept) {
            Ok(()) => kept.display().to_string(),
            Err(error) => format!("no place ({error})"),
        }
    }

    /// What was said of hosts that lived, over the whole part.
    fn alarms(&mut self) -> Outcome<String> {
        self.logs.read()?;
        if !self.began.clocks_agree() {
            return Err("the clock was set meanwhile; measure again".to_owned());
        }
        let silent = self.logs.records.iter().filter(|r| r.said == Said::Silent);
        let of_this_part = silent.filter(|r| r.at_us >= self.began.wall_us());
        let false_ones: Vec<&Record> =
            of_this_part.filter(|record| !self.absences.iter().any(|a| a.explains(record))).collect();
        for record in &false_ones {
            let at = Duration::from_micros(record.at_us - self.began.wall_us());
            eprintln!("false alarm: {} called {} silent after {at:?}", record.by, record.about);
        }
        Ok(format!(
            "false alarms of hosts: {}; of the desk: {}; times a host noticed that it had not been run itself: {}",
            false_ones.len(),
            self.deserted,
            self.logs.absences,
        ))
    }
}

fn host_of(told: &Told) -> Outcome<String> {
    told.host().map(str::to_owned).ok_or(format!("a host without a name: {}", told.fields))
}

/// Numbers between 0 and 1 that are spread evenly, however many are taken.
fn golden(n: u64) -> f64 {
    (n as f64 * 0.618_033_988_749_895).fract()
}
