//! What is said about configurations: who wants one, what became of it, how it stands.

use std::path::PathBuf;

use super::KEPT;
use crate::live::Generation;

/// A configuration that was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// When.
    pub time: String,
    /// Who wanted it.
    pub actor: String,
    /// All that was wrong.
    pub errors: Vec<String>,
}

/// Who wants another configuration.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Who, for the audit.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// Only if this generation is in force.
    pub if_match: Option<u64>,
}

impl Wish {
    /// Without a reason.
    pub fn of(actor: &str) -> Self {
        Self { actor: actor.to_owned(), reason: None, if_match: None }
    }
}

/// What became of a change that was wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The number of the configuration in force.
    pub generation: u64,
    /// Whether it is another one than before.
    pub changed: bool,
    /// What is legal but deserves a word.
    pub warnings: Vec<String>,
}

/// Why nothing changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigureError {
    /// It is wrong, and this is all that is.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// It was made from flags: there is nothing to read again.
    #[error("this process was started without a configuration file, so there is none to read again")]
    NoFile,
    /// Somebody was faster.
    #[error("configuration {given} is not the current one: it is {current}")]
    Stale {
        /// What was seen by whoever asks.
        given: u64,
        /// What is in force.
        current: u64,
    },
    /// No such number.
    #[error("configuration {0} is not kept: the last {KEPT} are")]
    NotKept(u64),
}

/// How it stands, for looking at.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The file; none where it was made from flags.
    pub path: Option<PathBuf>,
    /// What is in force.
    pub generation: Generation,
    /// The last refusal since it was put in force.
    pub failure: Option<Failure>,
    /// How often another one was put in force, since the start.
    pub applied: u64,
    /// How often one was refused, since the start.
    pub refused: u64,
}
