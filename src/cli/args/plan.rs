//! The commands about plans.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// What about plans.
    #[command(subcommand)]
    pub command: PlanCommand,
}

/// The commands about plans.
#[derive(Clone, Debug, Subcommand)]
pub enum PlanCommand {
    /// Print the canary of an Argo Rollout as a `[[plan]]` for the configuration.
    ///
    /// setWeight is a step, a pause its hold, a pause without a duration an approval. What no plan has is left out, and
    /// named on stderr. Exit 3 where it cannot be a plan.
    ImportArgo(ImportArgoArgs),
}

/// `plan import-argo`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgoArgs {
    /// Manifest with `kind: Rollout`, YAML or JSON; - is stdin.
    pub file: PathBuf,
}
