//! Whole rollouts: the binary between real sockets, with windows of a second or two, judged by exit codes and records.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::eventually;
use world::World;

mod going_back;
mod world;

fn code_and_text(said: &crate::support::Said) -> String {
    format!("exit {}\n{}\n{}", said.code, said.out, said.err)
}

#[tokio::test]
async fn a_healthy_candidate_goes_all_the_way_by_itself_and_the_exit_code_is_0() {
    let world = World::start("").await;
    world.clients(30, 5, Duration::from_millis(20));
    let said = world.start_rollout("10:3s,50:3s,100:3s", "60s").await.unwrap();
    assert_eq!(said.code, 0, "{}", code_and_text(&said));
    let record = world.record().await;
    assert_eq!((&record["outcome"], &record["trigger"]), (&json!("done"), &Value::Null), "{record}");
    let shares: Vec<f64> = record["steps"].as_array().unwrap().iter().map(|step| step["share"].as_f64().unwrap()).collect();
    assert_eq!(shares, [10.0, 50.0, 100.0]);
    assert_eq!(world.get("").await.unwrap()["stable"], "secondary");
}

#[tokio::test]
async fn one_broken_tool_of_forty_is_found_and_named_though_every_answer_is_200() {
    let world = World::start("judge = { window = \"2s\", triggers = { latency = \"off\", throughput = \"off\" } }").await;
    world.candidate.fail("tool-7", 10_000);
    world.clients(60, 40, Duration::from_millis(40));
    let said = world.start_rollout("50:20s,100", "60s").await.unwrap();
    assert_eq!(said.code, 8, "{}", code_and_text(&said));
    let record = world.record().await;
    assert_eq!(record["outcome"], "rolled-back");
    assert_eq!(
        (&record["trigger"]["trigger"], &record["trigger"]["tool"]),
        (&json!("tool-errors"), &json!("tool-7")),
        "{record}"
    );
    assert_eq!(world.get("").await.unwrap()["split"]["target"], json!({ "primary": 100.0, "secondary": 0.0 }));
}

#[tokio::test]
async fn of_1000_requests_49_errors_do_not_fire_and_51_do() {
    let judge = "judge = { window = \"4s\", triggers = { latency = \"off\", throughput = \"off\", tools = \"off\" } }";
    let world = World::start(judge).await;
    // Ten of a client's twelve requests are calls: the others open its session and end it.
    world.candidate.fail("*", 588);
    world.clients(60, 1, Duration::from_millis(40));
    let said = world.start_rollout("50:13s", "60s").await.unwrap();
    assert_eq!(said.code, 0, "49 of 1,000: {}", code_and_text(&said));
    assert_eq!(world.cli(&["split", "100:0"]).await.code, 0);
    world.candidate.fail("*", 612);
    let said = world.start_rollout("50:21s", "60s").await.unwrap();
    assert_eq!(said.code, 8, "51 of 1,000: {}", code_and_text(&said));
    assert_eq!(world.record().await["trigger"]["trigger"], "errors");
}

#[tokio::test]
async fn one_bad_window_does_not_fire() {
    let world = World::start("judge = { window = \"3s\", triggers = { latency = \"off\", throughput = \"off\" } }").await;
    world.clients(40, 3, Duration::from_millis(20));
    let rollout = world.start_rollout("50:9s", "60s");
    world.phase("holding").await;
    world.candidate.fail("*", 5_000);
    // From the first call that fails for less than the first window.
    eventually("some have failed", async || {
        let service = world.get("").await?;
        (service["entries"]["secondary"]["requests"]["tool_error"].as_u64()? > 60).then_some(())
    })
    .await;
    world.candidate.fail("*", 0);
    let said = rollout.await.unwrap();
    assert_eq!(said.code, 0, "{}", code_and_text(&said));
}

#[tokio::test]
async fn the_bad_arguments_of_one_client_do_not_fire() {
    let world = World::start("judge = { window = \"1s\", triggers = { latency = \"off\", throughput = \"off\" } }").await;
    world.clients(20, 3, Duration::from_millis(40));
    let rollout = world.start_rollout("99:6s", "60s");
    world.phase("holding").await;
    // Born now, so on the candidate.
    world.one_that_errs(Duration::from_millis(3));
    let said = rollout.await.unwrap();
    assert_eq!(said.code, 0, "{}", code_and_text(&said));
    let service = world.get("").await.unwrap();
    assert!(service["entries"]["secondary"]["requests"]["tool_error"].as_u64().unwrap() > 100, "it was there: {service}");
}

#[tokio::test]
async fn a_latency_of_half_as_much_again_fires() {
    let judge = "judge = { window = \"2s\", triggers = { throughput = \"off\" } }";
    let world = World::start(judge).await;
    world.stable.takes.store(40_000, Ordering::Relaxed);
    world.candidate.takes.store(60_000, Ordering::Relaxed);
    world.clients(40, 1, Duration::from_millis(50));
    let said = world.start_rollout("50:30s", "60s").await.unwrap();
    assert_eq!(said.code, 8, "{}", code_and_text(&said));
    let trigger = world.record().await["trigger"]["trigger"].as_str().unwrap().to_owned();
    assert!(trigger == "latency" || trigger == "tool-latency", "{trigger}");
}

#[tokio::test]
async fn without_traffic_it_is_held_as_unsure_and_says_so() {
    let world = World::start("").await;
    let rollout = world.start_rollout("10:2s,100", "8s");
    let held = world.phase("gating").await;
    assert!(held["obstacles"].to_string().contains("unsure"), "{held}");
    let said = rollout.await.unwrap();
    assert_eq!(said.code, 9, "{}", code_and_text(&said));
    let after = world.get("/rollout").await.unwrap();
    assert_eq!(
        (&after["phase"], &after["step"], &after["verdict"]["verdict"]),
        (&json!("gating"), &json!(1), &json!("unsure")),
        "{after}"
    );
    assert_eq!(world.get("").await.unwrap()["split"]["target"]["secondary"], 10.0);
}

#[tokio::test]
async fn when_the_stable_entry_turns_sick_nothing_is_moved() {
    let judge = "judge = { window = \"1s\", triggers = { latency = \"off\", throughput = \"off\", tools = \"off\" } }";
    let world = World::start(judge).await;
    world.clients(40, 2, Duration::from_millis(20));
    eventually("the stable entry is known", async || {
        let service = world.get("").await?;
        (service["entries"]["primary"]["requests"]["ok"].as_u64()? > 500).then_some(())
    })
    .await;
    let rollout = world.start_rollout("50:8s,100", "20s");
    world.phase("holding").await;
    world.stable.fail("*", 4_000);
    let said = rollout.await.unwrap();
    assert_eq!(said.code, 9, "{}", code_and_text(&said));
    let after = world.get("/rollout").await.unwrap();
    assert_eq!(after["step"], 1, "{after}");
    assert!(after["obstacles"].to_string().contains("sick"), "{after}");
    assert_eq!(world.get("").await.unwrap()["split"]["target"]["secondary"], 50.0);
}

#[tokio::test]
async fn a_candidate_that_dies_is_taken_back_and_nobody_new_meets_it() {
    let stable = crate::support::Fake::start("v1", crate::support::Options::default()).await;
    let candidate = crate::support::Fake::start("v2", crate::support::Options::default()).await;
    let world = World::with(Arc::default(), Arc::default(), [stable.address, candidate.address], "").await;
    let rollout = world.start_rollout("50:60s,100", "60s");
    world.phase("holding").await;
    candidate.kill();
    let said = rollout.await.unwrap();
    assert_eq!(said.code, 8, "{}", code_and_text(&said));
    let client = crate::support::Client::at(&format!("http://{}/mcp", world.ports[0].address));
    for _ in 0..20 {
        assert_eq!(client.open().await.who().await, "v1");
    }
    let record = world.record().await;
    assert_eq!(record["trigger"]["trigger"], "health", "{record}");
    assert!(record["revert_ms"].is_number(), "{record}");
}

#[tokio::test]
async fn after_kill_9_in_a_hold_it_stands_still_at_its_step_and_goes_on_when_told() {
    let world = World::start("").await;
    world.clients(30, 2, Duration::from_millis(20));
    let rollout = world.start_rollout("10:1s,50:4s,100:1s", "60s");
    eventually("the second step", async || {
        world.get("/rollout").await.filter(|rollout| rollout["phase"] == "holding" && rollout["step"] == 2)
    })
    .await;
    world.kill();
    world.run().await;
    let found = world.phase("paused").await;
    assert_eq!((&found["step"], &found["share"]), (&json!(2), &json!(50.0)), "{found}");
    assert!(found["why"].as_str().unwrap().contains("started anew"), "{found}");
    assert_eq!(world.cli(&["rollout", "resume"]).await.code, 0);
    let said = rollout.await.unwrap();
    assert_eq!(said.code, 0, "who waits has waited through the restart: {}", code_and_text(&said));
}

#[tokio::test]
async fn an_alert_of_alertmanager_takes_it_back() {
    let world = World::start("").await;
    let rollout = world.start_rollout("50:60s", "60s");
    world.phase("holding").await;
    let alert = json!({
        "version": "4", "groupKey": "{}:{alertname=\"Leak\"}", "status": "firing", "receiver": "dualgate",
        "groupLabels": {}, "commonLabels": { "alertname": "Leak", "severity": "critical" }, "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093", "truncatedAlerts": 0,
        "alerts": [{
            "status": "firing", "labels": { "alertname": "Leak", "severity": "critical" },
            "annotations": { "summary": "secrets in answers" }, "startsAt": "2026-11-21T12:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "a1"
        }]
    });
    let (status, answer) = world.post("/signals", &alert).await;
    assert_eq!((status, &answer["changed"]), (200, &json!(true)), "{answer}");
    let said = rollout.await.unwrap();
    assert_eq!(said.code, 8, "{}", code_and_text(&said));
    let record = world.record().await;
    assert_eq!(record["trigger"]["trigger"], "signal", "{record}");
    assert!(record["trigger"]["detail"].as_str().unwrap().contains("secrets in answers"), "{record}");
    assert!(!world.log().contains("panicked"));
}
