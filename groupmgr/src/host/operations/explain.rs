//! `explain`: what this host would do with a token, and why, in the order in which it would do it. First whether the
//! token is admitted, by the same code as at a DTU; then the account of its sessions, by the same code as when one is
//! made; then its sessions and its claim.

use authmgr::admission::{Cards, Policy};
use authmgr::{Admitted, Denial};
use proto::{Epoch, SessionId, Token};
use sessiond::manager::Claim;
use sessiond::template::Template;

use super::super::admin::{Explanation, SessionView};
use super::super::env::Ctx;
use super::super::liveness::{Liveness, liveness};
use super::super::new_session::{new_session, template_of};
use super::super::session_view::session_view;
use super::super::step::{Judgement, ReadClaim};
use super::failures::Failures;

/// What was found out about a token before its claim is read.
#[derive(Clone, Debug)]
pub(super) struct Explained {
    token: Token,
    /// Under which its sessions are looked for.
    pub(super) session_token: Token,
    admission: String,
    admitted: Option<bool>,
    /// What it gets, unless it is refused; none once its template is known.
    of: Option<Admitted>,
    account: Option<String>,
    /// Why no session can be made from its template.
    flaw: Option<String>,
}

impl Explained {
    pub(super) fn new(token: Token, judgement: &Judgement, policy: Option<Policy>) -> Self {
        let (admitted, of) = match judgement {
            Judgement::Admit(of) => (Some(true), Some(of.clone())),
            Judgement::Challenge(challenge) => (Some(true), Some(challenge.as_ref().clone().waive())),
            Judgement::Refuse(Denial::StoreAway) | Judgement::NotYet => (None, None),
            Judgement::Refuse(_) => (Some(false), None),
        };
        Self {
            session_token: of.as_ref().map_or_else(|| token.clone(), |of| of.token.clone()),
            admission: admission(&token, judgement, policy),
            admitted,
            of,
            account: None,
            flaw: None,
            token,
        }
    }

    /// The template that it would be good to know.
    pub(super) fn template_wanted(&self) -> Option<String> {
        self.of.as_ref().map(template_of)
    }

    /// What the data store has of it.
    pub(super) fn set_template(&mut self, ctx: &Ctx<'_>, result: Result<Box<Template>, String>) {
        let Some(of) = self.of.take() else { return };
        let template = result.map_err(|flaw| self.flaw = Some(flaw)).unwrap_or_default();
        let claim = (Claim::Unclaimed, Epoch::default());
        let session = new_session(ctx, SessionId(0), &of, (template_of(&of), *template), claim);
        self.account = session.runs_as().map(str::to_owned);
    }

    pub(super) fn with_claim(self, ctx: &Ctx<'_>, failures: &Failures, read: ReadClaim) -> Explanation {
        let Self { token, session_token, admission, admitted, account, flaw, .. } = self;
        let sessions = ctx.sessions.of_token(&session_token);
        let here: Vec<SessionView> = sessions.into_iter().map(|s| session_view(ctx, s)).collect();
        let is_refused = admitted == Some(false);
        let mut reasons: Vec<String> =
            flaw.into_iter().map(|flaw| format!("no session can be made: {flaw}")).collect();
        reasons.push(match here.first() {
            Some(s) => format!("{} has session {}, last connected at {} ms", ctx.name(), s.session, s.last),
            None => format!("{} has no session for it", ctx.name()),
        });
        if let Some(failure) = failures.of(ctx.now, &session_token) {
            let ago = ctx.now.since(failure.at).as_secs();
            reasons.push(format!("{ago} s ago a session for it could not be started: {}", failure.why));
        }
        let (claim, record) = match read {
            Ok(read) => (read.value, read.record),
            Err(error) => {
                reasons.push(format!("the claim cannot be read: {error}"));
                let claim = None;
                return Explanation { token, admission, admitted, account, here, claim, reasons };
            }
        };
        if claim.is_none() && !is_refused {
            reasons.push("nobody has claimed it: a new session would be placed by load".into());
        }
        if let Some(record) = record {
            let alive = match liveness(ctx, &record, None) {
                Liveness::Alive => "which is up",
                Liveness::Restarting | Liveness::Unknown(_) | Liveness::Doubtful => {
                    "which has just started and may take it up"
                }
                Liveness::Dead | Liveness::Absent if is_refused => "which is gone",
                Liveness::Dead | Liveness::Absent => "which is gone: it would be taken over",
            };
            reasons.push(format!("session {} on {} is claimed, {alive}", record.session, record.host));
        }
        let claim = claim.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Explanation { token, admission, admitted, account, here, claim, reasons }
    }
}

/// Whether a token is admitted, and by what.
fn admission(token: &Token, judgement: &Judgement, policy: Option<Policy>) -> String {
    match judgement {
        Judgement::Admit(of) => format!("admitted: {}", grounds(token, of, policy)),
        Judgement::Challenge(challenge) => {
            let of = challenge.as_ref().clone().waive();
            format!("admitted when the card proves its secret: {}", grounds(token, &of, policy))
        }
        Judgement::NotYet => admission(token, &Judgement::Refuse(Denial::StoreAway), policy),
        Judgement::Refuse(why) => {
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
