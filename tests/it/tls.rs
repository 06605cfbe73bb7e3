use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dualgate::app::App;
use dualgate::config;
use dualgate::tls::{Places, Protocols, Server, Shown};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::support::{
    Authority, Fake, Folder, Http1, Http2, Issued, Options, Port, Process, TestApp, call, eventually, pair, read_until, shake,
    text,
};

async fn fakes() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

/// A dualgate with a TLS listener.
struct Gate {
    folder: Folder,
    authority: Authority,
    v1: Fake,
    _v2: Fake,
    app: TestApp,
}

impl Gate {
    /// With one certificate, for `notes.example`, and more lines for `[tls]`.
    async fn start(more: &str) -> Self {
        Self::with(&[&["notes.example"]], more).await
    }

    async fn with(certificates: &[&[&str]], more: &str) -> Self {
        let (folder, authority, (v1, _v2)) = (Folder::new(), Authority::new("tests"), fakes().await);
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let written = certificates
            .iter()
            .enumerate()
            .map(|(at, names)| pair(&authority.issue(names).write(folder.path(), &format!("cert-{at}"))));
        let certificates = written.collect::<Vec<_>>().join(", ");
        let more = more.replace("{folder}", &folder.path().display().to_string());
        let tls = format!("tls = {{ listen = \"127.0.0.1:0\", certificates = [{certificates}]{more} }}");
        let file = TestApp::file(&folder.path().join("state"), &[&v1], &[&_v2], "100:0", "");
        let app = TestApp::from_text(format!("{tls}\n{file}")).await;
        Self { folder, authority, v1, _v2, app }
    }

    /// A handshake, and a request where that came to its end.
    async fn get(&self, name: &str, config: &ClientConfig) -> std::io::Result<u16> {
        let stream = shake(self.app.tls.unwrap(), name, config).await?;
        Http1::over(stream).await.get("/plain").await.map(|(status, _)| status).map_err(std::io::Error::other)
    }

    async fn http2(&self) -> Http2 {
        let config = self.authority.client(&["h2"], None);
        Http2::over(shake(self.app.tls.unwrap(), "notes.example", &config).await.unwrap(), "https").await
    }

    /// Waits for a count: what a client has seen is not yet counted by then.
    async fn counted(&self, sample: &str, wanted: u32) {
        let what = format!("{sample} is {wanted}");
        eventually(&what, async || (self.metric(sample).await == f64::from(wanted)).then_some(())).await;
    }

    /// A sample of the metrics page.
    async fn metric(&self, sample: &str) -> f64 {
        let page = reqwest::get(format!("http://{}/metrics", self.app.metrics)).await.unwrap().text().await.unwrap();
        let line = page.lines().find(|line| line.starts_with(sample)).unwrap_or_else(|| panic!("{sample} in {page}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

#[tokio::test]
async fn the_name_asked_for_chooses_the_certificate_and_the_first_is_for_all_others() {
    let gate = Gate::with(&[&["a.example"], &["*.b.example", "c.example"], &["x.b.example"]], "").await;
    // Who is shown what, whatever it is for.
    let shown = async |name: &str| {
        let mut config = gate.authority.client(&[], None);
        config.dangerous().set_certificate_verifier(Arc::new(anyone::Anyone));
        let stream = shake(gate.app.tls.unwrap(), name, &config).await.unwrap();
        let der = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        (0..3).find(|at| {
            let cert = std::fs::read_to_string(gate.folder.path().join(format!("cert-{at}.crt"))).unwrap();
            Issued { cert, key: String::new() }.chain()[0] == der
        })
    };
    let cases = [
        ("a.example", 0),
        ("c.example", 1),
        ("C.Example", 1),
        ("y.b.example", 1),
        ("x.b.example", 2),
        ("z.y.b.example", 0),
        ("b.example", 0),
        ("unknown.example", 0),
        ("127.0.0.1", 0),
    ];
    for (name, expected) in cases {
        assert_eq!(shown(name).await, Some(expected), "{name}");
    }
}

/// Looks at no certificate, so that a test may see any.
mod anyone {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub struct Anyone;

    impl ServerCertVerifier for Anyone {
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
            default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
}

/// A file with two services and no more, and what is put before it.
fn file(before: &str, more: &str) -> String {
    format!(
        "{before}\n[[service]]\nname = \"notes\"\nprimary = {{ version = \"1\", endpoints = [\"http://127.0.0.1:1\"] }}\n\
         secondary = {{ version = \"2\", endpoints = [\"http://127.0.0.1:2\"] }}\n{more}\n"
    )
}

fn wrong(text: &str) -> String {
    let config = config::load("f", text, None).unwrap_or_else(|errors| panic!("{errors:?}"));
    let errors = Shown::open(&config).err().expect("something is wrong");
    errors.iter().map(|(key, error)| format!("{key}: {error}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_with_its_file_and_its_reason() {
    let (folder, authority) = (Folder::new(), Authority::new("tests"));
    let at = |name: &str| folder.path().join(name);
    let put = |name: &str, text: &str| std::fs::write(at(name), text).unwrap();
    let (good, other) = (authority.issue(&["a.example"]), authority.issue(&["b.example"]));
    put("good.crt", &good.cert);
    put("good.key", &good.key);
    put("other.key", &other.key);
    put("expired.crt", &authority.issue_for(&["a"], 2019, 2020).cert);
    put("early.crt", &authority.issue_for(&["a"], 2090, 2100).cert);
    put("empty", "");
    put("encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    put("unknown.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    put("binary", "\u{1}\u{2}");
    put("cut.crt", good.cert.rsplit_once("-----END").unwrap().0);
    let cases = [
        ("good.crt", "other.key", "good.crt: the certificate does not fit the key in "),
        ("expired.crt", "good.key", "expired.crt: the certificate has expired, at 2020-01-01T00:00:00.000Z: a new one is needed"),
        ("early.crt", "good.key", "early.crt: the certificate is valid from 2090-01-01T00:00:00.000Z only"),
        ("nowhere.crt", "good.key", "nowhere.crt: cannot be read: No such file or directory"),
        ("good.crt", "nowhere.key", "nowhere.key: cannot be read: No such file or directory"),
        ("empty", "good.key", "empty: holds no certificate in PEM (-----BEGIN CERTIFICATE-----): it is empty"),
        ("good.crt", "empty", "empty: holds no private key in PEM (-----BEGIN PRIVATE KEY-----): it is empty"),
        ("binary", "good.key", "binary: holds no certificate in PEM (-----BEGIN CERTIFICATE-----): is it DER"),
        ("cut.crt", "good.key", "cut.crt: is not PEM as it should be: "),
        (
            "good.key",
            "good.crt",
            "good.key: holds no certificate in PEM (-----BEGIN CERTIFICATE-----): it holds a private key; are cert",
        ),
        (
            "good.crt",
            "good.crt",
            "good.crt: holds no private key in PEM (-----BEGIN PRIVATE KEY-----): it holds a certificate; are cert",
        ),
        ("good.crt", "encrypted.key", "encrypted.key: the key is encrypted, and nobody is there to type its passphrase"),
        ("good.crt", "unknown.key", "unknown.key: the key is of a kind that is not known here: RSA, ECDSA"),
    ];
    for (cert, key, expected) in cases {
        let pair = pair(&config::KeyPair { cert: at(cert), key: at(key) });
        let expected = format!("{}/{expected}", folder.path().display());
        let listener = wrong(&file(&format!("tls = {{ listen = \"127.0.0.1:0\", certificates = [{pair}] }}"), ""));
        assert!(listener.starts_with(&format!("tls: {expected}")), "{cert}, {key}: {listener}");
        let admin = wrong(&file(&format!("admin = {{ tls = {{ certificates = [{pair}] }} }}"), ""));
        assert!(admin.starts_with(&format!("admin.tls: {expected}")), "{cert}, {key}: {admin}");
        let endpoints = wrong(&file("", &format!("[service.tls]\nclient_certificate = {pair}\ninsecure = true")));
        assert!(endpoints.starts_with(&format!("service[notes].tls: {expected}")), "{cert}, {key}: {endpoints}");
    }
    for (name, expected) in [("nowhere", "cannot be read"), ("good.key", "it holds a private key"), ("empty", "it is empty")] {
        let said = wrong(&file("", &format!("[service.tls]\nroots = ['{}']", at(name).display())));
        assert!(said.contains(&format!("{name}: ")) && said.contains(expected), "{said}");
    }
}

#[test]
fn run_and_check_refuse_it_with_exit_code_3() {
    let (folder, authority) = (Folder::new(), Authority::new("tests"));
    let pair = pair(&authority.issue_for(&["a"], 2019, 2020).write(folder.path(), "old"));
    let state = format!("state = {{ dir = '{}' }}", folder.path().join("state").display());
    let path = folder.path().join("f.toml");
    std::fs::write(&path, file(&format!("{state}\ntls = {{ listen = \"127.0.0.1:0\", certificates = [{pair}] }}"), "")).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [vec!["check", path], vec!["run", "--config", path]] {
        let ended = Command::new(env!("CARGO_BIN_EXE_dualgate")).args(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains("old.crt: the certificate has expired"), "{arguments:?}: {said}");
    }
}

#[test]
fn what_is_wrong_with_a_section_is_said_with_its_key() {
    let pair = "certificates = [{ cert = \"a\", key = \"b\" }]";
    let cases = [
        (
            "[tls]\nlisten = \"127.0.0.1:0\"\ncertificates = []".to_owned(),
            "f:3: tls.certificates: at least one is needed, like [{ cert",
        ),
        (format!("[tls]\nlisten = \"8443\"\n{pair}"), "f:2: tls.listen: `8443` is not an address with a port"),
        (format!("[tls]\nlisten = \"0.0.0.0:8080\"\n{pair}"), "f:2: tls.listen: 0.0.0.0:8080 is another listener's address too"),
        (
            format!("[tls]\nlisten = \"127.0.0.1:0\"\n{pair}\nclient_auth = \"required\""),
            "f:1: tls.client_ca: client certificates need",
        ),
        (
            format!("[tls]\nlisten = \"127.0.0.1:0\"\n{pair}\nclient_ca = \"c\""),
            "f:1: tls.client_auth: an authority for client certificates is",
        ),
        (
            format!("[tls]\nlisten = \"127.0.0.1:0\"\n{pair}\nclient_auth = \"maybe\""),
            "f:4: tls.client_auth: `maybe` is not one of",
        ),
        (
            format!("[tls]\nlisten = \"127.0.0.1:1\"\n{pair}"),
            "f:6: service[0].primary.endpoints: http://127.0.0.1:1 is the address this proxy",
        ),
    ];
    for (before, expected) in cases {
        let errors = config::load("f", &file(&before, ""), None).unwrap_err();
        assert!(errors[0].to_string().starts_with(expected), "{}", errors[0]);
    }
    let cases = [
        ("server_name = \"not a name\"", "service[0].tls.server_name: `not a name` is not a name"),
        ("insecure = true\nroots = [\"x\"]", "service[0].tls.insecure: true accepts any certificate, whatever the roots"),
    ];
    for (more, expected) in cases {
        let errors = config::load("f", &file("", &format!("[service.tls]\n{more}")), None).unwrap_err();
        assert!(errors[0].to_string().contains(expected), "{}", errors[0]);
    }
}

/// Twenty clients with a connection a request, and one with one for all, while files are swapped.
#[tokio::test]
async fn certificates_are_replaced_under_load_without_a_failed_request() {
    let gate = Arc::new(Gate::start("").await);
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for _ in 0..20 {
        let (gate, stop, served) = (gate.clone(), stop.clone(), served.clone());
        clients.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                // A session that is resumed would show nothing new.
                let config = gate.authority.client(&["http/1.1"], None);
                assert_eq!(gate.get("notes.example", &config).await.unwrap(), 200);
                served.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    let config = gate.authority.client(&["http/1.1"], None);
    let tls = gate.app.tls.unwrap();
    let mut old = Http1::over(shake(tls, "notes.example", &config).await.unwrap()).await;
    let mut stream = gate.http2().await;
    let id = stream.open().await;
    let mut listening = stream.listen(&id).await;
    for round in 1..=3 {
        let fresh = gate.authority.issue(&["notes.example"]);
        let before = served.load(Ordering::SeqCst);
        fresh.write(gate.folder.path(), "cert-0");
        eventually("the new certificate is shown", async || {
            let stream = shake(tls, "notes.example", &gate.authority.client(&[], None)).await.unwrap();
            (stream.get_ref().1.peer_certificates().unwrap()[0] == fresh.chain()[0]).then_some(())
        })
        .await;
        assert_eq!(old.get("/plain").await.unwrap().0, 200, "an old connection goes on");
        gate.v1.say(b"data: still here\n\n");
        read_until(&mut listening, "here\n\n").await;
        eventually("requests were made", async || (served.load(Ordering::SeqCst) > before + 20).then_some(())).await;
        gate.counted("dualgate_tls_reloads_total{scope=\"traffic\",result=\"done\"}", round).await;
    }
    let sample = format!(
        "dualgate_tls_certificate_expiry_seconds{{listener=\"traffic\",name=\"{}/cert-0.crt\"}}",
        gate.folder.path().display()
    );
    assert_eq!(gate.metric(&sample).await, 4_102_444_800.0, "2100-01-01");
    // What is not in order is not taken.
    std::fs::write(gate.folder.path().join("cert-0.crt"), gate.authority.issue_for(&["notes.example"], 2019, 2020).cert).unwrap();
    gate.counted("dualgate_tls_reloads_total{scope=\"traffic\",result=\"failed\"}", 1).await;
    assert_eq!(gate.get("notes.example", &config).await.unwrap(), 200, "the old one stays");
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    stream = gate.http2().await;
    assert_eq!(stream.who(&id).await, "v1");
}

#[tokio::test]
async fn sessions_are_resumed_also_after_a_new_certificate() {
    let gate = Gate::start("").await;
    let config = gate.authority.client(&["http/1.1"], None);
    let kind = async || {
        let stream = shake(gate.app.tls.unwrap(), "notes.example", &config).await.unwrap();
        let kind = stream.get_ref().1.handshake_kind().unwrap();
        // The tickets come with the answer.
        Http1::over(stream).await.get("/plain").await.unwrap();
        kind
    };
    assert_eq!(kind().await, HandshakeKind::Full);
    assert_eq!(kind().await, HandshakeKind::Resumed);
    gate.authority.issue(&["notes.example"]).write(gate.folder.path(), "cert-0");
    gate.counted("dualgate_tls_reloads_total{scope=\"traffic\",result=\"done\"}", 1).await;
    assert_eq!(kind().await, HandshakeKind::Resumed);
}

/// A ticket says that its client was known; by whose word is for the authority of today to say.
#[tokio::test]
async fn a_ticket_of_before_leads_past_no_new_authority() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let gate = Gate::start(", client_ca = '{folder}/ca.pem', client_auth = \"required\"").await;
        let fresh = Authority::new("fresh");
        let client = |shown: &Issued| {
            let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
            let builder = builder.with_protocol_versions(&[version]).unwrap().with_root_certificates(gate.authority.roots());
            builder.with_client_auth_cert(shown.chain(), shown.private_key()).unwrap()
        };
        let kind = async |config: &ClientConfig| {
            let stream = shake(gate.app.tls.unwrap(), "notes.example", config).await.map_err(|error| error.to_string())?;
            let kind = stream.get_ref().1.handshake_kind().unwrap();
            // The tickets come with the answer, and so does a refusal of TLS 1.3.
            let answer = Http1::over(stream).await.get("/plain").await;
            answer.map(|_| kind).map_err(|error| error.to_string())
        };
        let (old, new) = (client(&gate.authority.issue(&["client"])), client(&fresh.issue(&["client"])));
        assert_eq!(kind(&old).await, Ok(HandshakeKind::Full), "{version:?}");
        assert_eq!(kind(&old).await, Ok(HandshakeKind::Resumed), "{version:?}");
        std::fs::write(gate.folder.path().join("ca.pem"), fresh.pem()).unwrap();
        gate.counted("dualgate_tls_reloads_total{scope=\"traffic\",result=\"done\"}", 1).await;
        assert!(kind(&old).await.is_err(), "{version:?}");
        assert_eq!(kind(&new).await, Ok(HandshakeKind::Full), "{version:?}");
        assert_eq!(kind(&new).await, Ok(HandshakeKind::Resumed), "{version:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_beside_one_that_is_not_in_order() {
    let gate = Gate::with(&[&["a.example"], &["b.example"]], "").await;
    let folder = gate.folder.path();
    let shown = async |name: &str| {
        let stream = shake(gate.app.tls.unwrap(), name, &gate.authority.client(&[], None)).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let before = shown("b.example").await;
    for round in 1..=2 {
        match round {
            1 => drop(gate.authority.issue_for(&["b.example"], 2019, 2020).write(folder, "cert-1")),
            _ => std::fs::remove_file(folder.join("cert-1.key")).unwrap(),
        }
        gate.counted("dualgate_tls_reloads_total{scope=\"traffic\",result=\"failed\"}", round * 2 - 1).await;
        let fresh = gate.authority.issue(&["a.example"]);
        fresh.write(folder, "cert-0");
        eventually("the new certificate is shown", async || (shown("a.example").await == fresh.chain()[0]).then_some(())).await;
        assert_eq!(shown("b.example").await, before, "the last good one stays");
        gate.counted("dualgate_tls_reloads_total{scope=\"traffic\",result=\"done\"}", round).await;
        gate.counted("dualgate_tls_reloads_total{scope=\"traffic\",result=\"failed\"}", round * 2).await;
    }
    let sample = |at: u8| {
        format!("dualgate_tls_certificate_expiry_seconds{{listener=\"traffic\",name=\"{}/cert-{at}.crt\"}}", folder.display())
    };
    for at in [0, 1] {
        assert_eq!(gate.metric(&sample(at)).await, 4_102_444_800.0, "2100-01-01");
    }
    let repaired = gate.authority.issue(&["b.example"]);
    repaired.write(folder, "cert-1");
    eventually("and this one is, too", async || (shown("b.example").await == repaired.chain()[0]).then_some(())).await;
}

#[tokio::test]
async fn an_authority_that_is_not_in_order_keeps_no_certificate_old_and_lets_no_stranger_in() {
    let gate = Gate::start(", client_ca = '{folder}/ca.pem', client_auth = \"required\"").await;
    let (own, foreign) = (gate.authority.issue(&["client"]), Authority::new("strangers").issue(&["client"]));
    std::fs::write(gate.folder.path().join("ca.pem"), "").unwrap();
    gate.counted("dualgate_tls_reloads_total{scope=\"traffic\",result=\"failed\"}", 1).await;
    let fresh = gate.authority.issue(&["notes.example"]);
    fresh.write(gate.folder.path(), "cert-0");
    eventually("the new certificate is shown", async || {
        let config = gate.authority.client(&[], Some(&own));
        let stream = shake(gate.app.tls.unwrap(), "notes.example", &config).await.unwrap();
        (stream.get_ref().1.peer_certificates().unwrap()[0] == fresh.chain()[0]).then_some(())
    })
    .await;
    for (shown, expected) in [(None, false), (Some(&own), true), (Some(&foreign), false)] {
        let got = gate.get("notes.example", &gate.authority.client(&["http/1.1"], shown)).await;
        assert_eq!(got.is_ok(), expected, "{}: {got:?}", shown.is_some());
    }
}

#[tokio::test]
async fn plain_http_to_a_tls_listener_is_told_so() {
    let gate = Gate::start("").await;
    for (at, request) in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "P"].iter().enumerate() {
        let mut stream = TcpStream::connect(gate.app.tls.unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https"), "{request:?}: {answer:?}");
        gate.counted("dualgate_tls_handshakes_total{listener=\"traffic\",result=\"failed\"}", at as u32 + 1).await;
    }
    // What is neither is for TLS to refuse.
    let mut stream = TcpStream::connect(gate.app.tls.unwrap()).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 21, "an alert");
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_1_1_is_refused() {
    let gate = Gate::start("").await;
    for (version, expected) in
        [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let config = builder.with_root_certificates(gate.authority.roots()).with_no_client_auth();
        let stream = shake(gate.app.tls.unwrap(), "notes.example", &config).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
    }
    // A ClientHello of TLS 1.1 (RFC 4346, 7.4.1.2): version, random, no session, two suites, no
    // compression, and the signatures that it knows.
    let hello = [&[3, 2][..], &[7; 32], &[0, 0, 4, 0xC0, 0x13, 0x00, 0x2F, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 1]].concat();
    let handshake = [&[1, 0, 0, hello.len() as u8][..], &hello].concat();
    let record = [&[22, 3, 1, 0, handshake.len() as u8][..], &handshake].concat();
    let mut socket = TcpStream::connect(gate.app.tls.unwrap()).await.unwrap();
    socket.write_all(&record).await.unwrap();
    let mut alert = [0; 7];
    socket.read_exact(&mut alert).await.unwrap();
    assert_eq!((alert[0], alert[6]), (21, 70), "an alert: protocol_version");
    // It is counted behind the alert.
    gate.counted("dualgate_tls_handshakes_total{listener=\"traffic\",result=\"failed\"}", 1).await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_is_cut_off() {
    let gate = Gate::start(", handshake_timeout = \"100ms\"").await;
    for bytes in [&b""[..], &[22, 3, 1]] {
        let mut socket = TcpStream::connect(gate.app.tls.unwrap()).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(10), socket.read(&mut [0; 1])).await.expect("in time");
        assert!(matches!(read, Ok(0) | Err(_)));
    }
    gate.counted("dualgate_tls_handshakes_total{listener=\"traffic\",result=\"timeout\"}", 2).await;
}

#[tokio::test]
async fn client_certificates_are_wanted_as_it_is_configured() {
    let stranger = Authority::new("strangers");
    let foreign = stranger.issue(&["client"]);
    for (auth, without, with_foreign) in [("optional", true, false), ("required", false, false), ("none", true, true)] {
        let ca = if auth == "none" { String::new() } else { ", client_ca = '{folder}/ca.pem'".to_owned() };
        let gate = Gate::start(&format!("{ca}, client_auth = \"{auth}\"")).await;
        let own = gate.authority.issue(&["client"]);
        for (shown, expected) in [(None, without), (Some(&own), true), (Some(&foreign), with_foreign)] {
            let config = gate.authority.client(&["http/1.1"], shown);
            let got = gate.get("notes.example", &config).await;
            assert_eq!(got.is_ok(), expected, "{auth}, {}: {got:?}", shown.is_some());
        }
    }
}

#[tokio::test]
async fn alpn_chooses_the_version_of_http() {
    let gate = Gate::start("").await;
    for (offered, expected) in [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)] {
        let config = gate.authority.client(offered, None);
        let stream = shake(gate.app.tls.unwrap(), "notes.example", &config).await.unwrap();
        let chosen = stream.get_ref().1.alpn_protocol().map(|protocol| String::from_utf8(protocol.to_vec()).unwrap());
        assert_eq!(chosen.as_deref(), expected);
        if expected == Some("h2") {
            assert!(!Http2::over(stream, "https").await.open().await.is_empty());
        } else {
            assert_eq!(Http1::over(stream).await.get("/plain").await.unwrap().0, 200);
        }
        let seen = gate.v1.last().headers;
        assert_eq!(seen["x-forwarded-proto"], "https");
        assert!(seen["forwarded"].to_str().unwrap().ends_with(";proto=https"), "{seen:?}");
    }
    let config = gate.authority.client(&["gopher"], None);
    assert!(shake(gate.app.tls.unwrap(), "notes.example", &config).await.is_err());
}

#[tokio::test]
async fn sessions_and_streams_are_the_same_over_tls() {
    let gate = Gate::start("").await;
    let http2 = gate.http2().await;
    let id = http2.open().await;
    let mut stream = http2.listen(&id).await;
    gate.app.admin.split("0:100").await;
    assert_eq!(http2.who(&id).await, "v1");
    gate.v1.say(b"data: one\n\n");
    assert_eq!(read_until(&mut stream, "one\n\n").await, "data: one\n\n");
    drop(stream);
    eventually("the server has felt it", async || (gate.v1.gone() == 1).then_some(())).await;
    // And plainly: the id is good at either listener.
    assert_eq!(Http2::plain(gate.app.address).await.who(&id).await, "v1");
    let answer = text(http2.post(Some(&id), &call(7, "echo")).await).await;
    assert!(answer.contains("\"id\":7"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_ends_its_connection_ends_it_as_tls_does() {
    let gate = Gate::start("").await;
    let config = gate.authority.client(&["http/1.1"], None);
    let mut stream = shake(gate.app.tls.unwrap(), "notes.example", &config).await.unwrap();
    stream.write_all(b"GET /plain HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    // Without a close_notify, or with a part of the answer missing, this is an error.
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_slow_head_and_a_client_that_leaves_are_felt_through_tls() {
    let gate = Gate::start("").await;
    let config = gate.authority.client(&["http/1.1"], None);
    let tls = gate.app.tls.unwrap();
    // Five seconds are the default for a head.
    let slow = tokio::spawn({
        let config = config.clone();
        async move {
            let mut stream = shake(tls, "notes.example", &config).await.unwrap();
            stream.write_all(b"GET /plain HT").await.unwrap();
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0; 1])).await.expect("in time");
            assert!(matches!(read, Ok(0) | Err(_)));
        }
    });
    let session = crate::support::Client::new(&gate.app).open().await;
    let mut stream = shake(tls, "notes.example", &config).await.unwrap();
    let listen = format!("GET /mcp HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nmcp-session-id: {}\r\n\r\n", session.id);
    stream.write_all(listen.as_bytes()).await.unwrap();
    stream.read_u8().await.unwrap();
    drop(stream);
    eventually("the server has felt it", async || (gate.v1.gone() == 1).then_some(())).await;
    slow.await.unwrap();
}

/// Where the check of the primary endpoint stands, once it has been made.
async fn checked(app: &TestApp) -> Value {
    eventually("it is checked", async || {
        let check = app.admin.service().await["entries"]["primary"]["endpoints"][0]["check"].clone();
        (!check.is_null()).then_some(check)
    })
    .await
}

/// A dualgate in front of servers over TLS, with this for `[service.tls]`.
async fn before(v1: &Fake, v2: &Fake, tls: &str) -> TestApp {
    TestApp::start(v1, v2, "100:0", &format!("health = {{ interval = \"1s\", timeout = \"1s\" }}\ntls = {tls}")).await
}

#[tokio::test]
async fn endpoints_over_tls_are_trusted_by_roots_and_name_and_by_nothing_else() {
    let (folder, authority) = (Folder::new(), Authority::new("endpoints"));
    let root = folder.path().join("root.pem");
    std::fs::write(&root, authority.pem()).unwrap();
    let stranger = folder.path().join("stranger.pem");
    std::fs::write(&stranger, Authority::new("strangers").pem()).unwrap();
    let (root, stranger) = (root.display(), stranger.display());
    let secure = async |issued: &Issued| {
        let start = async |name| Fake::secure(name, Options::default(), issued.server(None)).await;
        (start("v1").await, start("v2").await)
    };
    let by_address = secure(&authority.issue(&["127.0.0.1"])).await;
    let by_name = secure(&authority.issue(&["inner.example"])).await;
    let expired = secure(&authority.issue_for(&["127.0.0.1"], 2019, 2020)).await;
    let cases = [
        (&by_address, format!("{{ roots = ['{root}'] }}"), None),
        (&by_name, format!("{{ roots = ['{root}'], server_name = \"inner.example\" }}"), None),
        (&by_name, "{ insecure = true }".to_owned(), None),
        (&by_name, format!("{{ roots = ['{root}'] }}"), Some("TLS: its certificate is not for 127.0.0.1 but for inner.example")),
        (
            &by_address,
            format!("{{ roots = ['{root}'], server_name = \"inner.example\" }}"),
            Some("TLS: its certificate is not for inner.example but for "),
        ),
        (&by_address, format!("{{ roots = ['{stranger}'] }}"), Some("TLS: its certificate is from an unknown issuer")),
        (&expired, format!("{{ roots = ['{root}'] }}"), Some("TLS: its certificate has expired, at 2020-01-01")),
    ];
    for ((v1, v2), tls, refused) in cases {
        let app = before(v1, v2, &tls).await;
        let check = checked(&app).await;
        let before = v1.seen().len() + v2.seen().len();
        let answer = reqwest::get(app.url("/plain")).await.unwrap();
        match refused {
            None => {
                assert_eq!((&check["success"], answer.status().as_u16()), (&json!(true), 200), "{tls}: {check}");
                assert_eq!(v1.last().headers["host"], v1.address.to_string().as_str());
            }
            Some(refused) => {
                assert!(check["detail"].as_str().unwrap().starts_with(refused), "{tls}: {check}");
                assert_eq!((&check["success"], answer.status().is_server_error()), (&json!(false), true));
                assert_eq!(v1.seen().len() + v2.seen().len(), before, "{tls}");
            }
        }
        let service = app.admin.service().await;
        let is_insecure = tls.contains("insecure");
        assert_eq!(service["tls"]["insecure"], is_insecure);
        assert_eq!(service["warnings"].to_string().contains("any certificate of an endpoint is accepted"), is_insecure);
        if refused.is_some() {
            continue;
        }
        let session = crate::support::Client::new(&app).open().await;
        assert_eq!(session.who().await, "v1");
    }
}

#[tokio::test]
async fn endpoints_get_the_client_certificate_that_they_want() {
    let (folder, authority) = (Folder::new(), Authority::new("endpoints"));
    let root = folder.path().join("root.pem");
    std::fs::write(&root, authority.pem()).unwrap();
    let shown = pair(&authority.issue(&["dualgate"]).write(folder.path(), "client"));
    let server = authority.issue(&["127.0.0.1"]);
    let start = async |name| Fake::secure(name, Options::default(), server.server(Some(&authority))).await;
    let (v1, v2) = (start("v1").await, start("v2").await);
    let roots = format!("roots = ['{}']", root.display());
    let app = before(&v1, &v2, &format!("{{ {roots}, client_certificate = {shown} }}")).await;
    assert_eq!(checked(&app).await["success"], true);
    assert_eq!(reqwest::get(app.url("/plain")).await.unwrap().status(), 200);
    // The command line checks them with the same files.
    let (token, url) = (folder.path().join("token"), app.admin.url.clone());
    std::fs::write(&token, &app.admin.token).unwrap();
    let asked = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dualgate"));
        command.arg("health-check").env("DUALGATE_ADMIN_URL", url).env("DUALGATE_TOKEN_FILE", token).output().unwrap()
    });
    let asked = asked.await.unwrap();
    assert_eq!(asked.status.code(), Some(0), "{}", String::from_utf8_lossy(&asked.stdout));
    let app = before(&v1, &v2, &format!("{{ {roots} }}")).await;
    assert_eq!(checked(&app).await["success"], false);
}

#[tokio::test]
async fn a_handshake_that_fails_has_sent_nothing_and_the_request_goes_elsewhere() {
    let (folder, authority) = (Folder::new(), Authority::new("endpoints"));
    let root = folder.path().join("root.pem");
    std::fs::write(&root, authority.pem()).unwrap();
    let shown = || authority.issue(&["127.0.0.1"]).server(None);
    let start = async |name| Fake::secure(name, Options::default(), shown()).await;
    let (one, two, other) = (start("one").await, start("two").await, start("other").await);
    let more = format!("health = {{ interval = \"60s\" }}\ntls = {{ roots = ['{}'] }}", root.display());
    let app = TestApp::with(&[&one, &two], &[&other], "100:0", &more).await;
    one.kill();
    let foreign = one.restart_showing(Authority::new("strangers").issue(&["127.0.0.1"]).server(None)).await;
    for _ in 0..4 {
        assert_eq!(reqwest::Client::new().post(app.url("/plain")).body("x").send().await.unwrap().status(), 200);
    }
    assert_eq!((foreign.seen().len(), two.seen().len()), (0, 4));
}

/// Over TLS a write that fails comes back out of the flush.
#[tokio::test]
async fn a_refusal_in_the_middle_of_an_upload_reaches_the_client_over_tls() {
    let (folder, authority, (other, _)) = (Folder::new(), Authority::new("endpoints"), fakes().await);
    let root = folder.path().join("root.pem");
    std::fs::write(&root, authority.pem()).unwrap();
    let acceptor = authority.issue(&["127.0.0.1"]).server(None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // As servers do. Else the kernel may keep the answer back until session tickets have been
            // acknowledged, and the reset at the close discards it there.
            stream.set_nodelay(true).unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let (mut buffer, mut read) = ([0; 4096], 0);
                while read < 1000 {
                    match stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(more) => read += more,
                    }
                }
                let answer = b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                let _ = stream.write_all(answer).await;
                let _ = stream.flush().await;
            });
        }
    });
    let more = format!("health = {{ kind = \"tcp\" }}\ntls = {{ roots = ['{}'] }}", root.display());
    let file = TestApp::file(&folder.path().join("state"), &[&other], &[&other], "100:0", &more);
    let app = TestApp::from_text(file.replacen(&other.url(), &format!("https://{address}"), 1)).await;
    let mut told = 0;
    for _ in 0..20 {
        let answer = reqwest::Client::new().put(app.url("/plain")).body(vec![b'x'; 3 << 20]).send().await;
        // The client may meet the closed connection itself; what it must never meet is 502.
        assert!(answer.as_ref().map_or(true, |answer| answer.status() == 413), "{answer:?}");
        told += usize::from(answer.is_ok());
    }
    assert!(told > 0, "not one client was told");
    let primary = app.admin.service().await["entries"]["primary"].clone();
    assert_eq!((&primary["requests"]["entry_fault"], &primary["endpoints"][0]["ejected"]), (&json!(0), &json!(false)));
}

#[tokio::test]
async fn a_deploy_may_go_to_https() {
    let (folder, authority) = (Folder::new(), Authority::new("endpoints"));
    let root = folder.path().join("root.pem");
    std::fs::write(&root, authority.pem()).unwrap();
    let (v1, v2) = fakes().await;
    let v3 = Fake::secure("v3", Options::default(), authority.issue(&["127.0.0.1"]).server(None)).await;
    let app = before(&v1, &v2, &format!("{{ roots = ['{}'] }}", root.display())).await;
    let body = json!({ "version": "3", "endpoints": [v3.url()] });
    let (status, answer) = app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(body)).await;
    assert_eq!((status, &answer["endpoints"][0]["url"]), (200, &json!(v3.url())), "{answer}");
    eventually("it is proven", async || (app.admin.service().await["entries"]["secondary"]["standing"] == "up").then_some(()))
        .await;
    app.admin.split("0:100").await;
    let session = crate::support::Client::new(&app).open().await;
    assert_eq!(session.who().await, "v3");
}

/// The command line against a dualgate whose admin listener speaks TLS.
struct Office<'a> {
    url: String,
    folder: &'a Path,
}

impl Office<'_> {
    fn ask(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let token = self.folder.join("state/admin-token");
        let mut command = Command::new(env!("CARGO_BIN_EXE_dualgate"));
        command.args(arguments).env("DUALGATE_ADMIN_URL", &self.url).env("DUALGATE_TOKEN_FILE", token);
        let ended = command.output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.code(), String::from_utf8(said).unwrap())
    }
}

#[tokio::test]
async fn the_admin_listener_speaks_tls_and_the_command_line_with_it() {
    let (folder, authority, (v1, v2)) = (Folder::new(), Authority::new("office"), fakes().await);
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let stranger = folder.path().join("stranger.pem");
    std::fs::write(&stranger, Authority::new("strangers").pem()).unwrap();
    let shown = pair(&authority.issue(&["127.0.0.1"]).write(folder.path(), "admin"));
    let client = authority.issue(&["operator"]).write(folder.path(), "operator");
    let held = Port::any();
    let port = held.number();
    // Not a loopback address: with TLS it may be any.
    let admin = format!(
        "admin = {{ listen = \"0.0.0.0:{port}\", tls = {{ certificates = [{shown}], client_ca = '{}', client_auth = \"required\" }} }}",
        ca.display()
    );
    let file = TestApp::file(&folder.path().join("state"), &[&v1], &[&v2], "100:0", "");
    let path = folder.path().join("f.toml");
    std::fs::write(&path, file.replace("admin = { listen = \"127.0.0.1:0\" }", &admin)).unwrap();
    let _process = Process::start(&["run", "--config", path.to_str().unwrap()]);
    let office = Office { url: format!("https://127.0.0.1:{port}"), folder: folder.path() };
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca, cert, key) = (text(&ca), text(&client.cert), text(&client.key));
    let trusted = ["--admin-ca", &ca, "--admin-cert", &cert, "--admin-key", &key];
    let ask = |arguments: &[&str]| office.ask(&[arguments, &trusted].concat());
    eventually("it is ready", async || (ask(&["health-check", "--self"]).0 == Some(0)).then_some(())).await;
    assert_eq!(ask(&["status"]).0, Some(0));
    assert_eq!(ask(&["split", "50:50", "--yes", "--reason", "x"]).0, Some(0));
    let (code, said) = office.ask(&["status", "--admin-ca", &text(&stranger), "--admin-cert", &cert, "--admin-key", &key]);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("its certificate is from an unknown issuer") && said.contains("--admin-ca"), "{said}");
    let (code, said) = office.ask(&["status", "--admin-ca", "/nowhere"]);
    assert!(code == Some(2) && said.contains("/nowhere: cannot be read"), "{said}");
    assert_ne!(office.ask(&["status", "--admin-ca", &ca]).0, Some(0), "no client certificate");
    let plain = Office { url: format!("http://127.0.0.1:{port}"), folder: folder.path() };
    let (code, said) = plain.ask(&["status"]);
    assert!(code == Some(10) && said.contains(&format!("does not speak http: try https://127.0.0.1:{port}")), "{said}");
}

#[tokio::test]
async fn the_command_line_says_that_the_scheme_is_wrong() {
    let gate = Gate::start("").await;
    // A server of TLS that answers plain HTTP with an alert and nothing else.
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (alerting, acceptor) = (other.local_addr().unwrap(), gate.authority.issue(&["127.0.0.1"]).server(None));
    tokio::spawn(async move {
        while let Ok((stream, _)) = other.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(stream).await.is_ok() });
        }
    });
    let ca = gate.folder.path().join("ca.pem").to_str().unwrap().to_owned();
    let (traffic, metrics, tls) = (gate.app.address, gate.app.metrics, gate.app.tls.unwrap());
    let admin = gate.app.admin.url.replace("http:", "https:");
    for url in
        [format!("http://{tls}"), format!("http://{alerting}"), admin, format!("https://{traffic}"), format!("https://{metrics}")]
    {
        let (asked, folder, ca) = (url.clone(), gate.folder.path().to_owned(), ca.clone());
        let office = move || Office { url: asked, folder: &folder }.ask(&["status", "--admin-ca", &ca]);
        let (code, said) = tokio::task::spawn_blocking(office).await.unwrap();
        let (scheme, rest) = url.split_once(':').unwrap();
        let other = if scheme == "http" { "https" } else { "http" };
        assert_eq!(code, Some(10), "{url}: {said}");
        assert!(said.contains(&format!("what answers at {url} does not speak {scheme}: try {other}:{rest}")), "{url}: {said}");
    }
}

/// A listener's side by itself, and connections to it from addresses of the machine.
struct Door {
    _folder: Folder,
    authority: Authority,
    server: Arc<Server>,
    listener: TcpListener,
}

impl Door {
    async fn open() -> Self {
        let (folder, authority) = (Folder::new(), Authority::new("tests"));
        let certificates = vec![authority.issue(&["notes.example"]).write(folder.path(), "cert")];
        let tls = config::ServerTls { certificates, client_ca: None, client_auth: config::ClientAuth::None };
        let server = Server::open("x", &tls, Protocols::Http1, Duration::from_secs(3600)).unwrap();
        Self { _folder: folder, authority, server, listener: TcpListener::bind("0.0.0.0:0").await.unwrap() }
    }

    /// A client from this address of the machine, and what becomes of its handshake.
    async fn client(&self, from: &str, places: &Arc<Places>) -> (TcpStream, JoinHandle<bool>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let to = format!("127.0.0.1:{}", self.listener.local_addr().unwrap().port()).parse().unwrap();
        let (client, accepted) = tokio::join!(socket.connect(to), self.listener.accept());
        let ((stream, address), server, places) = (accepted.unwrap(), self.server.clone(), places.clone());
        let shaken = tokio::spawn(async move { server.accept(stream, address.ip(), &places).await.is_ok() });
        (client.unwrap(), shaken)
    }

    /// The client's side of a handshake.
    fn shake(&self, client: TcpStream) -> JoinHandle<bool> {
        let connector = TlsConnector::from(Arc::new(self.authority.client(&[], None)));
        tokio::spawn(async move { connector.connect("notes.example".try_into().unwrap(), client).await.is_ok() })
    }
}

/// Half of a ClientHello, as far as it says how long it is.
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1];

#[tokio::test]
async fn handshakes_beyond_the_places_wait_for_one_and_who_says_nothing_takes_none() {
    let door = Door::open().await;
    let places = Arc::new(Places::new(2));
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(door.client("127.0.0.1", &places).await);
    }
    let mut stuck = Vec::new();
    for free in [1, 0] {
        let (mut client, shaken) = door.client("127.0.0.1", &places).await;
        client.write_all(HALF_A_HELLO).await.unwrap();
        eventually("it has a place", async || (places.free() == free).then_some(())).await;
        stuck.push((client, shaken));
    }
    let (client, shaken) = door.client("127.0.0.1", &places).await;
    let told = door.shake(client);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!shaken.is_finished() && !told.is_finished());
    drop(stuck.pop());
    assert!(told.await.unwrap() && shaken.await.unwrap());
    assert!(silent.iter().all(|(_, shaken)| !shaken.is_finished()));
}

#[tokio::test]
async fn stuck_handshakes_of_one_address_shut_no_other_out() {
    let door = Door::open().await;
    let places = Arc::new(Places::with_most_of_each(64, 32));
    let (mut stuck, mut refused) = (Vec::new(), Vec::new());
    for n in 0..300 {
        let (mut client, shaken) = door.client("127.0.0.1", &places).await;
        // It may be closed by now.
        let _ = client.write_all(&HALF_A_HELLO[..n % 7]).await;
        if n < 32 { stuck.push((client, shaken)) } else { refused.push(shaken) }
    }
    for shaken in refused {
        assert!(!shaken.await.unwrap());
    }
    assert_eq!(door.server.handshakes().counts(), [("done", 0), ("failed", 268), ("timeout", 0)]);
    let (client, shaken) = door.client("127.0.0.2", &places).await;
    assert!(door.shake(client).await.unwrap() && shaken.await.unwrap());
    assert!(stuck.iter().all(|(_, shaken)| !shaken.is_finished()));
    // And the address itself gets through again once one of its own has gone.
    let (client, shaken) = stuck.pop().unwrap();
    drop(client);
    assert!(!shaken.await.unwrap());
    let (client, shaken) = door.client("127.0.0.1", &places).await;
    assert!(door.shake(client).await.unwrap() && shaken.await.unwrap());
}

#[tokio::test]
async fn the_admin_listener_keeps_places_for_other_addresses() {
    let (folder, authority, (v1, v2)) = (Folder::new(), Authority::new("office"), fakes().await);
    let shown = pair(&authority.issue(&["127.0.0.1"]).write(folder.path(), "admin"));
    let admin = format!("admin = {{ listen = \"127.0.0.1:0\", tls = {{ certificates = [{shown}] }} }}");
    let file = TestApp::file(&folder.path().join("state"), &[&v1], &[&v2], "100:0", "");
    let text = file.replace("admin = { listen = \"127.0.0.1:0\" }", &admin);
    let config = config::load("test", &text, None).unwrap();
    let app = tokio::task::spawn_blocking(move || App::start(config)).await.unwrap().unwrap();
    let mut silent = Vec::new();
    for _ in 0..33 {
        silent.push(TcpStream::connect(app.bound().admin).await.unwrap());
    }
    // One is turned away at once; the others have five seconds.
    let metrics = format!("http://{}/metrics", app.bound().metrics.unwrap());
    eventually("one is turned away", async || {
        let page = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        page.contains("dualgate_tls_handshakes_total{listener=\"admin\",result=\"failed\"} 1.0\n").then_some(())
    })
    .await;
    app.stop();
    app.stop();
    tokio::task::spawn_blocking(move || app.join()).await.unwrap().unwrap();
}
