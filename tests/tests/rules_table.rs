//! What the topology table says, and what follows from it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is not there ends the test")]

use proto::StoreId;
use proto::host_message::HostMessage;
use proto::keys::Purpose;
use proto::line::Line;
use tests::world::{DeskPlan, World, ms, secs};

/// Its claims and permanent data would be apart from those of the group.
#[test]
fn a_host_that_uses_another_data_store_is_not_chosen_for_a_session() {
    let mut w = World::of(2);
    w.set_load("h1", 800, 4_000);
    w.set_store("h2", StoreId(0xbad));
    w.run_for(ms(300));
    let lan = w.lan();
    for n in 0..4 {
        let plan = DeskPlan::named(&format!("d{n}"), lan).server("h1").card(&format!("card.p{n}"));
        let desk = w.add_desk(plan);
        w.expect(desk).attached().within(secs(5));
        assert_eq!(w.host_of(desk).as_deref(), Some("h1"), "h2 is idle, and has another store");
    }
}

/// The rule above is about stores that are known to differ.
#[test]
fn a_host_whose_data_store_is_not_known_or_the_same_is_chosen() {
    let mut w = World::of(2);
    w.set_load("h1", 800, 4_000);
    w.run_for(ms(300));
    let plan = DeskPlan::named("d1", w.lan()).server("h1").card("card.p1");
    let desk = w.add_desk(plan);
    w.expect(desk).attached().within(secs(5));
    assert_eq!(w.host_of(desk).as_deref(), Some("h2"));
}

/// "Host messages are always accepted": whatever its key, version or fields, an operator can see that one
/// came, in a row of the table or in a counter.
#[test]
fn every_host_message_that_arrives_shows_in_a_row_or_in_a_counter() {
    let mut w = World::of(2);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let h1 = w.address("h1", lan);
    w.run_for(secs(21));
    let heard = w.recording(stranger).into_iter().filter_map(|heard| Line::parse(&heard.bytes).ok());
    let mut messages = heard.filter_map(|line| HostMessage::from_line(&line).ok());
    let message = messages.find(|m| m.host.as_str() == "h2").expect("a host message of h2");
    let with = |change: fn(&mut HostMessage)| {
        let mut message = message.clone();
        change(&mut message);
        message.to_line()
    };
    let raw = |text: &str| text.parse::<Line>().unwrap();
    let plain = message.to_line().to_string();
    let lines = [
        message.to_line(),
        with(|m| m.vitals.as_mut().unwrap().seq += 1_000),
        with(|m| m.vitals.as_mut().unwrap().boot.0 += 1),
        with(|m| m.vitals.as_mut().unwrap().ver.0 += 9),
        with(|m| m.vitals = None),
        with(|m| m.host = "h7".parse().unwrap()),
        with(|m| m.interfaces.clear()),
        raw(&plain.replace("numifs", "numits")),
        raw(&plain.replace("boot=", "boot=x")),
        raw(&format!("{plain} later=words")),
        raw("host=h9"),
        raw("some=thing"),
    ];
    let own = w.stolen_ring().clone();
    let foreign = w.foreign_ring().clone();
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for line in &lines {
        datagrams.push(line.to_string().into_bytes());
        datagrams.extend([&own, &foreign].map(|ring| ring.seal(Purpose::HostMessage, line)));
    }
    let sealed = own.seal(Purpose::HostMessage, &lines[0]);
    let mut torn = sealed.clone();
    torn[9] ^= 1;
    datagrams.extend([torn, sealed[..sealed.len() / 2].to_vec()]);
    for bytes in datagrams {
        let before = seen(&w);
        w.stranger_says(stranger, h1, &bytes);
        w.run_for(ms(5));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert_ne!(seen(&w), before, "nothing shows that this came: {text}");
    }
}

/// What an operator sees of host messages at h1: how many were dropped or refused, but for its own that come back all the
/// time, and when each host's last one came.
fn seen(w: &World) -> (u64, Vec<Option<proto::Instant>>) {
    let host = w.host("h1").unwrap();
    let messages = host.topology().rows().map(groupmgr::topology::Row::message_at);
    let refused = host.counters().all_refused().into_iter().filter(|(reason, _)| reason != "own");
    (refused.map(|(_, n)| n).sum(), messages.collect())
}
