//! The one place of the command line that reads the clock.

use jiff::Timestamp;

/// The current time (UTC).
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock; decisions take `now`")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
