//! What a stranger forges. All of it is in the grammar, so that nothing but its signature keeps it from being believed.

use proto::keys::Purpose;
use proto::line::Line;

/// Kinds of forgeries that need nothing to have been heard before.
pub(super) const FORGERIES: u64 = 10;

/// In whose name something is forged.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// A host, real or not.
    pub(super) host: String,
    /// The run that is meant.
    pub(super) boot: String,
    /// The stranger's own address, in hex.
    pub(super) ip: String,
    /// What is invented is made of this.
    pub(super) n: u64,
}

impl Names {
    /// A message of kind `kind`, and what it claims to be signed for.
    pub(super) fn forge(&self, kind: u64) -> (String, Purpose) {
        let Self { host, boot, ip, n } = self;
        let peer = |text: String| (text, Purpose::Peer);
        match kind {
            0 => (
                format!(
                    "beacon host={host} ver=2 boot={boot} seq=999999 if=eth0 every=100 load=0 sessions=0 drain=0 \
                     tick=9999 link={n:032x}"
                ),
                Purpose::Beacon,
            ),
            1 => (
                format!("host={host} addr={ip} time=950739941 numifs=0 flags=0 cpus=64 clock=9000"),
                Purpose::HostMessage,
            ),
            2 => peer(format!("goodbye host={host} boot={boot}")),
            3 => peer(format!(
                "shown host={host} boot={boot} tagged=00000001 n=1 token={n:032x} last=9999999999999"
            )),
            4 => peer(format!(
                "tokenR host={host} boot={boot} seq=1 nonce={n:032x} grant={n:032x} n=0 load=0 mem=9999 sessions=0"
            )),
            5 => peer(format!("coming host={host} boot={boot} grant={n:032x} grant={n:032x}")),
            6 => peer(format!("hostR host={host} boot={boot} to={boot} nonce={n:032x}")),
            7 => peer(format!(
                "digest host={host} boot={boot} tagged=00000001 dig=9.1 part=0 tags={:08x}",
                *n as u32
            )),
            8 => peer(format!("serverR host={host} ip={ip} port=7009 load=0 drain=0")),
            _ => peer("x".repeat((n % 1_400) as usize)),
        }
    }

    /// What a host said of the tokens that it shows, as if another one had said it, a while later.
    pub(super) fn shown_later(&self, heard: &Line) -> (String, Purpose) {
        let mut line = Line::new("shown").with("host", &self.host).with("boot", &self.boot);
        for (key, value) in heard.pairs() {
            match key {
                "host" | "boot" | "kid" | "sig" => {}
                "last" => line.push(key, value.parse::<u64>().unwrap_or(0).saturating_add(5_000)),
                _ => line.push(key, value),
            }
        }
        (line.to_string(), Purpose::Peer)
    }
}

#[cfg(test)]
mod tests {
    use proto::beacon::Beacon;
    use proto::discovery::ServerR;
    use proto::host_message::HostMessage;
    use proto::peer::{PeerBody, PeerMessage};

    use super::*;

    fn names() -> Names {
        let [host, boot, ip] = ["h1", "000000000000001f", "0a000001"].map(str::to_owned);
        Names { host, boot, ip, n: 77 }
    }

    #[test]
    fn every_forgery_but_noise_is_in_the_grammar() {
        for kind in 0..FORGERIES - 1 {
            let (text, purpose) = names().forge(kind);
            let line = Line::parse(text.as_bytes()).unwrap();
            let is_read = match purpose {
                Purpose::Beacon => Beacon::from_line(&line).is_ok(),
                Purpose::HostMessage => HostMessage::from_line(&line).is_ok(),
                _ => PeerMessage::from_line(&line).is_ok() || ServerR::from_line(&line).is_ok(),
            };
            assert!(is_read, "{text}");
        }
    }

    #[test]
    fn a_word_that_was_heard_is_forged_as_a_later_one_of_somebody_else() {
        let heard = "shown host=h2 boot=0000000000000002 tagged=00000001 n=1 token=00000000000000000000000000000009 \
                     last=7 kid=00000001 sig=00";
        let (text, _) = names().shown_later(&heard.parse().unwrap());
        let PeerMessage { host, body, .. } = PeerMessage::from_line(&text.parse().unwrap()).unwrap();
        assert_eq!(host.as_str(), "h1");
        assert!(matches!(body, PeerBody::Shown { tokens, .. } if tokens[0].1 == proto::Last(5_007)));
    }
}
