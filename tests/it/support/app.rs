//! A dualgate in process.

use std::net::SocketAddr;
use std::sync::Arc;

use dualgate::app::{App, Seams};
use dualgate::config::{self, Source};
use dualgate::control::Evictions;
use dualgate::domain::{Entry, Eviction, PerEntry};
use dualgate::upstream::EntryTally;
use serde_json::Value;

use super::{Fake, Folder, Said, dualgate, eventually};

pub struct TestApp {
    pub address: SocketAddr,
    pub tls: Option<SocketAddr>,
    pub metrics: SocketAddr,
    pub admin: Admin,
    evictions: Evictions,
    app: Option<App>,
    _folder: Option<Folder>,
}

/// The admin API's client.
#[derive(Clone)]
pub struct Admin {
    pub url: String,
    pub token: String,
    pub http: reqwest::Client,
}

impl TestApp {
    /// In front of two servers, with further lines of configuration for the service (`more`).
    pub async fn start(primary: &Fake, secondary: &Fake, split: &str, more: &str) -> Self {
        Self::with(&[primary], &[secondary], split, more).await
    }

    pub async fn with(primary: &[&Fake], secondary: &[&Fake], split: &str, more: &str) -> Self {
        let folder = Folder::new();
        let text = Self::file(folder.path(), primary, secondary, split, more);
        let mut app = Self::from_text(text).await;
        app._folder = Some(folder);
        app
    }

    pub fn file(state: &std::path::Path, primary: &[&Fake], secondary: &[&Fake], split: &str, more: &str) -> String {
        let list = |fakes: &[&Fake]| fakes.iter().map(|fake| format!("\"{}\"", fake.url())).collect::<Vec<_>>().join(", ");
        let (first, second) = split.split_once(':').unwrap();
        format!(
            r#"
            listen = "127.0.0.1:0"
            threads = 2
            shutdown = {{ delay = "0s", drain = "1s" }}
            admin = {{ listen = "127.0.0.1:0" }}
            metrics = {{ listen = "127.0.0.1:0" }}
            state = {{ dir = '{}' }}
            [[service]]
            name = "notes"
            primary = {{ version = "1.0", endpoints = [{}] }}
            secondary = {{ version = "2.0", endpoints = [{}] }}
            split = {{ primary = {first}, secondary = {second} }}
            {more}
            "#,
            state.display(),
            list(primary),
            list(secondary),
        )
    }

    pub async fn from_text(text: String) -> Self {
        Self::with_seams(text, Seams::default()).await
    }

    /// With a folder that is to last as long.
    pub fn keeping(mut self, folder: Folder) -> Self {
        self._folder = Some(folder);
        self
    }

    /// With something else in the world's place.
    pub async fn with_seams(text: String, seams: Seams) -> Self {
        if std::env::var_os("LOG_LEVEL").is_some() {
            std::mem::forget(dualgate::telemetry::log::start());
        }
        let config = config::load("test", &text, None).unwrap_or_else(|errors| panic!("{errors:?}"));
        let evictions = seams.evictions.clone();
        let app = tokio::task::spawn_blocking(move || App::start_with(config, seams)).await.unwrap().unwrap();
        let mut started = Self::started(app).await;
        started.evictions = evictions;
        started
    }

    /// From a file, which may change.
    pub async fn from_file(path: &std::path::Path) -> Self {
        let (name, text) = (path.display().to_string(), std::fs::read_to_string(path).unwrap());
        let source = Source::new(Some(path.to_owned()), text, move |text| config::load(&name, text, None));
        let config = source.read(&source.text).unwrap_or_else(|errors| panic!("{errors:?}"));
        let app = tokio::task::spawn_blocking(move || App::start_from(config, source)).await.unwrap().unwrap();
        Self::started(app).await
    }

    async fn started(app: App) -> Self {
        let bound = app.bound().clone();
        let admin = Admin { url: format!("http://{}", bound.admin), token: bound.token, http: reqwest::Client::new() };
        let started = Self {
            address: bound.traffic,
            tls: bound.tls,
            metrics: bound.metrics.expect("the tests have a metrics listener"),
            admin,
            evictions: Evictions::default(),
            app: Some(app),
            _folder: None,
        };
        eventually("the start is over", async || (!started.admin.service().await["starting"].as_bool().unwrap()).then_some(()))
            .await;
        started
    }

    /// Rids the primary of its sessions from the next publish on, with another split.
    pub async fn evict(&self, eviction: Option<Eviction>, split: &str) {
        self.evictions.store(Arc::new(PerEntry::from_fn(|entry| eviction.filter(|_| entry == Entry::Primary))));
        self.admin.split(split).await;
    }

    /// What an entry of the service has seen.
    pub fn tally(&self, entry: Entry) -> Arc<EntryTally> {
        self.app.as_ref().unwrap().reader().current().named("notes").unwrap().entries[entry].tally.clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// As by SIGHUP.
    pub fn hang_up(&self) {
        self.app.as_ref().unwrap().reload();
    }

    /// Asks for a stop, without waiting for it.
    pub fn stop(&self) {
        self.app.as_ref().unwrap().stop();
    }

    /// Waits until everything has ended.
    pub async fn stopped(mut self) {
        let app = self.app.take().unwrap();
        tokio::task::spawn_blocking(move || app.join()).await.unwrap().unwrap();
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
            app.stop();
            let _ = app.join();
        }
    }
}

impl Admin {
    /// One command of the command line, as somebody with the token.
    pub async fn cli(&self, arguments: &[&str]) -> Said {
        let file = Folder::new();
        let token = file.path().join("token");
        std::fs::write(&token, &self.token).unwrap();
        let token = token.to_str().unwrap();
        dualgate(arguments, &[("DUALGATE_ADMIN_URL", &self.url), ("DUALGATE_TOKEN_FILE", token), ("USER", "ada")]).await
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        self.http.request(method, format!("{}{path}", self.url)).header("authorization", format!("Bearer {}", self.token))
    }

    /// Status and document.
    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
    }

    pub async fn service(&self) -> Value {
        self.send("GET", "/v1/services/notes", None).await.1
    }

    pub async fn split(&self, split: &str) -> Value {
        let (primary, secondary) = split.split_once(':').unwrap();
        let body =
            serde_json::json!({ "primary": primary.parse::<f64>().unwrap(), "secondary": secondary.parse::<f64>().unwrap() });
        let (status, answer) = self.send("PUT", "/v1/services/notes/split", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}
