//! A session is opened at another server, in its client's name: a GET, its `endpoint` event, and the handshake, which is
//! answered on the stream. Nothing of that is seen by the client; what else the server says is.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::Opened;
use crate::http1::Head;
use crate::live::ServiceView;
use crate::mcp::endpoint::{Found, Opening};
use crate::mcp::sse::{answer_of, first_event};
use crate::mcp::{SessionPin, StandsFor};
use crate::proxy::Worker;
use crate::proxy::channel::Home;
use crate::proxy::headers::is_encoded;
use crate::proxy::rehome::ask::{Said, Voice, Within};
use crate::proxy::rehome::mover::{NotMoved, Target, Wanted, Why};
use crate::proxy::rehome::replay::{self, Recipe, Refusal};
use crate::proxy::source::Source;
use crate::upstream::{Flow, Reply, Ticket};

/// The most that a server may say on its stream until the session is open, in bytes.
const MOST: usize = 1 << 20;

/// The session is in the URI, and no revision is named where one is just being agreed on.
const NOWHERE: Within<'static> = Within { session: None, version: "" };

/// Who has a session opened, and where it is left for them.
pub(in crate::proxy::rehome) struct Dial {
    home: Rc<Home>,
    opened: RefCell<Option<Opened>>,
}

/// An open stream, and the voice that speaks to its server.
struct Line {
    voice: Voice,
    uri: String,
    flow: Box<Flow>,
    /// Read, and not looked at.
    held: Vec<u8>,
    /// Looked at, and the client's.
    passed: Vec<u8>,
}

impl Dial {
    pub(super) fn new(home: Rc<Home>) -> Self {
        Self { home, opened: RefCell::default() }
    }

    /// What was opened last.
    pub(super) fn take(&self) -> Option<Opened> {
        self.opened.take()
    }
}

impl Worker {
    /// Opens a session at an endpoint, and leaves it for whoever has it opened; gives where it may live from then on.
    pub(in crate::proxy::rehome) async fn dial(
        &self,
        service: &ServiceView,
        target: &Target,
        wanted: &Wanted,
        (dial, ticket): (&Dial, Ticket),
        within: Duration,
    ) -> Result<SessionPin, NotMoved> {
        let voice = self.voice(service, &target.endpoint, &wanted.letterhead);
        let opened = open(voice, &dial.home, &wanted.recipe, within).await;
        if let Err(Refusal::NobodyThere(_)) = &opened {
            self.site.sessions.pace.note_refused(target.endpoint.id);
        }
        let mut line = opened.map_err(|refusal| NotMoved::of(&target.endpoint, refusal))?;
        if let Why::Leaves { forced: false, .. } = wanted.why {
            let lists = async |before: &Arc<_>| {
                let voice = self.voice(service, before, &wanted.letterhead);
                // The client reads the stream that it has there: another one is opened to ask on.
                let before = async { open(voice, &dial.home, &wanted.recipe, within).await.ok()?.tools().await };
                tokio::join!(before, line.tools())
            };
            self.compare_lists(service, target, wanted, lists).await.map_err(NotMoved::Refused)?;
        }
        let place = SessionPin {
            stands_for: StandsFor::EndpointUri,
            entry: target.entry,
            endpoint: target.endpoint.name.as_str().into(),
            revision: service.revision,
            upstream: Some(line.uri.as_str().into()),
        };
        let tally = service.entries[target.entry].tally_at(Some(&target.endpoint)).clone();
        dial.opened.replace(Some(Opened { source: line.into_source(), ticket, tally, place: place.clone() }));
        Ok(place)
    }
}

async fn open(voice: Voice, home: &Home, recipe: &Recipe, within: Duration) -> Result<Line, Refusal> {
    let late = |_| Refusal::NobodyThere(format!("no handshake within {within:?}"));
    tokio::time::timeout(within, shake_hands(voice, home, recipe)).await.map_err(late)?
}

async fn shake_hands(voice: Voice, home: &Home, recipe: &Recipe) -> Result<Line, Refusal> {
    let mut line = Line::open(voice, home).await?;
    let answer = line.ask(replay::OPEN, &recipe.essentials.initialize(replay::OPEN)).await?;
    recipe.essentials.allows(answer.as_bytes())?;
    if recipe.is_initialized {
        let status = line.voice.tell(NOWHERE, br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await?;
        if !status.is_success() {
            return Err(Refusal::NobodyThere(format!("answers notifications/initialized with {status}")));
        }
    }
    for (method, id, body) in recipe.wishes() {
        let is_granted = match line.ask(id, body.as_bytes()).await {
            Ok(answer) => replay::is_result(&answer),
            Err(Refusal::Status(_)) => false,
            Err(refusal) => return Err(refusal),
        };
        // What it does not grant is no reason to lose the session.
        if !is_granted {
            replay::note_not_granted(&line.voice, method);
        }
    }
    Ok(line)
}

impl Line {
    async fn open(voice: Voice, home: &Home) -> Result<Self, Refusal> {
        let Reply { head, mut flow } = voice.listen(NOWHERE, None).await?;
        if head.status() != StatusCode::OK {
            return Err(refused(head, |status| Refusal::NoStream(format!("the GET is answered with {status}"))));
        }
        if !head.is_event_stream() || is_encoded(&head) {
            return Err(Refusal::NoStream("what it answers to the GET is none".to_owned()));
        }
        let mut opening = Opening::default();
        // What stands before the endpoint says nothing.
        let event = loop {
            match opening.feed(&more(&mut flow).await?) {
                Found::Nothing(_) => {}
                Found::Endpoint(event) => break event,
                Found::Other(_) => return Err(Refusal::NoStream("its first event is no `endpoint`".to_owned())),
                Found::TooLong => return Err(Refusal::NoStream("its endpoint event is too long".to_owned())),
            }
        };
        let authority = voice.endpoint.authority.to_string();
        let uri = home.posts_go_to(&event.reference, &authority).map_err(Refusal::NoStream)?;
        let letterhead = Arc::new(voice.letterhead.at(&uri));
        let voice = Voice { letterhead, ..voice };
        Ok(Self { voice, uri, flow, held: event.into_behind(), passed: Vec::new() })
    }

    /// Asks something: the body of a request, and its id. Gives the message that answers it on the stream.
    async fn ask(&mut self, id: &str, body: &[u8]) -> Result<String, Refusal> {
        let voice = self.voice.clone();
        let post = async {
            match voice.ask(NOWHERE, body).await? {
                Said::Message(..) => Ok(()),
                Said::Refused(head) => Err(refused(head, Refusal::Status)),
            }
        };
        // Some servers accept the POST only when they have said the answer: both are waited for.
        let ((), answer) = tokio::try_join!(post, self.answer(id))?;
        Ok(answer)
    }

    async fn answer(&mut self, id: &str) -> Result<String, Refusal> {
        loop {
            while let Some(length) = first_event(&self.held) {
                let event: Vec<u8> = self.held.drain(..length).collect();
                if let Some(answer) = answer_of(&event).filter(|answer| is_to(answer, id)) {
                    return Ok(answer);
                }
                self.passed.extend(event);
            }
            if self.held.len() + self.passed.len() > MOST {
                return Err(Refusal::Useless("it says more than 1 MiB before it answers"));
            }
            let more = more(&mut self.flow).await?;
            self.held.extend(more);
        }
    }

    /// All pages of its tools; nothing where they cannot be had.
    async fn tools(&mut self) -> Option<Vec<String>> {
        replay::pages(async |body| {
            tokio::time::timeout(replay::WITHIN, self.ask(replay::LIST, &body)).await.ok().and_then(Result::ok)
        })
        .await
    }

    /// What is the client's of it.
    fn into_source(self) -> Source {
        let bytes = [self.passed, self.held].concat().into();
        Source::Early { bytes, rest: Box::new(Source::Wire(self.flow)) }
    }
}

async fn more(flow: &mut Flow) -> Result<Vec<u8>, Refusal> {
    let mut buffer = vec![0; 8 << 10];
    match poll_fn(|context| flow.poll(context, &mut buffer)).await {
        Ok(Some(range)) => Ok(buffer[range].to_vec()),
        Ok(None) => Err(Refusal::NobodyThere("its stream has ended".to_owned())),
        Err(cause) => Err(Refusal::NobodyThere(cause.to_string())),
    }
}

fn refused(head: Box<Head>, other: impl FnOnce(StatusCode) -> Refusal) -> Refusal {
    match head.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refusal::Credential(head),
        status if status.is_server_error() => Refusal::NobodyThere(format!("answers {status}")),
        status => other(status),
    }
}

fn is_to(answer: &str, id: &str) -> bool {
    let id_of = |text: &str| serde_json::from_str::<Value>(text).ok();
    id_of(answer).is_some_and(|answer| Some(&answer["id"]) == id_of(id).as_ref())
}
