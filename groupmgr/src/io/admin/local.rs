//! The Unix socket by which the command line asks the daemon of its machine.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Uid;
use tokio::io::{AsyncWrite, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::audit;
use super::service::AdminService;
use super::wire::{Answer, HostAnswer, Outcome, REQUEST_MAX, read_json, write_json};
use crate::io::counters::{Counters, Reason};

/// Operators at a time; further ones wait.
const CLIENTS_MAX: usize = 32;
/// A connection without a request is closed after this time.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Binds the socket, which only its owner and root can use. What a dead daemon left in its place is removed: the
/// caller holds the directory's lock.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves operators until its task is dropped.
pub(crate) async fn serve(listener: UnixListener, admin: Arc<AdminService>, counters: Counters) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) if is_operator(&stream) => {
                let (admin, counters) = (Arc::clone(&admin), counters.clone());
                tokio::spawn(async move {
                    let by = operator(&stream).await;
                    if let Err(error) = converse(stream, &admin, &by).await {
                        counters.count(Reason::Admin);
                        tracing::debug!(%error, "an operator's connection");
                    }
                    drop(place);
                });
            }
            Ok(_) => counters.count(Reason::Admin),
            Err(error) => {
                tracing::warn!(%error, "the administration socket");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// The directory's mode says so already; this holds where somebody loosened it.
fn is_operator(stream: &UnixStream) -> bool {
    let own = Uid::effective().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

/// The account at the other end, by name. Looking it up may ask a server.
async fn operator(stream: &UnixStream) -> String {
    let Ok(peer) = stream.peer_cred() else { return audit::UNKNOWN.to_owned() };
    let name = tokio::task::spawn_blocking(move || proto::io::local::user_name(peer.uid())).await;
    name.unwrap_or_else(|_| format!("uid:{}", peer.uid()))
}

async fn converse(stream: UnixStream, admin: &AdminService, by: &str) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = tokio::time::timeout(IDLE_MAX, read_json(&mut stream, REQUEST_MAX)).await;
        match request {
            Err(_idle) => return Ok(()),
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(request))) => {
                let _at_work = admin.at_work();
                write_json(&mut stream, &admin.answer(request, by).await).await?;
            }
            Ok(Err(error)) => {
                refuse(&mut stream, &error).await;
                return Err(error);
            }
        }
    }
}

/// Somebody speaks to the socket by hand or with another version of this program: told so, not left alone.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin), error: &io::Error) {
    let Ok(host) = "-".parse() else { return };
    let text = format!("not a request of this version of groupmgr: {error}");
    let outcome = Outcome::Answer(Answer::Refused(text));
    drop(write_json(stream, &vec![HostAnswer { host, outcome }]).await);
}
