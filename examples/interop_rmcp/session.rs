//! One connected rmcp client: how it negotiates, what it answers, what it hears.

use std::{sync::atomic::Ordering, time::Duration};

use http::{HeaderName, HeaderValue};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ClientRequest,
        CreateMessageRequestParams, CreateMessageResult, Implementation, LoggingMessageNotificationParam,
        ProgressNotificationParam, ProtocolVersion, SamplingMessage, SubscriptionFilter,
    },
    service::{NotificationContext, PeerRequestOptions, RequestContext, RunningService},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Map, Value};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{Failure, Task, wire::Wire};

pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
pub const NOTICE_TIMEOUT: Duration = Duration::from_millis(2_500);
const CANCEL_AFTER: Duration = Duration::from_millis(300);

/// Answers the server's requests and passes on what it notifies.
struct Handler {
    notices: mpsc::UnboundedSender<String>,
    progress: mpsc::UnboundedSender<u64>,
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_sampling().build();
        ClientConfig::new(capabilities, Implementation::new("interop-rmcp", "1"))
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let prompt = params.messages.iter().flat_map(|message| message.content.iter()).find_map(|block| block.as_text());
        let text = format!("answer: {}", prompt.map_or("", |text| &text.text));
        Ok(CreateMessageResult::new(SamplingMessage::assistant_text(text), "none".into()))
    }

    async fn on_logging_message(&self, params: LoggingMessageNotificationParam, _: NotificationContext<RoleClient>) {
        let _ = self.notices.send(params.data.to_string());
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        let _ = self.progress.send(params.progress as u64);
    }
}

/// A connected client and what it heard.
pub struct Session {
    pub wire: Wire,
    pub version: String,
    service: RunningService<RoleClient, Handler>,
    notices: mpsc::UnboundedReceiver<String>,
    progress: mpsc::UnboundedReceiver<u64>,
}

fn lifecycle(mode: &str) -> ClientLifecycleMode {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    match mode {
        "modern" => ClientLifecycleMode::Discover { preferred_versions },
        "auto" => ClientLifecycleMode::Auto { preferred_versions, legacy_version: Some(ProtocolVersion::V_2025_11_25) },
        _ => ClientLifecycleMode::Initialize,
    }
}

impl Session {
    /// Connects in the era that the task gives this session.
    pub async fn open(task: &Task, number: usize, wire: Wire) -> Result<Self, Failure> {
        let mut config = StreamableHttpClientTransportConfig::with_uri(task.url.as_str());
        if task.keyed {
            let key = HeaderValue::from_str(&task.key(number))?;
            config = config.custom_headers([(HeaderName::from_static("x-api-key"), key)].into());
        }
        let (notices, noticed) = mpsc::unbounded_channel();
        let (progress, progressed) = mpsc::unbounded_channel();
        let transport = StreamableHttpClientTransport::with_client(wire.clone(), config);
        let handler = Handler { notices, progress };
        let service = timeout(CALL_TIMEOUT, handler.serve_with_lifecycle(transport, lifecycle(task.mode(number)))).await??;
        let version = service.peer().peer_info().map_or_else(String::new, |info| info.protocol_version.to_string());
        Ok(Self { wire, version, service, notices: noticed, progress: progressed })
    }

    /// Calls a tool; what an earlier call left behind is forgotten.
    pub async fn call(&mut self, tool: &str, arguments: Map<String, Value>, cut: bool) -> Result<String, Failure> {
        self.wire.cut_next.store(cut, Ordering::Relaxed);
        while self.progress.try_recv().is_ok() {}
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        text_of(&self.service.call_tool(params).await?)
    }

    /// The names on all pages.
    pub async fn tools(&self) -> Result<Vec<String>, Failure> {
        let tools = timeout(CALL_TIMEOUT, self.service.list_all_tools()).await??;
        Ok(tools.iter().map(|tool| tool.name.to_string()).collect())
    }

    /// Each notification is handled in a task of its own, so they may be seen after the result and out of order.
    pub async fn progress(&mut self, steps: u64) -> Result<(), Failure> {
        let mut seen = Vec::new();
        while seen.len() < steps as usize {
            let next = timeout(NOTICE_TIMEOUT, self.progress.recv()).await;
            seen.push(next.map_err(|_| format!("progress was {seen:?}"))?.ok_or("the connection ended")?);
        }
        seen.sort_unstable();
        if seen == (1..=steps).collect::<Vec<_>>() { Ok(()) } else { Err(format!("progress was {seen:?}").into()) }
    }

    pub async fn notice(&mut self, wanted: &str, within: Duration) -> Result<(), Failure> {
        let heard_it = async { while self.notices.recv().await.is_some_and(|text| !text.contains(wanted)) {} };
        Ok(timeout(within, heard_it).await.map_err(|_| "the notification did not come")?)
    }

    /// A stream of changes that stays open over `events` of them and a call, and is closed by the client.
    pub async fn listen(&mut self, events: u64, tool: &str, arguments: Map<String, Value>) -> Result<(), Failure> {
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        let mut subscription = timeout(CALL_TIMEOUT, self.service.peer().listen(filter)).await??;
        for event in 0..=events {
            if event == events {
                self.call(tool, arguments.clone(), false).await?;
            }
            let next = timeout(NOTICE_TIMEOUT, subscription.next()).await.map_err(|_| "no change was told")??;
            next.ok_or_else(|| format!("the stream ended: {:?}", subscription.end()))?;
        }
        Ok(subscription.cancel().await?)
    }

    /// A call that the client leaves.
    pub async fn cancelled(&self, tool: &str, arguments: Map<String, Value>) -> Result<(), Failure> {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let peer = self.service.peer();
        let handle = peer.send_cancellable_request(request, PeerRequestOptions::no_options()).await?;
        sleep(CANCEL_AFTER).await;
        Ok(handle.cancel(None).await?)
    }

    /// A notification that nobody waits for.
    pub async fn notify(&self) -> Result<(), Failure> {
        Ok(self.service.peer().notify_roots_list_changed().await?)
    }

    /// Ends the session, with DELETE where there is one.
    pub async fn end(self) -> Result<(), Failure> {
        self.service.cancel().await?;
        Ok(())
    }
}

fn text_of(result: &CallToolResult) -> Result<String, Failure> {
    let text = result.content.iter().find_map(|block| block.as_text()).map_or("", |text| &text.text);
    if result.is_error == Some(true) { Err(text.into()) } else { Ok(text.to_owned()) }
}
