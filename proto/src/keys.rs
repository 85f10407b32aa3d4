//! The group key: a ring of keys, of which one signs and several verify, and what a signature proves.
//!
//! Every host holds the same key file, and signs by keyed SHA-1 (`docs/protocol.md`, "Between hosts"). There is
//! a ring of keys, so that a key can be replaced while the group runs, and a key derived per
//! purpose, so that a signature made for one purpose is void for another. A verified message is a value of
//! its own type ([`Verified`]) that only this module can make; whoever needs proof asks for one.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::hex;
use crate::ids::{GrantId, KeyId, Nonce, Token, TokenTag};
use crate::line::{Line, LineError};

/// What a derived key is for. Part of the derivation: never renumber or rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Host messages, which hosts broadcast of themselves.
    HostMessage,
    /// Beacons, which hosts broadcast every 50 ms.
    Beacon,
    /// hostQ, hostR, tokenQ, tokenR, coming, shown, digest, digestQ, goodbye.
    Peer,
    /// Tickets that a DTU carries to the host it is redirected to.
    Ticket,
    /// A host's connection to the data store.
    Store,
    /// A host's connection to another host's administration.
    Admin,
}

impl Purpose {
    const ALL: [Self; 6] =
        [Self::HostMessage, Self::Beacon, Self::Peer, Self::Ticket, Self::Store, Self::Admin];

    const fn label(self) -> &'static str {
        match self {
            Self::HostMessage => "hotdesk host message",
            Self::Beacon => "hotdesk beacon",
            Self::Peer => "hotdesk peer",
            Self::Ticket => "hotdesk ticket",
            Self::Store => "hotdesk store",
            Self::Admin => "hotdesk admin",
        }
    }
}

/// A secret too short to sign with. Whoever made the key file is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a group key of {bits} bits is too short: at least 128 are needed")]
pub struct ShortKey {
    /// How long it is.
    pub bits: usize,
}

/// One group key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct GroupKey {
    id: KeyId,
    secret: Zeroizing<Vec<u8>>,
    /// One prepared HMAC per purpose, in the order of [`Purpose::ALL`]: a signature then costs only the
    /// blocks of its message.
    macs: [Hmac<Sha1>; Purpose::ALL.len()],
}

impl GroupKey {
    /// Shortest secret, in bytes.
    pub const LEN_MIN: usize = 16;

    /// A key from its secret.
    ///
    /// # Errors
    /// [`ShortKey`] below 128 bits.
    pub fn new(secret: &[u8]) -> Result<Self, ShortKey> {
        if secret.len() < Self::LEN_MIN {
            return Err(ShortKey { bits: secret.len() * 8 });
        }
        let digest = Sha256::new().chain_update(b"hotdesk key id").chain_update(secret).finalize();
        let id = KeyId(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]));
        let macs = Purpose::ALL.map(|purpose| {
            let derived = mac::<Hmac<Sha256>>(secret).chain_update(purpose.label()).finalize().into_bytes();
            mac(&derived)
        });
        Ok(Self { id, secret: Zeroizing::new(secret.to_vec()), macs })
    }

    /// Its id, derived from the secret.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The secret, for writing the key file.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    fn mac(&self, purpose: Purpose) -> Hmac<Sha1> {
        self.macs[purpose as usize].clone()
    }
}

/// HMAC takes a key of any length, so there is no failure to report.
fn mac<M: KeyInit + Mac>(key: &[u8]) -> M {
    match <M as KeyInit>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of every length"),
    }
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupKey({})", self.id)
    }
}

/// The keys a host holds: the first signs, all verify.
#[derive(Clone, Debug)]
pub struct KeyRing {
    keys: Vec<GroupKey>,
}

/// A message whose signature was checked with a key of the ring, for one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The message whose signature was good.
    pub const fn get(&self) -> &T {
        &self.0
    }

    /// The message, without its proof.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// Reads the message as something more specific; the proof goes along.
    ///
    /// # Errors
    /// Whatever `read` says.
    pub fn try_map<U, E>(self, read: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        read(self.0).map(Verified)
    }
}

/// Why a signed message is not believed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbelieved {
    /// It carries no signature where one belongs.
    #[error("unsigned")]
    Unsigned,
    /// It names a key that is not in the ring: a stranger, or a host whose key file is older or newer.
    #[error("signed with an unknown key")]
    UnknownKey,
    /// The signature is not of this text with the key it names: forged or damaged.
    #[error("wrong signature")]
    Forged,
    /// The signature is right and the text is not a line: our own version at fault.
    #[error("signed, but not a line: {0}")]
    NotALine(LineError),
}

/// ` kid=<8> sig=<40>`, which every signed message ends with.
const TAIL_LEN: usize = 5 + 8 + SIG_LEN;
const SIG_LEN: usize = 5 + 40;

impl KeyRing {
    /// A ring that signs with `signing` and verifies with it and the `others`.
    #[must_use]
    pub fn new(signing: GroupKey, others: Vec<GroupKey>) -> Self {
        let mut keys = vec![signing];
        keys.extend(others);
        Self { keys }
    }

    /// The keys, the signing one first.
    #[must_use]
    pub fn keys(&self) -> &[GroupKey] {
        &self.keys
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn signing(&self) -> KeyId {
        self.keys[0].id
    }

    fn key(&self, id: KeyId) -> Option<&GroupKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// `line` with `kid` and `sig` appended: the bytes of a datagram.
    #[must_use]
    pub fn seal(&self, purpose: Purpose, line: &Line) -> Vec<u8> {
        let mut text = line.to_string();
        text.push_str(" kid=");
        text.push_str(&self.signing().to_string());
        let sig = self.keys[0].mac(purpose).chain_update(text.as_bytes()).finalize().into_bytes();
        text.push_str(" sig=");
        text.push_str(&hex::encode(&sig));
        text.into_bytes()
    }

    /// Checks the signature of a datagram and only then reads it, so that a stranger's text costs one look at
    /// its tail.
    ///
    /// ```
    /// use proto::Line;
    /// use proto::keys::{GroupKey, KeyRing, Purpose, Unbelieved};
    ///
    /// let ring = |secret| KeyRing::new(GroupKey::new(secret).unwrap(), Vec::new());
    /// let datagram = ring(&[1; 32]).seal(Purpose::Peer, &Line::new("goodbye").with("host", "a"));
    /// assert_eq!(ring(&[1; 32]).open(Purpose::Peer, &datagram).unwrap().get().get("host"), Some("a"));
    /// assert_eq!(ring(&[2; 32]).open(Purpose::Peer, &datagram), Err(Unbelieved::UnknownKey));
    /// ```
    ///
    /// # Errors
    /// See [`Unbelieved`].
    pub fn open(&self, purpose: Purpose, bytes: &[u8]) -> Result<Verified<Line>, Unbelieved> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let (body, tail) =
            bytes.split_at_checked(bytes.len().saturating_sub(TAIL_LEN)).ok_or(Unbelieved::Unsigned)?;
        let kid = tail.strip_prefix(b" kid=").and_then(|t| t.get(..8)).ok_or(Unbelieved::Unsigned)?;
        let sig = tail.get(13..).and_then(|t| t.strip_prefix(b" sig=")).ok_or(Unbelieved::Unsigned)?;
        let kid = hex::decode(kid).ok_or(Unbelieved::Unsigned)?;
        let key = self.key(KeyId(u32::from_be_bytes(kid))).ok_or(Unbelieved::UnknownKey)?;
        let sig = hex::decode::<20>(sig).ok_or(Unbelieved::Unsigned)?;
        let signed = &bytes[..body.len() + TAIL_LEN - SIG_LEN];
        key.mac(purpose).chain_update(signed).verify_slice(&sig).map_err(|_| Unbelieved::Forged)?;
        Line::parse(body).map(Verified).map_err(Unbelieved::NotALine)
    }

    /// A token as hosts name it to each other. Made with every key of the ring's first only: while a key is
    /// being replaced, hosts on different signing keys compute different tags, which is why the asker says
    /// which key it used.
    #[must_use]
    pub fn tag(&self, kid: KeyId, token: &Token) -> Option<TokenTag> {
        let mac = self.key(kid)?.mac(Purpose::Peer).chain_update(b"token ").chain_update(token.as_str());
        let bytes = mac.finalize().into_bytes();
        let mut tag = [0; 16];
        tag.copy_from_slice(&bytes[..16]);
        Some(TokenTag(u128::from_be_bytes(tag)))
    }

    /// The MAC of a redirect ticket over `grant` and `bound` ([`crate::ticket`] says what is bound).
    #[must_use]
    pub(crate) fn ticket_mac(&self, kid: KeyId, grant: GrantId, bound: &str) -> Option<[u8; 20]> {
        let mac = self.key(kid)?.mac(Purpose::Ticket).chain_update(grant.to_string()).chain_update(bound);
        Some(mac.finalize().into_bytes().into())
    }

    /// The answer to a challenge on a connection: proves that its maker holds the key `kid`, to whoever sent
    /// `nonce`, and for nothing but `purpose` and `role` (so that a challenger's own answer cannot be
    /// reflected). `None` when the ring lacks the key.
    #[must_use]
    pub fn prove(&self, purpose: Purpose, kid: KeyId, role: &str, nonce: Nonce) -> Option<String> {
        let mac = self.key(kid)?.mac(purpose).chain_update(role).chain_update(nonce.to_string());
        Some(hex::encode(&mac.finalize().into_bytes()))
    }

    /// Whether `proof` is what [`KeyRing::prove`] gives; compared in constant time.
    #[must_use]
    pub fn is_proof(&self, purpose: Purpose, kid: KeyId, role: &str, nonce: Nonce, proof: &str) -> bool {
        let (Some(key), Some(proof)) = (self.key(kid), hex::decode::<20>(proof.as_bytes())) else {
            return false;
        };
        key.mac(purpose).chain_update(role).chain_update(nonce.to_string()).verify_slice(&proof).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(secret: &[u8]) -> KeyRing {
        KeyRing::new(GroupKey::new(secret).unwrap(), Vec::new())
    }

    #[test]
    fn a_signature_for_one_purpose_is_void_for_another() {
        let ring = ring(b"0123456789abcdef");
        let bytes = ring.seal(Purpose::Beacon, &Line::new("x").with("k", 1));
        assert!(ring.open(Purpose::Beacon, &bytes).is_ok());
        assert_eq!(ring.open(Purpose::Peer, &bytes), Err(Unbelieved::Forged));
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let ring = ring(b"0123456789abcdef");
        let bytes = ring.seal(Purpose::Peer, &Line::new("x").with("k", 1));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(ring.open(Purpose::Peer, &other).is_err(), "byte {at}");
        }
        for len in 0..bytes.len() {
            assert!(ring.open(Purpose::Peer, &bytes[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn a_ring_verifies_what_any_of_its_keys_signed() {
        let (old, new) = (b"0123456789abcdef", b"fedcba9876543210");
        let both = KeyRing::new(GroupKey::new(new).unwrap(), vec![GroupKey::new(old).unwrap()]);
        let bytes = ring(old).seal(Purpose::Peer, &Line::new("x"));
        assert!(both.open(Purpose::Peer, &bytes).is_ok());
        assert_eq!(ring(new).open(Purpose::Peer, &bytes), Err(Unbelieved::UnknownKey));
    }

    #[test]
    fn a_key_below_128_bits_is_refused() {
        assert_eq!(GroupKey::new(&[7; 15]).unwrap_err(), ShortKey { bits: 120 });
    }

    #[test]
    fn a_proof_cannot_be_reflected_to_whoever_asked_for_it() {
        let ring = ring(b"0123456789abcdef");
        let proof = ring.prove(Purpose::Store, ring.signing(), "client", Nonce(7)).unwrap();
        assert!(ring.is_proof(Purpose::Store, ring.signing(), "client", Nonce(7), &proof));
        assert!(!ring.is_proof(Purpose::Store, ring.signing(), "server", Nonce(7), &proof));
        assert!(!ring.is_proof(Purpose::Admin, ring.signing(), "client", Nonce(7), &proof));
    }
}
