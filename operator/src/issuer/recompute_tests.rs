use super::*;
use serde_json::json;

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn provider() -> CredentialProvider {
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "aws", "uid": "prov"},
        "spec": {"aws": {"region": "eu-west-1"}, "bindings": [{"name": "b", "namespaces": ["agents"],
            "principals": ["arn:aws:iam::123456789012:role/*"], "maxActions": ["s3:*"]}]}
    }))
    .unwrap()
}

fn policy() -> AgentCredentialPolicy {
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
        "metadata": {"name": "p", "namespace": "agents", "uid": "pol"},
        "spec": {"providerRef": {"name": "aws"}, "principal": "arn:aws:iam::123456789012:role/r",
            "subjects": {"serviceAccounts": ["sa"]},
            "allow": [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::reports/*"]}]}
    }))
    .unwrap()
}

fn session(until: &str) -> CredentialSession {
    let authority = authority::resolve(&policy(), Some(&provider())).unwrap();
    let grant = authority.grant(None).unwrap();
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": "s-1", "namespace": "agents"},
        "spec": {"request": {"policyRef": {"name": "p", "uid": "pol"}, "providerRef": {"name": "aws"},
            "authorityHash": authority.hash, "number": 1, "agent": {"serviceAccount": "sa", "pod": {"name": "pod", "uid": "poduid"}}}},
        "status": {"phase": "Active", "expiresAt": until,
            "grant": {"digest": grant.digest(), "principal": grant.principal, "allow": grant.allow}}
    }))
    .unwrap()
}

fn refused(
    session: &CredentialSession,
    policy: Option<&AgentCredentialPolicy>,
    provider: Option<&CredentialProvider>,
) -> String {
    recompute(session, policy, provider, now()).unwrap_err().code
}

const LATER: &str = "2026-01-01T20:00:00Z";

#[test]
fn what_was_decided_is_minted_and_no_longer_than_the_session() {
    let order = recompute(&session(LATER), Some(&policy()), Some(&provider()), now()).unwrap();
    assert_eq!(order.ttl, SignedDuration::from_mins(30));
    let order = recompute(&session("2026-01-01T12:20:00Z"), Some(&policy()), Some(&provider()), now()).unwrap();
    assert_eq!(order.ttl, SignedDuration::from_mins(20));
}

#[test]
fn a_status_that_was_widened_mints_nothing() {
    let mut forged = session(LATER);
    let grant = forged.status.as_mut().unwrap().grant.as_mut().unwrap();
    grant.allow[0].actions = vec!["s3:*".into()];
    grant.digest = "forged".into();
    assert_eq!(refused(&forged, Some(&policy()), Some(&provider())), "GrantChanged");
    let mut widened = session(LATER);
    widened.status.as_mut().unwrap().grant.as_mut().unwrap().allow[0].actions = vec!["s3:*".into()];
    let order = recompute(&widened, Some(&policy()), Some(&provider()), now()).unwrap();
    assert_eq!(order.grant.allow[0].actions, ["s3:GetObject"], "the grant is computed, never read from status");
}

#[test]
fn what_changed_since_the_decision_mints_nothing() {
    let session = session(LATER);
    assert_eq!(refused(&session, None, Some(&provider())), "PolicyDeleted");
    assert_eq!(refused(&session, Some(&policy()), None), "ProviderNotFound");
    let mut tightened = policy();
    tightened.spec.allow[0].resources = vec!["arn:aws:s3:::reports/2026/*".into()];
    assert_eq!(refused(&session, Some(&tightened), Some(&provider())), "AuthorityChanged");
    let mut lowered = provider();
    lowered.spec.bindings[0].max_actions = vec!["s3:Put*".into()];
    assert_eq!(refused(&session, Some(&policy()), Some(&lowered)), "ActionNotAllowed");
    let mut recreated = policy();
    recreated.metadata.uid = Some("another".into());
    assert_eq!(refused(&session, Some(&recreated), Some(&provider())), "AuthorityChanged");
}

#[test]
fn nothing_is_minted_that_would_outlive_the_session() {
    let short = session("2026-01-01T12:10:00Z");
    assert_eq!(refused(&short, Some(&policy()), Some(&provider())), "SessionEnding");
    let over = session("2026-01-01T11:59:59Z");
    assert_eq!(refused(&over, Some(&policy()), Some(&provider())), "SessionExpired");
}

#[test]
fn a_revoked_session_mints_nothing_although_its_phase_still_reads_active() {
    let mut revoked = session(LATER);
    revoked.spec.revoke = Some(exeat_crds::v1alpha1::Revoke { reason: "leak".into() });
    assert_eq!(refused(&revoked, Some(&policy()), Some(&provider())), "SessionRevoked");
}
