//! The configuration and those before it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Body;
use crate::control;

/// Puts one of before in force again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct RevertBody {
    pub(in crate::admin) generation: u64,
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(in crate::admin) reason: Option<String>,
}

impl Body for RevertBody {
    const LIKE: &'static str = r#"{"generation": 7}"#;
}

/// The configuration in force, and what differs from it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Configuration {
    /// The file; null: it was made from flags.
    #[schema(value_type = Option<String>)]
    pub(in crate::admin) path: Option<PathBuf>,
    pub(in crate::admin) generation: Generation,
    /// The last refusal since it was put in force.
    pub(in crate::admin) failure: Option<Failure>,
    /// How often another one was put in force, since the start.
    pub(in crate::admin) applied: u64,
    /// How often one was refused, since the start.
    pub(in crate::admin) refused: u64,
    pub(in crate::admin) file: Option<File>,
    pub(in crate::admin) drift: Vec<Drift>,
}

/// A configuration that was in force.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Generation {
    #[serde(flatten)]
    brief: GenerationInBrief,
    /// As it was written: what stands for secrets and the environment is not filled in.
    text: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct GenerationInBrief {
    number: u64,
    /// Since when.
    time: String,
    /// Who put it in force: `start`, `file`, or whoever used the admin API.
    actor: String,
    /// Of the text, in hex.
    sha256: String,
}

impl From<&crate::live::Generation> for GenerationInBrief {
    fn from(one: &crate::live::Generation) -> Self {
        Self { number: one.number, time: one.time.clone(), actor: one.actor.clone(), sha256: one.digest.clone() }
    }
}

impl From<&crate::live::Generation> for Generation {
    fn from(one: &crate::live::Generation) -> Self {
        Self { brief: one.into(), text: one.text.clone() }
    }
}

/// A configuration that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Failure {
    time: String,
    actor: String,
    errors: Vec<String>,
}

impl From<control::Failure> for Failure {
    fn from(control::Failure { time, actor, errors }: control::Failure) -> Self {
        Self { time, actor, errors }
    }
}

/// The file as it is now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::admin) enum File {
    Unreadable { error: String },
    Same { differs: bool },
    Other { differs: bool, text: String },
}

/// Where a service differs from the configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Drift {
    pub(in crate::admin) service: String,
    pub(in crate::admin) what: String,
}

/// Newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Generations {
    pub(in crate::admin) generations: Vec<GenerationInBrief>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Validated {
    pub(in crate::admin) valid: bool,
    /// What is legal but deserves a word.
    pub(in crate::admin) warnings: Vec<String>,
}

/// What became of a change of the configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Applied {
    /// The number of the configuration in force; the ETag.
    generation: u64,
    /// Whether it is another one than before.
    changed: bool,
    /// What is legal but deserves a word.
    warnings: Vec<String>,
}

impl From<control::Applied> for Applied {
    fn from(control::Applied { generation, changed, warnings }: control::Applied) -> Self {
        Self { generation, changed, warnings }
    }
}
