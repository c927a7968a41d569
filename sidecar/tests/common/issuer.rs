//! The issuer's side of the wire.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use exeat_wire::{
    CREDENTIAL_PATH, CredentialRequest, CredentialResponse, HOLDER_HEADER, OBSERVED_PATH, ObservedReport,
    POLICIES_HEADER, Refusal, STREAM_PATH, StreamLine, StreamMessage,
};
use futures::StreamExt;
use futures::stream;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{IDENTITY, PATIENCE, active, refusal};

/// The answer to a call for a credential.
#[allow(clippy::large_enum_variant, reason = "a test has one of them")]
#[derive(Clone)]
pub enum Says {
    Credential(CredentialResponse),
    Refusal(u16, Refusal),
    /// A body that is none of an issuer.
    Other(u16, &'static str),
}

/// What the test holds in hand.
pub struct Script {
    pub says: Mutex<Says>,
    /// First line of each new stream.
    pub state: Mutex<StreamMessage>,
    pub fetches: watch::Sender<u32>,
    pub streams: watch::Sender<u32>,
    /// While false, calls for a credential hang.
    pub open: watch::Sender<bool>,
    pub lines: broadcast::Sender<StreamLine>,
    /// Answers to calls that name a policy.
    pub by_policy: Mutex<HashMap<String, Says>>,
    /// The policies that streams were opened for.
    pub named: Mutex<Vec<String>>,
    pub holders: Mutex<Vec<String>>,
    /// What was told of the agent's calls.
    pub reports: watch::Sender<Vec<ObservedReport>>,
    /// How reports are answered: 204, or this refusal.
    pub refuses: Mutex<Option<Refusal>>,
}

pub struct TestIssuer {
    pub port: u16,
    pub roots: String,
    pub script: Arc<Script>,
    acceptor: TlsAcceptor,
    running: Option<JoinHandle<()>>,
}

impl TestIssuer {
    pub async fn start(says: Says) -> Self {
        let (roots, acceptor) = certificates();
        let granted = matches!(says, Says::Credential(_));
        let script = Arc::new(Script {
            says: Mutex::new(says),
            state: Mutex::new(if granted { active() } else { StreamMessage::Heartbeat }),
            fetches: watch::Sender::new(0),
            streams: watch::Sender::new(0),
            open: watch::Sender::new(true),
            lines: broadcast::Sender::new(64),
            by_policy: Mutex::default(),
            named: Mutex::default(),
            holders: Mutex::default(),
            reports: watch::Sender::new(Vec::new()),
            refuses: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut issuer = Self { port, roots, script, acceptor, running: None };
        issuer.serve(listener);
        issuer
    }

    pub fn says(&self, says: Says) {
        *self.script.says.lock().unwrap() = says;
    }

    /// What a stream that opens from now on says first.
    pub fn opens_with(&self, message: StreamMessage) {
        *self.script.state.lock().unwrap() = message;
    }

    /// Says `message` on the open stream.
    pub async fn push(&self, message: StreamMessage) {
        self.push_line(StreamLine { policy: None, message }).await;
    }

    /// Says `message` of one of several policies.
    pub async fn push_of(&self, policy: &str, message: StreamMessage) {
        self.push_line(StreamLine { policy: Some(policy.into()), message }).await;
    }

    /// Revokes the session of one of several policies.
    pub async fn revoke(&self, policy: &str) {
        let revoked = || refusal("SessionRevoked", false);
        self.script.by_policy.lock().unwrap().insert(policy.into(), Says::Refusal(403, revoked()));
        self.push_of(policy, StreamMessage::Stopped(revoked())).await;
    }

    async fn push_line(&self, line: StreamLine) {
        let mut streams = self.script.streams.subscribe();
        timeout(PATIENCE, streams.wait_for(|streams| *streams > 0)).await.unwrap().unwrap();
        self.script.lines.send(line).unwrap();
    }

    /// Waits until `count` calls for a credential were made.
    pub async fn fetched(&self, count: u32) {
        let mut fetches = self.script.fetches.subscribe();
        timeout(PATIENCE, fetches.wait_for(|fetches| *fetches >= count)).await.expect("the call in time").unwrap();
    }

    pub fn fetches(&self) -> u32 {
        *self.script.fetches.borrow()
    }

    /// Breaks every connection and takes no more.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
        self.script.streams.send_replace(0);
    }

    /// Comes back where it was.
    pub async fn resume(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let router = Router::new()
            .route(CREDENTIAL_PATH, post(credential))
            .route(STREAM_PATH, get(open_stream))
            .route(OBSERVED_PATH, post(observed))
            .with_state(Arc::clone(&self.script));
        let acceptor = self.acceptor.clone();
        self.running = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let (acceptor, router) = (acceptor.clone(), router.clone());
                connections.spawn(async move {
                    let Ok(connection) = acceptor.accept(connection).await else { return };
                    let service = TowerToHyperService::new(router);
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
                });
            }
        }));
    }
}

async fn observed(
    State(script): State<Arc<Script>>,
    headers: HeaderMap,
    axum::Json(report): axum::Json<ObservedReport>,
) -> Response {
    if headers["authorization"] != format!("Bearer {IDENTITY}") || !headers.contains_key(HOLDER_HEADER) {
        return StatusCode::IM_A_TEAPOT.into_response();
    }
    script.reports.send_modify(|reports| reports.push(report));
    let refuses = script.refuses.lock().unwrap().clone();
    match refuses {
        Some(refusal) => (StatusCode::SERVICE_UNAVAILABLE, axum::Json(refusal)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn credential(
    State(script): State<Arc<Script>>,
    headers: HeaderMap,
    Json(request): Json<CredentialRequest>,
) -> Response {
    if headers["authorization"] != format!("Bearer {IDENTITY}") {
        return (StatusCode::IM_A_TEAPOT, "the identity token is not as in the file").into_response();
    }
    script.holders.lock().unwrap().push(headers[HOLDER_HEADER].to_str().unwrap().to_owned());
    script.fetches.send_modify(|fetches| *fetches += 1);
    script.open.subscribe().wait_for(|open| *open).await.unwrap();
    let of_policy = request.policy.and_then(|policy| script.by_policy.lock().unwrap().get(&policy).cloned());
    let says = of_policy.unwrap_or_else(|| script.says.lock().unwrap().clone());
    let (status, body) = match says {
        Says::Credential(response) => (200, serde_json::to_string(&response).unwrap()),
        Says::Refusal(status, refusal) => (status, serde_json::to_string(&refusal).unwrap()),
        Says::Other(status, body) => (status, body.into()),
    };
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

async fn open_stream(State(script): State<Arc<Script>>, headers: HeaderMap) -> Response {
    assert!(headers.contains_key(HOLDER_HEADER));
    let named = headers.get(POLICIES_HEADER).map(|value| value.to_str().unwrap().to_owned());
    script.named.lock().unwrap().extend(named);
    let first = StreamLine { policy: None, message: script.state.lock().unwrap().clone() };
    let rest = stream::unfold(script.lines.subscribe(), async |mut lines| {
        let line = lines.recv().await.ok()?;
        Some((line, lines))
    });
    script.streams.send_modify(|streams| *streams += 1);
    let lines = stream::once(async { first })
        .chain(rest)
        .map(|message| Ok::<_, Infallible>(format!("{}\n", serde_json::to_string(&message).unwrap())));
    Body::from_stream(lines).into_response()
}

fn certificates() -> (String, TlsAcceptor) {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let signer = rcgen::Issuer::new(root, root_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, &signer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (root_certificate.pem(), TlsAcceptor::from(Arc::new(config)))
}
