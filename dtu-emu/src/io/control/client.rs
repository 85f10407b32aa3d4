//! The side of whoever commands a DTU.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::message::{Appearance, MESSAGE_MAX, Reply, Request};
use super::place::{SUFFIX, socket_path};
use super::port::{Port, from_hex};
use crate::dtu::Paint;
use crate::screen::Screen;

/// Why a DTU cannot be commanded. Nothing was changed, unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error(
        "no DTU is running here ({} has no live socket); start one with: dtu-emu boot --headless --ca FILE",
        .0.display()
    )]
    NoneRuns(PathBuf),
    /// Not this one.
    #[error("no DTU {wanted} is running here; there is {there}")]
    NotThis {
        /// What was asked for.
        wanted: String,
        /// What there is.
        there: String,
    },
    /// More than one fits.
    #[error("which DTU? {0} are running; choose one with --dtu")]
    Which(String),
    /// It said no.
    #[error("{0}")]
    Refused(String),
    /// The connection broke, or it answered something else.
    #[error("DTU {dtu}: {source}")]
    Io {
        /// The serial that was asked for.
        dtu: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A connection to a running DTU.
#[derive(Debug)]
pub struct Client {
    dtu: String,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// All running DTUs with a socket in `dir`, by serial.
pub async fn list(dir: &Path) -> Vec<Client> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut serials: Vec<_> = names.filter_map(|n| n.strip_suffix(SUFFIX).map(str::to_owned)).collect();
    serials.sort();
    let mut clients = Vec::new();
    for dtu in serials {
        // A file without a DTU behind it was left by one that was killed.
        if let Ok(stream) = UnixStream::connect(socket_path(dir, &dtu)).await {
            let (reader, writer) = stream.into_split();
            clients.push(Client { dtu, reader: BufReader::new(reader), writer });
        }
    }
    clients
}

/// The running DTU whose serial is `wanted`, or ends with it if only one does; without `wanted`, the only
/// one.
///
/// # Errors
/// See [`ClientError`].
pub async fn find(dir: &Path, wanted: Option<&str>) -> Result<Client, ClientError> {
    let mut clients = list(dir).await;
    let names = |clients: &[Client]| clients.iter().map(|c| c.dtu.as_str()).collect::<Vec<_>>().join(", ");
    if clients.is_empty() {
        return Err(ClientError::NoneRuns(dir.to_path_buf()));
    }
    let all = names(&clients);
    if let Some(wanted) = wanted {
        match clients.iter().position(|client| client.dtu == wanted) {
            Some(at) => return Ok(clients.swap_remove(at)),
            None => clients.retain(|client| client.dtu.ends_with(wanted)),
        }
    }
    match (clients.pop(), clients.len()) {
        (Some(client), 0) => Ok(client),
        (Some(client), _) => {
            clients.push(client);
            Err(ClientError::Which(names(&clients)))
        }
        (None, _) => Err(ClientError::NotThis { wanted: wanted.unwrap_or_default().to_owned(), there: all }),
    }
}

impl Client {
    /// The DTU's serial.
    #[must_use]
    pub fn dtu(&self) -> &str {
        &self.dtu
    }

    fn io(&self, source: io::Error) -> ClientError {
        ClientError::Io { dtu: self.dtu.clone(), source }
    }

    /// Asks for something and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the DTU's own words, or [`ClientError::Io`].
    pub async fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let reply = self.exchange(request).await.map_err(|source| self.io(source))?;
        match reply.error {
            Some(error) if !reply.ok => Err(ClientError::Refused(error)),
            _ => Ok(reply),
        }
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<Reply> {
        send(&mut self.writer, request).await?;
        let mut line = Vec::new();
        (&mut self.reader).take(MESSAGE_MAX).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }

    /// Asks for something whose answer is what the DTU looks like.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn look(&mut self, request: &Request) -> Result<Appearance, ClientError> {
        let reply = self.ask(request).await?;
        reply.look.ok_or_else(|| self.io(io::ErrorKind::InvalidData.into()))
    }

    /// Makes the connection a screen and a keyboard.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub(in crate::io) async fn attach(mut self) -> Result<Port, ClientError> {
        self.ask(&Request::Attach).await?;
        let (requests, mut asked) = mpsc::channel::<Request>(64);
        let (paint, screen) = mpsc::channel(64);
        let Self { mut reader, mut writer, .. } = self;
        tokio::spawn(async move {
            while let Some(request) = asked.recv().await {
                if send(&mut writer, &request).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            let mut bytes = vec![0; 16 * 1024];
            while let Ok(len @ 1..) = reader.read(&mut bytes).await {
                if paint.send(bytes[..len].to_vec()).await.is_err() {
                    return;
                }
            }
        });
        Ok(Port { requests, screen })
    }
}

async fn send(writer: &mut OwnedWriteHalf, request: &Request) -> io::Result<()> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

impl Appearance {
    /// The screen as it is, with its attributes.
    #[must_use]
    pub fn screen(&self) -> Screen {
        let mut screen = Screen::new(proto::frame::Size::clamped(self.cols, self.rows));
        screen.apply(&Paint::Bytes(from_hex(&self.redraw).unwrap_or_default()));
        screen
    }
}
