//! When a root is replaced, and for how long the former one is trusted beside the new one.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Validity, leaf_due};

/// How long the former root stays published beside the new one unless told otherwise: a replica looks for the new one
/// every minute, so all of them serve it long before.
pub const ROOT_OVERLAP: Duration = Duration::from_secs(60 * 60);

/// How often a root kept in a Secret is looked for: often enough to be seen several times within `overlap`, and at least
/// every `most`.
pub fn look_interval(overlap: Duration, most: Duration) -> Duration {
    (overlap / 4).clamp(Duration::from_secs(1), most)
}

/// A person's wish for a new root: any text that has not been handled yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// What was asked last.
    pub asked: Option<&'a str>,
    /// What was handled last.
    pub handled: Option<&'a str>,
}

impl Request<'_> {
    /// Whether it has still to be handled.
    pub fn is_open(&self) -> bool {
        self.asked.is_some_and(|asked| !asked.is_empty() && Some(asked) != self.handled)
    }
}

/// Whether a root should be replaced: two thirds of its life are over, or a person wishes it.
pub fn root_due(validity: Validity, request: Request<'_>, now: Timestamp) -> bool {
    leaf_due(validity.not_before, validity.not_after, now) || request.is_open()
}

/// When the former root of a rotation at `now` ceases to be trusted.
pub fn overlap_end(now: Timestamp, overlap: Duration) -> Timestamp {
    let overlap = SignedDuration::try_from(overlap).unwrap_or(SignedDuration::MAX);
    now.checked_add(overlap).unwrap_or(Timestamp::MAX)
}
