//! Requests of the plainest form, which are read without hyper: what is taken, hyper's server reads as the same request,
//! and the next one begins at the same byte.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use dualgate::http1::{Coming, Plain, Targets, plain};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;

/// As the proxy has it.
const MOST_HEAD: usize = 32 << 10;

/// A request as somebody read it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    line: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Bytes,
}

/// In the order in which names come first.
fn grouped<'a>(all: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in all {
        let name = String::from_utf8(name.to_vec()).unwrap();
        let after = fields.iter().rposition(|field| field.0 == name).map_or(fields.len(), |at| at + 1);
        fields.insert(after, (name, value.to_vec()));
    }
    fields
}

/// All that is taken, one after the other, up to what is left to hyper or closes the connection.
fn ours(bytes: &[u8]) -> Vec<Asked> {
    let (mut rest, mut all) = (Bytes::copy_from_slice(bytes), Vec::new());
    let targets = Targets::default();
    while let Coming::Whole(Plain { head, body }) = plain(&rest, MOST_HEAD, &targets) {
        let (length, body) = (body.end, rest.slice(body));
        let closes =
            head.headers.all("connection").any(|value| value.to_ascii_lowercase().windows(5).any(|word| word == b"close"));
        let line = format!("{} {} {:?}", head.method, head.uri, head.version);
        all.push(Asked { line, fields: grouped(head.headers.iter()), body });
        rest = rest.slice(length..);
        if closes {
            break;
        }
    }
    all
}

struct Client(Vec<u8>, Rc<Cell<usize>>);

impl Read for Client {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Self(bytes, at) = self.get_mut();
        let count = (bytes.len() - at.get()).min(buffer.remaining());
        if count == 0 {
            return Poll::Pending;
        }
        buffer.put_slice(&bytes[at.get()..at.get() + count]);
        at.set(at.get() + count);
        Poll::Ready(Ok(()))
    }
}

impl Write for Client {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What hyper's server makes of the same bytes, whole requests alone.
fn theirs(bytes: &[u8]) -> Vec<Asked> {
    let all = Rc::<RefCell<Vec<Asked>>>::default();
    let seen = all.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (head, body) = request.into_parts();
            let line = format!("{} {} {:?}", head.method, head.uri, head.version);
            let fields = head.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
            let fields = grouped(fields);
            if let Ok(body) = body.collect().await {
                seen.borrow_mut().push(Asked { line, fields, body: body.to_bytes() });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let at = Rc::new(Cell::new(0));
    let mut connection = pin!(
        http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(64 << 10)
            .max_header_size(MOST_HEAD)
            .max_headers(100)
            .serve_connection(Client(bytes.to_vec(), at.clone()), service)
    );
    let mut context = Context::from_waker(Waker::noop());
    let mut still = 0;
    while still < 4 {
        let before = (all.borrow().len(), at.get());
        if connection.as_mut().poll(&mut context).is_ready() {
            break;
        }
        still = if before == (all.borrow().len(), at.get()) { still + 1 } else { 0 };
    }
    all.take()
}

/// Compares both; how many requests were taken.
pub fn compare(bytes: &[u8]) -> usize {
    let ours = ours(bytes);
    if !ours.is_empty() {
        let theirs = theirs(bytes);
        assert!(theirs.starts_with(&ours), "{:?}\nours {ours:?}\ntheirs {theirs:?}", bytes.escape_ascii().to_string());
    }
    ours.len()
}

/// Requests as clients write them, and as nobody should; with one more behind each, that shows where it ends.
pub const SEEDS: &[&[u8]] = &[
    b"POST /mcp HTTP/1.1\r\nHost: notes.example\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nMcp-Session-Id: abc\r\nContent-Length: 40\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}GET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /mcp?a=b%20c HTTP/1.1\r\nhost: 127.0.0.1:8080\r\naccept: text/event-stream\r\nuser-agent: python-httpx/0.27\r\nconnection: keep-alive\r\n\r\nGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"DELETE /mcp HTTP/1.1\r\nhost: x\r\nconnection: close\r\nmcp-session-id: 1\r\n\r\nGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"OPTIONS /mcp HTTP/1.1\r\nhost: x\r\norigin: http://localhost:5173\r\n\r\nPOST /next HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
    b"PUT /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhelloPATCH /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"\r\nPOST / HTTP/1.1\nhost: x\ncontent-length: 2\n\nhiGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\nhelloGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 00000000000005\r\n\r\nhelloGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length : 5\r\n\r\nhelloGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\nx: a\r\n content-length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nGET /next HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET http://a/b HTTP/1.1\r\nhost: x\r\n\r\nGET * HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /a#b HTTP/1.1\r\nhost: x\r\n\r\nGET //a/../b;c?d=\"e\" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\nhost: x\r\nx: \xff\r\n\r\nGET / HTTP/1.0\r\nhost: x\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\nCONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET  / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1 \r\nhost: x\r\n\r\nGET /\tb HTTP/1.1\r\nhost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];
