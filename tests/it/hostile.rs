//! Every answer of the codec's corpus, through the whole proxy: whatever an endpoint says, its client is in step or cut off.

#[path = "../http1/corpus.rs"]
#[allow(clippy::duplicate_mod)]
mod corpus;

use dualgate::http1::{Beginning, Framing};
use http::Method;

use crate::support::raw::{Server, Step, Talk, ok, post};
use corpus::{ATTACKS, REAL};

/// What comes of an answer, by the codec alone: its body, and whether that ends before the connection does.
fn read(bytes: &[u8]) -> Option<(u16, Vec<u8>, bool)> {
    let (answer, early) = Beginning::default().look(bytes, &Method::GET).ok()??;
    let (mut framing, mut body, mut at) = (answer.framing, Vec::new(), 0);
    while at < early.len() && !framing.is_done() {
        let piece = framing.step(&early[at..]).ok()?;
        body.extend_from_slice(&early[at..][piece.payload]);
        at += piece.taken;
    }
    let is_whole = framing.is_done() || framing == Framing::ToClose;
    is_whole.then_some((answer.head.status().as_u16(), body, framing.is_done()))
}

#[tokio::test]
async fn whatever_an_endpoint_says_its_client_is_in_step_or_cut_off() {
    let all: Vec<&[u8]> = REAL.iter().chain(ATTACKS).copied().collect();
    let said = all.clone();
    let server = Server::start(move |ask| {
        let Some((_, rest)) = ask.head.split(' ').nth(1).unwrap().split_once("/say-") else {
            return vec![Step::Say(ok(&ask.body))];
        };
        let (at, how) = rest.split_once('-').unwrap();
        let say = Step::Say(said[at.parse::<usize>().unwrap()].to_vec());
        if how == "on" { vec![say] } else { vec![say, Step::Close] }
    })
    .await;
    let app = server.behind("").await;
    let mut bystander = Talk::to(&app).await;
    for (at, answer) in all.iter().enumerate() {
        let shown = answer.escape_ascii().to_string();
        let expected = read(answer).filter(|(status, ..)| *status != 101);
        for (how, method) in [("on", "GET"), ("end", "GET"), ("on", "PUT"), ("end", "PUT")] {
            // Without its end, what needs it would be waited for.
            if how == "on" && !expected.as_ref().is_some_and(|(.., ends)| *ends) {
                continue;
            }
            let mut talk = Talk::to(&app).await;
            // What is sent whole goes over our codec, uploads over hyper's client: the rules are the same.
            let body = if method == "PUT" { "content-length: 1\r\n\r\nx" } else { "\r\n" };
            talk.say(format!("{method} /say-{at}-{how} HTTP/1.1\r\nhost: x\r\n{body}")).await;
            match (talk.try_answer("GET").await, &expected) {
                (Some((head, body)), Some((status, wanted, _))) => {
                    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {shown}: {head}");
                    assert_eq!(body, *wanted, "{method} {shown}");
                }
                (Some((head, _)), None) => assert!(head.starts_with("HTTP/1.1 502 "), "{method} {shown}: {head}"),
                (None, None) => continue,
                (None, Some(_)) => panic!("{method} {shown} was cut"),
            }
            for talk in [&mut talk, &mut bystander] {
                let words = format!("\"behind {at} {how}\"");
                talk.say(post(&words)).await;
                let (head, body) = talk.answer().await;
                assert_eq!(String::from_utf8_lossy(&body), words, "{method} {shown}: {head}");
                assert!(talk.buffer.is_empty(), "{method} {shown}");
            }
        }
    }
}
