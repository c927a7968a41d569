//! Paths, behind the guard.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use axum::routing::{any, get};
use exeat_runtime::clock::Clock;
use exeat_wire::{APPROVAL_PENDING, Operation};
use futures::future::{Either, Ready, ready};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode, Uri};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::{Layer, Service};

use crate::args::{Provider, Wait};
use crate::guard::{Guard, Rejection};
use crate::metrics::{Metrics, Outcome, Protocol};
use crate::observe::{Observed, vault as seen};
use crate::protocol::{self, Answer, aws, azure, gcp, json, kubernetes, vault};
use crate::secret::Secrets;
use crate::snapshot::Snapshot;
use crate::vault::Token;
use crate::vault::forward::Forward;
use crate::vault::judge;

/// Path of the start-up probe.
pub const STARTED_PATH: &str = "/health/started";
/// Path of the metrics.
pub const METRICS_PATH: &str = "/metrics";
/// How long a request waits for a call in flight: the JavaScript SDK gives up after a second.
const PATIENCE: Duration = Duration::from_millis(700);

/// What handlers share.
pub struct Shared {
    /// Rule over request heads.
    pub guard: Guard,
    /// What callers must show.
    pub secrets: Secrets,
    /// The answers.
    pub snapshots: watch::Receiver<Snapshot>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Which protocol is served besides plain JSON.
    pub provider: Provider,
    /// What the start-up probe waits for.
    pub wait: Wait,
    /// Makes calls to Vault.
    pub forward: Forward,
    /// What was used, while that is told to the issuer.
    pub observed: Arc<Observed>,
}

/// The state of [`router`].
pub type AppState = Arc<Shared>;

/// Every path the sidecar serves. Metrics and health hold no secret and demand none; the guard stands before all.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route(aws::PATH, get(aws_credentials))
        .route(azure::PATH, get(azure_token))
        .route(json::PATH, get(json_credential))
        .route(kubernetes::PATH, any(kubernetes_status))
        .route(&format!("{}/", kubernetes::PATH), any(kubernetes_status))
        .route(&format!("{}/{{*path}}", kubernetes::PATH), any(kubernetes_status))
        .route(STARTED_PATH, get(started))
        .route(METRICS_PATH, get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(&state))
        .layer(GuardLayer(state))
}

async fn aws_credentials(State(shared): State<AppState>, request: Request) -> Response {
    if let Err(rejection) = shared.secrets.check_aws(request.headers()) {
        return shared.reject(rejection);
    }
    if shared.provider != Provider::Aws {
        return not_served("AWS", shared.provider).to_response();
    }
    shared.answer(Protocol::Aws).await
}

async fn azure_token(State(shared): State<AppState>, request: Request) -> Response {
    if let Err(rejection) = shared.secrets.check_azure(request.headers()) {
        shared.metrics.rejected(rejection);
        return azure::rejected(rejection).to_response();
    }
    if shared.provider != Provider::Azure {
        return not_served("Azure", shared.provider).to_response();
    }
    shared.azure(request.uri()).await
}

async fn json_credential(State(shared): State<AppState>, request: Request) -> Response {
    if let Err(rejection) = shared.secrets.check_bearer(request.headers()) {
        return shared.reject(rejection);
    }
    shared.answer(Protocol::Json).await
}

async fn kubernetes_status(State(shared): State<AppState>, request: Request) -> Response {
    if shared.provider != Provider::Kubernetes {
        return not_served("Kubernetes", shared.provider).to_response();
    }
    if kubernetes::is_discovery(request.uri().path()) {
        let (snapshot, now) = (shared.snapshots.borrow(), shared.clock.now());
        // Discovery is always answered with 403: what it counts as is told by the answer to what comes behind it.
        shared.metrics.answered(Protocol::Kubernetes, outcome(snapshot.answer(Protocol::Kubernetes, now)));
        return snapshot.discovery(now).to_response();
    }
    shared.answer_now(Protocol::Kubernetes)
}

async fn started(State(shared): State<AppState>) -> Response {
    start_up(&shared.snapshots.borrow(), shared.wait, shared.clock.now()).to_response()
}

/// Whether a policy has started: its first credential held, or its denial known.
pub fn start_up(snapshot: &Snapshot, wait: Wait, now: Timestamp) -> Answer {
    let asked = wait == Wait::Decision && snapshot.code == APPROVAL_PENDING;
    let started = snapshot.started || asked;
    let status = if started { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let held = snapshot.holds(now);
    let reason = (!held).then(|| serde_json::json!({ "code": snapshot.code, "message": snapshot.message }));
    let body = serde_json::json!({ "started": started, "held": held, "refusal": reason });
    Answer::json(status, None, body.to_string())
}

async fn metrics(State(shared): State<AppState>) -> Response {
    counted(shared.metrics.encode())
}

/// These metrics, as they are told.
pub fn counted(encoded: Result<Vec<u8>, prometheus::Error>) -> Response {
    match encoded {
        Ok(text) => {
            let mut response = Response::new(text.into());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT));
            response
        }
        Err(error) => {
            let message = format!("metrics can't be encoded: {error}");
            protocol::error(StatusCode::INTERNAL_SERVER_ERROR, None, "InternalError", &message).to_response()
        }
    }
}

async fn not_found(State(shared): State<AppState>, request: Request) -> Response {
    if shared.provider == Provider::Vault && request.uri().path().starts_with(judge::PREFIX) {
        return vault_call(&shared, request).await;
    }
    if shared.provider == Provider::Gcp && gcp::is_metadata(request.uri().path()) {
        return gcp::marked(metadata(&shared, request).await);
    }
    if shared.provider == Provider::Kubernetes && kubernetes::is_api(request.uri().path()) {
        return kubernetes_status(State(shared), request).await;
    }
    let message = format!("no such path; the sidecar serves {} and {}", aws::PATH, json::PATH);
    protocol::error(StatusCode::NOT_FOUND, None, "PathNotFound", &message).to_response()
}

/// Judged by the rules of what is held as the call comes, and made with that token.
async fn vault_call(shared: &Shared, request: Request) -> Response {
    let token = match shared.vault_token().await {
        Ok(token) => token,
        Err(refused) => return refused,
    };
    let uri = request.uri();
    let judged = token.rules.judge(request.method(), uri.path(), uri.query(), request.headers());
    let used = if shared.is_observed() { seen::operation(judged.as_ref()) } else { None };
    if let Err(denial) = judged {
        shared.used(used, StatusCode::FORBIDDEN);
        tracing::debug!(code = denial.code(), "a call to Vault is not made");
        return shared.count(Protocol::Vault, &vault::denied(&denial));
    }
    let response = shared.forward.call(&token, request).await;
    shared.used(used, response.status());
    shared.metrics.answered(
        Protocol::Vault,
        if response.status().is_server_error() { Outcome::Unavailable } else { Outcome::Served },
    );
    response
}

/// What Google's metadata server tells of the session. Where nothing is held, the reason is told at every path below the root.
async fn metadata(shared: &Shared, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let path = match gcp::read(&head.method, head.uri.path(), &head.headers) {
        gcp::Asked::Answer(reply) => return reply.to_response(),
        gcp::Asked::Path(path) => path,
    };
    let held = || shared.snapshots.borrow().gcp(shared.clock.now());
    let held = match held() {
        Some(held) => held,
        None => {
            let refused = shared.answer(Protocol::Gcp).await;
            match held() {
                Some(held) => held,
                None => return refused,
            }
        }
    };
    let reply = held.answer(&path, head.uri.query(), shared.clock.now());
    shared.metrics.answered(Protocol::Gcp, outcome(reply.answer()));
    reply.to_response()
}

async fn wrong_method() -> Response {
    protocol::error(StatusCode::METHOD_NOT_ALLOWED, None, "MethodNotAllowed", "use GET").to_response()
}

fn not_served(protocol: &str, served: Provider) -> Answer {
    let instead = match served {
        Provider::Aws => "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        Provider::Azure => "IDENTITY_ENDPOINT",
        Provider::Kubernetes => "KUBECONFIG",
        Provider::Vault => "VAULT_ADDR",
        Provider::Gcp => "GCE_METADATA_HOST",
    };
    let message = format!("no policy of this container is for {protocol}; use {instead}");
    protocol::error(StatusCode::NOT_FOUND, None, "ProtocolNotServed", &message)
}

impl Shared {
    /// The answer from memory; where nothing is held and a call is in flight, waits for its outcome a moment.
    async fn answer(&self, protocol: Protocol) -> Response {
        if let Some(response) = self.settled(protocol) {
            return response;
        }
        let mut snapshots = self.snapshots.clone();
        let settled = snapshots.wait_for(|snapshot| !snapshot.promising || snapshot.holds(self.clock.now()));
        match timeout(PATIENCE, settled).await {
            Ok(_) => self.answer_now(protocol),
            Err(_) => self.answer_late(protocol),
        }
    }

    /// A token by the query, once there is one, or the answer while there is none.
    async fn azure(&self, uri: &Uri) -> Response {
        let now = || {
            let snapshot = self.snapshots.borrow();
            let tokens = snapshot.azure(self.clock.now())?;
            let query = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| azure::Denial::Query);
            Some(query.and_then(|query| tokens.answer(&query)).unwrap_or_else(|denial| azure::denied(&denial)))
        };
        if let Some(answer) = now() {
            return self.count(Protocol::Azure, &answer);
        }
        let refused = self.answer(Protocol::Azure).await;
        now().map_or(refused, |answer| self.count(Protocol::Azure, &answer))
    }

    fn is_observed(&self) -> bool {
        self.snapshots.borrow().observed(self.clock.now()).is_some()
    }

    fn used(&self, what: Option<Operation>, status: StatusCode) {
        if let Some(what) = what {
            self.observed.used(what, status.as_u16());
        }
    }

    /// The token, or the answer while there is none.
    async fn vault_token(&self) -> Result<Arc<Token>, Response> {
        let now = || self.snapshots.borrow().vault(self.clock.now());
        if let Some(token) = now() {
            return Ok(token);
        }
        let refused = self.answer(Protocol::Vault).await;
        now().ok_or(refused)
    }

    fn settled(&self, protocol: Protocol) -> Option<Response> {
        let snapshot = self.snapshots.borrow();
        let now = self.clock.now();
        (snapshot.holds(now) || !snapshot.promising).then(|| self.count(protocol, snapshot.answer(protocol, now)))
    }

    fn answer_now(&self, protocol: Protocol) -> Response {
        let snapshot = self.snapshots.borrow();
        self.count(protocol, snapshot.answer(protocol, self.clock.now()))
    }

    /// While a call may still bring a credential, the refusal of the past is not final.
    fn answer_late(&self, protocol: Protocol) -> Response {
        let snapshot = self.snapshots.borrow();
        let mut answer = snapshot.answer(protocol, self.clock.now()).clone();
        if !answer.status.is_success() {
            answer.status = StatusCode::SERVICE_UNAVAILABLE;
            answer.retry_after.get_or_insert(1);
        }
        self.count(protocol, &answer)
    }

    fn count(&self, protocol: Protocol, answer: &Answer) -> Response {
        self.metrics.answered(protocol, outcome(answer));
        answer.to_response()
    }

    fn reject(&self, rejection: Rejection) -> Response {
        self.metrics.rejected(rejection);
        tracing::debug!(code = rejection.code(), "request refused");
        protocol::rejected(rejection).to_response()
    }
}

fn outcome(answer: &Answer) -> Outcome {
    if answer.status.is_success() {
        Outcome::Served
    } else if answer.status.is_client_error() {
        Outcome::Denied
    } else {
        Outcome::Unavailable
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// Puts the guard before every path, unknown ones included.
#[derive(Clone, Debug)]
struct GuardLayer(AppState);

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { shared: Arc::clone(&self.0), inner }
    }
}

/// A service behind the guard.
#[derive(Clone, Debug)]
struct Guarded<S> {
    shared: AppState,
    inner: S,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.shared.guard.judge(request.method(), request.uri(), request.headers()) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(rejection) => Either::Left(ready(Ok(self.shared.reject(rejection)))),
        }
    }
}
