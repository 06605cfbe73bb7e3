//! Rollouts over the admin API: begun, steered, looked at; and what is refused, and how that is said.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Fake, Folder, Options, TestApp, eventually};

const ROLLOUT: &str = "/v1/services/notes/rollout";
const SIGNALS: &str = "/v1/services/notes/signals";

/// Checked so often that the tests need not wait for it.
const QUICK: &str = "health = { interval = \"300ms\", timeout = \"300ms\", fall = 1, rise = 1 }";

async fn fakes() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

async fn app(more: &str) -> (Fake, Fake, TestApp) {
    let (v1, v2) = fakes().await;
    let app = TestApp::start(&v1, &v2, "100:0", &format!("{QUICK}\n{more}")).await;
    both_up(&app).await;
    (v1, v2, app)
}

async fn both_up(app: &TestApp) {
    eventually("both are up", async || {
        let service = app.admin.service().await;
        ["primary", "secondary"].iter().all(|entry| service["entries"][entry]["standing"] == "up").then_some(())
    })
    .await;
}

struct Answer {
    status: u16,
    etag: Option<String>,
    replayed: bool,
    body: Value,
}

impl Answer {
    fn slug(&self) -> (u16, &str) {
        (self.status, self.body["type"].as_str().unwrap_or_default().trim_start_matches("urn:dualgate:problem:"))
    }

    fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }
}

async fn post(app: &TestApp, what: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let path = match what.strip_prefix('?') {
        Some(_) => format!("{ROLLOUT}{what}"),
        None if what.is_empty() || what.starts_with("/v1") => {
            what.strip_prefix("/v1").map_or(ROLLOUT.to_owned(), |_| what.to_owned())
        }
        None => format!("{ROLLOUT}/{what}"),
    };
    let request = headers.iter().fold(app.admin.request("POST", &path), |request, (name, value)| request.header(*name, *value));
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    };
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let etag = headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned());
    let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
    Answer { status, etag, replayed: headers.contains_key("idempotency-replayed"), body }
}

async fn start(app: &TestApp, steps: &str) -> Answer {
    let answer = post(app, "", &[("dualgate-actor", "ada")], Some(json!({ "steps": steps }))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

async fn look(app: &TestApp) -> Value {
    let (status, rollout) = app.admin.send("GET", ROLLOUT, None).await;
    assert_eq!(status, 200, "{rollout}");
    rollout
}

async fn is(app: &TestApp, phase: &str) -> Value {
    eventually(&format!("it is {phase}"), async || Some(look(app).await).filter(|rollout| rollout["phase"] == phase)).await
}

async fn stands_at(app: &TestApp, step: u64) -> Value {
    eventually(&format!("step {step}"), async || Some(look(app).await).filter(|rollout| rollout["step"] == step)).await
}

#[tokio::test]
async fn before_the_first_one_there_is_none() {
    let (_v1, _v2, app) = app("").await;
    let (status, problem) = app.admin.send("GET", ROLLOUT, None).await;
    assert_eq!((status, problem["type"].as_str().unwrap()), (404, "urn:dualgate:problem:no-such-rollout"));
    for (command, body) in
        [("pause", None), ("resume", None), ("advance", Some(json!({ "step": 1 }))), ("approve", Some(json!({ "step": 1 })))]
    {
        let answer = post(&app, command, &[], body).await;
        assert_eq!(answer.slug(), (404, "no-such-rollout"), "{command}");
    }
    for command in ["promote", "abort"] {
        assert_eq!(post(&app, command, &[], None).await.slug(), (404, "no-such-rollout"), "{command}");
    }
    let service = app.admin.service().await;
    assert_eq!((&service["rollout"], &service["verdict"]), (&Value::Null, &Value::Null));
    assert_eq!(app.admin.send("GET", "/v1/services/none/rollout", None).await.0, 404);
}

#[tokio::test]
async fn a_rollout_without_holds_goes_through_and_the_candidate_is_in_charge_then() {
    let (_v1, _v2, app) = app("").await;
    let begun = start(&app, "10,50,100").await;
    let id = begun.body["rollout"]["id"].as_str().unwrap().to_owned();
    assert!(id.ends_with("-2") && id.len() == "20261121T125800Z-2".len(), "time and revision: {id}");
    assert_eq!((&begun.body["old"]["secondary"], &begun.body["new"]["secondary"]), (&json!(0.0), &json!(10.0)));
    assert_eq!((begun.etag.as_deref(), &begun.body["changed"]), (Some("\"2\""), &json!(true)));
    let rollout = is(&app, "done").await;
    assert_eq!(
        (&rollout["id"], &rollout["step"], &rollout["of"], &rollout["share"]),
        (&json!(id), &json!(3), &json!(3), &json!(100.0))
    );
    assert_eq!(rollout["by"].as_str().unwrap().split('@').next(), Some("ada"));
    for time in ["began", "ended"] {
        let time = rollout[time].as_str().unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('T'), "{time}");
    }
    let service = app.admin.service().await;
    assert_eq!((&service["stable"], &service["split"]["target"]["secondary"]), (&json!("secondary"), &json!(100.0)));
    assert_eq!((&service["rollout"]["phase"], &service["rollout"]["id"]), (&json!("done"), &json!(id)));
    let steps: Vec<u64> = rollout["turns"].as_array().unwrap().iter().map(|turn| turn["step"].as_u64().unwrap()).collect();
    assert!(steps.is_sorted() && steps[0] == 1 && steps.last() == Some(&3), "counted from 1: {steps:?}");
    let again = post(&app, "promote", &[], None).await;
    assert_eq!((again.status, &again.body["changed"]), (200, &json!(false)));
    assert_eq!(post(&app, "abort", &[], None).await.slug(), (404, "no-such-rollout"));
}

#[tokio::test]
async fn two_at_a_time_there_are_not_and_a_key_makes_one_of_two_starts() {
    let (_v1, _v2, app) = app("").await;
    let body = || Some(json!({ "steps": "10:1h,100" }));
    let first = post(&app, "", &[("idempotency-key", "one")], body()).await;
    let again = post(&app, "", &[("idempotency-key", "one")], body()).await;
    assert_eq!((first.status, again.status, first.replayed, again.replayed), (200, 200, false, true));
    assert_eq!(again.body, first.body);
    let second = post(&app, "", &[], body()).await;
    assert_eq!(second.slug(), (409, "rollout-active"));
    assert!(second.detail().contains(first.body["rollout"]["id"].as_str().unwrap()), "{}", second.detail());
    let deploy = json!({ "version": "3.0", "endpoints": ["http://127.0.0.1:9"] });
    let (status, problem) = app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(deploy)).await;
    assert_eq!((status, problem["type"].as_str().unwrap()), (409, "urn:dualgate:problem:rollout-active"));
}

#[tokio::test]
async fn a_rollout_shows_where_it_is_and_how_long_that_will_last() {
    let (_v1, _v2, app) = app("").await;
    let body =
        json!({ "steps": [{ "share": 12.5, "hold": "1h", "gates": ["health", "approval"] }, { "share": 100 }], "reason": "1.5" });
    let begun = post(&app, "", &[], Some(body)).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let (response, rollout) = (app.admin.request("GET", ROLLOUT).send().await.unwrap(), look(&app).await);
    assert_eq!(response.headers()["etag"], format!("\"{}\"", app.admin.service().await["revision"]));
    assert_eq!((&rollout["phase"], &rollout["share"], &rollout["reason"]), (&json!("holding"), &json!(12.5), &json!("1.5")));
    let hold = &rollout["hold"];
    let sum = hold["over_ms"].as_u64().unwrap() + hold["left_ms"].as_u64().unwrap();
    assert_eq!((hold["total_ms"].as_u64(), sum), (Some(3_600_000), 3_600_000));
    assert_eq!(rollout["plan"]["steps"][0], json!({ "share": 12.5, "hold": "1h", "gates": ["health", "approval"] }));
    assert_eq!(rollout["versions"], json!({ "primary": "1.0", "secondary": "2.0" }));
    assert_eq!(rollout["gates"][1]["state"], "waiting");
    let obstacles = rollout["obstacles"].to_string();
    assert!(obstacles.contains("gate approval: step 1 waits for the approval of 1"), "{obstacles}");
    let brief = &app.admin.service().await["rollout"];
    assert_eq!(
        (&brief["id"], &brief["step"], &brief["of"], &brief["phase"]),
        (&rollout["id"], &json!(1), &json!(2), &json!("holding"))
    );
}

#[tokio::test]
async fn a_step_is_left_by_whoever_names_it_and_by_nobody_else() {
    let (_v1, _v2, app) = app("").await;
    start(&app, "10:1h,50:1h,100:1h").await;
    for step in [2, 3, 99] {
        let stale = post(&app, "advance", &[], Some(json!({ "step": step }))).await;
        assert_eq!(stale.slug(), (409, "stale-step"), "{step}");
        assert!(
            stale.detail().starts_with(&format!("step {step} is meant, and the rollout is at step 1 of 3")),
            "{}",
            stale.detail()
        );
    }
    let none = post(&app, "advance", &[], Some(json!({ "step": 0 }))).await;
    assert_eq!((none.slug(), none.body["pointer"].as_str()), ((400, "invalid-body"), Some("/step")));
    for missing in [json!({}), json!({ "step": "1" }), json!({ "step": -1 }), json!({ "step": 1, "forse": true })] {
        assert_eq!(post(&app, "advance", &[], Some(missing.clone())).await.slug(), (400, "invalid-body"), "{missing}");
    }
    assert_eq!(post(&app, "advance", &[], Some(json!({ "step": 1 }))).await.status, 200);
    assert_eq!(stands_at(&app, 2).await["share"], 50.0);
    let late = post(&app, "advance", &[], Some(json!({ "step": 1 }))).await;
    assert_eq!(late.slug(), (409, "stale-step"), "said twice, it counts once");
    let unreasoned = post(&app, "advance", &[], Some(json!({ "step": 2, "force": true }))).await;
    assert_eq!((unreasoned.slug(), unreasoned.body["pointer"].as_str()), ((422, "reason"), Some("/reason")));
    assert_eq!(post(&app, "approve", &[], Some(json!({ "step": 2 }))).await.slug(), (409, "nothing-to-approve"));
}

#[tokio::test]
async fn one_that_stands_still_is_not_advanced_and_goes_on_when_somebody_says_so() {
    let (_v1, _v2, app) = app("").await;
    start(&app, "10:1h,100:1h").await;
    let paused = post(&app, "pause", &[("dualgate-actor", "bob")], Some(json!({ "reason": "lunch" }))).await;
    assert_eq!((&paused.body["changed"], &paused.body["rollout"]["phase"]), (&json!(true), &json!("paused")));
    assert!(paused.body["rollout"]["why"].as_str().unwrap().starts_with("paused by bob@"), "{}", paused.body);
    let again = post(&app, "pause", &[], None).await;
    assert_eq!((again.status, &again.body["changed"]), (200, &json!(false)));
    let still = post(&app, "advance", &[], Some(json!({ "step": 1 }))).await;
    assert_eq!(still.slug(), (409, "stands-still"));
    let resumed = post(&app, "resume", &[], None).await;
    assert_eq!(
        (resumed.status, &resumed.body["changed"], resumed.body["rollout"]["phase"].as_str()),
        (200, &json!(true), Some("holding"))
    );
    let again = post(&app, "resume", &[], None).await;
    assert_eq!((again.status, &again.body["changed"]), (200, &json!(false)));
    // Whoever sets the split by hand has taken over.
    app.admin.split("80:20").await;
    let rollout = look(&app).await;
    assert_eq!((&rollout["phase"], &rollout["share"]), (&json!("paused"), &json!(20.0)));
    assert!(rollout["why"].as_str().unwrap().ends_with("set the split to 80:20 by hand"), "{rollout}");
    assert_eq!(post(&app, "resume", &[], None).await.body["new"]["secondary"], 10.0);
}

#[tokio::test]
async fn two_persons_are_two_and_neither_is_who_began_it() {
    let (_v1, _v2, app) = app("").await;
    let body = json!({ "steps": [{ "share": 10, "gates": ["approval:2"] }, { "share": 100 }] });
    assert_eq!(post(&app, "", &[("dualgate-actor", "ada")], Some(body)).await.status, 200);
    let approve = async |who: &str| post(&app, "approve", &[("dualgate-actor", who)], Some(json!({ "step": 1 }))).await;
    assert_eq!(approve("ada").await.slug(), (409, "own-approval"));
    assert_eq!(approve("bob").await.body["changed"], true);
    let again = approve("bob").await;
    assert_eq!((again.status, &again.body["changed"]), (200, &json!(false)), "one person is one");
    let rollout = look(&app).await;
    assert_eq!((&rollout["step"], rollout["approvals"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(approve("cyd").await.status, 200);
    is(&app, "done").await;
}

#[tokio::test]
async fn one_that_is_called_off_leaves_the_candidate_without_clients_and_uncondemned() {
    let (_v1, _v2, app) = app("").await;
    start(&app, "10:1h,100").await;
    let aborted = post(&app, "abort", &[("dualgate-actor", "ada")], Some(json!({ "reason": "too late today" }))).await;
    assert_eq!((aborted.status, &aborted.body["new"]["secondary"], &aborted.body["changed"]), (200, &json!(0.0), &json!(true)));
    let rollout = is(&app, "aborted").await;
    assert!(rollout["why"].as_str().unwrap().contains("too late today"), "{rollout}");
    assert!(rollout["reverted"].is_string() && rollout["ended"].is_string() && rollout["hold"].is_null());
    assert_eq!(app.admin.service().await["entries"]["secondary"]["condemned"], Value::Null);
    let again = post(&app, "abort", &[], None).await;
    assert_eq!((again.status, &again.body["changed"]), (200, &json!(false)));
    // The next one may begin at once.
    start(&app, "100").await;
    is(&app, "done").await;
}

#[tokio::test]
async fn promoted_by_hand_it_is_done_wherever_it_was() {
    let (_v1, _v2, app) = app("").await;
    start(&app, "10:1h,100:1h").await;
    let promoted = post(&app, "promote", &[], None).await;
    assert_eq!((promoted.status, &promoted.body["new"]["secondary"]), (200, &json!(100.0)), "{}", promoted.body);
    assert_eq!(
        (look(&app).await["phase"].as_str(), app.admin.service().await["stable"].as_str()),
        (Some("done"), Some("secondary"))
    );
}

#[tokio::test]
async fn a_rollback_by_hand_ends_it_and_condemns() {
    let (_v1, _v2, app) = app("").await;
    start(&app, "10:1h,100").await;
    let (status, _) = app.admin.send("POST", "/v1/services/notes/rollback", Some(json!({ "reason": "errors" }))).await;
    assert_eq!(status, 200);
    let phase = look(&app).await["phase"].as_str().unwrap().to_owned();
    assert!(["rolling-back", "rolled-back"].contains(&phase.as_str()), "{phase}");
    assert_eq!(app.admin.service().await["entries"]["secondary"]["condemned"]["version"], "2.0");
    let refused = eventually("its sessions have left", async || {
        Some(post(&app, "", &[], Some(json!({ "steps": "100" }))).await).filter(|answer| answer.slug().1 != "rollout-active")
    })
    .await;
    assert_eq!(refused.slug(), (409, "obstructed"));
    assert!(refused.detail().contains("version 2.0 of secondary was rolled back (errors)"), "{}", refused.detail());
    let forced = post(&app, "", &[], Some(json!({ "steps": "100", "force": true }))).await;
    assert_eq!(forced.slug(), (422, "reason"));
}

#[tokio::test]
async fn a_candidate_that_is_down_is_given_nobody() {
    let (_v1, v2, app) = app("").await;
    drop(v2);
    eventually("it is down", async || (app.admin.service().await["entries"]["secondary"]["standing"] == "down").then_some(()))
        .await;
    let refused = post(&app, "", &[], Some(json!({ "steps": "10:1h,100" }))).await;
    assert_eq!(refused.slug(), (409, "obstructed"));
    assert!(refused.detail().contains("secondary is down"), "{}", refused.detail());
    assert_eq!(app.admin.service().await["revision"], 1);
}

#[tokio::test]
async fn a_plan_that_makes_no_sense_is_refused_by_its_place() {
    let (v1, v2) = fakes().await;
    let folder = Folder::new();
    let text = TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", QUICK);
    let app = TestApp::from_text(format!(
        "{text}\n[[plan]]\nname = \"careful\"\nsteps = [{{ share = 1, hold = \"1h\" }}, {{ share = 100 }}]\n"
    ))
    .await;
    both_up(&app).await;
    for (body, pointer, words) in [
        (json!({ "plan": "carefull" }), "/plan", "there is no plan `carefull`, did you mean `careful`?"),
        (json!({ "plan": "careful", "steps": "100" }), "/steps", "beside a plan"),
        (json!({ "steps": "50:10m,10:10m" }), "/steps", "step 2: share: 10 % after 50 %"),
        (json!({ "steps": "" }), "/steps", "at least one step"),
        (json!({ "steps": 7 }), "/steps", "invalid type"),
        (json!({ "steps": [] }), "/steps", "at least one step"),
        (json!({ "steps": [{ "share": 10, "hold": "10" }] }), "/steps/0/hold", "is not a duration"),
        (json!({ "steps": [{ "share": 10 }, { "share": 5 }] }), "/steps/1/share", "5 % after 10 %"),
        (json!({ "steps": [{ "share": 10, "gates": ["helth"] }] }), "/steps/0/gates/0", "did you mean `health`?"),
        (json!({ "steps": [{ "share": 10, "holt": "1m" }] }), "/steps/0", "unknown field `holt`"),
    ] {
        let answer = post(&app, "", &[], Some(body.clone())).await;
        assert_eq!(answer.slug(), (422, "plan"), "{body}");
        assert!(
            answer.body["pointer"].as_str().unwrap().starts_with(pointer) && answer.detail().contains(words),
            "{body}: {}",
            answer.body
        );
    }
    let wrong = post(&app, "", &[], Some(json!({ "to": "tertiary" }))).await;
    assert_eq!(wrong.slug(), (404, "no-such-entry"));
    let stable = post(&app, "", &[], Some(json!({ "to": "primary" }))).await;
    assert_eq!(stable.slug(), (409, "is-stable"));
    assert_eq!(app.admin.service().await["revision"], 1, "nothing was begun");
    let careful = post(&app, "", &[], Some(json!({ "plan": "careful", "to": "secondary" }))).await;
    assert_eq!((careful.status, &careful.body["rollout"]["plan"]["name"]), (200, &json!("careful")), "{}", careful.body);
    app.admin.split("50:50").await;
    post(&app, "abort", &[], None).await;
    app.admin.split("50:50").await;
    assert_eq!(post(&app, "", &[], Some(json!({ "steps": "10:10m" }))).await.slug(), (409, "beyond-plan"));
}

#[tokio::test]
async fn a_dry_run_says_what_a_plan_will_take_and_begins_nothing() {
    let (_v1, _v2, app) = app("").await;
    let dry = post(&app, "?dry_run=true", &[], None).await;
    assert_eq!((dry.status, &dry.body["changed"], &dry.body["dry_run"]), (200, &json!(true), &json!(true)), "{}", dry.body);
    let forecast = &dry.body["forecast"];
    assert_eq!((&forecast["plan"], &forecast["total_ms"]), (&json!("default"), &json!(2_400_000)), "10, 20 and 10 minutes");
    assert_eq!((&forecast["steps"][1]["begins_ms"], &forecast["steps"][2]["soak"]), (&json!(600_000), &json!(true)));
    let warnings = forecast["warnings"].to_string();
    assert!(warnings.contains("no traffic in the recent past"), "{warnings}");
    assert_eq!(dry.body["rollout"], Value::Null);
    assert_eq!(app.admin.service().await["revision"], 1);
    start(&app, "10:1h,100").await;
    for (command, body) in [("pause", None), ("advance", Some(json!({ "step": 1 }))), ("promote", None), ("abort", None)] {
        let dry = post(&app, &format!("{command}?dry_run=true&wait=10m"), &[], body).await;
        assert_eq!((dry.status, &dry.body["changed"], &dry.body["dry_run"]), (200, &json!(true), &json!(true)), "{command}");
    }
    assert_eq!((look(&app).await["phase"].as_str(), app.admin.service().await["revision"].as_u64()), (Some("holding"), Some(2)));
}

#[tokio::test]
async fn every_order_is_carried_out_on_the_condition_that_it_came_with() {
    let (_v1, _v2, app) = app("").await;
    let stale = post(&app, "", &[("if-match", "\"7\"")], None).await;
    assert_eq!((stale.slug(), &stale.body["current"]["revision"]), ((412, "stale-revision"), &json!(1)));
    start(&app, "10:1h,100").await;
    let step = || Some(json!({ "step": 1 }));
    let orders =
        [("pause", None), ("resume", None), ("advance", step()), ("approve", step()), ("promote", None), ("abort", None)];
    for (command, body) in orders {
        let stale = post(&app, command, &[("if-match", "\"1\"")], body).await;
        assert_eq!((stale.slug(), &stale.body["current"]["revision"]), ((412, "stale-revision"), &json!(2)), "{command}");
    }
    let signal = || Some(json!({ "severity": "critical", "source": "t", "summary": "s" }));
    assert_eq!(post(&app, SIGNALS, &[("if-match", "\"1\"")], signal()).await.slug(), (412, "stale-revision"));
    assert_eq!((look(&app).await["phase"].as_str(), app.admin.service().await["revision"].as_u64()), (Some("holding"), Some(2)));
    assert_eq!(post(&app, "abort", &[("if-match", "\"2\"")], None).await.status, 200);
}

#[tokio::test]
async fn a_critical_signal_takes_the_candidate_back_and_others_are_told() {
    let (_v1, _v2, app) = app("").await;
    let signal = |severity: &str| Some(json!({ "severity": severity, "source": "checkout", "summary": "orders have stopped" }));
    start(&app, "10:1h,100").await;
    for severity in ["info", "warning"] {
        let heard = post(&app, SIGNALS, &[], signal(severity)).await;
        assert_eq!(
            (heard.status, &heard.body["changed"], &heard.body["signal"]["severity"]),
            (200, &json!(false), &json!(severity))
        );
    }
    let other = json!({ "severity": "critical", "source": "x", "summary": "y", "entry": "primary" });
    assert_eq!(post(&app, SIGNALS, &[], Some(other)).await.body["changed"], false, "the stable entry is not the candidate");
    assert_eq!(look(&app).await["phase"].as_str(), Some("frozen"), "and nobody is sent there meanwhile");
    let dry = post(&app, &format!("{SIGNALS}?dry_run=true"), &[], signal("critical")).await;
    assert_eq!((dry.status, look(&app).await["phase"].as_str()), (200, Some("frozen")));
    let heard = post(&app, SIGNALS, &[], signal("critical")).await;
    assert_eq!(
        (heard.status, &heard.body["changed"], &heard.body["new"]["secondary"]),
        (200, &json!(true), &json!(0.0)),
        "{}",
        heard.body
    );
    let fired = &look(&app).await["fired"];
    assert_eq!((&fired["trigger"], &fired["detail"]), (&json!("signal"), &json!("checkout: orders have stopped")));
    let (_, audit) = app.admin.send("GET", "/v1/audit", None).await;
    let kinds: Vec<&str> = audit["entries"].as_array().unwrap().iter().filter_map(|entry| entry["type"].as_str()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "signal").count(), 4, "a dry run says nothing: {kinds:?}");
}

#[tokio::test]
async fn alertmanager_is_understood_and_what_is_resolved_says_nothing() {
    let (_v1, _v2, app) = app("").await;
    start(&app, "10:1h,100").await;
    let group = |status: &str| {
        json!({
            "version": "4", "status": status, "receiver": "dualgate", "groupKey": "{}", "groupLabels": {}, "commonLabels": {},
            "commonAnnotations": {}, "externalURL": "http://a", "truncatedAlerts": 0,
            "alerts": [{ "status": status, "labels": { "alertname": "CheckoutErrors", "severity": "critical" }, "annotations": { "summary": "5 % of orders fail" } }],
        })
    };
    let resolved = post(&app, SIGNALS, &[], Some(group("resolved"))).await;
    assert_eq!((resolved.status, &resolved.body["signal"], &resolved.body["changed"]), (200, &Value::Null, &json!(false)));
    let firing = post(&app, SIGNALS, &[], Some(group("firing"))).await;
    assert_eq!((firing.status, &firing.body["changed"]), (200, &json!(true)), "{}", firing.body);
    for wrong in [json!({}), json!({ "severity": "bad", "source": "a", "summary": "b" }), json!({ "alerts": [], "version": "3" })]
    {
        assert_eq!(post(&app, SIGNALS, &[], Some(wrong.clone())).await.slug(), (400, "invalid-body"), "{wrong}");
    }
    let nowhere = post(&app, "/v1/services/none/signals", &[], Some(group("firing"))).await;
    assert_eq!(nowhere.slug(), (404, "no-such-service"));
}

#[tokio::test]
async fn a_rollout_stands_paused_at_its_step_after_a_restart() {
    let (v1, v2) = fakes().await;
    let folder = Folder::new();
    let text = || TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", QUICK);
    let app = TestApp::from_text(text()).await;
    both_up(&app).await;
    let begun = start(&app, "10:1h,100").await;
    app.stop();
    app.stopped().await;
    let app = TestApp::from_text(text()).await;
    let rollout = look(&app).await;
    assert_eq!(
        (&rollout["phase"], &rollout["share"], &rollout["id"]),
        (&json!("paused"), &json!(10.0), &begun.body["rollout"]["id"])
    );
    assert_eq!(rollout["why"], "dualgate was started anew in step 1 of 2");
}

#[tokio::test]
async fn who_waits_for_a_start_is_answered_when_the_disk_has_it() {
    let (_v1, _v2, app) = app("").await;
    let answer = post(&app, "?wait=30s", &[], Some(json!({ "steps": "10:1h,100" }))).await;
    assert_eq!((answer.status, &answer.body["durable"]), (200, &json!(true)));
    let late = tokio::time::timeout(Duration::from_secs(60), post(&app, "pause?wait=0s", &[], None)).await.unwrap();
    assert_eq!(late.slug(), (400, "invalid-query"));
}
