//! Whether strangers who hold connections slow down those who work: `cargo bench -p hotdesk --bench strangers`.
//!
//! Three hosts and a data store on loopback addresses. From one address, or from ten, a program holds so many connections
//! to each host and says nothing on them; whatever a host closes it opens again. Beside it, in turn: a card is presented
//! over a fresh connection, from `connect` to `connInf` with a session of its own; and a desk's host is killed, from that
//! moment to `connInf` from another and to the prompt of a fresh shell on the screen. Last, the strangers begin as many
//! TLS handshakes and end none.
//!
//! `-- --rounds N` asks for N logins, and a quarter as many failovers, of each kind.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and waits"
)]

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use lab::backend::Ground;
use proto::Serial;
use proto::alp::{Access, FromDtu, FromHost};
use proto::io::KeyDir;
use rustls::ClientConfig;
use support::client::{self, Talk};
use support::desk::{Desk, Told};
use support::figures::Figures;
use support::holding::{self, Holding};
use support::lab::Lab;
use support::logs::Logs;
use support::{Arguments, Ending, Outcome, cannot};

/// Logins of each kind, unless the command line says otherwise.
const ROUNDS: usize = 60;
const HOSTS: usize = 3;
/// Failovers of each kind, for so many logins.
const LOGINS_A_FAILOVER: usize = 4;
/// Connections held at each host, from how many addresses, and whether a TLS handshake is begun on each.
const KINDS: [(usize, usize, bool); 7] = [
    (0, 1, false),
    (400, 1, false),
    (1000, 1, false),
    (2000, 1, false),
    (1000, 10, false),
    (1000, 1, true),
    (0, 1, false),
];

fn main() -> ExitCode {
    if let Some(done) = holding::run() {
        return done;
    }
    match Arguments::read("strangers", ROUNDS).and_then(|a| a.map_or(Ok(()), |a| measure(&a))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("strangers: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    support::enter_loopback_of_our_own()?;
    let ending = Ending::hold()?;
    println!("{HOSTS} hosts on loopback, {}; milliseconds, median / p99", support::machine());
    println!(
        "{:<44} {:>13} {:>17} {:>15} {:>15}",
        "held at each host", "login", "failover: noticed", "connInf", "prompt"
    );
    support::go_first();
    let mut scene = Scene::new(&ending)?;
    for (count, addresses, begins) in KINDS {
        let holding = Holding::start(&scene.world, count, addresses, begins)?;
        let mut login = Figures::default();
        let mut gaps = Gaps::default();
        for round in 0..arguments.rounds {
            scene.login(&mut login)?;
            if round % LOGINS_A_FAILOVER == 0 {
                scene.failover(&mut gaps)?;
            }
        }
        let what = match (count, addresses, begins) {
            (0, ..) => "nothing".to_owned(),
            (_, 1, false) => format!("{count} silent connections of one address"),
            (_, _, false) => format!("{count} silent connections of {addresses} addresses"),
            (..) => format!("{count} handshakes of one address, never ended"),
        };
        let pair = |figures: &Figures| format!("{:.1} / {:.1}", figures.median(), figures.at(99));
        let [login, noticed, conn_inf, prompt] =
            [&login, &gaps.noticed, &gaps.conn_inf, &gaps.prompt].map(pair);
        println!("{what:<44} {login:>13} {noticed:>17} {conn_inf:>15} {prompt:>15}");
        drop(holding);
    }
    Ok(())
}

/// From the kill of a host to what its desk has of another one.
#[derive(Default)]
struct Gaps {
    noticed: Figures,
    conn_inf: Figures,
    prompt: Figures,
}

struct Scene {
    // The desk first: it lives on a machine of the world.
    desk: Desk,
    logs: Logs,
    world: Lab,
    tls: Arc<ClientConfig>,
    cards: u64,
}

impl Scene {
    fn new(ending: &Ending) -> Outcome<Self> {
        let world = support::start_group(Ground::Loopback, HOSTS, ending)?;
        let mut logs = Logs::of(&world);
        logs.wait_until_all_are_up()?;
        support::put_template(&world)?;
        let keys = KeyDir::open(&world.files().join("keys"));
        let tls = keys.and_then(|keys| keys.client_tls());
        let desk = Desk::start(&world)?;
        Ok(Self { desk, logs, world, tls: tls.map_err(cannot("the keys"))?, cards: 0 })
    }

    /// A desk is switched on with a card that nobody has seen.
    fn login(&mut self, figures: &mut Figures) -> Outcome<()> {
        self.cards += 1;
        let card = format!("login{}", self.cards);
        let serial: Serial = "02000000be9d".parse().map_err(cannot("a serial"))?;
        let (mut addr, mut ticket) = (client::host_address(&self.world, "host-a"), None);
        let began = Instant::now();
        loop {
            let stream = client::connect(&self.world, support::DESK, addr)?;
            let mut talk = Talk::open(stream, &self.tls, &serial)?;
            match talk.present(&card, ticket.take())? {
                FromHost::ConnInf(conn) if conn.access == Access::Allowed => {
                    figures.add(began.elapsed());
                    talk.say(&FromDtu::ConnRsp { access: Access::Allowed })?;
                    return talk.beat();
                }
                FromHost::RedirectInf(redirect) => {
                    (addr, ticket) = (redirect.addr, redirect.props);
                    talk.leave()?;
                }
                other => return Err(format!("{other:?} is no session")),
            }
        }
    }

    fn failover(&mut self, gaps: &mut Gaps) -> Outcome<()> {
        self.cards += 1;
        let token = format!("card.desk{}", self.cards);
        let mark = self.desk.mark();
        self.desk.insert(&format!("card type=card id=desk{}", self.cards))?;
        let mine = |told: &Told| told.is("attached") && told.fields["token"] == token.as_str();
        let victim = host_of(&self.desk.wait(mark, "attached", mine)?)?;
        self.desk.wait_for_prompt(&victim, &token)?;

        let mark = self.desk.mark();
        let hit = self.world.kill(&victim).map_err(cannot("kill a host"))?;
        self.logs.read()?;
        self.logs.forget_what_is_said_by(&victim);
        let elsewhere = |told: &Told| mine(told) && told.host() != Some(&victim);
        let attached = self.desk.wait(mark, "attached to another host", elsewhere)?;
        let refuge = host_of(&attached)?;
        let (_, drawn) = self.desk.wait_for_prompt(&refuge, &token)?;
        let lost = self.desk.wait(mark, "lost", |told| told.is("lost"))?;
        gaps.noticed.add(self.desk.moment(&lost)?.saturating_duration_since(hit));
        gaps.conn_inf.add(self.desk.moment(&attached)?.saturating_duration_since(hit));
        gaps.prompt.add(drawn.saturating_duration_since(hit));
        self.desk.remove()?;
        self.world.start_host(&victim).map_err(cannot("start a host"))?;
        self.logs.wait_until_all_are_up()
    }
}

fn host_of(told: &Told) -> Outcome<String> {
    told.host().map(str::to_owned).ok_or(format!("a host without a name: {}", told.fields))
}
