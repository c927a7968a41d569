//! What the issuer's tests are about: a pod of namespace `agents`, and its sessions of policy `reader` at provider `here`. As JSON where a test
//! changes what it is about.

use exeat_crds::approval::{self, Asked};
use exeat_crds::v1alpha1::{ApprovalSpec, Verdict};
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialProvider, CredentialSession, authority, names};
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(super) const NOW: &str = "2026-01-01T12:00:00Z";
pub(super) const POD_UID: &str = "poduid";
/// Name of the approval.
pub(super) const APPROVAL: &str = "approved";

pub(super) fn read<K: DeserializeOwned>(object: &Value) -> K {
    serde_json::from_value(object.clone()).unwrap()
}

pub(super) fn provider() -> Value {
    json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "here", "uid": "prov"},
        "spec": {"kubernetes": {}, "bindings": [{
            "name": "b", "namespaces": ["agents"], "principals": ["system:serviceaccounts:exeat-grants"], "maxActions": ["get *", "list *"]}]},
    })
}

pub(super) fn policy() -> Value {
    json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
        "metadata": {"name": "reader", "namespace": "agents", "uid": "pol"},
        "spec": {
            "providerRef": {"name": "here"}, "principal": "system:serviceaccounts:exeat-grants",
            "subjects": {"serviceAccounts": ["sa"]}, "session": {"duration": "1h"},
            "allow": [{"actions": ["get pods", "list pods"], "resources": ["agents/*"]}],
        },
    })
}

pub(super) fn session_name(number: i32) -> String {
    names::session_name("agent", POD_UID, "reader", number)
}

/// A session as the controller opened it under these; `None` where it would have opened none.
pub(super) fn session_of(
    policy: &AgentCredentialPolicy,
    provider: Option<&CredentialProvider>,
    number: i32,
) -> Option<Value> {
    let authority = authority::resolve(policy, provider).ok()?;
    let grant = authority.grant("sa", None).unwrap();
    Some(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession",
        "metadata": {"name": session_name(number), "namespace": "agents", "uid": format!("session-{number}")},
        "spec": {"request": {
            "policyRef": {"name": "reader", "uid": policy.uid()}, "providerRef": {"name": "here"}, "authorityHash": authority.hash,
            "number": number, "agent": {"serviceAccount": "sa", "pod": {"name": "agent", "uid": POD_UID}}}},
        "status": {"phase": "Active", "expiresAt": "2026-01-01T13:00:00Z",
            "conditions": [{"type": "Decided", "status": "True", "reason": "Active", "message": "", "lastTransitionTime": "2026-01-01T11:00:00Z"}],
            "grant": {"digest": grant.digest(), "principal": grant.principal, "allow": grant.allow}},
    }))
}

pub(super) fn session(number: i32) -> Value {
    session_of(&read(&policy()), Some(&read(&provider())), number).unwrap()
}

/// One of `security` must approve, and neither olga nor who asks.
pub(super) fn guard(policy: &mut Value, provider: &mut Value) {
    provider["spec"]["bindings"][0]["approvalRules"] =
        json!([{"name": "reads", "actions": ["get pods"], "required": [{"group": "security", "count": 1}]}]);
    policy["spec"]["owners"] = json!([{"user": "olga"}]);
}

/// The first session under guarded ones, and the approval by which it was opened.
pub(super) fn approved(policy: &Value, provider: &Value) -> (Value, Approval) {
    let (policy, provider) = (read(policy), read(provider));
    let mut value = session_of(&policy, Some(&provider), 1).unwrap();
    value["status"]["approvalRef"] = json!({"name": APPROVAL});
    let session: CredentialSession = read(&value);
    let authority = authority::resolve(&policy, Some(&provider)).unwrap();
    let grant = authority.grant("sa", None).unwrap();
    let needed = authority.approval.needed(&grant).unwrap();
    let asked = Asked { session: &session, authority: &authority, grant: &grant, needed: &needed };
    let request = approval::request(&asked, None, "2026-01-01T11:00:00Z".parse().unwrap());
    let said = json!({"approver": "alice", "groups": ["security"], "decision": Verdict::Approve, "digest": request.digest, "time": "2026-01-01T11:10:00Z"});
    let mut approval = Approval::new(APPROVAL, ApprovalSpec { request, decisions: vec![read(&said)] });
    approval.metadata.namespace = Some("agents".into());
    let status = approval::status(&approval, "2026-01-01T11:10:00Z".parse().unwrap()).0;
    approval.status = Some(approval::consume(&status, "session-1"));
    (value, approval)
}
