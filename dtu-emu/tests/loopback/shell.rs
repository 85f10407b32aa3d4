//! Real DTUs against small hosts over loopback.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::support::{FakeHost, Group, Policy};
use dtu_emu::dtu::{Config, DtuEvent, Fault, Loss, Shows};
use dtu_emu::io::fleet::{FleetOptions, FleetTokens};
use dtu_emu::io::{Clock, DtuId, NewDtu, Options, Shell, ShellHandle, Told, Trust, fleet};
use proto::alp::{BusyReason, Cause};
use proto::io::tls::dtu::DtuSecret;
use tokio::sync::mpsc;

/// Long enough for a machine that is busy with other tests; nothing waits this long when it works.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    handle: ShellHandle,
    told: mpsc::UnboundedReceiver<Told>,
    desk: DtuId,
}

fn options(group: &Group, last: u8) -> Options {
    Options {
        trust: Trust::of_ca(group.keys.path()).unwrap(),
        bind: Some(Ipv4Addr::new(127, 0, 211, last)),
        port: group.port,
        multicast: None,
        workers: None,
    }
}

impl Bench {
    async fn boot(options: Options, servers: &[&FakeHost]) -> Self {
        let mut config = Config::new("0200000000aa".parse().unwrap(), proto::io::random());
        config.servers = servers.iter().map(|host| host.addr()).collect();
        config.port = options.port;
        let (tell, told) = mpsc::unbounded_channel();
        let (shell, handle) = Shell::new(options, Clock::start(), tell);
        tokio::spawn(shell.run());
        let desk = handle
            .add(NewDtu { config, bind: None, screen: true, card: None, identity: None })
            .await
            .unwrap();
        Self { handle, told, desk }
    }

    /// The next event that is wanted; others before it are passed over.
    async fn event<T>(&mut self, mut wanted: impl FnMut(&DtuEvent) -> Option<T>) -> T {
        let mut passed = Vec::new();
        let waiting = async {
            loop {
                let told = self.told.recv().await.expect("the shell runs");
                if let Some(found) = wanted(&told.event) {
                    return found;
                }
                passed.push(told.event);
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        found.unwrap_or_else(|_| panic!("not within {PATIENCE:?}, but {passed:?}"))
    }

    async fn named(&mut self, name: &str) -> DtuEvent {
        self.event(|event| (event.name() == name).then(|| event.clone())).await
    }

    async fn shows(&self, text: &str) {
        let mut changes = self.handle.changes(self.desk).await.unwrap();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                let lines = self.handle.look(self.desk).await.unwrap().lines;
                if lines.iter().any(|line| line.contains(text)) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("no {text:?} on the screen: {:?}", self.handle.look(self.desk).await.unwrap());
        }
    }

    async fn types(&self, text: &str) {
        self.handle.type_keys(self.desk, text.as_bytes().to_vec()).await;
    }
}

#[tokio::test]
async fn a_desk_finds_a_host_by_broadcast_attaches_and_what_is_typed_comes_back() {
    let group = Group::new(27_101);
    let host = group.host("a", 11).await;
    let mut bench = Bench::boot(options(&group, 11), &[]).await;
    bench.named("attached").await;
    bench.shows("a$").await;
    bench.types("echo hello\r").await;
    bench.shows("a$ echo hello").await;
    host.print("printed by the session");
    bench.shows("printed by the session").await;
    assert_eq!(host.asked()[0].real_ip, Some(Ipv4Addr::new(127, 0, 211, 11)));
}

#[tokio::test]
async fn a_card_put_in_and_taken_out_is_presented_and_removed() {
    let group = Group::new(27_102);
    let host = group.host("a", 12).await;
    let mut bench = Bench::boot(options(&group, 12), &[&host]).await;
    bench.named("shown").await;
    bench.handle.insert(bench.desk, "card type=card id=5".parse().unwrap()).await;
    bench.named("shown").await;
    bench.handle.remove(bench.desk).await;
    bench.named("shown").await;
    let asked: Vec<_> = host.asked().iter().map(|i| format!("{} {}", i.event, i.presented)).collect();
    assert_eq!(
        asked,
        [
            "insert pseudo.0200000000aa",
            "remove pseudo.0200000000aa",
            "insert card.5",
            "remove card.5",
            "insert pseudo.0200000000aa"
        ]
    );
}

#[tokio::test]
async fn a_redirect_leads_to_the_other_host_with_its_ticket() {
    let group = Group::new(27_103);
    let (a, b) = (group.host("a", 13).await, group.host("b", 14).await);
    a.set_policy(Policy::Redirect("b".parse().unwrap(), b.addr()));
    let mut bench = Bench::boot(options(&group, 13), &[&a]).await;
    bench.named("redirected").await;
    bench.shows("b$").await;
    let asked = &b.asked()[0];
    assert_eq!((asked.cause, asked.redirect_props.as_deref()), (Some(Cause::Redirect), Some("ticket")));
}

#[tokio::test]
async fn a_refused_desk_says_why() {
    let group = Group::new(27_104);
    let host = group.host("a", 15).await;
    host.set_policy(Policy::Deny("This card is not registered."));
    let mut bench = Bench::boot(options(&group, 15), &[&host]).await;
    bench.named("denied").await;
    bench.shows("This card is not registered.").await;
}

#[tokio::test]
async fn after_a_kill_the_desk_is_at_work_on_the_other_host() {
    let group = Group::new(27_105);
    let (a, b) = (group.host("a", 16).await, group.host("b", 17).await);
    a.knows(&[&b]);
    let mut bench = Bench::boot(options(&group, 16), &[&a]).await;
    bench.shows("a$").await;
    a.kill().await;
    let gap = bench
        .event(|event| match event {
            DtuEvent::FailedOver { gap, .. } => Some(*gap),
            _ => None,
        })
        .await;
    bench.shows("b$").await;
    bench.types("on\r").await;
    bench.shows("b$ on").await;
    assert!(gap.screen - gap.noticed < Duration::from_secs(5), "{gap:?}");
}

#[tokio::test]
async fn a_frozen_host_is_noticed_though_its_kernel_still_accepts() {
    let group = Group::new(27_106);
    let (a, b) = (group.host("a", 18).await, group.host("b", 19).await);
    a.knows(&[&b]);
    let mut bench = Bench::boot(options(&group, 18), &[&a]).await;
    bench.shows("a$").await;
    a.freeze();
    let DtuEvent::Lost { why, .. } = bench.named("lost").await else { unreachable!() };
    assert_eq!(why, Loss::Silent);
    bench.shows("b$").await;
    let gap = bench
        .event(|event| match event {
            DtuEvent::FailedOver { gap, .. } => Some(*gap),
            _ => None,
        })
        .await;
    assert!(gap.noticed >= proto::beacon::INTERVAL * 2, "{gap:?}");
    assert!(gap.screen < Duration::from_secs(10), "{gap:?}");
}

#[tokio::test]
async fn a_host_of_another_group_is_not_trusted() {
    let (group, other) = (Group::new(27_107), Group::new(27_107));
    let stranger = other.host("a", 20).await;
    let mut bench = Bench::boot(options(&group, 20), &[&stranger]).await;
    let DtuEvent::HostFailed { fault, .. } = bench.named("host_failed").await else { unreachable!() };
    assert!(matches!(fault, Fault::Tls(_)), "{fault:?}");
    assert!(stranger.asked().is_empty());
}

#[tokio::test]
async fn with_no_host_the_screen_says_so_and_the_first_one_ends_it() {
    let group = Group::new(27_108);
    let mut bench = Bench::boot(options(&group, 21), &[]).await;
    bench.named("no_host").await;
    bench.shows("No host can be reached.").await;
    let _host = group.host("a", 21).await;
    bench.shows("a$").await;
}

#[tokio::test]
async fn in_the_clear_only_where_that_is_wanted() {
    let group = Group::new(27_109);
    let host = group.host("a", 22).await;
    let plain = Options { trust: Trust::Plain, ..options(&group, 22) };
    let bench = Bench::boot(plain, &[&host]).await;
    bench.shows("a$").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_spread_over_addresses_and_reports_where_it_is() {
    let group = Group::new(27_110);
    let (a, b) = (group.host("a", 23).await, group.host("b", 24).await);
    a.knows(&[&b]);
    let fleet = FleetOptions {
        count: 40,
        first: 1000,
        rate: 400,
        tokens: FleetTokens::Cards,
        shows: Shows::Display,
        servers: vec![a.addr()],
        timing: dtu_emu::dtu::Timing::default(),
        seconds: Some(PATIENCE),
        until_attached: true,
        json: true,
        keys: Some(DtuSecret::new([7; 32])),
        spread: Some(Ipv4Addr::new(127, 0, 212, 1)),
    };
    let report = fleet::run(options(&group, 23), fleet, |_| {}).await;
    assert_eq!((report.attached, report.first_attach.n), (40, 40), "{report:?}");
    assert_eq!(report.hosts.values().sum::<usize>(), 40);
    let proved = [a.proved(), b.proved()].concat().into_iter().collect::<Option<BTreeSet<_>>>();
    assert_eq!(proved.map(|keys| keys.len()), Some(40), "each proves a key of its own");
    let asked = [a.asked(), b.asked()].concat();
    let cards: Vec<_> =
        asked.iter().map(|info| (info.presented.to_string(), info.real_ip.unwrap())).collect();
    assert_eq!(cards.len(), 40, "each presents its card once and nothing else");
    assert!(cards.contains(&("card.fleet1000".to_owned(), Ipv4Addr::new(127, 0, 212, 1))), "{cards:?}");
    assert!(cards.contains(&("card.fleet1039".to_owned(), Ipv4Addr::new(127, 0, 212, 40))), "{cards:?}");
}

/// Said in plain text where the DTU expects TLS, and by a host that has read nothing of what it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_takes_no_more_connections_says_why_before_tls() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let group = Group::new(27_111);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::new(127, 0, 210, 41), group.port)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"busyInf reason=address\n").await.unwrap();
            stream.shutdown().await.unwrap();
            drop(stream.read_to_end(&mut Vec::new()).await);
        }
    });
    let mut bench = Bench::boot(options(&group, 41), &[]).await;
    let SocketAddr::V4(addr) = addr else { panic!("{addr}") };
    let mut config = Config::new("0200000000ab".parse().unwrap(), proto::io::random());
    config.servers = vec![addr];
    config.port = group.port;
    let _desk = bench
        .handle
        .add(NewDtu { config, bind: None, screen: true, card: None, identity: None })
        .await
        .unwrap();
    let fault = bench
        .event(|event| match event {
            DtuEvent::HostFailed { fault, .. } => Some(fault.clone()),
            _ => None,
        })
        .await;
    assert_eq!(fault, Fault::Busy(Some(BusyReason::Address)));
}
