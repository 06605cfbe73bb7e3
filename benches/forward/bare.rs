//! What dualgate is measured against: hyper as a forwarder that does nothing else. One thread,
//! connections to the backends parked by hand; every tenth client connection goes to the secondary.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{listen, run_local};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Connections to one backend that carry nothing just now.
struct Backend {
    port: u16,
    parked: RefCell<Vec<SendRequest<Incoming>>>,
}

/// Forwards until the process is ended.
pub fn run(primary: u16, secondary: u16) {
    run_local(async move {
        let backends = [primary, secondary].map(|port| Rc::new(Backend { port, parked: RefCell::default() }));
        let (listener, port) = listen().await;
        println!("{port}");
        let mut turn = 0;
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            turn += 1;
            let backend = backends[usize::from(turn % 10 == 0)].clone();
            let service = service_fn(move |request| forward(request, backend.clone()));
            tokio::task::spawn_local(server::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}

async fn forward(mut request: Request<Incoming>, backend: Rc<Backend>) -> Result<Response<Passing>, Failure> {
    take_off_hop(request.headers_mut());
    let mut sender = backend.sender().await?;
    sender.ready().await?;
    let (mut head, incoming) = sender.send_request(request).await?.into_parts();
    take_off_hop(&mut head.headers);
    Ok(Response::from_parts(head, Passing { incoming, lease: Some((sender, backend)) }))
}

fn take_off_hop(headers: &mut HeaderMap) {
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

impl Backend {
    async fn sender(&self) -> Result<SendRequest<Incoming>, Failure> {
        loop {
            let parked = self.parked.borrow_mut().pop();
            match parked {
                Some(sender) if sender.is_closed() => {}
                Some(sender) => return Ok(sender),
                None => return self.connect().await,
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}

/// An answer on its way; at its end the connection is parked.
struct Passing {
    incoming: Incoming,
    lease: Option<(SendRequest<Incoming>, Rc<Backend>)>,
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Some((sender, backend)) = self.lease.take()
            && self.incoming.is_end_stream()
        {
            backend.parked.borrow_mut().push(sender);
        }
    }
}
