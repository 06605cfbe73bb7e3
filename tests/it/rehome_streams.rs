//! The GET streams of a session that moves.

use serde_json::json;

use crate::support::moves::{LONG, dual_app as app, has_ended, kill, leaving, messages, methods, read_until};
use crate::support::{Client, Fake, eventually};

fn asked_for_a_stream(server: &Fake) -> usize {
    methods(server).iter().filter(|method| *method == "GET").count()
}

async fn is_asked_for_a_stream(server: &Fake, times: usize) {
    eventually("a stream is asked for", async || (asked_for_a_stream(server) >= times).then_some(())).await;
}

#[tokio::test]
async fn of_two_streams_the_newest_goes_on_and_the_older_takes_its_place_when_it_ends() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let mut older = session.listen().await;
    let mut newest = session.listen().await;
    kill(&v1).await;
    assert_eq!(session.who().await, "v2");
    is_asked_for_a_stream(&v2, 1).await;
    v2.say(b"data: {\"for\":\"the newest\"}\n\n");
    read_until(&mut newest, "the newest").await;
    assert_eq!(asked_for_a_stream(&v2), 1, "one stream of a session at a server");
    drop(newest);
    is_asked_for_a_stream(&v2, 2).await;
    v2.say(b"data: {\"for\":\"who is left\"}\n\n");
    let read = read_until(&mut older, "who is left").await;
    assert!(!read.contains("the newest"), "said once: {read}");
}

#[tokio::test]
async fn a_stream_that_the_new_server_has_none_for_at_first_is_asked_for_again() {
    for refusal in [503, 409] {
        let (v1, v2, app) = app().await;
        let session = Client::new(&app).open().await;
        let mut stream = session.listen().await;
        v2.listen_with(refusal);
        kill(&v1).await;
        assert_eq!(session.who().await, "v2", "that is no reason to stay");
        is_asked_for_a_stream(&v2, 2).await;
        v2.listen_with(0);
        is_asked_for_a_stream(&v2, 3).await;
        v2.say(b"data: {\"for\":\"who waited\"}\n\n");
        read_until(&mut stream, "who waited").await;
    }
}

#[tokio::test]
async fn a_session_whose_stream_was_refused_a_place_is_not_refused_again_at_its_next_request() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let mut stream = session.listen().await;
    v2.no_births();
    app.evict(leaving(LONG), "0:100").await;
    eventually("it was tried", async || (messages(&v2, "initialize").len() == 1).then_some(())).await;
    for _ in 0..3 {
        assert_eq!(session.who().await, "v1", "it stays where it is");
    }
    v1.say(b"data: {\"from\":\"one\"}\n\n");
    read_until(&mut stream, "one").await;
    assert_eq!(messages(&v2, "initialize").len(), 1);
}

#[tokio::test]
async fn a_planned_move_waits_until_its_stream_is_opened_there() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let mut stream = session.listen().await;
    v2.listen_with(503);
    app.evict(leaving(LONG), "0:100").await;
    is_asked_for_a_stream(&v2, 2).await;
    assert_eq!(session.who().await, "v1", "it is well where it is");
    v1.say(b"data: {\"from\":\"one\"}\n\n");
    read_until(&mut stream, "one").await;
    eventually("what was opened in vain is ended", async || methods(&v2).contains(&"DELETE".to_owned()).then_some(())).await;
    v2.listen_with(0);
    eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
    v2.say(b"data: {\"from\":\"two\"}\n\n");
    let read = read_until(&mut stream, "two").await;
    assert_eq!(read.matches("\"two\"").count(), 1, "{read}");
}

#[tokio::test]
async fn a_client_that_only_listens_is_moved_though_the_new_server_dies_as_its_stream_is_opened() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let mut stream = session.listen().await;
    v2.hold("GET");
    kill(&v1).await;
    v2.holds("GET", 1).await;
    let v1 = v1.restart().await;
    kill(&v2).await;
    is_asked_for_a_stream(&v1, 1).await;
    v1.say(b"data: {\"from\":\"one\"}\n\n");
    read_until(&mut stream, "one").await;
    assert_eq!(session.who().await, "v1");
}

#[tokio::test]
async fn a_stream_that_the_new_server_ends_at_once_ends_for_its_client_which_opens_it_again() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let mut stream = session.listen().await;
    v2.listen_with(200);
    app.evict(leaving(LONG), "0:100").await;
    has_ended(&mut stream).await;
    assert_eq!(session.who().await, "v2");
    v2.listen_with(0);
    let mut stream = session.listen().await;
    v2.say(b"data: {\"from\":\"two\"}\n\n");
    read_until(&mut stream, "two").await;
    eventually("what was left is ended", async || methods(&v1).contains(&"DELETE".to_owned()).then_some(())).await;
}

#[tokio::test]
async fn what_the_old_server_grants_during_a_move_is_asked_of_the_new_one() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let _stream = session.listen().await;
    v2.hold("GET");
    app.evict(leaving(LONG), "0:100").await;
    v2.holds("GET", 1).await;
    let subscribe = json!({ "jsonrpc": "2.0", "id": 8, "method": "resources/subscribe", "params": { "uri": "a:8" } });
    session.post(&subscribe).await.bytes().await.unwrap();
    assert_eq!(messages(&v1, "resources/subscribe").len(), 1, "no request waits for the move");
    v2.let_go("GET");
    let asked = async || messages(&v2, "resources/subscribe").first().map(|asked| asked["params"]["uri"].clone());
    assert_eq!(eventually("the new server is asked", asked).await, "a:8");
    assert_eq!(session.who().await, "v2");
}

#[tokio::test]
async fn an_event_id_of_a_binding_that_another_replica_has_made_is_shown_to_no_server() {
    let (v1, _v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let resume = async |last: &str| {
        let client = session.client.with("mcp-session-id", &session.id).with("last-event-id", last);
        client.request("GET").header("accept", "text/event-stream").send().await.unwrap()
    };
    assert_eq!(resume("77.pMA~42").await.status(), 405, "its call is where nobody can find it");
    assert_eq!(asked_for_a_stream(&v1), 0);
    assert_eq!(resume("77.g~42").await.status(), 200);
    let shown = || v1.seen().into_iter().rev().find(|seen| seen.method == "GET").unwrap().headers.get("last-event-id").cloned();
    assert_eq!(shown(), None, "a fresh stream");
    let _own = resume("42").await;
    assert_eq!(shown().unwrap(), "42", "what is the server's own passes");
}

/// A client that has slept: its first stream still seems open.
#[tokio::test]
async fn a_client_that_has_lost_its_stream_unfelt_listens_again_behind_the_last_events_of_the_old_server() {
    for last in ["e3", "e2", "e0"] {
        let (v1, v2, app) = app().await;
        let session = Client::new(&app).open().await;
        let resume = async |last: &str| {
            let client = session.client.with("mcp-session-id", &session.id).with("last-event-id", last);
            client.request("GET").header("accept", "text/event-stream").send().await.unwrap()
        };
        let mut first = session.listen().await;
        v1.say(b"id: e0\ndata: {\"said\":\"zero\"}\n\n");
        read_until(&mut first, "zero").await;
        drop(first);
        eventually("the first is felt to have ended", async || (v1.streams() == 0).then_some(())).await;
        let mut seeming = resume("e0").await;
        assert_eq!(seeming.status(), 200);
        is_asked_for_a_stream(&v1, 2).await;
        v1.say(b"id: e1\ndata: {\"said\":\"one\"}\n\nid: e2\ndata: {\"said\":\"two\"}\n\n");
        v1.say(b"id: e3\ndata: {\"said\":\"three\"}\n\n");
        read_until(&mut seeming, "three").await;
        v2.gives_one_stream(true);
        kill(&v1).await;
        assert_eq!(session.who().await, "v2");
        is_asked_for_a_stream(&v2, 1).await;
        let mut again = resume(last).await;
        assert_eq!(again.status(), 200, "{last}: it has heard that where it listened, and what followed was lost");
        has_ended(&mut seeming).await;
        // And again unfelt, before anything was said there.
        let mut third = resume(last).await;
        assert_eq!(third.status(), 200, "{last}");
        has_ended(&mut again).await;
        eventually("one stream of a session at a server", async || (v2.streams() == 1).then_some(())).await;
        v2.say(b"id: f1\ndata: {\"for\":\"who is back\"}\n\n");
        let read = read_until(&mut third, "who is back").await;
        // Behind an event of the server where it is now, its server decides.
        let next = read.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
        v2.gives_one_stream(false);
        let mut fourth = resume(next).await;
        assert_eq!(fourth.status(), 200);
        v2.say(b"data: {\"for\":\"who is back again\"}\n\n");
        read_until(&mut fourth, "back again").await;
        let mut shown: Vec<_> = v2.seen().into_iter().filter_map(|seen| seen.headers.get("last-event-id").cloned()).collect();
        // Again, where it has not let go of the stream before.
        shown.dedup();
        assert_eq!(shown, ["f1"], "another server's ids mean nothing to it");
        assert_eq!(resume("f7").await.status(), 405, "and this was another stream's, which is over");
    }
}

/// Of what its stream has brought from a server that was left, the last few ids are known, and this one is not of them.
#[tokio::test]
async fn a_client_that_has_slept_over_two_moves_and_many_events_listens_again() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let mut seeming = session.listen().await;
    kill(&v1).await;
    assert_eq!(session.who().await, "v2");
    is_asked_for_a_stream(&v2, 1).await;
    v2.say(
        b"id: first\ndata: {\"said\":\"first\"}\n\nid: a\ndata: {}\n\nid: b\ndata: {}\n\nid: c\ndata: {}\n\nid: d\ndata: {}\n\n",
    );
    v2.say(b"id: e\ndata: {}\n\nid: f\ndata: {\"said\":\"last\"}\n\n");
    let read = read_until(&mut seeming, "last").await;
    let first = read.lines().find_map(|line| line.strip_prefix("id: ").filter(|id| id.ends_with("first"))).unwrap().to_owned();
    let v1 = v1.restart().await;
    v1.gives_one_stream(true);
    kill(&v2).await;
    eventually("it has moved back", async || (session.who().await == "v1").then_some(())).await;
    is_asked_for_a_stream(&v1, 1).await;
    let client = session.client.with("mcp-session-id", &session.id).with("last-event-id", &first);
    let mut again = client.request("GET").header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(again.status(), 200);
    has_ended(&mut seeming).await;
    v1.say(b"data: {\"for\":\"who is back\"}\n\n");
    read_until(&mut again, "who is back").await;
}
