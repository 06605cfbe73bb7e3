use std::time::Duration;

use rmcp::model::{CallToolRequestParams, ClientConfig};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::servers::{self, Record, Server, Version};
use super::traffic::{self, Pace};
use super::*;

type Client = RunningService<RoleClient, ClientConfig>;

async fn connect(server: &Server) -> Client {
    ClientConfig::default().serve(StreamableHttpClientTransport::from_uri(server.url())).await.expect("a session")
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> String {
    let arguments = arguments.as_object().cloned().expect("an object");
    let result = client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await.expect("an answer");
    assert_ne!(result.is_error, Some(true), "{result:?}");
    result.content.first().and_then(|block| block.as_text()).map(|text| text.text.clone()).unwrap_or_default()
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let polled = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), polled).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn the_catalogues_differ_as_the_versions_do() {
    let servers = servers::start().await.expect("two free ports");
    for (server, expected) in [
        (&servers.v1, &["add_note", "list_notes", "version"][..]),
        (&servers.v2, &["add_note", "list_notes", "search_notes", "version"][..]),
    ] {
        let mut client = connect(server).await;
        let info = client.peer_info().and_then(|peer| peer.server_info.clone()).expect("a name");
        assert_eq!((info.name.as_str(), info.version.as_str()), ("notes", server.version().label()));
        let tools = client.list_all_tools().await.expect("tools");
        assert_eq!(tools.iter().map(|tool| tool.name.as_ref()).collect::<Vec<_>>(), expected);
        let add_note = serde_json::to_value(&tools[0].input_schema).expect("a schema");
        assert_eq!(add_note["properties"].get("tags").is_some(), server.version() == Version::V2, "{add_note}");
        assert_eq!(add_note["required"], json!(["text"]));
        assert_eq!(call(&client, "version", json!({})).await, server.version().label());
        client.close().await.expect("closed");
    }
}

#[tokio::test]
async fn notes_are_kept_and_found() {
    let servers = servers::start().await.expect("two free ports");
    let client = connect(&servers.v2).await;
    call(&client, "add_note", json!({ "text": "milk", "tags": ["shop"] })).await;
    call(&client, "add_note", json!({ "text": "call home" })).await;
    assert_eq!(call(&client, "list_notes", json!({})).await, "milk #shop\ncall home");
    assert_eq!(call(&client, "search_notes", json!({ "query": "shop" })).await, "milk #shop");
    let long = CallToolRequestParams::new("add_note")
        .with_arguments(json!({ "text": "x".repeat(5_000) }).as_object().cloned().expect("an object"));
    assert_eq!(client.call_tool(long).await.expect("an answer").is_error, Some(true));
}

#[tokio::test]
async fn a_server_counts_sessions_and_calls_and_records_named_ones() {
    let servers = servers::start().await.expect("two free ports");
    let counts = servers.v1.counts();
    let first = connect(&servers.v1).await;
    let second = connect(&servers.v1).await;
    call(&first, "version", json!({ "call": "a" })).await;
    call(&second, "add_note", json!({ "text": "x", "call": "b" })).await;
    call(&second, "list_notes", json!({})).await;
    assert_eq!((counts.sessions(), counts.calls()), (2, 3));
    let records = counts.records();
    let named: Vec<_> = records.iter().map(|Record { tool, call, .. }| (*tool, call.as_str())).collect();
    assert_eq!(named, [("version", "a"), ("add_note", "b")]);
    assert!(records.iter().all(|record| record.session.is_some()));
    assert_ne!(records[0].session, records[1].session);
    assert_eq!(servers.v1.live_sessions().await, 2);
    assert_eq!(servers.v2.counts().sessions(), 0);
}

#[tokio::test]
async fn a_stopped_server_leaves_its_port_and_its_sessions() {
    let server = serve_new(Version::V1).await;
    let (address, counts) = (server.address(), server.counts());
    let client = connect(&server).await;
    server.stop().await;
    let again = servers::serve(TcpListener::bind(address).await.expect("the port is free"), Version::V2).expect("serving");
    let client_of_new = connect(&again).await;
    assert_eq!(call(&client_of_new, "version", json!({})).await, Version::V2.label());
    assert_eq!(counts.calls(), 0);
    assert_eq!(again.counts().sessions(), 1);
    drop(client);
}

async fn serve_new(version: Version) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    servers::serve(listener, version).expect("serving")
}

#[tokio::test]
async fn traffic_flows_without_errors_and_ends_politely() {
    let server = serve_new(Version::V2).await;
    let tally = Arc::new(Tally::default());
    let (end, ended) = watch::channel(false);
    let pace = Pace { clients: 4, pause: Duration::from_millis(2) };
    let running = tokio::spawn(traffic::run_at(pace, server.address(), ended, tally.clone()));
    until("100 calls of 8 sessions", async || tally.calls(Version::V2) >= 100 && tally.sessions(Version::V2) >= 8).await;
    end.send_replace(true);
    running.await.expect("no panic");
    assert_eq!((tally.errors(), tally.last_error()), (0, String::new()));
    assert_eq!((tally.live(), tally.moved(), tally.calls(Version::V1)), (0, 0, 0));
    assert_eq!(server.counts().sessions(), tally.sessions(Version::V2));
    assert_eq!(server.counts().calls(), tally.calls(Version::V2));
    until("every session is deleted", async || server.live_sessions().await == 0).await;
}

#[tokio::test]
async fn failed_clients_are_counted_and_replaced() {
    let server = serve_new(Version::V1).await;
    let address = server.address();
    let tally = Arc::new(Tally::default());
    let (end, ended) = watch::channel(false);
    let pace = Pace { clients: 3, pause: Duration::from_millis(5) };
    let running = tokio::spawn(traffic::run_at(pace, address, ended, tally.clone()));
    until("calls", async || tally.calls(Version::V1) >= 5).await;
    server.stop().await;
    until("errors", async || tally.errors() >= 3).await;
    assert!(!tally.last_error().is_empty());
    let again = servers::serve(TcpListener::bind(address).await.expect("the port is free"), Version::V2).expect("serving");
    until("clients have come back", async || tally.calls(Version::V2) >= 5).await;
    end.send_replace(true);
    running.await.expect("no panic");
    assert_eq!(tally.live(), 0);
    until("every session is deleted", async || again.live_sessions().await == 0).await;
}

#[tokio::test]
async fn the_demo_runs_until_it_is_told_to_stop() {
    let servers = servers::start().await.expect("two free ports");
    let (target, counts) = (servers.primary, servers.v1.counts());
    let enough = until("calls", async || counts.calls() >= 3);
    run(servers, target, vec!["dualgate split 50:50".to_owned()], || "100:0".to_owned(), enough).await;
    assert!(counts.sessions() > 0);
}
