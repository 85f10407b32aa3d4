//! How two hosts prove to each other, inside TLS, that both hold the group key.
//!
//! ```text
//! asker → asked   peer host=a ver=1 nonce=… kid=… kid=…
//! asked → asker   peer host=b ver=1 nonce=… kid=… proof=…       or: peer refused=why
//! asker → asked   peer proof=…
//! ```
//!
//! `kid` in the answer is the key both prove with. A proof is bound to its role, to the speaker's name and to the
//! TLS connection (its exported keying material), so that it is worth nothing anywhere else. This module
//! only decides; the connection is in [`super::peer`].

use proto::keys::{KeyRing, Purpose};
use proto::line::Line;
use proto::version::Version;
use proto::{HostName, KeyId, Nonce};

/// Keying material of a TLS connection, as hex.
#[derive(Clone, Debug)]
pub(super) struct Binding(pub(super) String);

/// Whose proof of the group key is meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Asker,
    Asked,
}

impl Role {
    fn bound(self, host: &HostName, binding: &Binding) -> String {
        let role = match self {
            Self::Asker => "asker",
            Self::Asked => "asked",
        };
        format!("administration {role} {host} {}", binding.0)
    }
}

/// Why the other side is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Distrust {
    #[error("it speaks an older or newer version of this program; bring both to neighbouring versions")]
    Version,
    #[error("it has no group key in common with this host; give both the same key directory")]
    NoCommonKey,
    #[error("it could not prove that it holds the group key")]
    WrongProof,
    #[error("what it said is no greeting")]
    Malformed,
    #[error("it refused this host: {0}")]
    Refused(String),
    #[error("the host there is {0}, not the one that was meant")]
    OtherHost(HostName),
}

/// The asker's greeting.
pub(super) fn greeting(own: &HostName, ring: &KeyRing, nonce: Nonce) -> Line {
    let mut line = Line::new("peer").with("host", own).with("ver", Version::CURRENT).with("nonce", nonce);
    for key in ring.keys() {
        line.push("kid", key.id());
    }
    line
}

/// The asked host, waiting for the asker's proof.
#[derive(Debug)]
pub(super) struct Asked {
    asker: HostName,
    kid: KeyId,
    nonce: Nonce,
    binding: Binding,
}

impl Asked {
    /// Answers a greeting. `nonce` is fresh.
    pub(super) fn answer(
        greeting: &Line,
        own: &HostName,
        ring: &KeyRing,
        nonce: Nonce,
        binding: Binding,
    ) -> Result<(Self, Line), Distrust> {
        let asker: HostName = greeting.need("host").map_err(|_| Distrust::Malformed)?;
        let ver: Version = greeting.need("ver").map_err(|_| Distrust::Malformed)?;
        let theirs: Nonce = greeting.need("nonce").map_err(|_| Distrust::Malformed)?;
        if !Version::CURRENT.speaks_with(ver) {
            return Err(Distrust::Version);
        }
        let offered: Vec<KeyId> = greeting.all("kid").filter_map(|kid| kid.parse().ok()).collect();
        let mut ours = ring.keys().iter().map(proto::keys::GroupKey::id);
        let kid = ours.find(|kid| offered.contains(kid)).ok_or(Distrust::NoCommonKey)?;
        let role = Role::Asked.bound(own, &binding);
        let proof = ring.prove(Purpose::Admin, kid, &role, theirs).ok_or(Distrust::NoCommonKey)?;
        let line = Line::new("peer")
            .with("host", own)
            .with("ver", Version::CURRENT)
            .with("nonce", nonce)
            .with("kid", kid)
            .with("proof", proof);
        Ok((Self { asker, kid, nonce, binding }, line))
    }

    /// Judges the asker's proof; returns who it is.
    pub(super) fn judge(self, ring: &KeyRing, line: &Line) -> Result<HostName, Distrust> {
        let role = Role::Asker.bound(&self.asker, &self.binding);
        let proof = line.get("proof").ok_or(Distrust::Malformed)?;
        let holds = ring.is_proof(Purpose::Admin, self.kid, &role, self.nonce, proof);
        if holds { Ok(self.asker) } else { Err(Distrust::WrongProof) }
    }
}

/// The asker's last word: judges the answer of `wanted` to the greeting that held `nonce`, and proves itself.
pub(super) fn confirm(
    answer: &Line,
    own: &HostName,
    wanted: &HostName,
    ring: &KeyRing,
    nonce: Nonce,
    binding: &Binding,
) -> Result<Line, Distrust> {
    if let Some(why) = answer.get("refused") {
        return Err(Distrust::Refused(why.chars().take(200).collect()));
    }
    let asked: HostName = answer.need("host").map_err(|_| Distrust::Malformed)?;
    let ver: Version = answer.need("ver").map_err(|_| Distrust::Malformed)?;
    let theirs: Nonce = answer.need("nonce").map_err(|_| Distrust::Malformed)?;
    let kid: KeyId = answer.need("kid").map_err(|_| Distrust::Malformed)?;
    let proof = answer.get("proof").ok_or(Distrust::Malformed)?;
    if !Version::CURRENT.speaks_with(ver) {
        return Err(Distrust::Version);
    }
    if !ring.is_proof(Purpose::Admin, kid, &Role::Asked.bound(&asked, binding), nonce, proof) {
        return Err(Distrust::WrongProof);
    }
    if asked != *wanted {
        return Err(Distrust::OtherHost(asked));
    }
    let role = Role::Asker.bound(own, binding);
    let proof = ring.prove(Purpose::Admin, kid, &role, theirs).ok_or(Distrust::NoCommonKey)?;
    Ok(Line::new("peer").with("proof", proof))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::keys::GroupKey;

    fn ring(secrets: &[&[u8; 16]]) -> KeyRing {
        let mut keys = secrets.iter().map(|secret| GroupKey::new(*secret).unwrap());
        KeyRing::new(keys.next().unwrap(), keys.collect())
    }

    fn name(name: &str) -> HostName {
        name.parse().unwrap()
    }

    const OLD: &[u8; 16] = b"0123456789abcdef";
    const NEW: &[u8; 16] = b"fedcba9876543210";

    /// Runs the exchange; the two ends may see different connections.
    fn exchange(asker: &KeyRing, asked: &KeyRing, seen: [&str; 2]) -> Result<HostName, Distrust> {
        let [a, b] = seen.map(|text| Binding(text.into()));
        let hello = greeting(&name("a"), asker, Nonce(1));
        let (waiting, answer) = Asked::answer(&hello, &name("b"), asked, Nonce(2), b)?;
        let last = confirm(&answer, &name("a"), &name("b"), asker, Nonce(1), &a)?;
        waiting.judge(asked, &last)
    }

    #[test]
    fn hosts_with_a_key_in_common_believe_each_other_while_the_key_is_replaced() {
        let (old, both) = (ring(&[OLD]), ring(&[NEW, OLD]));
        assert_eq!(exchange(&old, &both, ["x", "x"]), Ok(name("a")));
        assert_eq!(exchange(&both, &old, ["x", "x"]), Ok(name("a")));
    }

    #[test]
    fn a_stranger_and_somebody_between_two_hosts_are_not_believed() {
        assert_eq!(exchange(&ring(&[OLD]), &ring(&[NEW]), ["x", "x"]), Err(Distrust::NoCommonKey));
        assert_eq!(exchange(&ring(&[OLD]), &ring(&[OLD]), ["x", "y"]), Err(Distrust::WrongProof));
    }

    #[test]
    fn a_proof_is_worth_nothing_in_the_other_role() {
        let ring = ring(&[OLD]);
        let binding = Binding("x".into());
        let hello = greeting(&name("a"), &ring, Nonce(1));
        let (waiting, answer) = Asked::answer(&hello, &name("a"), &ring, Nonce(1), binding).unwrap();
        assert_eq!(waiting.judge(&ring, &answer), Err(Distrust::WrongProof));
    }

    #[test]
    fn whoever_answers_in_another_hosts_place_is_noticed() {
        let ring = ring(&[OLD]);
        let binding = Binding("x".into());
        let hello = greeting(&name("a"), &ring, Nonce(1));
        let (_, answer) = Asked::answer(&hello, &name("c"), &ring, Nonce(2), binding.clone()).unwrap();
        let got = confirm(&answer, &name("a"), &name("b"), &ring, Nonce(1), &binding);
        assert_eq!(got.unwrap_err(), Distrust::OtherHost(name("c")));
    }
}
