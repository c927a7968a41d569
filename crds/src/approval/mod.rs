//! Whom a grant must be approved by, and what their words come to. Pure: the controller asks and consumes by it, the issuer checks by it at
//! every mint, the webhook and the command line say by it who may decide.

mod ask;
mod changes;
mod decide;
mod quorum;
mod refusal;
mod state;
mod terms;

pub use ask::{Asked, POD, key, name, request, rests, still};
pub use changes::changes;
pub use decide::{Decided, Writer, decide, may_decide};
pub use quorum::missing;
pub use refusal::{reaches, refusal, refused_at};
pub use state::{State, consume, is_eligible, moot_at, opened, state, status, usable};
pub use terms::{Demand, Needed, Rule, Terms};

use crate::digest;
use crate::v1alpha1::ApprovalRequest;

/// Most people whose yes one approval takes: `spec.decisions` holds one word more, so that there is always room for a no.
pub const MAX_PEOPLE: usize = 15;

/// Whether a user name can be a person's: service accounts and the cluster's own parts decide nothing.
pub fn is_person(username: &str) -> bool {
    !username.is_empty() && !username.starts_with("system:")
}

/// SHA-256 in hex over the canonical request without its digest: what every decision repeats.
pub fn digest(request: &ApprovalRequest) -> String {
    digest::of(&ApprovalRequest { digest: String::new(), ..request.clone() })
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
