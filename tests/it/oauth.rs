//! What OAuth says passes as it is, and from one version; what is not MCP follows `plain`.

use http::HeaderMap;
use serde_json::json;

use crate::support::{Client, Fake, Options, TestApp, call};

const SPLITS: [&str; 4] = ["100:0", "50:50", "10:90", "0:100"];

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

/// All of an answer but when it was made.
async fn answer(request: reqwest::RequestBuilder) -> (u16, HeaderMap, Vec<u8>) {
    let response = request.send().await.unwrap();
    let (status, mut headers) = (response.status().as_u16(), response.headers().clone());
    headers.remove("date");
    (status, headers, response.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn metadata_is_stables_at_every_split_byte_for_byte() {
    let (v1, v2) = pair().await;
    for plain in ["stable", "split"] {
        let app = TestApp::start(&v1, &v2, "100:0", &format!("affinity = {{ plain = \"{plain}\" }}")).await;
        for split in SPLITS {
            app.admin.split(split).await;
            for path in [
                "/.well-known/oauth-protected-resource",
                "/.well-known/oauth-protected-resource/mcp?x=1",
                "/.well-known/oauth-authorization-server",
                "/.well-known/oauth-authorization-server/tenant",
                "/.well-known/openid-configuration",
                "/tenant/.well-known/openid-configuration",
                "/mcp/.well-known/oauth-protected-resource",
            ] {
                for key in ["a", "b", "c"] {
                    let http = reqwest::Client::new();
                    let direct = answer(http.get(format!("{}{path}", v1.url()))).await;
                    let asked = || http.get(app.url(path)).header("x-api-key", key);
                    assert_eq!(answer(asked()).await, direct, "{path} at {split}");
                    // Clients name their revision here, too; that makes it no MCP request.
                    for revision in ["2025-06-18", "2026-07-28"] {
                        let named = answer(asked().header("mcp-protocol-version", revision)).await;
                        assert_eq!(named, direct, "{path} at {split} by a client of {revision}");
                    }
                }
            }
        }
    }
    assert!(v2.seen().is_empty());
}

#[tokio::test]
async fn the_challenge_of_a_server_reaches_the_client_as_it_is() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    for split in SPLITS {
        app.admin.split(split).await;
        for status in ["401", "403"] {
            let path = format!("/guarded/{status}");
            let http = reqwest::Client::new();
            let direct = answer(http.get(format!("{}{path}", v1.url()))).await;
            assert_eq!(direct.1.get_all("www-authenticate").iter().count(), 2);
            assert_eq!(answer(http.get(app.url(&path))).await, direct, "a plain request at {split}");
            let client = Client::at(&app.url(&path));
            for message in
                [crate::support::initialize(), call(1, "echo"), json!({ "jsonrpc": "2.0", "method": "notifications/x" })]
            {
                let posted = client.request("POST").header("content-type", "application/json").body(message.to_string());
                assert_eq!(answer(posted).await, direct, "{message} at {split}");
            }
            assert_eq!(answer(client.request("GET")).await, direct, "a stream at {split}");
        }
    }
}

#[tokio::test]
async fn metadata_of_a_resource_below_a_prefix_is_its_services() {
    let (v1, v2) = pair().await;
    let (w1, w2) = (Fake::start("w1", Options::default()).await, Fake::start("w2", Options::default()).await);
    let more = format!(
        r#"
        [[service]]
        name = "tasks"
        path = "/tasks"
        primary = {{ version = "1", endpoints = ["{}"] }}
        secondary = {{ version = "2", endpoints = ["{}"] }}
        "#,
        w1.url(),
        w2.url(),
    );
    let app = TestApp::start(&v1, &v2, "0:100", &more).await;
    for (path, expected) in [
        ("/.well-known/oauth-protected-resource", "v2"),
        ("/.well-known/oauth-protected-resource/mcp", "v2"),
        ("/.well-known/oauth-protected-resource/tasks/mcp", "w1"),
        ("/.well-known/oauth-protected-resource/tasksmcp", "v2"),
        ("/.well-known/oauth-authorization-server/tasks", "w1"),
    ] {
        let (status, _, body) = answer(reqwest::Client::new().get(app.url(path))).await;
        let body = String::from_utf8(body).unwrap();
        assert!(status == 200 && body.contains(&format!("\"by\":\"{expected}\"")) && body.contains(path), "{path}: {body}");
    }
}

#[tokio::test]
async fn what_is_not_mcp_is_split_by_key_and_without_one_by_birth() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "affinity = { plain = \"split\", keys = [\"api-key\"] }").await;
    let ask = async |key: Option<u32>| {
        let request = reqwest::Client::new().get(app.url("/plain"));
        let request = key.iter().fold(request, |request, key| request.header("x-api-key", key.to_string()));
        request.send().await.unwrap().text().await.unwrap()
    };
    let mut homes = vec!["v1".to_owned(); 40];
    for (split, births) in [("90:10", 2), ("50:50", 10), ("0:100", 20)] {
        app.admin.split(split).await;
        for (key, home) in (0..).zip(&mut homes) {
            let now = ask(Some(key)).await;
            assert_eq!(now, ask(Some(key)).await, "a key has one home");
            assert!(*home == "v1" || now == "v2", "key {key} went back at {split}");
            *home = now;
        }
        let mut born = 0i32;
        for _ in 0..20 {
            born += i32::from(ask(None).await == "v2");
        }
        assert!((born - births).abs() <= 1, "{born} of 20 at {split}");
    }
    assert!(homes.iter().all(|home| home == "v2"));
}

#[tokio::test]
async fn what_is_not_mcp_is_stables_at_every_split_unless_said_otherwise() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    for split in SPLITS {
        app.admin.split(split).await;
        for key in 0..10 {
            let request = reqwest::Client::new().post(app.url("/plain")).header("x-api-key", key.to_string()).body("x");
            assert_eq!(request.send().await.unwrap().text().await.unwrap(), "v1", "at {split}");
        }
    }
}
