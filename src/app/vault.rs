//! What is kept and what is secret: the store, the seal keys, the admin token.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::AppError;
use crate::config::Config;
use crate::control::{KEY_FILE, Rotation};
use crate::live::{Directory, Memory, Store, StoreError};
use crate::mcp::{SealKeys, Secret};

/// The shortest token that is no invitation.
const SHORTEST_TOKEN: usize = 32;

/// What is kept and what is secret.
pub(super) struct Vault {
    pub(super) store: Arc<dyn Store>,
    pub(super) keys: Arc<SealKeys>,
    pub(super) rotation: Rotation,
    pub(super) token: String,
}

impl Vault {
    pub(super) fn open(config: &Config) -> Result<Self, AppError> {
        let directory = config.state_dir.as_deref().map(Directory::open).transpose().map_err(|error| {
            let is_theirs = matches!(error, StoreError::Io { .. });
            let hint = if is_theirs { "; name another state directory: --state-dir, [state] dir" } else { "" };
            AppError::other(format!("{error}{hint}"))
        })?;
        let directory = directory.map(Arc::new);
        let mut secrets = Vec::new();
        for path in &config.seal_key_files {
            secrets.push(
                Secret::parse(&read_secret(path)?).map_err(|what| AppError::config(format!("{}: {what}", path.display())))?,
            );
        }
        if let (true, Some(directory)) = (secrets.is_empty(), &directory) {
            let fresh = Secret::new(random()?);
            let lines = directory.secret(KEY_FILE, || fresh.to_line()).map_err(AppError::other)?;
            let path = directory.secret_path(KEY_FILE);
            secrets = Secret::parse_all(&lines).map_err(|what| AppError::other(format!("{}: {what}", path.display())))?;
        }
        if secrets.is_empty() {
            return Err(AppError::config("seal.key_files: a key file is needed where there is no state directory"));
        }
        let token = match (&config.admin.token_file, &directory) {
            (Some(path), _) => read_secret(path)?,
            (None, Some(directory)) => {
                let fresh = new_token()?;
                directory.secret("admin-token", || format!("{fresh}\n")).map_err(AppError::other)?
            }
            (None, None) => return Err(AppError::config("admin.token_file: needed where there is no state directory")),
        };
        let token = token.trim().to_owned();
        if token.len() < SHORTEST_TOKEN {
            let what = format!("the admin token has {} characters and needs {SHORTEST_TOKEN} (dualgate token new)", token.len());
            return Err(AppError::config(what));
        }
        let keys = Arc::new(SealKeys::new(&secrets, random()?));
        let rotation = Rotation::new(keys.clone(), directory.clone().filter(|_| config.seal_key_files.is_empty()));
        let store: Arc<dyn Store> = match directory {
            Some(directory) => directory,
            None => Arc::new(Memory::default()),
        };
        Ok(Self { store, keys, rotation, token })
    }
}

fn read_secret(path: &Path) -> Result<String, AppError> {
    std::fs::read_to_string(path).map_err(|error| AppError::config(format!("cannot read {}: {error}", path.display())))
}

/// A token of 32 random bytes.
fn new_token() -> Result<String, AppError> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], AppError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| AppError::other("the system gives no random numbers"))?;
    Ok(bytes)
}
