//! A token is shown on one desk at a time, whatever hosts' clocks say and whatever was not heard.

use tests::world::{DeskId, DeskPlan, Rule, Way, World, ms, secs};

const HOUR_MS: i64 = 3_600_000;

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
