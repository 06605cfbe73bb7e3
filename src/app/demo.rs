//! The demo, wired: servers, proxy, traffic.

use std::fs;
use std::net::SocketAddr;

use super::{App, AppError, signalled};
use crate::config;
use crate::demo::{self, servers};
use crate::domain::Entry;

/// Runs two embedded servers, the proxy in front of them, and live traffic, until Ctrl-C.
pub fn run_demo(listen: SocketAddr, admin: SocketAddr) -> Result<(), AppError> {
    let folder = std::env::temp_dir().join(format!("dualgate-demo-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::other)?;
    let result = runtime.block_on(async {
        let servers = servers::start().await.map_err(AppError::other)?;
        let file = configuration(listen, admin, &servers, &folder.display().to_string());
        let config = config::load("demo", &file, None)?;
        // The servers live on this runtime and are checked at once, so it must not block on the start.
        let app = tokio::task::spawn_blocking(move || App::start(config)).await.map_err(AppError::other)??;
        let commands = commands(&app, &folder.join("admin-token").display().to_string());
        let reader = app.reader().clone();
        let split = move || reader.current().services.first().map(|service| service.scene.split.to_string()).unwrap_or_default();
        let stop = async {
            let _ = signalled().await;
        };
        demo::run(servers, app.bound().traffic, commands, split, stop).await;
        app.stop();
        tokio::task::spawn_blocking(move || app.join()).await.map_err(AppError::other)?
    });
    // The demo's state is nobody's to keep.
    let _ = fs::remove_dir_all(&folder);
    result
}

fn configuration(listen: SocketAddr, admin: SocketAddr, servers: &servers::Servers, folder: &str) -> String {
    let (primary, secondary) = (servers.primary, servers.secondary);
    format!(
        r#"
listen = "{listen}"
shutdown = {{ delay = "0s", drain = "2s" }}
admin = {{ listen = "{admin}" }}
state = {{ dir = '{folder}' }}
[[service]]
name = "notes"
primary = {{ version = "1.4.2", endpoints = ["http://{primary}"] }}
secondary = {{ version = "1.5.0", endpoints = ["http://{secondary}"] }}
split = {{ primary = 90, secondary = 10 }}
"#
    )
}

fn commands(app: &App, token_file: &str) -> Vec<String> {
    let bound = app.bound();
    let program = std::env::current_exe().ok();
    let here = std::env::current_dir().ok();
    let program = program.map_or_else(
        || "dualgate".to_owned(),
        |path| here.and_then(|here| path.strip_prefix(here).ok().map(ToOwned::to_owned)).unwrap_or(path).display().to_string(),
    );
    vec![
        format!("export DUALGATE_ADMIN_URL=http://{} DUALGATE_TOKEN_FILE={token_file}", bound.admin),
        format!("{program} status"),
        format!("{program} split 50:50"),
        format!("{program} rollback --reason \"just trying\""),
        format!("{program} health-check --entry {}", Entry::Secondary),
        format!("{program} events"),
    ]
}
