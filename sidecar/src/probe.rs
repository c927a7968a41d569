//! The exec probe: asks the sidecar of this pod whether it has started. No runtime: kubelet runs it every second.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::router::STARTED_PATH;

/// Time for each step.
const STEP: Duration = Duration::from_millis(500);
/// More than any answer has.
const MAX_ANSWER_BYTES: u64 = 16 * 1024;

/// Whether the sidecar on 127.0.0.1 at `port` has started.
///
/// # Errors
/// With the sidecar's own words where it has not, or why it can't be asked.
pub fn run(port: u16) -> Result<(), String> {
    let unreachable = |error: std::io::Error| format!("the sidecar on 127.0.0.1:{port} does not answer: {error}");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = TcpStream::connect_timeout(&address, STEP).map_err(unreachable)?;
    connection.set_read_timeout(Some(STEP)).map_err(unreachable)?;
    connection.set_write_timeout(Some(STEP)).map_err(unreachable)?;
    let request = format!("GET {STARTED_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).map_err(unreachable)?;
    let mut answer = Vec::new();
    connection.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).map_err(unreachable)?;
    judge(&String::from_utf8_lossy(&answer))
}

fn judge(answer: &str) -> Result<(), String> {
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    let body = answer.split_once("\r\n\r\n").map_or("no HTTP", |(_, body)| body.trim());
    Err(format!("not started: {body}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_has_started_and_else_the_body_tells_why() {
        assert_eq!(judge("HTTP/1.1 200 OK\r\n\r\n{}"), Ok(()));
        let refused = judge("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\n{\"started\":false}").unwrap_err();
        assert_eq!(refused, r#"not started: {"started":false}"#);
        assert!(judge("").is_err() && judge("SSH-2.0 200 ").is_err());
    }
}
