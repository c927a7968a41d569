//! What was seen, for the table.

use std::io::Write;

use exeat_e2e::Result;
use serde_json::json;

use crate::client::Client;

/// Notes that a client has passed a step. The file that `EXEAT_CONFORMANCE_RESULTS` names gets a line.
#[expect(clippy::disallowed_methods, reason = "tests have no command line of their own")]
pub(crate) fn record(client: &Client, step: &str) -> Result {
    println!("{}: {step}", client.name);
    if let Some(path) = std::env::var_os("EXEAT_CONFORMANCE_RESULTS") {
        let line = json!({"client": client.name, "step": step});
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        // One write: tests append side by side.
        file.write_all(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}
