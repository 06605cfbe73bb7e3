//! `run` and `check`: from a file or from flags to a configuration.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use toml::{Table, Value};

use super::args::{CheckArgs, Output, RunArgs};
use super::failure::{Exit, Failure, plain_io};
use super::health;
use super::print::{put, say};
use super::token::user_state_dir;
use crate::config::{self, Config, ConfigError, Source};
use crate::domain::{Entry, Share, Split};
use crate::tls::Shown;

/// What stands for a file's name in errors of a configuration made from flags.
const COMMAND_LINE: &str = "command line";

/// What `run` is to run, and how its text is read again.
pub fn config_of(args: &RunArgs) -> Result<(Config, Source), Failure> {
    let port = std::env::var("PORT").ok();
    match &args.config {
        Some(file) => of_file(file, args, port),
        None => of_urls(args, port, &state_dir(args)?),
    }
}

/// `check`.
pub(super) async fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let name = args.file.display().to_string();
    let json = args.output == Output::Json;
    let (config, warnings) = match valid(&name, &args.file) {
        Ok(valid) => valid,
        Err(failure) if json => {
            put(&format!("{}\n", json!({ "file": name, "valid": false, "errors": failure.errors })))?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    for warning in &warnings {
        say(&format!("warning: {name}: {warning}"));
    }
    let services = config.services.len();
    put(&match json {
        true => format!("{}\n", json!({ "file": name, "valid": true, "services": services, "warnings": warnings })),
        false => format!("{name}: ok ({services} service{})\n", if services == 1 { "" } else { "s" }),
    })?;
    if args.probe { health::probe(&config, json).await } else { Ok(Exit::Done) }
}

/// The configuration in a file, and what is worth a warning.
fn valid(name: &str, file: &Path) -> Result<(Config, Vec<String>), Failure> {
    let text = read(file)?;
    let port = std::env::var("PORT").ok();
    let config = config::load(name, &text, port.as_deref()).map_err(|errors| Failure::of_config(&errors))?;
    let unread = secrets(name, &config)?;
    let warnings = config.warnings.iter().cloned().chain(unread).collect();
    Ok((config, warnings))
}

/// Reads the files that the configuration names, since `run` would not start without them. What
/// cannot be read is an error, or a warning where the file is one that only the container has.
fn secrets(name: &str, config: &Config) -> Result<Vec<String>, Failure> {
    let token = config.admin.token_file.iter().map(|path| ("admin.token_file".to_owned(), path));
    let keys = config.seal_key_files.iter().enumerate().map(|(at, path)| (format!("seal.key_files[{at}]"), path));
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    for (key, path) in token.chain(keys) {
        let Err(error) = fs::read_to_string(path) else { continue };
        let what = format!("cannot read {}: {}", path.display(), plain_io(&error));
        if path.starts_with("/run/secrets") {
            warnings.push(format!("{key}: {what}"));
        } else {
            errors.push(ConfigError { file: name.to_owned(), line: None, key, what });
        }
    }
    for (key, error) in Shown::open(config).err().into_iter().flatten() {
        if error.file.starts_with("/run/secrets") && fs::read(&error.file).is_err() {
            warnings.push(format!("{key}: {error}"));
        } else {
            errors.push(ConfigError { file: name.to_owned(), line: None, key, what: error.to_string() });
        }
    }
    if errors.is_empty() { Ok(warnings) } else { Err(Failure::of_config(&errors)) }
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read(file)
        .map_err(|error| plain_io(&error))
        .and_then(config::text)
        .map_err(|what| Failure::new(Exit::Invalid, format!("cannot read {}: {what}", file.display())))
}

fn of_file(file: &Path, args: &RunArgs, port: Option<String>) -> Result<(Config, Source), Failure> {
    if !args.primary.is_empty() || !args.secondary.is_empty() || args.split.is_some() {
        let error = "--config and --primary, --secondary, --split exclude each other: the file names the entries and the split";
        return Err(
            Failure::new(Exit::Usage, error).with_hint("DUALGATE_CONFIG, DUALGATE_PRIMARY, … count as if they were written")
        );
    }
    let (name, args) = (file.display().to_string(), args.clone());
    let source = Source::new(Some(file.to_owned()), read(file)?, move |text| of_text(&name, text, &args, port.as_deref()));
    begin(source)
}

/// The file's text, with what the command line says of listeners, state and threads in place of what it
/// says. It is checked as it is first, so that its errors have lines; then the whole again, as
/// an address that is fine by itself may be the one that an endpoint has.
fn of_text(name: &str, text: &str, args: &RunArgs, port: Option<&str>) -> Result<Config, Vec<ConfigError>> {
    let config = config::load(name, text, port)?;
    if args.listen.is_none() && args.admin.is_none() && args.state_dir.is_none() && args.threads.is_none() {
        return Ok(config);
    }
    let mut table: Table = toml::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        let (file, key, what) = (name.to_owned(), String::new(), error.message().to_owned());
        vec![ConfigError { file, line: None, key, what }]
    })?;
    put_over(&mut table, args);
    load(name, &table.to_string(), args, port)
}

fn of_urls(args: &RunArgs, port: Option<String>, state_dir: &Path) -> Result<(Config, Source), Failure> {
    if args.primary.is_empty() || args.secondary.is_empty() {
        let error = "run needs --config FILE, or --primary URL and --secondary URL";
        return Err(Failure::new(Exit::Usage, error)
            .with_hint("dualgate run --primary http://127.0.0.1:3000 --secondary http://127.0.0.1:3001"));
    }
    let (text, args) = (table_of_urls(args, state_dir).to_string(), args.clone());
    begin(Source::new(None, text, move |text| load(COMMAND_LINE, text, &args, port.as_deref())))
}

fn begin(source: Source) -> Result<(Config, Source), Failure> {
    let config = source.read(&source.text).map_err(|errors| Failure::of_config(&errors))?;
    Ok((config, source))
}

/// A port that is written on the command line is meant more than one that is lying in the environment.
fn load(name: &str, text: &str, args: &RunArgs, port: Option<&str>) -> Result<Config, Vec<ConfigError>> {
    let port = port.filter(|_| args.listen.is_none());
    config::load(name, text, port).map_err(|errors| errors.into_iter().map(|error| by_flag(error, args)).collect())
}

/// Names the flag that an error came from. Its line is one of a text that nobody has seen.
fn by_flag(error: ConfigError, args: &RunArgs) -> ConfigError {
    let of_urls = error.file == COMMAND_LINE;
    let flags = [
        ("listen", "--listen", args.listen.is_some()),
        ("admin.listen", "--admin", args.admin.is_some()),
        ("state.dir", "--state-dir", args.state_dir.is_some()),
        ("service[0].primary.version", "--primary-version", of_urls),
        ("service[0].primary", "--primary", of_urls),
        ("service[0].secondary.version", "--secondary-version", of_urls),
        ("service[0].secondary", "--secondary", of_urls),
    ];
    let flag = flags.iter().find(|(key, _, given)| *given && error.key.starts_with(key));
    match flag {
        Some((_, flag, _)) => ConfigError { file: COMMAND_LINE.to_owned(), line: None, key: (*flag).to_owned(), ..error },
        None => ConfigError { line: None, ..error },
    }
}

fn table_of_urls(args: &RunArgs, state_dir: &Path) -> Table {
    let split = args.split.unwrap_or_else(|| Split::all_to(Entry::Primary));
    let entry = |urls: &[String], version: Option<&String>, default: &str| {
        let endpoints = urls.iter().map(|url| Value::from(url.as_str())).collect::<Vec<_>>();
        table([("version", version.map_or(default, String::as_str).into()), ("endpoints", endpoints.into())])
    };
    let service = table([
        ("name", "default".into()),
        ("primary", entry(&args.primary, args.primary_version.as_ref(), "1").into()),
        ("secondary", entry(&args.secondary, args.secondary_version.as_ref(), "2").into()),
        (
            "split",
            table([("primary", number(split.share(Entry::Primary))), ("secondary", number(split.share(Entry::Secondary)))])
                .into(),
        ),
    ]);
    let mut whole = table([
        ("listen", "127.0.0.1:8080".into()),
        ("shutdown", table([("delay", "0s".into())]).into()),
        ("admin", table([("listen", "127.0.0.1:9900".into())]).into()),
        ("state", table([("dir", text(state_dir))]).into()),
        ("service", vec![Value::from(service)].into()),
    ]);
    put_over(&mut whole, args);
    whole
}

/// What the command line says goes over what is there.
fn put_over(whole: &mut Table, args: &RunArgs) {
    let mut set = |section: Option<&str>, key: &str, value: Option<Value>| {
        let Some(value) = value else { return };
        let into = match section {
            None => Some(&mut *whole),
            Some(section) => whole.entry(section).or_insert_with(|| Table::new().into()).as_table_mut(),
        };
        if let Some(into) = into {
            into.insert(key.to_owned(), value);
        }
    };
    set(None, "listen", args.listen.as_deref().map(Value::from));
    set(None, "threads", args.threads.map(|threads| Value::from(i64::try_from(threads).unwrap_or(i64::MAX))));
    set(Some("admin"), "listen", args.admin.as_deref().map(Value::from));
    set(Some("state"), "dir", args.state_dir.as_deref().map(text));
}

fn table<const N: usize>(pairs: [(&str, Value); N]) -> Table {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Per cent, whole where it can be.
fn number(share: Share) -> Value {
    let points = share.basis_points();
    if points.is_multiple_of(100) { Value::from(i64::from(points / 100)) } else { Value::from(share.percent()) }
}

fn text(path: &Path) -> Value {
    Value::from(path.to_string_lossy().into_owned())
}

/// Where the state of a run without a file lives: /var/lib belongs to services, this to a person.
fn state_dir(args: &RunArgs) -> Result<PathBuf, Failure> {
    let found = args.state_dir.clone().or_else(|| user_state_dir(|name| std::env::var_os(name).map(PathBuf::from)));
    found.ok_or_else(|| {
        Failure::new(Exit::Usage, "neither XDG_STATE_HOME nor HOME says where state may live: name it with --state-dir DIR")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"listen = "127.0.0.1:8080"
threads = 2

[admin]
listen = "127.0.0.1:9900"

[[service]]
name = "default"

[service.primary]
endpoints = ["http://127.0.0.1:3000"]
version = "1"

[service.secondary]
endpoints = ["http://127.0.0.1:3001"]
version = "2"

[service.split]
primary = 87.5
secondary = 12.5

[shutdown]
delay = "0s"

[state]
dir = "/s"
"#;

    fn urls() -> RunArgs {
        RunArgs {
            primary: vec!["http://127.0.0.1:3000".into()],
            secondary: vec!["http://127.0.0.1:3001".into()],
            ..RunArgs::default()
        }
    }

    fn said(args: &RunArgs) -> String {
        of_urls(args, None, Path::new("/s")).unwrap_err().to_string()
    }

    #[test]
    fn two_urls_make_a_whole_configuration() {
        let args = RunArgs { split: Some(Split::parse("87.5:12.5").unwrap()), threads: Some(2), ..urls() };
        assert_eq!(table_of_urls(&args, Path::new("/s")).to_string(), TEXT);
        let config = of_urls(&args, Some("7000".into()), Path::new("/s")).unwrap().0;
        assert_eq!(
            (config.listen.port(), config.threads, config.services[0].rules.split.to_string()),
            (7000, 2, "87.5:12.5".into())
        );
        let listen = RunArgs { listen: Some("127.0.0.1:0".into()), ..urls() };
        assert_eq!(
            of_urls(&listen, Some("7000".into()), Path::new("/s")).unwrap().0.listen.port(),
            0,
            "what is written counts more than PORT"
        );
    }

    #[test]
    fn what_is_wrong_is_named_by_its_flag() {
        let primary = RunArgs { primary: vec!["http://a:1/mcp".into()], ..urls() };
        let words = "command line: --primary: `http://a:1/mcp`: an endpoint has no path (here `/mcp`): the path of the client's request is kept";
        assert_eq!(said(&primary), words);
        let admin = RunArgs { admin: Some("0.0.0.0:9900".into()), ..urls() };
        assert!(said(&admin).starts_with("command line: --admin: 0.0.0.0:9900 is not a loopback address"), "{}", said(&admin));
        let quote = RunArgs { primary_version: Some("1\"\n[x]".into()), ..urls() };
        assert_eq!(of_urls(&quote, None, Path::new("/s")).unwrap().0.services[0].rules.entries.primary.version, "1\"\n[x]");
    }

    #[test]
    fn without_entries_there_is_nothing_to_run() {
        for args in [RunArgs::default(), RunArgs { secondary: Vec::new(), ..urls() }] {
            let failure = of_urls(&args, None, Path::new("/s")).unwrap_err();
            assert_eq!(
                (failure.exit, failure.to_string().as_str()),
                (Exit::Usage, "run needs --config FILE, or --primary URL and --secondary URL")
            );
        }
        let both = RunArgs { config: Some("f".into()), ..urls() };
        assert_eq!(config_of(&both).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn flags_go_over_a_file_and_are_checked_with_it() {
        let file = std::env::temp_dir().join(format!("dualgate-cli-{}.toml", std::process::id()));
        fs::write(&file, TEXT).unwrap();
        let with = |args: RunArgs| of_file(&file, &RunArgs { config: Some(file.clone()), ..args }, None);
        let args = RunArgs { listen: Some("127.0.0.1:8081".into()), state_dir: Some("/t".into()), ..RunArgs::default() };
        let (config, _) = with(args).unwrap();
        assert_eq!((config.listen.port(), config.state_dir.unwrap(), config.threads), (8081, PathBuf::from("/t"), 2));
        let open = with(RunArgs { admin: Some("0.0.0.0:9900".into()), ..RunArgs::default() }).unwrap_err();
        let looping = with(RunArgs { listen: Some("127.0.0.1:3000".into()), ..RunArgs::default() }).unwrap_err();
        fs::remove_file(&file).unwrap();
        assert_eq!((open.exit, looping.exit), (Exit::Invalid, Exit::Invalid));
        assert!(open.to_string().starts_with("command line: --admin: "), "{open}");
        assert!(looping.to_string().contains("is the address this proxy listens on"), "{looping}");
    }

    #[test]
    fn secrets_that_are_not_there_are_named_by_key_and_forgiven_where_only_a_container_has_them() {
        let with = |path: &str| {
            let text = format!(
                "[seal]\nkey_files = [\"{path}\"]\n{}",
                TEXT.replace("[admin]", &format!("[admin]\ntoken_file = \"{path}\""))
            );
            let text = text.replacen("listen = \"127.0.0.1:8080\"\nthreads = 2\n", "", 1);
            secrets("f", &config::load("f", &text, None).unwrap())
        };
        let failure = with("/nowhere/t").unwrap_err();
        assert_eq!(failure.exit, Exit::Invalid);
        let said = failure.to_string();
        assert!(said.contains("f: admin.token_file: cannot read /nowhere/t"), "{said}");
        assert!(said.contains("seal.key_files[0]"), "{said}");
        assert_eq!(with("/run/secrets/dualgate-nowhere").unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_is_not_there_is_said_to_be_so() {
        let failure = read(Path::new("/nowhere/f.toml")).unwrap_err();
        assert_eq!(
            (failure.exit, failure.to_string().as_str()),
            (Exit::Invalid, "cannot read /nowhere/f.toml: No such file or directory")
        );
    }
}
