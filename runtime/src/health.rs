//! Plain HTTP for kubelet and Prometheus: `/livez`, `/readyz`, `/metrics`.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::net::TcpListener;

use crate::readiness::Readiness;
use crate::shutdown::Shutdown;

/// How long requests in flight may still take once the drain has started.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Health {
    readiness: Readiness,
    shutdown: Shutdown,
    registry: Registry,
}

/// The three endpoints.
///
/// `/livez` answers as long as the process can answer. `/readyz` is 200 when no latch is held and no shutdown has
/// started, else 503 with the parts that are not ready. `/metrics` is the Prometheus text format of `registry`.
pub fn router(readiness: Readiness, shutdown: Shutdown, registry: Registry) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Health { readiness, shutdown, registry })
}

/// Serves `router` on `listener` until `shutdown`, then lets requests in flight end, for at most five seconds.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) -> io::Result<()> {
    let drained = shutdown.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { drained.wait().await });
    let overdue = async move {
        shutdown.wait().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = server.into_future() => served,
        () = overdue => Ok(()),
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    if health.shutdown.is_signalled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: shutting down\n").into_response();
    }
    let waiting = health.readiness.waiting_for();
    if waiting.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", waiting.join(", "))).into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    match TextEncoder::new().encode_to_string(&health.registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics can't be encoded");
            (StatusCode::INTERNAL_SERVER_ERROR, "metrics can't be encoded; see the log\n").into_response()
        }
    }
}
