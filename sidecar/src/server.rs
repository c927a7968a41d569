//! The loopback listener: HTTP/1.1 with bounds on connections, heads and slowness.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Connections of the process at a time, whatever the number of its listeners: memory and file descriptors are the process's.
pub const MAX_CONNECTIONS: usize = 256;
/// Largest request head.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Most header fields.
const MAX_HEADERS: usize = 64;
/// Time for a whole head to arrive, and for the next one on a kept connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause after an accept that failed, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on 127.0.0.1 at `port`.
///
/// # Errors
/// When the port is taken or not allowed.
pub async fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

/// Serves `router` on `listener` until dropped, `most` connections at a time; more wait in the kernel's queue.
pub async fn serve(listener: TcpListener, router: Router, most: usize) -> std::convert::Infallible {
    let slots = Arc::new(Semaphore::new(most));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    loop {
        // The semaphore is never closed.
        let slot = Arc::clone(&slots).acquire_owned().await.ok();
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                tracing::warn!(%error, "can't accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (http, router) = (http.clone(), router.clone());
        tokio::spawn(async move {
            converse(&http, connection, router).await;
            drop(slot);
        });
    }
}

async fn converse(http: &http1::Builder, connection: TcpStream, router: Router) {
    // Only speed depends on it.
    let _ = connection.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    if let Err(error) = http.serve_connection(TokioIo::new(connection), service).await {
        tracing::debug!(%error, "connection ended");
    }
}
