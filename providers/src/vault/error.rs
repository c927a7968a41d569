//! What Vault's refusals mean, and what to do about them.

use std::time::Duration;

use exeat_crds::reason::Reason;
use http::StatusCode;
use serde_json::Value;

use super::api::Answer;
use crate::ProviderError;

/// How long to wait where Vault asks us to slow down and names no time.
const THROTTLE_WAIT: Duration = Duration::from_secs(2);

/// What was being done when a call failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doing<'a> {
    /// Logging in at this mount.
    Login(&'a str),
    /// Asking who the issuer is.
    Identity,
    /// Making a token of this role.
    Create(&'a str),
    /// Prolonging a token.
    Renew,
    /// Ending a token.
    Revoke,
    /// Reading an answer.
    Answer,
}

/// The error of an answer that is no success.
pub(super) fn refused(answer: &Answer, doing: Doing<'_>) -> ProviderError {
    let said: Vec<&str> = answer.body["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    answer.with_wait(failure(answer.status, &said.join("; "), doing))
}

/// What an answer of this status means that says this. `SessionNotFound` is a token that is gone: never seen outside.
pub(super) fn failure(status: StatusCode, said: &str, doing: Doing<'_>) -> ProviderError {
    let said = quoted(said);
    match (status.as_u16(), doing) {
        (429, _) => {
            let message = format!("Vault asks the issuer to slow down: {said}");
            ProviderError::passing(Reason::ProviderThrottled, message).after(THROTTLE_WAIT)
        }
        (307 | 308 | 412 | 472 | 473, _) | (500.., _) if !is_internal_refusal(&said) => ProviderError::passing(
            Reason::ProviderUnreachable,
            format!("Vault can't serve just now ({}): {said}; it may be sealed, or a standby", status.as_u16()),
        ),
        (400 | 403 | 404 | 500, Doing::Renew | Doing::Revoke) if is_gone(&said) => {
            ProviderError::lasting(Reason::SessionNotFound, "the token is gone")
        }
        (_, Doing::Login(mount)) => login(&said, mount),
        (403, Doing::Identity) => ProviderError::lasting(
            Reason::BaseIdentityInvalid,
            format!(
                "Vault does not know the issuer's own token: {said}; log in anew, or replace the token in the Secret"
            ),
        ),
        (400, Doing::Create(role)) if said.contains("unknown role") => ProviderError::lasting(
            Reason::AssumeRoleDenied,
            format!(
                "spec.principal: Vault has no token role {role}; make it: vault write auth/token/roles/{role} orphan=true allowed_policies=…"
            ),
        ),
        (403, Doing::Create(role)) => ProviderError::lasting(
            Reason::AssumeRoleDenied,
            format!(
                "the issuer may not make tokens of role {role}: {said}; give its own policy: path \"auth/token/create/{role}\" {{ \
                 capabilities = [\"update\"] }}"
            ),
        ),
        (403, Doing::Renew | Doing::Revoke) => ProviderError::lasting(
            Reason::IssuerForbidden,
            format!(
                "the issuer may not renew or revoke tokens: {said}; give its own policy update on auth/token/renew-accessor and \
                 auth/token/revoke-accessor"
            ),
        ),
        (code, _) => {
            ProviderError::lasting(Reason::ProviderRejected, format!("Vault refuses the request ({code}): {said}"))
        }
    }
}

/// Vault answers some refusals with 500.
fn is_internal_refusal(said: &str) -> bool {
    is_gone(said)
}

fn is_gone(said: &str) -> bool {
    ["invalid accessor", "bad token", "token not found", "lease not found", "no matching accessor"]
        .iter()
        .any(|mark| said.contains(mark))
}

fn login(said: &str, mount: &str) -> ProviderError {
    let clock =
        ["expired", "not valid yet", "issued in the future", "nbf", "iat"].iter().any(|mark| said.contains(mark));
    let fix = if clock {
        "the clocks of the issuer's node and of Vault may differ: set them right"
    } else {
        "check spec.vault.auth: the mount, the role with the issuer's service account and namespace and the audience of its token, or the \
         Secret's roleID and secretID"
    };
    ProviderError::lasting(
        Reason::BaseIdentityInvalid,
        format!("Vault refuses the issuer's login at auth/{mount}: {said}; {fix}"),
    )
}

/// What Vault said, without anything that looks like a token.
fn quoted(said: &str) -> String {
    let hidden = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        word.contains("eyJ") || word.starts_with("hvs.") || word.starts_with("hvb.") || word.starts_with("s.")
    };
    let words: Vec<&str> = said.split_whitespace().map(|word| if hidden(word) { "…" } else { word }).collect();
    if words.is_empty() { "it gave no reason".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, said: &str, doing: Doing<'_>) -> ProviderError {
        failure(StatusCode::from_u16(status).unwrap(), said, doing)
    }

    #[test]
    fn each_answer_has_its_reason_and_its_fix() {
        for (status, said, doing, reason, retryable, part) in [
            (
                403,
                "permission denied",
                Doing::Create("agents"),
                Reason::AssumeRoleDenied,
                false,
                "auth/token/create/agents",
            ),
            (400, "unknown role agents", Doing::Create("agents"), Reason::AssumeRoleDenied, false, "orphan=true"),
            (403, "permission denied", Doing::Renew, Reason::IssuerForbidden, false, "renew-accessor"),
            (403, "permission denied", Doing::Identity, Reason::BaseIdentityInvalid, false, "log in anew"),
            (
                403,
                "permission denied",
                Doing::Login("kubernetes"),
                Reason::BaseIdentityInvalid,
                false,
                "auth/kubernetes",
            ),
            (400, "token is expired", Doing::Login("jwt"), Reason::BaseIdentityInvalid, false, "clocks"),
            (429, "slow", Doing::Renew, Reason::ProviderThrottled, true, "slow down"),
            (503, "Vault is sealed", Doing::Create("a"), Reason::ProviderUnreachable, true, "sealed"),
            (500, "", Doing::Create("a"), Reason::ProviderUnreachable, true, "no reason"),
            (307, "", Doing::Create("a"), Reason::ProviderUnreachable, true, "standby"),
            (403, "1 error occurred: * invalid accessor", Doing::Revoke, Reason::SessionNotFound, false, "gone"),
            (500, "invalid accessor", Doing::Renew, Reason::SessionNotFound, false, "gone"),
            (418, "no", Doing::Create("a"), Reason::ProviderRejected, false, "418"),
        ] {
            let error = of(status, said, doing);
            assert_eq!((error.reason, error.retryable), (reason, retryable), "{status} {said} {doing:?}");
            assert!(error.message.contains(part), "{error}");
        }
    }

    #[test]
    fn nothing_that_looks_like_a_token_is_repeated() {
        let error = of(403, "bad hvs.CAESIJ eyJhbGciOi.x (s.abcdef)", Doing::Create("a"));
        assert!(
            !error.message.contains("CAES") && !error.message.contains("eyJ") && !error.message.contains("abcdef"),
            "{error}"
        );
    }
}
