//! What was seen, for the table.

use std::io::Write;
use std::time::Duration;

use exeat_e2e::Result;
use serde_json::{Value, json};

use crate::client::Client;

/// Notes that a client has passed a step. The file that `EXEAT_CONFORMANCE_RESULTS` names gets a line.
pub(crate) fn record(client: &Client, step: &str) -> Result {
    note(&json!({"client": client.name, "step": step}))
}

/// Notes when its running process took the next credential: so long after the first one, which lives for `of`.
pub(crate) fn record_refresh(client: &Client, after: Duration, of: &str) -> Result {
    note(&json!({"client": client.name, "step": "refresh", "seconds": after.as_secs(), "of": of}))
}

#[expect(clippy::disallowed_methods, reason = "tests have no command line of their own")]
fn note(line: &Value) -> Result {
    println!("{line}");
    if let Some(path) = std::env::var_os("EXEAT_CONFORMANCE_RESULTS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        // One write: tests append side by side.
        file.write_all(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}
