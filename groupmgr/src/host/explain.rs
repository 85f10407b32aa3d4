//! `explain`: what this host would do with a token, and why, in the order in which it would do it. First whether the
//! token is admitted, by the same code as at a DTU; then the account of its sessions, by the same code as when one is
//! made; then its sessions and its claim.

use authmgr::admission::{Cards, Policy};
use authmgr::{Admitted, Denial, Step, StoreAway, Verdict};
use datastore::{Answer, Request, Response, StoreError, Value};
use proto::{Epoch, Instant, SessionId, Token};
use sessiond::manager::Claim;

use super::admin::{Explanation, Reply, SessionView};
use super::claims::{ClaimRecord, Life};
use super::driver::{AdminReq, Effect};
use super::flow::template_of;
use super::store::Errand;
use super::{Clock, Host};

/// What was found out about a token before its claim is read.
#[derive(Clone, Debug)]
pub(super) struct Explained {
    token: Token,
    /// Under which its sessions are looked for.
    session_token: Token,
    admission: String,
    admitted: Option<bool>,
    /// What it gets, unless it is refused.
    of: Option<Admitted>,
    account: Option<String>,
    /// Why no session can be made from its template.
    flaw: Option<String>,
}

impl Host {
    pub(super) fn explain(&mut self, clock: Clock, req: AdminReq, token: Token, out: &mut Vec<Effect>) {
        match self.admission.begin(clock.now, &token) {
            Step::Decided(verdict) => self.on_explain_verdict(clock, req, token, &verdict, out),
            Step::Look { key } => {
                let errand = Errand::ExplainRecord { req, token: token.clone() };
                let asked =
                    self.store.is_up() && self.ask_store(clock.now, errand, Request::Get { key }, out);
                if !asked {
                    self.on_explain_record(clock, req, token, Err(()), out);
                }
            }
        }
    }

    pub(super) fn on_explain_record(
        &mut self,
        clock: Clock,
        req: AdminReq,
        token: Token,
        record: Result<Option<Value>, ()>,
        out: &mut Vec<Effect>,
    ) {
        let verdict = self.admission.on_record(clock.now, &token, record.map_err(|()| StoreAway));
        self.on_explain_verdict(clock, req, token, &verdict, out);
    }

    fn on_explain_verdict(
        &mut self,
        clock: Clock,
        req: AdminReq,
        token: Token,
        verdict: &Verdict,
        out: &mut Vec<Effect>,
    ) {
        let (admitted, of) = match verdict {
            Verdict::Admit(of) => (Some(true), Some(of.clone())),
            Verdict::Challenge(challenge) => (Some(true), Some(challenge.clone().waive())),
            Verdict::Refuse(Denial::StoreAway) => (None, None),
            Verdict::Refuse(_) => (Some(false), None),
        };
        let explained = Explained {
            session_token: of.as_ref().map_or_else(|| token.clone(), |of| of.token.clone()),
            admission: admission(&token, verdict, self.admission.policy()),
            admitted,
            of,
            account: None,
            flaw: None,
            token,
        };
        let key = explained.of.as_ref().map(|of| format!("template/{}", template_of(of)).parse());
        let asked = key.and_then(Result::ok).is_some_and(|key| {
            let errand = Errand::ExplainTemplate { req, explained: Box::new(explained.clone()) };
            self.ask_store(clock.now, errand, Request::Get { key }, out)
        });
        if !asked {
            self.on_explain_template(clock, req, explained, Err(()), out);
        }
    }

    pub(super) fn on_explain_template(
        &mut self,
        clock: Clock,
        req: AdminReq,
        mut explained: Explained,
        text: Result<Option<Value>, ()>,
        out: &mut Vec<Effect>,
    ) {
        if let Some(of) = &explained.of {
            let name = template_of(of);
            explained.flaw = self.take_template(clock.now, name.clone(), text).err();
            let session = self.new_session(SessionId(0), of, &name, (Claim::Unclaimed, Epoch::default()));
            explained.account = session.runs_as().map(str::to_owned);
        }
        let key = ClaimRecord::key(&explained.session_token);
        let errand = Errand::Explain { req, explained: Box::new(explained.clone()) };
        let asked = key.is_some_and(|key| self.ask_store(clock.now, errand, Request::Get { key }, out));
        if !asked {
            let away = StoreError::Unreachable { at: "-".into(), why: "not asked".into() };
            self.on_explained(clock.now, req, explained, Err(away), out);
        }
    }

    pub(super) fn on_explained(
        &self,
        now: Instant,
        req: AdminReq,
        explained: Explained,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let Explained { token, session_token, admission, admitted, account, flaw, .. } = explained;
        let sessions = self.sessions.of_token(&session_token);
        let here: Vec<SessionView> = sessions.into_iter().map(|s| self.session_view(s)).collect();
        let is_refused = admitted == Some(false);
        let mut reasons: Vec<String> =
            flaw.into_iter().map(|flaw| format!("no session can be made: {flaw}")).collect();
        reasons.push(match here.first() {
            Some(s) => format!("{} has session {}, last connected at {} ms", self.name(), s.session, s.last),
            None => format!("{} has no session for it", self.name()),
        });
        if let Some(failure) = self.failures.of(now, &session_token) {
            let ago = now.since(failure.at).as_secs();
            reasons.push(format!("{ago} s ago a session for it could not be started: {}", failure.why));
        }
        let claim = match outcome {
            Ok(Response { answer: Answer::Value(Some(value)), .. }) => {
                Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
            }
            Ok(_) if is_refused => None,
            Ok(_) => {
                reasons.push("nobody has claimed it: a new session would be placed by load".into());
                None
            }
            Err(error) => {
                reasons.push(format!("the claim cannot be read: {error}"));
                None
            }
        };
        if let Some(record) = claim.as_ref().and_then(|text| ClaimRecord::parse(text.as_bytes()).ok()) {
            let alive = match self.life_of(now, &record) {
                Life::There => "which is up",
                Life::Perhaps => "which has just started and may take it up",
                Life::Gone if is_refused => "which is gone",
                Life::Gone => "which is gone: it would be taken over",
            };
            reasons.push(format!("session {} on {} is claimed, {alive}", record.session, record.host));
        }
        let explanation = Explanation { token, admission, admitted, account, here, claim, reasons };
        out.push(Effect::Answer { req, reply: Box::new(Reply::Explain(explanation)) });
    }
}

/// Whether a token is admitted, and by what.
fn admission(token: &Token, verdict: &Verdict, policy: Option<Policy>) -> String {
    match verdict {
        Verdict::Admit(of) => format!("admitted: {}", grounds(token, of, policy)),
        Verdict::Challenge(challenge) => {
            let of = challenge.clone().waive();
            format!("admitted when the card proves its secret: {}", grounds(token, &of, policy))
        }
        Verdict::Refuse(why) => {
            let why = match why {
                Denial::NoCard => "the policy admits no DTU without a card (pseudo=deny)".to_owned(),
                Denial::NotRegistered if token.is_user() => {
                    "a user token comes with a typed login".to_owned()
                }
                Denial::NotRegistered => format!(
                    "it is not registered, and the policy admits registered cards only (cards=registered); register it: \
                     authmgr card register {token}"
                ),
                Denial::Disabled => format!("it is disabled; to admit it again: authmgr card enable {token}"),
                Denial::BadRecord => format!("its record is damaged; delete it: authmgr card rm {token}"),
                Denial::StoreAway => {
                    return "cannot be decided: the data store is not reached, and this host does not know the token \
                            without it"
                        .to_owned();
                }
                other => other.notice().to_owned(),
            };
            format!("refused: {why}")
        }
    }
}

/// By what a token is admitted.
fn grounds(token: &Token, of: &Admitted, policy: Option<Policy>) -> String {
    let unregistered = Admitted::unregistered(token);
    let by = match policy {
        Some(Policy { cards: Cards::Any, .. }) if *of == unregistered && token.is_card() => {
            "nothing else is registered about it, and the policy admits any card (cards=any)".to_owned()
        }
        _ if token.is_pseudo() && *of == unregistered => {
            "the policy admits DTUs without a card (pseudo=allow)".to_owned()
        }
        _ => format!("it is registered, its data is {}'s", of.owner),
    };
    if of.token == *token { by } else { format!("{by}, and it has the sessions of {}", of.token) }
}
