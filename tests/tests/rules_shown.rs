//! A token is shown on one desk at a time, whatever hosts' clocks say and whatever was not heard.

use tests::world::{DeskId, DeskPlan, HostPlan, Rule, Way, World, ms, secs};

const HOUR_MS: i64 = 3_600_000;
const DECADE_MS: i64 = 10 * 365 * 24 * HOUR_MS;

fn shown_at(w: &World, desks: &[DeskId]) -> usize {
    desks.iter().filter(|desk| w.shows(**desk).is_some()).count()
}

#[test]
fn what_is_no_longer_shown_is_not_announced_again() {
    let mut w = World::of(2);
    let lan = w.lan();
    w.set_clock("h1", HOUR_MS);
    let d = w.add_desk(DeskPlan::named("d", lan).server("h1").card("card.ann"));
    w.expect(d).attached_to("h1").within(secs(1));
    let session = w.shows(d).unwrap();
    // Longer than a session lives that is not made anew by itself; then it is announced once more.
    w.run_for(secs(3));
    w.remove(d);
    w.run_for(ms(500));
    w.insert(d, "card.ann");
    w.expect(d).showing(session).within(secs(1));
    // The next one is made on h2, whose clock says an earlier time, while h1 would still repeat its announcement.
    w.set_load("h1", 3_000, 4_000);
    w.kill_session("h1", session);
    w.expect(d).attached_to("h2").within(ms(400));
    w.expect(d).attached_to("h2").throughout(secs(2));
}

#[test]
fn whoever_shows_a_token_later_answers_one_that_shows_it_earlier() {
    let mut w = World::of(2);
    let lan = w.lan();
    w.set_clock("h1", HOUR_MS);
    let first = w.add_desk(DeskPlan::named("d1", lan).server("h1").card("card.ann"));
    w.expect(first).attached_to("h1").within(secs(1));
    w.run_for(secs(1));
    // For less than a host takes to be silent h1 hears nothing: h2 cannot ask it, and its clock says an earlier time.
    w.set_rule("h1", lan, Way::In, Rule { cut: true, ..Rule::default() });
    let second = w.add_desk(DeskPlan::named("d2", lan).server("h2").card("card.ann"));
    w.expect(second).attached_to("h2").within(ms(280));
    w.heal("h1", lan);
    let one = move |w: &World| shown_at(w, &[first, second]) == 1;
    w.expect_that("one of both shows it", one).within(secs(1));
    w.expect_that("one of both shows it", one).throughout(secs(2));
}

/// Its host's clock is set ten years ahead or back: what it says of when cards were put in is absurd to the others, and
/// what they say is old to it.
#[test]
fn a_card_moves_between_hosts_whose_clocks_are_years_apart() {
    for (hosts, off) in [(2, DECADE_MS), (2, -DECADE_MS), (4, DECADE_MS), (4, -DECADE_MS)] {
        let mut w = World::of(hosts);
        let lan = w.lan();
        let desks = ["h1", "h2"].map(|at| w.add_desk(DeskPlan::named(&format!("at-{at}"), lan).server(at)));
        // Apart, each of two hosts makes the card a session.
        w.split(lan, &["h2"], &[desks[1]]);
        for desk in desks {
            w.insert(desk, "card.ann");
            w.run_for(secs(1));
        }
        w.join(lan);
        w.run_for(secs(2));
        assert_eq!(shown_at(&w, &desks), 1, "{hosts} hosts, {off} ms");
        w.set_clock("h2", off);
        for round in 0..4 {
            let to = desks[(round + 1) % 2];
            w.remove(to);
            w.insert(to, "card.ann");
            w.run_for(ms(300));
            let shown = desks.map(|desk| w.shows(desk));
            assert!(w.shows(to).is_some(), "{hosts} hosts, {off} ms, round {round}: {shown:?}");
            assert_eq!(shown_at(&w, &desks), 1, "{hosts} hosts, {off} ms, round {round}: {shown:?}");
        }
        w.set_clock("h2", 0);
        w.run_for(ms(300));
        let one = move |w: &World| shown_at(w, &desks) == 1;
        w.expect_that("one of both shows it", one).throughout(secs(3));
    }
}

/// What a host is told when it comes up may be lost, or come before it knows who says it.
#[test]
fn after_a_partition_one_desk_of_a_token_shows_it_though_half_of_what_is_said_is_lost() {
    for seed in 0..40 {
        let mut w = World::new(seed);
        let lan = w.add_lan("lan", "10.0.0.0", 16);
        ["h1", "h2"].into_iter().for_each(|host| w.add_host(HostPlan::named(host).on(lan)));
        w.set_clock("h1", HOUR_MS);
        let desks = ["h1", "h2"].map(|at| w.add_desk(DeskPlan::named(&format!("at-{at}"), lan).server(at)));
        w.split(lan, &["h2"], &[desks[1]]);
        for desk in desks {
            w.insert(desk, "card.ann");
            w.run_for(secs(1));
        }
        w.set_rule("h1", lan, Way::Out, Rule { loss: 0.5, ..Rule::default() });
        w.join(lan);
        w.run_for(ms(600));
        w.set_rule("h1", lan, Way::Out, Rule::default());
        w.run_for(secs(2));
        assert!(shown_at(&w, &desks) <= 1, "seed {seed}");
    }
}
