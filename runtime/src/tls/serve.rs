//! An HTTPS server that a slow or silent client can't wear out, and that drains in bounded time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::preface::Rewound;
use crate::shutdown::Shutdown;

/// A peer that acknowledges nothing of what was sent for this long is gone: a stream over a cut network ends soon after its next line.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// What one server allows its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time for the TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest time from an open connection to the first request's complete headers, and (HTTP/1.1) for each later
    /// one's, idle time included.
    pub header_read_timeout: Duration,
    /// Most connections at once; what comes beyond is closed unanswered, so that the client tries another replica.
    pub connections: usize,
    /// Most requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// Pause between two HTTP/2 pings on a silent connection; a client that leaves one unanswered for the header
    /// timeout is closed.
    pub keep_alive: Duration,
    /// How long requests in flight may take once the drain has started; what is left is cut off.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            header_read_timeout: Duration::from_secs(30),
            connections: 4096,
            streams: 256,
            keep_alive: Duration::from_secs(30),
            drain: Duration::from_secs(20),
        }
    }
}

/// Serves `router` over TLS on `listener` until `shutdown`, then drains for at most [`Limits::drain`].
///
/// # Errors
/// When the listener fails for good; failures of single connections are logged at debug level only.
pub async fn serve_tls(
    listener: TcpListener,
    router: Router,
    config: Arc<ServerConfig>,
    shutdown: Shutdown,
    limits: Limits,
) -> io::Result<()> {
    let server = Server { acceptor: TlsAcceptor::from(config), router, limits };
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.wait() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                wait_out(&error).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(%peer, limit = limits.connections, "too many connections: closed unanswered");
            continue;
        };
        let (server, watcher) = (server.clone(), graceful.watcher());
        connections.spawn(async move {
            server.connection(stream, peer, watcher).await;
            drop(slot);
        });
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = sleep(limits.drain) => tracing::warn!(left = connections.len(), "drain deadline passed: connections cut off"),
    }
    connections.shutdown().await;
    Ok(())
}

/// A failed accept concerns one connection, or a resource that needs a moment to come back.
async fn wait_out(error: &io::Error) {
    tracing::debug!(%error, "connection not accepted");
    let of_the_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    );
    if !of_the_connection {
        sleep(Duration::from_millis(100)).await;
    }
}

#[derive(Clone)]
struct Server {
    acceptor: TlsAcceptor,
    router: Router,
    limits: Limits,
}

impl Server {
    async fn connection(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // Best effort: without them a server is slower to send, and to notice that a peer is gone.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let stream = match timeout(self.limits.handshake_timeout, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake timed out"),
        };
        let served = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.http2(stream, watcher).await
        } else {
            self.http1(stream, watcher).await
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn http1(self, stream: TlsStream<TcpStream>, watcher: Watcher) -> Result<(), hyper::Error> {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_read_timeout)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router));
        watcher.watch(connection).await
    }

    async fn http2(self, stream: TlsStream<TcpStream>, watcher: Watcher) -> Result<(), hyper::Error> {
        // hyper itself waits for the preface without a limit.
        let Ok(Ok(stream)) = timeout(self.limits.header_read_timeout, Rewound::after_preface(stream)).await else {
            return Ok(());
        };
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(self.limits.keep_alive)
            .keep_alive_timeout(self.limits.header_read_timeout)
            .max_concurrent_streams(self.limits.streams)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router));
        watcher.watch(connection).await
    }
}
