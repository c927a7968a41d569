//! gcp_auth with its default chain. It gives tokens and calls nothing itself.

use std::io::{Result as IoResult, Write};
use std::sync::{Arc, Mutex, PoisonError};

use exeat_conformance::{PAUSE, call, key_of, say};
use gcp_auth::{Error, TokenProvider};
use reqwest::StatusCode;

const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];

/// What the crate logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What has been logged since this was last called.
    fn take(&self) -> String {
        let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&lines).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> IoResult<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }

    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

async fn first() -> Result<String, Error> {
    let provider = gcp_auth::provider().await?;
    Ok(key_of(provider.token(SCOPES).await?.as_str()))
}

/// The public name of the token, or the status and text of the error.
async fn read(
    provider: &Arc<dyn TokenProvider>,
    http: &reqwest::Client,
    url: &str,
) -> Result<String, (Option<StatusCode>, String)> {
    let token = provider.token(SCOPES).await.map_err(|e| (None, e.to_string()))?;
    call(http, url, token.as_str()).await?;
    Ok(key_of(token.as_str()))
}

#[expect(clippy::disallowed_methods, reason = "an agent's program has no flags of ours")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Our own HTTP client wants one, though no call here is over TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let buckets = std::env::var("STORAGE")? + "/storage/v1/b";
    let http = reqwest::Client::new();
    let provider = gcp_auth::provider().await?;
    loop {
        log.take();
        // Its error drops what the metadata server says; its log has it.
        say("fetch", first().await.map_err(|e| format!("{e}; its log: {}", log.take())), None);
        let report = read(&provider, &http, &format!("{buckets}/reports/o/2026%2Fq3.txt?alt=media")).await;
        say("use", report.map_err(|(_, text)| text), None);
        let refused = read(&provider, &http, &format!("{buckets}/payroll/o/salaries.txt?alt=media")).await;
        let denied = matches!(refused, Err((Some(StatusCode::FORBIDDEN), _)));
        say("denied", refused.map_err(|(_, text)| text), Some(denied));
        tokio::time::sleep(PAUSE).await;
    }
}
