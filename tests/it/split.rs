use std::collections::HashMap;

use serde_json::json;

use crate::support::{Client, Fake, Options, TestApp, call, initialize};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

#[tokio::test]
async fn a_thousand_keyless_births_at_90_10_land_within_one_of_900_and_100() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "90:10", "").await;
    let client = Client::new(&app);
    for _ in 0..1000 {
        client.open().await;
    }
    assert!((899..=901).contains(&v1.births()), "{}", v1.births());
    assert_eq!(v1.births() + v2.births(), 1000);
}

#[tokio::test]
async fn sessions_keep_their_server_through_every_split_and_back() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    let client = Client::new(&app);
    let mut sessions = Vec::new();
    for _ in 0..20 {
        let session = client.open().await;
        let home = session.who().await;
        sessions.push((session, home));
    }
    for split in ["90:10", "50:50", "0:100", "100:0"] {
        app.admin.split(split).await;
        for (session, home) in &sessions {
            assert_eq!(&session.who().await, home, "at {split}");
        }
    }
}

/// Keyed clients over the wire, and the two laws at once: no client moves against the direction,
/// and all return.
#[tokio::test]
async fn raising_the_share_never_moves_a_client_back_and_putting_it_back_restores_all() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let client = Client::new(&app);
    let mut homes: HashMap<u32, String> = (0..200).map(|key| (key, "v1".to_owned())).collect();
    for split in ["90:10", "50:50", "0:100"] {
        app.admin.split(split).await;
        for (key, home) in &mut homes {
            let now = client.with("x-api-key", &key.to_string()).who(&call(1, "echo")).await;
            assert!(home == "v1" || now == "v2", "client {key} went back at {split}");
            *home = now;
        }
    }
    assert!(homes.values().all(|home| home == "v2"));
    app.admin.split("100:0").await;
    for key in homes.keys() {
        assert_eq!(client.with("x-api-key", &key.to_string()).who(&call(1, "echo")).await, "v1");
    }
}

#[tokio::test]
async fn the_split_is_exact_at_both_ends() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let client = Client::new(&app);
    for (split, expected) in [("100:0", (50, 0)), ("0:100", (50, 50))] {
        app.admin.split(split).await;
        for _ in 0..50 {
            client.open().await;
        }
        assert_eq!((v1.births(), v2.births()), expected, "at {split}");
    }
}

#[tokio::test]
async fn a_keyed_client_opens_all_its_sessions_on_one_entry() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    for key in 0..10 {
        let client = Client::new(&app).with("authorization", &format!("Bearer key-{key}"));
        let home = client.open().await.who().await;
        for _ in 0..5 {
            assert_eq!(client.open().await.who().await, home);
        }
    }
}

#[tokio::test]
async fn a_jwt_places_its_subject_through_every_refresh() {
    use base64::Engine;
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    let token = |subject: u32, issued: u32| {
        let part = |value: &serde_json::Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
        format!("Bearer {}.{}.sig", part(&json!({ "alg": "none" })), part(&json!({ "sub": subject.to_string(), "iat": issued })))
    };
    let mut homes = Vec::new();
    for subject in 0..20 {
        let client = Client::new(&app);
        let home = client.with("authorization", &token(subject, 1)).open().await.who().await;
        assert_eq!(client.with("authorization", &token(subject, 2)).open().await.who().await, home);
        homes.push(home);
    }
    assert!(homes.contains(&"v1".to_owned()) && homes.contains(&"v2".to_owned()));
}

#[tokio::test]
async fn modern_requests_follow_the_client_and_keyless_ones_their_address() {
    let dual = Options { modern: true, ..Options::default() };
    let (v1, v2) = (Fake::start("v1", dual).await, Fake::start("v2", dual).await);
    let folder = crate::support::Folder::new();
    let text = TestApp::file(folder.path(), &[&v1], &[&v2], "50:50", "");
    let app = TestApp::from_text(format!("limits = {{ trusted_proxies = [\"127.0.0.1\"] }}\n{text}")).await;
    let modern = |address: &str| {
        let client = Client::new(&app).with("mcp-protocol-version", "2026-07-28").with("mcp-method", "tools/call");
        client.with("mcp-name", "=?base64?ZWNobw==?=").with("mcp-param-city", "Bonn").with("x-forwarded-for", address)
    };
    let mut homes = Vec::new();
    for host in 0..20 {
        let client = modern(&format!("192.0.2.{host}"));
        let home = client.who(&call(1, "echo")).await;
        assert_eq!(client.who(&call(2, "echo")).await, home);
        homes.push(home);
    }
    assert!(homes.contains(&"v1".to_owned()) && homes.contains(&"v2".to_owned()));
    let seen = if homes[19] == "v1" { v1.last() } else { v2.last() };
    assert_eq!(seen.headers["mcp-name"], "=?base64?ZWNobw==?=");
    assert_eq!(seen.headers.get_all("mcp-param-city").iter().count(), 1);
}

#[tokio::test]
async fn a_tester_reaches_an_entry_at_zero_and_the_header_goes_no_further() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "affinity = { tester_header = \"X-Try\" }").await;
    let tester = Client::new(&app).with("x-try", "secondary");
    let session = tester.open().await;
    assert_eq!(session.who().await, "v2");
    assert!(v2.last().headers.get("x-try").is_none());
    let refused = Client::new(&app).with("x-try", "tertiary").post(&initialize()).await;
    assert_eq!(refused.status(), 400);
    let off = TestApp::start(&v1, &v2, "100:0", "").await;
    assert_eq!(Client::new(&off).with("x-try", "secondary").open().await.who().await, "v1");
}

#[tokio::test]
async fn what_is_not_mcp_follows_plain_and_oauth_goes_to_stable() {
    let (v1, v2) = pair().await;
    let stable = TestApp::start(&v1, &v2, "0:100", "").await;
    let get = async |app: &TestApp, path: &str, key: &str| {
        let request = reqwest::Client::new().get(app.url(path)).header("x-api-key", key);
        request.send().await.unwrap().text().await.unwrap()
    };
    assert_eq!(get(&stable, "/plain", "a").await, "v2", "at first start the larger share is stable");
    let split = TestApp::start(&v1, &v2, "50:50", "affinity = { plain = \"split\" }").await;
    let mut answers = Vec::new();
    for key in 0..20 {
        answers.push(get(&split, "/plain", &key.to_string()).await);
        get(&split, "/.well-known/oauth-protected-resource", &key.to_string()).await;
    }
    assert!(answers.contains(&"v1".to_owned()) && answers.contains(&"v2".to_owned()));
    let oauth = |fake: &Fake| fake.seen().iter().filter(|seen| seen.target.starts_with("/.well-known")).count();
    assert_eq!((oauth(&v1), oauth(&v2)), (20, 0));
}

#[tokio::test]
async fn services_are_told_apart_by_host_and_by_prefix() {
    let (v1, v2) = pair().await;
    let (w1, w2) = (Fake::start("w1", Options::default()).await, Fake::start("w2", Options::default()).await);
    let (x1, x2) = (Fake::start("x1", Options::default()).await, Fake::start("x2", Options::default()).await);
    let more = format!(
        r#"
        [[service]]
        name = "tasks"
        path = "/tasks"
        strip_prefix = true
        primary = {{ version = "1", endpoints = ["{}"] }}
        secondary = {{ version = "2", endpoints = ["{}"] }}
        [[service]]
        name = "named"
        hosts = ["tasks.example"]
        primary = {{ version = "1", endpoints = ["{}"] }}
        secondary = {{ version = "2", endpoints = ["{}"] }}
        "#,
        w1.url(),
        w2.url(),
        x1.url(),
        x2.url(),
    );
    let app = TestApp::start(&v1, &v2, "100:0", &more).await;
    let get = async |path: &str, host: &str| {
        let response = reqwest::Client::new().get(app.url(path)).header("host", host).send().await.unwrap();
        response.text().await.unwrap()
    };
    assert_eq!(get("/plain", "any.example").await, "v1");
    assert_eq!(get("/tasks/plain", "any.example").await, "w1");
    assert_eq!(w1.last().target, "/plain");
    assert_eq!(get("/tasksplain", "any.example").await, "v1", "a prefix ends at a slash");
    assert_eq!(get("/plain", "Tasks.Example:8080").await, "x1");
}

#[tokio::test]
async fn keyed_clients_keep_their_endpoint_and_keyless_ones_spread() {
    let (a, b) = (Fake::start("a", Options::default()).await, Fake::start("b", Options::default()).await);
    let idle = Fake::start("idle", Options::default()).await;
    let app = TestApp::with(&[&a, &b], &[&idle], "100:0", "").await;
    for key in 0..10 {
        let client = Client::new(&app).with("x-api-key", &key.to_string());
        let home = client.who(&call(1, "echo")).await;
        for _ in 0..3 {
            assert_eq!(client.who(&call(1, "echo")).await, home);
        }
    }
    let before = (a.births(), b.births());
    for _ in 0..20 {
        Client::new(&app).open().await;
    }
    let spread = (a.births() - before.0, b.births() - before.1);
    // Each worker gives turns of its own, and who still holds something is passed over.
    assert!(spread.0 + spread.1 == 20 && spread.0.abs_diff(spread.1) <= 4, "idle endpoints take turns: {spread:?}");
}
