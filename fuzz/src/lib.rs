//! What must hold for any bytes whatever. Each function takes an input and panics where it does not hold.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use dualgate::config;
use dualgate::domain::Entry;
use dualgate::http1::{Answer, Beginning, Coming, Framing, Head, Plain, Targets, plain};
use dualgate::mcp::event_id::{self, EventTag};
use dualgate::mcp::request_id::{self, Reply};
use dualgate::mcp::scan::{Body, Clamp, End, Events, Listing, Message, Page, ResultType, Ttl, hash_of, id_hash};
use dualgate::mcp::{Envelope, Essentials, Kind, Retag, SealKeys, Secret, SessionPin, StandsFor};
use dualgate::telemetry::trace::Trace;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

/// A body has the verdict of a full parser, in every cut.
pub fn json(bytes: &[u8]) {
    let (messages, end) = in_every_cut(bytes, |pieces| {
        let (mut body, mut messages) = (Body::default(), Vec::new());
        pieces.iter().for_each(|piece| body.feed(piece, &mut |message| messages.push(message)));
        let end = body.end();
        (messages, end)
    });
    match Parsed::of(bytes) {
        Parsed::Garbled => assert_ne!(end, End::Whole, "{}", shown(bytes)),
        Parsed::TooLarge => assert_eq!(end, End::Whole, "{}", shown(bytes)),
        Parsed::Twice => assert_eq!(end, End::Whole, "{}", shown(bytes)),
        Parsed::Json(value) => {
            assert_eq!(end, End::Whole, "{}", shown(bytes));
            assert_same(messages, &messages_of(&value), bytes);
        }
    }
}

/// Whatever comes goes on as it was but for one number, in every cut; and what a page lists, it lists in every cut.
pub fn lists(bytes: &[u8]) {
    const MOST: u64 = 5_000;
    let clamped = |pieces: &[&[u8]], mut clamp: Clamp| {
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| clamp.pass(piece)).collect();
        out.extend(clamp.end());
        assert_eq!(out.len(), bytes.len(), "{}", shown(bytes));
        out
    };
    let most = Duration::from_millis(MOST);
    in_every_cut(bytes, |pieces| clamped(pieces, Clamp::of_events(most)));
    let out = in_every_cut(bytes, |pieces| clamped(pieces, Clamp::of_json(most)));
    let Parsed::Json(value @ Value::Object(_)) = Parsed::of(bytes) else { return };
    let (mut before, Ok(mut after)) = (value, serde_json::from_slice::<Value>(&out)) else { panic!("{}", shown(bytes)) };
    let ttl = |value: &mut Value| value.get_mut("result")?.get_mut("ttlMs").map(Value::take);
    match (ttl(&mut before), ttl(&mut after)) {
        (Some(old), Some(new)) if old.as_f64().is_some_and(|old| old > MOST as f64) => {
            assert!(new == MOST || new == 0, "{} {}", shown(bytes), shown(&out));
        }
        (old, new) => assert_eq!(old, new, "{}", shown(bytes)),
    }
    assert_eq!(before, after, "{}", shown(bytes));
    let page = in_every_cut(bytes, |pieces| {
        let mut listing = Listing::of_json();
        pieces.iter().map(|piece| listing.feed(piece)).fold(None, Option::or)
    });
    let message = message_of(&before);
    let names = before["result"]["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str()).map(hash_of);
    let expected = Page { names: names.collect(), has_more: false, next: message.cursor };
    assert_eq!(page, (message.is_answer() && !message.has_error).then_some(expected), "{}", shown(bytes));
}

/// A stream's messages are those in the data of its `message` events, in every cut.
pub fn events(bytes: &[u8]) {
    let (messages, (end, garbled)) = in_every_cut(bytes, |pieces| {
        let (mut events, mut messages) = (Events::default(), Vec::new());
        pieces.iter().for_each(|piece| events.feed(piece, &mut |message| messages.push(message)));
        (messages, (events.end(), events.garbled()))
    });
    let stream = Stream::read(bytes);
    assert_eq!(end, stream.end, "{}", shown(bytes));
    let parsed: Vec<Parsed> = stream.data.iter().map(|data| Parsed::of(data)).collect();
    let bad = parsed.iter().filter(|one| matches!(one, Parsed::Garbled)).count();
    assert_eq!(garbled as usize, bad, "{}", shown(bytes));
    let mut expected = Vec::new();
    for one in &parsed {
        match one {
            Parsed::Json(value) => expected.extend(messages_of(value)),
            Parsed::Garbled => {}
            // What their messages are is nowhere written.
            Parsed::TooLarge | Parsed::Twice => return,
        }
    }
    // Of a longer batch, messages are told before its event is whole.
    if parsed.len() == 1 || expected.len() < 128 {
        assert_same(messages, &expected, bytes);
    }
}

/// A request is read as a full parser reads it.
pub fn envelope(bytes: &[u8]) {
    let read = Envelope::read(bytes);
    let value = match Parsed::of(bytes) {
        // Nothing else in it is looked at as closely.
        Parsed::Garbled | Parsed::TooLarge | Parsed::Twice => return,
        Parsed::Json(value) => value,
    };
    let expected = match &value {
        Value::Object(_) => expected_envelope(&value).map(|one| (one.0, one.1, one.2.into_iter().collect())),
        Value::Array(all) if !all.is_empty() => {
            let parts: Option<Vec<_>> = all.iter().map(expected_envelope).collect();
            parts.map(|parts| (Kind::Batch, None, parts.into_iter().filter_map(|part| part.2).collect::<Vec<_>>()))
        }
        _ => None,
    };
    let read = read.map(|envelope| {
        let wanted = envelope.wanted.iter().map(|wanted| {
            let id: Value = serde_json::from_str(wanted.id).expect("an id is a part of the body");
            (id, wanted.tool.as_deref().map(str::to_owned))
        });
        (envelope.kind, envelope.method.as_deref().map(str::to_owned), wanted.collect::<Vec<_>>())
    });
    assert_eq!(read, expected, "{}", shown(bytes));
}

/// Nothing opens but what was sealed, as it was sealed. The first bytes say what is done to a token;
/// the whole input is tried as one, too.
pub fn seal(bytes: &[u8]) {
    let keys = SealKeys::new(&[Secret::new([7; 32])], [9; 12]);
    // Not for the service that is sealed for below: a fuzzer finds those tokens in memory.
    assert_eq!(keys.open("fuzz", bytes), None);
    let (say, rest) = bytes.split_at(bytes.len().min(4));
    let endpoint = String::from_utf8_lossy(&rest[..rest.len().min(60)]).into_owned().into();
    let upstream = Some(String::from_utf8_lossy(rest).into_owned().into());
    let is_uri = say.first().is_some_and(|how| how & 4 != 0);
    let stands_for = if is_uri { StandsFor::EndpointUri } else { StandsFor::SessionId };
    let pin = SessionPin { stands_for, entry: Entry::Secondary, endpoint, revision: rest.len() as u64, upstream };
    let open = |service: &str, token: &[u8]| if is_uri { keys.open_uri(service, token) } else { keys.open(service, token) };
    let open_other = |token: &[u8]| if is_uri { keys.open("notes", token) } else { keys.open_uri("notes", token) };
    let whole = say.first().is_some_and(|how| how & 8 != 0).then(|| named(&String::from_utf8_lossy(rest)));
    let Ok((token, is_in)) = keys.seal_whole("notes", &pin, whole.as_ref()) else { return };
    assert_eq!(keys.seal("notes", &pin).expect("it fits with less").len() < token.len(), is_in);
    assert_eq!(open("notes", token.as_bytes()), Some(pin));
    assert_eq!(keys.essentials("notes", token.as_bytes()), whole.filter(|_| is_in));
    assert_eq!(keys.essentials("tasks", token.as_bytes()), None, "of another service");
    assert_eq!(open_other(token.as_bytes()), None, "of another kind");
    assert_eq!(open("tasks", token.as_bytes()), None, "of another service");
    let &[how, at, at_too, with] = say else { return };
    let mut altered = token.clone().into_bytes();
    let at = usize::from(u16::from_be_bytes([at, at_too])) % altered.len();
    match how % 4 {
        0 => altered[at] = with,
        1 => altered.truncate(at),
        2 => altered.insert(at, with),
        _ => {
            let other = usize::from(with) % altered.len();
            altered.swap(at, other);
        }
    }
    if altered != token.as_bytes() {
        assert_eq!(open("notes", &altered), None, "{}", shown(&altered));
        assert_eq!(keys.essentials("notes", &altered), None, "{}", shown(&altered));
    }
}

/// The essentials of a client of this name.
fn named(name: &str) -> Essentials {
    let params = json!({"protocolVersion": "2025-11-25", "clientInfo": {"name": name.chars().take(600).collect::<String>()}});
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
    Essentials::agreed(request.as_bytes(), agreement(&json!(1)).as_bytes()).expect("it is one")
}

fn agreement(id: &Value) -> String {
    let result = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {"listChanged": true}, "x": {}}});
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}

/// A handshake is read as a full parser reads it, and what is replayed says what the client had said; what is decoded is
/// encoded so.
pub fn essentials(bytes: &[u8]) {
    if let Some(read) = Essentials::decode(bytes) {
        assert_eq!(read.encode(), bytes, "{}", shown(bytes));
    }
    let Parsed::Json(value) = Parsed::of(bytes) else {
        let _ = (Essentials::agreed(bytes, agreement(&json!(1)).as_bytes()), named("a").allows(bytes));
        return;
    };
    let (is_rpc, result) = (value["jsonrpc"] == "2.0", &value["result"]);
    let has = |name: &str| !matches!(result["capabilities"][name], Value::Null | Value::Bool(false));
    let suits = is_rpc && value["error"].is_null() && result["protocolVersion"] == "2025-06-18" && has("tools") && has("x");
    assert_eq!(named("a").allows(bytes).is_ok(), suits, "{}", shown(bytes));
    let id = &value["id"];
    // Other numbers are spelled anew by the full parser.
    if !(id.is_i64() || id.is_string()) {
        return;
    }
    let is_whole = value["params"].get("protocolVersion").is_some() && value["params"].is_object();
    let agreed = Essentials::agreed(bytes, agreement(id).as_bytes());
    assert_eq!(agreed.is_some(), is_rpc && value["method"] == "initialize" && is_whole, "{}", shown(bytes));
    let Some(agreed) = agreed else { return };
    let mut params = value["params"].clone();
    params["protocolVersion"] = json!("2025-06-18");
    let expected = json!({"jsonrpc": "2.0", "id": "again", "method": "initialize", "params": params});
    let replayed: Value = serde_json::from_slice(&agreed.initialize("\"again\"")).expect("it is JSON");
    assert_eq!((replayed, agreed.version()), (expected, "2025-06-18"), "{}", shown(bytes));
    assert_eq!(Essentials::decode(&agreed.encode()), Some(agreed));
}

/// A tagged id is read as it is written and as nothing else, and an answer goes to who asked.
pub fn ids(bytes: &[u8]) {
    if let Some((tag, original)) = EventTag::read(bytes) {
        assert_eq!(tag.write(original), bytes, "{}", shown(bytes));
    }
    let epoch = bytes.len() as u32 + 1;
    if let Ok(text) = str::from_utf8(bytes) {
        if let Some((epoch, raw)) = request_id::untag(text) {
            assert!(text.contains('\\') || request_id::tagged(epoch, &raw) == text, "{}", shown(bytes));
        }
        for raw in [text.to_owned(), json!(text).to_string()] {
            let stream = event_id::Stream::of_request(&raw);
            let tag = EventTag { epoch, stream };
            assert_eq!(EventTag::read(&tag.write(b"1~2")), Some((tag, &b"1~2"[..])), "{}", shown(bytes));
        }
        let raw = json!(text).to_string();
        assert_eq!(request_id::untag(&request_id::tagged(epoch, &raw)), Some((epoch, raw)), "{}", shown(bytes));
    }
    let replies = request_id::replies(bytes);
    let Parsed::Json(value) = Parsed::of(bytes) else { return };
    let messages = if let Value::Array(all) = &value { all.clone() } else { vec![value.clone()] };
    let expected: Vec<(Option<u32>, Value)> = messages.into_iter().map(expected_reply).collect();
    let Some(replies) = replies else {
        assert!(expected.iter().all(|(epoch, _)| epoch.is_none_or(|epoch| epoch == 0)), "{}", shown(bytes));
        return;
    };
    let mut left = expected;
    for Reply { epoch, body } in replies {
        let Ok(read) = serde_json::from_slice::<Value>(&body) else {
            // An id like 1e999 is a number that no float can hold.
            assert!(serde_json::from_slice::<de::IgnoredAny>(&body).is_ok(), "{}", shown(bytes));
            return;
        };
        let messages = if let Value::Array(all) = read { all } else { vec![read] };
        let (mine, others) = left.into_iter().partition(|(of, _)| *of == epoch);
        left = others;
        let mine: Vec<(Option<u32>, Value)> = mine;
        assert_eq!(messages, mine.into_iter().map(|(_, message)| message).collect::<Vec<_>>(), "{}", shown(bytes));
    }
    assert!(left.is_empty(), "{}", shown(bytes));
}

fn expected_reply(mut message: Value) -> (Option<u32>, Value) {
    let member = |name: &str| message.as_object()?.get(name).filter(|member| !member.is_null());
    let is_text = member("jsonrpc").is_none_or(Value::is_string);
    let Some(id) = member("id").filter(|_| is_text && member("method").is_none()).cloned() else { return (None, message) };
    let untagged = id.as_str().and_then(|id| {
        let (tag, rest) = id.strip_prefix('r')?.split_once('.')?;
        let (digits, kind) = tag.split_at_checked(tag.len().checked_sub(1)?)?;
        let epoch: u32 = digits.parse().ok().filter(|epoch: &u32| *epoch > 0 && epoch.to_string() == digits)?;
        match kind {
            "s" => Some((epoch, json!(rest))),
            "n" if !rest.ends_with([' ', '\t', '\r', '\n']) && rest.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                Some((epoch, serde_json::from_str(rest).ok()?))
            }
            _ => None,
        }
    });
    match untagged {
        Some((epoch, id)) => {
            message["id"] = id;
            (Some(epoch), message)
        }
        None => (Some(0), message),
    }
}

/// A stream is the same in every cut but for the ids, and those say what they should.
pub fn retag(bytes: &[u8]) {
    let (out, ..) = in_every_cut(bytes, |pieces| {
        let (mut retag, mut out, mut tokens) = (Retag::new(1, event_id::Stream::Get), Vec::new(), Vec::new());
        for piece in pieces {
            retag.feed(piece, &mut out);
            tokens.extend(retag.take_tokens());
        }
        out.extend(retag.end());
        (out, tokens, retag.passed_over())
    });
    assert_eq!(untagged(&out), untagged(bytes), "{}", shown(bytes));
    let (given, sent) = (Stream::read(bytes), Stream::read(&out));
    assert_eq!((given.data.len(), given.end), (sent.data.len(), sent.end), "{}", shown(bytes));
    let ids: Vec<Vec<u8>> =
        given.ids.iter().map(|id| if id.is_empty() { Vec::new() } else { [b"1.g~", &id[..]].concat() }).collect();
    assert_eq!(ids, sent.ids, "{}", shown(bytes));
    for (given, sent) in given.data.iter().zip(&sent.data) {
        match Parsed::of(given) {
            // What is not looked at so closely may have bad surrogates in it.
            Parsed::Garbled if serde_json::from_slice::<de::IgnoredAny>(given).is_err() => {
                assert_eq!(given, sent, "{}", shown(bytes))
            }
            Parsed::Garbled | Parsed::TooLarge | Parsed::Twice => {}
            Parsed::Json(mut value) => {
                match &mut value {
                    Value::Array(all) => all.iter_mut().for_each(expected_tags),
                    one => expected_tags(one),
                }
                let mut sent: Value = serde_json::from_slice(sent).expect("it is JSON still");
                forget_fractions(&mut sent);
                forget_fractions(&mut value);
                assert_eq!(sent, value, "{}", shown(bytes));
            }
        }
    }
}

fn expected_tags(message: &mut Value) {
    let Some(members) = message.as_object_mut() else { return };
    let method = members.get("method").and_then(Value::as_str).map(str::to_owned);
    let is_text = members.get("jsonrpc").is_none_or(|version| version.is_string() || version.is_null());
    let Some(method) = method.filter(|_| is_text) else { return };
    let id = match members.get_mut("id").filter(|id| !id.is_null()) {
        Some(id) => Some(id),
        None if method == "notifications/cancelled" => {
            members.get_mut("params").and_then(Value::as_object_mut).and_then(|params| params.get_mut("requestId"))
        }
        None => None,
    };
    if let Some(id) = id.filter(|id| id.is_string() || id.is_number()) {
        *id = match id.as_str() {
            Some(text) => json!(format!("r1s.{text}")),
            None => json!(format!("r1n.{id}")),
        };
    }
}

/// The full parser spells fractions anew, which matters where they are ids.
fn forget_fractions(value: &mut Value) {
    match value {
        Value::String(text) if text.strip_prefix("r1n.").is_some_and(|number| number.parse::<i64>().is_err()) => {
            *text = "r1n".to_owned()
        }
        Value::Array(all) => all.iter_mut().for_each(forget_fractions),
        Value::Object(members) => members.values_mut().for_each(forget_fractions),
        _ => {}
    }
}

/// The same bytes without tags.
fn untagged(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((byte, behind)) = rest.split_first() {
        let ends = (1..rest.len()).filter(|at| rest.starts_with(b"\"r1") && rest[*at] == b'"');
        let id = |at: usize| Some((at, request_id::untag(str::from_utf8(&rest[..=at]).ok()?)?.1));
        if let Some((end, id)) = ends.filter_map(id).next() {
            out.extend_from_slice(id.as_bytes());
            rest = &rest[end + 1..];
        } else if let Some(behind) = rest.strip_prefix(b"1.g~") {
            rest = behind;
        } else {
            out.push(*byte);
            rest = behind;
        }
    }
    out
}

/// A configuration is read or refused with words, and so is a manifest, of which a sound plan comes.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(errors) = config::load("fuzz.toml", &text, None) {
        assert!(!errors.is_empty() && errors.iter().all(|error| error.to_string().starts_with("fuzz.toml")), "{text}");
    }
    match config::plan_from_argo(&text) {
        Ok((plan, _)) => assert_eq!(plan.check(), [], "{text}"),
        Err(error) => assert!(!error.is_empty(), "{text}"),
    }
}

/// What is taken for a trace is one.
pub fn trace(bytes: &[u8]) {
    let Ok(value) = http::HeaderValue::from_bytes(bytes) else { return };
    let headers = http::HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), value)]);
    let Some(trace) = Trace::of(&dualgate::http1::Fields::from(&headers)) else { return };
    let hex = |id: &str, length| id.len() == length && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    assert!(hex(trace.trace_id(), 32) && hex(trace.span_id(), 16), "{}", shown(bytes));
}

/// An answer is read the same in every cut, nothing behind its end is taken, and its head, written again, is read as the
/// same.
pub fn answer(bytes: &[u8]) {
    for asked in [http::Method::GET, http::Method::HEAD] {
        let Some((head, _)) = in_every_cut(bytes, |pieces| answered(pieces, &asked)) else { continue };
        let (answer, _) = Beginning::default().look(bytes, &asked).expect("it is one").expect("it is whole");
        let mut written = Vec::new();
        answer.head.write(&mut written);
        written.extend_from_slice(b"\r\nbehind");
        let (again, behind) = Beginning::default().look(&written, &asked).expect("it is one").expect("it is whole");
        assert_eq!((again.head.status().as_u16(), lines_of(&again.head)), head, "{}", shown(bytes));
        assert_eq!(behind, b"behind", "{}", shown(bytes));
    }
}

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

fn lines_of(head: &Head) -> Lines {
    head.fields().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// What is read of a body.
#[derive(Debug, Default, PartialEq)]
struct Read {
    payload: Vec<u8>,
    taken: usize,
    is_over: bool,
    is_wrong: bool,
}

/// Status and fields, and the body. What is no answer may be found out later, or never.
fn answered(pieces: &[&[u8]], asked: &http::Method) -> Option<((u16, Lines), Read)> {
    let (mut beginning, mut pieces) = (Beginning::default(), pieces.iter());
    let (Answer { head, mut framing, .. }, early) = loop {
        match beginning.look(pieces.next()?, asked) {
            Ok(Some(found)) => break found,
            Ok(None) => {}
            Err(_) => return None,
        }
    };
    let mut read = Read::default();
    for piece in std::iter::once(&early[..]).chain(pieces.copied()) {
        step(&mut framing, piece, &mut read);
    }
    read.is_over = framing.is_done();
    Some(((head.status().as_u16(), lines_of(&head)), read))
}

fn step(framing: &mut Framing, bytes: &[u8], read: &mut Read) {
    let mut at = 0;
    while at < bytes.len() && !read.is_wrong {
        let was_over = framing.is_done();
        let Ok(piece) = framing.step(&bytes[at..]) else {
            // How many bytes before the wrong one are counted is a matter of the cut.
            (read.is_wrong, read.taken) = (true, 0);
            return;
        };
        assert!(piece.taken <= bytes.len() - at && piece.payload.end <= piece.taken, "no more than there is");
        assert_eq!(was_over, piece.taken == 0, "nothing behind the end, and something before it");
        if was_over {
            return;
        }
        read.payload.extend_from_slice(&bytes[at..][piece.payload]);
        (at, read.taken) = (at + piece.taken, read.taken + piece.taken);
    }
}

/// A request that is taken is taken with all of it there and not before, and whatever is behind it.
pub fn request(bytes: &[u8]) {
    let came = Bytes::copy_from_slice(bytes);
    // One that reads its first target, and one that has read it before.
    let targets = Targets::default();
    let plain = |came: &[u8]| plain(came, 32 << 10, &targets);
    let Coming::Whole(Plain { head, body }) = plain(&came) else { return };
    let length = body.end;
    assert!(length <= came.len() && body.start <= length, "{}", shown(bytes));
    for cut in length.saturating_sub(64)..length {
        assert!(!matches!(plain(&came[..cut]), Coming::Whole(_)), "cut at {cut}: {}", shown(bytes));
    }
    let Coming::Whole(alone) = plain(&came[..length]) else { panic!("it is whole: {}", shown(bytes)) };
    assert!(alone.body == body && alone.head.uri == head.uri, "{}", shown(bytes));
    assert!(alone.head.headers.iter().eq(head.headers.iter()), "{}", shown(bytes));
}

/// Answers and requests of HTTP/1.1, whole.
pub const MESSAGES: &[&str] = &[
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nMcp-Session-Id: 5f\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1f;a=b\r\nevent: message\ndata: {\"id\":1}\n\n\r\n0 \r\nx-sum: 1\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 204\r\nconnection: close\r\n\r\n",
    "HTTP/1.0 200 Fine\r\nServer: x\r\n\r\nto the end",
    "HTTP/1.1 304 Not Modified\nContent-Length: 5, 5\netag: \"1\"\n\nHTTP/1.1 200 OK\r\n\r\n",
    "POST /mcp?a=b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "GET /mcp HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\naccept:\t text/event-stream \r\n\r\n",
];

/// Answers and requests as servers and clients write them, to begin with.
pub const SEEDS: &[&str] = &[
    r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"na\u00efve \ud83d\ude00 \"q\"\n"}],"isError":false}}"#,
    r#"{"jsonrpc":"2.0","id":"a-1","result":{"content":[{"type":"text","text":"no such note"}],"isError":true}}"#,
    r#"{"jsonrpc":"2.0","id":9007199254740993,"error":{"code":-32603,"message":"internal","data":{"isError":true}}}"#,
    r#"{"error":{"message":"Bad Request: no valid session ID provided","code":-32000},"jsonrpc":"2.0","id":null}"#,
    r#"{"jsonrpc":"2.0","id":2,"result":{"resultType":"input_required","requestState":"eyJhIjoxfQ","inputRequests":{"k":{"method":"elicitation/create"}}}}"#,
    r#"{"jsonrpc":"2.0","id":3,"result":{"resultType":"task","task":{"taskId":"t-1","status":"working","ttl":60000,"pollInterval":500}}}"#,
    r#"{"jsonrpc":"2.0","id":4,"result":{"tools":[{"name":"echo","inputSchema":{"type":"object","properties":{}}}],"nextCursor":"p2","ttlMs":300000}}"#,
    r#"[{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"x"}},{"jsonrpc":"2.0","method":"n"}]"#,
    r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"search","arguments":{"name":"x","q":[1,-2.5e3,null,true]},"_meta":{"progressToken":1}}}"#,
    r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}},{"jsonrpc":"2.0","method":"notifications/initialized"}]"#,
    r#"{"jsonrpc":"2.0","id":6,"method":"tools/call","params":["positional"]}"#,
    r#"[["2.0","initialize",1,{}]]"#,
    "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":1}}\n\nid: 7\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\ndata: \"result\":{\"isError\":true}}\n\n",
    ": ping\r\n\r\nid: 1\r\ndata:\r\nretry: 10\r\n\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601}}\r\n\r\nevent: endpoint\r\ndata: /messages?id=1\r\n\r\n",
    "data: [{\"id\":1,\"result\":{}},\rdata: {\"id\":2,\"result\":{}}]\r\revent:message\rdata:null\r\r",
    "\u{feff}data: {\"id\":1,\"result\":{}}\n\n\u{feff}data: {\"id\":2,\"result\":{}}\n\n",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    include_str!("../../config/example.toml"),
    "kind: Rollout\nmetadata: {name: a}\nspec:\n  strategy:\n    canary:\n      steps:\n      - setWeight: 20\n      - pause: {duration: 1h30m}\n      - analysis: {}\n      - setWeight: 40\n      - pause: {}\n",
];

/// Handshakes, and answers to the requests of a server.
pub const HANDSHAKES: &[&str] = &[
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"caf\u00e9","version":"1"}}}"#,
    r#"{"method":"initialize", "params":{"clientInfo":{"name":"a"} ,"protocolVersion" : "2025\u002d03-26"},"jsonrpc":"2.0","id":"a-1"}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"x":{"y":true}},"serverInfo":{"name":"s"}}}"#,
    r#"{"result":{"capabilities":{"resources":{"subscribe":true},"tasks":{"requests":{"tools":{"call":{}}}},"x":1,"tools":{}},"protocolVersion":"2025-06-18"},"id":1,"jsonrpc":"2.0"}"#,
    "\0\u{1b}\0\u{1}\u{1}\u{1}x{\"protocolVersion\":\"a\"}",
];

/// Ids, and what has them in it.
pub const IDS: &[&str] = &[
    r#"{"jsonrpc":"2.0","id":"r1n.0","result":{"id":"r1n.0"}}"#,
    r#"[{"jsonrpc":"2.0","id":"r1s.a\u00fc","error":{"code":-1}}, {"id":"r2n.-1.5e3","result":{}},{"id":1,"method":"ping"},{"id":7,"result":{}}]"#,
    r#""r12s.a\"b""#,
    r#""r1n.12""#,
    "1.g~42",
    "2.pImEi~6f1e_0",
    "3.h0123456789abcdef~x",
];

/// Streams with requests of a server in them.
pub const ASKING: &[&str] = &[
    "id: 1\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"sampling/createMessage\",\"params\":{\"_meta\":{\"progressToken\":1}}}\n\nid:\ndata:{\"id\":\"a\\u00fc\",\"method\":\"ping\"}\n\n",
    ": c\r\nretry: 1\r\n\r\ndata: {\"method\":\"notifications/cancelled\",\r\ndata: \"params\":{\"requestId\":\r\ndata:3}}\r\nid:  x\r\n\r\n",
    "data: [{\"id\":1,\"method\":\"a\"},{\"id\":2,\"result\":{}},{\"id\":3,\"method\":\"b\"}]\r\revent: x\rdata: {\"id\":1,\"method\":\"m\"}\rid:5\r\r",
    "\u{feff}id: 7\ndata: {\"id\":1.50,\"method\":\"m\"}\n\nid: 8\ndata: {",
];

/// Runs it over cuts of every kind, which must all say the same.
fn in_every_cut<T: PartialEq + fmt::Debug>(bytes: &[u8], run: impl Fn(&[&[u8]]) -> T) -> T {
    let whole = run(&[bytes]);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(run(&single), whole, "byte by byte: {}", shown(bytes));
    // All pairs of a short input; of a long one so many that they meet every part of it in time.
    let stride = bytes.len() / 64 + 1;
    let first = bytes.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte))) % stride;
    for cut in (first..bytes.len()).step_by(stride) {
        let (one, other) = bytes.split_at(cut);
        assert_eq!(run(&[one, other]), whole, "cut at {cut}: {}", shown(bytes));
    }
    whole
}

/// What a full parser says.
enum Parsed {
    Garbled,
    /// JSON with a number that no float can hold.
    TooLarge,
    /// JSON with a member given twice: full parsers differ on which one counts.
    Twice,
    Json(Value),
}

impl Parsed {
    fn of(bytes: &[u8]) -> Self {
        if let Err(error) = serde_json::from_slice::<Value>(bytes) {
            return if error.to_string().starts_with("number out of range") {
                Self::without_numbers(bytes)
            } else {
                Self::Garbled
            };
        }
        match serde_json::from_slice::<Once>(bytes) {
            Ok(_) => serde_json::from_slice(bytes).map_or(Self::Garbled, Self::Json),
            Err(_) => Self::Twice,
        }
    }

    /// The parser has stopped at the number; what is behind it decides, without a look at its numbers.
    fn without_numbers(bytes: &[u8]) -> Self {
        let mut small = bytes.to_vec();
        let mut is_text = false;
        let mut at = 0;
        while at < small.len() {
            match small[at] {
                b'\\' if is_text => at += 1,
                b'"' => is_text = !is_text,
                b'e' | b'E' if !is_text && at > 0 && small[at - 1].is_ascii_digit() => {
                    small[at + 1..].iter_mut().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-')).for_each(
                        |byte| {
                            if byte.is_ascii_digit() {
                                *byte = b'0';
                            }
                        },
                    );
                }
                _ => {}
            }
            at += 1;
        }
        match serde_json::from_slice::<Value>(&small) {
            Ok(_) => Self::TooLarge,
            Err(_) => Self::Garbled,
        }
    }
}

/// JSON in which no object has a member twice.
struct Once;

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Once;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Once, E> {
                Ok(Once)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Once, E> {
                Ok(Once)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Once, E> {
                Ok(Once)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Once, E> {
                Ok(Once)
            }

            fn visit_str<E>(self, _: &str) -> Result<Once, E> {
                Ok(Once)
            }

            fn visit_unit<E>(self) -> Result<Once, E> {
                Ok(Once)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Once, A::Error> {
                while all.next_element::<Once>()?.is_some() {}
                Ok(Once)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Once, A::Error> {
                let mut keys = HashSet::new();
                while let Some((key, _)) = all.next_entry::<String, Once>()? {
                    if !keys.insert(key) {
                        return Err(de::Error::custom("twice"));
                    }
                }
                Ok(Once)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn messages_of(value: &Value) -> Vec<Message> {
    match value {
        Value::Object(_) => vec![message_of(value)],
        Value::Array(all) => all.iter().filter(|one| one.is_object()).map(message_of).collect(),
        _ => Vec::new(),
    }
}

fn message_of(value: &Value) -> Message {
    let result = &value["result"];
    let hash = |word: &Value| word.as_str().map(hash_of);
    Message {
        has_method: value.get("method").is_some(),
        id: value.get("id").filter(|id| id.is_string() || id.is_i64()).and_then(|id| id_hash(&id.to_string())),
        has_result: value.get("result").is_some(),
        has_error: value.get("error").is_some_and(|error| !error.is_null()),
        code: value["error"]["code"].as_i64(),
        is_error: result["isError"] == true,
        result_type: match result["resultType"].as_str() {
            Some("input_required") => ResultType::InputRequired,
            Some("task") => ResultType::Task,
            _ => ResultType::Complete,
        },
        request_state: hash(&result["requestState"]),
        task: hash(&result["taskId"]).or(hash(&result["task"]["taskId"])),
        cursor: hash(&result["nextCursor"]),
        ttl: only(result, &["ttlMs", "ttl"]).map_or(UNCLEAR, |value| match value {
            Some(Value::Null) => Some(Ttl::Unlimited),
            value => value.and_then(Value::as_u64).map(Ttl::Millis),
        }),
        poll: only(result, &["pollIntervalMs", "pollInterval"]).map_or(Some(u64::MAX), |value| value.and_then(Value::as_u64)),
    }
}

/// Where several members say the same, the last one counts: a parser does not tell which that is.
const UNCLEAR: Option<Ttl> = Some(Ttl::Millis(u64::MAX));

/// The one of these members of a result or its task that there is, if any; an error where there are several.
fn only<'a>(result: &'a Value, names: &[&str]) -> Result<Option<&'a Value>, ()> {
    let each = names.iter().flat_map(|name| [result.get(name), result["task"].get(name)]);
    let found: Vec<&Value> = each.flatten().collect();
    if found.len() > 1 { Err(()) } else { Ok(found.first().copied()) }
}

/// The parser spells numbers anew, so that those which are no whole numbers cannot be compared as ids.
fn assert_same(mut messages: Vec<Message>, expected: &[Message], bytes: &[u8]) {
    for (message, expected) in messages.iter_mut().zip(expected) {
        if expected.id.is_none() {
            message.id = None;
        }
        if expected.ttl == UNCLEAR {
            message.ttl = UNCLEAR;
        }
        if expected.poll == Some(u64::MAX) {
            message.poll = expected.poll;
        }
    }
    assert_eq!(messages, expected, "{}", shown(bytes));
}

type One = (Kind, Option<String>, Option<(Value, Option<String>)>);

fn expected_envelope(value: &Value) -> Option<One> {
    let member = |name: &str| value.as_object()?.get(name).filter(|member| !member.is_null());
    if member("jsonrpc")? != "2.0" {
        return None;
    }
    let method = match member("method") {
        Some(method) => Some(method.as_str()?.to_owned()),
        None => None,
    };
    let kind = match (&method, member("id")) {
        (Some(_), Some(_)) => Kind::Request,
        (Some(_), None) => Kind::Notification,
        (None, _) => Kind::Response,
    };
    let tool = || member("params")?.as_object()?.get("name")?.as_str().map(str::to_owned);
    let tool = if method.as_deref() == Some("tools/call") { tool() } else { None };
    let wanted = member("id").filter(|_| kind == Kind::Request).map(|id| (id.clone(), tool));
    Some((kind, method, wanted))
}

/// An event stream, read line by line (HTML living standard, 9.2.6).
struct Stream {
    data: Vec<Vec<u8>>,
    /// Of the events that are whole.
    ids: Vec<Vec<u8>>,
    end: End,
}

impl Stream {
    fn read(bytes: &[u8]) -> Self {
        let (mut all, mut data, mut kind): (Vec<Vec<u8>>, Option<Vec<u8>>, Vec<u8>) = Default::default();
        let (mut ids, mut new_ids) = (Vec::new(), Vec::new());
        let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            let line = &rest[..end];
            let is_pair = rest[end..].starts_with(b"\r\n");
            rest = &rest[end + 1 + usize::from(is_pair)..];
            if line.is_empty() {
                let found = data.take().filter(|data| !data.iter().all(|byte| b" \t\r\n".contains(byte)));
                all.extend(found.filter(|_| kind.is_empty() || kind == b"message"));
                kind.clear();
                ids.append(&mut new_ids);
                continue;
            }
            let (name, value) = match line.iter().position(|byte| *byte == b':') {
                Some(colon) => (&line[..colon], &line[colon + 1..]),
                None => (line, &b""[..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match name {
                b"data" => {
                    if let Some(data) = &mut data {
                        data.push(b'\n');
                    }
                    data.get_or_insert_default().extend_from_slice(value);
                }
                b"event" => kind = value.to_vec(),
                b"id" => new_ids.push(value.to_vec()),
                _ => {}
            }
        }
        Self { data: all, ids, end: if rest.is_empty() && data.is_none() { End::Whole } else { End::Cut } }
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}
