//! Plain JSON for anything else: the credential in its provider's own fields, with the session it belongs to.

use bytes::Bytes;
use exeat_wire::{Credential, CredentialResponse, Refusal};
use jiff::Timestamp;
use serde::Serialize;

use super::{Answer, manner, secret_json};

/// Path of the credential.
pub const PATH: &str = "/exeat/v1/credential";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    session: &'a str,
    policy: &'a str,
    expires_at: String,
    session_expires_at: String,
    credential: &'a Credential,
}

/// Body of a successful answer.
///
/// # Errors
/// When it can't be written as JSON.
pub fn body(
    response: &CredentialResponse,
    expires_at: Timestamp,
    session_expires_at: Timestamp,
) -> Result<Bytes, serde_json::Error> {
    let body = Body {
        session: &response.session,
        policy: &response.policy,
        expires_at: expires_at.min(session_expires_at).to_string(),
        session_expires_at: session_expires_at.to_string(),
        credential: &response.credential,
    };
    secret_json(&body, 1024 + 2 * secret_bytes(&response.credential))
}

fn secret_bytes(credential: &Credential) -> usize {
    match credential {
        Credential::Aws(keys) => keys.session_token.expose().len(),
        Credential::Azure(credential) => {
            credential.tokens.iter().map(|t| t.token.expose().len() + t.resource.len() + 64).sum()
        }
        Credential::Kubernetes(token) => token.token.expose().len() + token.certificate_authority.len(),
        _ => 0,
    }
}

/// The answer while nothing is served: the refusal itself.
pub fn refused(refusal: &Refusal) -> Answer {
    let (status, retry_after) = manner(refusal);
    Answer::json(status, retry_after, serde_json::to_vec(refusal).unwrap_or_default())
}
