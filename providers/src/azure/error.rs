//! What Entra's refusals mean, and what to do about them. Codes are those of "Microsoft Entra authentication and authorization error codes".

use std::time::Duration;

use exeat_crds::reason::Reason;

use super::api::Answer;
use crate::ProviderError;

/// How long to wait where Entra asks us to slow down and names no time.
const THROTTLE_WAIT: Duration = Duration::from_secs(5);

/// What was being done when a call failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doing<'a> {
    /// Asking what is public of the tenant.
    Discover { tenant: &'a str },
    /// Asking for a token.
    Token { principal: &'a str, resource: &'a str },
}

/// Turns an answer that brought nothing into its reason.
pub(super) fn failure(answer: &Answer, doing: Doing<'_>) -> ProviderError {
    let (status, body) = (answer.status.as_u16(), &answer.body);
    let code = body.error_codes.first().copied().or_else(|| code_of(&body.error_description));
    let said = quoted(&body.error_description, &body.error);
    if status == 429 || matches!(code, Some(50196 | 90055)) {
        let message = format!("Entra asks the issuer to slow down: {said}");
        return answer.with_wait(ProviderError::passing(Reason::ProviderThrottled, message).after(THROTTLE_WAIT));
    }
    let down = status >= 500 || matches!(code, Some(90033 | 90020)) || body.error == "temporarily_unavailable";
    let silent = body.error.is_empty() && code.is_none();
    if down || silent {
        let what = if down { "can't serve just now" } else { "gave an answer that is none of Entra's" };
        let message = format!("the authority {what} ({status}): {said}");
        return answer.with_wait(ProviderError::passing(Reason::ProviderUnreachable, message));
    }
    match doing {
        Doing::Discover { tenant } => ProviderError::lasting(
            Reason::ProviderRejected,
            format!(
                "spec.azure.tenantID: Entra knows no tenant {tenant}: {said}; check it, and spec.azure.authority for a sovereign cloud"
            ),
        ),
        Doing::Token { principal, resource } => {
            let (reason, fix) = known(code, &body.error, principal, resource);
            ProviderError::lasting(reason, format!("Entra gives no token of {principal} for {resource}: {said}; {fix}"))
        }
    }
}

fn known(code: Option<u32>, error: &str, principal: &str, resource: &str) -> (Reason, String) {
    match (code.unwrap_or_default(), error) {
        (70021 | 700_211 | 700_212 | 700_213, _) => (
            Reason::AssumeRoleDenied,
            "give the app or identity a federated credential with issuer, subject and audience of the issuer's own token, each exactly (docs/azure.md)"
                .to_owned(),
        ),
        (700_016 | 700_003 | 700_022 | 7_000_112 | 7_000_229 | 7_000_113, _) => (
            Reason::AssumeRoleDenied,
            format!("spec.principal: {principal} must be the client id of an app or user-assigned identity of this tenant that is enabled"),
        ),
        (50105 | 501_051 | 53003 | 530_034 | 530_035 | 530_036, _) => (
            Reason::AssumeRoleDenied,
            format!("assign it an app role of {resource} that lets it in, or let Conditional Access for workload identities pass it"),
        ),
        (700_024, _) => {
            (Reason::BaseIdentityInvalid, "the clocks of the issuer's node and of Entra differ, or the token is old: set them right".to_owned())
        }
        (700_021 | 700_023 | 700_027 | 700_030 | 50027 | 50013 | 50166 | 90061 | 5_002_730, _) => (
            Reason::BaseIdentityInvalid,
            "Entra can't check the issuer's own token: the cluster's issuer URL must serve its discovery document and keys by https to everybody"
                .to_owned(),
        ),
        (7_000_215 | 7_000_216 | 7_000_218 | 7_000_222, _) => {
            (Reason::BaseIdentityInvalid, "replace clientSecret in the Secret that spec.azure.secretRef names".to_owned())
        }
        (500_011 | 500_014 | 50001 | 70011 | 1_002_012 | 65001 | 28000..=28003, _) | (_, "invalid_scope" | "invalid_resource") => (
            Reason::ResourceInvalid,
            format!("spec.allow[].resources: {resource} must be the application id URI of a service that this tenant has"),
        ),
        (90002 | 90019 | 900_021 | 900_023 | 50059 | 50020, _) => {
            (Reason::ProviderRejected, "check spec.azure.tenantID, and spec.azure.authority for a sovereign cloud".to_owned())
        }
        (_, "invalid_client") => (
            Reason::BaseIdentityInvalid,
            "check the federated credential of the app or identity, or clientSecret in the provider's Secret".to_owned(),
        ),
        _ => (Reason::ProviderRejected, "look the code up in Entra's list of error codes".to_owned()),
    }
}

/// The number behind the first `AADSTS`.
fn code_of(said: &str) -> Option<u32> {
    let rest = said.split_once("AADSTS")?.1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// What Entra said, without what differs from call to call and without anything that looks like a token.
fn quoted(description: &str, error: &str) -> String {
    let lasting = description.split("Trace ID").next().unwrap_or_default();
    let words: Vec<&str> =
        lasting.split_whitespace().map(|word| if word.contains("eyJ") { "…" } else { word }).collect();
    match (words.is_empty(), error) {
        (true, "") => "it gave no reason".to_owned(),
        (true, error) => error.to_owned(),
        (false, _) => words.join(" ").trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use serde_json::{Value, json};

    const DOING: Doing<'_> = Doing::Token { principal: "app-1", resource: "https://storage.azure.com" };

    fn of(status: u16, body: Value, retry_after: Option<u64>, doing: Doing<'_>) -> ProviderError {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: retry_after.map(Duration::from_secs),
            body: serde_json::from_value(body).unwrap_or_default(),
        };
        failure(&answer, doing)
    }

    fn said(code: u32, error: &str) -> Value {
        json!({
            "error": error, "error_codes": [code], "trace_id": "t-1",
            "error_description": format!("AADSTS{code}: So it is.\r\nTrace ID: 1\r\nCorrelation ID: 2\r\nTimestamp: 3"),
        })
    }

    #[test]
    fn each_code_has_its_reason_and_its_fix() {
        for (status, code, error, reason, part) in [
            (401, 700_213, "invalid_client", Reason::AssumeRoleDenied, "federated credential"),
            (400, 70021, "invalid_request", Reason::AssumeRoleDenied, "federated credential"),
            (400, 700_016, "unauthorized_client", Reason::AssumeRoleDenied, "spec.principal: app-1"),
            (400, 7_000_112, "unauthorized_client", Reason::AssumeRoleDenied, "enabled"),
            (400, 501_051, "invalid_grant", Reason::AssumeRoleDenied, "app role of https://storage.azure.com"),
            (400, 53003, "invalid_grant", Reason::AssumeRoleDenied, "Conditional Access"),
            (401, 700_024, "invalid_client", Reason::BaseIdentityInvalid, "clocks"),
            (401, 700_027, "invalid_client", Reason::BaseIdentityInvalid, "issuer URL"),
            (401, 7_000_215, "invalid_client", Reason::BaseIdentityInvalid, "clientSecret"),
            (401, 7_000_222, "invalid_client", Reason::BaseIdentityInvalid, "clientSecret"),
            (400, 500_011, "invalid_resource", Reason::ResourceInvalid, "spec.allow[].resources"),
            (400, 70011, "invalid_scope", Reason::ResourceInvalid, "https://storage.azure.com"),
            (400, 90002, "invalid_request", Reason::ProviderRejected, "spec.azure.tenantID"),
            (401, 999_999, "invalid_client", Reason::BaseIdentityInvalid, "federated credential"),
            (400, 999_999, "invalid_request", Reason::ProviderRejected, "list of error codes"),
        ] {
            let told = of(status, said(code, error), None, DOING);
            assert_eq!((told.reason, told.retryable), (reason, false), "{code}: {told}");
            assert!(told.message.contains(part) && told.message.contains(&format!("AADSTS{code}: So it is")), "{told}");
            assert!(!told.message.contains("Trace ID"), "it differs from call to call: {told}");
            let unnumbered = json!({"error": error, "error_description": format!("AADSTS{code}: So it is.")});
            assert_eq!(of(status, unnumbered, None, DOING).reason, reason, "{code} by the text alone");
        }
        let tenant = of(400, said(90002, "invalid_tenant"), None, Doing::Discover { tenant: "t" });
        assert_eq!(tenant.reason, Reason::ProviderRejected);
        assert!(tenant.message.starts_with("spec.azure.tenantID"), "{tenant}");
    }

    #[test]
    fn what_may_pass_says_when() {
        for (status, body, wait, reason, after) in [
            (429, json!({}), Some(17), Reason::ProviderThrottled, Some(17)),
            (429, json!({}), None, Reason::ProviderThrottled, Some(5)),
            (400, said(90055, "invalid_request"), None, Reason::ProviderThrottled, Some(5)),
            (503, json!({}), Some(3), Reason::ProviderUnreachable, Some(3)),
            (500, said(90033, "temporarily_unavailable"), None, Reason::ProviderUnreachable, None),
            (403, json!("<html>"), None, Reason::ProviderUnreachable, None),
            (200, json!({"token_type": "Bearer"}), None, Reason::ProviderUnreachable, None),
        ] {
            let told = of(status, body, wait, DOING);
            assert_eq!((told.reason, told.retryable), (reason, true), "{status}: {told}");
            assert_eq!(told.retry_after, after.map(Duration::from_secs), "{status}: {told}");
        }
    }

    #[test]
    fn nothing_that_looks_like_a_token_is_repeated() {
        let body =
            json!({"error": "invalid_client", "error_description": "AADSTS700027: bad 'eyJhbGciOi.eyJzdWIi.x' here"});
        let told = of(401, body, None, DOING);
        assert!(!told.message.contains("eyJ") && told.message.contains("here"), "{told}");
    }
}
