//! The socket that SDKs send their datagrams to.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use super::Observed;
use super::datagram::{MAX_BYTES, parse};
use crate::metrics::Metrics;

/// Datagrams that are read in a second; what is more waits in the kernel's buffer, which drops what it has no room for.
const RATE: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);

/// Listens on 127.0.0.1 at `port`.
///
/// # Errors
/// When that can't be done.
pub async fn bind(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Counts what datagrams tell, for ever.
pub async fn run(socket: UdpSocket, observed: Arc<Observed>, metrics: Arc<Metrics>) {
    // Some carry the agent's own keys.
    let mut buffer = Zeroizing::new(vec![0; MAX_BYTES + 1]);
    let (mut since, mut read) = (Instant::now(), 0);
    loop {
        let received = socket.recv(&mut buffer).await;
        if since.elapsed() >= SECOND {
            (since, read) = (Instant::now(), 0);
        }
        read += 1;
        if let Some((operation, status)) = received.ok().and_then(|length| parse(buffer.get(..length)?)) {
            metrics.observed_datagrams.inc();
            observed.used(operation, status);
        }
        if read >= RATE {
            sleep_until(since + SECOND).await;
        }
    }
}
