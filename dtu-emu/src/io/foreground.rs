//! A DTU's screen and keyboard in this terminal.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use proto::frame::Size;
use proto::io::cli::Failure;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::cli::error::read_card;
use super::control::{Port, Request};
use super::keys::{Act, Keys};
use crate::notice::Layout;

/// This terminal, handed over to a session: raw, and put back when dropped.
struct RawTerminal;

impl RawTerminal {
    fn take() -> Result<Self, Failure> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(Failure::machine(
                "boot shows the session in this terminal, and this is none; use --headless",
            ));
        }
        crossterm::terminal::enable_raw_mode()?;
        let raw = Self;
        // On the alternate screen nothing goes into the scrollback. The title and the mode that makes keys of the mouse
        // wheel are put by.
        write(b"\x1b[22;0t\x1b[?1007s\x1b[?1049h\x1b[?1007l")?;
        Ok(raw)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Nothing of the session stays: neither its modes nor its colours, and no line of its screen.
        let _ = write(terminal::RESET.as_bytes());
        let _ = write(b"\x1b[?1049l\x1b[?1007r\x1b[23;0t");
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

/// The size of this terminal, if it knows one: a bare pseudo terminal says 0 by 0.
pub(super) fn terminal_size() -> Option<Size> {
    let (cols, rows) = crossterm::terminal::size().ok()?;
    (cols > 0 && rows > 0).then(|| Size::clamped(cols, rows))
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Shows a port in this terminal until the user leaves or the port closes.
pub(super) async fn run(port: Port) -> Result<(), Failure> {
    let _raw = RawTerminal::take()?;
    let Port { requests, mut screen } = port;
    let mut typed = keyboard();
    let mut keys = Keys::default();
    let mut resized = signal(SignalKind::window_change())?;
    let mut ended = signal(SignalKind::terminate())?;
    let ask = async |request: Request| requests.send(request).await.is_ok();
    if let Some(Size { cols, rows }) = terminal_size() {
        ask(Request::Resize { cols, rows }).await;
    }
    loop {
        tokio::select! {
            bytes = screen.recv() => match bytes {
                Some(bytes) => write(&bytes)?,
                None => return Ok(()),
            },
            bytes = typed.recv() => {
                let Some(bytes) = bytes else { return Ok(()) };
                for act in keys.take(&bytes) {
                    let asked = match act {
                        Act::Quit => return Ok(()),
                        Act::Line(text) => {
                            show_line(&text)?;
                            true
                        }
                        Act::Send(keys) => ask(Request::Type { keys: proto::hex::encode(&keys), wait_ms: None }).await,
                        Act::Flip => ask(Request::Flip).await & ask(Request::Redraw).await,
                        Act::Redraw => ask(Request::Redraw).await,
                        Act::Remove => ask(Request::Remove).await & ask(Request::Redraw).await,
                        Act::Insert(path) => match read_card(Path::new(&path)) {
                            Ok(card) => ask(Request::Insert { card }).await & ask(Request::Redraw).await,
                            Err(error) => {
                                show_line(&error.to_string())?;
                                true
                            }
                        },
                    };
                    if !asked {
                        return Ok(());
                    }
                }
            }
            _ = resized.recv() => {
                if let Some(Size { cols, rows }) = terminal_size() {
                    ask(Request::Resize { cols, rows }).await;
                    ask(Request::Redraw).await;
                }
            }
            _ = ended.recv() => return Ok(()),
        }
    }
}

/// A text of ours where the screen's last lines are, until the next redraw.
fn show_line(text: &str) -> io::Result<()> {
    let Size { cols, rows } = terminal_size().unwrap_or_default();
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    write(format!("\x1b[r{}", Layout::of(&text, cols, rows, None).draw()).as_bytes())
}

/// What is typed. The thread that reads it ends with the process: a read cannot be called off.
fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (to, typed) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(len @ 1..) = io::stdin().read(&mut bytes) {
            if to.blocking_send(bytes[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    typed
}
