//! Whether a person may use a provider.

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

/// The verb that a policy's author needs on the provider.
const USE: &str = "use";

/// The question to the API server.
fn review(user: &UserInfo, provider: &str) -> SubjectAccessReview {
    let attributes = ResourceAttributes {
        group: Some(exeat_crds::GROUP.to_owned()),
        resource: Some("credentialproviders".to_owned()),
        name: Some(provider.to_owned()),
        verb: Some(USE.to_owned()),
        ..ResourceAttributes::default()
    };
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username.clone(),
            groups: user.groups.clone(),
            uid: user.uid.clone(),
            extra: user.extra.clone(),
            resource_attributes: Some(attributes),
            non_resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    }
}

/// Asks the API server's authorizer whether `user` may use the provider.
///
/// # Errors
/// When there is no answer; the caller then refuses.
pub async fn may_use(client: &Client, user: &UserInfo, provider: &str) -> Result<bool, kube::Error> {
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review(user, provider)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}
