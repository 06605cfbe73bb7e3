//! The servers behind the proxies: two ports, one thread, the least that an MCP server says.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use tokio::net::TcpListener;

use super::message::{Channel, ID, Message, OPENING, find};
use super::{listen, run_local};

const ANSWER: usize = 200;

/// Serves until the process is ended.
pub fn run() {
    run_local(async {
        let born = Rc::new(Cell::new(0));
        let (primary, secondary) = (listen().await, listen().await);
        println!("{} {}", primary.1, secondary.1);
        tokio::join!(accept(primary.0, born.clone()), accept(secondary.0, born));
    });
}

async fn accept(listener: TcpListener, born: Rc<Cell<u64>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let born = born.clone();
        tokio::task::spawn_local(async move {
            // A client that is gone is no failure of the backend; what it missed, the load notices.
            if let Ok(channel) = Channel::new(stream) {
                let _ = serve(channel, &born).await;
            }
        });
    }
}

async fn serve(mut channel: Channel, born: &Cell<u64>) -> io::Result<()> {
    while let Some(message) = channel.receive().await? {
        if message.head.starts_with("GET ") {
            let event = "event: message\ndata: {}\n\n";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            channel.send(format!("{head}{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
            return channel.drain().await;
        }
        channel.send(answer(&message, born).as_bytes()).await?;
    }
    Ok(())
}

fn answer(message: &Message, born: &Cell<u64>) -> String {
    let id = message.body.get(ID).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or("0");
    let (open, close) = (format!(r#"{OPENING}{id},"result":{{"content":[{{"type":"text","text":""#), r#""}]}}"#);
    let text = "r".repeat(ANSWER - open.len() - close.len());
    let session = if find(&message.body, b"\"initialize\"").is_some() {
        born.set(born.get() + 1);
        format!("mcp-session-id: {:032x}\r\n", born.get())
    } else {
        String::new()
    };
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{session}content-length: {ANSWER}\r\n\r\n{open}{text}{close}")
}
