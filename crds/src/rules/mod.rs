//! The pure rules: what a policy, a provider's guardrails and a pod's narrowing together allow.
//!
//! Three questions are never mixed: **covers** (is this one call allowed), **subset** (is everything that this list
//! allows also allowed by that one) and **overlaps** (could this list allow something that this pattern names). Each is
//! decided on the safe side where it can't be exact.
//!
//! - [`glob`]: the pattern language;
//! - [`action`]: how each provider's actions and resources are written, and their law;
//! - [`Statement`], [`grant()`], [`Grant`]: what is handed out, and its digest;
//! - [`narrowing`]: the annotation by which a pod asks for less;
//! - [`observe`]: what a policy grants that only looks on;
//! - [`aws_document`]: a grant as a session policy;
//! - [`gcp_boundary`]: a grant as a Credential Access Boundary;
//! - [`names`]: session names, tags and principals.

pub mod action;
pub mod aws_document;
pub mod gcp_boundary;
pub mod glob;
pub mod grant;
pub mod names;
pub mod narrowing;
pub mod observe;
pub mod statement;

pub use action::Kind;
pub use grant::{Call, Grant, GrantInput, covers, grant};
pub use names::{principal_matches, validate_principal};
pub use narrowing::parse_narrowing;
pub use statement::{ErrorCode, GrantError, Statement, overlaps, subset};
