//! What Google's refusals mean, and what to do about them.

use std::time::Duration;

use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::GcpSource;
use serde_json::Value;

use super::api::Answer;
use crate::ProviderError;

/// How long to wait where Google asks us to slow down and names no time.
const THROTTLE_WAIT: Duration = Duration::from_secs(2);

/// What was being done when a call failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doing<'a> {
    /// Getting a token of the issuer's own.
    Login(GcpSource),
    /// Impersonating a service account.
    Impersonate(&'a str),
    /// Holding a token to its boundary.
    Narrow,
    /// Reading the answer of a login.
    Answer(GcpSource),
}

/// Google's code, and what it says.
fn said(body: &Value) -> (String, String) {
    let error = &body["error"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if error.is_string() {
        return (text(error), text(&body["error_description"]));
    }
    let details = error["details"].as_array().into_iter().flatten();
    let reason = details.filter_map(|detail| detail["reason"].as_str()).next().unwrap_or_default();
    let code = if reason.is_empty() { text(&error["status"]) } else { reason.to_owned() };
    let message = text(&error["message"]);
    (code, if message.is_empty() { text(body).chars().take(300).collect() } else { message })
}

/// Turns an answer that is of no use into its reason.
pub(super) fn failure(answer: &Answer, doing: Doing<'_>) -> ProviderError {
    let (code, message) = said(&answer.body);
    let said = quoted(&code, &message);
    let status = answer.status.as_u16();
    let error = match (status, doing) {
        (429, _) => {
            let message = format!("Google asks the issuer to slow down: {said}");
            ProviderError::passing(Reason::ProviderThrottled, message).after(THROTTLE_WAIT)
        }
        (500.., _) => ProviderError::passing(
            Reason::ProviderUnreachable,
            format!("Google can't serve just now ({status}): {said}"),
        ),
        (_, Doing::Login(source)) => login(&code, &message, &said, source),
        (_, Doing::Answer(source)) => {
            lasting(Reason::BaseIdentityInvalid, format!("{} gave the issuer no token: {said}", place(source)))
        }
        (401, _) => lasting(
            Reason::BaseIdentityInvalid,
            format!(
                "Google does not take the issuer's own token: {said}; check spec.gcp.source and the clock of the issuer's node"
            ),
        ),
        (403, _) if code == "SERVICE_DISABLED" => lasting(
            Reason::ProviderRejected,
            format!("an API is switched off: {said}; enable iamcredentials.googleapis.com and sts.googleapis.com"),
        ),
        (403 | 404, Doing::Impersonate(email)) => lasting(
            Reason::AssumeRoleDenied,
            format!(
                "the issuer may not act as {email}, or it does not exist: {said}; give the issuer's identity roles/iam.serviceAccountTokenCreator \
                 (federated: roles/iam.workloadIdentityUser) on that service account"
            ),
        ),
        (400, Doing::Impersonate(_)) if message.contains("lifetime") => lasting(
            Reason::CredentialTTLTooLong,
            format!("spec.session.credentialTTL: Google gives no token for so long: {said}; ask for an hour at most"),
        ),
        (_, Doing::Narrow) => lasting(
            Reason::ProviderRejected,
            format!(
                "Google does not hold a token to the policy's boundary: {said}; check the buckets and custom roles in spec.allow"
            ),
        ),
        _ => lasting(Reason::ProviderRejected, format!("Google refuses the request ({status}): {said}")),
    };
    answer.with_wait(error)
}

fn lasting(reason: Reason, message: String) -> ProviderError {
    ProviderError::lasting(reason, message)
}

fn place(source: GcpSource) -> &'static str {
    match source {
        GcpSource::Ambient => "the metadata server",
        GcpSource::Secret => "Google's token endpoint",
        GcpSource::WorkloadIdentity => "the Security Token Service",
    }
}

fn login(code: &str, message: &str, said: &str, source: GcpSource) -> ProviderError {
    let lower = message.to_ascii_lowercase();
    let clock = ["iat", "reasonable timeframe", "expired", "not yet valid", "in the future", "stale"];
    let fix = if clock.iter().any(|mark| lower.contains(mark)) {
        "the clocks of the issuer's node and of Google may differ: set them right"
    } else {
        match source {
            GcpSource::Ambient => {
                "bind a service account to the issuer's (GKE Workload Identity), or set spec.gcp.source"
            }
            GcpSource::Secret if code == "invalid_grant" => {
                "the key may be deleted or disabled: put a new key file into the Secret"
            }
            GcpSource::Secret => "check the key file in the Secret",
            GcpSource::WorkloadIdentity => {
                "check spec.gcp.workloadIdentityProvider, its issuer URL and keys, its allowed audiences (issuer.gcpAudience of the chart) and its \
                 attribute condition"
            }
        }
    };
    lasting(Reason::BaseIdentityInvalid, format!("{} refuses the issuer: {said}; {fix}", place(source)))
}

/// What Google said, without anything that looks like a token.
fn quoted(code: &str, message: &str) -> String {
    let hidden = |word: &str| word.contains("eyJ") || word.contains("ya29.") || word.len() > 200;
    let words: Vec<&str> = message.split_whitespace().map(|word| if hidden(word) { "…" } else { word }).collect();
    match (code, words.is_empty()) {
        ("", true) => "it gave no reason".to_owned(),
        ("", false) => words.join(" "),
        (code, true) => code.to_owned(),
        (code, false) => format!("{code}: {}", words.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use serde_json::json;

    fn of(status: u16, body: Value, doing: Doing<'_>) -> ProviderError {
        let status = StatusCode::from_u16(status).unwrap();
        failure(&Answer { status, body, retry_after: None }, doing)
    }

    fn api(status: &str, reason: &str, message: &str) -> Value {
        json!({"error": {"status": status, "message": message, "details": [{"@type": "ErrorInfo", "reason": reason}]}})
    }

    fn oauth(error: &str, description: &str) -> Value {
        json!({"error": error, "error_description": description})
    }

    #[test]
    fn each_answer_has_its_reason_and_its_fix() {
        use GcpSource::{Ambient, Secret, WorkloadIdentity};
        let account = Doing::Impersonate("a@p.iam.gserviceaccount.com");
        for (status, body, doing, reason, retryable, part) in [
            (
                403,
                api(
                    "PERMISSION_DENIED",
                    "IAM_PERMISSION_DENIED",
                    "Permission 'iam.serviceAccounts.getAccessToken' denied",
                ),
                account,
                Reason::AssumeRoleDenied,
                false,
                "serviceAccountTokenCreator",
            ),
            (
                404,
                api("NOT_FOUND", "", "Not found; Gaia id not found"),
                account,
                Reason::AssumeRoleDenied,
                false,
                "does not exist",
            ),
            (
                403,
                api("PERMISSION_DENIED", "SERVICE_DISABLED", "has not been used"),
                account,
                Reason::ProviderRejected,
                false,
                "enable",
            ),
            (
                401,
                api("UNAUTHENTICATED", "", "invalid authentication"),
                account,
                Reason::BaseIdentityInvalid,
                false,
                "own token",
            ),
            (
                400,
                api("INVALID_ARGUMENT", "", "The requested token lifetime exceeds 1 hour"),
                account,
                Reason::CredentialTTLTooLong,
                false,
                "credentialTTL",
            ),
            (429, api("RESOURCE_EXHAUSTED", "", "quota"), account, Reason::ProviderThrottled, true, "slow down"),
            (503, Value::Null, account, Reason::ProviderUnreachable, true, "no reason"),
            (502, json!("<p>a proxy's page"), account, Reason::ProviderUnreachable, true, "a proxy's page"),
            (400, oauth("invalid_request", "bad boundary"), Doing::Narrow, Reason::ProviderRejected, false, "boundary"),
            (
                400,
                oauth("invalid_grant", "Invalid JWT Signature."),
                Doing::Login(Secret),
                Reason::BaseIdentityInvalid,
                false,
                "new key file",
            ),
            (
                400,
                oauth("invalid_grant", "Invalid JWT: Token must be in a reasonable timeframe. Check your iat and exp"),
                Doing::Login(Secret),
                Reason::BaseIdentityInvalid,
                false,
                "clocks",
            ),
            (
                400,
                oauth("invalid_grant", "The audience in ID Token does not match the expected audience"),
                Doing::Login(WorkloadIdentity),
                Reason::BaseIdentityInvalid,
                false,
                "allowed audiences",
            ),
            (404, Value::Null, Doing::Login(Ambient), Reason::BaseIdentityInvalid, false, "Workload Identity"),
            (418, Value::Null, account, Reason::ProviderRejected, false, "418"),
        ] {
            let error = of(status, body.clone(), doing);
            assert_eq!((error.reason, error.retryable), (reason, retryable), "{status} {body} {doing:?}");
            assert!(error.message.contains(part), "{error}");
        }
    }

    #[test]
    fn nothing_that_looks_like_a_token_is_repeated() {
        let error =
            of(400, oauth("invalid_grant", "bad ya29.abcdef and eyJhbGciOi.x"), Doing::Login(GcpSource::Secret));
        assert!(!error.message.contains("abcdef") && !error.message.contains("eyJ"), "{error}");
    }
}
