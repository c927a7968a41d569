//! What is asked of STS for a grant, as pure values.

use aws_sdk_sts::types::Tag;
use exeat_crds::reason::Reason;
use exeat_crds::rules::Grant;
use exeat_crds::rules::aws_document::{Dialect, document};
use exeat_crds::rules::names::{self, TagInput};
use exeat_crds::v1alpha1::{AwsDialect, AwsProvider, AwsSource};
use jiff::{SignedDuration, Timestamp};

use crate::{MintRequest, ProviderError};

/// Shortest life that STS gives.
pub(super) const FLOOR: i64 = 900;
/// Longest life that STS gives a role.
const CEILING: i64 = 12 * 3600;
/// Longest life that STS gives a role that another role assumes.
pub(super) const CHAINED_CEILING: i64 = 3600;
/// How far the clock of STS may be from ours, seconds.
const SKEW: i64 = 300;
/// How much later than asked a credential's end may be claimed, seconds: the time the answer took.
const SLACK: i64 = 60;

/// One AssumeRole or AssumeRoleWithWebIdentity.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ask {
    pub(super) role_arn: String,
    pub(super) session_name: String,
    pub(super) document: String,
    pub(super) seconds: i64,
    pub(super) tags: Vec<Tag>,
    pub(super) source_identity: Option<String>,
    /// The issuer's own token assumes the role, with no role between.
    pub(super) direct: bool,
}

impl Ask {
    /// What a request asks for.
    ///
    /// # Errors
    /// What STS would refuse, and the fix.
    pub(super) fn new(spec: &AwsProvider, request: &MintRequest<'_>) -> Result<Self, ProviderError> {
        let MintRequest { session, grant, .. } = request;
        let document = session_policy(spec, grant)?;
        let tags = if spec.session_tags { tags(request)? } else { Vec::new() };
        let source_identity =
            spec.source_identity.then(|| names::source_identity(&session.namespace, &session.service_account));
        Ok(Self {
            role_arn: grant.principal.clone(),
            session_name: names::role_session_name(&session.name).map_err(|e| rejected(e.to_string()))?,
            document,
            seconds: seconds(request.ttl)?,
            tags,
            source_identity,
            direct: is_direct(spec, grant),
        })
    }

    /// The same for at most one hour.
    pub(super) fn chained(self) -> Self {
        Self { seconds: self.seconds.min(CHAINED_CEILING), ..self }
    }

    /// When the credential ends, given what STS says: never later than was asked for.
    ///
    /// # Errors
    /// Where STS gave more life than it was asked for, so that no end that we name would hold.
    pub(super) fn expires_at(&self, now: Timestamp, said: Timestamp) -> Result<Timestamp, ProviderError> {
        let asked = |slack: i64| now.saturating_add(SignedDuration::from_secs(self.seconds + slack));
        let (Ok(latest), Ok(plausible)) = (asked(SLACK), asked(SKEW)) else {
            return Err(rejected(format!("{} s from {now} is no time", self.seconds)));
        };
        if said > plausible {
            return Err(rejected(format!(
                "STS was asked for {} s at {now} and gave a credential until {said}; check the clocks of the issuer and of the \
                 STS endpoint",
                self.seconds
            )));
        }
        Ok(said.min(latest))
    }
}

/// What can be known of a grant without asking STS.
///
/// # Errors
/// What STS would refuse, and the fix.
pub(super) fn check(spec: &AwsProvider, grant: &Grant) -> Result<(), ProviderError> {
    session_policy(spec, grant)?;
    if !is_direct(spec, grant) {
        return Ok(());
    }
    for (field, set) in [("sessionTags", spec.session_tags), ("sourceIdentity", spec.source_identity)] {
        if set {
            return Err(rejected(format!(
                "spec.aws.{field} of the provider can't be sent where the principal is spec.aws.roleARN itself \
                 (AssumeRoleWithWebIdentity takes none); switch it off, or let spec.aws.roleARN name another role that assumes the \
                 principal"
            )));
        }
    }
    Ok(())
}

fn session_policy(spec: &AwsProvider, grant: &Grant) -> Result<String, ProviderError> {
    let dialect = match spec.dialect {
        AwsDialect::Aws => Dialect::Aws,
        AwsDialect::S3Compatible => Dialect::S3Compatible,
    };
    let document =
        document(grant, dialect).map_err(|e| ProviderError::lasting(e.reason(), format!("spec.allow: {e}")))?;
    Ok(document.into_string())
}

fn is_direct(spec: &AwsProvider, grant: &Grant) -> bool {
    spec.source == AwsSource::WebIdentity && spec.role_arn.as_deref() == Some(grant.principal.as_str())
}

fn seconds(ttl: SignedDuration) -> Result<i64, ProviderError> {
    let seconds = ttl.as_secs().max(FLOOR);
    if seconds <= CEILING {
        return Ok(seconds);
    }
    let message = "spec.session.credentialTTL: AWS gives a role's credentials 12h at most; ask for less";
    Err(ProviderError::lasting(Reason::CredentialTTLTooLong, message))
}

fn tags(request: &MintRequest<'_>) -> Result<Vec<Tag>, ProviderError> {
    let session = request.session;
    let input = TagInput {
        cluster: request.cluster,
        namespace: &session.namespace,
        service_account: &session.service_account,
        policy: &session.policy,
        session: &session.name,
    };
    let pairs = names::session_tags(input).map_err(|e| rejected(e.to_string()))?;
    pairs
        .into_iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build().map_err(|e| rejected(e.to_string())))
        .collect()
}

fn rejected(message: String) -> ProviderError {
    ProviderError::lasting(Reason::ProviderRejected, message)
}

#[cfg(test)]
#[path = "ask_tests.rs"]
mod tests;
