//! The epoch of a session never falls.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use groupmgr::host::ClaimRecord;
use proto::Epoch;
use sessiond::manager::Claim;
use tests::scene::desk_with_session;
use tests::world::{HostPlan, World, ms, secs};

fn write_claim(w: &mut World, token: &str, claim: &ClaimRecord) {
    w.store_put(&format!("claim/{token}"), core::str::from_utf8(claim.value().unwrap().as_bytes()).unwrap());
}

/// The daemon of h1 is not run for a moment, after which it looks at its claims.
fn look_at_claims_again(w: &mut World) {
    w.stop_daemon("h1");
    w.run_for(ms(290));
    w.continue_daemon("h1");
    w.run_for(secs(1));
}

/// Whoever refuses what is older goes by the epoch.
#[test]
fn whatever_became_of_its_claim_the_epoch_of_a_session_never_falls() {
    let (one, two) = (Epoch { generation: 1, counter: 1 }, Epoch { generation: 1, counter: 2 });
    let found: [(&str, Option<Epoch>, bool); 4] = [
        ("gone", None, false),
        ("older", Some(one), false),
        ("newer", Some(two.next(1)), false),
        ("unreadable", None, true),
    ];
    for (how, epoch, is_unreadable) in found {
        let mut w = World::of(2);
        let desk = desk_with_session(&mut w, "h1", "card.ann");
        let session = w.shows(desk).unwrap();
        w.run_for(secs(3));
        // A write whose answer was lost has left it at two.
        let held = ClaimRecord { epoch: two, ..w.claim_on("card.ann").unwrap() };
        write_claim(&mut w, "card.ann", &held);
        look_at_claims_again(&mut w);
        assert_eq!(w.claim_on("card.ann").unwrap(), held, "{how}: it is held as it stands\n{}", w.story());
        match epoch {
            Some(epoch) => write_claim(&mut w, "card.ann", &ClaimRecord { epoch, ..held.clone() }),
            None if is_unreadable => w.store_put("claim/card.ann", "claim of=another version"),
            None => w.store_delete("claim/card.ann"),
        }
        look_at_claims_again(&mut w);
        w.run_for(secs(5));
        let now = w.claim_on("card.ann").unwrap();
        assert!(
            now.session == session && now.epoch >= two.max(epoch.unwrap_or(two)),
            "{how}: {now:?}\n{}",
            w.story()
        );
        assert_eq!(w.epoch_of("h1", session), Some(now.epoch), "{how}: its host knows");
        assert_eq!(w.claim_of("h1", session), Some(Claim::Held), "{how}");
    }
}

/// A record of this session in an earlier run of its host stands for a host that is gone.
#[test]
fn a_claim_of_an_earlier_run_of_its_host_is_written_anew() {
    let mut w = World::of(2);
    let _desk = desk_with_session(&mut w, "h1", "card.ann");
    w.run_for(secs(3));
    let held = w.claim_on("card.ann").unwrap();
    write_claim(&mut w, "card.ann", &ClaimRecord { boot: proto::BootId(1), ..held.clone() });
    look_at_claims_again(&mut w);
    assert_eq!(w.claim_on("card.ann"), Some(held), "\n{}", w.story());
}

/// A daemon died after the store had raised the epoch and before the session's process was told. Meanwhile another host
/// took the claim over and gave it back.
#[test]
fn a_session_that_was_kept_may_have_had_a_higher_epoch_than_it_was_told() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2")]);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    w.remove(desk);
    w.run_for(secs(3));
    let held = w.claim_on("card.ann").unwrap();
    w.kill("h1");
    let risen = ClaimRecord { epoch: held.epoch.next(held.epoch.generation), ..held };
    write_claim(&mut w, "card.ann", &risen);
    w.store_delete("claim/card.ann");
    w.start("h1");
    w.run_for(secs(5));
    let now = w.claim_on("card.ann").unwrap();
    assert!(now.session == session && now.epoch >= risen.epoch, "{now:?}\n{}", w.story());
    assert_eq!(w.epoch_of("h1", session), Some(now.epoch));
}
