//! The demo, wired: servers, proxy, traffic.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{App, AppError, Signals};
use crate::config;
use crate::demo::{self, servers};
use crate::domain::Entry;

/// Runs two embedded servers, the proxy in front of them, and live traffic, until Ctrl-C.
pub fn run_demo(listen: SocketAddr, admin: SocketAddr) -> Result<(), AppError> {
    let folder = own_folder(&std::env::temp_dir())?;
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
        let mut signals = Signals::catch().map_err(AppError::other)?;
        let stop = async move { signals.stop().await };
        demo::run(servers, app.bound().traffic, commands, split, stop).await;
        app.stop();
        tokio::task::spawn_blocking(move || app.join()).await.map_err(AppError::other)?
    });
    // The demo's state is nobody's to keep.
    let _ = fs::remove_dir_all(&folder);
    result
}

/// A folder that nobody else has made or can look into: it holds the token.
fn own_folder(parent: &Path) -> Result<PathBuf, AppError> {
    let name = format!("dualgate-demo-{}-{}", std::process::id(), super::hex(super::random()?));
    let folder = parent.join(name);
    let made = fs::DirBuilder::new().mode(0o700).create(&folder);
    made.map_err(|error| AppError::other(format!("cannot make {}: {error}", folder.display())))?;
    Ok(folder)
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
        format!("# your own client may join: http://{}/mcp", bound.traffic),
        format!("export DUALGATE_ADMIN_URL=http://{} DUALGATE_TOKEN_FILE={token_file}", bound.admin),
        format!("{program} status"),
        format!("{program} split 50:50"),
        format!("{program} rollback --reason \"just trying\""),
        format!("{program} health-check --entry {}", Entry::Secondary),
        format!("{program} events"),
    ]
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_demos_folder_is_its_own() {
        let parent = std::env::temp_dir();
        let (one, two) = (own_folder(&parent).unwrap(), own_folder(&parent).unwrap());
        assert_ne!(one, two);
        assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir(one).unwrap();
        fs::remove_dir(two).unwrap();
    }
}
