//! `secondary list` and `session show`: who keeps what of whom.

use std::collections::{BTreeMap, BTreeSet};

use proto::exit::Exit;
use proto::io::cli::{Failure, print};
use proto::{HostName, SessionId, Token};
use serde_json::json;

use super::args::{At, SecondaryCommand};
use super::ask::{Daemon, Gathered};
use super::show::print_json;
use super::table::Table;
use crate::host::admin::{Command, CopiesView, KeptView, ReplicaView, Reply, SessionView};
use crate::io::admin::wire::Target;

pub(super) fn run(at: &At, command: SecondaryCommand) -> Result<Exit, Failure> {
    let SecondaryCommand::List { on } = command;
    let (copies, gathered) = copies(&mut Daemon::connect(at)?, on.or(Target::All))?;
    let kept = copies.iter().flat_map(|(host, copies)| copies.kept.iter().map(move |kept| (host, kept)));
    if at.json {
        let kept: Vec<_> = kept.map(|(host, kept)| json!({"host": host, "copy": kept})).collect();
        print_json(&json!({"copies": kept, "unreachable": gathered.missing()}))?;
    } else {
        print(table(kept))?;
    }
    Ok(gathered.conclude())
}

fn table<'a>(kept: impl Iterator<Item = (&'a HostName, &'a KeptView)>) -> String {
    let mut table = Table::new(&["HOST", "KEEPS", "OF", "TOKEN", "EPOCH", "VERSION", "PARTS", "BYTES"]);
    for (host, kept) in kept {
        table.row([
            host.to_string(),
            kept.session.short(),
            kept.from.to_string(),
            kept.token.as_ref().map_or("-".to_owned(), ToString::to_string),
            kept.epoch.to_string(),
            kept.version.clone().unwrap_or_else(|| "-".to_owned()),
            kept.parts.to_string(),
            kept.bytes.to_string(),
        ]);
    }
    table.to_string()
}

/// What each host says of copies. One of an older version says nothing.
pub(super) fn copies(
    daemon: &mut Daemon,
    target: Target,
) -> Result<(BTreeMap<HostName, CopiesView>, Gathered), Failure> {
    let mut gathered = daemon.command(target, Command::Copies)?;
    let copies = gathered.replies.drain(..).filter_map(|(host, reply)| match reply {
        Reply::Copies(copies) => Some((host, copies)),
        _ => None,
    });
    Ok((copies.collect(), gathered))
}

/// Shows one session.
pub(super) fn show(at: &At, daemon: &mut Daemon, meant: &SessionView) -> Result<Exit, Failure> {
    let (copies, gathered) = copies(daemon, Target::All)?;
    let own =
        copies.get(&meant.host).and_then(|copies| copies.own.iter().find(|r| r.session == meant.session));
    let kept = copies.iter().flat_map(|(host, copies)| copies.kept.iter().map(move |kept| (host, kept)));
    let kept: Vec<(&HostName, &KeptView)> = kept.filter(|(_, kept)| kept.session == meant.session).collect();
    if at.json {
        let kept: Vec<_> = kept.iter().map(|(host, kept)| json!({"host": host, "copy": kept})).collect();
        let class = class_of(own, &kept);
        print_json(&json!({
            "session": meant, "class": class, "replica": own, "copies": kept, "unreachable": gathered.missing(),
        }))?;
    } else {
        print(text_of(meant, own, &kept))?;
    }
    Ok(gathered.conclude())
}

/// What is known of the copies of one session.
pub(super) struct CopiesOf<'a> {
    session: SessionId,
    /// At the host that runs it, if one does and it is replicated.
    own: Option<(&'a HostName, &'a ReplicaView)>,
    kept: Vec<(&'a HostName, &'a KeptView)>,
}

impl<'a> CopiesOf<'a> {
    /// Of these sessions of a token, and of those of which somebody keeps something.
    pub(super) fn token(
        copies: &'a BTreeMap<HostName, CopiesView>,
        token: &Token,
        sessions: impl Iterator<Item = SessionId>,
    ) -> Vec<Self> {
        let all = || copies.iter().flat_map(|(host, c)| c.kept.iter().map(move |kept| (host, kept)));
        let is_its = |(_, kept): &(&HostName, &KeptView)| kept.token.as_ref() == Some(token);
        let ids: BTreeSet<SessionId> =
            sessions.chain(all().filter(is_its).map(|(_, kept)| kept.session)).collect();
        let one = |session| Self {
            session,
            own: copies
                .iter()
                .find_map(|(host, c)| Some((host, c.own.iter().find(|replica| replica.session == session)?))),
            kept: all().filter(|(_, kept)| kept.session == session).collect(),
        };
        ids.into_iter().map(one).collect()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let kept: Vec<_> = self.kept.iter().map(|(host, kept)| json!({"host": host, "copy": kept})).collect();
        let class = class_of(self.own.map(|(_, own)| own), &self.kept);
        let (host, own) = self.own.unzip();
        json!({"session": self.session, "class": class, "host": host, "replica": own, "copies": kept})
    }

    /// All of that in one line, for a person.
    pub(super) fn text(&self) -> String {
        let class = class_of(self.own.map(|(_, own)| own), &self.kept);
        let mut text = format!("session {}: {class}", self.session.short());
        if let Some((host, own)) = self.own {
            text += &format!(", {} on {host}", own.state);
            if !own.why.is_empty() {
                text += &format!(" ({})", own.why);
            }
            if let Some(secondary) = &own.secondary {
                text += &format!(", secondary {secondary}");
            }
            text += &own.version.as_ref().map_or_else(String::new, |version| format!(", version {version}"));
        }
        for (host, kept) in &self.kept {
            let version = kept.version.as_deref().unwrap_or("-");
            text += &format!("; {host} keeps version {version} of epoch {}", kept.epoch);
        }
        text + "\n"
    }
}

/// Only of a session whose state outlives its host there is anything to say about copies.
const fn class_of<T>(own: Option<&ReplicaView>, kept: &[T]) -> &'static str {
    if own.is_some() || !kept.is_empty() { "replicated" } else { "restart" }
}

fn text_of(session: &SessionView, own: Option<&ReplicaView>, kept: &[(&HostName, &KeptView)]) -> String {
    let mut lines = vec![
        ("session", session.session.to_string()),
        ("token", session.token.to_string()),
        ("host", session.host.to_string()),
        ("state", session.state.clone()),
        ("epoch", session.epoch.to_string()),
        ("class", class_of(own, kept).to_owned()),
    ];
    if let Some(own) = own {
        let near = if own.same_machine { " (on the same machine)" } else { "" };
        let secondary = own.secondary.as_ref().map_or("-".to_owned(), |host| format!("{host}{near}"));
        let why = if own.why.is_empty() { String::new() } else { format!(": {}", own.why) };
        lines.extend([
            ("protection", format!("{}{why}", own.state)),
            ("secondary", secondary),
            ("waits for", own.waits.clone()),
            ("version", own.version.clone().unwrap_or_else(|| "-".to_owned())),
            ("lag", format!("{} ms", own.lag_ms)),
            (
                "sent",
                format!("{} bytes in {} versions of {} parts", own.sent_bytes, own.sent_versions, own.parts),
            ),
        ]);
        lines.extend(own.acknowledged.map(|times| ("commits", times.to_string())));
    }
    let copy = |(host, kept): &(&HostName, &KeptView)| {
        ("copy", format!("{} bytes in {} parts at {host}, of epoch {}", kept.bytes, kept.parts, kept.epoch))
    };
    lines.extend(kept.iter().map(copy));
    lines.into_iter().map(|(name, value)| format!("{name:<10}  {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Epoch, Last};
    use sessiond::control::Acknowledged;

    #[test]
    fn a_session_is_shown_with_who_keeps_it_and_how_far_that_is_behind() {
        let (host, keeper): (HostName, HostName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let session = SessionView {
            host,
            session: SessionId(1),
            token: "card.ann".parse().unwrap(),
            epoch: Epoch { generation: 1, counter: 2 },
            last: Last(0),
            claimed: true,
            state: "running".into(),
            shown: None,
        };
        let text = text_of(&session, None, &[]);
        assert!(text.ends_with("class       restart\n"), "{text}");
        let own = ReplicaView {
            session: SessionId(1),
            state: "protected".into(),
            why: String::new(),
            secondary: Some(keeper.clone()),
            same_machine: true,
            waits: "each best".into(),
            version: Some("1.2/7".into()),
            lag_ms: 3,
            parts: 2,
            sent_bytes: 900,
            sent_versions: 7,
            acknowledged: Some(Acknowledged { count: 9, p50_us: 210, p99_us: 800, max_us: 1_000 }),
        };
        let kept = KeptView {
            session: SessionId(1),
            token: None,
            from: session.host.clone(),
            epoch: session.epoch,
            parts: 2,
            version: Some("1.2/7".into()),
            bytes: 512,
        };
        let text = text_of(&session, Some(&own), &[(&keeper, &kept)]);
        for line in [
            "class       replicated",
            "protection  protected",
            "secondary   b (on the same machine)",
            "version     1.2/7",
            "lag         3 ms",
            "sent        900 bytes in 7 versions of 2 parts",
            "commits     9 acknowledged, half within 210 us, 99 of 100 within 800 us, all within 1000 us",
            "copy        512 bytes in 2 parts at b, of epoch 1.2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} in\n{text}");
        }
        assert!(table([(&keeper, &kept)].into_iter()).contains("b"));
        // By its token, also when its home is gone.
        let kept = KeptView { token: Some(session.token.clone()), ..kept };
        let at_home = CopiesView { own: vec![own], kept: Vec::new() };
        let at_keeper = CopiesView { own: Vec::new(), kept: vec![kept] };
        let all: BTreeMap<HostName, CopiesView> = [(session.host, at_home), (keeper, at_keeper)].into();
        let of = CopiesOf::token(&all, &session.token, core::iter::empty());
        assert_eq!(
            of.iter().map(CopiesOf::text).collect::<String>(),
            format!(
                "session {}: replicated, protected on a, secondary b, version 1.2/7; b keeps version 1.2/7 of epoch 1.2\n",
                session.session.short()
            )
        );
        assert_eq!(of[0].json()["replica"]["state"], "protected");
        let other = CopiesOf::token(&all, &"card.bob".parse().unwrap(), [SessionId(2)].into_iter());
        assert_eq!(other[0].json()["class"], "restart");
    }
}
