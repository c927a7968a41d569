//! Whether the issuer has the rights that it needs, found out before any session needs them.

use exeat_crds::reason::Reason;
use futures::future::try_join_all;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};

use super::error::{Doing, failure, fix};
use crate::ProviderError;

/// One right: verb, group, resource, subresource.
type Need = (&'static str, &'static str, &'static str, &'static str);

const RBAC: &str = "rbac.authorization.k8s.io";

/// What the issuer needs in the namespace of grants.
pub(super) const IN_GRANTS: [Need; 9] = [
    ("create", "", "serviceaccounts", ""),
    ("get", "", "serviceaccounts", ""),
    ("list", "", "serviceaccounts", ""),
    ("patch", "", "serviceaccounts", ""),
    ("delete", "", "serviceaccounts", ""),
    ("create", "", "serviceaccounts", "token"),
    ("create", "", "secrets", ""),
    ("get", "", "secrets", ""),
    ("delete", "", "secrets", ""),
];

/// What the issuer needs in every namespace that it hands out rights in.
pub(super) const IN_TARGETS: [Need; 8] = [
    ("create", RBAC, "roles", ""),
    ("get", RBAC, "roles", ""),
    ("patch", RBAC, "roles", ""),
    ("delete", RBAC, "roles", ""),
    ("create", RBAC, "rolebindings", ""),
    ("get", RBAC, "rolebindings", ""),
    ("patch", RBAC, "rolebindings", ""),
    ("delete", RBAC, "rolebindings", ""),
];

/// Who the issuer is at the API server.
///
/// # Errors
/// As the API server refuses.
pub(super) async fn who(client: &Client, namespace: &str) -> Result<String, ProviderError> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let doing = Doing { what: "create a SelfSubjectReview", namespace, ours: true };
    let answer =
        reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.map_err(|e| failure(e, doing))?;
    let user = answer.status.and_then(|status| status.user_info).and_then(|user| user.username);
    Ok(user.unwrap_or_default())
}

/// Checks that the issuer has rights in a namespace. `ours`: it is the namespace of grants.
///
/// # Errors
/// `IssuerForbidden` naming all that is missing and the fix.
pub(super) async fn check(
    client: &Client,
    identity: &str,
    namespace: &str,
    needs: &[Need],
    ours: bool,
) -> Result<(), ProviderError> {
    let asked = try_join_all(needs.iter().map(|need| may(client, namespace, *need, ours))).await?;
    let missing: Vec<String> =
        needs.iter().zip(asked).filter(|(_, allowed)| !allowed).map(|(need, _)| text(*need)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let account = identity.strip_prefix("system:serviceaccount:").unwrap_or("<namespace>:<issuer's service account>");
    let message = format!(
        "in namespace {namespace} the issuer may not {}; {}",
        missing.join(", "),
        fix(namespace, ours, account)
    );
    Err(ProviderError::lasting(Reason::IssuerForbidden, message))
}

async fn may(client: &Client, namespace: &str, need: Need, ours: bool) -> Result<bool, ProviderError> {
    let (verb, group, resource, subresource) = need;
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let doing = Doing { what: "create a SelfSubjectAccessReview", namespace, ours };
    let answer = reviews.create(&PostParams::default(), &review).await.map_err(|e| failure(e, doing))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn text((verb, _, resource, subresource): Need) -> String {
    if subresource.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource}/{subresource}") }
}
