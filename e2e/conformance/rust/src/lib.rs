//! The loop of every Rust client: one JSON line for each step, again and again.

use std::time::Duration;

use reqwest::StatusCode;
use sha2::{Digest, Sha256};

/// Pause between two rounds.
pub const PAUSE: Duration = Duration::from_secs(1);

/// Says how a step ended. `denied` is for calls that must be refused: whether the error is the SDK's own word for it.
pub fn say(step: &str, result: Result<String, String>, denied: Option<bool>) {
    let (key, error) = match result {
        Ok(key) => (key, String::new()),
        Err(error) => (String::new(), error),
    };
    let ok = denied.unwrap_or(error.is_empty());
    println!("{}", serde_json::json!({"step": step, "ok": ok, "key": key, "error": error}));
}

/// Public name of a bearer token.
pub fn key_of(token: &str) -> String {
    Sha256::digest(token).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Calls a service with a bearer token. Gives the status, where it is not 200.
pub async fn call(client: &reqwest::Client, url: &str, token: &str) -> Result<(), (Option<StatusCode>, String)> {
    let answer = client.get(url).bearer_auth(token).send().await.map_err(|e| (None, format!("{e:?}")))?;
    match answer.status() {
        StatusCode::OK => answer.bytes().await.map(drop).map_err(|e| (None, format!("{e:?}"))),
        status => Err((Some(status), status.to_string())),
    }
}
