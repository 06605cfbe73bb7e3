//! The command line's bad inputs: what is said, and with which exit code. `BLESS=1` writes the snapshot anew.

mod rollout;

use std::io::Read;
use std::process::{Command, Stdio};

use crate::support::{Fake, Folder, Options, Port, Said, TestApp, dualgate, eventually};

/// Without a proxy: it is the command line itself that is wrong.
const USAGE: &[&str] = &[
    "spilt 90:10",
    "status --servce notes",
    "status --unknown",
    "status --service",
    "status --service notes --service tasks",
    "status --timeout 5",
    "status --timeout 0s",
    "status -o yaml",
    "status --admin-url 127.0.0.1:9900",
    "status --token-file /nowhere/token",
    "split 150",
    "split ten",
    "split 10 20",
    "split 90:20",
    "split -1:101",
    "split 1 2 3",
    "split 90:10 --if-match seven",
    "split 90:10 --actor two\u{a0}words",
    "deploy --version 2",
    "deploy --version 2 --endpoint ftp://a",
    "deploy --version 2 --endpoint http://a:1 --to third",
    "health-check --self --entry primary",
    "audit --limit many",
    "audit --after -1",
    "audit --limit 5 verify",
    "audit verify --state-dir",
    "audit verify --state-dir /nowhere",
    "audit verfy",
    "events --after 3",
    "config",
    "config rever 7",
    "config revert",
    "config revert seven",
    "config reload --dry-run",
    "config history 3",
    "demo --listen nowhere",
    "health-check --entry third",
    "rollback now",
    "rollout list -n 0",
    "rollout show",
    "rollout shwo r-1",
    "rollout strat",
    "rollout start 10:10m",
    "rollout start --steps 10:10m,5:10m",
    "rollout start --steps ten",
    "rollout start --plan a --steps 100",
    "rollout start --to third",
    "rollout advance --step 0",
    "rollout advance 2",
    "rollout approve --step two",
    "rollout pause --force",
    "monitor",
    "monitor --duration 10",
    "monitor --duration 0s",
    "monitor --duration 10m --entry third",
    "signal",
    "signal --severity fatal --summary x",
    "signal --severity critical",
    "sessions list --endpoint a",
    "state export there",
    "sessions lst",
    "sessions move",
    "sessions move --from third",
    "sessions move --from primary --pace fast",
    "sessions end",
    "sessions end primary",
    "drain third",
    "drain --deadline soon",
    "drain --deadline 10m --now",
    "drain --cancel --now",
    "drain --cancel --pace 5s",
    "state import",
    "state import /nowhere/state.json",
    "keys rotat",
    "plan",
    "plan import",
    "plan import-argo",
    "plan import-argo /nowhere/rollout.yaml",
    "token old",
    "completions csh",
    "man",
    "run",
    "run --primary http://a:1 --secondary http://b:1 --split 90:20",
    "run --config /nowhere/dualgate.toml",
    "run --threads many",
    "check",
    "check /nowhere/dualgate.toml",
];

/// With a proxy that runs.
const REFUSED: &[&str] = &[
    "status --service nothing",
    "split 50:50 --service nothing",
    "split 50:50 --if-match 99",
    "rollback --service a/b",
    "rollout status",
    "rollout start --plan defualt",
    "rollout start --to primary",
    "rollout start --if-match 99",
    "rollout pause",
    "rollout advance",
    "rollout advance --step 2",
    "rollout promote",
    "rollout abort",
    "rollout approve --service nothing --step 1",
    "monitor --duration 1s --service nothing",
    "signal --severity critical --summary x --source --",
    "signal --severity critical --summary x --service nothing",
    "deploy --version 2 --endpoint http://127.0.0.1:1 --to primary",
    "drain secondary",
    "drain secondary --deadline 10m",
    "drain",
    "sessions move --from primary",
    "sessions move --from primary --force",
    "sessions move --from primary --pace 8d --force --reason x",
    "sessions end --entry primary --yes",
    "sessions end --entry primary --if-match 99 --force --reason x",
    "sessions list --service nothing",
    "rollout list --service nothing",
    "rollout show r-1",
    "rollout show ../r-1",
    "config reload",
    "config revert 99",
    "config revert 1 --if-match 7",
];

fn shown(line: &str, said: &Said, hidden: &[(&str, &str)]) -> String {
    let mut text = format!("$ dualgate {line}\n[{}]\n{}{}\n", said.code, said.out, said.err);
    for (what, name) in hidden {
        text = text.replace(what, name);
    }
    text
}

async fn words(line: &str, environment: &[(&str, &str)]) -> Said {
    dualgate(&line.split(' ').collect::<Vec<_>>(), environment).await
}

async fn app() -> (Fake, Fake, TestApp) {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let app = TestApp::start(&v1, &v2, "90:10", "").await;
    (v1, v2, app)
}

#[tokio::test]
async fn every_bad_input_is_answered_with_what_where_and_what_would_be_right() {
    let (_v1, _v2, app) = app().await;
    let folder = Folder::new();
    let token = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (token("right", &app.admin.token), token("wrong", &"x".repeat(43)));
    let (port, home) = (app.admin.url.rsplit(':').next().unwrap(), folder.path().to_str().unwrap().to_owned());
    // Takes connections and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = (mute.local_addr().unwrap().to_string(), mute);
    let port_of_nobody = Port::any();
    let nobody = port_of_nobody.address.to_string();
    let secure = app.admin.url.replace("http:", "https:");
    let hidden = [
        (app.admin.url.as_str(), "ADMIN"),
        (secure.as_str(), "https:ADMIN"),
        (mute.0.as_str(), "MUTE"),
        (nobody.as_str(), "NOBODY"),
        (home.as_str(), "HOME"),
        (port, "PORT"),
    ];
    let mut all = String::new();
    for line in USAGE {
        all += &shown(line, &words(line, &[("HOME", &home)]).await, &hidden);
    }
    let with = [("DUALGATE_ADMIN_URL", app.admin.url.as_str()), ("DUALGATE_TOKEN_FILE", &right)];
    for line in REFUSED {
        all += &shown(line, &words(line, &with).await, &hidden);
    }
    let elsewhere = [
        format!("status --admin-url http://{nobody}"),
        format!("split 50:50 --admin-url http://{nobody} --wait --timeout 300ms"),
        format!("status --admin-url http://{} --timeout 300ms", mute.0),
        format!("split 50:50 --service notes --admin-url http://{} --timeout 300ms", mute.0),
        format!("status --admin-url {secure}"),
        format!("status --token-file {wrong}"),
        "audit verify --token-file /nowhere/token".to_owned(),
    ];
    for line in &elsewhere {
        all += &shown(line, &words(line, &with).await, &hidden);
    }
    let (_, before) = app.admin.send("GET", "/v1/services/notes/split", None).await;
    assert_eq!((before["primary"].as_f64(), before["revision"].as_u64()), (Some(90.0), Some(1)), "nothing has changed");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/cli/bad_inputs.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &all).unwrap();
    }
    let wanted = std::fs::read_to_string(path).unwrap();
    for (said, wanted) in all.split("\n$ ").zip(wanted.split("\n$ ")) {
        assert_eq!(said, wanted);
    }
    assert_eq!(all.len(), wanted.len());
}

#[tokio::test]
async fn what_waiting_does_not_mend_is_said_at_once() {
    let (_v1, _v2, app) = app().await;
    let folder = Folder::new();
    let path = folder.path().join("wrong");
    std::fs::write(&path, "x".repeat(43)).unwrap();
    let secure = app.admin.url.replace("http:", "https:");
    // A test that waits for an hour is one that fails.
    let wait = ["--wait", "--timeout", "1h"];
    let cases: [(&[&str], i32); 6] = [
        (&["status", "--admin-url", &secure], 10),
        (&["status", "--token-file", path.to_str().unwrap()], 6),
        (&["split", "50:50", "--service", "nothing"], 4),
        (&["drain", "secondary", "--service", "nothing"], 4),
        (&["events", "--admin-url", &secure], 10),
        (&["health-check", "--self", "--admin-url", &secure], 7),
    ];
    for (arguments, code) in cases {
        let said = app.admin.cli(&[arguments, wait.as_slice()].concat()).await;
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_yet_is_waited_for() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let folder = Folder::new();
    let port = Port::any();
    let state = folder.path().to_str().unwrap().to_owned();
    let url = format!("http://{}", port.address);
    let waiting = tokio::spawn(async move {
        let environment = [("DUALGATE_ADMIN_URL", url.as_str()), ("DUALGATE_STATE_DIR", &state)];
        dualgate(&["split", "--wait", "--timeout", "1h"], &environment).await
    });
    let text = TestApp::file(folder.path(), &[&v1], &[&v2], "90:10", "");
    let _app = TestApp::from_text(
        text.replace("admin = { listen = \"127.0.0.1:0\"", &format!("admin = {{ listen = \"{}\"", port.address)),
    )
    .await;
    let said = waiting.await.unwrap();
    assert_eq!((said.code, said.out.as_str()), (0, "90:10 (revision 1)\n"), "{said:?}");
}

#[tokio::test]
async fn every_command_that_prints_ends_quietly_when_its_reader_goes_away() {
    let (_v1, _v2, app) = app().await;
    // Until then `split` has something to say.
    eventually("the start is on the disk", async || (app.admin.service().await["durable"] == true).then_some(())).await;
    let folder = Folder::new();
    let token = folder.path().join("token");
    std::fs::write(&token, &app.admin.token).unwrap();
    let lines = [
        "status",
        "split",
        "audit",
        "audit verify",
        "sessions list",
        "state export",
        "token new",
        "completions bash",
        "--help",
        "events",
    ];
    for line in lines {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dualgate"));
        command.args(line.split(' ')).env("DUALGATE_ADMIN_URL", &app.admin.url).env("DUALGATE_TOKEN_FILE", &token);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = tokio::task::spawn_blocking(move || {
            let mut err = String::new();
            child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
            (child.wait().unwrap().code(), err)
        });
        let mut at = 0;
        // Something to print.
        while line == "events" && !ended.is_finished() {
            app.admin.split(if at % 2 == 0 { "80:20" } else { "90:10" }).await;
            at += 1;
        }
        let (code, err) = ended.await.unwrap();
        assert_eq!((code, err.as_str()), (Some(0), ""), "{line}");
    }
}

#[tokio::test]
async fn data_is_json_where_it_is_asked_for_and_nothing_is_coloured() {
    let (_v1, _v2, app) = app().await;
    for line in
        ["status", "split", "audit", "audit verify", "sessions list", "state export", "token new", "health-check", "config show"]
    {
        let arguments: Vec<&str> = line.split(' ').chain(["-o", "json"]).collect();
        let said = app.admin.cli(&arguments).await;
        assert_eq!(said.code, 0, "{line}: {said:?}");
        let document: serde_json::Value =
            serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{line}: {error}: {said:?}"));
        assert!(document.is_object(), "{line}");
    }
    for line in ["status", "spilt", "--help"] {
        let said = dualgate(&[line], &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1"), ("DUALGATE_ADMIN_URL", &app.admin.url)]).await;
        assert!(!said.out.contains('\u{1b}') && !said.err.contains('\u{1b}'), "{line}: {said:?}");
    }
}

#[tokio::test]
async fn a_check_is_json_where_it_is_asked_for_whether_it_passes_or_not() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let folder = Folder::new();
    let path = folder.path().join("dualgate.toml");
    let text = TestApp::file(&folder.path().join("state"), &[&v1], &[&v2], "90:10", "");
    std::fs::write(&path, &text).unwrap();
    let file = path.to_str().unwrap();
    let documents =
        |said: &Said| said.out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect::<Vec<_>>();
    let said = dualgate(&["check", file, "-o", "json", "--probe"], &[]).await;
    let [valid, probe] = &documents(&said)[..] else { panic!("{said:?}") };
    assert_eq!((said.code, &valid["valid"], &valid["services"], &probe["healthy"]), (0, &true.into(), &1.into(), &true.into()));
    std::fs::write(&path, text.replace("secondary = 10", "secondary = 11")).unwrap();
    let said = dualgate(&["check", file, "-o", "json"], &[]).await;
    let [refused] = &documents(&said)[..] else { panic!("{said:?}") };
    assert_eq!((said.code, &refused["valid"]), (3, &false.into()));
    assert!(said.err.contains(refused["errors"][0].as_str().unwrap()), "{said:?}");
}

#[tokio::test]
async fn the_canary_of_an_argo_rollout_is_a_plan_that_a_configuration_takes() {
    let folder = Folder::new();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let manifest = "kind: Rollout\nmetadata: {name: notes}\nspec:\n  strategy:\n    canary:\n      steps:\n      - setWeight: 20\n      \
                    - pause: {duration: 1h}\n      - analysis: {}\n      - setWeight: 40\n      - pause: {}\n";
    std::fs::write(path("rollout.yaml"), manifest).unwrap();
    let said = dualgate(&["plan", "import-argo", &path("rollout.yaml")], &[]).await;
    let plan = "[[plan]]\nname = \"notes\"\nsteps = [\n  { share = 20, hold = \"1h\" },\n  { share = 40, gates = [\"approval\"] },\n  { share = 100 },\n]\n";
    assert_eq!((said.code, said.out.as_str()), (0, plan), "{said:?}");
    assert!(said.err.contains("rollout.yaml: line 9: step 3, `analysis`, is left out"), "{said:?}");
    let services = "[[service]]\nname = \"n\"\n[service.primary]\nversion = \"1\"\nendpoints = [\"http://127.0.0.1:3000\"]\n\
                    [service.secondary]\nversion = \"2\"\nendpoints = [\"http://127.0.0.1:3001\"]\n";
    std::fs::write(path("dualgate.toml"), format!("{services}{}", said.out)).unwrap();
    let said = dualgate(&["check", &path("dualgate.toml")], &[]).await;
    assert_eq!(said.code, 0, "{said:?}");
    std::fs::write(path("rollout.yaml"), manifest.replace("canary", "blueGreen")).unwrap();
    let said = dualgate(&["plan", "import-argo", &path("rollout.yaml")], &[]).await;
    assert_eq!((said.code, said.out.as_str()), (3, ""), "{said:?}");
    assert!(said.err.contains("spec.strategy is `blueGreen`, which has no steps: only `canary` has"), "{said:?}");
}
