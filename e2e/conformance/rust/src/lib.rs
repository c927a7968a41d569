//! The loop of every Rust client: one JSON line for each step, again and again.

use std::time::Duration;

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
