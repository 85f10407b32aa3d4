//! Who is admitted, how soon a change of that holds everywhere, and what is told of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what is not there ends the test")]

use groupmgr::host::Note;
use groupmgr::host::admin::{Command, Explanation, Reply};
use tests::scene::{policy, registry};
use tests::world::{DeskPlan, World, ms, secs};

#[test]
fn a_group_can_ask_for_a_card() {
    let mut w = World::of(1);
    let lan = w.lan();
    policy(&mut w, "login pseudo=deny cards=any");
    let d = w.desk("d", lan);
    w.expect(d).noticing("Insert your card").within(secs(1));
    w.insert(d, "card.ann");
    w.expect(d).attached().within(secs(1));
}

#[test]
fn a_group_can_ask_for_registered_cards() {
    let mut w = World::of(2);
    let lan = w.lan();
    policy(&mut w, "login pseudo=deny cards=registered");
    let d = w.add_desk(DeskPlan::named("d", lan).card("card.ann"));
    w.expect(d).noticing("not registered").within(secs(1));
    registry(&mut w, "card.ann", "owner=ann");
    w.remove(d);
    w.run_for(secs(2));
    w.insert(d, "card.ann");
    w.expect(d).attached().within(secs(1));
}

#[test]
fn a_change_of_the_policy_holds_at_every_host_within_a_second() {
    let mut w = World::of(3);
    let lan = w.lan();
    // Hosts that have run for long, so that nothing is due by chance.
    w.run_for(secs(60));
    policy(&mut w, "login pseudo=deny cards=registered");
    for n in 1..7 {
        let d = w.add_desk(DeskPlan::named(&format!("d{n}"), lan).card(&format!("card.{n}")));
        w.expect(d).noticing("not registered").within(secs(1));
    }
    policy(&mut w, "login pseudo=allow cards=any");
    let e = w.add_desk(DeskPlan::named("e", lan).card("card.e"));
    w.expect(e).attached().within(secs(1));
}

#[test]
fn a_card_that_is_disabled_is_refused_within_a_second_also_where_it_was_just_admitted() {
    let mut w = World::of(3);
    let lan = w.lan();
    registry(&mut w, "card.ann", "owner=ann");
    let d = w.add_desk(DeskPlan::named("d", lan).card("card.ann"));
    w.expect(d).attached().within(secs(2));
    w.remove(d);
    registry(&mut w, "card.ann", "owner=ann disabled=true");
    w.run_for(ms(100));
    w.insert(d, "card.ann");
    w.expect(d).noticing("disabled").within(ms(300));
}

#[test]
fn who_admits_whom_and_who_changed_what_is_noted_once_where_it_happens() {
    let mut w = World::of(1);
    let lan = w.lan();
    w.run_for(secs(1));
    registry(&mut w, "card.bob", "disabled=true by=root@s");
    policy(&mut w, "login pseudo=deny cards=any by=ann@s");
    let a = w.add_desk(DeskPlan::named("a", lan).card("card.ann"));
    w.expect(a).attached().within(secs(1));
    let b = w.add_desk(DeskPlan::named("b", lan).card("card.bob"));
    w.expect(b).noticing("disabled").within(secs(1));
    let notes: Vec<Note> = w.notes_since("h1", proto::Instant::ZERO).cloned().collect();
    let count = |wanted: &dyn Fn(&Note) -> bool| notes.iter().filter(|note| wanted(note)).count();
    let ann = "card.ann".parse().unwrap();
    assert_eq!(count(&|n| matches!(n, Note::Admitted { token, .. } if *token == ann)), 1);
    assert_eq!(count(&|n| matches!(n, Note::Denied { why, .. } if why == "disabled")), 1);
    let by = |n: &Note, who: &str| match n {
        Note::PolicyChanged { by, .. } | Note::RegistryChanged { by, .. } => by.as_deref() == Some(who),
        _ => false,
    };
    assert_eq!((count(&|n| by(n, "root@s")), count(&|n| by(n, "ann@s"))), (1, 1), "{notes:?}");
}

#[test]
fn what_was_changed_while_a_host_did_not_reach_the_store_is_noted_there_when_it_does_again() {
    let mut w = World::of(2);
    registry(&mut w, "card.bob", "owner=bob");
    registry(&mut w, "card.eve", "owner=eve");
    w.run_for(secs(2));
    w.cut_store("h1", true);
    w.run_for(secs(20));
    let cut = w.now();
    registry(&mut w, "card.ann", "owner=ann by=root@s");
    registry(&mut w, "card.bob", "owner=bob disabled=true by=root@s");
    w.store_delete("token/card.eve");
    policy(&mut w, "login pseudo=deny cards=any by=root@s");
    w.cut_store("h1", false);
    w.run_for(secs(20));
    let changes = |w: &World, host: &str| {
        let mut seen = Vec::new();
        for note in w.notes_since(host, cut) {
            match note {
                Note::PolicyChanged { policy, by, late } => seen.push((policy.clone(), by.clone(), *late)),
                Note::RegistryChanged { token, record, by, late } => {
                    let record = record.as_deref().unwrap_or("deleted");
                    seen.push((Some(format!("{token} {record}")), by.clone(), *late));
                }
                _ => {}
            }
        }
        seen.sort();
        seen
    };
    let expected = |late: bool| {
        let root = Some("root@s".to_owned());
        [
            ("card.ann owner=ann", root.clone()),
            ("card.bob owner=bob disabled=true", root.clone()),
            ("card.eve deleted", None),
            ("login pseudo=deny cards=any dtus=any", root),
        ]
        .map(|(what, by)| (Some(what.to_owned()), by, late))
    };
    assert_eq!(changes(&w, "h1"), expected(true));
    assert_eq!(changes(&w, "h2"), expected(false));
}

fn explain(w: &mut World, token: &str) -> Explanation {
    let reply = w.ask("h1", Command::Explain(token.parse().unwrap()));
    let Reply::Explain(explanation) = reply else { panic!("{reply:?}") };
    explanation
}

#[test]
fn explain_begins_with_whether_the_token_is_admitted_and_why() {
    let mut w = World::of(1);
    w.run_for(secs(1));
    let any = explain(&mut w, "card.ann");
    assert!(any.admitted == Some(true) && any.admission.contains("cards=any"), "{any:?}");
    registry(&mut w, "card.lost", "owner=ann disabled=true");
    registry(&mut w, "card.new", "owner=ann alias=card.lost");
    policy(&mut w, "login pseudo=deny cards=registered");
    for (token, reason) in [
        ("card.bob", "not registered"),
        ("card.lost", "authmgr card enable card.lost"),
        ("pseudo.080020000001", "pseudo=deny"),
    ] {
        let refused = explain(&mut w, token);
        assert!(refused.admitted == Some(false) && refused.admission.contains(reason), "{refused:?}");
        assert!(!refused.reasons.iter().any(|reason| reason.contains("placed")), "{refused:?}");
    }
    let new = explain(&mut w, "card.new");
    assert!(new.admitted == Some(true) && new.admission.contains("the sessions of card.lost"), "{new:?}");
}

#[test]
fn explain_names_the_account_that_a_session_would_have_and_the_template_that_cannot_be_had() {
    let mut w = World::of(1);
    w.store_put("template/default", "user = \"bob\"\n[[service]]\nname = \"terminal\"\n");
    registry(&mut w, "card.ann", "owner=ann");
    registry(&mut w, "card.eve", "owner=eve account=eve");
    registry(&mut w, "card.new", "owner=new template=nosuch");
    w.run_for(secs(1));
    assert_eq!(explain(&mut w, "card.ann").account.as_deref(), Some("bob"), "of the template");
    assert_eq!(explain(&mut w, "card.eve").account.as_deref(), Some("eve"), "of the registry");
    let new = explain(&mut w, "card.new");
    assert!(new.reasons.iter().any(|why| why.contains("no template nosuch")), "{new:?}");
}

#[test]
fn a_card_costs_two_round_trips_to_the_data_store_and_an_alias_or_a_template_of_its_own_one_more() {
    let mut w = World::of(1);
    let lan = w.lan();
    w.store_put("template/kiosk", "[[service]]\nname = \"terminal\"\n");
    registry(&mut w, "card.plain", "owner=ann");
    registry(&mut w, "card.kiosk", "owner=ann template=kiosk");
    registry(&mut w, "card.new", "alias=card.old");
    let d = w.desk("d", lan);
    w.expect(d).attached().within(secs(1));
    // What the host knows by watching the registry is not asked for while it is fresh.
    w.run_for(secs(3));
    w.slow_down_store(ms(50));
    for (card, trips) in [("card.plain", 2), ("card.kiosk", 3), ("card.new", 3), ("card.unknown", 2)] {
        w.run_for(secs(3));
        let before = w.now();
        w.insert(d, card);
        w.expect_that(card, move |w| w.status(d).token.to_string() == card && w.shows(d).is_some())
            .within(secs(1));
        let took = w.now().since(before);
        assert!(took >= ms(50 * trips) && took < ms(50 * (trips + 1)), "{card} took {took:?}");
        w.remove(d);
        w.run_for(ms(300));
    }
}
