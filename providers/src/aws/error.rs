//! What the refusals of STS mean, and what to do about them.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use exeat_crds::reason::Reason;

use crate::ProviderError;

/// Wait after a refusal for too many calls that names none.
const THROTTLE_WAIT: Duration = Duration::from_secs(5);

/// What MinIO says, under the code AccessDenied, of keys that it does not know.
const FOREIGN_KEYS: [&str; 2] =
    ["request signature we calculated does not match", "Access Key Id you provided does not exist"];

/// The action that the issuer's own token needs.
pub(super) const WITH_WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";

/// What was being done when a call failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing<'a> {
    pub(super) endpoint: &'a str,
    pub(super) step: Step<'a>,
}

/// A step on the way to a credential.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// GetCallerIdentity.
    Identity,
    /// The issuer's own token assumes the role of the provider.
    Base(&'a str),
    /// The principal is assumed.
    Assume { principal: &'a str, action: &'a str, also: &'a [&'a str] },
}

/// Why a call failed, taken out of the SDK's types.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    /// One of our own, from the source of the issuer's identity.
    Ours(ProviderError),
    /// The issuer has no identity. `slow`: a source of it did not answer.
    NoIdentity { text: String, slow: bool },
    /// STS answered.
    Answer { status: u16, code: String, message: String, wait: Option<Duration> },
    /// STS did not answer.
    NoAnswer(String),
}

/// Takes a failed call apart.
pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let SdkError::ServiceError(context) = error {
        let meta = context.err();
        let wait =
            context.raw().headers().get("retry-after").and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
        return Failure::Answer {
            status: context.raw().status().as_u16(),
            code: meta.code().unwrap_or_default().to_owned(),
            message: meta.message().unwrap_or_default().to_owned(),
            wait,
        };
    }
    if let SdkError::ResponseError(context) = error {
        let (status, message) = (context.raw().status().as_u16(), causes(error));
        return Failure::Answer { status, code: String::new(), message, wait: None };
    }
    for cause in chain(error) {
        if let Some(ours) = cause.downcast_ref::<ProviderError>() {
            return Failure::Ours(ours.clone());
        }
        if let Some(lost) = cause.downcast_ref::<CredentialsError>()
            && !chain(lost).any(|inner| inner.is::<ProviderError>())
        {
            return Failure::NoIdentity {
                text: causes(lost),
                slow: matches!(lost, CredentialsError::ProviderTimedOut(_)),
            };
        }
    }
    Failure::NoAnswer(causes(error))
}

/// Turns a failure into its reason.
pub(super) fn explain(failure: Failure, doing: Doing<'_>) -> ProviderError {
    match failure {
        Failure::Ours(error) => error,
        Failure::NoIdentity { text, slow } => ProviderError {
            retryable: slow,
            ..ProviderError::lasting(
                Reason::BaseIdentityInvalid,
                format!(
                    "the issuer has no AWS identity: {text}; give its service account one (IRSA, EKS Pod Identity, an instance role), \
                     or set spec.aws.source to Secret or WebIdentity"
                ),
            )
        },
        Failure::NoAnswer(text) => ProviderError::passing(
            Reason::ProviderUnreachable,
            format!(
                "STS at {} does not answer: {text}; check spec.aws.endpoint, spec.aws.region and the issuer's egress",
                doing.endpoint
            ),
        ),
        Failure::Answer { status, code, message, wait } => {
            answer(&Said { status, code: &code, message: &message, wait }, doing)
        }
    }
}

struct Said<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
    wait: Option<Duration>,
}

fn answer(said: &Said<'_>, doing: Doing<'_>) -> ProviderError {
    let code = said.code.strip_suffix("Exception").unwrap_or(said.code);
    match code {
        _ if FOREIGN_KEYS.iter().any(|text| said.message.contains(text)) => bad_identity(said, doing),
        "InvalidParameterValue" if said.message.contains("JWT") => bad_identity(said, doing),
        "AccessDenied" | "UnauthorizedOperation" | "NoSuchEntity" | "UnauthorizedAccess" => refused(said, doing),
        "InvalidClientTokenId"
        | "UnrecognizedClient"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "ExpiredToken"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "InvalidTokenId"
        | "InvalidToken"
        | "InvalidIdentityToken"
        | "IDPRejectedClaim"
        | "AuthFailure" => bad_identity(said, doing),
        "MalformedPolicyDocument" => lasting(
            Reason::ProviderRejected,
            format!(
                "STS can't read the session policy made of spec.allow: {}; correct the actions and resources in it",
                quoted(said)
            ),
        ),
        "PackedPolicyTooLarge" => too_large(said),
        "RegionDisabled" => lasting(
            Reason::ProviderRejected,
            format!(
                "STS is switched off in spec.aws.region for this account: {}; switch it on, or use another region",
                quoted(said)
            ),
        ),
        "Throttling"
        | "ThrottledRequest"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "LimitExceeded"
        | "SlowDown"
        | "RequestThrottled" => throttled(said),
        _ if said.status == 429 => throttled(said),
        "IDPCommunicationError" => ProviderError::passing(
            Reason::ProviderUnreachable,
            format!("STS can't reach the cluster's own OpenID Connect issuer: {}", quoted(said)),
        ),
        _ if said.status >= 500 => ProviderError::passing(
            Reason::ProviderUnreachable,
            format!("STS at {} has trouble of its own ({}): {}", doing.endpoint, said.status, quoted(said)),
        ),
        _ => invalid(said),
    }
}

fn refused(said: &Said<'_>, doing: Doing<'_>) -> ProviderError {
    match doing.step {
        Step::Identity => lasting(
            Reason::BaseIdentityInvalid,
            format!(
                "STS refuses to tell who the issuer is: {}; let its identity call sts:GetCallerIdentity",
                quoted(said)
            ),
        ),
        Step::Base(role) => lasting(
            Reason::BaseIdentityInvalid,
            format!(
                "the issuer's own token may not assume spec.aws.roleARN {role}: {}; let the role's trust policy name the cluster's \
                 OpenID Connect provider, audience sts.amazonaws.com and the issuer's service account",
                quoted(said)
            ),
        ),
        Step::Assume { principal, action, also } => {
            let mut actions = vec![action];
            actions.extend(also);
            lasting(
                Reason::AssumeRoleDenied,
                format!(
                    "the issuer may not assume {principal}: {}; allow {} both in the role's trust policy and in the policy of the \
                     issuer's own identity, and check spec.aws.externalID",
                    quoted(said),
                    actions.join(", ")
                ),
            )
        }
    }
}

/// The message of STS stays out: it may quote the request with its security token.
fn bad_identity(said: &Said<'_>, doing: Doing<'_>) -> ProviderError {
    let skew = said.message.contains("Signature expired")
        || said.message.contains("Signature not yet current")
        || matches!(said.code, "RequestExpired" | "RequestTimeTooSkewed");
    let fix = if skew {
        "the issuer's clock and that of STS differ by more than 5 minutes; set the clock of its node right"
    } else {
        match doing.step {
            Step::Base(_) | Step::Assume { action: WITH_WEB_IDENTITY, .. } => {
                "check that the account trusts the cluster's OpenID Connect issuer, and that the issuer's token has the audience \
                 sts.amazonaws.com"
            }
            _ => "check the keys in the Secret of spec.aws.secretRef, or what gives the issuer its AWS identity",
        }
    };
    lasting(
        Reason::BaseIdentityInvalid,
        format!("STS does not accept the issuer's own identity ({}): {fix}", said.code),
    )
}

fn too_large(said: &Said<'_>) -> ProviderError {
    lasting(
        Reason::PolicyTooLarge,
        format!(
            "spec.allow makes a session policy that is too large for STS: {}; use fewer or shorter actions and resources (wildcards \
             help), or several policies",
            quoted(said)
        ),
    )
}

fn throttled(said: &Said<'_>) -> ProviderError {
    ProviderError::passing(Reason::ProviderThrottled, format!("STS asks the issuer to slow down: {}", quoted(said)))
        .after(said.wait.unwrap_or(THROTTLE_WAIT))
}

/// Parameters that STS does not take: it has one code for all of them.
fn invalid(said: &Said<'_>) -> ProviderError {
    let text = said.message.to_ascii_lowercase();
    if text.contains("role chaining") {
        return chaining_limit();
    }
    if text.contains("maxsessionduration") {
        return lasting(
            Reason::CredentialTTLTooLong,
            format!(
                "spec.session.credentialTTL is longer than the role's maximum: {}; ask for less, or raise MaxSessionDuration of the role",
                quoted(said)
            ),
        );
    }
    if text.contains("policy") && (text.contains("length less than or equal to") || text.contains("2048")) {
        return too_large(said);
    }
    let hint = if text.contains("unsupported action") {
        "; a server other than AWS needs spec.aws.dialect: S3Compatible"
    } else {
        ""
    };
    lasting(Reason::ProviderRejected, format!("STS refuses the request: {}{hint}", quoted(said)))
}

/// A role that another role assumes lives for an hour at most.
pub(super) fn chaining_limit() -> ProviderError {
    lasting(
        Reason::RoleChainingLimit,
        "spec.session.credentialTTL: the issuer's own identity is an assumed role, and AWS gives a role that is assumed by a role 1h \
         at most; set it to 1h or less, or give the issuer an identity that is no assumed role",
    )
}

fn lasting(reason: Reason, message: impl Into<String>) -> ProviderError {
    ProviderError::lasting(reason, message)
}

/// What STS said, without anything that looks like a token.
fn quoted(said: &Said<'_>) -> String {
    let words: Vec<&str> =
        said.message.split_whitespace().map(|word| if is_token(word) { "…" } else { word }).collect();
    match (said.code, words.join(" ")) {
        ("", text) => text,
        (code, text) if text.is_empty() => code.to_owned(),
        (code, text) => format!("{code}: {text}"),
    }
}

fn is_token(word: &str) -> bool {
    word.contains("eyJ")
        || word.to_ascii_lowercase().contains("security-token:")
        || (word.len() > 200 && !word.starts_with("arn:") && !word.contains("{\""))
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| <dyn Error>::source(*error))
}

/// An error with its causes, innermost last.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in chain(error) {
        let part = cause.to_string();
        if !text.contains(&part) {
            text = if text.is_empty() { part } else { format!("{text}: {part}") };
        }
    }
    text
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
