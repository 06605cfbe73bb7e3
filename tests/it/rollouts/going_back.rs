//! Going back does not wait for disk, webhooks, or the candidate; and what else stops a rollout or takes it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::code_and_text;
use super::world::World;
use crate::support::eventually;
use crate::support::scripted::{scripted, whole};

fn critical() -> serde_json::Value {
    json!({ "severity": "critical", "source": "test", "summary": "it leaks" })
}

#[tokio::test]
async fn a_trigger_takes_the_candidate_back_while_the_disk_takes_nothing_new_and_the_record_comes_when_it_does() {
    let world = World::start("").await;
    let rollout = world.start_rollout("50:60s", "60s");
    world.phase("holding").await;
    // As on a full disk: no new file can be made where states and records are saved.
    let folders = ["services", "records"].map(|name| world.state().join(name));
    for folder in &folders {
        std::fs::rename(folder, folder.with_extension("away")).unwrap();
        std::fs::write(folder, "").unwrap();
    }
    let (status, answer) = world.post("/signals", &critical()).await;
    assert_eq!((status, &answer["changed"]), (200, &json!(true)), "{answer}");
    assert_eq!(world.get("").await.unwrap()["split"]["target"]["secondary"], 0.0);
    assert_eq!(rollout.await.unwrap().code, 8);
    // The brake has it: a new process knows, and which rollout it was.
    world.kill();
    for folder in &folders {
        std::fs::remove_file(folder).unwrap();
        std::fs::rename(folder.with_extension("away"), folder).unwrap();
    }
    world.run().await;
    let service = world.get("").await.unwrap();
    assert_eq!(service["split"]["target"]["secondary"], 0.0);
    assert!(service["entries"]["secondary"]["condemned"].is_object(), "{service}");
    let record = world.record().await;
    assert_eq!((&record["outcome"], &record["trigger"]["trigger"]), (&json!("rolled-back"), &json!("signal")), "{record}");
}

#[tokio::test]
async fn a_trigger_takes_the_candidate_back_while_who_is_told_hangs_and_it_is_a_dead_letter_in_the_end() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let sink = format!("[[notify]]\nname = \"dead\"\nurl = \"{url}\"\ntimeout = \"5s\"\n");
    let world = World::start(&sink).await;
    let rollout = world.start_rollout("50:60s", "60s");
    world.phase("holding").await;
    let (status, answer) = world.post("/signals", &critical()).await;
    assert_eq!((status, &answer["changed"]), (200, &json!(true)), "{answer}");
    assert_eq!(rollout.await.unwrap().code, 8);
    let record = world.record().await;
    assert!(record["revert_ms"].is_number(), "{record}");
    world.stop().await;
    let letters = std::fs::read_to_string(world.state().join("dead-letters.jsonl")).unwrap();
    assert!(letters.contains("rollback"), "{letters}");
}

#[tokio::test]
async fn a_candidate_that_hangs_is_taken_back() {
    let hangs = Arc::new(AtomicBool::new(false));
    let told = hangs.clone();
    let stable = Arc::<super::world::Manners>::default();
    let candidate = scripted(move |_, message| {
        let hangs = told.clone();
        async move {
            if hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let result =
                json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": { "name": "c", "version": "2" } });
            let body = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }).to_string();
            whole(200, &[("content-type", "application/json"), ("mcp-session-id", "s")], &body)
        }
    })
    .await;
    let world = World::with(stable.clone(), Arc::default(), [super::world::server(stable).await, candidate], "").await;
    let rollout = world.start_rollout("50:60s", "60s");
    world.phase("holding").await;
    world.clients(10, 1, Duration::from_millis(20));
    hangs.store(true, Ordering::Relaxed);
    let said = rollout.await.unwrap();
    assert_eq!(said.code, 8, "{}", code_and_text(&said));
    let record = world.record().await;
    assert_eq!(record["trigger"]["trigger"], "health", "{record}");
    assert_eq!(record["stable_after"], "up", "{record}");
    assert!(record["last_request"].is_string(), "{record}");
}

#[tokio::test]
async fn a_business_metric_out_of_bounds_takes_the_candidate_back_and_one_that_cannot_be_read_holds_it() {
    // Thousandths; 0: there is none.
    let figure = Arc::new(AtomicU64::new(0));
    let told = figure.clone();
    let metrics = scripted(move |_, _| {
        let figure = told.load(Ordering::Relaxed);
        async move {
            match figure {
                0 => whole(503, &[], ""),
                figure => {
                    whole(200, &[("content-type", "application/json")], &json!({ "accuracy": figure as f64 / 1e3 }).to_string())
                }
            }
        }
    })
    .await;
    let metric = format!(
        "[[service.judge.metric]]\nname = \"accuracy\"\njson = \"http://{metrics}/\"\npointer = \"/accuracy\"\nmin = 0.9\ninterval = \"200ms\"\n"
    );
    let world = World::start(&format!(
        "[service.judge]\nwindow = \"1s\"\ntriggers = {{ latency = \"off\", throughput = \"off\" }}\n{metric}"
    ))
    .await;
    world.clients(20, 2, Duration::from_millis(20));
    let rollout = world.start_rollout("50:2s,100:60s", "60s");
    eventually("it is held for the metric", async || {
        world
            .get("/rollout")
            .await
            .filter(|one| one["phase"] == "gating" && one["obstacles"].to_string().contains("accuracy cannot be read"))
    })
    .await;
    figure.store(950, Ordering::Relaxed);
    world.phase("soaking").await;
    figure.store(800, Ordering::Relaxed);
    let said = rollout.await.unwrap();
    assert_eq!(said.code, 8, "{}", code_and_text(&said));
    let record = world.record().await;
    assert_eq!((&record["trigger"]["trigger"], &record["trigger"]["metric"]), (&json!("metric"), &json!("accuracy")), "{record}");
}

#[tokio::test]
async fn a_gate_that_says_no_stops_the_step_and_never_the_traffic() {
    let opens = Arc::new(AtomicBool::new(false));
    let (told, asked) = (opens.clone(), Arc::new(std::sync::Mutex::new(json!(null))));
    let question = asked.clone();
    let gate = scripted(move |_, message| {
        *question.lock().unwrap() = message;
        let opens = told.load(Ordering::Relaxed);
        async move { whole(if opens { 200 } else { 403 }, &[], "not on a Friday") }
    })
    .await;
    let plan = format!(
        "[[plan]]\nname = \"gated\"\nsteps = [{{ share = 50, hold = \"2s\", gates = [\"validation\", \"health\", {{ webhook = \"http://{gate}/go\", timeout = \"1s\" }}] }}, {{ share = 100 }}]\n"
    );
    let world = World::start(&plan).await;
    world.clients(20, 2, Duration::from_millis(20));
    let (status, answer) = world.post("/rollout", &json!({ "plan": "gated" })).await;
    assert_eq!(status, 200, "{answer}");
    let held = eventually("it is held by the gate", async || {
        world.get("/rollout").await.filter(|one| one["obstacles"].to_string().contains("not on a Friday"))
    })
    .await;
    assert_eq!((&held["phase"], &held["step"]), (&json!("gating"), &json!(1)), "{held}");
    assert_eq!(asked.lock().unwrap()["candidate"], "secondary");
    let before = world.candidate.answered.load(Ordering::Relaxed);
    eventually("clients are served all the same", async || {
        (world.candidate.answered.load(Ordering::Relaxed) > before + 20).then_some(())
    })
    .await;
    opens.store(true, Ordering::Relaxed);
    world.phase("done").await;
}

/// `cargo test --release --test it -- --ignored --nocapture from_a_signal`: what the figures in the notes are from.
#[tokio::test]
#[ignore = "a measurement"]
async fn from_a_signal_to_the_split_reverted() {
    let world = World::start("").await;
    let (mut answered, mut reverted) = (Vec::new(), Vec::new());
    for n in 0..100 {
        let reason = json!({ "steps": "50:60s", "force": true, "reason": format!("run {n}") });
        let (status, answer) = world.post("/rollout", &reason).await;
        assert_eq!(status, 200, "{answer}");
        let begun = Instant::now();
        let (status, answer) = world.post("/signals", &critical()).await;
        answered.push(begun.elapsed().as_secs_f64() * 1e3);
        assert_eq!((status, &answer["changed"]), (200, &json!(true)), "{answer}");
        reverted.push(world.record().await["revert_ms"].as_f64().unwrap());
    }
    for (what, times) in
        [("signal sent to answer (reverted, and on the disk)", &mut answered), ("event to split in force", &mut reverted)]
    {
        times.sort_by(f64::total_cmp);
        println!("{what}: p50 {:.2} ms, p99 {:.2} ms, worst {:.2} ms", times[49], times[98], times[99]);
    }
}
