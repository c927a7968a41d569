//! What sidecars call.

use super::admit::Admitted;
use super::hold::read_key;
use super::mint::Desk;
use super::stream;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use exeat_crds::pod_policies::MAX_POLICIES;
use exeat_crds::reason::Reason;
use exeat_runtime::shutdown::Shutdown;
use exeat_wire::{
    CREDENTIAL_PATH, CredentialRequest, HOLDER_HEADER, OBSERVED_PATH, ObservedReport, POLICIES_HEADER, Refusal,
    STREAM_PATH,
};
use std::sync::Arc;
use tokio::time::Instant;

/// A projected token is about 1 KiB; nothing of ours is larger than this.
const MAX_BODY: usize = 16 * 1024;
/// Longest name of an object.
const MAX_NAME: usize = 253;

#[derive(Clone)]
pub(super) struct Server {
    pub(super) desk: Arc<Desk>,
    pub(super) shutdown: Shutdown,
}

/// The calls.
pub(super) fn router(server: Server) -> Router {
    Router::new()
        .route(CREDENTIAL_PATH, post(credential))
        .route(STREAM_PATH, get(open_stream))
        .route(OBSERVED_PATH, post(observed))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(server)
}

async fn credential(
    State(server): State<Server>,
    headers: HeaderMap,
    Json(request): Json<CredentialRequest>,
) -> Response {
    let started = Instant::now();
    let served = match shown(&headers) {
        Ok((token, key)) => server.desk.serve(token, key, request.held, request.policy).await,
        Err(refusal) => Err(refusal),
    };
    let code = served.as_ref().map_or_else(|r| r.code.as_str(), |_| "Issued");
    server.desk.metrics.answered(code, started.elapsed().as_secs_f64());
    tracing::debug!(code, version = %request.sidecar_version, "answered a sidecar");
    match served {
        Ok(response) => ([(CACHE_CONTROL, "no-store")], Json(response)).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

async fn open_stream(State(server): State<Server>, headers: HeaderMap) -> Response {
    let admitted = match shown(&headers) {
        Ok((token, key)) => server.desk.admit_stream(token, key, named(&headers)).await,
        Err(refusal) => Err(refusal),
    };
    server.desk.metrics.stream_answered(admitted.as_ref().map_or_else(|r| r.code.as_str(), |_| "Opened"));
    match admitted {
        Ok(Admitted { caller, holder, place }) => {
            let lines = stream::lines(Arc::clone(&server.desk), caller, holder, place, server.shutdown.clone());
            let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
            (headers, Body::from_stream(lines)).into_response()
        }
        Err(refusal) => refused(&refusal),
    }
}

/// The policies that a sidecar names for its stream; what is more than a pod can name is left out.
fn named(headers: &HeaderMap) -> Vec<String> {
    let written = headers.get(POLICIES_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let names = written.split(',').map(str::trim).filter(|name| !name.is_empty() && name.len() <= MAX_NAME);
    names.take(MAX_POLICIES).map(str::to_owned).collect()
}

async fn observed(State(server): State<Server>, headers: HeaderMap, Json(report): Json<ObservedReport>) -> Response {
    let taken = match shown(&headers) {
        Ok((token, key)) => server.desk.learn(token, key, report).await,
        Err(refusal) => Err(refusal),
    };
    server.desk.metrics.report_answered(taken.as_ref().map_or_else(|r| r.code.as_str(), |()| "Taken"));
    match taken {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refused(&refusal),
    }
}

/// The token, and the fingerprint of the holder key.
fn shown(headers: &HeaderMap) -> Result<(&str, String), Refusal> {
    let key = headers.get(HOLDER_HEADER).and_then(|v| v.to_str().ok());
    Ok((bearer(headers)?, read_key(key)?))
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    value.and_then(|v| v.strip_prefix("Bearer ")).filter(|t| !t.is_empty() && t.len() <= MAX_BODY).ok_or_else(|| {
        Refusal {
            code: Reason::TokenInvalid.as_str().to_owned(),
            message: "Authorization: Bearer <the pod's projected token> is missing".to_owned(),
            retryable: false,
            retry_after_seconds: None,
            session: None,
        }
    })
}

/// 4xx where asking again is of no use, 429 and 503 where it is.
fn status_of(refusal: &Refusal) -> StatusCode {
    if refusal.code == Reason::RateLimited.as_str() {
        StatusCode::TOO_MANY_REQUESTS
    } else if refusal.retryable {
        StatusCode::SERVICE_UNAVAILABLE
    } else if refusal.code == Reason::TokenInvalid.as_str() {
        StatusCode::UNAUTHORIZED
    } else {
        StatusCode::FORBIDDEN
    }
}

fn refused(refusal: &Refusal) -> Response {
    let mut response = (status_of(refusal), Json(refusal)).into_response();
    if let Some(seconds) = refusal.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
