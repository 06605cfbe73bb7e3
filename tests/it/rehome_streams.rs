//! The GET streams of a session that moves.

use crate::support::moves::{LONG, dual_app as app, kill, leaving, messages, methods, read_until};
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
