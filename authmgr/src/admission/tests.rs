use super::*;
use crate::challenge::CardAnswer;
use proptest::prelude::*;
use proto::card::CardSecret;
use proto::rng::SecretRng;

const HOUR: Duration = Duration::from_secs(3600);

fn token(text: &str) -> Token {
    text.parse().unwrap()
}

fn at(secs: u64) -> Instant {
    Instant::ZERO + HOUR + Duration::from_secs(secs)
}

fn admission(policy: &str) -> Admission {
    let mut admission = Admission::new(SecretRng::new([9; 32]));
    admission.on_policy(Ok(Some(policy.as_bytes()))).unwrap();
    admission
}

/// Presents a token while the data store holds `record` for it.
fn present(a: &mut Admission, now: Instant, name: &str, record: Result<Option<&str>, StoreAway>) -> Verdict {
    match a.begin(now, &token(name)) {
        Lookup::Decided(verdict) => verdict,
        Lookup::Read { key } => {
            assert_eq!(key.as_str(), format!("token/{name}"));
            a.on_record(now, &token(name), record.map(|r| r.map(value)))
        }
    }
}

fn value(text: &str) -> Value {
    Value::new(text.as_bytes()).unwrap()
}

fn learn(a: &mut Admission, now: Instant, name: &str, record: Option<&str>) {
    a.learn(now, &token_key(&token(name)), record.map(value));
}

fn admits(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Admit(_))
}

#[test]
fn an_open_group_admits_every_card_and_every_dtu_without_one() {
    let mut a = admission("login");
    for name in ["card.1", "mondex.99", "pseudo.080020abcdef"] {
        let verdict = present(&mut a, at(0), name, Ok(None));
        assert_eq!(verdict, Verdict::Admit(Admitted::unregistered(&token(name))));
    }
}

#[test]
fn a_group_of_registered_cards_admits_no_other() {
    let mut a = admission("login cards=registered");
    assert_eq!(present(&mut a, at(0), "card.1", Ok(None)), Verdict::Refuse(Denial::NotRegistered));
    assert!(admits(&present(&mut a, at(0), "card.2", Ok(Some("token name=card.2")))));
    assert!(admits(&present(&mut a, at(0), "pseudo.1", Ok(None))), "the card rule is about cards");
}

#[test]
fn a_dtu_without_a_card_is_asked_for_one_where_the_policy_says_so() {
    let mut a = admission("login pseudo=deny");
    let decided = Lookup::Decided(Verdict::Refuse(Denial::NoCard));
    assert_eq!(a.begin(at(0), &token("pseudo.1")), decided, "without asking the data store");
    assert!(admits(&present(&mut a, at(0), "card.1", Ok(None))));
}

#[test]
fn a_user_token_is_never_admitted_as_a_presented_one() {
    let mut a = admission("login");
    let refused = Lookup::Decided(Verdict::Refuse(Denial::NotRegistered));
    assert_eq!(a.begin(at(0), &token("user.ann")), refused);
}

#[test]
fn a_disabled_card_is_refused_even_where_every_card_is_admitted() {
    let mut a = admission("login cards=any");
    let record = Ok(Some("token name=card.1 disabled=true"));
    assert_eq!(present(&mut a, at(0), "card.1", record), Verdict::Refuse(Denial::Disabled));
}

#[test]
fn a_damaged_record_refuses_its_token_rather_than_admitting_it_as_unregistered() {
    let mut a = admission("login cards=any");
    for bytes in ["", "token", "token name=card.2", "token name=card.1 secret=1"] {
        assert_eq!(present(&mut a, at(0), "card.1", Ok(Some(bytes))), Verdict::Refuse(Denial::BadRecord));
        a = admission("login cards=any");
    }
}

#[test]
fn a_replacement_card_gets_the_lost_cards_sessions_and_data() {
    let mut a = admission("login cards=registered");
    let record = Ok(Some("token name=card.2 owner=ann alias=card.1 template=kiosk account=ann"));
    let Verdict::Admit(admitted) = present(&mut a, at(0), "card.2", record) else { panic!() };
    assert_eq!(admitted.token, token("card.1"));
    assert_eq!(admitted.owner.data().as_str(), "data/ann/");
    assert_eq!(admitted.template.unwrap().as_str(), "kiosk");
    assert_eq!(admitted.account.unwrap().as_str(), "ann");
}

#[test]
fn a_keyed_card_is_admitted_only_by_its_own_answer_to_this_challenge() {
    let secret = CardSecret::new([5; 16]);
    let text = format!("token name=card.1 owner=ann secret={}", *secret.to_hex());
    let mut a = admission("login");
    let mut challenge = || match present(&mut a, at(0), "card.1", Ok(Some(&text))) {
        Verdict::Challenge(challenge) => challenge,
        other => panic!("{other:?}"),
    };
    let (first, second) = (challenge(), challenge());
    let nonce = |asked: &CardChallenge| {
        let line = asked.question("t".into()).to_line();
        proto::hex::decode::<16>(line.get("tdata").unwrap().as_bytes()).unwrap()
    };
    assert_ne!(
        nonce(&first),
        nonce(&second),
        "a challenge that comes twice can be answered from a recording"
    );
    let answer = CardAnswer::Proof(secret.answer(&nonce(&first)));
    assert!(first.judge(&answer).is_ok());
    assert_eq!(second.judge(&answer), Err(Denial::WrongAnswer));
}

#[test]
fn known_tokens_are_admitted_while_the_data_store_is_away_and_others_wait() {
    let mut a = admission("login");
    let ann = Ok(Some("token name=card.1 owner=ann"));
    present(&mut a, at(0), "card.1", ann);
    present(&mut a, at(0), "card.2", Ok(None));
    present(&mut a, at(0), "card.3", Ok(Some("token name=card.3 disabled=true")));
    let mut away = |now, name: &str| present(&mut a, now, name, Err(StoreAway));
    let Verdict::Admit(known) = away(at(60), "card.1") else { panic!() };
    assert_eq!(known.owner.as_str(), "ann");
    assert!(admits(&away(at(60), "card.2")), "known to be unregistered");
    assert_eq!(away(at(60), "card.3"), Verdict::Refuse(Denial::Disabled));
    assert_eq!(away(at(60), "card.4"), Verdict::Refuse(Denial::StoreAway));
    assert!(admits(&away(at(KEPT.as_secs()), "card.1")));
    assert_eq!(away(at(KEPT.as_secs() + 1), "card.1"), Verdict::Refuse(Denial::StoreAway));
}

#[test]
fn what_was_read_is_believed_for_a_moment_only() {
    let mut a = admission("login cards=registered");
    assert_eq!(present(&mut a, at(0), "card.1", Ok(None)), Verdict::Refuse(Denial::NotRegistered));
    assert!(matches!(a.begin(at(1), &token("card.1")), Lookup::Decided(_)));
    let registered = Ok(Some("token name=card.1"));
    assert!(admits(&present(&mut a, at(2), "card.1", registered)), "registered meanwhile");
    let disabled = Ok(Some("token name=card.1 disabled=true"));
    assert_eq!(present(&mut a, at(4), "card.1", disabled), Verdict::Refuse(Denial::Disabled));
}

#[test]
fn whoever_follows_the_registry_tells_an_unregistered_card_from_a_disabled_one_without_it() {
    let mut a = admission("login");
    learn(&mut a, at(0), "card.old", Some("token name=card.old"));
    a.listing_begins(at(1));
    learn(&mut a, at(1), "card.1", Some("token name=card.1 owner=ann"));
    learn(&mut a, at(1), "card.2", Some("token name=card.2 disabled=true"));
    assert_eq!(
        present(&mut a, at(2), "card.9", Err(StoreAway)),
        Verdict::Refuse(Denial::StoreAway),
        "not whole"
    );
    a.is_whole(at(2), Part::Tokens);
    let mut away = |now, name: &str| present(&mut a, now, name, Err(StoreAway));
    for now in [at(2), at(60)] {
        assert!(admits(&away(now, "card.1")));
        assert_eq!(away(now, "card.2"), Verdict::Refuse(Denial::Disabled));
        let unknown = away(now, "card.9");
        assert_eq!(unknown, Verdict::Admit(Admitted::unregistered(&token("card.9"))));
        let dropped = away(now, "card.old");
        assert_eq!(dropped, Verdict::Admit(Admitted::unregistered(&token("card.old"))), "its record is gone");
    }
    assert_eq!(away(at(3 + KEPT.as_secs()), "card.9"), Verdict::Refuse(Denial::StoreAway));
}

#[test]
fn a_listing_that_breaks_off_takes_nothing_from_the_one_before() {
    let mut a = admission("login");
    a.listing_begins(at(0));
    learn(&mut a, at(0), "card.1", Some("token name=card.1 disabled=true"));
    a.is_whole(at(1), Part::Tokens);
    a.listing_begins(at(30));
    let mut away = |now, name: &str| present(&mut a, now, name, Err(StoreAway));
    assert_eq!(away(at(31), "card.1"), Verdict::Refuse(Denial::Disabled));
    assert!(admits(&away(at(31), "card.9")));
    assert_eq!(
        away(at(KEPT.as_secs() + 1), "card.9"),
        Verdict::Refuse(Denial::StoreAway),
        "as old as its begin"
    );
}

#[test]
fn a_change_that_is_watched_counts_at_once() {
    let mut a = admission("login");
    a.listing_begins(at(0));
    learn(&mut a, at(0), "card.1", Some("token name=card.1"));
    a.is_whole(at(0), Part::Tokens);
    assert!(matches!(a.begin(at(0), &token("card.1")), Lookup::Decided(Verdict::Admit(_))));
    learn(&mut a, at(0), "card.1", Some("token name=card.1 disabled=true"));
    let refused = Lookup::Decided(Verdict::Refuse(Denial::Disabled));
    assert_eq!(a.begin(at(0), &token("card.1")), refused);
    learn(&mut a, at(0), "card.1", None);
    assert!(matches!(a.begin(at(0), &token("card.1")), Lookup::Decided(Verdict::Admit(_))));
}

#[test]
fn without_a_policy_everybody_waits_and_a_damaged_one_admits_the_fewest() {
    let mut a = Admission::new(SecretRng::new([0; 32]));
    a.on_policy(Err(StoreAway)).unwrap();
    assert_eq!(a.begin(at(0), &token("card.1")), Lookup::Decided(Verdict::Refuse(Denial::StoreAway)));
    assert!(a.on_policy(Ok(Some(b"login cards=all"))).is_err());
    assert_eq!(a.policy(), Some(Policy::STRICT));
    a.on_policy(Ok(None)).unwrap();
    assert_eq!(a.policy(), Some(Policy::default()));
    assert!(a.on_policy(Ok(Some(b"?"))).is_err());
    assert_eq!(a.policy(), Some(Policy::default()), "a good one is not given up for a damaged one");
}

#[test]
fn strangers_cards_push_out_neither_registered_ones_nor_the_bound() {
    let mut a = admission("login");
    present(&mut a, at(0), "card.ann", Ok(Some("token name=card.ann owner=ann")));
    for n in 0..known::UNREGISTERED_MAX + 100 {
        present(&mut a, at(1), &format!("card.{n}"), Ok(None));
    }
    assert_eq!(a.known.sizes(), [1, 1, known::UNREGISTERED_MAX, known::UNREGISTERED_MAX]);
    assert!(admits(&present(&mut a, at(5), "card.ann", Err(StoreAway))));
}

#[test]
fn a_registry_too_large_to_remember_is_not_taken_for_whole() {
    let mut a = admission("login");
    a.listing_begins(at(0));
    for n in 0..=known::REGISTERED_MAX {
        let name = format!("card.{n}");
        learn(&mut a, at(0), &name, Some(&format!("token name={name}")));
    }
    a.is_whole(at(0), Part::Tokens);
    assert_eq!(a.known.sizes()[0], known::REGISTERED_MAX);
    assert_eq!(present(&mut a, at(1), "card.x", Err(StoreAway)), Verdict::Refuse(Denial::StoreAway));
}

proptest! {
    /// Against a plain model: the registry as it is, and every token read since it last changed.
    #[test]
    fn with_the_store_at_hand_the_verdict_is_that_of_a_record_at_most_a_moment_old(
        steps in proptest::collection::vec((0_u8..4, 0_u8..3, any::<bool>(), 0_u64..2000), 1..60),
    ) {
        let mut a = admission("login cards=registered");
        let mut now = at(0);
        let mut history: Vec<(Instant, u8, Option<bool>)> = (0..3).map(|n| (Instant::ZERO, n, None)).collect();
        for (what, n, flag, ms) in steps {
            now += Duration::from_millis(ms);
            let name = format!("card.{n}");
            match what {
                0 => history.push((now, n, Some(flag))),
                1 => history.push((now, n, None)),
                _ => {
                    let states: Vec<_> = history.iter().filter(|h| h.1 == n).collect();
                    let current = states.last().unwrap().2;
                    let text = current.map(|disabled| match disabled {
                        true => format!("token name={name} disabled=true"),
                        false => format!("token name={name}"),
                    });
                    let verdict = present(&mut a, now, &name, Ok(text.as_deref()));
                    // Every state that held at some time of the last moment may be the one believed.
                    let possible = states.iter().enumerate().filter(|(i, _)| {
                        states.get(i + 1).is_none_or(|next| next.0 + FRESH >= now)
                    });
                    let allowed = possible.map(|(_, h)| match h.2 {
                        None => Denial::NotRegistered.word(),
                        Some(true) => Denial::Disabled.word(),
                        Some(false) => "admit",
                    }).collect::<Vec<_>>();
                    let got = match &verdict { Verdict::Refuse(d) => d.word(), _ => "admit" };
                    prop_assert!(allowed.contains(&got), "{got} is not among {allowed:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_larger_than_a_record_can_be_is_refused_and_not_kept() {
    let mut a = admission("login cards=any");
    let large = format!("token name=card.1 note={}", "x".repeat(Value::LEN_MAX - 30));
    assert_eq!(present(&mut a, at(0), "card.1", Ok(Some(&large))), Verdict::Refuse(Denial::BadRecord));
    learn(&mut a, at(1), "card.1", Some(&large));
    assert_eq!(present(&mut a, at(1), "card.1", Ok(None)), Verdict::Refuse(Denial::BadRecord));
    assert_eq!(a.known.bytes(), 0);
}
