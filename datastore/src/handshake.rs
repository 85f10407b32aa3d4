//! How a host and the data store prove to each other that they hold the same group key.
//!
//! Spoken inside TLS, whose certificate already shows the store to be the group's. The host proves first,
//! so that a stranger learns nothing but the ids of the store's keys:
//!
//! ```text
//! store → host   Challenge { version, nonce, kids }
//! host → store   Proof { version, kid, nonce, proof over the store's nonce }
//! store → host   HandshakeReply::Greeting { proof over the host's nonce, the store's id }, or why not
//! ```
//!
//! Both proofs are bound to the TLS connection they are made on (its exported keying material), so that one
//! cannot be carried over to another connection by somebody between the two.

use proto::ids::{KeyId, Nonce, StoreId};
use proto::keys::{KeyRing, Purpose};
use proto::version::Version;
use serde::{Deserialize, Serialize};

/// The version of the data store's protocol. 2: a store tells its id. 3: it knows guarded writes and effects.
pub const VERSION: Version = Version(3);

/// The first version whose stores know guarded writes.
pub const GUARDS: Version = Version(3);

/// Largest frame of the handshake, in bytes: what a stranger can make this side hold.
pub const FRAME_MAX: usize = 1024;

/// Most keys that are named in a challenge: a ring holds the present, the next and some old ones.
const KIDS_MAX: usize = 16;

/// What makes a proof worthless elsewhere: keying material exported from the TLS connection, as hex.
#[derive(Clone, Debug)]
pub struct Binding(String);

impl Binding {
    /// From the TLS connection's exported keying material.
    #[must_use]
    pub fn new(exported: &[u8; 32]) -> Self {
        Self(proto::hex::encode(exported))
    }

    fn role(&self, who: &str) -> String {
        format!("data store {who} {}", self.0)
    }
}

/// Store → host, first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// What the store speaks.
    pub version: Version,
    /// To be proved over.
    pub nonce: Nonce,
    /// The keys it verifies, its signing key first.
    pub kids: Vec<KeyId>,
}

/// Host → store, the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// What the host speaks.
    pub version: Version,
    /// The key both sides prove with.
    pub kid: KeyId,
    /// To be proved over by the store.
    pub nonce: Nonce,
    /// The HMAC over the store's nonce, in hex, made with the key `kid`.
    pub proof: String,
}

/// Store → host, last. The order of variants is the wire form: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandshakeReply {
    /// Requests may follow. Of a store that has no id.
    Welcome {
        /// The store's own proof.
        proof: String,
    },
    /// No: the connection ends.
    Refused(Distrust),
    /// Requests may follow.
    Greeting {
        /// The store's own proof.
        proof: String,
        /// Which store this is.
        store: StoreId,
    },
}

/// Why the other side is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Distrust {
    /// The rings have no key in common.
    #[error("the two sides have no group key in common")]
    NoCommonKey,
    /// The proof is wrong.
    #[error("the proof of the group key is wrong")]
    WrongProof,
    /// The versions are too far apart.
    #[error("its protocol version is too old or too new")]
    Version,
    /// The store has as many connections as it may. A matter of trust only in that it was not established.
    #[error("it has as many connections as it may")]
    Full,
}

/// The store's side, waiting for a [`Proof`].
#[derive(Debug)]
pub struct Challenger {
    binding: Binding,
    nonce: Nonce,
    store: Option<StoreId>,
}

impl Challenger {
    /// Begins a handshake of the store `store`. `nonce` must be fresh from a good random source.
    #[must_use]
    pub fn new(ring: &KeyRing, binding: Binding, nonce: Nonce, store: Option<StoreId>) -> (Self, Challenge) {
        let kids = ring.keys().iter().take(KIDS_MAX).map(proto::keys::GroupKey::id).collect();
        (Self { binding, nonce, store }, Challenge { version: VERSION, nonce, kids })
    }

    /// Judges the host's proof.
    #[must_use]
    pub fn judge(self, ring: &KeyRing, proof: &Proof) -> HandshakeReply {
        if !VERSION.speaks_with(proof.version) {
            return HandshakeReply::Refused(Distrust::Version);
        }
        let host = self.binding.role("host");
        if !ring.is_proof(Purpose::Store, proof.kid, &host, self.nonce, &proof.proof) {
            return HandshakeReply::Refused(Distrust::WrongProof);
        }
        let own = ring.prove(Purpose::Store, proof.kid, &self.binding.role("store"), proof.nonce);
        match (own, self.store) {
            (None, _) => HandshakeReply::Refused(Distrust::NoCommonKey),
            (Some(proof), None) => HandshakeReply::Welcome { proof },
            (Some(proof), Some(store)) => HandshakeReply::Greeting { proof, store },
        }
    }
}

/// The host's side, waiting for a [`HandshakeReply`].
#[derive(Debug)]
pub struct Prover {
    binding: Binding,
    kid: KeyId,
    nonce: Nonce,
}

impl Prover {
    /// Answers a challenge with the first key of the own ring that the store has too. `nonce` must be fresh
    /// from a good random source.
    ///
    /// # Errors
    /// [`Distrust::Version`], [`Distrust::NoCommonKey`].
    pub fn answer(
        ring: &KeyRing,
        binding: Binding,
        nonce: Nonce,
        challenge: &Challenge,
    ) -> Result<(Self, Proof), Distrust> {
        if !VERSION.speaks_with(challenge.version) {
            return Err(Distrust::Version);
        }
        let mut ours = ring.keys().iter().map(proto::keys::GroupKey::id);
        let kid = ours.find(|kid| challenge.kids.contains(kid)).ok_or(Distrust::NoCommonKey)?;
        let proof = ring
            .prove(Purpose::Store, kid, &binding.role("host"), challenge.nonce)
            .ok_or(Distrust::NoCommonKey)?;
        Ok((Self { binding, kid, nonce }, Proof { version: VERSION, kid, nonce, proof }))
    }

    /// Judges the store's answer. Returns which store it is, if it has an id.
    ///
    /// # Errors
    /// What the store said, or [`Distrust::WrongProof`] when it is the one that cannot prove.
    pub fn judge(self, ring: &KeyRing, reply: &HandshakeReply) -> Result<Option<StoreId>, Distrust> {
        let (proof, id) = match reply {
            HandshakeReply::Refused(why) => return Err(*why),
            HandshakeReply::Welcome { proof } => (proof, None),
            HandshakeReply::Greeting { proof, store } => (proof, Some(*store)),
        };
        let store = self.binding.role("store");
        let is_proven = ring.is_proof(Purpose::Store, self.kid, &store, self.nonce, proof);
        is_proven.then_some(id).ok_or(Distrust::WrongProof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::keys::GroupKey;

    fn ring(secrets: &[&[u8]]) -> KeyRing {
        let mut keys: Vec<_> = secrets.iter().map(|s| GroupKey::new(s).unwrap()).collect();
        KeyRing::new(keys.remove(0), keys)
    }

    const OLD: &[u8] = b"0123456789abcdef";
    const NEW: &[u8] = b"fedcba9876543210";
    const ID: StoreId = StoreId(0x5707e);

    /// Runs a handshake between two rings over connections with these bindings.
    fn shake(host: &KeyRing, store: &KeyRing, bindings: [u8; 2]) -> Result<Option<StoreId>, Distrust> {
        let [ours, theirs] = bindings.map(|b| Binding::new(&[b; 32]));
        let (challenger, challenge) = Challenger::new(store, theirs, Nonce(1), Some(ID));
        let (prover, proof) = Prover::answer(host, ours, Nonce(2), &challenge)?;
        prover.judge(host, &challenger.judge(store, &proof))
    }

    #[test]
    fn two_sides_with_a_key_in_common_trust_each_other_while_a_key_is_replaced() {
        let (old, new, both) = (ring(&[OLD]), ring(&[NEW]), ring(&[NEW, OLD]));
        for (host, store) in [(&old, &old), (&old, &both), (&both, &old), (&both, &both), (&new, &both)] {
            assert_eq!(shake(host, store, [7, 7]), Ok(Some(ID)));
        }
        assert_eq!(shake(&old, &new, [7, 7]), Err(Distrust::NoCommonKey));
    }

    #[test]
    fn a_proof_is_void_on_another_connection() {
        let ring = ring(&[OLD]);
        assert_eq!(shake(&ring, &ring, [7, 8]), Err(Distrust::WrongProof));
    }

    #[test]
    fn a_stranger_who_names_a_key_he_does_not_hold_is_refused() {
        let ring = ring(&[OLD]);
        let (challenger, challenge) = Challenger::new(&ring, Binding::new(&[7; 32]), Nonce(1), Some(ID));
        let proof =
            Proof { version: VERSION, kid: challenge.kids[0], nonce: Nonce(2), proof: "00".repeat(20) };
        assert_eq!(challenger.judge(&ring, &proof), HandshakeReply::Refused(Distrust::WrongProof));
    }

    #[test]
    fn a_store_that_cannot_prove_is_not_believed() {
        let ring = ring(&[OLD]);
        let (_, challenge) = Challenger::new(&ring, Binding::new(&[7; 32]), Nonce(1), Some(ID));
        for proof in ["", "00"] {
            let (prover, _) = Prover::answer(&ring, Binding::new(&[7; 32]), Nonce(2), &challenge).unwrap();
            let reply = HandshakeReply::Welcome { proof: proof.into() };
            assert_eq!(prover.judge(&ring, &reply), Err(Distrust::WrongProof));
        }
    }

    #[test]
    fn the_store_s_own_proof_cannot_be_reflected_to_it() {
        let ring = ring(&[OLD]);
        let binding = || Binding::new(&[7; 32]);
        let (_, challenge) = Challenger::new(&ring, binding(), Nonce(1), Some(ID));
        let (_, proof) = Prover::answer(&ring, binding(), Nonce(1), &challenge).unwrap();
        let (challenger, _) = Challenger::new(&ring, binding(), Nonce(1), Some(ID));
        let HandshakeReply::Greeting { proof: stores, .. } = challenger.judge(&ring, &proof) else {
            panic!()
        };
        let (challenger, _) = Challenger::new(&ring, binding(), Nonce(1), Some(ID));
        let reflected = Proof { proof: stores, ..proof };
        assert_eq!(challenger.judge(&ring, &reflected), HandshakeReply::Refused(Distrust::WrongProof));
    }

    #[test]
    fn a_version_two_steps_away_is_refused_by_either_side() {
        let ring = ring(&[OLD]);
        let binding = || Binding::new(&[7; 32]);
        let (challenger, challenge) = Challenger::new(&ring, binding(), Nonce(1), Some(ID));
        let later = Challenge { version: Version(VERSION.0 + 2), ..challenge.clone() };
        assert_eq!(Prover::answer(&ring, binding(), Nonce(2), &later).unwrap_err(), Distrust::Version);
        let (_, proof) = Prover::answer(&ring, binding(), Nonce(2), &challenge).unwrap();
        let proof = Proof { version: Version(VERSION.0 + 2), ..proof };
        assert_eq!(challenger.judge(&ring, &proof), HandshakeReply::Refused(Distrust::Version));
    }

    #[test]
    fn a_host_of_the_version_before_is_welcomed() {
        let ring = ring(&[OLD]);
        let binding = || Binding::new(&[7; 32]);
        let (challenger, challenge) = Challenger::new(&ring, binding(), Nonce(1), Some(ID));
        let (prover, proof) = Prover::answer(&ring, binding(), Nonce(2), &challenge).unwrap();
        let reply = challenger.judge(&ring, &Proof { version: Version(VERSION.0 - 1), ..proof });
        assert_eq!(prover.judge(&ring, &reply), Ok(Some(ID)));
    }
}
