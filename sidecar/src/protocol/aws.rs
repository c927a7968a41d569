//! AWS container credentials, as unmodified SDKs read them from `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
//!
//! botocore and JavaScript take exactly 200 and need all of `AccessKeyId`, `SecretAccessKey`, `Token` and `Expiration`;
//! JavaScript takes no offset but `Z`. They give up after 2 s and 1 s: answers come from memory.

use bytes::Bytes;
use exeat_wire::{AwsCredential, Refusal};
use jiff::Timestamp;
use serde::Serialize;

use super::{Answer, error, manner, secret_json};

/// Path of the credentials, in `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
pub const PATH: &str = "/aws/credentials";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    access_key_id: &'a str,
    secret_access_key: &'a str,
    token: &'a str,
    expiration: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
}

/// Body of a successful answer. `expires_at` is cut to whole seconds.
///
/// # Errors
/// When it can't be written as JSON.
pub fn body(keys: &AwsCredential, expires_at: Timestamp) -> Result<Bytes, serde_json::Error> {
    let token = keys.session_token.expose();
    let body = Body {
        access_key_id: &keys.access_key_id,
        secret_access_key: keys.secret_access_key.expose(),
        token,
        expiration: expires_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        account_id: keys.account_id.as_deref(),
    };
    secret_json(&body, 1024 + 2 * token.len())
}

/// The answer while nothing is served.
pub fn refused(refusal: &Refusal) -> Answer {
    let (status, retry_after) = manner(refusal);
    error(status, retry_after, &refusal.code, &refusal.message)
}

#[cfg(test)]
mod tests {
    use exeat_wire::Secret;

    use super::*;

    #[test]
    fn the_body_is_what_every_sdk_takes() {
        let keys = AwsCredential {
            access_key_id: "AKID".into(),
            secret_access_key: Secret::new("wJalr/+\"x"),
            session_token: Secret::new("token=="),
            account_id: Some("123456789012".into()),
        };
        let body = body(&keys, "2026-01-01T00:30:00.999Z".parse().unwrap()).unwrap();
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"{"AccessKeyId":"AKID","SecretAccessKey":"wJalr/+\"x","Token":"token==","Expiration":"2026-01-01T00:30:00Z","AccountId":"123456789012"}"#
        );
    }

    #[test]
    fn a_denial_is_4xx_and_a_wait_is_503_with_both_spellings() {
        let refusal = |retryable, retry_after_seconds| Refusal {
            code: "SessionRevoked".into(),
            message: "revoked by alice".into(),
            retryable,
            retry_after_seconds,
            session: None,
        };
        let denied = refused(&refusal(false, Some(9)));
        assert_eq!((denied.status.as_u16(), denied.retry_after), (403, None));
        let body: serde_json::Value = serde_json::from_slice(&denied.body).unwrap();
        for (key, value) in [
            ("code", "SessionRevoked"),
            ("Code", "SessionRevoked"),
            ("message", "revoked by alice"),
            ("Message", "revoked by alice"),
        ] {
            assert_eq!(body[key], value);
        }
        assert_eq!(refused(&refusal(true, None)).retry_after, Some(1));
        let waits = refused(&refusal(true, Some(9)));
        assert_eq!((waits.status.as_u16(), waits.retry_after), (503, Some(9)));
    }
}
