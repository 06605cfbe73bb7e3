//! The commands about the records of rollouts.

use clap::Args;

use super::Common;

/// `rollout list`.
#[derive(Args, Clone, Debug)]
pub struct RecordsArgs {
    /// At most so many, the newest.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = count)]
    pub limit: u64,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub common: Common,
}

/// `rollout show`.
#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// The rollout, as `rollout list` names it.
    #[arg(value_name = "ID")]
    pub id: String,
    /// As Markdown, to be put into a ticket.
    #[arg(long)]
    pub markdown: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see RecordsArgs")]
    pub common: Common,
}

fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count @ 1..=1_000) => Ok(count),
        _ => Err("write a whole number from 1 to 1000".to_owned()),
    }
}
