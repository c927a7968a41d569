//! What a token claims, checked before the API server is asked: garbage costs us a signature check, not a request. Pure.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

/// A pod, as its token names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodIdentity {
    /// Namespace.
    pub(crate) namespace: String,
    /// Service account.
    pub(crate) service_account: String,
    /// Pod name.
    pub(crate) pod: String,
    /// Pod UID.
    pub(crate) pod_uid: String,
}

/// Why a token is refused locally.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimError {
    /// Signed with a key that is not known: the keys may have been rotated.
    #[error("the token's signing key is not known")]
    UnknownKey,
    /// Anything else.
    #[error("{0}")]
    Invalid(String),
}

/// Checks signature, issuer, audience and times against the cluster's keys, and that the token is bound to a pod.
///
/// # Errors
/// What does not hold.
pub(super) fn check(token: &str, keys: &JwkSet, issuer: &str, audience: &str) -> Result<PodIdentity, ClaimError> {
    let invalid = |e: jsonwebtoken::errors::Error| ClaimError::Invalid(format!("the token is not valid: {e}"));
    let header = decode_header(token).map_err(invalid)?;
    if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::ES384) {
        return Err(ClaimError::Invalid("the token is not signed as the API server signs".to_owned()));
    }
    let key = header.kid.as_deref().and_then(|kid| keys.find(kid)).ok_or(ClaimError::UnknownKey)?;
    let key = DecodingKey::from_jwk(key).map_err(invalid)?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.validate_nbf = true;
    validation.leeway = 10;
    let claims = decode::<Claims>(token, &key, &validation).map_err(invalid)?.claims.kubernetes;
    let pod = claims.pod.ok_or_else(|| {
        ClaimError::Invalid("the token is not bound to a pod: only a pod's projected token is taken".to_owned())
    })?;
    Ok(PodIdentity {
        namespace: claims.namespace,
        service_account: claims.serviceaccount.name,
        pod: pod.name,
        pod_uid: pod.uid,
    })
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Named,
    pod: Option<NamedUid>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct NamedUid {
    name: String,
    uid: String,
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
