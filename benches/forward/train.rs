//! What a profile-guided build is trained on: every path that traffic takes often, each for a second or so, by count and not by
//! time, so that the same binary gives the same profile. `scripts/pgo.sh` runs it.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::backend::{BULK, EVENTS};
use super::load::{self, HOST, ask, connect, initialize, is_refused, next, or_exit, request, tool_call, wrong};
use super::message::{Channel, find};
use super::run_local;

/// How much of everything.
#[derive(Clone, Copy)]
struct Amounts {
    clients: u32,
    calls: u32,
    streams: u32,
    bulks: u32,
}

/// The whole of it, or a hundredth for a test that it works.
pub fn run(port: u16, tls: u16, whole: bool) {
    let amounts = if whole {
        Amounts { clients: 64, calls: 800, streams: 200, bulks: 20 }
    } else {
        Amounts { clients: 4, calls: 16, streams: 4, bulks: 1 }
    };
    run_local(async move {
        let connector = connector();
        let Amounts { clients, calls, streams, bulks } = amounts;
        // Posts are the most by far: they are what a proxy does most.
        side_by_side(clients, |client| async move { session(connect(port).await?, client, calls).await }).await;
        side_by_side(clients, |client| async move { answered_by_events(port, client, calls / 8).await }).await;
        side_by_side(streams, |client| async move { listen(connect(port).await?, client).await }).await;
        side_by_side(clients, |client| async move { short_streams(port, client, calls / 16).await }).await;
        side_by_side(clients, |client| async move { short_connections(port, client, calls / 16).await }).await;
        side_by_side(clients, |client| async move { keyed(port, client, calls / 8).await }).await;
        side_by_side(4, |_| async move { bulk(port, bulks).await }).await;
        side_by_side(clients, |client| {
            let connector = connector.clone();
            async move { session(secure(tls, &connector).await?, client, calls / 2).await }
        })
        .await;
        side_by_side(clients.min(16), |client| {
            let connector = connector.clone();
            async move {
                for at in 0..calls / 40 {
                    session(secure(tls, &connector).await?, client + at, 1).await?;
                }
                Ok(())
            }
        })
        .await;
        println!("trained");
    });
}

/// What comes first after a start: somebody looks whether there is an answer at all, and a session is born.
pub fn first(port: u16) {
    run_local(async move {
        let look = format!("GET /bulk HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        or_exit(async { ask(&mut connect(port).await?, look.as_bytes()).await }.await);
        or_exit(async { initialize(&mut connect(port).await?, HOST, 1).await }.await);
        println!("answered");
    });
}

async fn side_by_side<F: Future<Output = io::Result<()>> + 'static>(clients: u32, act: impl Fn(u32) -> F) {
    let mut running = JoinSet::new();
    for client in 1..=clients {
        let acting = act(client);
        running.spawn_local(async move { or_exit(acting.await) });
    }
    while running.join_next().await.is_some() {}
}

/// A session from its birth to its end, with an id that does not open on the way.
async fn session<S: AsyncRead + AsyncWrite + Unpin>(mut channel: Channel<S>, client: u32, calls: u32) -> io::Result<()> {
    let session = initialize(&mut channel, HOST, client).await?;
    for at in 0..calls {
        tool_call(&mut channel, &session, at).await?;
    }
    is_refused(&mut channel, HOST, "no-session-of-ours").await?;
    let end = format!("DELETE /mcp HTTP/1.1\r\nhost: {HOST}\r\nmcp-session-id: {session}\r\n\r\n");
    ask(&mut channel, end.as_bytes()).await.map(drop)
}

/// Calls that are answered by an event stream each, as SDKs' servers do.
async fn answered_by_events(port: u16, client: u32, calls: u32) -> io::Result<()> {
    let mut channel = connect(port).await?;
    let session = initialize(&mut channel, HOST, client).await?;
    for at in 0..calls {
        let plain = request("tools/call", 10_000_000 + at, 0, HOST, &format!("mcp-session-id: {session}\r\n"));
        let text = String::from_utf8(plain).map_err(io::Error::other)?.replacen("POST /mcp ", "POST /mcp?events ", 1);
        to_the_end(&mut channel, &text, 1).await?;
    }
    Ok(())
}

/// A busy stream of a session, to its end.
async fn listen<S: AsyncRead + AsyncWrite + Unpin>(mut channel: Channel<S>, client: u32) -> io::Result<()> {
    let session = initialize(&mut channel, HOST, client).await?;
    let head =
        format!("GET /mcp?busy HTTP/1.1\r\nhost: {HOST}\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\n\r\n");
    to_the_end(&mut channel, &head, EVENTS).await
}

/// Streams that are left after their first event, of a session and of none: what a stream's beginning takes is what its client
/// waits for.
async fn short_streams(port: u16, client: u32, streams: u32) -> io::Result<()> {
    let session = initialize(&mut connect(port).await?, HOST, client).await?;
    for fields in [format!("mcp-session-id: {session}\r\n"), String::new()] {
        for _ in 0..streams {
            load::listen(&mut connect(port).await?, &fields).await?;
        }
    }
    Ok(())
}

/// An answer in chunks, with so many events in it.
async fn to_the_end<S: AsyncRead + AsyncWrite + Unpin>(channel: &mut Channel<S>, request: &str, events: usize) -> io::Result<()> {
    channel.send(request.as_bytes()).await?;
    let answer = next(channel).await?;
    let mut body = answer.body;
    while !body.ends_with(b"0\r\n\r\n") {
        if !channel.more(&mut body).await? {
            return Err(wrong(&answer.head, &body));
        }
    }
    let counted = body.windows(2).filter(|two| two == b"\n\n").count();
    if counted == events { Ok(()) } else { Err(wrong(&answer.head, &body)) }
}

/// A connection a request.
async fn short_connections(port: u16, client: u32, calls: u32) -> io::Result<()> {
    let session = initialize(&mut connect(port).await?, HOST, client).await?;
    for at in 0..calls {
        tool_call(&mut connect(port).await?, &session, at).await?;
    }
    Ok(())
}

/// Calls without a session, by clients that are told apart by a key.
async fn keyed(port: u16, client: u32, calls: u32) -> io::Result<()> {
    let mut channel = connect(port).await?;
    for at in 0..calls {
        let fields = format!("x-api-key: sk-{client:04}-3f9a6c1e77d04b52a8e01b6f\r\n");
        let answer = ask(&mut channel, &request("tools/call", 10_000_000 + at, at % 8, HOST, &fields)).await?;
        if find(&answer.body, b"\"result\"").is_none() {
            return Err(wrong(&answer.head, &answer.body));
        }
    }
    Ok(())
}

/// Large bodies, down and up.
async fn bulk(port: u16, times: u32) -> io::Result<()> {
    let mut channel = connect(port).await?;
    let up = format!(
        "POST /bulk HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/octet-stream\r\ncontent-length: {BULK}\r\n\r\n"
    );
    let up = [up.as_bytes(), &vec![b'u'; BULK]].concat();
    for _ in 0..times {
        let down = ask(&mut channel, format!("GET /bulk HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await?;
        let taken = ask(&mut channel, &up).await?;
        if down.body.len() != BULK || !taken.head.starts_with("HTTP/1.1 200 ") {
            return Err(wrong(&taken.head, &taken.body));
        }
    }
    Ok(())
}

async fn secure(port: u16, connector: &TlsConnector) -> io::Result<Channel<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    Ok(Channel::new(connector.connect(name, stream).await?))
}

fn connector() -> TlsConnector {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let trusting = builder.dangerous().with_custom_certificate_verifier(Arc::new(Trusting(provider)));
    TlsConnector::from(Arc::new(trusting.with_no_client_auth()))
}

/// The bench made the certificate itself, a moment ago.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
