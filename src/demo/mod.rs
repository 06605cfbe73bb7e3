//! `dualgate demo`: two embedded MCP servers, the proxy, and live traffic.
//!
//! The servers and the clients are real (rmcp, Streamable HTTP), and speak over real sockets. The
//! proxy between them is started by the caller, who knows its address before the traffic begins.

mod notes;
pub mod servers;
mod show;
pub mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use servers::Servers;
use traffic::Tally;

#[cfg(test)]
mod tests;

/// Runs traffic against `traffic`, the proxy's address, and a line a second on stdout, until `stop`
/// resolves or stdout is closed; then ends the clients (within two seconds) and the servers.
/// `commands` are shown first; `split` tells the split in force.
pub async fn run(
    servers: Servers,
    traffic: SocketAddr,
    commands: Vec<String>,
    split: impl Fn() -> String,
    stop: impl Future<Output = ()>,
) {
    show::heading(&commands);
    let tally = Arc::new(Tally::default());
    let (end, ended) = watch::channel(false);
    let clients = tokio::spawn(traffic::run(traffic, ended, tally.clone()));
    tokio::select! {
        () = show::lines(&tally, split) => {}
        () = stop => {}
    }
    end.send_replace(true);
    if let Err(error) = clients.await {
        tracing::error!(%error, "the demo's traffic broke off");
    }
    drop(servers);
}
