//! A screen and a keyboard on a DTU of a running shell: for this terminal, or for one at the other end of a
//! socket.

use proto::card::Card;
use proto::frame::Size;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::message::Request;
use crate::io::shell::{DtuId, ShellHandle};

/// Both ends of a port: what is asked, and what draws the screen.
pub(in crate::io) struct Port {
    pub(in crate::io) requests: mpsc::Sender<Request>,
    pub(in crate::io) screen: mpsc::Receiver<Vec<u8>>,
}

/// Opens a port. It closes when either end is dropped.
pub(in crate::io) fn open_port(handle: ShellHandle, desk: DtuId) -> Port {
    let (requests, mut asked) = mpsc::channel(64);
    let (paint, screen) = mpsc::channel(64);
    tokio::spawn(async move {
        let Some((first, mut view)) = handle.view(desk).await else { return };
        let mut bytes = first;
        loop {
            if paint.send(bytes).await.is_err() {
                return;
            }
            bytes = loop {
                tokio::select! {
                    request = asked.recv() => match request {
                        Some(Request::Redraw) => match handle.view(desk).await {
                            Some((all, fresh)) => {
                                view = fresh;
                                break all;
                            }
                            None => return,
                        },
                        // What cannot be done here has no one to be told.
                        Some(request) => drop(perform(&handle, desk, request).await),
                        None => return,
                    },
                    change = view.recv() => match change {
                        Ok(bytes) => break bytes.to_vec(),
                        Err(RecvError::Lagged(_)) => match handle.view(desk).await {
                            Some((all, fresh)) => {
                                view = fresh;
                                break all;
                            }
                            None => return,
                        },
                        Err(RecvError::Closed) => return,
                    },
                }
            };
        }
    });
    Port { requests, screen }
}

/// Does what needs no answer but done or not.
pub(super) async fn perform(handle: &ShellHandle, desk: DtuId, request: Request) -> Result<(), String> {
    match request {
        Request::Insert { card } => {
            let card: Card = card.parse().map_err(|error| format!("not a card: {error}"))?;
            handle.insert(desk, card).await;
        }
        Request::Remove => handle.remove(desk).await,
        Request::Flip => handle.flip(desk).await,
        Request::Type { keys, .. } => {
            let keys = from_hex(&keys).ok_or("keys are not hex")?;
            handle.type_keys(desk, keys).await;
        }
        Request::Resize { cols, rows } => handle.resize(desk, Size::clamped(cols, rows)).await,
        Request::Look | Request::Wait { .. } | Request::Redraw | Request::Attach => {
            return Err("not possible here".to_owned());
        }
    }
    Ok(())
}

/// Bytes of any number from hex.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes().chunks(2).map(|pair| proto::hex::decode::<1>(pair).map(|[byte]| byte)).collect()
}
