use super::*;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use exeat_runtime::ca::{LEAF_VALIDITY, Root};
use exeat_runtime::clock::{Clock, SystemClock};
use exeat_runtime::shutdown::Shutdown;
use exeat_runtime::tls::{CertResolver, Limits, serve_tls, server_config};
use std::sync::Mutex;
use tokio::net::TcpListener;

/// What was received, and what is answered.
struct Receiver {
    answer: Mutex<StatusCode>,
    got: Mutex<Vec<(String, String)>>,
}

struct Running {
    receiver: Arc<Receiver>,
    settings: HttpSettings,
    shutdown: Shutdown,
    folder: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.trigger();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: String) -> StatusCode {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    receiver.got.lock().unwrap().push((format!("{} {}", text(AUTHORIZATION), text(CONTENT_TYPE)), body));
    *receiver.answer.lock().unwrap()
}

async fn start(name: &str) -> Running {
    let now = SystemClock.now();
    let root = Root::create("test root", &["localhost"], now).unwrap();
    let leaf = root.issue(&["localhost"], LEAF_VALIDITY, now).unwrap();
    let certificate = CertResolver::empty();
    certificate.set(leaf.certified_key().unwrap());
    let receiver = Arc::new(Receiver { answer: Mutex::new(StatusCode::NO_CONTENT), got: Mutex::default() });
    let router = Router::new().route("/audit", post(receive)).with_state(Arc::clone(&receiver));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/audit?token=hush", listener.local_addr().unwrap().port());
    let shutdown = Shutdown::manual();
    tokio::spawn(serve_tls(listener, router, server_config(certificate).unwrap(), shutdown.clone(), Limits::default()));
    let folder = std::env::temp_dir().join(format!("exeat-audit-http-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let (token_file, ca_file) = (folder.join("token"), folder.join("ca.crt"));
    std::fs::write(&token_file, "first\n").unwrap();
    std::fs::write(&ca_file, root.cert_pem()).unwrap();
    let settings = HttpSettings { url: url.parse().unwrap(), token_file: Some(token_file), ca_file: Some(ca_file) };
    Running { receiver, settings, shutdown, folder }
}

/// `localhost` needs no server.
fn resolver() -> Resolver {
    let config = exeat_runtime::dns::ResolverConfig::default();
    Resolver::from_config(config, exeat_runtime::dns::ResolverOpts::default()).unwrap()
}

fn batch(text: &str) -> Vec<Entry> {
    text.split_inclusive('\n').map(|line| Entry { sequence: 0, line: line.as_bytes().to_vec().into() }).collect()
}

#[tokio::test]
async fn a_batch_is_one_post_with_the_token_of_that_moment() {
    let running = start("token").await;
    let mut sink = HttpSink::new(running.settings.clone(), resolver()).unwrap();
    sink.deliver(batch("a\nb\n")).await.unwrap();
    std::fs::write(running.folder.join("token"), "second").unwrap();
    sink.deliver(batch("c\n")).await.unwrap();
    let got = running.receiver.got.lock().unwrap().clone();
    let expected = [("Bearer first application/x-ndjson", "a\nb\n"), ("Bearer second application/x-ndjson", "c\n")];
    assert_eq!(got, expected.map(|(head, body)| (head.to_owned(), body.to_owned())));
}

#[tokio::test]
async fn only_2xx_takes_a_batch_and_errors_never_hold_the_token() {
    let running = start("refused").await;
    let mut sink = HttpSink::new(running.settings.clone(), resolver()).unwrap();
    for status in [StatusCode::MOVED_PERMANENTLY, StatusCode::UNAUTHORIZED, StatusCode::INTERNAL_SERVER_ERROR] {
        *running.receiver.answer.lock().unwrap() = status;
        let error = sink.deliver(batch("a\n")).await.unwrap_err();
        assert!(error.to_string().contains(status.as_str()) && !format!("{error:?}").contains("first"), "{error:?}");
        assert!(!format!("{error:?}").contains("token=hush"), "{error:?}");
    }
    std::fs::write(running.folder.join("token"), "se\ncret").unwrap();
    let error = sink.deliver(batch("a\n")).await.unwrap_err();
    assert!(error.to_string().contains("--audit-token-file") && !format!("{error:?}").contains("cret"), "{error:?}");
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let (running, other) = (start("trust").await, start("other").await);
    let settings = HttpSettings { ca_file: other.settings.ca_file.clone(), ..running.settings.clone() };
    let error = HttpSink::new(settings, resolver()).unwrap().deliver(batch("a\n")).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(running.receiver.got.lock().unwrap().is_empty());
}

#[test]
fn settings_that_would_leak_or_trust_nobody_are_refused_by_name() {
    let settings = |url: &str, ca_file: Option<&str>| HttpSettings {
        url: url.parse().unwrap(),
        token_file: None,
        ca_file: ca_file.map(PathBuf::from),
    };
    for url in ["http://audit.example.com/", "/audit", "audit.example.com", "https://me:hush@a.example.com/"] {
        let error = HttpSink::new(settings(url, None), resolver()).err().unwrap().to_string();
        assert!(error.contains("--audit-url") && !error.contains("hush"), "{error}");
    }
    let error = HttpSink::new(settings("https://a.example.com/", Some("/dev/null")), resolver()).err().unwrap();
    assert!(error.to_string().contains("--audit-ca"), "{error}");
}
