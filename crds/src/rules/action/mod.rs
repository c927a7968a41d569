//! How actions and resources are written, per kind of provider.
//!
//! An action is written in one of two roles. In what a team **allows** it names what it means: no wildcard that could
//! reach another service or kind of object. In an admin's **guardrail** (`maxActions`, `deny`, `approvalRules`) wider
//! patterns are welcome. The grammar and the law of each kind stand in [`aws`], [`azure`], [`gcp`], [`kubernetes`] and [`vault`].

pub mod aws;
pub mod azure;
pub mod gcp;
pub mod kubernetes;
#[cfg(test)]
mod law;
pub mod vault;

use crate::reason::Reason;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest action, characters.
pub const MAX_ACTION: usize = 256;
/// Longest resource, characters.
pub const MAX_RESOURCE: usize = 1024;

/// Kinds of provider that this version has rules for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Amazon Web Services, and servers that speak its STS.
    Aws,
    /// Microsoft Azure, by tokens of Entra ID.
    Azure,
    /// A Kubernetes cluster.
    Kubernetes,
    /// HashiCorp Vault or OpenBao.
    Vault,
    /// Google Cloud.
    Gcp,
}

impl Kind {
    /// As it is written in metrics, audit and digests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Kubernetes => "kubernetes",
            Self::Vault => "vault",
            Self::Gcp => "gcp",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no kind of provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of provider; write aws, azure, gcp, kubernetes or vault")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "aws" => Ok(Self::Aws),
            "azure" => Ok(Self::Azure),
            "kubernetes" => Ok(Self::Kubernetes),
            "vault" => Ok(Self::Vault),
            "gcp" => Ok(Self::Gcp),
            other => Err(UnknownKind(other.to_owned())),
        }
    }
}

/// Who wrote an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A team's policy or a pod's narrowing.
    Allow,
    /// An admin's ceiling, deny list or approval rule.
    Guardrail,
}

/// What is wrong with an action or a resource, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {fix}")]
pub struct PatternError {
    reason: Reason,
    /// What is wrong, with the text that is.
    pub problem: String,
    /// What to write instead.
    pub fix: String,
}

impl PatternError {
    fn action(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason: Reason::ActionInvalid, problem: problem.into(), fix: fix.into() }
    }

    fn resource(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason: Reason::ResourceInvalid, problem: problem.into(), fix: fix.into() }
    }

    /// `ActionInvalid` or `ResourceInvalid`.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

/// One action pattern, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `service:Name`.
    Aws(aws::Action),
    /// `Company.Service/type/verb`.
    Azure(azure::Action),
    /// `verb resource`.
    Kubernetes(kubernetes::Action),
    /// `verb`, in guardrails `verb path` too.
    Vault(vault::Action),
    /// `service.resource.verb`, or a custom role.
    Gcp(gcp::Action),
}

impl Action {
    /// Reads an action.
    ///
    /// # Errors
    /// What is wrong with it in this role, and the fix.
    pub fn parse(kind: Kind, role: Role, text: &str) -> Result<Self, PatternError> {
        match kind {
            Kind::Aws => aws::Action::parse(role, text).map(Self::Aws),
            Kind::Azure => azure::Action::parse(role, text).map(Self::Azure),
            Kind::Kubernetes => kubernetes::Action::parse(role, text).map(Self::Kubernetes),
            Kind::Vault => vault::Action::parse(role, text).map(Self::Vault),
            Kind::Gcp => gcp::Action::parse(role, text).map(Self::Gcp),
        }
    }

    /// As written, but for what has no meaning (the case of an AWS service, spare blanks).
    pub fn text(&self) -> String {
        match self {
            Self::Aws(action) => action.text(),
            Self::Azure(action) => action.text().to_owned(),
            Self::Kubernetes(action) => action.text(),
            Self::Vault(action) => action.text(),
            Self::Gcp(action) => action.text(),
        }
    }

    /// Equal for equal patterns: what digests and sorting use.
    pub fn key(&self) -> String {
        match self {
            Self::Aws(action) => action.text().to_ascii_lowercase(),
            Self::Azure(action) => action.text().to_ascii_lowercase(),
            Self::Kubernetes(action) => action.text(),
            Self::Vault(action) => action.text(),
            Self::Gcp(action) => action.text(),
        }
    }

    /// Whether this one call is named, for instance `s3:GetObject` or `get pods`. False for what is no call.
    pub fn covers(&self, call: &str) -> bool {
        match self {
            Self::Aws(action) => action.covers(call),
            Self::Azure(action) => action.covers(call),
            Self::Kubernetes(action) => action.covers(call),
            Self::Vault(action) => action.covers(call),
            Self::Gcp(action) => action.covers(call),
        }
    }

    /// Whether all that this names is named by `wide` too. Never `true` wrongly.
    pub fn subset(&self, wide: &Self) -> bool {
        match (self, wide) {
            (Self::Aws(a), Self::Aws(b)) => a.subset(b),
            (Self::Azure(a), Self::Azure(b)) => a.subset(b),
            (Self::Kubernetes(a), Self::Kubernetes(b)) => a.subset(b),
            (Self::Vault(a), Self::Vault(b)) => a.subset(b),
            (Self::Gcp(a), Self::Gcp(b)) => a.subset(b),
            _ => false,
        }
    }

    /// Whether something is named by both. Never `false` wrongly.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Aws(a), Self::Aws(b)) => a.overlaps(b),
            (Self::Azure(a), Self::Azure(b)) => a.overlaps(b),
            (Self::Kubernetes(a), Self::Kubernetes(b)) => a.overlaps(b),
            (Self::Vault(a), Self::Vault(b)) => a.overlaps(b),
            (Self::Gcp(a), Self::Gcp(b)) => a.overlaps(b),
            _ => true,
        }
    }

    /// Whether a guardrail's pattern names this action on all of a resource. Never `true` wrongly.
    pub(crate) fn within(&self, guardrail: &Self, resource: &Resource) -> bool {
        match (self, guardrail, resource) {
            (Self::Vault(action), Self::Vault(guardrail), Resource::Vault(path)) => action.within(guardrail, path),
            _ => self.subset(guardrail),
        }
    }

    /// Whether a guardrail's pattern names this action on some of a resource. Never `false` wrongly.
    pub(crate) fn meets(&self, guardrail: &Self, resource: &Resource) -> bool {
        match (self, guardrail, resource) {
            (Self::Vault(action), Self::Vault(guardrail), Resource::Vault(path)) => action.meets(guardrail, path),
            (Self::Gcp(action), Self::Gcp(guardrail), _) => action.meets(guardrail),
            _ => self.overlaps(guardrail),
        }
    }

    /// Whether this, as a guardrail's pattern, names one call on its resource.
    pub fn covers_on(&self, call: &str, resource: &str) -> bool {
        match self {
            Self::Vault(action) => action.covers_on(call, resource),
            _ => self.covers(call),
        }
    }
}

/// One resource pattern, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// An ARN, or `*`.
    Aws(aws::Resource),
    /// What a token is made for.
    Azure(azure::Resource),
    /// `namespace/name`.
    Kubernetes(kubernetes::Resource),
    /// A path.
    Vault(vault::Resource),
    /// Objects of a bucket, an audience, or a name elsewhere.
    Gcp(gcp::Resource),
}

impl Resource {
    /// Reads a resource.
    ///
    /// # Errors
    /// What is wrong with it, and the fix.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, PatternError> {
        match kind {
            Kind::Aws => aws::Resource::parse(text).map(Self::Aws),
            Kind::Azure => azure::Resource::parse(text).map(Self::Azure),
            Kind::Kubernetes => kubernetes::Resource::parse(text).map(Self::Kubernetes),
            Kind::Vault => vault::Resource::parse(text).map(Self::Vault),
            Kind::Gcp => gcp::Resource::parse(text).map(Self::Gcp),
        }
    }

    /// Reads a resource as who wrote it may write it: with [`Role::Guardrail`] paths of Vault may name more than one mount.
    pub(crate) fn parse_as(kind: Kind, role: Role, text: &str) -> Result<Self, PatternError> {
        match (kind, role) {
            (Kind::Vault, Role::Guardrail) => vault::Resource::parse_in(role, text).map(Self::Vault),
            _ => Self::parse(kind, text),
        }
    }

    /// As written.
    pub fn text(&self) -> String {
        match self {
            Self::Aws(resource) => resource.text().to_owned(),
            Self::Azure(resource) => resource.text().to_owned(),
            Self::Kubernetes(resource) => resource.text(),
            Self::Vault(resource) => resource.text(),
            Self::Gcp(resource) => resource.text(),
        }
    }

    /// Whether the resource of a call is named.
    pub fn covers(&self, call: &str) -> bool {
        match self {
            Self::Aws(resource) => resource.covers(call),
            Self::Azure(resource) => resource.covers(call),
            Self::Kubernetes(resource) => resource.covers(call),
            Self::Vault(resource) => resource.covers(call),
            Self::Gcp(resource) => resource.covers(call),
        }
    }

    /// Whether all that this names is named by `wide` too. Never `true` wrongly.
    pub fn subset(&self, wide: &Self) -> bool {
        match (self, wide) {
            (Self::Aws(a), Self::Aws(b)) => a.subset(b),
            (Self::Azure(a), Self::Azure(b)) => a.subset(b),
            (Self::Kubernetes(a), Self::Kubernetes(b)) => a.subset(b),
            (Self::Vault(a), Self::Vault(b)) => a.subset(b),
            (Self::Gcp(a), Self::Gcp(b)) => a.subset(b),
            _ => false,
        }
    }

    /// Whether something is named by both. Never `false` wrongly.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Aws(a), Self::Aws(b)) => a.overlaps(b),
            (Self::Azure(a), Self::Azure(b)) => a.subset(b),
            (Self::Kubernetes(a), Self::Kubernetes(b)) => a.overlaps(b),
            (Self::Vault(a), Self::Vault(b)) => a.overlaps(b),
            (Self::Gcp(a), Self::Gcp(b)) => a.overlaps(b),
            _ => true,
        }
    }
}

/// Whether the provider can enforce this action on this resource.
///
/// # Errors
/// Why it can't, and the fix.
pub fn check_pair(action: &Action, resource: &Resource) -> Result<(), PatternError> {
    match (action, resource) {
        (Action::Kubernetes(action), Resource::Kubernetes(resource)) => kubernetes::check_pair(action, resource),
        (Action::Gcp(action), Resource::Gcp(resource)) => gcp::check_pair(action, resource),
        _ => Ok(()),
    }
}
