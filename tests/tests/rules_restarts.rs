//! Sessions that outlive their daemon are their tokens' through every restart.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use proto::SessionId;
use tests::scene::desk_with_session;
use tests::world::{DeskId, DeskPlan, HostPlan, World, ms, secs};

/// h1, and h2 which keeps its sessions, among them one of card.ann; she has taken her card out again.
struct Kept {
    w: World,
    session: SessionId,
    /// A desk of h1, where no card is.
    other: DeskId,
}

fn kept() -> Kept {
    let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").keep()]);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let session = w.shows(desk).unwrap();
    w.remove(desk);
    let other = w.add_desk(DeskPlan::named("other", lan).server("h1"));
    w.expect(other).attached_to("h1").within(secs(2));
    w.run_for(ms(300));
    Kept { w, session, other }
}

#[test]
fn a_kept_session_carries_its_claim_over_to_the_next_run() {
    let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").keep()]);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let before = w.claim_on("card.ann").unwrap();
    w.restart("h2");
    w.expect(desk).attached_to("h2").within(secs(1));
    w.run_for(secs(1));
    let after = w.claim_on("card.ann").unwrap();
    assert_eq!((after.session, after.epoch), (before.session, before.epoch), "it is the same session");
    assert_eq!(Some(after.boot), w.boot_of("h2"));
}

#[test]
fn a_desk_that_comes_while_kept_sessions_are_taken_up_gets_its_own() {
    for pause in [0, 1, 2, 5] {
        let mut w = World::of_hosts([HostPlan::named("h1").keep()]);
        let desk = desk_with_session(&mut w, "h1", "card.ann");
        w.remove(desk);
        w.restart("h1");
        w.run_for(ms(pause));
        let lan = w.lan();
        let d = w.add_desk(DeskPlan::named("d", lan).server("h1").card("card.ann"));
        w.expect(d).attached_to("h1").within(ms(700));
        assert_eq!(w.sessions_of("card.ann").len(), 1, "\n{}", w.story());
    }
}

/// Its sessions could not answer while nothing on the machine ran.
#[test]
fn a_machine_that_stands_still_while_it_takes_up_its_sessions_gives_none_of_them_up() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2")]);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    w.remove(desk);
    w.restart("h1");
    w.freeze("h1");
    w.run_for(secs(20));
    w.thaw("h1");
    w.run_for(secs(1));
    w.insert(desk, "card.ann");
    w.expect(desk).showing(session).within(secs(1));
}

/// The card was taken out of the desk where its session is shown, and is put in at another host while the daemon of
/// its host comes back.
#[test]
fn a_card_put_in_while_the_daemon_of_its_host_starts_again_gets_the_session_that_was_kept() {
    for (n, down) in [0, 40, 200, 400, 1_500, 6_000].into_iter().enumerate() {
        for offset in (-60 - n as i64..=400).step_by(23) {
            for by_kill in if offset % 2 == 0 { [true] } else { [false] } {
                let Kept { mut w, session, other } = kept();
                if by_kill {
                    w.kill("h2");
                } else {
                    w.stop("h2");
                }
                let put_in = down + offset;
                if put_in < 0 {
                    continue;
                }
                let (first, then) = (down.min(put_in) as u64, down.max(put_in) as u64);
                w.run_for(ms(first));
                if down <= put_in {
                    w.start("h2");
                } else {
                    w.insert(other, "card.ann");
                }
                w.run_for(ms(then - first));
                if down <= put_in {
                    w.insert(other, "card.ann");
                } else {
                    w.start("h2");
                }
                w.run_for(secs(3));
                let all = w.sessions_of("card.ann");
                assert_eq!(all.len(), 1, "down {down}, offset {offset}, {by_kill}\n{}", w.story());
                assert_eq!(w.shows(other), Some(session), "down {down}, offset {offset}\n{}", w.story());
            }
        }
    }
}

/// The next daemon has its sockets before it answers: then nothing refuses a question, while nothing is heard either.
#[test]
fn a_daemon_that_was_refused_and_becomes_silent_while_it_starts_again_is_waited_for() {
    for down in (150..=330).step_by(5) {
        let Kept { mut w, session, other } = kept();
        w.kill("h2");
        w.run_for(ms(4));
        w.insert(other, "card.ann");
        w.run_for(ms(down - 4));
        w.start("h2");
        w.run_for(secs(3));
        assert_eq!(w.sessions_of("card.ann").len(), 1, "down {down}\n{}", w.story());
        assert_eq!(w.shows(other), Some(session), "down {down}\n{}", w.story());
    }
}

/// Sessions whose processes take long to say whose they are: nobody may think that they are not there.
#[test]
fn a_session_that_is_slow_to_say_whose_it_is_is_waited_for() {
    let Kept { mut w, session, other } = kept();
    let lan = w.lan();
    let own = w.add_desk(DeskPlan::named("own", lan).server("h2"));
    w.run_for(secs(1));
    for other in [other, own] {
        w.kill("h2");
        w.freeze("h2");
        w.start("h2");
        // The daemon runs, and the session's process does not.
        w.run_for(ms(2_500));
        w.insert(other, "card.ann");
        w.run_for(ms(1_500));
        assert_eq!(w.sessions_of("card.ann").len(), 1, "\n{}", w.story());
        w.thaw("h2");
        w.expect(other).showing(session).within(secs(2));
        w.remove(other);
        w.run_for(secs(2));
    }
}

/// The same without the store, whose claim tells where the session is: only the host itself can.
#[test]
fn while_the_store_is_away_too_a_session_that_is_slow_to_say_whose_it_is_is_waited_for() {
    for slow in [300, 1_000, 2_000] {
        let Kept { mut w, session, other } = kept();
        w.kill_store();
        w.kill("h2");
        w.freeze("h2");
        w.start("h2");
        w.run_for(ms(2_500));
        w.insert(other, "card.ann");
        w.run_for(ms(slow));
        w.thaw("h2");
        w.expect(other).showing(session).within(secs(2));
        assert_eq!(w.sessions_of("card.ann").len(), 1, "{slow}\n{}", w.story());
    }
}

#[test]
fn a_daemon_serves_after_two_seconds_though_a_session_that_it_kept_does_not_say_whose_it_is() {
    let Kept { mut w, .. } = kept();
    w.kill("h2");
    w.freeze("h2");
    w.start("h2");
    w.run_for(ms(2_500));
    assert!(w.is_up_at("h2", "h1"), "\n{}", w.story());
    assert_eq!(w.done("h2", "was_away"), 0, "nothing stood still but the session\n{}", w.story());
}

/// Without the store no claim tells where the session is.
#[test]
fn while_the_store_is_away_too_a_daemon_that_starts_again_is_waited_for() {
    let Kept { mut w, session, other } = kept();
    w.run_for(secs(11));
    w.kill_store();
    w.run_for(secs(1));
    w.kill("h2");
    w.run_for(ms(100));
    w.insert(other, "card.ann");
    w.run_for(secs(1));
    w.start("h2");
    w.expect(other).showing(session).within(secs(2));
    assert_eq!(w.sessions_of("card.ann").len(), 1, "\n{}", w.story());
}

/// The clock of its host was ten years ahead and has been set right. By its time of last connection its session would
/// win every comparison for ten years.
#[test]
fn a_session_of_when_its_hosts_clock_was_years_ahead_wins_over_nobody() {
    const YEARS: i64 = 10 * 365 * 24 * 3_600_000;
    for restarts in [false, true] {
        let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").keep()]);
        let lan = w.lan();
        w.set_clock("h2", YEARS);
        let desk = desk_with_session(&mut w, "h2", "card.ann");
        let old = w.shows(desk).unwrap();
        w.remove(desk);
        // Cut off, h1 makes the card another session, which has the claim from then on.
        w.cut("h2", lan);
        w.run_for(secs(1));
        let other = w.add_desk(DeskPlan::named("other", lan).server("h1").card("card.ann"));
        w.expect(other).attached_to("h1").within(secs(2));
        let new = w.shows(other).unwrap();
        w.remove(other);
        w.set_clock("h2", 0);
        w.heal("h2", lan);
        if restarts {
            w.restart("h2");
        }
        w.run_for(secs(3));
        for at in ["h2", "h1"] {
            let d = w.add_desk(DeskPlan::named(&format!("at-{at}"), lan).server(at).card("card.ann"));
            w.expect(d).showing(new).within(secs(2));
            w.remove(d);
            w.run_for(secs(1));
        }
        assert!(w.last_of("h2", old).is_some_and(|last| last < w.last_of("h1", new).unwrap()));
    }
}

#[test]
fn a_session_that_is_shown_while_its_hosts_clock_is_set_right_stays_where_it_is() {
    let mut w = World::of(2);
    w.set_clock("h2", 10 * 365 * 24 * 3_600_000);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let session = w.shows(desk).unwrap();
    w.set_clock("h2", 0);
    w.run_for(secs(2));
    let lan = w.lan();
    assert_eq!(w.shows(desk), Some(session));
    let other = w.add_desk(DeskPlan::named("other", lan).server("h1").card("card.ann"));
    w.expect(other).showing(session).within(secs(2));
    assert_eq!(w.shows(desk), None, "and it goes where it is wanted");
}
