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
/// To stay observable while it drains, a process gives this server a shutdown of its own and triggers it last.
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

#[cfg(test)]
mod tests {
    use prometheus::IntCounter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    struct Running {
        readiness: Readiness,
        process: Shutdown,
        server: Shutdown,
        address: std::net::SocketAddr,
        task: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn start() -> Running {
        let (readiness, process, server) = (Readiness::new(), Shutdown::manual(), Shutdown::manual());
        let registry = Registry::new();
        let counter = IntCounter::new("exeat_starts_total", "Starts.").unwrap();
        counter.inc();
        registry.register(Box::new(counter)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(readiness.clone(), process.clone(), registry);
        let task = tokio::spawn(serve(listener, app, server.clone()));
        Running { readiness, process, server, address, task }
    }

    async fn get(running: &Running, path: &str) -> String {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readyz_names_what_is_not_ready_while_livez_is_well() {
        let running = start().await;
        let cache = running.readiness.latch("cache");
        let certificate = running.readiness.latch("certificate");
        let answer = get(&running, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nnot ready: cache, certificate\n"), "{answer}");
        assert!(get(&running, "/livez").await.starts_with("HTTP/1.1 200 "));
        drop((cache, certificate));
        assert!(get(&running, "/readyz").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn metrics_are_in_the_prometheus_text_format() {
        let answer = get(&start().await, "/metrics").await;
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        assert!(answer.ends_with("# TYPE exeat_starts_total counter\nexeat_starts_total 1\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_draining_process_is_not_ready_but_still_observable() {
        let running = start().await;
        running.process.trigger();
        assert!(get(&running, "/readyz").await.ends_with("not ready: shutting down\n"));
        assert!(get(&running, "/livez").await.starts_with("HTTP/1.1 200 "));
        running.server.trigger();
        running.task.await.unwrap().unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_keeps_its_request_open_does_not_hold_the_drain_up() {
        let running = start().await;
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        running.server.trigger();
        running.task.await.unwrap().unwrap();
    }
}
