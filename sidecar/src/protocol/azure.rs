//! App Service's protocol for managed identities (`api-version=2019-08-01`), as unmodified SDKs speak it with `IDENTITY_ENDPOINT` and
//! `IDENTITY_HEADER`.
//!
//! Rust takes `expires_on` as a string of seconds and needs `resource` and `token_type`; the others take a string too. Of an error Python
//! shows `statusCode` and `message`, JavaScript `error` and `message`, Go and Rust the body. 404, 408, 410 and 429 make them try again, so
//! none of these is answered.

use bytes::Bytes;
use exeat_wire::{AzureCredential, Refusal};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use super::{Answer, manner, secret_json};
use crate::guard::Rejection;

/// Path of the tokens, in `IDENTITY_ENDPOINT`.
pub const PATH: &str = "/azure/token";
/// Header with the value of `IDENTITY_HEADER`.
pub const SECRET_HEADER: &str = "x-identity-header";
/// The one version that is spoken.
const VERSION: &str = "2019-08-01";
/// How clients select an identity other than by its client id.
const OTHER_SELECTORS: [&str; 5] = ["mi_res_id", "msi_res_id", "object_id", "principal_id", "clientid"];

/// Why a request is not answered with a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The query can't be read.
    #[error("the query can't be read: send api-version=2019-08-01, resource and, if any, client_id, each once")]
    Query,
    /// Another version of the protocol, or none.
    #[error(
        "api-version {0:?} is not spoken here: send api-version=2019-08-01 (ManagedIdentityCredential of a current SDK does)"
    )]
    Version(String),
    /// No resource.
    #[error("the query names no resource: send resource=https://… as ManagedIdentityCredential does of a scope")]
    Resource,
    /// A resource that the grant leaves out.
    #[error(
        "the session's grant holds no token for resource {0:?}; it holds some for {1}: add it to spec.allow[].resources of the policy"
    )]
    NotGranted(String, String),
    /// Another identity.
    #[error("the session's identity is {1}, and {0:?} was asked for: select it by that client id, or select none")]
    Identity(String, String),
    /// Another way to select an identity.
    #[error("{0} can't be compared with the session's identity: select it by client_id={1}, or select none")]
    Selector(&'static str, String),
}

impl Denial {
    /// Stable reason code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Query => "QueryInvalid",
            Self::Version(_) => "ApiVersionUnsupported",
            Self::Resource => "ResourceMissing",
            Self::NotGranted(..) => "ResourceNotGranted",
            Self::Identity(..) | Self::Selector(..) => "IdentityNotGranted",
        }
    }

    /// Status of the answer: none that SDKs try again.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Query | Self::Version(_) | Self::Resource => StatusCode::BAD_REQUEST,
            Self::NotGranted(..) | Self::Identity(..) | Self::Selector(..) => StatusCode::FORBIDDEN,
        }
    }
}

/// The tokens of one credential, each as the body that is answered. The bodies are zeroized when the last answer with them is gone.
pub struct Tokens {
    client_id: String,
    bodies: Vec<(String, Bytes)>,
}

#[derive(Serialize)]
struct Body<'a> {
    access_token: &'a str,
    expires_on: String,
    resource: &'a str,
    token_type: &'a str,
    client_id: &'a str,
}

impl Tokens {
    /// Renders every answer. `expires_at` is what SDKs are told: they come back before it, whatever the token itself says.
    ///
    /// # Errors
    /// When one can't be written as JSON.
    pub fn read(credential: &AzureCredential, expires_at: Timestamp) -> Result<Self, serde_json::Error> {
        let body = |resource: &str, token: &str| {
            let body = Body {
                access_token: token,
                expires_on: expires_at.as_second().to_string(),
                resource,
                token_type: "Bearer",
                client_id: &credential.client_id,
            };
            secret_json(&body, 1024 + 2 * token.len())
        };
        let bodies = credential.tokens.iter().map(|t| Ok((t.resource.clone(), body(&t.resource, t.token.expose())?)));
        Ok(Self { client_id: credential.client_id.clone(), bodies: bodies.collect::<Result<_, serde_json::Error>>()? })
    }

    /// The answer to a query.
    ///
    /// # Errors
    /// Why there is none.
    pub fn answer(&self, query: &[(String, String)]) -> Result<Answer, Denial> {
        let version = one(query, "api-version")?.unwrap_or_default();
        if version != VERSION {
            return Err(Denial::Version(version.to_owned()));
        }
        if let Some(name) = OTHER_SELECTORS.into_iter().find(|name| query.iter().any(|(key, _)| key == name)) {
            return Err(Denial::Selector(name, self.client_id.clone()));
        }
        if let Some(asked) = one(query, "client_id")?.filter(|asked| !asked.eq_ignore_ascii_case(&self.client_id)) {
            return Err(Denial::Identity(asked.to_owned(), self.client_id.clone()));
        }
        let resource = one(query, "resource")?.ok_or(Denial::Resource)?;
        let plain = resource.strip_suffix("/.default").unwrap_or(resource);
        let plain = plain.strip_suffix('/').unwrap_or(plain);
        match self.bodies.iter().find(|(granted, _)| granted.eq_ignore_ascii_case(plain)) {
            Some((_, body)) => Ok(Answer::ok(body.clone())),
            None => {
                let granted: Vec<&str> = self.bodies.iter().map(|(granted, _)| granted.as_str()).collect();
                Err(Denial::NotGranted(resource.to_owned(), granted.join(", ")))
            }
        }
    }
}

/// A parameter that is there once and says something.
fn one<'a>(query: &'a [(String, String)], name: &str) -> Result<Option<&'a str>, Denial> {
    let mut values = query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let value = values.next();
    if values.next().is_some() { Err(Denial::Query) } else { Ok(value.filter(|value| !value.is_empty())) }
}

/// The answer while nothing is held.
pub fn refused(refusal: &Refusal) -> Answer {
    let (status, retry_after) = manner(refusal);
    error(status, retry_after, &refusal.code, &refusal.message)
}

/// The answer to a request for what is not granted.
pub fn denied(denial: &Denial) -> Answer {
    error(denial.status(), None, denial.code(), &denial.to_string())
}

/// The answer to a request without the secret, or with another one.
pub fn rejected(rejection: Rejection) -> Answer {
    let message = "send the value of the environment variable IDENTITY_HEADER as X-IDENTITY-HEADER; SDKs do so by ManagedIdentityCredential";
    error(rejection.status(), None, rejection.code(), message)
}

/// An error in the words of every SDK.
pub fn error(status: StatusCode, retry_after: Option<u64>, code: &str, message: &str) -> Answer {
    let text = format!("exeat: {code}: {message}");
    let body = serde_json::json!({
        "statusCode": status.as_u16(), "message": text, "error": code, "error_description": text,
    });
    Answer::json(status, retry_after, body.to_string())
}

#[cfg(test)]
mod tests {
    use exeat_wire::{AzureToken, Secret};

    use super::*;

    const APP: &str = "11111111-2222-3333-4444-55555555555f";

    fn tokens() -> Tokens {
        let token = |resource: &str, token: &str| AzureToken { resource: resource.into(), token: Secret::new(token) };
        let credential = AzureCredential {
            tenant_id: "t".into(),
            client_id: APP.into(),
            tokens: vec![token("https://storage.azure.com", "one"), token("api://reports", "two")],
        };
        Tokens::read(&credential, "2026-01-01T00:00:00.9Z".parse().unwrap()).unwrap()
    }

    fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn ask(more: &[(&str, &str)]) -> Result<String, Denial> {
        let answer = tokens().answer(&query(&[&[("api-version", VERSION)], more].concat()))?;
        Ok(String::from_utf8(answer.body.to_vec()).unwrap())
    }

    #[test]
    fn the_body_is_what_every_sdk_takes() {
        assert_eq!(
            ask(&[("resource", "https://storage.azure.com")]).unwrap(),
            format!(
                r#"{{"access_token":"one","expires_on":"1767225600","resource":"https://storage.azure.com","token_type":"Bearer","client_id":"{APP}"}}"#
            )
        );
    }

    #[test]
    fn a_resource_is_found_as_clients_write_it() {
        for resource in [
            "https://storage.azure.com",
            "https://storage.azure.com/",
            "https://storage.azure.com/.default",
            "https://storage.azure.com//.default",
            "HTTPS://Storage.Azure.com",
        ] {
            assert!(ask(&[("resource", resource)]).unwrap().contains("\"one\""), "{resource}");
        }
        assert!(ask(&[("resource", "api://reports"), ("client_id", "")]).unwrap().contains("\"two\""));
        assert!(ask(&[("client_id", &APP.to_uppercase()), ("resource", "api://reports")]).is_ok());
    }

    #[test]
    fn what_is_not_granted_is_refused_with_what_is() {
        let storage = ("resource", "https://storage.azure.com");
        for (more, code, status, part) in [
            (
                &[("resource", "https://vault.azure.net")][..],
                "ResourceNotGranted",
                403,
                "https://storage.azure.com, api://reports",
            ),
            (&[("resource", "https://storage.azure.com.evil.example")], "ResourceNotGranted", 403, "evil"),
            (&[("resource", "https://storage.azure.com///")], "ResourceNotGranted", 403, "spec.allow"),
            (&[], "ResourceMissing", 400, "resource="),
            (&[("resource", "")], "ResourceMissing", 400, "resource="),
            (&[storage, storage], "QueryInvalid", 400, "once"),
            (&[storage, ("client_id", "11111111-2222-3333-4444-555555555550")], "IdentityNotGranted", 403, APP),
            (&[storage, ("mi_res_id", "/subscriptions/x")], "IdentityNotGranted", 403, "mi_res_id"),
            (&[storage, ("principal_id", "x")], "IdentityNotGranted", 403, APP),
            (&[storage, ("object_id", "x")], "IdentityNotGranted", 403, APP),
            (&[storage, ("api-version", VERSION)], "QueryInvalid", 400, "once"),
        ] {
            let denial = ask(more).unwrap_err();
            assert_eq!((denial.code(), denial.status().as_u16()), (code, status), "{more:?}");
            assert!(denial.to_string().contains(part), "{denial}");
        }
        for version in ["2017-09-01", "2018-02-01", ""] {
            let denial = tokens().answer(&query(&[("api-version", version), storage])).unwrap_err();
            assert_eq!((denial.code(), denial.status().as_u16()), ("ApiVersionUnsupported", 400));
        }
    }

    #[test]
    fn an_error_says_the_same_to_each_sdk() {
        let refusal = |retryable| Refusal {
            code: "SessionRevoked".into(),
            message: "looks odd".into(),
            retryable,
            retry_after_seconds: None,
            session: None,
        };
        let (denied, waits) = (refused(&refusal(false)), refused(&refusal(true)));
        assert_eq!((denied.status.as_u16(), denied.retry_after), (403, None));
        assert_eq!((waits.status.as_u16(), waits.retry_after), (503, Some(1)));
        let body: serde_json::Value = serde_json::from_slice(&denied.body).unwrap();
        assert_eq!(
            (&body["statusCode"], &body["error"]),
            (&serde_json::json!(403), &serde_json::json!("SessionRevoked"))
        );
        assert_eq!(body["message"], "exeat: SessionRevoked: looks odd");
        assert_eq!(body["message"], body["error_description"]);
        assert_eq!(rejected(Rejection::SecretMissing).status.as_u16(), 401);
    }
}
