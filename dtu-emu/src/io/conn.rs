//! One connection of a DTU, control or display: a task that opens it, carries it and ends with it.
//!
//! What it hears goes to the shell as [`Note`]s, in order and with back-pressure: a connection whose notes
//! are not taken is not read. It ends when its [`Sender`] is dropped, after sending what was queued.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use proto::frame::{Frame, FrameBuffer};
use proto::io::tls::{Fingerprint, client_of_fingerprint, server_name};
use proto::line::Splitter;
use proto::{Line, SessionId, WallTime};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::first_word::FirstWord;
use super::path::{LOOK_AGAIN, Owes, Watched};
use super::trust::Trust;
use crate::dtu::{ConnId, DisplayTarget, Fault};

/// What a connection tells the shell.
#[derive(Debug)]
pub(super) enum Note {
    ControlReached {
        conn: ConnId,
    },
    ControlOpened {
        conn: ConnId,
        local: Ipv4Addr,
    },
    ControlLine {
        conn: ConnId,
        line: Line,
    },
    ControlClosed {
        conn: ConnId,
        fault: Fault,
    },
    DisplayOpened {
        conn: ConnId,
    },
    DisplayHeard {
        conn: ConnId,
    },
    DisplayFrame {
        conn: ConnId,
        frame: Frame,
    },
    DisplayClosed {
        conn: ConnId,
        fault: Fault,
    },
    /// All that arrived before it was sent has been handed in.
    Canary,
}

/// Where the notes of one DTU go: to the shell, with the DTU's number.
#[derive(Clone)]
pub(super) struct Notes {
    pub(super) desk: usize,
    pub(super) to: mpsc::Sender<(usize, Note)>,
}

impl Notes {
    /// False when the shell is gone.
    pub(super) async fn say(&self, note: Note) -> bool {
        self.to.send((self.desk, note)).await.is_ok()
    }
}

/// Bytes to send; dropping it closes the connection.
pub(super) type Sender = mpsc::UnboundedSender<Vec<u8>>;
type Outgoing = mpsc::UnboundedReceiver<Vec<u8>>;

/// Long enough to get a farewell out, short enough not to matter.
const FAREWELL: Duration = Duration::from_millis(200);
/// Nobody takes this long over a few lines who is still there.
const SENDING_MAX: Duration = Duration::from_secs(60);
/// For so long the end of a handshake waits for what is said first. A shell that is busy with others must not keep the
/// host waiting.
const TOGETHER: Duration = Duration::from_millis(5);
const READ_CONTROL: usize = 4 * 1024;
const READ_DISPLAY: usize = 32 * 1024;

/// Opens a control connection from `bind`, if given.
pub(super) fn open_control(
    workers: &Handle,
    notes: Notes,
    conn: ConnId,
    addr: SocketAddrV4,
    bind: Option<Ipv4Addr>,
    trust: Trust,
) -> Sender {
    let (sender, outgoing) = mpsc::unbounded_channel();
    workers.spawn(async move {
        if let Err(fault) = run_control(&notes, conn, addr, bind, trust, outgoing).await {
            notes.say(Note::ControlClosed { conn, fault }).await;
        }
    });
    sender
}

/// Opens a display channel.
pub(super) fn open_display(
    workers: &Handle,
    notes: Notes,
    conn: ConnId,
    target: DisplayTarget,
    bind: Option<Ipv4Addr>,
) -> Sender {
    let (sender, outgoing) = mpsc::unbounded_channel();
    workers.spawn(async move {
        if let Err(fault) = run_display(&notes, conn, target, bind, outgoing).await {
            notes.say(Note::DisplayClosed { conn, fault }).await;
        }
    });
    sender
}

/// `Ok` when it was ours to end it.
async fn run_control(
    notes: &Notes,
    conn: ConnId,
    addr: SocketAddrV4,
    bind: Option<Ipv4Addr>,
    trust: Trust,
    mut outgoing: Outgoing,
) -> Result<(), Fault> {
    let opening = async {
        let stream = connect(addr, bind).await?;
        let local = match stream.local_addr() {
            Ok(SocketAddr::V4(local)) => *local.ip(),
            _ => Ipv4Addr::UNSPECIFIED,
        };
        notes.say(Note::ControlReached { conn }).await;
        let stream = Watched::new(stream, true).map_err(fault_of)?;
        Ok::<_, Fault>((local, secure(trust, stream).await?))
    };
    let Some((local, stream)) = unless_dropped(&mut outgoing, opening).await? else { return Ok(()) };
    notes.say(Note::ControlOpened { conn, local }).await;
    carry(stream, outgoing, READ_CONTROL, Ears { notes, conn, hears: Hears::Lines(Splitter::new()) }).await
}

async fn run_display(
    notes: &Notes,
    conn: ConnId,
    target: DisplayTarget,
    bind: Option<Ipv4Addr>,
    mut outgoing: Outgoing,
) -> Result<(), Fault> {
    let opening = async {
        let config = client_of_fingerprint(Fingerprint(target.fp)).map_err(Fault::Tls)?;
        let mut stream = Watched::new(connect(target.addr, bind).await?, false).map_err(fault_of)?;
        stream.write_all(preamble(target.session).as_bytes()).await.map_err(fault_of)?;
        handshake(config, stream).await
    };
    let Some(stream) = unless_dropped(&mut outgoing, opening).await? else { return Ok(()) };
    notes.say(Note::DisplayOpened { conn }).await;
    let hears = Hears::Frames(FrameBuffer::default());
    carry(stream, outgoing, READ_DISPLAY, Ears { notes, conn, hears }).await
}

/// Makes notes of what is received.
struct Ears<'a> {
    notes: &'a Notes,
    conn: ConnId,
    hears: Hears,
}

enum Hears {
    Lines(Splitter),
    Frames(FrameBuffer),
}

impl Ears<'_> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let conn = self.conn;
        match &mut self.hears {
            Hears::Lines(lines) => {
                let mut read = Vec::new();
                // A line that cannot be read is no reason to hang up.
                lines.push(bytes, |line| read.extend(line.ok()));
                for line in read {
                    self.notes.say(Note::ControlLine { conn, line }).await;
                }
            }
            Hears::Frames(frames) => {
                frames.push(bytes);
                let mut whole = false;
                while let Some(frame) = frames.next_frame().map_err(|error| Fault::Tls(error.to_string()))? {
                    whole = true;
                    self.notes.say(Note::DisplayFrame { conn, frame }).await;
                }
                if !whole {
                    self.notes.say(Note::DisplayHeard { conn }).await;
                }
            }
        }
        Ok(())
    }
}

/// The line that tells the host's daemon to which session the socket belongs.
fn preamble(session: SessionId) -> String {
    format!("{}\n", Line::new("display").with("session", session))
}

/// `None` when nobody wants the connection any more.
async fn unless_dropped<T>(
    outgoing: &mut Outgoing,
    opening: impl Future<Output = Result<T, Fault>>,
) -> Result<Option<T>, Fault> {
    tokio::select! {
        opened = opening => opened.map(Some),
        // Nothing is sent before it is open, so this is the end of the sender.
        _ = outgoing.recv() => Ok(None),
    }
}

async fn connect(addr: SocketAddrV4, bind: Option<Ipv4Addr>) -> Result<TcpStream, Fault> {
    let open = async {
        let socket = TcpSocket::new_v4()?;
        if let Some(ip) = bind {
            // The port is chosen at connect, or thousands of DTUs on one address would run out of them.
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(SocketAddrV4::new(ip, 0).into())?;
        }
        let stream = socket.connect(addr.into()).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    open.await.map_err(|error: io::Error| match error.kind() {
        ErrorKind::ConnectionRefused => Fault::Refused,
        _ => Fault::Unreachable,
    })
}

/// A stream, secured or not.
enum Stream {
    Tls(Box<tokio_rustls::client::TlsStream<FirstWord>>),
    Plain(Watched),
}

async fn secure(trust: Trust, stream: Watched) -> Result<Stream, Fault> {
    match trust {
        Trust::Tls(config) => handshake(config, stream).await,
        Trust::Plain => Ok(Stream::Plain(stream.opened())),
    }
}

async fn handshake(config: Arc<ClientConfig>, stream: Watched) -> Result<Stream, Fault> {
    let connecting = TlsConnector::from(config).connect(server_name(), FirstWord::new(stream));
    match connecting.into_fallible().await {
        Ok(mut stream) => {
            stream.get_mut().0.forget();
            Ok(Stream::Tls(Box::new(stream)))
        }
        Err((error, mut stream)) => {
            let fault = stream.busy().unwrap_or_else(|| fault_of(error));
            // TLS has told the host why it is not believed.
            let _ = tokio::time::timeout(FAREWELL, stream.shutdown()).await;
            Err(fault)
        }
    }
}

/// rustls reports what it does not believe as invalid data; everything else is the network's, which says by time
/// alone that there is no way to the other machine any more.
fn fault_of(error: io::Error) -> Fault {
    use rustls::CertificateError::{ExpiredContext, NotValidYetContext};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(
            NotValidYetContext { time, not_before: valid } | ExpiredContext { time, not_after: valid },
        )) => Fault::Clock {
            ours: WallTime::from_secs(time.as_secs()),
            valid: WallTime::from_secs(valid.as_secs()),
        },
        Some(what) => Fault::Tls(what.to_string()),
        None if error.kind() == ErrorKind::TimedOut => Fault::Unreachable,
        None => Fault::Closed,
    }
}

/// Moves bytes both ways until one side ends. `Ok` when it was ours.
async fn carry(stream: Stream, outgoing: Outgoing, buffer: usize, ears: Ears<'_>) -> Result<(), Fault> {
    match stream {
        Stream::Tls(stream) => {
            let owes = stream.get_ref().0.owes();
            carry_halves(*stream, owes, outgoing, buffer, ears).await
        }
        Stream::Plain(stream) => {
            let owes = stream.owes();
            carry_halves(stream, owes, outgoing, buffer, ears).await
        }
    }
}

async fn carry_halves(
    stream: impl AsyncRead + AsyncWrite,
    owes: Owes,
    outgoing: Outgoing,
    buffer: usize,
    mut ears: Ears<'_>,
) -> Result<(), Fault> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let reading = async {
        let mut bytes = vec![0; buffer];
        loop {
            match reader.read(&mut bytes).await {
                Ok(0) => return Fault::Closed,
                Ok(n) => {
                    if let Err(fault) = ears.take(&bytes[..n]).await {
                        return fault;
                    }
                }
                Err(error) => return fault_of(error),
            }
        }
    };
    tokio::select! {
        fault = reading => Err(fault),
        sent = send_all(&mut writer, outgoing, &owes) => sent.map_err(fault_of),
    }
}

/// Sends what is queued until the sender is dropped, and looks whether it is acknowledged.
async fn send_all(
    writer: &mut (impl AsyncWrite + Unpin),
    mut outgoing: Outgoing,
    owes: &Owes,
) -> io::Result<()> {
    let mut wait = Some(TOGETHER);
    loop {
        let next = match wait {
            Some(wait) => tokio::time::timeout(wait, outgoing.recv()).await,
            None => Ok(outgoing.recv().await),
        };
        let Ok(next) = next else {
            writer.flush().await?;
            wait = owes.any().then_some(LOOK_AGAIN);
            continue;
        };
        let Some(mut bytes) = next else { break };
        while let Ok(more) = outgoing.try_recv() {
            bytes.extend(more);
        }
        let sending = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        tokio::time::timeout(SENDING_MAX, sending).await.map_err(io::Error::from)??;
        wait = owes.any().then_some(LOOK_AGAIN);
    }
    // The other side may be frozen; it does not get to keep us.
    let _ = tokio::time::timeout(FAREWELL, writer.shutdown()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::UnixTime;
    use rustls::time_provider::TimeProvider;

    /// A clock that stands still.
    #[derive(Debug)]
    struct Stopped(u64);

    impl TimeProvider for Stopped {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
        }
    }

    /// What a desk says of a host of its group when its clock says so many seconds after 1970.
    async fn fault_at(secs: u64) -> Option<Fault> {
        let dir = tempfile::tempdir().unwrap();
        let keys = proto::io::KeyDir::generate(dir.path()).unwrap();
        let server = keys.server_tls("a").unwrap();
        let Trust::Tls(config) = Trust::of_ca(dir.path()).unwrap() else { panic!("TLS was asked for") };
        let mut config = (*config).clone();
        config.time_provider = Arc::new(Stopped(secs));
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let accepting = tokio_rustls::TlsAcceptor::from(server).accept(theirs);
        let connecting = TlsConnector::from(Arc::new(config)).connect(server_name(), ours);
        let (_, connected) = tokio::join!(accepting, connecting);
        connected.err().map(fault_of)
    }

    #[tokio::test]
    async fn a_desk_whose_clock_is_wrong_is_told_so_with_both_times() {
        assert_eq!(fault_at(1_800_000_000).await, None);
        let text = fault_at(0).await.unwrap().to_string();
        assert!(text.contains("1970-01-01 00:00 UTC") && text.contains("valid from 2020-01-01"), "{text}");
        let text = fault_at(5_000_000_000).await.unwrap().to_string();
        assert!(text.contains("2128-06-11") && text.contains("valid until 2120-01-01"), "{text}");
    }
}
