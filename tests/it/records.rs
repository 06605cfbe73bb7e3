use std::sync::{Arc, Weak};
use std::time::Duration;

use dualgate::config;
use dualgate::control::outreach::Notifier;
use dualgate::control::{Audit, By, Conductor, Evictions, Handle, Record, Setup, resolve};
use dualgate::domain::machine::{Command, Start};
use dualgate::domain::{Entry, Phase, Plan, Salt, Share, Standing, Step};
use dualgate::live::{Directory, Store};
use dualgate::mcp::{SealKeys, Secret};
use dualgate::telemetry::clock::{Clock, since_epoch};
use dualgate::tls::Connector;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Fake, Folder, Options, TestApp, dualgate, eventually};

const DAYS: Duration = Duration::from_secs(90 * 86_400);
const HEALTH: &str = "health = { interval = \"100ms\", timeout = \"100ms\", rise = 1 }";

async fn fakes() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

fn file(folder: &Folder, (v1, v2): &(Fake, Fake)) -> String {
    TestApp::file(folder.path(), &[v1], &[v2], "100:0", HEALTH)
}

/// What decides, on a real state directory and in front of real servers, without the listeners.
struct Control {
    handle: Handle,
    audit: Audit,
    running: JoinHandle<()>,
    store: Weak<Directory>,
}

impl Control {
    async fn start(folder: &Folder, fakes: &(Fake, Fake)) -> Self {
        Self::keeping(folder, fakes, DAYS).await
    }

    async fn keeping(folder: &Folder, fakes: &(Fake, Fake), keep_records: Duration) -> Self {
        let config = config::load("test", &file(folder, fakes), None).unwrap();
        let directory = Arc::new(Directory::open(folder.path()).unwrap());
        let weak = Arc::downgrade(&directory);
        let store: Arc<dyn Store> = directory;
        let audit = Audit::start(store.clone());
        let setup = Setup {
            services: config.services.into_iter().map(|one| (one.clone(), Connector::open(&one).unwrap())).collect(),
            store,
            keys: Arc::new(SealKeys::new(&[Secret::new([1; 32])], [2; 12])),
            clock: Clock::start(),
            phase: Phase::from_random(0),
            run: "r".to_owned(),
            audit: audit.clone(),
            resolver: resolve::system(),
            notifier: Notifier::start(&[], weak.upgrade().unwrap()),
            evictions: Evictions::default(),
            keep_records,
            gate_secret_file: None,
        };
        let (conductor, handle, _reader) = Conductor::start(setup).unwrap();
        let running = tokio::spawn(conductor.run());
        let control = Self { handle, audit, running, store: weak };
        eventually("both entries are up", async || {
            let machine = control.handle.status("notes").await.unwrap().machine;
            Entry::BOTH.iter().all(|entry| machine.standing(*entry) == Standing::Up).then_some(())
        })
        .await;
        control
    }

    async fn order(&self, command: Command) {
        let by = By { actor: "ada@127.0.0.1".to_owned(), reason: Some("faster".to_owned()), ..By::default() };
        self.handle.order("notes", command, by).await.unwrap();
    }

    async fn roll_out(&self, id: &str, percent: f64, hold: Option<Duration>) {
        let step = Step { share: Share::from_percent(percent).unwrap(), hold, gates: Vec::new() };
        let plan = Plan { name: "inline".to_owned(), steps: vec![step] };
        let start = Start { id: id.to_owned(), plan, to: None, force: false, salt: Salt::new([7; 16]) };
        self.order(Command::Start(Box::new(start))).await;
    }

    /// The record of a rollout once it has come to a phase.
    async fn record(&self, id: &str, phase: &str) -> Record {
        eventually(phase, async || {
            let records = self.handle.records().newest("notes", 10).unwrap();
            records.into_iter().find(|record| record.id == id && record.phase == phase)
        })
        .await
    }

    /// The audit lines, without those of another kind.
    async fn audit(&self, kinds: &[&str]) -> Vec<Value> {
        self.audit.flush(Duration::from_secs(10)).await;
        let is_of = |entry: &Value| kinds.iter().any(|kind| entry["type"] == *kind);
        self.audit.tail(1_000).unwrap().into_iter().filter(is_of).collect()
    }

    async fn stop(self) {
        let Self { handle, audit, running, store } = self;
        handle.settled(Duration::from_secs(10)).await;
        audit.flush(Duration::from_secs(10)).await;
        drop((handle, audit));
        running.await.unwrap();
        eventually("nobody holds the directory", async || (store.strong_count() == 0).then_some(())).await;
    }
}

fn hour() -> Option<Duration> {
    Some(Duration::from_secs(3_600))
}

#[tokio::test]
async fn a_rollout_from_start_to_promotion_is_in_the_audit_line_by_line_and_the_chain_is_whole() {
    let (folder, fakes) = (Folder::new(), fakes().await);
    let control = Control::start(&folder, &fakes).await;
    control.roll_out("r-1", 100.0, None).await;
    let record = control.record("r-1", "done").await;
    assert_eq!((record.by.as_str(), record.reason.as_deref()), ("ada@127.0.0.1", Some("faster")));
    assert_eq!((record.stable.version.as_str(), record.candidate.version.as_str()), ("1.0", "2.0"));
    assert_eq!((record.state.split.as_str(), record.state.stable.as_str()), ("0:100", "secondary"));
    assert!(record.began.is_some() && record.ended >= record.began && record.reverted.is_none(), "{record:?}");
    let lines = control.audit(&["started", "rollout", "promoted", "rollback"]).await;
    let told: Vec<_> = lines.iter().map(|line| (line["type"].as_str().unwrap(), line["phase"].as_str().unwrap_or("-"))).collect();
    // Each turn of the record has its line, in the same order.
    assert_eq!(
        told,
        [("started", "-"), ("rollout", "soaking"), ("rollout", "gating"), ("promoted", "-"), ("rollout", "done")],
        "{lines:?}"
    );
    let turns: Vec<_> = record.turns.iter().map(|turn| turn.phase.as_str()).collect();
    assert_eq!(turns, ["soaking", "gating", "done"]);
    assert_eq!(
        (&lines[0]["actor"], &lines[0]["plan"], &lines[0]["version"]),
        (&json!("ada@127.0.0.1"), &json!("100"), &json!("2.0"))
    );
    assert_eq!((&lines[3]["actor"], &lines[3]["entry"]), (&json!("rollout r-1"), &json!("secondary")));
    assert!(lines.iter().all(|line| line["service"] == "notes"), "{lines:?}");
    let report = control.audit.verify().unwrap();
    assert!(report.intact, "{report:?}");
    control.stop().await;
    let said = dualgate(&["audit", "verify", "--state-dir", folder.path().to_str().unwrap()], &[]).await;
    assert!(said.code == 0 && said.out.starts_with("intact: "), "{said:?}");
}

#[tokio::test]
async fn a_rollback_is_in_the_audit_with_what_set_it_off_be_it_a_person_or_a_trigger() {
    let (folder, fakes) = (Folder::new(), fakes().await);
    let control = Control::start(&folder, &fakes).await;
    control.roll_out("r-1", 10.0, hour()).await;
    control.order(Command::Abort).await;
    let aborted = control.record("r-1", "aborted").await;
    assert_eq!((aborted.outcome.as_deref(), aborted.trigger), (Some("aborted"), None));
    assert!(aborted.reverted.is_some() && aborted.steps[0].held_s.is_some());
    control.roll_out("r-2", 10.0, hour()).await;
    let words = "alertmanager: orders | fail".to_owned();
    control.order(Command::Signal(vec![dualgate::domain::machine::Evidence { critical: true, entry: None, words }])).await;
    let back = control.record("r-2", "rolling-back").await;
    let trigger = back.trigger.unwrap();
    assert_eq!((trigger.trigger.as_str(), trigger.took_back), ("signal", true));
    let lines = control.audit(&["rollback"]).await;
    let told: Vec<_> =
        lines.iter().map(|line| ["rollout", "trigger", "actor", "candidate", "after"].map(|key| line[key].clone())).collect();
    assert_eq!(told[0], ["r-1", "abort", "ada@127.0.0.1", "secondary", "100:0"].map(Value::from));
    assert_eq!(told[1], ["r-2", "signal", "rollout r-2", "secondary", "100:0"].map(Value::from));
    assert_eq!(lines[1]["reason"], "signal: alertmanager: orders | fail");
    assert!(control.audit.verify().unwrap().intact);
    control.stop().await;
}

#[tokio::test]
async fn a_record_that_the_disk_does_not_take_holds_up_nothing_and_is_there_when_it_does_again() {
    let (folder, fakes) = (Folder::new(), fakes().await);
    let control = Control::start(&folder, &fakes).await;
    // As on a full disk: nothing new can be made where records are.
    let records = folder.path().join("records");
    std::fs::remove_dir(&records).unwrap();
    std::fs::write(&records, "not a folder").unwrap();
    control.roll_out("r-1", 10.0, hour()).await;
    let failure = eventually("the failure is told", async || control.handle.status("notes").await.unwrap().records_failure).await;
    assert!(failure.contains("records"), "{failure}");
    control.order(Command::Abort).await;
    let machine = control.handle.status("notes").await.unwrap().machine;
    assert_eq!(machine.state().split.to_string(), "100:0", "a rollback waits for no record");
    control.roll_out("r-2", 10.0, hour()).await;
    std::fs::remove_file(&records).unwrap();
    // The newest of each, and none is forgotten.
    assert_eq!(control.record("r-1", "aborted").await.turns.len(), 2);
    control.record("r-2", "holding").await;
    eventually("all is well again", async || {
        control.handle.status("notes").await.unwrap().records_failure.is_none().then_some(())
    })
    .await;
    control.stop().await;
}

#[tokio::test]
async fn records_are_listed_newest_first_and_shown_in_both_forms_by_api_and_command_line() {
    let (folder, fakes) = (Folder::new(), fakes().await);
    let control = Control::start(&folder, &fakes).await;
    for id in ["r-1", "r-2"] {
        control.roll_out(id, 10.0, hour()).await;
        control.order(Command::Abort).await;
        control.record(id, "aborted").await;
    }
    control.stop().await;
    let before = std::fs::read_to_string(folder.path().join("records/notes/r-2.json")).unwrap();
    let app = TestApp::from_text(file(&folder, &fakes)).await;
    let get = async |path: &str| app.admin.send("GET", &format!("/v1/services/notes/records{path}"), None).await;
    let (status, list) = get("").await;
    assert_eq!(status, 200, "{list}");
    let of = |list: &Value, key: &str| list["records"].as_array().unwrap().iter().map(|one| one[key].clone()).collect::<Vec<_>>();
    assert_eq!((of(&list, "id"), of(&list, "outcome")), (vec!["r-2".into(), "r-1".into()], vec!["aborted".into(); 2]));
    assert_eq!(of(&get("?limit=1").await.1, "id"), ["r-2"]);
    for (path, status, slug) in [
        ("?limit=1001", 400, "invalid-query"),
        ("?limt=1", 400, "invalid-query"),
        ("/r-3", 404, "no-such-record"),
        ("/..%2Fr-1", 404, "no-such-record"),
        ("/%2Fetc%2Fpasswd", 404, "no-such-record"),
    ] {
        let (found, problem) = get(path).await;
        assert_eq!((found, &problem["type"]), (status, &json!(format!("urn:dualgate:problem:{slug}"))), "{path}");
    }
    assert_eq!(app.admin.send("GET", "/v1/services/nothing/records", None).await.0, 404);
    let (_, whole) = get("/r-2").await;
    assert_eq!(whole, serde_json::from_str::<Value>(&before).unwrap(), "a restart does not write it anew");
    let markdown = async |accept: &str| {
        let request = app.admin.request("GET", "/v1/services/notes/records/r-2").header("accept", accept);
        let answer = request.send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind, answer.text().await.unwrap())
    };
    let (status, kind, text) = markdown("text/markdown").await;
    assert_eq!((status, kind.as_str()), (200, "text/markdown; charset=utf-8"));
    assert!(text.starts_with("# notes: 1.0 → 2.0 on secondary: aborted\n"), "{text}");
    assert_eq!(markdown("text/markdown, application/json").await.1, "application/json");
    assert_eq!(markdown("text/html").await.0, 406);
    let cli = async |line: &str| app.admin.cli(&line.split(' ').collect::<Vec<_>>()).await;
    let said = cli("rollout list").await;
    let (first, second) = (said.out.find("r-2"), said.out.find("r-1"));
    assert!(said.code == 0 && first.is_some() && first < second, "{said:?}");
    assert!(!cli("rollout list -n 1").await.out.contains("r-1"));
    let said = cli("rollout show r-2").await;
    assert!(said.code == 0 && said.out.starts_with("notes r-2: 1.0 → 2.0 on secondary: aborted\n"), "{said:?}");
    assert_eq!(cli("rollout show r-2 --markdown").await.out, text);
    assert_eq!(serde_json::from_str::<Value>(&cli("rollout show r-2 -o json").await.out).unwrap(), whole);
    assert_eq!(cli("rollout show r-3").await.code, 4);
}

#[tokio::test]
async fn a_record_that_is_past_its_time_is_gone_after_a_start_and_stays_gone() {
    let (folder, fakes) = (Folder::new(), fakes().await);
    let control = Control::start(&folder, &fakes).await;
    control.roll_out("r-1", 10.0, hour()).await;
    control.order(Command::Abort).await;
    control.record("r-1", "aborted").await;
    control.stop().await;
    let (old, young) = (folder.path().join("records/notes/r-1.json"), folder.path().join("records/notes/r-0.json"));
    std::fs::write(&young, "{}").unwrap();
    let later = std::time::UNIX_EPOCH + since_epoch() + Duration::from_secs(3_600);
    std::fs::File::open(&young).unwrap().set_modified(later).unwrap();
    assert!(old.exists());
    let control = Control::keeping(&folder, &fakes, Duration::from_millis(1)).await;
    eventually("it is gone", async || (!old.exists()).then_some(())).await;
    control.stop().await;
    assert!(!old.exists() && !old.with_extension("md").exists(), "the machine still has it, and it is not written again");
    assert!(young.exists());
}
