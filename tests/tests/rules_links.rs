//! Links between hosts: what an operator asks of another host arrives, or the reason why not does.

use groupmgr::host::admin::{Command, Reply};
use groupmgr::links::{IDLE_MAX, Loss, PING_AFTER, PONG_WITHIN};
use proto::time::Duration;
use tests::world::{Outcome, QuestionId, Rule, Way, World, ms, secs};

/// A question after so long a silence, and the way of its answer.
const SILENT: Duration = Duration::from_millis(3_100);

fn is_answered(outcome: Option<&Outcome>) -> bool {
    matches!(outcome, Some(Ok(Reply::Status(_))))
}

fn loss_of(w: &World, question: QuestionId) -> Option<Loss> {
    w.answer_over_link(question)?.as_ref().err().copied()
}

/// Two hosts with a link.
fn linked() -> World {
    let mut w = World::of(2);
    let question = w.ask_over_link("h1", "h2", &Command::Status);
    w.run_for(ms(50));
    assert!(is_answered(w.answer_over_link(question)));
    w
}

#[test]
fn both_hosts_ask_over_one_link_which_closes_when_nobody_needs_it() {
    let mut w = linked();
    let back = w.ask_over_link("h2", "h1", &Command::Topology);
    w.run_for(ms(50));
    assert!(matches!(w.answer_over_link(back), Some(Ok(Reply::Topology(_)))));
    assert_eq!([w.links_of_host("h1"), w.links_of_host("h2")], [1, 1]);
    w.run_for(IDLE_MAX + ms(100));
    assert_eq!([w.links_of_host("h1"), w.links_of_host("h2")], [0, 0]);
    let again = w.ask_over_link("h1", "h2", &Command::Status);
    w.run_for(ms(50));
    assert!(is_answered(w.answer_over_link(again)));
}

#[test]
fn a_question_on_a_cut_link_ends_in_silence_and_the_next_goes_over_a_new_one() {
    assert!(PING_AFTER + PONG_WITHIN < SILENT);
    let mut w = linked();
    let lan = w.lan();
    w.cut("h2", lan);
    let question = w.ask_over_link("h1", "h2", &Command::Status);
    w.run_for(ms(2_900));
    assert_eq!(w.answer_over_link(question).map(Result::is_ok), None);
    w.run_for(SILENT - ms(2_900));
    assert_eq!(loss_of(&w, question), Some(Loss::Silence));
    w.heal("h2", lan);
    w.run_for(secs(1));
    let again = w.ask_over_link("h1", "h2", &Command::Status);
    w.run_for(ms(50));
    assert!(is_answered(w.answer_over_link(again)));
}

#[test]
fn a_question_that_meets_a_short_cut_or_freeze_is_answered_after_it() {
    let mut w = linked();
    let lan = w.lan();
    w.cut("h2", lan);
    let question = w.ask_over_link("h1", "h2", &Command::Status);
    w.run_for(ms(800));
    w.heal("h2", lan);
    w.run_for(secs(1));
    assert!(is_answered(w.answer_over_link(question)));
    w.stop_daemon("h2");
    let question = w.ask_over_link("h1", "h2", &Command::Status);
    w.run_for(ms(2_500));
    w.continue_daemon("h2");
    w.run_for(ms(200));
    assert!(is_answered(w.answer_over_link(question)));
}

#[test]
fn a_frozen_host_is_silent_and_a_killed_one_resets_its_links_at_once() {
    let mut w = linked();
    w.freeze("h2");
    let question = w.ask_over_link("h1", "h2", &Command::Status);
    w.run_for(SILENT);
    assert_eq!(loss_of(&w, question), Some(Loss::Silence));
    let mut w = linked();
    w.stop_daemon("h2");
    let question = w.ask_over_link("h1", "h2", &Command::Status);
    w.run_for(ms(10));
    w.kill("h2");
    w.run_for(ms(10));
    assert_eq!(loss_of(&w, question), Some(Loss::Reset));
}

#[test]
fn a_slow_way_that_loses_much_delays_answers_and_loses_none() {
    let mut w = linked();
    let lan = w.lan();
    w.set_rule("h2", lan, Way::Both, Rule { loss: 0.2, delay: ms(30), ..Rule::default() });
    let asked: Vec<QuestionId> = (0..50)
        .map(|_| {
            w.run_for(ms(20));
            w.ask_over_link("h1", "h2", &Command::Status)
        })
        .collect();
    w.run_for(secs(10));
    let answered = asked.iter().filter(|question| is_answered(w.answer_over_link(**question))).count();
    assert_eq!(answered, asked.len());
}
