//! Tokens of a session's account, and the moment from which they are good for something.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeat_crds::reason::Reason;
use exeat_wire::Secret as Hidden;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use serde::Deserialize;

use super::error::{Doing, failure};
use super::store::Store;
use crate::{ProviderError, SessionId};

/// Shortest life that the API server gives a token.
const FLOOR: SignedDuration = SignedDuration::from_mins(10);
/// How long new rights may take until every authorizer has seen them.
const SETTLE: Duration = Duration::from_secs(3);
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// A token with what is known of it.
pub(super) struct Token {
    pub(super) value: Hidden,
    /// `jti` claim; empty where the server sets none.
    pub(super) id: String,
    pub(super) expires_at: Timestamp,
}

/// Asks for a token of the session's account that dies with the Secret.
///
/// # Errors
/// As the API server refuses.
pub(super) async fn request(store: &Store<'_>, secret: &Secret, ttl: SignedDuration) -> Result<Token, ProviderError> {
    let name = &store.session.name;
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: Vec::new(),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                name: Some(secret.name_any()),
                uid: secret.uid(),
            }),
            expiration_seconds: Some(ttl.max(FLOOR).as_secs()),
        },
        ..TokenRequest::default()
    };
    let what = format!("create a token of the ServiceAccount {name}");
    let accounts: Api<ServiceAccount> = store.api();
    let answer = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .map_err(|e| failure(e, store.doing(&what)))?;
    let status = answer.status.ok_or_else(|| {
        ProviderError::passing(Reason::ProviderRejected, "the API server answered to a TokenRequest without a token")
    })?;
    let id = token_id(&status.token).unwrap_or_default();
    Ok(Token { id, value: Hidden::new(status.token), expires_at: status.expiration_timestamp.0 })
}

/// The `jti` claim of a JWT, unverified: it only names the token in records.
fn token_id(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        jti: String,
    }
    let payload = token.split('.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&json).ok()?;
    (claims.jti.len() <= 128 && claims.jti.chars().all(|c| c.is_ascii_graphic())).then_some(claims.jti)
}

/// Waits until the API server allows the session's account the first thing of the rules: its authorizer learns of new bindings a
/// moment after they are made, and an agent's first call should not fail for that.
///
/// # Errors
/// `ProviderUnreachable` where that takes too long.
pub(super) async fn settled(
    client: &kube::Client,
    session: &SessionId,
    grants_namespace: &str,
    namespace: &str,
    rules: &[PolicyRule],
) -> Result<(), ProviderError> {
    let Some(review) = rules.first().and_then(|rule| review(session, grants_namespace, namespace, rule)) else {
        return Ok(());
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let doing = Doing { what: "create a SubjectAccessReview", namespace, ours: false };
    let (deadline, mut wait) = (tokio::time::Instant::now() + SETTLE, FIRST_WAIT);
    loop {
        match reviews.create(&PostParams::default(), &review).await {
            Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => return Ok(()),
            Ok(_) => {}
            // Without that right the wait is left out.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                tracing::debug!(namespace, "may not create SubjectAccessReviews: can't wait for new rights to be seen");
                return Ok(());
            }
            Err(error) => return Err(failure(error, doing)),
        }
        if tokio::time::Instant::now() >= deadline {
            let message = format!("the API server does not grant the session's new Role in namespace {namespace} yet");
            return Err(ProviderError::passing(Reason::ProviderUnreachable, message));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn review(
    session: &SessionId,
    grants_namespace: &str,
    namespace: &str,
    rule: &PolicyRule,
) -> Option<SubjectAccessReview> {
    let (resource, subresource) = match rule.resources.as_ref()?.first()?.split_once('/') {
        Some((resource, sub)) => (resource.to_owned(), Some(sub.to_owned())),
        None => (rule.resources.as_ref()?.first()?.clone(), None),
    };
    let attributes = ResourceAttributes {
        group: rule.api_groups.as_ref().and_then(|groups| groups.first()).cloned(),
        name: rule.resource_names.as_ref().and_then(|names| names.first()).cloned(),
        namespace: Some(namespace.to_owned()),
        resource: Some(resource),
        subresource,
        verb: rule.verbs.first().cloned(),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{grants_namespace}:{}", session.name)),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    Some(SubjectAccessReview { spec, ..SubjectAccessReview::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_token_is_named_by_its_jti_or_not_at_all() {
        assert_eq!(token_id(&jwt(r#"{"jti":"0b6f-1","sub":"x"}"#)).as_deref(), Some("0b6f-1"));
        for token in ["", "a.b", "a.!!.c", &jwt("{}"), &jwt(r#"{"jti":7}"#), &jwt(r#"{"jti":"a\nb"}"#)] {
            assert_eq!(token_id(token), None, "{token}");
        }
        assert_eq!(token_id(&jwt(&format!(r#"{{"jti":"{}"}}"#, "x".repeat(200)))), None);
    }

    #[test]
    fn the_review_asks_for_the_first_right_of_a_rule() {
        let session = SessionId {
            name: "s-1".into(),
            uid: "u".into(),
            namespace: "agents".into(),
            service_account: "a".into(),
            policy: "p".into(),
        };
        let rule = PolicyRule {
            api_groups: Some(vec!["apps".into()]),
            resources: Some(vec!["deployments/scale".into()]),
            resource_names: Some(vec!["web".into()]),
            verbs: vec!["get".into(), "patch".into()],
            ..PolicyRule::default()
        };
        let spec = review(&session, "exeat-grants", "tools", &rule).unwrap().spec;
        assert_eq!(spec.user.as_deref(), Some("system:serviceaccount:exeat-grants:s-1"));
        let asked = spec.resource_attributes.unwrap();
        assert_eq!((asked.resource.as_deref(), asked.subresource.as_deref()), (Some("deployments"), Some("scale")));
        assert_eq!((asked.verb.as_deref(), asked.name.as_deref()), (Some("get"), Some("web")));
        assert_eq!((asked.group.as_deref(), asked.namespace.as_deref()), (Some("apps"), Some("tools")));
    }
}
