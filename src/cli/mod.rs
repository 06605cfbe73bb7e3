//! The command line: talks to the admin API only, prints for people or as JSON.
//!
//! Data goes to stdout, talk to stderr, and the exit code says how it ended ([`Exit`]).

mod answers;
mod args;
mod audit;
mod change;
mod client;
mod configuration;
mod connector;
mod departures;
mod deploy;
mod events;
mod failure;
mod forecast;
mod health;
mod monitor;
mod notify;
mod plan;
mod print;
mod records;
mod rollout;
mod run;
mod sessions;
mod shell;
mod signal;
mod sse;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod token;

pub use args::{
    AdvanceArgs, ApproveArgs, AuditArgs, AuditCommand, AuditVerifyArgs, CheckArgs, Cli, Command, Common, CompletionsArgs,
    ConfigArgs, ConfigCommand, DemoArgs, DeployArgs, DrainArgs, EventsArgs, HealthArgs, ImportArgoArgs, ImportArgs, KeysArgs,
    KeysCommand, ListArgs, ManArgs, MonitorArgs, NotifyArgs, NotifyCommand, NotifyTestArgs, Output, PlanArgs, PlanCommand,
    PromoteArgs, RecordArgs, RecordsArgs, RevertArgs, RollbackArgs, RolloutArgs, RolloutCommand, RolloutPlainArgs,
    RolloutStartArgs, RunArgs, SessionsArgs, SessionsCommand, SeverityWord, SignalArgs, SplitArgs, StateArgs, StateCommand,
    StatusArgs, TokenArgs, TokenCommand,
};
pub use failure::{Exit, Failure};
pub use forecast::forecast_table;
pub use run::config_of;

/// Carries out a command and gives its exit code. `run` and `demo` need the whole house and are
/// `main`'s.
pub fn execute(command: &Command) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(Exit::Unexpected, format!("cannot start: {error}")).report(),
    };
    let done = runtime.block_on(carry_out(command));
    // Not dropped: that would wait for a look-up of a name that has been given up.
    runtime.shutdown_background();
    match done {
        Ok(exit) => exit as u8,
        Err(failure) => failure.report(),
    }
}

async fn carry_out(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(_) | Command::Demo(_) => Err(Failure::new(Exit::Unexpected, "run and demo are not carried out here")),
        Command::Check(args) => run::check(args).await,
        Command::Status(args) => status::status(args).await,
        Command::Split(args) => change::split(args).await,
        Command::Rollback(args) => change::rollback(args).await,
        Command::Rollout(args) => rollout::rollout(args).await,
        Command::Monitor(args) => monitor::monitor(args).await,
        Command::Signal(args) => signal::signal(args).await,
        Command::Deploy(args) => deploy::deploy(args).await,
        Command::HealthCheck(args) => health::health_check(args).await,
        Command::Events(args) => events::events(args).await,
        Command::Config(args) => configuration::config(args).await,
        Command::Audit(args) => audit::audit(args).await,
        Command::Plan(PlanArgs { command: PlanCommand::ImportArgo(args) }) => plan::import_argo(args),
        Command::Sessions(SessionsArgs { command: SessionsCommand::List(args) }) => sessions::list(args).await,
        Command::Sessions(SessionsArgs { command: SessionsCommand::Move(args) }) => departures::move_away(args).await,
        Command::Sessions(SessionsArgs { command: SessionsCommand::End(args) }) => departures::end(args).await,
        Command::Drain(args) => sessions::drain(args).await,
        Command::State(StateArgs { command: StateCommand::Export(args) }) => state::export(args).await,
        Command::State(StateArgs { command: StateCommand::Import(args) }) => state::import(args).await,
        Command::Keys(KeysArgs { command: KeysCommand::Rotate(args) }) => state::rotate_keys(args).await,
        Command::Notify(args) => match &args.command {
            NotifyCommand::Test(args) => notify::test(args).await,
        },
        Command::Token(TokenArgs { command: TokenCommand::New, output }) => token::print_new(*output),
        Command::Completions(args) => shell::completions(args),
        Command::Man(args) => shell::man(args),
    }
}
