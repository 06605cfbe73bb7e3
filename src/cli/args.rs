//! What can be asked on the command line. The doc comments are the help.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::failure::{Exit, Failure};
use crate::domain::{Entry, Split};

mod common;
mod notify;
mod operate;
mod plan;
mod records;
mod rollout;

use common::positive;
pub use common::{Common, Output};
pub use notify::{NotifyArgs, NotifyCommand, NotifyTestArgs};
pub use operate::{
    AuditArgs, AuditCommand, AuditVerifyArgs, CompletionsArgs, DrainArgs, EndArgs, ImportArgs, KeysArgs, KeysCommand, ListArgs,
    ManArgs, MoveArgs, SessionsArgs, SessionsCommand, StateArgs, StateCommand,
};
pub use plan::{ImportArgoArgs, PlanArgs, PlanCommand};
pub use records::{RecordArgs, RecordsArgs};
pub use rollout::{
    AdvanceArgs, ApproveArgs, MonitorArgs, PromoteArgs, RolloutArgs, RolloutCommand, RolloutPlainArgs, RolloutStartArgs,
    SeverityWord, SignalArgs,
};

const EXITS: &str = "\
Exit codes: 0 done, 1 unexpected, 2 usage, 3 invalid configuration or plan, 4 not found, 5 conflict or stale, 6 denied,
7 unhealthy or not valid, 8 rolled back, aborted or failed under watch, 9 timed out, 10 admin API unreachable.";

/// Traffic-splitting reverse proxy for dual-entry deploys of MCP servers.
#[derive(Debug, Parser)]
#[command(name = "dualgate", version, after_help = EXITS, max_term_width = 120)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What this process was started with; ends it where that cannot be read. For `run`, which stays, the tree of all the other
    /// commands is not made: half a megabyte that the allocator would keep.
    pub fn read() -> Self {
        if std::env::args_os().nth(1).is_some_and(|word| word == "run") {
            let OnlyRun::Run(args) = Running::parse().command;
            return Self { command: Command::Run(args) };
        }
        Self::parse()
    }
}

/// [`Cli`] as far as `run` goes.
#[derive(Parser)]
#[command(name = "dualgate", version, after_help = EXITS, max_term_width = 120)]
pub(super) struct Running {
    #[command(subcommand)]
    command: OnlyRun,
}

#[derive(Subcommand)]
enum OnlyRun {
    /// Run the proxy, from a file or from two URLs.
    Run(Box<RunArgs>),
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy, from a file or from two URLs.
    Run(Box<RunArgs>),
    /// Two embedded MCP servers (v1 and v2), the proxy in front, and live traffic.
    Demo(DemoArgs),
    /// Validate a configuration: every error with file, line, key and what would be right.
    Check(CheckArgs),
    /// One look at the services: split, entries, health, traffic.
    Status(StatusArgs),
    /// Show the split, or set it: `90:10` or `primary:90 secondary:10`.
    #[command(visible_alias = "set-traffic-split")]
    Split(SplitArgs),
    /// The candidate to 0, now; legal in every state.
    Rollback(RollbackArgs),
    /// Rollouts that watch themselves: step by step to 100 %, or back.
    Rollout(RolloutArgs),
    /// Watch the candidate for a while: exit 0 when the time has passed and it was found well, 8 as soon as it fails.
    ///
    /// With and without a rollout. Found well means one verdict `pass` at least; 9 says that too little was seen for one,
    /// unless --allow-unsure takes that for enough.
    Monitor(MonitorArgs),
    /// Say that something is wrong: critical takes the candidate back.
    Signal(SignalArgs),
    /// Fill the idle entry with a version, at 0 %, and wait until it is up.
    Deploy(DeployArgs),
    /// Ask the endpoints themselves, as a client would, and time it; exit 0 or 7.
    HealthCheck(HealthArgs),
    /// What happens, one line per event, until interrupted.
    Events(EventsArgs),
    /// Who changed what.
    Audit(Box<AuditArgs>),
    /// The configuration in force, and those before it.
    Config(ConfigArgs),
    /// Plans of rollouts from elsewhere.
    Plan(PlanArgs),
    /// Where sessions live; and moving or ending those of an entry.
    Sessions(SessionsArgs),
    /// What an entry at 0 % still holds; with --wait until it holds nothing, exit 9 with what is left.
    ///
    /// Without further options it only looks: sessions end when their clients end them or stay away for half an hour, streams and
    /// calls when they are done, and by itself an entry at 0 % is left after sessions.drain_deadline, as sessions.on_drain says.
    /// With --deadline or --now it is left then. New clients come only while the other entry is down.
    Drain(DrainArgs),
    /// The durable state, to take along.
    State(StateArgs),
    /// The keys that session ids are sealed with.
    Keys(KeysArgs),
    /// Those who are told of rollouts.
    Notify(Box<NotifyArgs>),
    /// Tokens for the admin API.
    Token(TokenArgs),
    /// Completions for a shell, to be sourced.
    Completions(CompletionsArgs),
    /// Write the manual pages into a folder.
    Man(ManArgs),
}

/// `run`.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "DUALGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Endpoint of the primary entry, like http://127.0.0.1:3000; may be repeated.
    #[arg(long, value_name = "URL", env = "DUALGATE_PRIMARY", value_delimiter = ',')]
    pub primary: Vec<String>,
    /// Endpoint of the secondary entry; may be repeated.
    #[arg(long, value_name = "URL", env = "DUALGATE_SECONDARY", value_delimiter = ',')]
    pub secondary: Vec<String>,
    /// Version label of the primary entry [default: 1].
    #[arg(long, value_name = "V", env = "DUALGATE_PRIMARY_VERSION")]
    pub primary_version: Option<String>,
    /// Version label of the secondary entry [default: 2].
    #[arg(long, value_name = "V", env = "DUALGATE_SECONDARY_VERSION")]
    pub secondary_version: Option<String>,
    /// Split at first start, like 90:10 [default: 100:0].
    #[arg(long, value_parser = Split::parse, env = "DUALGATE_SPLIT")]
    pub split: Option<Split>,
    /// Address for traffic [default: the file's, or 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR", env = "DUALGATE_LISTEN")]
    pub listen: Option<String>,
    /// Address of the admin API [default: the file's, or 127.0.0.1:9900].
    #[arg(long, value_name = "ADDR", env = "DUALGATE_ADMIN")]
    pub admin: Option<String>,
    /// Where durable state lives [default: the file's, else /var/lib/dualgate; without a file ~/.local/state/dualgate].
    #[arg(long, value_name = "DIR", env = "DUALGATE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Traffic workers; 0 is one per core.
    #[arg(long, value_name = "N", env = "DUALGATE_THREADS", value_parser = threads)]
    pub threads: Option<usize>,
}

/// `demo`.
#[derive(Args, Clone, Copy, Debug)]
pub struct DemoArgs {
    /// Address for traffic.
    #[arg(long, value_name = "ADDR", env = "DUALGATE_LISTEN", default_value = "127.0.0.1:8080", value_parser = address)]
    pub listen: SocketAddr,
    /// Address of the admin API.
    #[arg(long, value_name = "ADDR", env = "DUALGATE_ADMIN", default_value = "127.0.0.1:9900", value_parser = address)]
    pub admin: SocketAddr,
}

/// `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Configuration file (TOML).
    pub file: PathBuf,
    /// Ask every endpoint in it, too, as its health check would; exit 7 where one does not pass.
    #[arg(long)]
    pub probe: bool,
    /// Form of the data on stdout: one document a line, the one of --probe second.
    #[arg(short, long, env = "DUALGATE_OUTPUT", value_enum, default_value = "table")]
    pub output: Output,
}

/// `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub common: Common,
}

/// `split`.
#[derive(Args, Clone, Debug)]
pub struct SplitArgs {
    /// `90:10` (primary:secondary) or `primary:90 secondary:10`; nothing: show.
    #[arg(num_args = 0..=2, value_name = "SPLIT")]
    pub split: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see StatusArgs")]
    pub common: Common,
}

impl SplitArgs {
    /// The split that is asked for; nothing: it is to be shown.
    pub fn target(&self) -> Result<Option<Split>, Failure> {
        if self.split.is_empty() {
            return Ok(None);
        }
        Split::parse(&self.split.join(" ")).map(Some).map_err(|error| Failure::new(Exit::Usage, error.to_string()))
    }
}

/// `rollback`.
#[derive(Args, Clone, Debug)]
pub struct RollbackArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see StatusArgs")]
    pub common: Common,
}

/// `deploy`.
#[derive(Args, Clone, Debug)]
pub struct DeployArgs {
    /// Version label of what is deployed.
    #[arg(long, value_name = "V")]
    pub version: String,
    /// Where it listens, like http://127.0.0.1:3001; one or more.
    #[arg(long = "endpoint", value_name = "URL", required = true, num_args = 1..)]
    pub endpoints: Vec<String>,
    /// The entry to fill, primary or secondary [default: the idle one].
    #[arg(long, value_name = "ENTRY")]
    pub to: Option<Entry>,
    /// Even while that entry has a share.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see StatusArgs")]
    pub common: Common,
}

/// `health-check`.
#[derive(Args, Clone, Debug)]
pub struct HealthArgs {
    /// One entry only, primary or secondary.
    #[arg(long)]
    pub entry: Option<Entry>,
    /// Whether dualgate itself is ready; no token, for container health checks.
    #[arg(long = "self", conflicts_with = "entry")]
    pub own: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see StatusArgs")]
    pub common: Common,
}

/// `events`.
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see StatusArgs")]
    pub common: Common,
}

/// `config`.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// What about it.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// The commands about the configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the one in force, as it was written.
    Show(StatusArgs),
    /// How the file and the services differ from the one in force; exit 0 in any case.
    Diff(StatusArgs),
    /// Those that were in force, newest first.
    History(StatusArgs),
    /// Read the file again; exit 3 where it is refused, and then nothing has changed.
    Reload(StatusArgs),
    /// Put one of before in force again, until the file changes or dualgate is restarted.
    Revert(RevertArgs),
}

/// `config revert`.
#[derive(Args, Clone, Debug)]
pub struct RevertArgs {
    /// Its number, as `config history` shows it.
    #[arg(value_parser = generation)]
    pub generation: u64,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see StatusArgs")]
    pub common: Common,
}

/// `token`.
#[derive(Args, Clone, Copy, Debug)]
pub struct TokenArgs {
    /// What about tokens.
    #[command(subcommand)]
    pub command: TokenCommand,
    /// Form of the data on stdout.
    #[arg(short, long, env = "DUALGATE_OUTPUT", value_enum, default_value = "table", global = true)]
    pub output: Output,
}

/// The commands about tokens.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum TokenCommand {
    /// Print a fresh random token, for a token file.
    New,
}

fn threads(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "a whole number; 0 is one per core".to_owned())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an address with a port, like 127.0.0.1:8080 or [::1]:8080".to_owned())
}

fn generation(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a whole number, as `dualgate config history` shows it".to_owned())
}
