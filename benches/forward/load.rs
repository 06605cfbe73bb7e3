//! The clients: MCP sessions that call as fast as they are answered, and streams that wait.
//! Every answer is checked; the first wrong one ends the process.

use std::cell::Cell;
use std::io::{self, BufRead, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::message::{Channel, ID, Message, OPENING, find, value};
use super::{measure, run_local};

/// Keep-alive connections of the load, each with a session of its own.
pub const CONNECTIONS: u32 = 64;

const CALL: usize = 300;
const WARM_UP: Duration = Duration::from_millis(300);

/// The first id; none has a leading zero, which JSON does not know.
const FIRST_ID: u32 = 10_000_000;

/// Streams that are being opened at a time.
const OPENING_AT_ONCE: usize = 64;

/// Calls for so long, and prints `answers nanoseconds cpu-nanoseconds` of the window, the latter
/// of the process `proxy`.
pub fn call(port: u16, proxy: u32, window: Duration) {
    run_local(async move {
        let done = Rc::new(Cell::new(0));
        for client in 1..=CONNECTIONS {
            let done = done.clone();
            tokio::task::spawn_local(async move { or_exit(keep_calling(port, client, &done).await) });
        }
        sleep(WARM_UP).await;
        let (before, cpu_before, begun) = (done.get(), measure::cpu(proxy), Instant::now());
        sleep(window).await;
        let (elapsed, cpu, after) = (begun.elapsed(), measure::cpu(proxy) - cpu_before, done.get());
        println!("{} {} {cpu}", after - before, elapsed.as_nanos());
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

async fn keep_calling(port: u16, client: u32, done: &Cell<u64>) -> io::Result<()> {
    let mut channel = Channel::new(TcpStream::connect(("127.0.0.1", port)).await?)?;
    let session = initialize(&mut channel, client).await?;
    for id in 1.. {
        let id = FIRST_ID + client * 1_000_000 + id % 1_000_000;
        channel.send(&request("tools/call", id, &format!("mcp-session-id: {session}\r\n"))).await?;
        check(&next(&mut channel).await?, id)?;
        done.set(done.get() + 1);
    }
    Ok(())
}

async fn open_stream(port: u16, client: u32) -> io::Result<Channel> {
    let mut channel = Channel::new(TcpStream::connect(("127.0.0.1", port)).await?)?;
    let session = initialize(&mut channel, client).await?;
    let head = "GET /mcp HTTP/1.1\r\nhost: mcp.test\r\naccept: text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n";
    channel.send(format!("{head}mcp-session-id: {session}\r\n\r\n").as_bytes()).await?;
    let Message { head, mut body } = next(&mut channel).await?;
    let is_stream = head.starts_with("HTTP/1.1 200 ") && value(&head, "content-type") == Some("text/event-stream");
    if !is_stream {
        return Err(wrong(&head, &body));
    }
    while find(&body, b"\n\n").is_none() {
        if !channel.more(&mut body).await? {
            return Err(wrong(&head, &body));
        }
    }
    Ok(channel)
}

async fn hold_open(mut channel: Channel) -> io::Result<()> {
    channel.drain().await?;
    Err(io::Error::other("a stream was ended"))
}

async fn initialize(channel: &mut Channel, client: u32) -> io::Result<String> {
    let id = FIRST_ID + client;
    channel.send(&request("initialize", id, "")).await?;
    let answer = next(channel).await?;
    check(&answer, id)?;
    value(&answer.head, "mcp-session-id").map(str::to_owned).ok_or_else(|| wrong(&answer.head, &answer.body))
}

fn request(method: &str, id: u32, fields: &str) -> Vec<u8> {
    let open = format!(r#"{OPENING}{id},"method":"{method}","params":{{"name":"search","arguments":{{"query":""#);
    let close = r#""}}}"#;
    let query = "q".repeat(CALL - open.len() - close.len());
    let head = "POST /mcp HTTP/1.1\r\nhost: mcp.test\r\ncontent-type: application/json\r\n\
                accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n";
    format!("{head}{fields}content-length: {CALL}\r\n\r\n{open}{query}{close}").into_bytes()
}

async fn next(channel: &mut Channel) -> io::Result<Message> {
    channel.receive().await?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

fn check(answer: &Message, id: u32) -> io::Result<()> {
    let has_id = answer.body.get(ID) == Some(id.to_string().as_bytes());
    if answer.head.starts_with("HTTP/1.1 200 ") && has_id { Ok(()) } else { Err(wrong(&answer.head, &answer.body)) }
}

fn wrong(head: &str, body: &[u8]) -> io::Error {
    io::Error::other(format!("a wrong answer: {head}{}", String::from_utf8_lossy(body)))
}

fn or_exit<T>(result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("load: {error}");
        std::process::exit(1)
    })
}
