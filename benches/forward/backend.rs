//! The servers behind the proxies: any number of ports, one thread, the least that an MCP server says.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::message::{Channel, ID, Message, OPENING, find};
use super::{listen, run_local};

/// A small answer.
const ANSWER: usize = 200;

/// Every so many calls one is answered with `isError`.
const ONE_IS_ERROR: u64 = 100;

/// A large answer.
pub const BULK: usize = 10_000_000;

/// Of a busy stream: so many events, and so long between two of them.
pub const EVENTS: usize = 50;
const PAUSE: Duration = Duration::from_millis(5);

/// What a session was asked for is looked for in so much of a body.
const LOOKED_AT: usize = 400;

/// Serves until the process is ended; prints its ports.
pub fn run(ports: usize) {
    run_local(async move {
        let counts = Rc::new(Counts::default());
        let mut numbers = Vec::new();
        for at in 0..ports {
            let (listener, port) = listen().await;
            numbers.push(port.to_string());
            tokio::task::spawn_local(accept(listener, at, counts.clone()));
        }
        println!("{}", numbers.join(" "));
        std::future::pending().await
    });
}

#[derive(Default)]
struct Counts {
    born: Cell<u64>,
    called: Cell<u64>,
}

async fn accept(listener: TcpListener, at: usize, counts: Rc<Counts>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let counts = counts.clone();
        tokio::task::spawn_local(async move {
            // A client that is gone is no failure of the backend; what it missed, the load notices.
            if stream.set_nodelay(true).is_ok() {
                let _ = serve(Channel::new(stream), at, &counts).await;
            }
        });
    }
}

async fn serve(mut channel: Channel<TcpStream>, at: usize, counts: &Counts) -> io::Result<()> {
    while let Some(message) = channel.receive().await? {
        let line = message.head.lines().next().unwrap_or_default();
        match line.split_whitespace().nth(1).unwrap_or_default() {
            "/bulk" => {
                let body = if line.starts_with("GET ") { BULK } else { 2 };
                let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {body}\r\n\r\n");
                channel.send(&[head.as_bytes(), &vec![b'x'; body]].concat()).await?;
            }
            path if line.starts_with("GET ") => return stream(channel, path.ends_with("?busy")).await,
            path if path.ends_with("?state") => {
                counts.called.set(counts.called.get() + 1);
                let (called, id) = (counts.called.get(), String::from_utf8_lossy(&message.body[ID]).into_owned());
                let result = format!(r#"{{"resultType":"input_required","requestState":"state-{called:016}"}}"#);
                channel.send(as_json("", &format!(r#"{OPENING}{id},"result":{result}}}"#)).as_bytes()).await?;
            }
            path if path.ends_with("?events") => channel.send(as_events(&answer(&message, at, counts).1).as_bytes()).await?,
            _ => {
                let (fields, body) = answer(&message, at, counts);
                channel.send(as_json(&fields, &body).as_bytes()).await?;
            }
        }
    }
    Ok(())
}

/// One event at once; then none, or some, each in a write of its own.
async fn stream(mut channel: Channel<TcpStream>, busy: bool) -> io::Result<()> {
    channel.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    channel.send(chunk(&event("{}")).as_bytes()).await?;
    if !busy {
        return channel.drain().await;
    }
    for at in 1..EVENTS {
        tokio::time::sleep(PAUSE).await;
        let progress =
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{at}}}}}"#);
        channel.send(chunk(&event(&progress)).as_bytes()).await?;
    }
    channel.send(b"0\r\n\r\n").await
}

fn as_json(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
}

fn as_events(body: &str) -> String {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{}0\r\n\r\n", chunk(&event(body)))
}

fn event(data: &str) -> String {
    format!("event: message\ndata: {data}\n\n")
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Header fields and body. The text says which port answered: `@` and its number.
fn answer(message: &Message, at: usize, counts: &Counts) -> (String, String) {
    let asked = &message.body[..message.body.len().min(LOOKED_AT)];
    let id = asked.get(ID).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or("0");
    let fields = if find(asked, b"\"initialize\"").is_some() {
        counts.born.set(counts.born.get() + 1);
        format!("mcp-session-id: {:032x}\r\n", counts.born.get())
    } else {
        counts.called.set(counts.called.get() + 1);
        String::new()
    };
    let failed = fields.is_empty() && counts.called.get().is_multiple_of(ONE_IS_ERROR);
    let open = format!(r#"{OPENING}{id},"result":{{"content":[{{"type":"text","text":"@{at}"#);
    let close = if failed { r#""}],"isError":true}}"# } else { r#""}]}}"# };
    let text = "r".repeat(ANSWER - open.len() - close.len());
    (fields, format!("{open}{text}{close}"))
}
