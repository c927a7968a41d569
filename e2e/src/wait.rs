//! Waiting for conditions, never for a fixed time.

use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::{Failure, Result};

const PAUSE: Duration = Duration::from_millis(250);

/// Tries until it succeeds, for at most `seconds`.
///
/// # Errors
/// The last try's failure.
pub async fn wait_for<T>(what: &str, seconds: u64, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= end => {
                return Err(Failure::new(format!("{what}: not within {seconds} s: {last}")));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Checks again and again that something stays true for `seconds`.
///
/// # Errors
/// The first check's that fails.
pub async fn holds_for(what: &str, seconds: u64, mut check: impl AsyncFnMut() -> Result) -> Result {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        check().await.map_err(|e| Failure::new(format!("{what}: {e}")))?;
        sleep(PAUSE).await;
    }
    Ok(())
}
