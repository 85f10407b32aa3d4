//! The side of the running DTU.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proto::Serial;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::message::{Appearance, MESSAGE_MAX, Reply, Request};
use super::place::{own_dir, socket_path};
use super::port::{from_hex, open_port, perform};
use crate::dtu::{Phase, Status};
use crate::io::shell::{DtuId, Look, ShellHandle};

/// Connections at once; more wait.
const CLIENTS_MAX: usize = 32;

/// The socket of one DTU; its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Somebody may have tidied up before us.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl ControlSocket {
    /// Opens the socket of the DTU with this serial.
    ///
    /// # Errors
    /// `AddrInUse` when a DTU with this serial is running; others name the directory or the socket.
    pub fn open(dir: &Path, serial: &Serial) -> io::Result<Self> {
        own_dir(dir)?;
        let path = socket_path(dir, serial.as_str());
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        match StdUnixStream::connect(&path) {
            Ok(_) => {
                let what = format!(
                    "a DTU with the serial {serial} is running already (its socket is {}); stop it, or choose \
                     another serial with --serial",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
            }
            // Left behind by one that was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(&path).map_err(named)?;
            }
            Err(_) => {}
        }
        Ok(Self { listener: UnixListener::bind(&path).map_err(named)?, path })
    }
}

/// Serves requests about one DTU until it is dropped.
pub async fn serve(socket: ControlSocket, handle: ShellHandle, desk: DtuId) {
    let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
    while let Ok(permit) = Arc::clone(&clients).acquire_owned().await {
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let handle = handle.clone();
                tokio::spawn(async move {
                    // A client that goes away early misses only its own answer.
                    let _ = client(stream, handle, desk).await;
                    drop(permit);
                });
            }
            // Out of descriptors: those who are served will give some back.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

struct Lines {
    reader: BufReader<OwnedReadHalf>,
}

impl Lines {
    /// The next request; `Err` with what to answer when it is none.
    async fn next(&mut self) -> io::Result<Option<Result<Request, String>>> {
        let mut line = Vec::new();
        let len = (&mut self.reader).take(MESSAGE_MAX).read_until(b'\n', &mut line).await?;
        if len == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&line).map_err(|error| format!("not a request: {error}"))))
    }
}

async fn client(stream: UnixStream, handle: ShellHandle, desk: DtuId) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = Lines { reader: BufReader::new(reader) };
    while let Some(request) = lines.next().await? {
        if request == Ok(Request::Attach) {
            say(&mut writer, &Reply { ok: true, ..Reply::default() }).await?;
            return attached(lines, writer, handle, desk).await;
        }
        let reply = match request {
            Ok(request) => answer(&handle, desk, request).await,
            Err(error) => Err(error),
        };
        let reply = reply.unwrap_or_else(|error| Reply { error: Some(error), ..Reply::default() });
        say(&mut writer, &reply).await?;
    }
    Ok(())
}

async fn say(writer: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

async fn answer(handle: &ShellHandle, desk: DtuId, request: Request) -> Result<Reply, String> {
    match request {
        Request::Look => look(handle, desk).await.map(shown),
        Request::Wait { text, phase, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms);
            wait(handle, desk, text.as_deref(), phase.as_deref(), timeout).await.map(shown)
        }
        Request::Type { keys, wait_ms: Some(wait_ms) } => {
            let keys = from_hex(&keys).ok_or("keys are not hex")?;
            type_in(handle, desk, keys, Duration::from_millis(wait_ms)).await?;
            Ok(Reply { ok: true, ..Reply::default() })
        }
        request => {
            perform(handle, desk, request).await?;
            Ok(Reply { ok: true, ..Reply::default() })
        }
    }
}

async fn look(handle: &ShellHandle, desk: DtuId) -> Result<Look, String> {
    handle.look(desk).await.ok_or_else(|| "the DTU is being switched off".to_owned())
}

fn shown(look: Look) -> Reply {
    Reply { ok: true, error: None, look: Some(look.into()) }
}

/// Types once the session is there, and waits until it has taken all.
///
/// # Errors
/// What the DTU does instead; whether the keys were typed, and that they were lost.
async fn type_in(handle: &ShellHandle, desk: DtuId, keys: Vec<u8>, timeout: Duration) -> Result<(), String> {
    let off = || "the DTU is being switched off".to_owned();
    let mut changes = handle.changes(desk).await.ok_or_else(off)?;
    let give_up = tokio::time::sleep(timeout);
    tokio::pin!(give_up);
    // By how much more was lost, once they are typed.
    let mut lost_before = None;
    let mut keys = Some(keys);
    loop {
        changes.mark_unchanged();
        let status = look(handle, desk).await?.status;
        if let Some(pressed) = keys.take_if(|keys| takes(&status, keys)) {
            lost_before = Some(status.input_dropped);
            handle.type_keys(desk, pressed).await;
            continue;
        }
        match lost_before {
            Some(before) if status.input_dropped > before => {
                return Err("typed and lost: the session that it was meant for is gone".to_owned());
            }
            Some(_) if status.unacknowledged == 0 => return Ok(()),
            _ => {}
        }
        tokio::select! {
            changed = changes.changed() => changed.map_err(|_| off())?,
            () = &mut give_up => {
                let waited = timeout.as_secs_f64();
                return Err(match lost_before {
                    None => format!("not typed: the DTU is {}, and shows no session within {waited} s", status.phase),
                    Some(_) => format!("typed, and the session has not taken it within {waited} s"),
                });
            }
        }
    }
}

/// Whether somebody listens to these keys: the session, or the DTU itself to Enter.
fn takes(status: &Status, keys: &[u8]) -> bool {
    match status.phase {
        Phase::Attached | Phase::Held => status.shown,
        Phase::Denied | Phase::Detached => keys.iter().all(|key| matches!(key, b'\r' | b'\n')),
        _ => false,
    }
}

async fn wait(
    handle: &ShellHandle,
    desk: DtuId,
    text: Option<&str>,
    phase: Option<&str>,
    timeout: Duration,
) -> Result<Look, String> {
    let off = || "the DTU is being switched off".to_owned();
    let mut changes = handle.changes(desk).await.ok_or_else(off)?;
    let give_up = tokio::time::sleep(timeout);
    tokio::pin!(give_up);
    loop {
        changes.mark_unchanged();
        let look = look(handle, desk).await?;
        let has_text = text.is_none_or(|text| look.lines.iter().any(|line| line.contains(text)));
        let has_phase = phase.is_none_or(|phase| look.status.phase.to_string() == phase);
        if has_text && has_phase {
            return Ok(look);
        }
        tokio::select! {
            changed = changes.changed() => changed.map_err(|_| off())?,
            () = &mut give_up => {
                let wanted = text.map(|text| format!("{text:?} on the screen"));
                let wanted = wanted.or(phase.map(str::to_owned)).unwrap_or_default();
                return Err(format!(
                    "no {wanted} within {} s; the DTU is {} and shows:\n{}",
                    timeout.as_secs_f64(), look.status.phase, look.lines.join("\n").trim_end(),
                ));
            }
        }
    }
}

/// Shows the screen on the connection, and does what is asked on it.
async fn attached(
    mut lines: Lines,
    mut writer: OwnedWriteHalf,
    handle: ShellHandle,
    desk: DtuId,
) -> io::Result<()> {
    let mut port = open_port(handle, desk);
    let asking = async {
        while let Some(request) = lines.next().await? {
            if let Ok(request) = request
                && port.requests.send(request).await.is_err()
            {
                break;
            }
        }
        io::Result::Ok(())
    };
    let painting = async {
        while let Some(bytes) = port.screen.recv().await {
            writer.write_all(&bytes).await?;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        ended = asking => ended,
        ended = painting => ended,
    }
}

impl From<Look> for Appearance {
    fn from(look: Look) -> Self {
        Self {
            dtu: look.serial.to_string(),
            state: look.status.phase.to_string(),
            host: look.status.host.map(|host| host.to_string()),
            token: look.status.token.to_string(),
            session: look.status.session.map(|session| session.to_string()),
            service: look.status.service.map(|service| service.to_string()),
            displays: look.status.displays,
            cols: look.size.cols,
            rows: look.size.rows,
            lines: look.lines,
            cursor: look.cursor,
            notice: look.notice,
            redraw: proto::hex::encode(&look.redraw),
        }
    }
}
