//! hyper's client connection over bytes that come in pieces, polled by hand: no runtime, no clock.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::{End, Seen};

/// The server's side: says its pieces once it has been asked, and hangs up when it is told to.
#[derive(Clone, Default)]
struct Server(Rc<State>);

#[derive(Default)]
struct State {
    pieces: RefCell<VecDeque<Vec<u8>>>,
    is_asked: Cell<bool>,
    is_over: Cell<bool>,
}

impl Read for Server {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.0.is_asked.get() {
            return Poll::Pending;
        }
        let mut pieces = self.0.pieces.borrow_mut();
        let Some(mut piece) = pieces.pop_front() else {
            return if self.0.is_over.get() { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let count = piece.len().min(buffer.remaining());
        buffer.put_slice(&piece[..count]);
        if count < piece.len() {
            pieces.push_front(piece.split_off(count));
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Server {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.is_asked.set(true);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

pub fn read(pieces: &[&[u8]], asked: &Method) -> Result<Seen, String> {
    let server = Server::default();
    server.0.pieces.borrow_mut().extend(pieces.iter().map(|piece| piece.to_vec()));
    let mut context = Context::from_waker(Waker::noop());
    // As where uploads stream.
    let shaken = pin!(http1::Builder::new().max_buf_size(128 << 10).max_header_size(64 << 10).handshake(server.clone()));
    let Poll::Ready(Ok((mut sender, connection))) = shaken.poll(&mut context) else { panic!("a handshake waits for nothing") };
    let mut connection = pin!(connection);
    let mut is_connected = true;
    let mut turn = |context: &mut Context<'_>| {
        // Twice: what is noticed in one poll is acted upon in the next.
        for _ in 0..2 {
            is_connected = is_connected && connection.as_mut().poll(context).is_pending();
        }
    };
    turn(&mut context);
    let body = Full::new(Bytes::from_static(if asked == Method::POST { b"hello" } else { b"" }));
    let request = Request::builder().method(asked).uri("/").header("host", "x").body(body).unwrap();
    let mut sending = pin!(sender.send_request(request));
    let mut response: Option<Response<Incoming>> = None;
    let (mut body, mut end) = (Vec::new(), None);
    let mut still = 0;
    while still < 4 {
        let before = (response.is_some(), body.len(), end.is_some(), server.0.pieces.borrow().len());
        turn(&mut context);
        if response.is_none() {
            match sending.as_mut().poll(&mut context) {
                Poll::Ready(Err(error)) => return Err(error.to_string()),
                Poll::Ready(Ok(answer)) => response = Some(answer),
                Poll::Pending => {}
            }
        }
        if let Some(response) = &mut response
            && end.is_none()
        {
            end = take(response, &mut body, &mut context, server.0.is_over.get());
        }
        let is_same = before == (response.is_some(), body.len(), end.is_some(), server.0.pieces.borrow().len());
        still = if is_same { still + 1 } else { 0 };
        if still == 4 && end.is_none() && !server.0.is_over.get() {
            server.0.is_over.set(true);
            still = 0;
        }
    }
    let response = response.ok_or("neither an answer nor an error")?;
    let end = match end.ok_or("no end")? {
        End::Said { .. } => End::Said { goes_on: sender.is_ready() && is_connected },
        end => end,
    };
    let fields = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    Ok(Seen { status: response.status().as_u16(), fields, body, end })
}

/// Takes what there is of a body; its end, if it is there.
fn take(response: &mut Response<Incoming>, body: &mut Vec<u8>, context: &mut Context<'_>, is_over: bool) -> Option<End> {
    loop {
        if response.body().is_end_stream() {
            return Some(End::Said { goes_on: false });
        }
        match Pin::new(response.body_mut()).poll_frame(context) {
            Poll::Pending => return None,
            Poll::Ready(None) => return Some(if is_over { End::Close } else { End::Said { goes_on: false } }),
            Poll::Ready(Some(Err(_))) => return Some(End::Cut),
            Poll::Ready(Some(Ok(frame))) => body.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
        }
    }
}
