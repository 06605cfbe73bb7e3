//! The stream's side of a channel: it begins with the endpoint, sealed, and says what POSTs could not.

use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Channel;
use super::moves::Owner;
use crate::domain::{Blame, Entry, Moment, Outcome};
use crate::http1::{Head, RequestHead};
use crate::live::LocalView;
use crate::mcp::endpoint::{EndpointEvent, Found, Opening, resolve};
use crate::mcp::{SessionPin, StandsFor};
use crate::proxy::body::{Held, Next, Piece};
use crate::proxy::books::Books;
use crate::proxy::error::ProxyError;
use crate::proxy::headers::{Outgoing, is_encoded};
use crate::proxy::ledger::Ledger;
use crate::proxy::peer::Peer;
use crate::proxy::rehome::{ChannelSplice, Letterhead};
use crate::proxy::seat::Seat;
use crate::proxy::source::Source;
use crate::proxy::stream::EventStream;
use crate::proxy::target::origin_form;
use crate::proxy::{Site, Worker, table};
use crate::upstream::{Client, Endpoint, EntryTally, Ticket};

/// Sessions are counted alive anew at this interval, well below the time after which a silent one is
/// taken for abandoned.
const SEEN_EVERY: Duration = Duration::from_secs(60);

/// What becomes of bytes of a stream that is, or may become, a channel.
pub(in crate::proxy) enum Passed {
    AsTheyCame,
    Instead(Bytes),
    /// It is a GET stream like any other. Where something was held back: that and these bytes, in their place.
    NoChannel(Option<Bytes>),
}

/// A stream that is, or may become, a channel.
pub(in crate::proxy) struct Downstream {
    site: Arc<Site>,
    worker: Weak<Worker>,
    /// Where its session lives.
    entry: Entry,
    revision: u64,
    tally: Arc<EntryTally>,
    endpoint: Arc<Endpoint>,
    phase: Phase,
}

/// The GET that opens the session, if it does: most streams are no channels, and to write down then what only channels need
/// would cost each of them its first event's time.
struct Birth {
    service: LocalView,
    /// The service as it was when the GET was admitted, by which that was written.
    asked: LocalView,
    head: Rc<RequestHead>,
    peer: Rc<Peer>,
}

/// Words are due where none can be said: the stream has to end.
struct Stuck;

/// Where the session is from, and how the URIs of its servers are read.
pub(in crate::proxy) struct Home {
    service: String,
    /// The path of the GET as the client wrote it: its POSTs come back to it.
    path: String,
    /// What the server is asked for, against which its endpoint is resolved.
    target: Uri,
    strips: Option<String>,
}

enum Phase {
    /// The first event is not complete.
    Opening(Opening, Birth),
    Open(Open),
}

struct Open {
    channel: Arc<Channel>,
    home: Rc<Home>,
    token: String,
    seen: Instant,
    silence: Pin<Box<dyn Future<Output = ()>>>,
    /// Its stream goes on where the session goes.
    is_spliced: bool,
}

impl Downstream {
    /// For an answer that may be the stream of a new session. In a coding, which nobody asked for, its endpoint
    /// could not be sealed: what was said to it would go past the proxy's memory of where the session lives.
    pub(in crate::proxy) fn begin(
        worker: &Worker,
        (seat, head): (&Seat, &Head),
        (outgoing, asked): (&Outgoing<'_>, &LocalView),
    ) -> Result<Option<Box<Self>>, ProxyError> {
        if head.status() != StatusCode::OK {
            return Ok(None);
        }
        if is_encoded(head) {
            return Err(ProxyError::BadAnswer("an event stream in a content coding, where none was accepted".to_owned()));
        }
        let (head, peer) = outgoing.keep();
        let birth = Birth { service: seat.service.clone(), asked: asked.clone(), head, peer };
        Ok(Some(Box::new(Self {
            site: worker.site.clone(),
            worker: worker.own.clone(),
            entry: seat.entry,
            revision: seat.service.revision,
            tally: seat.tally().clone(),
            endpoint: seat.ticket.endpoint().clone(),
            phase: Phase::Opening(Opening::default(), birth),
        })))
    }

    /// What the client sees of these bytes; an error where the server's endpoint cannot be used.
    pub(in crate::proxy) fn pass(
        &mut self,
        bytes: &[u8],
        ledger: &mut Ledger,
        stream: Option<&EventStream>,
    ) -> Result<Passed, String> {
        match &mut self.phase {
            Phase::Open(open) => {
                if open.seen.elapsed() > SEEN_EVERY {
                    open.seen = Instant::now();
                    self.note_alive();
                }
                Ok(Passed::AsTheyCame)
            }
            Phase::Opening(opening, _) => match opening.feed(bytes) {
                Found::Nothing(passed) => Ok(Passed::Instead(passed.into())),
                Found::Other(all) => Ok(Passed::NoChannel((all.len() > bytes.len()).then(|| all.into()))),
                Found::Endpoint(event) => self.open(event, ledger, stream).map(Passed::Instead),
                Found::TooLong => Err("its endpoint event is longer than 16 KiB".to_owned()),
            },
        }
    }

    /// What was held back when the stream ended early.
    pub(in crate::proxy) fn end(&mut self) -> Bytes {
        match &mut self.phase {
            Phase::Opening(opening, _) => opening.end().into(),
            Phase::Open(_) => Bytes::new(),
        }
    }

    /// What is to be said on the stream now, where it stands between two events. Nothing can be where a server fell
    /// silent within one, unless it goes on elsewhere.
    fn poll_words(
        &mut self,
        context: &mut Context<'_>,
        is_between_events: bool,
        source: &mut Source,
        books: Books<'_>,
    ) -> Poll<Result<Bytes, Stuck>> {
        let Phase::Open(open) = &mut self.phase else { return Poll::Pending };
        let mut fails = false;
        while open.silence.as_mut().poll(context).is_ready() {
            open.silence = Box::pin(silent_again(self.endpoint.silent.subscribe()));
            if !source.lose() {
                fails |= open.channel.fail_all(&ProxyError::Silent.to_string());
            }
        }
        let failed = open.channel.take_failed();
        if !failed.is_empty() {
            failed.iter().for_each(|due| due.book_unanswered(books, Outcome::Failed(Blame::Entry)));
            self.endpoint.note_failure();
        }
        let goes_on = matches!(source, Source::Channel(splice) if splice.goes_on());
        match is_between_events {
            true => open.channel.poll_words(context).map(Ok),
            false if fails => Poll::Ready(Err(Stuck)),
            false if goes_on => {
                open.channel.awaits_words(context);
                Poll::Pending
            }
            false if open.channel.awaits_words(context) && *self.endpoint.silent.borrow() => Poll::Ready(Err(Stuck)),
            false => Poll::Pending,
        }
    }

    /// A session is born: its token, its channel, its place in the counts.
    fn open(&mut self, event: EndpointEvent, ledger: &mut Ledger, stream: Option<&EventStream>) -> Result<Bytes, String> {
        let Phase::Opening(_, birth) = &self.phase else { return Err("it has begun already".to_owned()) };
        let home = birth.home();
        let uri = home.posts_go_to(&event.reference, &self.endpoint.authority.to_string())?;
        let pin = SessionPin {
            stands_for: StandsFor::EndpointUri,
            entry: self.entry,
            endpoint: self.endpoint.name.as_str().into(),
            revision: self.revision,
            upstream: Some(uri.into()),
        };
        let token = self.site.keys.seal(&home.service, &pin).map_err(|too_long| too_long.to_string())?;
        let shown = event.with(&home.posts_come_from(&token));
        let client = Client::of_session(token.as_bytes());
        let (letterhead, owner) = birth.introduces(&self.site)?;
        let session = self.site.sessions.open_apart(&birth.service, client, &pin, letterhead);
        if session.is_none() {
            birth.service.tally.remembered.forgotten.fetch_add(1, Ordering::Relaxed);
            self.site.sessions.note_full(&birth.service.config.name);
        }
        let channel = self.site.channels.open(&token, (session, Some(owner)));
        ledger.follow(channel.clone(), client);
        if let Some(stream) = stream {
            stream.belongs_to(client);
        }
        let silence = Box::pin(silent(self.endpoint.silent.subscribe()));
        let home = Rc::new(home);
        self.phase = Phase::Open(Open { channel, home, token, seen: Instant::now(), silence, is_spliced: false });
        self.tally.note_birth();
        self.note_alive();
        Ok(shown.into())
    }

    /// From now on the stream goes where the session goes, where that is known.
    fn splice(&mut self, source: &mut Source, ticket: &mut Option<Ticket>) {
        let Phase::Open(open) = &mut self.phase else { return };
        if std::mem::replace(&mut open.is_spliced, true) {
            return;
        }
        if let (Some(worker), Some(session)) = (self.worker.upgrade(), open.channel.session().cloned()) {
            let whole = (std::mem::replace(source, Source::None), ticket.take());
            let splice = ChannelSplice::begin(worker, open.channel.clone(), session, open.home.clone(), whole);
            *source = Source::Channel(Box::new(splice));
        }
    }

    /// It comes from another endpoint now, where its session lives.
    pub(in crate::proxy) fn moved(&mut self, endpoint: &Arc<Endpoint>, tally: &Arc<EntryTally>, born: u64) {
        (self.endpoint, self.tally, self.revision) = (endpoint.clone(), tally.clone(), born);
        if let Phase::Open(open) = &mut self.phase {
            open.silence = Box::pin(silent(self.endpoint.silent.subscribe()));
        }
    }

    /// Its entry is rid of the session.
    pub(in crate::proxy) fn end_session(&self) {
        if let Phase::Open(open) = &self.phase {
            self.tally.end_session(open.token.as_bytes());
        }
    }

    fn note_alive(&self) {
        if let Phase::Open(open) = &self.phase {
            let now = self.site.clock.now().since(Moment::default());
            self.tally.sessions().seen(open.token.as_bytes(), self.endpoint.id, self.revision, now);
        }
    }
}

/// The answer that carries the stream.
impl Held {
    pub(in crate::proxy) fn poll_channel(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        let (Some(downstream), Some(stream)) = (&mut self.downstream, &mut self.stream) else { return Poll::Pending };
        downstream.splice(&mut self.source, &mut self._ticket);
        match downstream.poll_words(context, stream.is_between_events(), &mut self.source, self.ledger.books()) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(words)) => {
                stream.pass(&words);
                Poll::Ready(Some(Ok(Piece::Apart(words))))
            }
            Poll::Ready(Err(Stuck)) => {
                let words = stream.last_words(&self.ledger, table::Phase::Broken, &ProxyError::Silent);
                self.ledger.break_off();
                self.end_with(words.unwrap_or_default())
            }
        }
    }

    /// The stream began with an endpoint that cannot be used: without it there is no session.
    pub(in crate::proxy) fn refuse(&mut self, reason: &str) -> Poll<Next> {
        tracing::warn!(reason, "an HTTP+SSE stream is ended");
        self.ledger.refuse();
        self.end_with(Bytes::new())
    }
}

impl Birth {
    fn home(&self) -> Home {
        let config = &self.service.config;
        Home {
            service: config.name.clone(),
            path: self.head.uri.path().to_owned(),
            target: origin_form(&self.head.uri, &self.asked.config),
            strips: config.strip_prefix.then(|| config.path.clone()),
        }
    }

    /// What it takes to speak in its client's name, and to know that again.
    fn introduces(&self, site: &Site) -> Result<(Letterhead, Owner), String> {
        let Self { asked, head, peer, .. } = self;
        let outgoing = Outgoing::new(head, &asked.config, peer, &site.via, None, true).map_err(|error| error.to_string())?;
        Ok((outgoing.letterhead(), Owner::new(&site.sessions, outgoing.headers())))
    }
}

impl Home {
    /// Path and query of the POSTs at the server.
    pub(in crate::proxy) fn posts_go_to(&self, reference: &str, authority: &str) -> Result<String, String> {
        let target = self.target.path_and_query().map_or("/", |target| target.as_str());
        let uri = resolve(reference, authority, target)?;
        // A server that knows under which prefix it is published writes it; a POST there would come
        // through here and lose it again.
        let stripped = self.strips.as_deref().filter(|prefix| !prefix.is_empty()).and_then(|prefix| uri.strip_prefix(prefix));
        let uri = match stripped {
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            Some(rest) if rest.is_empty() || rest.starts_with('?') => format!("/{rest}"),
            _ => uri,
        };
        if uri.parse::<Uri>().is_ok() { Ok(uri) } else { Err("its endpoint is no path and query".to_owned()) }
    }

    /// The URI of the POSTs as the client sees it: a path of its own origin, since clients refuse
    /// another one.
    fn posts_come_from(&self, token: &str) -> String {
        // Two slashes would begin an authority (RFC 3986, 4.2).
        let dot = if self.path.starts_with("//") { "/." } else { "" };
        format!("{dot}{}?{}={token}", self.path, super::posted::PARAMETER)
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        if let Phase::Open(open) = &self.phase {
            self.site.channels.forget(&open.token);
            open.channel.session().into_iter().for_each(|session| session.ends_with_its_stream());
            self.tally.sessions().ended(open.token.as_bytes());
        }
    }
}

/// Resolves when checks get no answer any more; never once the endpoint is configured no more.
async fn silent(mut silent: watch::Receiver<bool>) {
    if silent.wait_for(|silent| *silent).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The same, after it has answered in between.
async fn silent_again(mut watched: watch::Receiver<bool>) {
    if watched.wait_for(|silent| !*silent).await.is_err() {
        std::future::pending::<()>().await;
    }
    silent(watched).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(strips: Option<&str>) -> Home {
        let (path, target) = ("/notes/sse".to_owned(), Uri::from_static("/sse"));
        let strips = strips.map(str::to_owned);
        Home { service: "notes".to_owned(), path, target, strips }
    }

    #[test]
    fn a_published_prefix_is_taken_off_where_the_service_strips_it() {
        let go = |strips, reference: &str| home(strips).posts_go_to(reference, "10.0.0.1:3000").unwrap();
        assert_eq!(go(Some("/notes"), "/notes/messages?id=1"), "/messages?id=1");
        assert_eq!(go(Some("/notes"), "/notes?id=1"), "/?id=1");
        assert_eq!(go(Some("/notes"), "/notesmessages"), "/notesmessages");
        assert_eq!(go(Some("/notes"), "messages"), "/messages");
        assert_eq!(go(None, "/notes/messages"), "/notes/messages");
    }

    #[test]
    fn the_clients_uri_never_leaves_its_origin() {
        let come = |path: &str| Home { path: path.to_owned(), ..home(None) }.posts_come_from("t");
        assert_eq!(come("/sse"), "/sse?dualgate=t");
        assert_eq!(come("//evil.example/sse"), "/.//evil.example/sse?dualgate=t");
    }
}
