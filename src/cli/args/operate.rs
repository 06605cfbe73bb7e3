//! The commands of operations: audit, sessions, drain, state, keys, and the shell's own.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::Common;
use crate::domain::Entry;

/// `audit`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AuditArgs {
    /// Something else than to read it.
    #[command(subcommand)]
    pub command: Option<AuditCommand>,
    /// At most so many entries: the newest, or with --after the next.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = count)]
    pub limit: u64,
    /// Entries after the one of this number, to read on.
    #[arg(long, value_name = "SEQ", value_parser = count)]
    pub after: Option<u64>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub common: Common,
}

/// The commands about the audit.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Whether every line is there, in its place and as it was written: exit 0, or 7 with file, line and what is wrong.
    ///
    /// 7 is the code of every check that did not pass; 1 says that there was no answer. It is the chain of the lines that
    /// is looked at: whoever can write all its files, audit.anchor included, can make another whole one. Keep the last
    /// number and its SHA-256 elsewhere against that.
    Verify(AuditVerifyArgs),
}

/// `audit verify`.
#[derive(Args, Clone, Debug)]
pub struct AuditVerifyArgs {
    /// Read the files of this state directory, whether a dualgate runs on it or not [default: ask the running one].
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see AuditArgs")]
    pub common: Common,
}

/// `sessions`.
#[derive(Args, Clone, Debug)]
pub struct SessionsArgs {
    /// What about sessions.
    #[command(subcommand)]
    pub command: SessionsCommand,
}

/// The commands about sessions.
#[derive(Clone, Debug, Subcommand)]
pub enum SessionsCommand {
    /// How many there are by entry and endpoint, and how old; never an id of one.
    ///
    /// Ages count from when this process first saw a session. One that says nothing for half an hour is taken for abandoned.
    /// Below are entries that are being left: why, when, and how far it is.
    List(ListArgs),
    /// Move the sessions of an entry to the other one, one after the other; with --wait until nobody is left.
    ///
    /// Those that may not be moved stay: their versions or tools differ, or it is not known how to open them again.
    Move(MoveArgs),
    /// End the sessions of an entry, one after the other, in the way that their clients survive; with --wait until nobody is left.
    End(EndArgs),
}

/// `sessions move`.
#[derive(Args, Clone, Debug)]
pub struct MoveArgs {
    /// The entry that they are to leave, primary or secondary.
    #[arg(long, value_name = "ENTRY")]
    pub from: Entry,
    /// Also where clients may notice, from an entry that has a share, and to one that is not well; wants --reason.
    #[arg(long)]
    pub force: bool,
    /// Evenly over so long; 0s: all at once [default: sessions.drain_pace].
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
    pub pace: Option<Duration>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see AuditArgs")]
    pub common: Common,
}

/// `sessions end`.
#[derive(Args, Clone, Debug)]
pub struct EndArgs {
    /// The entry, primary or secondary.
    #[arg(long, value_name = "ENTRY")]
    pub entry: Entry,
    /// Also where the entry has a share, or the other one is not well; wants --reason.
    #[arg(long)]
    pub force: bool,
    /// Evenly over so long; 0s: all at once [default: sessions.drain_pace].
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
    pub pace: Option<Duration>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see AuditArgs")]
    pub common: Common,
}

/// What takes the common options alone.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see AuditArgs")]
    pub common: Common,
}

/// `drain`.
#[derive(Args, Clone, Debug)]
pub struct DrainArgs {
    /// The entry, primary or secondary; it must have a share of 0 [default: the one that has].
    pub entry: Option<Entry>,
    /// Its sessions may stay so long, and then leave, as sessions.on_drain says.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["now", "cancel"], value_parser = crate::config::parse_duration)]
    pub deadline: Option<Duration>,
    /// They leave now.
    #[arg(long, conflicts_with = "cancel")]
    pub now: bool,
    /// They leave evenly over so long; 0s: all at once [default: sessions.drain_pace].
    #[arg(long, value_name = "TIME", conflicts_with = "cancel", value_parser = crate::config::parse_duration)]
    pub pace: Option<Duration>,
    /// Take back what was ordered of its sessions.
    #[arg(long)]
    pub cancel: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see AuditArgs")]
    pub common: Common,
}

/// `state`.
#[derive(Args, Clone, Debug)]
pub struct StateArgs {
    /// What about the state.
    #[command(subcommand)]
    pub command: StateCommand,
}

/// The commands about the durable state.
#[derive(Clone, Debug, Subcommand)]
pub enum StateCommand {
    /// Print the durable state of all services as one JSON document, with its format and a checksum.
    Export(ListArgs),
    /// Put an exported state in force: all of it, or nothing. Services that are not in it stay as they are.
    Import(ImportArgs),
}

/// `state import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// What `state export` printed; `-` reads it from stdin.
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see AuditArgs")]
    pub common: Common,
}

/// `keys`.
#[derive(Args, Clone, Debug)]
pub struct KeysArgs {
    /// What about the keys.
    #[command(subcommand)]
    pub command: KeysCommand,
}

/// The commands about the seal keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Seal session ids with a new key from now on. All keys of before still open theirs, so that sessions go on.
    ///
    /// This is for the key that dualgate generated in its state directory. Keys of `[seal] key_files` are shared with
    /// other replicas, and are rotated in their files.
    Rotate(ListArgs),
}

/// `completions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_parser = clap::builder::EnumValueParser::<Shell>::new())]
    pub shell: Shell,
}

/// `man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Where the pages go; made where it is missing.
    pub dir: PathBuf,
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write a whole number".to_owned())
}
