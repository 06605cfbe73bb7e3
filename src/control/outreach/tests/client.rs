use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Fake, Reply, file, nobody, serve};
use crate::config::ClientTls;
use crate::control::outreach::client::{Answer, Call, Client, Silence};
use crate::control::outreach::target::Target;

async fn get(client: &Client, url: &str, timeout: Duration) -> Result<Answer, Silence> {
    let target = Target::parse(url).unwrap();
    let call = Call {
        method: Method::GET,
        target: &target,
        headers: Vec::new(),
        body: Bytes::new(),
        timeout,
        most: 100,
        reads_success: true,
    };
    client.call(call).await
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_answer_is_read_up_to_its_bound_and_no_further() {
    let fake = Fake::start(|_, asked| match asked.line.as_str() {
        "GET /short?q=1 HTTP/1.1" => Reply::Says(200, "x".repeat(100)),
        _ => Reply::Says(200, "x".repeat(101)),
    })
    .await;
    let short = get(&Client::new(), &format!("{}/short?q=1", fake.url), LONG).await.unwrap();
    assert_eq!((short.body.len(), short.is_whole), (100, true));
    let long = get(&Client::new(), &fake.url, LONG).await.unwrap();
    assert_eq!((long.body.len(), long.is_whole), (100, false));
}

#[tokio::test]
async fn whoever_hangs_is_given_up_with_words_that_name_no_secret() {
    let fake = Fake::start(|asked, _| if asked == 0 { Reply::Hangs } else { Reply::Endless }).await;
    for _ in 0..2 {
        let url = fake.url.replace("//", "//user:hunter2@") + "/path?key=hunter2";
        let silence = get(&Client::new(), &url, Duration::from_millis(50)).await.err().unwrap();
        assert_eq!((silence.what, silence.is_late), (format!("{}/path: no answer within 50ms", fake.url), true));
    }
    assert!(fake.asked()[0].headers["authorization"].starts_with("Basic "));
}

#[tokio::test]
async fn nobody_there_and_no_http_are_said_so() {
    let silence = get(&Client::new(), &nobody().await, LONG).await.err().unwrap();
    assert!(silence.what.contains("Connection refused") && !silence.is_late, "{}", silence.what);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { drop(listener.accept().await) });
    assert!(get(&Client::new(), &url, LONG).await.is_err());
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let fake = Fake::start(|_, _| Reply::With(302, "location: /elsewhere")).await;
    assert_eq!(get(&Client::new(), &fake.url, LONG).await.unwrap().status, 302);
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn tls_is_spoken_with_who_is_trusted_and_with_nobody_else() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let roots = file("roots", &certificate.pem());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            serve(stream, Arc::<Mutex<_>>::default(), |_, _| Reply::Says(200, "secure".to_owned())).await;
        }
    });
    let client = |roots: Vec<_>| Client::with(&ClientTls { roots, ..ClientTls::default() });
    let url = format!("https://localhost:{port}/");
    assert_eq!(get(&client(vec![roots.clone()]), &url, LONG).await.unwrap().words(), "secure");
    let mut other = rcgen::CertificateParams::new(Vec::new()).unwrap();
    other.distinguished_name.push(rcgen::DnType::CommonName, "another authority");
    let other = other.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let other = file("other-roots", &other.pem());
    let silence = get(&client(vec![other.clone()]), &url, LONG).await.err().unwrap();
    assert_eq!(silence.what, format!("{url}: TLS: its certificate is from an unknown issuer"));
    [roots, other].iter().for_each(|path| std::fs::remove_file(path).unwrap());
}
