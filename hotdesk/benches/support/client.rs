//! The session protocol over TLS from a desk's own network, one blocking call at a time: as little between the
//! clock and the wire as there can be.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::Arc;

use lab::world::World;
use proto::Serial;
use proto::alp::{
    Access, Cause, DiscCause, Event, FromDtu, FromHost, InfoReq, Presented, RedirectInf, Terminal,
};
use proto::frame::Size;
use proto::io::tls::server_name;
use proto::line::Splitter;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::{Outcome, PATIENCE, cannot};

/// Opens a TCP connection from one machine of the lab to another, without delay of small segments.
pub(crate) fn connect(world: &World, from: &str, to: SocketAddrV4) -> Outcome<TcpStream> {
    let open = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddrV4::new(address(world, from), 0).into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        std::io::Result::Ok(stream)
    };
    inside(world, from, open)?.map_err(cannot(&format!("connect {from} to {to}")))
}

/// Opens a UDP socket on a machine of the lab.
pub(crate) fn datagrams(world: &World, on: &str, port: u16) -> Outcome<UdpSocket> {
    let socket = inside(world, on, || UdpSocket::bind(SocketAddrV4::new(address(world, on), port)))?;
    let socket = socket.map_err(cannot(&format!("a UDP socket on {on}")))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(cannot("a limit"))?;
    Ok(socket)
}

/// Runs something within a machine's network, where it has one.
pub(crate) fn inside<T: Send>(world: &World, machine: &str, task: impl FnOnce() -> T + Send) -> Outcome<T> {
    match (world.backend().net(), world.backend().id(machine)) {
        (Some(net), Some(id)) => net.inside(id, task).map_err(cannot("enter a machine")),
        _ => Ok(task()),
    }
}

/// A machine's address on its first LAN.
pub(crate) fn address(world: &World, machine: &str) -> Ipv4Addr {
    world.backend().address(machine).unwrap_or(Ipv4Addr::LOCALHOST)
}

/// A host's address as a desk reaches it.
pub(crate) fn host_address(world: &World, host: &str) -> SocketAddrV4 {
    SocketAddrV4::new(address(world, host), proto::PORT)
}

/// A DTU's connection to a host.
pub(crate) struct Talk {
    stream: StreamOwned<ClientConnection, TcpStream>,
    splitter: Splitter,
    lines: VecDeque<FromHost>,
    terminal: Terminal,
}

impl Talk {
    /// Shakes hands on a connection.
    pub(crate) fn open(stream: TcpStream, tls: &Arc<ClientConfig>, serial: &Serial) -> Outcome<Self> {
        let connection = ClientConnection::new(Arc::clone(tls), server_name()).map_err(cannot("TLS"))?;
        let stream = StreamOwned::new(connection, stream);
        let terminal = Terminal { sn: Some(serial.clone()), hw: Some("bench".into()), ..Terminal::default() };
        Ok(Self { stream, splitter: Splitter::new(), lines: VecDeque::new(), terminal })
    }

    pub(crate) fn say(&mut self, message: &FromDtu) -> Outcome<()> {
        let text = format!("{}\n", message.to_line(&self.terminal));
        self.stream.write_all(text.as_bytes()).map_err(cannot("write to a host"))
    }

    /// What the host says next, apart from where to fail over to, which it may say at any time.
    pub(crate) fn hear(&mut self) -> Outcome<FromHost> {
        let mut bytes = [0; 4096];
        loop {
            match self.lines.pop_front() {
                Some(FromHost::KeepAliveInf { .. }) => continue,
                Some(message) => return Ok(message),
                None => {}
            }
            let len = self.stream.read(&mut bytes).map_err(cannot("read from a host"))?;
            if len == 0 {
                return Err("a host closed the connection".to_owned());
            }
            let lines = &mut self.lines;
            self.splitter.push(&bytes[..len], |line| {
                lines.extend(line.ok().and_then(|line| FromHost::from_line(&line).ok()));
            });
        }
    }

    /// A heartbeat, there and back.
    pub(crate) fn beat(&mut self) -> Outcome<()> {
        self.say(&FromDtu::KeepAliveReq(proto::alp::KeepAliveReq::default()))?;
        match self.hear()? {
            FromHost::KeepAliveCnf => Ok(()),
            other => Err(format!("{other:?} is no answer to a heartbeat")),
        }
    }

    /// Presents a card and hears what comes of it.
    pub(crate) fn present(&mut self, id: &str, ticket: Option<String>) -> Outcome<FromHost> {
        let cause = if ticket.is_some() { Cause::Redirect } else { Cause::Insert };
        self.say(&FromDtu::InfoReq(InfoReq {
            event: Event::Insert,
            presented: Presented { kind: "card".into(), id: id.into() },
            cause: Some(cause),
            token_seq: Some(1.into()),
            start_res: None,
            real_ip: None,
            redirect_props: ticket,
            atr: None,
            size: Some(Size::default()),
            avoid: None,
        }))?;
        self.hear()
    }

    /// Leaves for where a redirect leads.
    pub(crate) fn leave(mut self) -> Outcome<()> {
        self.say(&FromDtu::DiscReq { cause: Some(DiscCause::Redirect) })
    }
}

/// Has a session made for a card, wherever the group places it, and shown for a moment. The host that has it.
pub(crate) fn make_session(
    world: &World,
    desk: &str,
    tls: &Arc<ClientConfig>,
    id: &str,
    first: &str,
) -> Outcome<String> {
    let serial: Serial = "02000000be9c".parse().map_err(cannot("a serial"))?;
    let (mut addr, mut ticket) = (host_address(world, first), None);
    for _ in 0..4 {
        let mut talk = Talk::open(connect(world, desk, addr)?, tls, &serial)?;
        match talk.present(id, ticket.take())? {
            FromHost::ConnInf(conn) if conn.access == Access::Allowed => {
                talk.say(&FromDtu::ConnRsp { access: Access::Allowed })?;
                // Heard after it, so that the host knows that the session was taken.
                talk.beat()?;
                return Ok(conn.grant.ok_or("a connInf that grants nothing")?.host.to_string());
            }
            FromHost::RedirectInf(RedirectInf { addr: to, props, .. }) => {
                talk.leave()?;
                (addr, ticket) = (to, props);
            }
            other => return Err(format!("{other:?} is no session")),
        }
    }
    Err("sent from host to host".to_owned())
}
