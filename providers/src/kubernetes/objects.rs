//! The objects of one session. All are derived from the session, so that they are found again without any record of them.

use std::collections::BTreeMap;

use exeat_crds::names::SESSION_UID_LABEL;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{Made, SessionId};

const RBAC: &str = "rbac.authorization.k8s.io";
/// Annotation on the account: the namespaces with a Role of the session, comma separated. It is written before the first Role, so
/// that a revocation finds all of them even where nothing was recorded.
const NAMESPACES_ANNOTATION: &str = "exeat.dev/target-namespaces";
/// Annotation: the session as `namespace/name`.
const SESSION_ANNOTATION: &str = "exeat.dev/session";

/// Name of the session's Role and RoleBinding in each namespace.
pub(super) fn role_name(session: &SessionId) -> String {
    format!("exeat-{}", session.name)
}

fn metadata(session: &SessionId, name: &str, namespace: &str) -> ObjectMeta {
    let labels = [(SESSION_UID_LABEL, session.uid.as_str()), ("app.kubernetes.io/managed-by", "exeat")];
    let origin = format!("{}/{}", session.namespace, session.name);
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
        annotations: Some(BTreeMap::from([(SESSION_ANNOTATION.to_owned(), origin)])),
        ..ObjectMeta::default()
    }
}

/// The account that the session's tokens are of. It has no rights of its own and mounts nothing.
pub(super) fn account<'a>(
    session: &SessionId,
    grants_namespace: &str,
    targets: impl IntoIterator<Item = &'a str>,
) -> ServiceAccount {
    let mut metadata = metadata(session, &session.name, grants_namespace);
    let list = targets.into_iter().collect::<Vec<_>>().join(",");
    metadata.annotations.get_or_insert_default().insert(NAMESPACES_ANNOTATION.to_owned(), list);
    ServiceAccount { metadata, automount_service_account_token: Some(false), ..ServiceAccount::default() }
}

/// The empty Secret that the session's tokens are bound to: once it is gone, they are refused.
pub(super) fn binding_secret(session: &SessionId, grants_namespace: &str) -> Secret {
    Secret {
        metadata: metadata(session, &session.name, grants_namespace),
        immutable: Some(true),
        type_: Some("exeat.dev/session".to_owned()),
        ..Secret::default()
    }
}

/// The session's rights in one namespace.
pub(super) fn role(session: &SessionId, namespace: &str, rules: &[PolicyRule]) -> Role {
    Role { metadata: metadata(session, &role_name(session), namespace), rules: Some(rules.to_vec()) }
}

/// Gives the session's account the session's Role in one namespace.
pub(super) fn role_binding(session: &SessionId, namespace: &str, grants_namespace: &str) -> RoleBinding {
    RoleBinding {
        metadata: metadata(session, &role_name(session), namespace),
        role_ref: RoleRef { api_group: RBAC.to_owned(), kind: "Role".to_owned(), name: role_name(session) },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: session.name.clone(),
            namespace: Some(grants_namespace.to_owned()),
            ..Subject::default()
        }]),
    }
}

/// The namespaces that an account's annotation names.
pub(super) fn targets_of(account: &ServiceAccount) -> Vec<String> {
    let list = account.metadata.annotations.as_ref().and_then(|all| all.get(NAMESPACES_ANNOTATION));
    split(list.map_or("", String::as_str))
}

/// Whether an object was made for this session.
pub(super) fn is_of(metadata: &ObjectMeta, session: &SessionId) -> bool {
    metadata.labels.as_ref().and_then(|labels| labels.get(SESSION_UID_LABEL)).is_some_and(|uid| *uid == session.uid)
}

/// The session that an account was made for, and when; `None` where the account was made for none.
pub(super) fn made_of(account: &ObjectMeta) -> Option<Made> {
    let uid = account.labels.as_ref()?.get(SESSION_UID_LABEL).filter(|uid| !uid.is_empty())?;
    let origin =
        account.annotations.as_ref().and_then(|all| all.get(SESSION_ANNOTATION)).and_then(|o| o.split_once('/'));
    let session = SessionId {
        name: account.name.clone()?,
        uid: uid.clone(),
        namespace: origin.map(|(namespace, _)| namespace.to_owned()).unwrap_or_default(),
        service_account: String::new(),
        policy: String::new(),
    };
    Some(Made { session, since: account.creation_timestamp.as_ref()?.0 })
}

/// What is recorded to revoke the session: `<namespace of grants>/<session>:<namespace>,<namespace>`.
pub(super) fn handle<'a>(
    session: &SessionId,
    grants_namespace: &str,
    targets: impl IntoIterator<Item = &'a str>,
) -> String {
    let list = targets.into_iter().collect::<Vec<_>>().join(",");
    format!("{grants_namespace}/{}:{list}", session.name)
}

/// The namespaces that a handle names; none for what is no handle.
pub(super) fn targets_of_handle(handle: &str) -> Vec<String> {
    split(handle.split_once(':').map_or("", |(_, list)| list))
}

fn split(list: &str) -> Vec<String> {
    list.split(',').filter(|namespace| !namespace.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::rules::MAX_NAMESPACES;

    fn session() -> SessionId {
        SessionId {
            name: "report-0a1b2c3d-1".into(),
            uid: "uid-1".into(),
            namespace: "agents".into(),
            service_account: "report-agent".into(),
            policy: "reports".into(),
        }
    }

    #[test]
    fn every_object_names_its_session_and_the_account_names_every_namespace() {
        let (session, account) = (session(), account(&session(), "exeat-grants", ["agents", "tools"]));
        assert!(is_of(&account.metadata, &session));
        assert_eq!(targets_of(&account), ["agents", "tools"]);
        assert_eq!(account.automount_service_account_token, Some(false));
        let secret = binding_secret(&session, "exeat-grants");
        assert!(is_of(&secret.metadata, &session) && secret.data.is_none() && secret.string_data.is_none());
        let binding = role_binding(&session, "tools", "exeat-grants");
        assert!(is_of(&binding.metadata, &session));
        assert_eq!(binding.role_ref.name, role(&session, "tools", &[]).metadata.name.unwrap());
        assert_eq!(binding.subjects.unwrap()[0].namespace.as_deref(), Some("exeat-grants"));
    }

    #[test]
    fn an_object_of_another_session_is_told_apart() {
        let other = SessionId { uid: "uid-2".into(), ..session() };
        assert!(!is_of(&account(&session(), "exeat-grants", []).metadata, &other));
        assert!(!is_of(&ObjectMeta::default(), &other));
    }

    #[test]
    fn an_account_tells_whose_it_is_and_one_of_nobody_is_left_alone() {
        let mut metadata = account(&session(), "exeat-grants", ["agents"]).metadata;
        assert_eq!(made_of(&metadata), None, "it was not made yet");
        let since: jiff::Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(since));
        let made = made_of(&metadata).unwrap();
        assert_eq!(made.since, since);
        assert_eq!(made.session, SessionId { service_account: String::new(), policy: String::new(), ..session() });
        assert!(is_of(&metadata, &made.session), "it is found again by what it tells");
        for unlabelled in [Some(BTreeMap::from([(SESSION_UID_LABEL.to_owned(), String::new())])), None] {
            metadata.labels = unlabelled;
            assert_eq!(made_of(&metadata), None);
        }
    }

    #[test]
    fn handles_are_read_back_and_fit_into_status() {
        let text = handle(&session(), "exeat-grants", ["agents", "tools"]);
        assert_eq!(text, "exeat-grants/report-0a1b2c3d-1:agents,tools");
        assert_eq!(targets_of_handle(&text), ["agents", "tools"]);
        assert!(targets_of_handle("exeat-grants/x:").is_empty());
        assert!(targets_of_handle("nonsense").is_empty());
        let longest = "n".repeat(63);
        let full = SessionId { name: longest.clone(), ..session() };
        assert!(handle(&full, &longest, vec![longest.as_str(); MAX_NAMESPACES]).len() <= 1024);
    }
}
