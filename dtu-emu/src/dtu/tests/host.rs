//! A scripted host.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use proto::alp::{AnchorNote, Cookie, FromDtu, InfoReq};
use proto::beacon::{Beacon, INTERVAL};
use proto::chain::Chain;
use proto::frame::{Frame, Size};
use proto::version::Version;
use proto::{BootId, HostName, Line, Nonce};

use crate::dtu::ConnId;

/// What a host does about a presented token.
#[derive(Clone, Debug)]
pub(super) enum Policy {
    /// Grants the session with this number.
    Grant(u128),
    /// Refuses with this notice.
    Deny(&'static str),
    /// Sends it to the host of this name.
    Redirect(&'static str),
    /// It takes connections and says nothing.
    Mute,
    /// Says something unusable.
    Garble,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proc {
    Runs,
    Stopped,
    Dead,
}

pub(super) struct Host {
    pub(super) name: HostName,
    pub(super) addr: SocketAddrV4,
    pub(super) daemon: Proc,
    pub(super) session: Proc,
    pub(super) policy: Policy,
    /// Who keeps the session that it grants, in its words.
    pub(super) cookie: Option<Cookie>,
    /// Whether its beacons reach the DTU, and how they are forged if at all.
    pub(super) beacons: bool,
    pub(super) load: u32,
    pub(super) drain: bool,
    pub(super) answers_serverq: bool,
    /// Its certificate is of another group.
    pub(super) is_stranger: bool,
    /// It takes no more connections of this DTU's address.
    pub(super) is_busy: bool,
    pub(super) chain: Chain,
    pub(super) tick: u64,
    pub(super) boot: u64,
    /// Names the run of the session process: its certificate and its stream.
    pub(super) run: u8,
    pub(super) output: Vec<u8>,
    pub(super) typed: Vec<u8>,
    /// How much input of each run was applied, and which run the channel is of.
    pub(super) applied: BTreeMap<u128, u64>,
    pub(super) input_run: u128,
    /// Lines that wait for a stopped daemon.
    pub(super) backlog: Vec<(ConnId, Line)>,
    /// The infoReqs it got.
    pub(super) asked: Vec<InfoReq>,
    /// Everything it got on control connections.
    pub(super) said: Vec<FromDtu>,
    pub(super) hellos: usize,
    /// Nothing that the DTU says reaches it; it does not know.
    pub(super) deaf: bool,
    /// It has not got to those that want to be let in.
    pub(super) crowded: bool,
    /// It is heard, and no connection gets to it.
    pub(super) out_of_reach: bool,
    /// Whether a Hello is answered.
    pub(super) greets: bool,
    /// The frames its session got.
    pub(super) frames: Vec<Frame>,
    /// Its sessions have a second display, which ends when it is opened.
    pub(super) has_broken_second: bool,
}

impl Host {
    pub(super) fn new(name: &'static str, last: u8) -> Self {
        Self {
            name: name.parse().unwrap(),
            addr: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), proto::PORT),
            daemon: Proc::Runs,
            session: Proc::Runs,
            policy: Policy::Grant(u128::from(last)),
            cookie: None,
            beacons: true,
            load: 0,
            drain: false,
            answers_serverq: true,
            is_stranger: false,
            is_busy: false,
            chain: Chain::new([last; 16], 6_000),
            tick: 0,
            boot: u64::from(last),
            run: last,
            output: format!("{name}$ ").into_bytes(),
            typed: Vec::new(),
            applied: BTreeMap::new(),
            input_run: 0,
            backlog: Vec::new(),
            asked: Vec::new(),
            said: Vec::new(),
            hellos: 0,
            deaf: false,
            crowded: false,
            out_of_reach: false,
            greets: true,
            frames: Vec::new(),
            has_broken_second: false,
        }
    }

    pub(super) fn anchor(&mut self) -> AnchorNote {
        let chain_value = self.chain.reveal(self.tick).unwrap();
        AnchorNote { boot: BootId(self.boot), tick: self.tick, chain_value, every: INTERVAL }
    }

    pub(super) fn beacon(&mut self) -> Beacon {
        self.tick += 1;
        Beacon {
            host: self.name.clone(),
            ver: Version::CURRENT,
            boot: BootId(self.boot),
            seq: self.tick,
            iface: "eth0".parse().unwrap(),
            every: INTERVAL,
            load: self.load,
            sessions: 0,
            drain: self.drain,
            tick: self.tick,
            chain_value: self.chain.reveal(self.tick).unwrap(),
            digest: None,
        }
    }

    /// What the session answers.
    pub(super) fn on_frame(&mut self, frame: Frame) -> Vec<Frame> {
        if self.session != Proc::Runs || self.deaf {
            return Vec::new();
        }
        let stream = Nonce(u128::from(self.run));
        self.frames.push(frame.clone());
        match frame {
            Frame::Hello(_) if !self.greets => Vec::new(),
            Frame::Hello(hello) => {
                self.hellos += 1;
                self.input_run = hello.run.0;
                let input_applied = *self.applied.entry(hello.run.0).or_default();
                let mut replies = vec![Frame::Welcome { input_applied, stream }];
                let offset = if hello.stream == stream { hello.have } else { 0 };
                let bytes = self.output[usize::try_from(offset).unwrap()..].to_vec();
                if !bytes.is_empty() {
                    replies.push(Frame::Output { offset, bytes });
                }
                replies
            }
            Frame::Input { seq, bytes } => {
                let applied = self.applied.get_mut(&self.input_run).unwrap();
                assert!(seq <= *applied, "input with a hole: {seq} after {applied}");
                let known = usize::try_from(*applied - seq).unwrap().min(bytes.len());
                *applied += (bytes.len() - known) as u64;
                self.typed.extend(&bytes[known..]);
                vec![Frame::Ack { output: 0, input: *applied }]
            }
            Frame::Ping(number) => vec![Frame::Pong(number)],
            Frame::WantRepaint => vec![Frame::Repaint {
                offset: self.output.len() as u64,
                size: Size::default(),
                bytes: self.output.clone(),
            }],
            _ => Vec::new(),
        }
    }
}
