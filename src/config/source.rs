//! Where a configuration comes from, so that it can be read again.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Config, ConfigError};

type Read = dyn Fn(&str) -> Result<Config, Vec<ConfigError>> + Send + Sync;

/// A text, where it is from, and how it is understood.
#[derive(Clone)]
pub struct Source {
    /// Its file; none where it was made from flags.
    pub path: Option<PathBuf>,
    /// As it was read.
    pub text: String,
    read: Arc<Read>,
}

/// Without the text, which may be long.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    /// `read` puts over a text what the command line put over the first one.
    pub fn new(
        path: Option<PathBuf>,
        text: String,
        read: impl Fn(&str) -> Result<Config, Vec<ConfigError>> + Send + Sync + 'static,
    ) -> Self {
        Self { path, text, read: Arc::new(read) }
    }

    /// Of a configuration that the program made: there is nothing to read again.
    pub fn none() -> Self {
        let nothing = || ConfigError {
            file: String::new(),
            line: None,
            key: String::new(),
            what: "this process was started without a configuration file".to_owned(),
        };
        Self::new(None, String::new(), move |_| Err(vec![nothing()]))
    }

    /// What a text means here.
    pub fn read(&self, text: &str) -> Result<Config, Vec<ConfigError>> {
        (self.read)(text)
    }

    /// Its name in errors.
    pub fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "command line".to_owned(), |path| path.display().to_string())
    }
}
