//! Commands to a running DTU.

use std::path::PathBuf;

use proto::io::cli::{Failure, print};

use super::args::{Command, Reach, WaitArgs};
use super::error::read_card;
use crate::io::control::{Client, Request, default_dir, find, list};
use crate::io::{escapes, foreground, picture};

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Insert { card, reach } => {
            let card = read_card(&card)?;
            ask(reach, &Request::Insert { card }).await
        }
        Command::Remove { reach } => ask(reach, &Request::Remove).await,
        Command::Flip { reach } => ask(reach, &Request::Flip).await,
        Command::Type { text, enter, raw, timeout, reach } => {
            let mut keys = if raw { text.replace('\n', "\r").into_bytes() } else { escapes::to_keys(&text) };
            keys.extend(enter.then_some(b'\r'));
            let wait_ms = Some((timeout.clamp(0.0, 1e6) * 1000.0) as u64);
            ask(reach, &Request::Type { keys: proto::hex::encode(&keys), wait_ms }).await
        }
        Command::Screen { png, json, reach } => screen(png, json, reach).await,
        Command::Attach { reach } => {
            let port = client(reach).await?.attach().await?;
            foreground::run(port).await
        }
        Command::Wait(args) => wait(args).await,
        Command::List { json, control } => show_list(json, control).await,
        // Handled by the caller: they start DTUs.
        Command::Boot(_) | Command::Fleet(_) | Command::Completions { .. } => Ok(()),
    }
}

async fn client(reach: Reach) -> Result<Client, Failure> {
    let dir = reach.control.unwrap_or_else(default_dir);
    Ok(find(&dir, reach.dtu.as_deref()).await?)
}

async fn ask(reach: Reach, request: &Request) -> Result<(), Failure> {
    client(reach).await?.ask(request).await?;
    Ok(())
}

async fn screen(file: Option<PathBuf>, json: bool, reach: Reach) -> Result<(), Failure> {
    let look = client(reach).await?.look(&Request::Look).await?;
    if let Some(path) = file {
        let bytes = picture::png(&look.screen()).map_err(Failure::machine)?;
        let failed = |error| Failure::machine(format!("{}: {error}", path.display()));
        std::fs::write(&path, bytes).map_err(failed)?;
    }
    if json {
        let object = serde_json::to_string(&look).map_err(Failure::machine)?;
        return print(object + "\n");
    }
    let text = look.lines.join("\n");
    print(format!("{}\n", text.trim_end()))
}

async fn wait(args: WaitArgs) -> Result<(), Failure> {
    let timeout_ms = (args.timeout.clamp(0.0, 1e6) * 1000.0) as u64;
    let request = Request::Wait { text: args.text, phase: args.state, timeout_ms };
    client(args.reach).await?.look(&request).await?;
    Ok(())
}

async fn show_list(json: bool, control: Option<PathBuf>) -> Result<(), Failure> {
    let dir = control.unwrap_or_else(default_dir);
    let mut text = String::new();
    if !json {
        text.push_str(&format!(
            "{:<14} {:<11} {:<16} {:<9} {:<14} {}\n",
            "DTU", "STATE", "HOST", "SESSION", "SHOWS", "TOKEN"
        ));
    }
    for mut client in list(&dir).await {
        // One that is just being switched off is not there any more.
        let Ok(look) = client.look(&Request::Look).await else { continue };
        if json {
            let object = serde_json::json!({
                "dtu": look.dtu, "state": look.state, "host": look.host, "session": look.session,
                "service": look.service, "displays": look.displays, "token": look.token,
            });
            text.push_str(&format!("{object}\n"));
        } else {
            let session = look.session.map_or_else(|| "-".to_owned(), |s| s[..8.min(s.len())].to_owned());
            let host = look.host.unwrap_or_else(|| "-".to_owned());
            let shows = look.service.unwrap_or_else(|| "-".to_owned());
            text.push_str(&format!(
                "{:<14} {:<11} {host:<16} {session:<9} {shows:<14} {}\n",
                look.dtu, look.state, look.token
            ));
        }
    }
    print(text)
}
