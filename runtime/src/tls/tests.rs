use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::ca::{LEAF_VALIDITY, Leaf, Root};
use crate::clock::{Clock, SystemClock};
use crate::shutdown::Shutdown;

const NAME: &str = "exeat-webhook.exeat-system.svc";
const SHORT: Duration = Duration::from_millis(200);

struct Running {
    root: Root,
    resolver: Arc<CertResolver>,
    shutdown: Shutdown,
    address: SocketAddr,
    server: JoinHandle<io::Result<()>>,
}

fn leaf(root: &Root) -> Leaf {
    root.issue(&[NAME], LEAF_VALIDITY, SystemClock.now()).unwrap()
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

async fn start(router: Router, limits: Limits) -> Running {
    let root = Root::create("Exeat test", &["exeat-system.svc"], SystemClock.now()).unwrap();
    let resolver = CertResolver::empty();
    resolver.set(leaf(&root).certified_key().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (config, shutdown) = (server_config(Arc::clone(&resolver)).unwrap(), Shutdown::manual());
    let server = tokio::spawn(serve_tls(listener, router, config, shutdown.clone(), limits));
    Running { root, resolver, shutdown, address, server }
}

impl Running {
    async fn connect(
        &self,
        protocol: &str,
        version: &'static SupportedProtocolVersion,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.root.cert_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    async fn http1(&self) -> io::Result<TlsStream<TcpStream>> {
        self.connect("http/1.1", &TLS13).await
    }
}

type Sender = hyper::client::conn::http1::SendRequest<Body>;

async fn sender(stream: TlsStream<TcpStream>) -> Sender {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn ask(sender: &mut Sender) -> hyper::Result<String> {
    sender.ready().await?;
    let answer = sender.send_request(Request::new(Body::empty())).await?;
    let bytes = answer.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn der(leaf: &Leaf) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(leaf.chain_pem.as_bytes()).unwrap()
}

/// Reads until the server closes, and says how long that took.
async fn until_closed(mut stream: impl AsyncReadExt + Unpin) -> Duration {
    let begin = tokio::time::Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    begin.elapsed()
}

#[tokio::test]
async fn both_protocols_are_served_over_both_tls_versions() {
    let running = start(hello(), Limits::default()).await;
    for version in [&TLS12, &TLS13] {
        let stream = running.connect("http/1.1", version).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        assert_eq!(ask(&mut sender(stream).await).await.unwrap(), "hello");

        let stream = running.connect("h2", version).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().uri(format!("https://{NAME}/")).body(Body::empty()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_open_ones_go_on() {
    let running = start(hello(), Limits::default()).await;
    let stream = running.http1().await.unwrap();
    let first = shown(&stream);
    let mut open = sender(stream).await;
    assert_eq!(ask(&mut open).await.unwrap(), "hello");

    let next = leaf(&running.root);
    running.resolver.set(next.certified_key().unwrap());
    let stream = running.http1().await.unwrap();
    assert_eq!(shown(&stream), der(&next));
    assert_ne!(shown(&stream), first);
    assert_eq!(ask(&mut sender(stream).await).await.unwrap(), "hello");
    assert_eq!(ask(&mut open).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_refused_certificate_leaves_the_former_one_in_place() {
    use secrecy::ExposeSecret;
    let running = start(hello(), Limits::default()).await;
    let before = shown(&running.http1().await.unwrap());
    let (one, two) = (leaf(&running.root), leaf(&running.root));
    let refused = |chain: &str, key: &str| running.resolver.set_pem(chain, key).unwrap_err().code();
    assert_eq!(refused(&one.chain_pem, two.key_pem.expose_secret()), "PrivateKeyMismatch");
    assert_eq!(refused("", one.key_pem.expose_secret()), "CertificateUnreadable");
    assert_eq!(refused(&one.chain_pem, "no key"), "PrivateKeyUnreadable");
    assert_eq!(shown(&running.http1().await.unwrap()), before);
    running.resolver.set_pem(&one.chain_pem, one.key_pem.expose_secret()).unwrap();
    assert_eq!(shown(&running.http1().await.unwrap()), der(&one));
}

#[tokio::test]
async fn handshakes_fail_while_there_is_no_certificate() {
    let mut running = start(hello(), Limits::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    running.address = listener.local_addr().unwrap();
    let resolver = CertResolver::empty();
    assert!(!resolver.is_set());
    let config = server_config(Arc::clone(&resolver)).unwrap();
    tokio::spawn(serve_tls(listener, hello(), config, running.shutdown.clone(), Limits::default()));
    assert!(running.http1().await.is_err());
    resolver.set(leaf(&running.root).certified_key().unwrap());
    assert!(resolver.is_set());
    assert!(running.http1().await.is_ok());
}

#[tokio::test]
async fn silent_clients_are_closed_at_every_stage() {
    let limits = Limits { handshake_timeout: SHORT, header_read_timeout: SHORT, ..Limits::default() };
    let running = start(hello(), limits).await;
    let waited = until_closed(TcpStream::connect(running.address).await.unwrap()).await;
    assert!(waited >= SHORT, "no handshake: {waited:?}");
    let mut slow = running.http1().await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nx-slow:").await.unwrap();
    let waited = until_closed(slow).await;
    assert!(waited >= SHORT / 2, "headers never end: {waited:?}");
    let mut slow = running.connect("h2", &TLS13).await.unwrap();
    slow.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let waited = until_closed(slow).await;
    assert!(waited >= SHORT / 2, "preface never ends: {waited:?}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_freed_slots_are_used_again() {
    let running = start(hello(), Limits { connections: 1, ..Limits::default() }).await;
    let mut first = sender(running.http1().await.unwrap()).await;
    assert_eq!(ask(&mut first).await.unwrap(), "hello");
    assert!(running.http1().await.is_err());
    assert_eq!(ask(&mut first).await.unwrap(), "hello");
    drop(first);
    let again = async {
        while running.http1().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.unwrap();
}

/// A route that says when it was called and answers when allowed to.
fn slow() -> (Router, oneshot::Receiver<()>, Arc<Semaphore>) {
    let (called, calls) = oneshot::channel();
    let called = Arc::new(std::sync::Mutex::new(Some(called)));
    let allowed = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&allowed);
    let route = get(async move || {
        let _ = called.lock().unwrap().take().unwrap().send(());
        gate.acquire().await.unwrap().forget();
        "late"
    });
    (Router::new().route("/", route), calls, allowed)
}

#[tokio::test]
async fn a_drain_lets_the_request_in_flight_end_and_takes_no_new_connection() {
    let (router, called, allowed) = slow();
    let running = start(router, Limits::default()).await;
    let idle = running.http1().await.unwrap();
    let mut busy = sender(running.http1().await.unwrap()).await;
    let answer = tokio::spawn(async move { ask(&mut busy).await });
    called.await.unwrap();
    running.shutdown.trigger();
    until_closed(idle).await;
    assert!(running.http1().await.is_err());
    assert!(!running.server.is_finished());
    allowed.add_permits(1);
    assert_eq!(answer.await.unwrap().unwrap(), "late");
    running.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_whatever_hangs() {
    let (router, called, _never) = slow();
    let running = start(router, Limits { drain: SHORT, ..Limits::default() }).await;
    let silent = TcpStream::connect(running.address).await.unwrap();
    let mut busy = sender(running.http1().await.unwrap()).await;
    let answer = tokio::spawn(async move { ask(&mut busy).await });
    called.await.unwrap();
    running.shutdown.trigger();
    running.server.await.unwrap().unwrap();
    assert!(answer.await.unwrap().is_err());
    until_closed(silent).await;
}

#[test]
fn ring_is_the_process_default_and_installing_it_twice_is_well() {
    install_crypto_provider();
    install_crypto_provider();
    let installed = CryptoProvider::get_default().unwrap();
    let suites =
        |provider: &CryptoProvider| provider.cipher_suites.iter().map(|suite| suite.suite()).collect::<Vec<_>>();
    assert_eq!(suites(installed), suites(&ring::default_provider()));
}
