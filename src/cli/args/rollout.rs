//! The commands about rollouts.

use clap::{Args, Subcommand};

use super::records::{RecordArgs, RecordsArgs};

/// `rollout`.
#[derive(Args, Clone, Debug)]
pub struct RolloutArgs {
    /// What about rollouts.
    #[command(subcommand)]
    pub command: RolloutCommand,
}

/// The commands about rollouts.
#[derive(Clone, Debug, Subcommand)]
pub enum RolloutCommand {
    /// The rollouts that there were, newest first, and how they ended.
    List(RecordsArgs),
    /// The record of one: its steps with figures, what fired, and when what happened.
    Show(RecordArgs),
}
