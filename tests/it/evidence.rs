//! What the judge is shown of an entry: counts, times, and who met the faults.

use dualgate::domain::Entry;
use dualgate::domain::judge::Figures;
use dualgate::upstream::Watch;

use crate::support::{Channel, Client, Fake, Options, TestApp, WAITS, call, eventually};

async fn app() -> (Fake, Fake, TestApp) {
    let dual = Options { modern: true, ..Options::default() };
    let (v1, v2) = (Fake::start("v1", dual).await, Fake::start("v2", dual).await);
    let app = TestApp::start(&v1, &v2, "100:0", WAITS).await;
    (v1, v2, app)
}

/// All until so many requests are booked, which they are after their clients have read the answers.
async fn taken(watch: &mut Watch, requests: u64) -> Figures {
    let mut all = Figures::default();
    eventually("all is booked", async || {
        all.merge(&watch.take());
        (all.all.requests >= requests).then_some(())
    })
    .await;
    all
}

#[tokio::test]
async fn faults_are_counted_by_tool_and_by_session() {
    let (_v1, _v2, app) = app().await;
    let client = Client::new(&app);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(client.open().await);
    }
    let tally = app.tally(Entry::Primary);
    eventually("they are booked", async || (tally.requests() == 4).then_some(())).await;
    let mut watch = tally.watch();
    for (at, session) in sessions.iter().enumerate() {
        for n in 0..at {
            for tool in ["fail", "error", "echo", "stream-fail", "unknown"] {
                session.post(&call(n, tool)).await.bytes().await.unwrap();
            }
        }
    }
    // 0, 1, 2 and 3 rounds; what is the client's doing is not among them.
    let figures = taken(&mut watch, 24).await;
    assert_eq!((figures.all.requests, figures.all.faults, figures.all.times.count()), (24, 18, 24));
    assert_eq!((figures.all.faulty.clients(), figures.all.faulty.others), (3, 0));
    assert_eq!(figures.all.faulty.squares(), 9.0 + 36.0 + 81.0);
    assert_eq!(figures.tools.keys().collect::<Vec<_>>(), ["echo", "error", "fail", "stream-fail"]);
    for (tool, faults) in [("echo", 0), ("error", 6), ("fail", 6), ("stream-fail", 6)] {
        let calls = &figures.tools[tool];
        assert_eq!((calls.requests, calls.faults, calls.times.count()), (6, faults, 6), "{tool}");
        assert_eq!(calls.faulty.squares(), if faults == 0 { 0.0 } else { 1.0 + 4.0 + 9.0 }, "{tool}");
    }
    assert_eq!(tally.total().all.requests, 28);
    assert!(app.tally(Entry::Secondary).last_request().is_none());
    assert!(tally.last_request().is_some());
}

#[tokio::test]
async fn a_session_a_key_and_a_stream_of_http_sse_are_three_clients() {
    let (_v1, _v2, app) = app().await;
    let client = Client::new(&app);
    let session = client.open().await;
    let mut channel = Channel::open(&app).await;
    let mut watch = app.tally(Entry::Primary).watch();
    // The same key, in one session and in none.
    let keyed = client.with("x-api-key", "k");
    let modern = keyed.with("mcp-protocol-version", "2026-07-28").with("mcp-method", "tools/call").with("mcp-name", "fail");
    for n in 0..2 {
        keyed.bind(&session.id).post(&call(n, "fail")).await.bytes().await.unwrap();
        modern.post(&call(n, "fail")).await.bytes().await.unwrap();
        channel.call(n, "fail").await;
    }
    let faulty = |figures: &Figures| (figures.all.faults, figures.all.faulty.clients(), figures.all.faulty.squares());
    // Two POSTs of HTTP+SSE are booked with their answers, and count once.
    let figures = taken(&mut watch, 6).await;
    assert_eq!(faulty(&figures), (6, 3, 12.0));
    assert_eq!(figures.tools["fail"].faulty.clients(), 3);
}

#[tokio::test]
async fn who_shows_nothing_is_told_apart_by_address() {
    let (_v1, _v2, app) = app().await;
    let mut watch = app.tally(Entry::Primary).watch();
    for _ in 0..3 {
        // Each over a connection of its own.
        let modern = Client::new(&app).with("mcp-protocol-version", "2026-07-28").with("mcp-method", "tools/call");
        modern.with("mcp-name", "fail").post(&call(1, "fail")).await.bytes().await.unwrap();
    }
    let figures = taken(&mut watch, 3).await;
    assert_eq!((figures.all.faults, figures.all.faulty.clients(), figures.all.faulty.others), (3, 1, 0));
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_a_fault_that_its_clients_meet() {
    let (v1, _v2, app) = app().await;
    let client = Client::new(&app);
    let sessions = [client.open().await, client.open().await];
    let mut watch = app.tally(Entry::Primary).watch();
    v1.kill();
    for session in &sessions {
        session.post(&call(1, "echo")).await.bytes().await.unwrap();
    }
    let figures = taken(&mut watch, 2).await;
    assert_eq!((figures.all.faults, figures.all.faulty.clients(), figures.clients), (2, 2, 0));
    assert_eq!((figures.tools["echo"].faults, figures.tools["echo"].times.count()), (2, 0));
}

#[tokio::test]
async fn clients_are_not_told_apart_when_nobody_watches() {
    let (_v1, _v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let tally = app.tally(Entry::Primary);
    session.post(&call(1, "fail")).await.bytes().await.unwrap();
    eventually("it is booked", async || (tally.requests() == 2).then_some(())).await;
    assert!(!tally.is_watched() && tally.last_request().is_none());
    let mut watch = tally.watch();
    assert_eq!(watch.take(), Figures::default(), "what was before is nobody's");
    session.post(&call(2, "fail")).await.bytes().await.unwrap();
    assert_eq!(taken(&mut watch, 1).await.clients, 1);
    drop(watch);
    let last = tally.last_request();
    session.post(&call(3, "fail")).await.bytes().await.unwrap();
    eventually("it is booked", async || (tally.requests() == 4).then_some(())).await;
    assert_eq!(tally.last_request(), last);
    let total = tally.total();
    assert_eq!((total.all.faults, total.tools["fail"].times.count(), total.clients), (3, 3, 0));
}
