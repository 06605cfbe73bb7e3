//! `notify`.

use clap::{Args, Subcommand};

use super::Common;

/// `notify`.
#[derive(Args, Clone, Debug)]
pub struct NotifyArgs {
    /// What about notifications.
    #[command(subcommand)]
    pub command: NotifyCommand,
}

/// The commands about notifications.
#[derive(Clone, Debug, Subcommand)]
pub enum NotifyCommand {
    /// Deliver one real notice to every sink of `[[notify]]`; exit 0 when all took it, 9 when those that did not were only
    /// too slow, else 1.
    Test(NotifyTestArgs),
}

/// `notify test`.
#[derive(Args, Clone, Debug)]
pub struct NotifyTestArgs {
    /// To this sink only.
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub common: Common,
}
