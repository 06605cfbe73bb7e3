//! `rollout`, `monitor`, `signal`: exit codes that pipelines trust, and the words beside them.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Fake, Options, Said, TestApp, eventually};

const QUICK: &str = "health = { interval = \"300ms\", timeout = \"300ms\", fall = 1, rise = 1 }";

async fn app(split: &str) -> (Fake, Fake, TestApp) {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let app = TestApp::start(&v1, &v2, split, QUICK).await;
    eventually("both are up", async || {
        let service = app.admin.service().await;
        ["primary", "secondary"].iter().all(|entry| service["entries"][entry]["standing"] == "up").then_some(())
    })
    .await;
    (v1, v2, app)
}

async fn phase(app: &TestApp) -> String {
    app.admin.send("GET", "/v1/services/notes/rollout", None).await.1["phase"].as_str().unwrap_or("none").to_owned()
}

async fn is(app: &TestApp, wanted: &str) {
    eventually(wanted, async || (phase(app).await == wanted).then_some(())).await;
}

async fn run(app: &TestApp, line: &str) -> Said {
    app.admin.cli(&line.split(' ').collect::<Vec<_>>()).await
}

#[tokio::test]
async fn a_rollout_that_is_waited_for_exits_0_when_it_is_done_and_tells_its_turns() {
    let (_v1, _v2, app) = app("100:0").await;
    let said = run(&app, "rollout start --steps 10,50,100 --wait --timeout 60s").await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("rollout 20") && said.out.contains("100:0 → 90:10 (revision 2"), "{}", said.out);
    for turn in
        ["step 1 of 3: 10 % is in force", "step 2 of 3: 50 % is in force", "step 3 of 3: 100 % is in force", "done, step 3 of 3"]
    {
        assert_eq!(said.err.matches(turn).count(), 1, "{turn}: {}", said.err);
    }
    let status = run(&app, "rollout status").await;
    assert!(status.code == 0 && status.out.contains("done, step 3 of 3"), "{status:?}");
    let status = run(&app, "status").await;
    assert!(status.out.contains("of secondary: done, step 3 of 3"), "{}", status.out);
}

#[tokio::test]
async fn a_rollout_that_is_taken_back_exits_8_with_trigger_and_record() {
    let (_v1, _v2, app) = app("100:0").await;
    let waits = run(&app, "rollout start --steps 10:1h,100 --wait -o json");
    let fails = async {
        is(&app, "holding").await;
        let said = run(&app, "signal --severity critical --source checkout --summary stopped").await;
        assert_eq!((said.code, said.out.lines().next()), (0, Some("critical: checkout: stopped")), "{said:?}");
        assert!(said.out.contains("90:10 → 100:0"), "{}", said.out);
    };
    let (said, ()) = tokio::join!(waits, fails);
    assert_eq!(said.code, 8, "{said:?}");
    let documents: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let id = documents[0]["rollout"]["id"].as_str().unwrap();
    assert_eq!(
        (documents.len(), documents[1]["id"].as_str(), documents[1]["fired"]["trigger"].as_str()),
        (2, Some(id), Some("signal"))
    );
    assert!(said.err.contains("secondary 2.0 was taken back: trigger signal: checkout: stopped"), "{}", said.err);
    assert!(said.err.contains(&format!("dualgate rollout show {id}")), "{}", said.err);
}

#[tokio::test]
async fn a_rollback_by_hand_and_one_that_is_called_off_exit_8_where_they_are_waited_for() {
    let (_v1, _v2, app) = app("100:0").await;
    let aborts = async {
        is(&app, "holding").await;
        let said = run(&app, "rollout abort --wait --reason no").await;
        assert_eq!(said.code, 0, "the abort itself is done: {said:?}");
    };
    let (said, ()) = tokio::join!(run(&app, "rollout start --steps 10:1h,100 --wait"), aborts);
    assert!(said.code == 8 && said.err.contains("was called off: aborted by ada@"), "{said:?}");
    let rolls_back = async {
        is(&app, "holding").await;
        assert_eq!(run(&app, "rollback --reason slow").await.code, 0);
    };
    let (said, ()) = tokio::join!(run(&app, "rollout start --steps 10:1h,100 --wait"), rolls_back);
    assert!(said.code == 8 && said.err.contains("rolled back by ada@") && said.err.contains(": slow"), "{said:?}");
}

#[tokio::test]
async fn one_that_stands_still_is_waited_for_loudly_and_late_is_9() {
    let (_v1, _v2, app) = app("100:0").await;
    assert_eq!(run(&app, "rollout start --steps 10:1h,100").await.code, 0);
    assert_eq!(run(&app, "rollout pause").await.code, 0);
    let pauses = async {
        eventually("it waits", async || (phase(&app).await == "holding").then_some(())).await;
        assert_eq!(run(&app, "rollout pause").await.code, 0);
    };
    let waits = run(&app, "rollout resume --wait --timeout 3s");
    let (said, ()) = tokio::join!(waits, pauses);
    assert_eq!(said.code, 9, "{said:?}");
    assert!(said.err.contains("WARNING: THE ROLLOUT IS PAUSED"), "{}", said.err);
    assert!(said.err.contains("is not over after 3s: paused, step 1 of 2"), "{}", said.err);
}

#[tokio::test]
async fn what_is_refused_is_5_and_a_plan_that_is_none_is_3() {
    let (_v1, v2, app) = app("100:0").await;
    for (line, code, words) in [
        ("rollout status", 4, "there was no rollout of notes yet"),
        ("rollout pause", 4, "there is no rollout that could be paused"),
        ("rollout advance", 4, "there was no rollout of notes yet"),
        ("rollout start --steps 50:1m,10:1m", 3, "--steps: step 2: share: 10 % after 50 %"),
        ("rollout start --plan nothing", 3, "there is no plan `nothing`"),
        ("rollout start --plan a --steps 100", 2, "cannot be used with"),
        ("rollout start --to primary", 5, "primary is the stable entry already"),
        ("rollout start --if-match 7", 5, "revision 7 is not the current one"),
        ("rollout start --steps 10:1h,100 --force", 2, "force needs a reason"),
        ("rollout advance --step 0", 2, "a step is a whole number from 1"),
        ("monitor --duration 1s", 5, "secondary has no clients"),
        ("monitor", 2, "--duration"),
        ("monitor --duration 0s", 2, "must be longer than 0"),
        ("signal --severity bad --summary x", 2, "invalid value"),
    ] {
        let said = run(&app, line).await;
        assert!(said.code == code && said.err.contains(words), "{line}: {said:?}");
    }
    assert_eq!(run(&app, "rollout start --steps 10:1h,50:1h,100").await.code, 0);
    let twice = run(&app, "rollout start").await;
    assert!(twice.code == 5 && twice.err.contains("one at a time"), "{twice:?}");
    let stale = run(&app, "rollout advance --step 2").await;
    assert!(stale.code == 5 && stale.err.contains("step 2 is meant, and the rollout is at step 1 of 3"), "{stale:?}");
    let advanced = run(&app, "rollout advance").await;
    assert_eq!(advanced.code, 0, "{advanced:?}");
    eventually("step 2", async || (run(&app, "rollout status").await.out.contains("step 2 of 3")).then_some(())).await;
    let nobody = run(&app, "rollout approve").await;
    assert!(nobody.code == 5 && nobody.err.contains("step 2 asks for nobody's approval"), "{nobody:?}");
    assert_eq!(run(&app, "rollout promote --yes").await.code, 0);
    assert_eq!(phase(&app).await, "done");
    drop(v2);
}

#[tokio::test]
async fn a_dry_run_prints_the_timeline_and_whether_there_is_enough_traffic() {
    let (_v1, _v2, app) = app("100:0").await;
    let said = run(&app, "rollout start --dry-run").await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("plan default: 40m at least"), "{}", said.out);
    assert!(said.out.contains("first 100:0 → 90:10; dry run, nothing was changed"), "{}", said.out);
    assert!(said.err.contains("warning: no traffic in the recent past"), "{}", said.err);
    assert_eq!(phase(&app).await, "none");
}

#[tokio::test]
async fn a_candidate_that_goes_down_under_watch_ends_the_watch_with_8() {
    let (_v1, v2, app) = app("50:50").await;
    let waits = run(&app, "monitor --duration 10m");
    let dies = async {
        tokio::task::yield_now().await;
        drop(v2);
    };
    let (said, ()) = tokio::join!(waits, dies);
    assert_eq!(said.code, 8, "{said:?}");
    assert!(said.err.contains("secondary 2.0: ") && said.err.contains("down"), "{}", said.err);
}

#[tokio::test]
async fn a_rollback_under_watch_ends_the_watch_with_8_and_its_reason() {
    let (_v1, _v2, app) = app("50:50").await;
    let waits = run(&app, "monitor --duration 10m --entry secondary -o json");
    let rolls_back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(run(&app, "rollback --reason slow").await.code, 0);
    };
    let (said, ()) = tokio::join!(waits, rolls_back);
    // The watch may have begun after the rollback, on a machine that is very busy: then there is nothing to watch.
    assert!(said.code == 8 && said.err.contains("was rolled back: slow") || said.code == 5, "{said:?}");
    let first = said.out.lines().next().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(first.is_none_or(|first| first["entry"] == "secondary" && first["entries"]["primary"]["requests"] == 0));
}

#[tokio::test]
async fn a_rollout_that_would_strand_legacy_clients_exits_5_with_their_count_and_starts_by_force() {
    let dual = Options { sessions: true, modern: true, legacy: true };
    let (v1, v2) = (Fake::start("v1", dual).await, Fake::start("v2", Options { legacy: false, ..dual }).await);
    let app = TestApp::start(&v1, &v2, "100:0", QUICK).await;
    eventually("it is up", async || (app.admin.service().await["entries"]["secondary"]["standing"] == "up").then_some(())).await;
    let _session = crate::support::Client::new(&app).open().await;
    let said = run(&app, "rollout start --steps 10:1h,100").await;
    assert_eq!((said.code, said.out.as_str()), (5, ""), "{said:?}");
    assert!(
        said.err.contains("1 legacy session on primary would be stranded on 2.0, which serves only 2026-07-28"),
        "{}",
        said.err
    );
    assert!(said.err.contains("hint: ") && said.err.contains("--force with --reason"), "{}", said.err);
    let said = run(&app, "rollout start --steps 10:1h,100 --force --reason known").await;
    assert_eq!(said.code, 0, "{said:?}");
}

#[tokio::test]
async fn silence_is_no_success() {
    let (_v1, _v2, app) = app("50:50").await;
    let said = run(&app, "monitor --duration 500ms").await;
    assert!(said.code == 9 && said.err.contains("too little was seen to say that secondary is well"), "{said:?}");
    assert!(said.out.contains("50 %, secondary 0 requests") && said.out.contains("left"), "{}", said.out);
    assert_eq!(run(&app, "monitor --duration 500ms --allow-unsure").await.code, 0);
    let stable = run(&app, "monitor --duration 500ms --entry primary").await;
    assert!(stable.code == 9 && stable.err.contains("the judge speaks of the candidate"), "{stable:?}");
}
