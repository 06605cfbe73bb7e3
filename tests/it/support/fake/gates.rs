//! Gates: the server stops with its answer in its hand, until the test lets it go on; and what it is to refuse.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{Method, Response, StatusCode, request};
use serde_json::Value;
use tokio::sync::watch;

use super::{Body, Fake, State, text};
use crate::support::eventually;

/// By the method of JSON-RPC where there is one, else of HTTP.
#[derive(Default)]
pub(super) struct Gates(HashMap<String, Gate>);

struct Gate {
    is_open: watch::Sender<bool>,
    held: usize,
}

/// One that stands before a gate, for as long as its client waits.
struct Held {
    state: Arc<State>,
    name: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut gates = self.state.gates.lock().unwrap();
        gates.0.get_mut(&self.name).into_iter().for_each(|gate| gate.held -= 1);
    }
}

/// Waits where such answers are held: what was asked has been done, and is not answered.
pub(super) async fn pass(state: &Arc<State>, name: &str) {
    let (mut open, held) = {
        let mut gates = state.gates.lock().unwrap();
        let Some(gate) = gates.0.get_mut(name) else { return };
        gate.held += 1;
        (gate.is_open.subscribe(), Held { state: state.clone(), name: name.to_owned() })
    };
    let _ = open.wait_for(|is_open| *is_open).await;
    drop(held);
}

/// The refusal of a server that opens sessions, and knows none of them.
pub(super) fn refusal(state: &State, head: &request::Parts, message: &Value) -> Option<Response<Body>> {
    let status = state.refuses.load(Ordering::SeqCst);
    let opens = matches!(message["method"].as_str(), Some("initialize" | "notifications/initialized"));
    let concerns = head.headers.contains_key("via") && head.method != Method::DELETE && !opens;
    (status != 0 && concerns).then(|| text(StatusCode::from_u16(status).unwrap(), "not here"))
}

impl Fake {
    /// Answers to this method (of JSON-RPC, else of HTTP) are held from now on.
    pub fn hold(&self, method: &str) {
        let gate = Gate { is_open: watch::Sender::new(false), held: 0 };
        self.state.gates.lock().unwrap().0.insert(method.to_owned(), gate);
    }

    /// Waits until so many stand before it.
    pub async fn holds(&self, method: &str, wanted: usize) {
        let held = || self.state.gates.lock().unwrap().0.get(method).map_or(0, |gate| gate.held);
        eventually(&format!("{wanted} wait for {method}"), async || (held() == wanted).then_some(())).await;
    }

    /// Lets them go on, and all that come.
    pub fn let_go(&self, method: &str) {
        self.state.gates.lock().unwrap().0[method].is_open.send_replace(true);
    }

    /// From now on it opens sessions, and answers all else in them with this.
    pub fn refuse(&self, status: u16) {
        self.state.refuses.store(status, Ordering::SeqCst);
    }

    /// Sessions that were opened here and not ended.
    pub fn sessions(&self) -> usize {
        self.state.sessions.lock().unwrap().len()
    }

    /// Resets its connections, and goes on.
    pub fn reset(&self) {
        self.state.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }

    /// Waits until it has let go of all its connections, whether anybody has felt it or not.
    pub async fn is_dead(&self) {
        eventually("it is dead", async || (self.state.open.load(Ordering::SeqCst) == 0).then_some(())).await;
    }

    /// Connections that are open here.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// GET streams that are open here.
    pub fn streams(&self) -> usize {
        let mut streams = self.state.streams.lock().unwrap();
        streams.retain(|stream| !stream.is_closed());
        streams.len()
    }
}
