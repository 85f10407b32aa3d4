//! The redirect ticket: what lets a DTU skip authentication and selection at the host it was sent to.
//!
//! See `docs/protocol.md`, "Between hosts". The target gives a [`GrantId`] in its tokenR; the host that redirects binds it to the
//! presentation with the group key; the DTU carries it in `redirectProps` without understanding it. Expiry and
//! single use are the target's own memory and clock, not part of the ticket.

use crate::hex;
use crate::ids::{BootId, GrantId, HostName, KeyId, Serial, SessionId, Token};
use crate::keys::KeyRing;

/// What a ticket binds together; a ticket made for anything else does not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketClaims {
    /// The target's permission, from its tokenR.
    pub grant: GrantId,
    /// Who the DTU will bring.
    pub token: Token,
    /// The session to attach, when there is one.
    pub session: Option<SessionId>,
    /// The DTU that may present it.
    pub serial: Serial,
    /// The host it is for.
    pub target: HostName,
    /// And the run of it.
    pub boot: BootId,
}

impl TicketClaims {
    fn bound(&self) -> String {
        let session = self.session.map_or_else(|| "-".to_owned(), |s| s.to_string());
        format!(" {} {session} {} {} {}", self.token, self.serial, self.target, self.boot)
    }
}

/// A ticket as it travels: `<kid>.<grant>.<session or ->.<mac>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Which key made it.
    pub kid: KeyId,
    /// Which permission it uses up.
    pub grant: GrantId,
    /// Which session it is for.
    pub session: Option<SessionId>,
    mac: [u8; 20],
}

impl Ticket {
    /// Makes the ticket for `claims` with the signing key.
    #[must_use]
    pub fn issue(ring: &KeyRing, claims: &TicketClaims) -> Option<Self> {
        let kid = ring.signing();
        let mac = ring.ticket_mac(kid, claims.grant, &claims.bound())?;
        Some(Self { kid, grant: claims.grant, session: claims.session, mac })
    }

    /// Whether it was made for `claims` by someone who holds the group key.
    #[must_use]
    pub fn is_for(&self, ring: &KeyRing, claims: &TicketClaims) -> bool {
        let Some(mac) = ring.ticket_mac(self.kid, self.grant, &claims.bound()) else { return false };
        let differing = mac.iter().zip(&self.mac).fold(0, |sum, (a, b)| sum | (a ^ b));
        differing == 0 && self.grant == claims.grant && self.session == claims.session
    }
}

impl core::fmt::Display for Ticket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}.", self.kid, self.grant)?;
        match self.session {
            Some(session) => write!(f, "{session}.")?,
            None => f.write_str("-.")?,
        }
        f.write_str(&hex::encode(&self.mac))
    }
}

/// Text that is no ticket; whoever sent it is treated as having none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ticket")]
pub struct NotATicket;

impl core::str::FromStr for Ticket {
    type Err = NotATicket;
    fn from_str(s: &str) -> Result<Self, NotATicket> {
        let mut parts = s.splitn(4, '.');
        let mut part = || parts.next().ok_or(NotATicket);
        let kid = part()?.parse().map_err(|_| NotATicket)?;
        let grant = part()?.parse().map_err(|_| NotATicket)?;
        let session = match part()? {
            "-" => None,
            text => Some(text.parse().map_err(|_| NotATicket)?),
        };
        let mac = hex::decode(part()?.as_bytes()).ok_or(NotATicket)?;
        Ok(Self { kid, grant, session, mac })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::GroupKey;

    #[test]
    fn a_ticket_is_good_only_for_exactly_what_it_was_made_for() {
        let ring = KeyRing::new(GroupKey::new(&[1; 32]).unwrap(), Vec::new());
        let claims = TicketClaims {
            grant: GrantId(5),
            token: "card.1".parse().unwrap(),
            session: Some(SessionId(9)),
            serial: "080020abcdef".parse().unwrap(),
            target: "b".parse().unwrap(),
            boot: BootId(3),
        };
        let ticket = Ticket::issue(&ring, &claims).unwrap();
        let read: Ticket = ticket.to_string().parse().unwrap();
        assert_eq!(read, ticket);
        assert!(read.is_for(&ring, &claims));
        for other in [
            TicketClaims { grant: GrantId(6), ..claims.clone() },
            TicketClaims { token: "card.2".parse().unwrap(), ..claims.clone() },
            TicketClaims { session: None, ..claims.clone() },
            TicketClaims { serial: "080020abcdee".parse().unwrap(), ..claims.clone() },
            TicketClaims { target: "c".parse().unwrap(), ..claims.clone() },
            TicketClaims { boot: BootId(4), ..claims },
        ] {
            assert!(!read.is_for(&ring, &other), "{other:?}");
        }
    }
}
