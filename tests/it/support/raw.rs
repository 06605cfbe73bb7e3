//! A server and a client that say bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::{Fake, Folder, Options, TestApp, eventually};

/// A request as the server read it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Of those over which anything was asked, the number in their order.
    pub connection: usize,
    /// Of all connections, the number in their order.
    pub arrival: usize,
    pub head: String,
    pub body: Vec<u8>,
}

/// What a server does about a request, one after the other; then it reads the next. One for `/early…` it answers before it
/// has read its body.
pub enum Step {
    Say(Vec<u8>),
    /// Again and again, until nobody takes it.
    Forever(Vec<u8>),
    /// Until the test lets it go on.
    Wait,
    /// Until the other side has gone.
    Hold,
    Close,
}

pub fn say(bytes: impl AsRef<[u8]>) -> Vec<Step> {
    vec![Step::Say(bytes.as_ref().to_vec())]
}

#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    state: Arc<State>,
}

type Script = Box<dyn Fn(&Ask) -> Vec<Step> + Send + Sync>;

struct State {
    script: Script,
    asked: Mutex<Vec<Ask>>,
    arrivals: AtomicUsize,
    connections: AtomicUsize,
    gone: AtomicUsize,
    go_on: Notify,
    waits: AtomicUsize,
}

impl State {
    fn new(script: impl Fn(&Ask) -> Vec<Step> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            asked: Mutex::default(),
            arrivals: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            gone: AtomicUsize::new(0),
            go_on: Notify::new(),
            waits: AtomicUsize::new(0),
        })
    }
}

impl Server {
    pub async fn start(script: impl Fn(&Ask) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State::new(script);
        let server = Self { address, state: state.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let arrival = state.arrivals.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, arrival, state.clone()));
            }
        });
        server
    }

    /// One that is somebody else's doing.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, state: State::new(|_| Vec::new()) }
    }

    /// A dualgate of one worker, with this as its primary.
    pub async fn behind(&self, more: &str) -> TestApp {
        let (folder, other) = (Folder::new(), Fake::start("other", Options::default()).await);
        let health = "health = { kind = \"tcp\", interval = \"60s\" }";
        let text = TestApp::file(folder.path(), &[&other], &[&other], "100:0", &format!("{health}\n{more}"));
        let text = text.replacen(&other.url(), &format!("http://{}", self.address), 1).replacen("threads = 2", "threads = 1", 1);
        TestApp::from_text(text).await
    }

    /// Connections by now, also those over which nothing is asked.
    pub fn arrivals(&self) -> usize {
        self.state.arrivals.load(Ordering::SeqCst)
    }

    pub fn asked(&self) -> Vec<Ask> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Lets who waits go on, and waits until it has done the steps behind that.
    pub async fn go_on(&self) {
        eventually("the server waits", async || (self.state.waits.load(Ordering::SeqCst) > 0).then_some(())).await;
        self.state.go_on.notify_one();
        eventually("it went on", async || (self.state.waits.load(Ordering::SeqCst) == 0).then_some(())).await;
    }

    /// So many of those for whom it held have gone.
    pub async fn gone(&self, wanted: usize) {
        eventually("they have gone", async || (self.state.gone.load(Ordering::SeqCst) == wanted).then_some(())).await;
    }
}

async fn serve(mut stream: TcpStream, arrival: usize, state: Arc<State>) -> Option<()> {
    let mut buffer = Vec::new();
    let mut connection = None;
    loop {
        let head = head(&mut stream, &mut buffer).await?;
        let is_early = head.contains(" /early");
        let first = if is_early { Vec::new() } else { body(&head, false, &mut stream, &mut buffer).await? };
        let connection = *connection.get_or_insert_with(|| state.connections.fetch_add(1, Ordering::SeqCst));
        let ask = Ask { connection, arrival, head, body: first };
        state.asked.lock().unwrap().push(ask.clone());
        let mut waited = false;
        for step in (state.script)(&ask) {
            match step {
                Step::Say(bytes) => stream.write_all(&bytes).await.ok()?,
                Step::Forever(bytes) => {
                    while stream.write_all(&bytes).await.is_ok() {}
                    state.gone.fetch_add(1, Ordering::SeqCst);
                    return None;
                }
                Step::Wait => {
                    state.waits.fetch_add(1, Ordering::SeqCst);
                    state.go_on.notified().await;
                    waited = true;
                }
                Step::Hold => {
                    while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
                    state.gone.fetch_add(1, Ordering::SeqCst);
                    return None;
                }
                Step::Close => {
                    stream.shutdown().await.ok()?;
                    if waited {
                        state.waits.fetch_sub(1, Ordering::SeqCst);
                    }
                    return None;
                }
            }
        }
        if waited {
            state.waits.fetch_sub(1, Ordering::SeqCst);
        }
        if is_early {
            body(&ask.head, false, &mut stream, &mut buffer).await?;
        }
    }
}

/// A head; nothing at the end of the connection.
async fn head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Some(String::from_utf8_lossy(&buffer.drain(..end + 4).collect::<Vec<_>>()).into_owned());
        }
        more(stream, buffer).await?;
    }
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    stream.read_buf(buffer).await.ok().filter(|read| *read > 0).map(|_| ())
}

/// The field's value, in lower case.
pub fn field(head: &str, name: &str) -> Option<String> {
    let lower = head.to_ascii_lowercase();
    lower.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

async fn body(head: &str, has_none: bool, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    if has_none {
        return Some(Vec::new());
    }
    if let Some(length) = field(head, "content-length") {
        let length: usize = length.parse().unwrap();
        while buffer.len() < length {
            more(stream, buffer).await?;
        }
        return Some(buffer.drain(..length).collect());
    }
    if field(head, "transfer-encoding").is_none() {
        return Some(Vec::new());
    }
    let mut body = Vec::new();
    loop {
        let line = loop {
            if let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") {
                break buffer.drain(..end + 2).collect::<Vec<_>>();
            }
            more(stream, buffer).await?;
        };
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        while buffer.len() < size + 2 {
            more(stream, buffer).await?;
        }
        body.extend(buffer.drain(..size));
        assert_eq!(buffer.drain(..2).collect::<Vec<_>>(), b"\r\n");
        if size == 0 {
            return Some(body);
        }
    }
}

/// A client that is one connection.
pub struct Talk {
    pub stream: TcpStream,
    pub buffer: Vec<u8>,
}

impl Talk {
    pub async fn to(app: &TestApp) -> Self {
        let stream = TcpStream::connect(app.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next answer, whole: head and body.
    pub async fn answer(&mut self) -> (String, Vec<u8>) {
        self.answer_to("GET").await
    }

    pub async fn answer_to(&mut self, method: &str) -> (String, Vec<u8>) {
        self.try_answer(method).await.unwrap_or_else(|| panic!("closed behind {:?}", String::from_utf8_lossy(&self.buffer)))
    }

    /// Nothing where the connection ends in the middle, or before.
    pub async fn try_answer(&mut self, method: &str) -> Option<(String, Vec<u8>)> {
        let Self { stream, buffer } = self;
        let reading = async {
            let head = head(stream, buffer).await?;
            let has_none = method == "HEAD" || ["204", "304", "100"].contains(&&head[9..12]);
            let body = body(&head, has_none, stream, buffer).await?;
            Some((head, body))
        };
        tokio::time::timeout(Duration::from_secs(20), reading).await.expect("in time")
    }

    /// All that comes to the end of the connection.
    pub async fn rest(mut self) -> Vec<u8> {
        while tokio::time::timeout(Duration::from_secs(20), more(&mut self.stream, &mut self.buffer))
            .await
            .expect("in time")
            .is_some()
        {}
        self.buffer
    }
}

/// A POST of JSON, which is gathered and sent whole.
pub fn post(body: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

pub fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body]
        .concat()
}
