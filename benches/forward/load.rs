//! The clients: MCP sessions that call as fast as they are answered, and streams that wait.
//! Every answer is checked; the first wrong one ends the process.

use std::cell::Cell;
use std::io::{self, BufRead, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::message::{Channel, ID, Message, OPENING, find, value};
use super::{measure, run_local};

/// Keep-alive connections of the load, each with a session of its own.
pub const CONNECTIONS: u32 = 64;

const CALL: usize = 300;
const WARM_UP: Duration = Duration::from_millis(300);

/// The service that is asked for, where there is one only.
pub const HOST: &str = "mcp.test";

/// The first id; none has a leading zero, which JSON does not know.
const FIRST_ID: u32 = 10_000_000;

/// Streams that are being opened at a time.
const OPENING_AT_ONCE: usize = 64;

/// What a window of calls is made of.
#[derive(Clone)]
pub struct Calls {
    /// Where the proxy listens.
    pub port: u16,
    /// Which service is asked for.
    pub host: String,
    /// How many tools are called, by turns.
    pub tools: u32,
    /// Whether session ids are sealed: then an altered one is to be refused.
    pub sealed: bool,
}

/// What became of the calls of one client, over its whole life.
#[derive(Default)]
struct Sums {
    answers: Cell<u64>,
    errors: Cell<u64>,
    sessions: Cell<u64>,
    refused: Cell<u64>,
    stopping: Cell<bool>,
}

/// Calls for so long, and prints `answers nanoseconds cpu-nanoseconds` of the window, the latter of the process `proxy`, and
/// then, of all that was ever asked, warm-up and end included, `answers errors sessions refused`. No call is
/// given up: each has its answer when the figures are printed.
pub fn call(calls: Calls, proxy: u32, window: Duration) {
    run_local(async move {
        let sums = Rc::new(Sums::default());
        let mut clients = JoinSet::new();
        for client in 1..=CONNECTIONS {
            let (calls, sums) = (calls.clone(), sums.clone());
            clients.spawn_local(async move { or_exit(keep_calling(&calls, client, &sums).await) });
        }
        sleep(WARM_UP).await;
        let (before, cpu_before, begun) = (sums.answers.get(), measure::cpu(proxy), Instant::now());
        sleep(window).await;
        let (elapsed, cpu, after) = (begun.elapsed(), measure::cpu(proxy) - cpu_before, sums.answers.get());
        sums.stopping.set(true);
        while clients.join_next().await.is_some() {}
        let Sums { answers, errors, sessions, refused, .. } = &*sums;
        print!("{} {} {cpu} ", after - before, elapsed.as_nanos());
        println!("{} {} {} {}", answers.get(), errors.get(), sessions.get(), refused.get());
    });
}

/// Opens streams until there are as many as each stage says; prints the stage when it is reached,
/// and goes on after a line of input.
pub fn hold(port: u16, stages: &[u32]) {
    run_local(async {
        let permits = Arc::new(Semaphore::new(OPENING_AT_ONCE));
        let mut opened = 0;
        for stage in stages {
            for client in opened + 1..=*stage {
                let permit = permits.clone().acquire_owned().await;
                tokio::task::spawn_local(async move {
                    let stream = or_exit(open_stream(port, client).await);
                    drop(permit);
                    or_exit(hold_open(stream).await);
                });
            }
            let _all = permits.acquire_many(OPENING_AT_ONCE as u32).await;
            opened = *stage;
            println!("{stage}");
            // Nothing else has to run while the memory is looked at.
            let _ = io::stdin().lock().read_line(&mut String::new());
        }
    });
}

async fn keep_calling(calls: &Calls, client: u32, sums: &Sums) -> io::Result<()> {
    let mut channel = connect(calls.port).await?;
    let session = initialize(&mut channel, &calls.host, client).await?;
    add(&sums.sessions);
    for at in 1.. {
        let id = FIRST_ID + client * 1_000_000 + at % 1_000_000;
        let tool = (client * 7 + at) % calls.tools;
        channel.send(&request("tools/call", id, tool, &calls.host, &format!("mcp-session-id: {session}\r\n"))).await?;
        let answer = next(&mut channel).await?;
        check(&answer, id)?;
        add(&sums.answers);
        if find(&answer.body, b"\"isError\":true").is_some() {
            add(&sums.errors);
        }
        if sums.stopping.get() {
            break;
        }
    }
    if calls.sealed && client == 1 {
        is_refused(&mut channel, &calls.host, &altered(&session)).await?;
        add(&sums.refused);
    }
    Ok(())
}

/// The same id but for one character in its middle.
fn altered(session: &str) -> String {
    let (before, after) = session.split_at(session.len() / 2);
    let other = if after.starts_with('A') { "B" } else { "A" };
    format!("{before}{other}{}", &after[1..])
}

/// An altered session id is to be answered 404, by the proxy.
pub async fn is_refused<S: AsyncRead + AsyncWrite + Unpin>(
    channel: &mut Channel<S>,
    host: &str,
    session: &str,
) -> io::Result<()> {
    channel.send(&request("tools/call", FIRST_ID, 0, host, &format!("mcp-session-id: {session}\r\n"))).await?;
    let answer = next(channel).await?;
    if answer.head.starts_with("HTTP/1.1 404 ") { Ok(()) } else { Err(wrong(&answer.head, &answer.body)) }
}

fn add(sum: &Cell<u64>) {
    sum.set(sum.get() + 1);
}

/// A connection to the proxy.
pub async fn connect(port: u16) -> io::Result<Channel<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(Channel::new(stream))
}

async fn open_stream(port: u16, client: u32) -> io::Result<Channel<TcpStream>> {
    let mut channel = connect(port).await?;
    let session = initialize(&mut channel, HOST, client).await?;
    listen(&mut channel, &format!("mcp-session-id: {session}\r\n")).await?;
    Ok(channel)
}

/// Opens an event stream, and waits for its first event.
pub async fn listen(channel: &mut Channel<TcpStream>, fields: &str) -> io::Result<()> {
    let head = "GET /mcp HTTP/1.1\r\nhost: mcp.test\r\naccept: text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n";
    channel.send(format!("{head}{fields}\r\n").as_bytes()).await?;
    let Message { head, mut body } = next(channel).await?;
    let is_stream = head.starts_with("HTTP/1.1 200 ") && value(&head, "content-type") == Some("text/event-stream");
    if !is_stream {
        return Err(wrong(&head, &body));
    }
    while find(&body, b"\n\n").is_none() {
        if !channel.more(&mut body).await? {
            return Err(wrong(&head, &body));
        }
    }
    Ok(())
}

/// Holds so many keep-alive connections with a session each, and says so. Then, a line of input each: one call on the next
/// of them, and one new session; prints the nanoseconds of the call and which server the session is on.
pub fn keep(port: u16, connections: u32) {
    run_local(async move {
        let mut kept = Vec::new();
        for client in 1..=connections {
            let mut channel = or_exit(connect(port).await);
            let session = or_exit(initialize(&mut channel, HOST, client).await);
            kept.push((channel, session));
        }
        println!("{connections}");
        for at in 0.. {
            if io::stdin().lock().read_line(&mut String::new()).unwrap_or(0) == 0 {
                return;
            }
            // Far apart, so that none of them is warm.
            let (channel, session) = &mut kept[at * 7_919 % connections as usize];
            let begun = Instant::now();
            or_exit(tool_call(channel, session, 0).await);
            let took = begun.elapsed();
            let answer = or_exit(ask(channel, &request("initialize", FIRST_ID, 0, HOST, "")).await);
            let place = find(&answer.body, b"@").map_or(0, |found| found + 1);
            println!("{} {}", took.as_nanos(), char::from(answer.body[place]));
        }
    });
}

/// Begins so many sessions, or has so many calls answered with a word that leads back; prints their number when all are there.
pub fn fill(port: u16, what: &str, count: u32) {
    let with_words = what == "words";
    run_local(async move {
        let mut clients = JoinSet::new();
        for client in 0..CONNECTIONS {
            clients.spawn_local(async move {
                let mut channel = or_exit(connect(port).await);
                for at in (client..count).step_by(CONNECTIONS as usize) {
                    let asked = if with_words { leave_a_word(&mut channel, at).await } else { begin(&mut channel, at).await };
                    or_exit(asked);
                }
            });
        }
        while clients.join_next().await.is_some() {}
        println!("{count}");
        // The memory is looked at while the connections are still there, as they were before.
        let _ = io::stdin().lock().read_line(&mut String::new());
    });
}

async fn begin(channel: &mut Channel<TcpStream>, at: u32) -> io::Result<()> {
    initialize(channel, HOST, at).await.map(drop)
}

/// A call of the modern era (2026-07-28) whose result asks for more and names a `requestState`.
async fn leave_a_word(channel: &mut Channel<TcpStream>, at: u32) -> io::Result<()> {
    let modern = format!("x-api-key: key-{:04}\r\nmcp-method: tools/call\r\nmcp-name: search_000\r\n", at % 1_000);
    let text = String::from_utf8(request("tools/call", FIRST_ID + at, 0, HOST, &modern)).map_err(io::Error::other)?;
    let text = text.replacen("POST /mcp ", "POST /mcp?state ", 1).replacen("2025-11-25", "2026-07-28", 1);
    check(&ask(channel, text.as_bytes()).await?, FIRST_ID + at)
}

async fn hold_open(mut channel: Channel<TcpStream>) -> io::Result<()> {
    channel.drain().await?;
    Err(io::Error::other("a stream was ended"))
}

/// Opens a session, and gives its id.
pub async fn initialize<S: AsyncRead + AsyncWrite + Unpin>(
    channel: &mut Channel<S>,
    host: &str,
    client: u32,
) -> io::Result<String> {
    let answer = ask(channel, &request("initialize", FIRST_ID + client, 0, host, "")).await?;
    check(&answer, FIRST_ID + client)?;
    value(&answer.head, "mcp-session-id").map(str::to_owned).ok_or_else(|| wrong(&answer.head, &answer.body))
}

/// A call in a session, and its answer.
pub async fn tool_call<S: AsyncRead + AsyncWrite + Unpin>(
    channel: &mut Channel<S>,
    session: &str,
    at: u32,
) -> io::Result<Message> {
    let id = FIRST_ID + at % 1_000_000;
    let answer = ask(channel, &request("tools/call", id, 0, HOST, &format!("mcp-session-id: {session}\r\n"))).await?;
    check(&answer, id)?;
    Ok(answer)
}

/// Sends all of a request and takes the whole answer.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(channel: &mut Channel<S>, request: &[u8]) -> io::Result<Message> {
    channel.send(request).await?;
    next(channel).await
}

/// A POST of 300 B.
pub fn request(method: &str, id: u32, tool: u32, host: &str, fields: &str) -> Vec<u8> {
    let open = format!(r#"{OPENING}{id},"method":"{method}","params":{{"name":"search_{tool:03}","arguments":{{"query":""#);
    let close = r#""}}}"#;
    let query = "q".repeat(CALL - open.len() - close.len());
    let head =
        "content-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n";
    format!("POST /mcp HTTP/1.1\r\nhost: {host}\r\n{head}{fields}content-length: {CALL}\r\n\r\n{open}{query}{close}").into_bytes()
}

/// The next answer.
pub async fn next<S: AsyncRead + AsyncWrite + Unpin>(channel: &mut Channel<S>) -> io::Result<Message> {
    channel.receive().await?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

fn check(answer: &Message, id: u32) -> io::Result<()> {
    let has_id = answer.body.get(ID) == Some(id.to_string().as_bytes());
    if answer.head.starts_with("HTTP/1.1 200 ") && has_id { Ok(()) } else { Err(wrong(&answer.head, &answer.body)) }
}

/// What was answered, as a failure.
pub fn wrong(head: &str, body: &[u8]) -> io::Error {
    io::Error::other(format!("a wrong answer: {head}{}", String::from_utf8_lossy(body)))
}

/// Ends the process with what was wrong.
pub fn or_exit<T>(result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("load: {error}");
        std::process::exit(1)
    })
}
