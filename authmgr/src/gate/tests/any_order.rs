//! Whatever a DTU says and its host orders, in any order: nothing panics, nothing grows, and what is reported
//! makes sense.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Act {
    Say(String),
    Wait(u64),
    Oversleep(u64),
    Order(Order),
}

fn lines() -> impl Strategy<Value = String> {
    let kind = prop_oneof![Just("card"), Just("pseudo"), Just("invalid"), Just("user"), Just("T1unknown")];
    let id = prop_oneof![Just("0"), Just("1"), Just("2"), Just("a/b")];
    let number = 0_u32..6;
    let insert = (
        kind,
        id,
        number,
        "( cause=redirect)?( avoid=b)?( redirectProps=[x.]{0,4})?( sn=s[12])?( size=[0-9x]{0,6})?",
    )
        .prop_map(|(kind, id, n, rest)| {
            format!("infoReq event=insert type={kind} id={id} tokenSeq={n}{rest}")
        });
    let known = prop_oneof![
        Just("infoReq event=remove type=card id=1"),
        Just("connRsp access=allowed"),
        Just("connRsp access=denied"),
        Just("connRsp state=connected tokenSeq=1"),
        Just("discRsp"),
        Just("keepAliveReq"),
        Just("keepAliveRsp"),
        Just("protocolErrorReq cause=connError"),
        Just("sessionReq tokenSeq=9"),
        Just("infoSmartCard tag=hotdesk-1 apdu_result=1 status=9000 rec_data=00"),
    ];
    let long = "[a-z]{1,8}".prop_map(|w| format!("{w} fw={0} hw={0} namespace={0}", "y".repeat(600)));
    prop_oneof![
        6 => insert,
        6 => known.prop_map(str::to_owned),
        1 => Just("discReq cause=redirect".to_owned()),
        2 => "[a-zA-Z]{1,10}( [a-zA-Z_]{1,8}=[ -~]{0,12}){0,5}",
        1 => long,
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    let seq = || 0_u32..8;
    let cause = prop_oneof![
        Just(DisconnectCause::ShownElsewhere),
        Just(DisconnectCause::Ended),
        Just(DisconnectCause::HostStopping)
    ];
    prop_oneof![
        12 => lines().prop_map(Act::Say),
        2 => (0_u64..30_000).prop_map(Act::Wait),
        1 => (0_u64..300_000).prop_map(Act::Oversleep),
        6 => seq().prop_map(|token_seq| {
            let (token, grant) = (token("card.9"), Box::new(grant()));
            Act::Order(Order::Grant { token_seq, token, grant })
        }),
        2 => seq().prop_map(|token_seq| {
            Act::Order(Order::Deny { token_seq, why: Denial::Full, reason: String::new() })
        }),
        1 => seq().prop_map(|token_seq| {
            Act::Order(Order::Redirect { token_seq, redirect: Box::new(redirect()) })
        }),
        2 => seq().prop_map(|token_seq| Act::Order(Order::Challenge { token_seq, challenge: Box::new(challenge()) })),
        1 => cause.prop_map(|cause| Act::Order(Order::Disconnect(cause))),
        1 => Just(Act::Order(Order::Refresh {
            anchor: grant().anchor,
            standbys: grant().standbys,
            cookie: Some("1.7/42:a:b".parse().unwrap()),
        })),
        1 => "\\PC{0,20}".prop_map(|text| Act::Order(Order::Notice(text))),
    ]
}

fn perform(desk: &mut Desk, act: Act) {
    let (gate, now, out) = (&mut desk.gate, desk.now, &mut desk.out);
    match act {
        Act::Say(text) => {
            if let Ok(line) = text.parse() {
                gate.on_line(now, &line, out);
            }
        }
        Act::Wait(ms) => {
            desk.wait(Duration::from_millis(ms));
        }
        Act::Oversleep(ms) => {
            desk.now += Duration::from_millis(ms);
            desk.gate.on_timeout(desk.now, &mut desk.out);
        }
        Act::Order(order) => {
            gate.obey(now, order, out);
        }
    }
}

/// What a holder of the gate believes, from its effects alone.
#[derive(Default)]
struct Holder {
    present: Option<(u32, Token)>,
    shown: bool,
    left: u32,
    closed: bool,
}

impl Holder {
    fn hear(&mut self, effect: GateEffect) {
        assert!(!self.closed, "an effect after the last: {effect:?}");
        match effect {
            GateEffect::Close(_) => {
                assert_eq!(self.left, 1);
                self.closed = true;
            }
            GateEffect::Send(message) => {
                let text = message.to_line().to_string();
                assert!(text.len() <= proto::line::LINE_MAX);
                // Whoever asks a card anew has nothing shown until the answer is granted.
                if matches!(
                    message,
                    FromHost::DiscInf { .. } | FromHost::RedirectInf(_) | FromHost::ControlSmartCard { .. }
                ) {
                    self.shown = false;
                }
                // Sending it elsewhere is the holder's own order: with it the presentation is over.
                if matches!(message, FromHost::RedirectInf(_)) {
                    self.present = None;
                }
                if let FromHost::ConnInf(conn) = message {
                    assert!(conn.grant.is_none() || self.present.is_some(), "granted to nobody");
                    self.shown = false;
                }
            }
            GateEffect::Event(event) => self.know(event),
        }
    }

    fn know(&mut self, event: GateEvent) {
        let current = self.present.as_ref().map(|(seq, _)| *seq);
        match event {
            GateEvent::Presented(p) => {
                assert!(current.is_none_or(|seq| seq < p.token_seq), "counts upwards");
                if let Some((_, token)) = &self.present {
                    assert_eq!(token, &p.token, "the one before was not taken leave of");
                }
                assert_eq!(p.cause == Cause::Redirect, p.ticket.is_some());
                assert!(!p.token.is_user());
                self.present = Some((p.token_seq, p.token));
                self.shown = false;
            }
            GateEvent::Removed { token_seq, token } => {
                assert_eq!(self.present.take(), Some((token_seq, token)));
                self.shown = false;
            }
            GateEvent::Took { token_seq } => {
                assert_eq!(current, Some(token_seq));
                self.shown = true;
            }
            GateEvent::Refused { token_seq } | GateEvent::CardAnswered { token_seq, .. } => {
                assert_eq!(current, Some(token_seq));
                assert!(!self.shown);
            }
            GateEvent::Left { .. } => {
                self.left += 1;
                self.present = None;
                self.shown = false;
            }
            GateEvent::Odd(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn in_any_order_nothing_panics_nothing_grows_and_the_holder_knows_what_is_shown(
        acts in proptest::collection::vec(acts(), 1..80),
    ) {
        let mut desk = Desk::connected();
        let mut holder = Holder::default();
        for act in acts {
            let before = desk.out.len();
            prop_assert_eq!(before, 0);
            // Orders name presentations around the present one, so that many of them hit.
            let act = match act {
                // Mostly of the present presentation, or of the one before.
                Act::Order(Order::Grant { token_seq: n, token, grant }) => {
                    let token_seq = (desk.gate.token_seq() + n / 6).wrapping_sub(n % 2);
                    Act::Order(Order::Grant { token_seq, token, grant })
                }
                Act::Order(Order::Challenge { token_seq: n, challenge }) => {
                    let token_seq = (desk.gate.token_seq() + n / 6).wrapping_sub(n % 2);
                    Act::Order(Order::Challenge { token_seq, challenge })
                }
                other => other,
            };
            perform(&mut desk, act);
            for effect in std::mem::take(&mut desk.out) {
                holder.hear(effect);
            }
            let gate = &desk.gate;
            let stage = gate.stage();
            prop_assert_eq!(gate.token().is_some(), stage.has_token());
            prop_assert_eq!(holder.shown, stage == GateStage::Shown, "{}", stage);
            prop_assert_eq!(holder.closed, stage == GateStage::Closed);
            prop_assert_eq!(gate.poll_at().is_none(), stage == GateStage::Closed);
            let Terminal { fw, hw, namespace, .. } = gate.terminal();
            for text in [fw, hw, namespace].into_iter().flatten() {
                prop_assert!(text.capacity() <= TEXT_MAX);
            }
        }
    }

    #[test]
    fn a_dead_dtu_is_given_up_from_every_stage(acts in proptest::collection::vec(acts(), 0..40)) {
        let mut desk = Desk::connected();
        for act in acts {
            perform(&mut desk, act);
        }
        desk.wait(EXPIRY + SECS * 20);
        prop_assert_eq!(desk.gate.stage(), GateStage::Closed);
    }
}
