//! How a command ends when it does not do what it was asked: words for stderr and an exit code.

use std::fmt;

use super::print;
use crate::config::ConfigError;

/// Exit codes. Scripts rely on them: a number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something that should not happen.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Invalid = 3,
    /// No such service, entry or thing.
    NotFound = 4,
    /// The state forbids it, or is not the one that was meant.
    Conflict = 5,
    /// No permission.
    Denied = 6,
    /// What was looked at is not healthy.
    Unhealthy = 7,
    /// Rolled back, aborted, or called off.
    Aborted = 8,
    /// It did not happen in time.
    TimedOut = 9,
    /// Nothing answers where the admin API should be.
    Unreachable = 10,
}

impl Exit {
    /// The exit code for an error status of the admin API.
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            400 | 422 => Self::Usage,
            401 | 403 => Self::Denied,
            404 => Self::NotFound,
            409 | 412 => Self::Conflict,
            408 | 504 => Self::TimedOut,
            _ => Self::Unexpected,
        }
    }
}

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong, one error a line.
    pub errors: Vec<String>,
    /// What would help.
    pub hint: Option<String>,
    /// Whether it may pass by itself, so that who waits may try again.
    pub(super) may_pass: bool,
}

impl Failure {
    /// One error.
    pub fn new(exit: Exit, error: impl Into<String>) -> Self {
        Self { exit, errors: vec![error.into()], hint: None, may_pass: false }
    }

    /// All that is wrong in a configuration.
    pub(super) fn of_config(errors: &[ConfigError]) -> Self {
        Self { exit: Exit::Invalid, errors: errors.iter().map(ToString::to_string).collect(), hint: None, may_pass: false }
    }

    /// With what would help.
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it is of the way to dualgate, and not an answer of its: whoever looks again and again may do so again.
    pub(super) fn is_of_the_way(&self) -> bool {
        matches!(self.exit, Exit::Unreachable | Exit::TimedOut | Exit::Unexpected)
    }

    /// Says it on stderr and gives the exit code.
    pub fn report(&self) -> u8 {
        for error in &self.errors {
            print::say(&format!("error: {error}"));
        }
        if let Some(hint) = &self.hint {
            print::say(&format!("hint: {hint}"));
        }
        self.exit as u8
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.errors.join("\n"))
    }
}

impl std::error::Error for Failure {}

/// An I/O error in the words of the system, without its number.
pub(super) fn plain_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
