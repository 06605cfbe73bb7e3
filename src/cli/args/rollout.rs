//! The commands about rollouts, and what watches a candidate or speaks against one.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::records::{RecordArgs, RecordsArgs};
use super::{Common, positive};
use crate::domain::{Entry, Severity};

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
    /// Begin one: step by step to 100 %, judged on the way, and taken back by itself where something fails.
    ///
    /// With --wait until it is over: exit 0 done, 8 taken back, frozen or called off, 9 not over after --timeout (as long as it
    /// takes where none is given). With --dry-run the timeline, and whether there is enough traffic to judge it.
    Start(Box<RolloutStartArgs>),
    /// How it stands: the one that runs, or the last one.
    Status(RolloutPlainArgs),
    /// Make it stand still, at the share that it has.
    Pause(RolloutPlainArgs),
    /// Let one that is paused or frozen go on: its step begins anew. With --wait until it is over, as start.
    Resume(RolloutPlainArgs),
    /// Leave the step it is at now, without waiting for hold and verdict. With --wait until it is over, as start.
    Advance(AdvanceArgs),
    /// Say yes to the step it is at. With --wait until it is over, as start.
    Approve(ApproveArgs),
    /// The candidate to 100 %, and in charge, now.
    Promote(PromoteArgs),
    /// Call it off: the candidate to 0, now, and not condemned.
    Abort(RolloutPlainArgs),
    /// The rollouts that there were, newest first, and how they ended.
    List(RecordsArgs),
    /// The record of one: its steps with figures, what fired, and when what happened.
    Show(RecordArgs),
}

/// `rollout start`.
#[derive(Args, Clone, Debug)]
pub struct RolloutStartArgs {
    /// A plan of the configuration [default: default].
    #[arg(long, value_name = "NAME", conflicts_with = "steps")]
    pub plan: Option<String>,
    /// Steps instead: SHARE:HOLD with commas between them, like 10:10m,50:20m,100.
    #[arg(long, value_name = "STEPS")]
    pub steps: Option<String>,
    /// The entry that is to be given the clients; it must be the candidate.
    #[arg(long, value_name = "ENTRY")]
    pub to: Option<Entry>,
    /// Also to an entry that is down or was rolled back; wants --reason.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub common: Common,
}

/// What takes the common options alone.
#[derive(Args, Clone, Debug)]
pub struct RolloutPlainArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see RolloutStartArgs")]
    pub common: Common,
}

/// `rollout advance`.
#[derive(Args, Clone, Debug)]
pub struct AdvanceArgs {
    /// The step that is meant, from 1; another one than it is at is refused [default: the one it is at].
    #[arg(long, value_name = "N", value_parser = step)]
    pub step: Option<usize>,
    /// Whatever health, verdict and gates say; wants --reason.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see RolloutStartArgs")]
    pub common: Common,
}

/// `rollout approve`.
#[derive(Args, Clone, Debug)]
pub struct ApproveArgs {
    /// The step that is meant, from 1; another one than it is at is refused [default: the one it is at].
    #[arg(long, value_name = "N", value_parser = step)]
    pub step: Option<usize>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see RolloutStartArgs")]
    pub common: Common,
}

/// `rollout promote`.
#[derive(Args, Clone, Debug)]
pub struct PromoteArgs {
    /// Whatever health and verdict say; wants --reason.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see RolloutStartArgs")]
    pub common: Common,
}

/// `monitor`.
#[derive(Args, Clone, Debug)]
pub struct MonitorArgs {
    /// The entry, primary or secondary [default: the candidate].
    #[arg(long)]
    pub entry: Option<Entry>,
    /// For so long, like 10m.
    #[arg(long, value_name = "TIME", value_parser = positive)]
    pub duration: Duration,
    /// Exit 0 also where too little was seen for a verdict.
    #[arg(long)]
    pub allow_unsure: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see RolloutStartArgs")]
    pub common: Common,
}

/// `signal`.
#[derive(Args, Clone, Debug)]
pub struct SignalArgs {
    /// How bad it is: critical takes the candidate back, unless the configuration says otherwise.
    #[arg(long, value_enum)]
    pub severity: SeverityWord,
    /// What is wrong.
    #[arg(long, value_name = "TEXT")]
    pub summary: String,
    /// Who says so.
    #[arg(long, value_name = "NAME", default_value = "cli")]
    pub source: String,
    /// The entry that is meant [default: the candidate].
    #[arg(long)]
    pub entry: Option<Entry>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see RolloutStartArgs")]
    pub common: Common,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SeverityWord {
    /// Something has to be done.
    Critical,
    /// Somebody should look at it.
    Warning,
    /// Good to know.
    Info,
}

impl SeverityWord {
    /// The word of the admin API.
    pub fn as_str(self) -> &'static str {
        let severity = match self {
            Self::Critical => Severity::Critical,
            Self::Warning => Severity::Warning,
            Self::Info => Severity::Info,
        };
        severity.as_str()
    }
}

fn step(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a step is a whole number from 1, as `dualgate rollout status` shows it".to_owned()),
        Ok(step) => Ok(step),
    }
}
