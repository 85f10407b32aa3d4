//! `datastore serve`: the store of a site, for its hosts to reach over TLS.

use std::io::Write as _;
use std::sync::Arc;

use proto::io::KeyDir;
use proto::io::cli::Failure;
use tokio::signal::unix::{SignalKind, signal};

use super::Serve;
use crate::Quota;
use crate::io::{Server, SledStore};

/// Runs until SIGTERM or SIGINT.
pub(super) async fn serve(args: &Serve) -> Result<(), Failure> {
    proto::io::log::to_stderr();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let keys = KeyDir::open(&args.keys)?;
    let bytes = |mib: u32| u64::from(mib) << 20;
    let quota = Quota { owner: bytes(args.quota), tokens: bytes(args.quota_unregistered) };
    let store = SledStore::open_with(&args.dir, quota).map_err(Failure::machine)?;
    let generation = store.generation();
    let server = Server::bind(args.listen, &keys, Arc::new(store)).await;
    let server = server.map_err(Failure::machine)?;
    let (addr, counters) = (server.local_addr()?, server.counters());
    let dir = args.dir.display();
    let ready = if args.json {
        let dir = dir.to_string();
        let addr = addr.to_string();
        serde_json::json!({"event": "ready", "listen": addr, "dir": dir, "generation": generation.0})
            .to_string()
    } else {
        format!("data store ready at {addr}, directory {dir}, generation {generation}")
    };
    // Who started us may not read; that is no reason to stop.
    drop(writeln!(std::io::stdout(), "{ready}"));

    server
        .run(async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        })
        .await;
    let counted: Vec<_> =
        counters.list().into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name}={n}")).collect();
    tracing::info!("data store stopped: {}", counted.join(" "));
    Ok(())
}
