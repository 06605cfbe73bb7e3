//! A new seal key, while sessions go on.

use std::sync::Arc;

use aws_lc_rs::rand;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::live::Directory;
use crate::mcp::{SealKeys, Secret};

/// The file of the generated keys in the state directory, one a line: the first seals, all open.
pub const KEY_FILE: &str = "seal.key";

/// Rotates the seal keys.
pub struct Rotation {
    keys: Arc<SealKeys>,
    /// Where the keys are kept; none, where the configuration names their files.
    directory: Option<Arc<Directory>>,
    one_at_a_time: Mutex<()>,
}

/// What a rotation did, by the ids of keys, which every sealed id shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The key that sealed before.
    pub before: String,
    /// The one that seals now.
    pub after: String,
    /// How many keys open.
    pub opening: usize,
}

/// Why there was no rotation.
#[derive(Debug, Error)]
pub enum RotationError {
    /// Other replicas have these keys, too.
    #[error("the seal keys are those of [seal] key_files, which are rotated in their files")]
    Configured,
    /// The new key could not be kept.
    #[error("the new key could not be kept, and so is not used: {0}")]
    NotKept(String),
}

impl Rotation {
    /// Of these keys; they can be rotated where they are kept in a directory.
    pub fn new(keys: Arc<SealKeys>, directory: Option<Arc<Directory>>) -> Self {
        Self { keys, directory, one_at_a_time: Mutex::default() }
    }

    /// Whether there could be one.
    pub fn is_possible(&self) -> bool {
        self.directory.is_some()
    }

    /// Seals with a new key from now on. It is on the disk before the first session has an id of it: what a client was
    /// given opens after a restart, too.
    pub async fn rotate(&self) -> Result<Rotated, RotationError> {
        let Some(directory) = self.directory.clone() else { return Err(RotationError::Configured) };
        let _alone = self.one_at_a_time.lock().await;
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| RotationError::NotKept("the system gives no random numbers".to_owned()))?;
        let secret = Secret::new(bytes);
        let line = secret.to_line();
        let kept = tokio::task::spawn_blocking(move || keep(&directory, &line)).await;
        kept.map_err(|error| error.to_string()).flatten().map_err(RotationError::NotKept)?;
        let before = self.keys.sealing();
        let opening = self.keys.seal_with(&secret);
        Ok(Rotated { before, after: self.keys.sealing(), opening })
    }
}

/// In front of the keys that are there, which must be keys: the next start reads them all.
fn keep(directory: &Directory, line: &str) -> Result<(), String> {
    let before = directory.secret(KEY_FILE, String::new).map_err(|error| error.to_string())?;
    let path = directory.secret_path(KEY_FILE);
    Secret::parse_all(&before).map_err(|what| format!("{}: {what}", path.display()))?;
    directory.replace_secret(KEY_FILE, &format!("{line}{}\n", before.trim_end())).map_err(|error| error.to_string())
}
