//! What all commands understand.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

use crate::config;

/// Where nobody says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The form of the data on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs: what the admin API answered.
    Json,
}

/// What every command understands that talks to the admin API, so that a script can pass one set
/// of flags to all of them. Those about changes mean nothing to a command that changes nothing.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// The service [default: the only one].
    #[arg(long, value_name = "NAME", env = "DUALGATE_SERVICE")]
    service: Option<String>,
    /// Where the admin API is.
    #[arg(long, value_name = "URL", env = "DUALGATE_ADMIN_URL", default_value = "http://127.0.0.1:9900")]
    pub admin_url: String,
    /// Roots for an https:// admin URL, PEM [default: the system's].
    #[arg(long, value_name = "FILE", env = "DUALGATE_ADMIN_CA")]
    pub admin_ca: Option<PathBuf>,
    /// Client certificate for an https:// admin URL, PEM.
    #[arg(long, value_name = "FILE", env = "DUALGATE_ADMIN_CERT")]
    pub admin_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", env = "DUALGATE_ADMIN_KEY")]
    pub admin_key: Option<PathBuf>,
    /// File with the admin token [default: admin-token in the state directory].
    #[arg(long, value_name = "FILE", env = "DUALGATE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Form of the data on stdout.
    #[arg(short, long, env = "DUALGATE_OUTPUT", value_enum, default_value = "table")]
    pub output: Output,
    /// Until it is true: the API answers, a change is on disk, a check passes.
    #[arg(long, env = "DUALGATE_WAIT", value_parser = FalseyValueParser::new())]
    pub wait: bool,
    /// For each call, each check, and all of a wait [default: 30s; for a rollout as long as it takes].
    #[arg(long, value_name = "TIME", env = "DUALGATE_TIMEOUT", value_parser = positive)]
    timeout: Option<Duration>,
    /// Changes: why, for the audit.
    #[arg(long, value_name = "TEXT", env = "DUALGATE_REASON")]
    pub reason: Option<String>,
    /// Changes: who, for the audit, beside the address [default: the user's name].
    #[arg(long, value_name = "NAME", env = "DUALGATE_ACTOR", value_parser = actor)]
    actor: Option<String>,
    /// Changes: only if this is still the revision.
    #[arg(long, value_name = "REV", env = "DUALGATE_IF_MATCH", value_parser = revision)]
    pub if_match: Option<u64>,
    /// Changes: do not ask.
    #[arg(long, env = "DUALGATE_YES", value_parser = FalseyValueParser::new())]
    pub yes: bool,
    /// Changes: only say what would happen.
    #[arg(long, env = "DUALGATE_DRY_RUN", value_parser = FalseyValueParser::new())]
    pub dry_run: bool,
}

impl Common {
    /// The service, where one is named; an empty variable names none.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref().filter(|name| !name.is_empty())
    }

    /// Who says so: the one who is named, or whose shell this is.
    pub fn actor(&self) -> Option<String> {
        self.actor.clone().filter(|name| !name.is_empty()).or_else(|| {
            ["USER", "LOGNAME"]
                .into_iter()
                .find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty() && actor(name).is_ok()))
        })
    }

    /// For each call, each check, and all of a wait.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// The same, where somebody has said so.
    pub fn timeout_given(&self) -> Option<Duration> {
        self.timeout
    }

    /// The same, for calls that are not to be waited for.
    #[must_use]
    pub fn without_wait(&self) -> Self {
        Self { wait: false, ..self.clone() }
    }

    /// Whether there is a person to ask, who does not want to be left alone.
    pub fn can_ask(&self) -> bool {
        !self.yes && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Whether programs read what is printed.
    pub fn json(&self) -> bool {
        self.output == Output::Json
    }
}

/// A duration that is longer than nothing.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match config::parse_duration(text)? {
        Duration::ZERO => Err("must be longer than 0".to_owned()),
        time => Ok(time),
    }
}

fn actor(text: &str) -> Result<String, String> {
    // Nothing is what an empty variable says, and names nobody.
    let is_name = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_name { Ok(text.to_owned()) } else { Err("a name is 1 to 64 visible ASCII characters, without spaces".to_owned()) }
}

/// A revision as `status` prints it, or as an ETag has it, in quotes.
fn revision(text: &str) -> Result<u64, String> {
    text.trim_matches('"')
        .parse()
        .map_err(|_| format!("`{text}` is not a revision: a whole number, as `dualgate status` shows it"))
}
