//! dualgate in front of the backend, with a configuration of the bench, and what it says of itself.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, fs};

use dualgate::telemetry::clock::since_epoch;
use tokio::time::Instant;

use super::child::{Child, Tools};
use super::{PROXY_CORE, load};

/// How it is configured.
#[derive(Clone)]
pub struct Setting {
    /// The ports of the backend: the last is the secondary, all others are the primary.
    pub backends: Vec<u16>,
    /// How many services there are; the one that is called, [`load::HOST`], is the last.
    pub services: usize,
    /// Whether there is a listener with TLS.
    pub tls: bool,
    /// What is logged.
    pub log: &'static str,
}

impl Setting {
    /// One service.
    pub fn plain(backends: &[u16]) -> Self {
        Self { backends: backends.to_vec(), services: 1, tls: false, log: "warn" }
    }
}

/// As the log has it in lines of JSON; it is kept in a file then.
pub const INFO: &str = "info";
const LOG: &str = "log";

const DAY: Duration = Duration::from_secs(86_400);

/// An admin request that was answered.
pub struct Told {
    /// Until its answer, from its start: it is in the audit by then, and the disk has both.
    pub answered: Duration,
    since: Duration,
    answer: String,
}

/// A running dualgate.
pub struct Gate {
    /// Its process.
    pub child: Child,
    /// Where it listens.
    pub port: u16,
    /// Where it listens with TLS.
    pub tls: u16,
    admin: u16,
    scratch: Scratch,
}

/// A folder that goes with its handle.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let count = MADE.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("dualgate-bench-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.0.join(LOG)).unwrap_or_default());
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Gate {
    /// The binary that cargo has built, or the one that `BENCH_DUALGATE` names.
    pub fn binary(tools: &Tools, setting: &Setting) -> Self {
        Self::binary_in(Scratch::new(), tools, setting)
    }

    /// Ends it as an operator does, and starts it again with what it has kept.
    pub fn again(self, tools: &Tools, setting: &Setting) -> Self {
        self.child.terminate();
        Self::binary_in(self.scratch, tools, setting)
    }

    fn binary_in(scratch: Scratch, tools: &Tools, setting: &Setting) -> Self {
        let binary = env::var("BENCH_DUALGATE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_dualgate").to_owned());
        Self::start(scratch, tools, &binary, setting, |file| vec!["run".into(), "--config".into(), file])
    }

    /// The same within this bench, where answers are read for their outcome or not.
    pub fn within(tools: &Tools, setting: &Setting, reads: &str) -> Self {
        let own = env::current_exe().unwrap();
        let arguments = |file| vec!["role".into(), "dualgate".into(), file, reads.into()];
        Self::start(Scratch::new(), tools, own.to_str().unwrap(), setting, arguments)
    }

    fn start(
        scratch: Scratch,
        tools: &Tools,
        program: &str,
        setting: &Setting,
        arguments: impl FnOnce(String) -> Vec<String>,
    ) -> Self {
        let [port, tls, admin] = free_ports();
        let file = scratch.0.join("dualgate.toml");
        fs::write(&file, configuration(setting, [port, tls, admin], &scratch.0)).unwrap();
        let arguments = arguments(file.to_str().unwrap().to_owned());
        let mut command = tools.command(PROXY_CORE, program, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("LOG_LEVEL", setting.log).env("LOG_FORMAT", "json").env_remove("PORT");
        if setting.log == INFO {
            command.stderr(fs::File::create(scratch.0.join(LOG)).unwrap());
        }
        let mut child = Child::start(command);
        child.wait_for(port);
        Self { child, port, tls, admin, scratch }
    }

    /// Ends it as an operator does.
    pub fn terminate(self) {
        self.child.terminate();
    }

    /// The samples of its metrics page.
    pub fn metrics(&self) -> Metrics {
        let page = self.ask_admin("GET", "/metrics", "");
        let samples = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        Metrics(samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// Sets the share of the secondary of the called service.
    pub fn split(&self, secondary: u32) -> Told {
        let body = format!(r#"{{"primary":{},"secondary":{secondary}}}"#, 100 - secondary);
        let (since, begun) = (since_epoch(), Instant::now());
        let answer = self.ask_admin("PUT", &format!("/v1/services/{SERVICE}/split"), &body);
        let answered = begun.elapsed();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        Told { answered, since, answer }
    }

    /// How long after its start it was in force, as the log says, which is written beside and is to be kept ([`INFO`]).
    pub fn in_force(&self, Told { answer, since, .. }: &Told) -> Duration {
        let revision = &answer[answer.rfind("\"revision\":").unwrap()..].split(',').next().unwrap();
        for _ in 0..1_000 {
            let log = fs::read_to_string(self.scratch.0.join(LOG)).unwrap();
            let is_it =
                |line: &&str| line.contains("\"in force\"") && line.contains(&format!("{revision},")) && line.ends_with('}');
            if let Some(line) = log.lines().find(is_it) {
                let since = Duration::from_nanos((since.as_nanos() % DAY.as_nanos()) as u64);
                let at = past_midnight(line);
                return if at < since { at + DAY } else { at } - since;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the log does not say when {revision} was in force")
    }

    /// Asks how the called service stands.
    pub fn look(&self) {
        let answer = self.ask_admin("GET", &format!("/v1/services/{SERVICE}"), "");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    fn ask_admin(&self, method: &str, path: &str, body: &str) -> String {
        let token = fs::read_to_string(self.scratch.0.join("admin-token")).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).unwrap();
        stream.set_nodelay(true).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n", self.admin);
        let fields = format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", token.trim());
        write!(stream, "{head}{fields}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// Of a line of the log, whose time is like `2026-11-22T15:13:28.268006Z`: how late in the day it was written.
fn past_midnight(line: &str) -> Duration {
    let (_, time) = line.split_once('T').unwrap();
    let (time, _) = time.split_once('Z').unwrap();
    let parts = time.split(':').map(|part| part.parse::<f64>().unwrap());
    Duration::from_secs_f64(parts.fold(0.0, |sum, part| sum * 60.0 + part))
}

/// What a metrics page says.
pub struct Metrics(HashMap<String, f64>);

impl Metrics {
    /// The sum of all samples with this name and all of these labels, each as `label="value"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let named = |sample: &str| sample.split('{').next() == Some(name) && labels.iter().all(|label| sample.contains(label));
        self.0.iter().filter(|(sample, _)| named(sample)).map(|(_, value)| *value as u64).sum()
    }
}

const SERVICE: &str = "bench";

fn configuration(setting: &Setting, [port, tls, admin]: [u16; 3], scratch: &Path) -> String {
    let mut text = format!(
        "listen = \"127.0.0.1:{port}\"\nthreads = 1\n[shutdown]\ndelay = \"0s\"\ndrain = \"1s\"\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n[state]\ndir = {scratch:?}\n"
    );
    if setting.tls {
        let (cert, key) = certificate(scratch);
        text += &format!("[tls]\nlisten = \"127.0.0.1:{tls}\"\ncertificates = [{{ cert = {cert:?}, key = {key:?} }}]\n");
    }
    let (secondary, primaries) = setting.backends.split_last().unwrap();
    let urls: Vec<String> = primaries.iter().map(|port| format!("\"http://127.0.0.1:{port}\"")).collect();
    for at in 1..=setting.services {
        let last = at == setting.services;
        let (name, host) =
            if last { (SERVICE.to_owned(), load::HOST.to_owned()) } else { (format!("s{at}"), format!("s{at}.test")) };
        text += &format!(
            "[[service]]\nname = {name:?}\nhosts = [{host:?}]\n\
             [service.primary]\nversion = \"1\"\nendpoints = [{}]\n\
             [service.secondary]\nversion = \"2\"\nendpoints = [\"http://127.0.0.1:{secondary}\"]\n\
             [service.split]\nprimary = 90\nsecondary = 10\n[service.health]\nkind = \"tcp\"\ninterval = \"30s\"\n",
            urls.join(", ")
        );
    }
    text
}

fn certificate(scratch: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (scratch.join("cert.pem"), scratch.join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert, key)
}

/// Ports that nobody listens on: held all at once, so that they differ.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
