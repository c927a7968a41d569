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
    let grant = authority.grant("sa", None).unwrap();
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": "s-1", "namespace": "agents"},
        "spec": {"request": {"policyRef": {"name": "p", "uid": "pol"}, "providerRef": {"name": "aws"},
            "authorityHash": authority.hash, "number": 1, "agent": {"serviceAccount": "sa", "pod": {"name": "pod", "uid": "poduid"}}}},
        "status": {"phase": "Active", "expiresAt": until,
            "conditions": [{"type": "Decided", "status": "True", "reason": "Active", "message": "", "lastTransitionTime": "2026-01-01T11:00:00Z"}],
            "grant": {"digest": grant.digest(), "principal": grant.principal, "allow": grant.allow}}
    }))
    .unwrap()
}

fn refused(
    session: &CredentialSession,
    policy: Option<&AgentCredentialPolicy>,
    provider: Option<&CredentialProvider>,
) -> String {
    recompute(session, policy, provider, None, now()).unwrap_err().code
}

const LATER: &str = "2026-01-01T20:00:00Z";

#[test]
fn what_was_decided_is_minted_and_no_longer_than_the_session() {
    let order = recompute(&session(LATER), Some(&policy()), Some(&provider()), None, now()).unwrap();
    assert_eq!(order.ttl, SignedDuration::from_mins(30));
    let order = recompute(&session("2026-01-01T12:20:00Z"), Some(&policy()), Some(&provider()), None, now()).unwrap();
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
    let order = recompute(&widened, Some(&policy()), Some(&provider()), None, now()).unwrap();
    assert_eq!(order.grant.allow[0].actions, ["s3:GetObject"], "the grant is computed, never read from status");
}

#[test]
fn a_phase_that_somebody_wrote_mints_nothing() {
    let refused = |session: &CredentialSession| refused(session, Some(&policy()), Some(&provider()));
    let forged = |forge: fn(&mut exeat_crds::v1alpha1::CredentialSessionStatus)| {
        let mut forged = session(LATER);
        forge(forged.status.as_mut().unwrap());
        forged
    };
    assert_eq!(refused(&forged(|s| s.conditions.clear())), "SessionNotActive");
    assert_eq!(refused(&forged(|s| s.conditions[0].status = "False".into())), "SessionNotActive");
    assert_eq!(refused(&forged(|s| s.grant = None)), "GrantChanged");
    assert_eq!(
        refused(&forged(|s| s.expires_at = None)),
        "SessionExpired",
        "an Active phase without an end is no session"
    );
    assert_eq!(refused(&forged(|s| s.expires_at = Some("2026-01-01T20:02:00Z".into()))), "GrantChanged");
    assert_eq!(refused(&forged(|s| s.expires_at = Some("2099-01-01T00:00:00Z".into()))), "GrantChanged");
}

#[test]
fn a_grant_that_was_widened_together_with_its_digest_mints_nothing() {
    let mut widened = session(LATER);
    let computed = authority::resolve(&policy(), Some(&provider())).unwrap().grant("sa", None).unwrap();
    let wide = Grant {
        allow: vec![exeat_crds::rules::Statement { actions: vec!["s3:*".into()], resources: vec!["*".into()] }],
        ..computed
    };
    let grant = widened.status.as_mut().unwrap().grant.as_mut().unwrap();
    grant.allow.clone_from(&wide.allow);
    grant.digest = wide.digest();
    assert_eq!(refused(&widened, Some(&policy()), Some(&provider())), "GrantChanged");
    let mut undenied = session(LATER);
    undenied.status.as_mut().unwrap().grant.as_mut().unwrap().principal = "arn:aws:iam::123456789012:role/admin".into();
    let order = recompute(&undenied, Some(&policy()), Some(&provider()), None, now()).unwrap();
    assert_eq!(order.grant.principal, "arn:aws:iam::123456789012:role/r", "nor is the principal read from status");
}

#[test]
fn each_service_account_is_minted_its_own_principal_and_no_other() {
    const ADMIN: &str = "arn:aws:iam::123456789012:role/admin";
    let mut mapped = policy();
    mapped.spec.subjects.service_accounts.push("admin".into());
    mapped.spec.principal_mappings =
        vec![exeat_crds::v1alpha1::PrincipalMapping { service_account: "admin".into(), principal: ADMIN.into() }];
    let authority = authority::resolve(&mapped, Some(&provider())).unwrap();
    let of = |account: &str, grant: &Grant| {
        let mut session = session(LATER);
        session.spec.request.authority_hash = authority.hash.clone();
        session.spec.request.agent.service_account = account.into();
        session.status.as_mut().unwrap().grant = Some(grant.into());
        recompute(&session, Some(&mapped), Some(&provider()), None, now())
    };
    let (own, admins) = (authority.grant("sa", None).unwrap(), authority.grant("admin", None).unwrap());
    assert_eq!(admins.principal, ADMIN);
    assert_eq!(of("sa", &own).unwrap().grant, own);
    assert_eq!(of("admin", &admins).unwrap().grant, admins);
    // A session whose recorded grant is another account's, its digest included.
    assert_eq!(of("sa", &admins).unwrap_err().code, "GrantChanged");
}

#[test]
fn a_request_that_somebody_wrote_mints_nothing() {
    let mut wider = session(LATER);
    wider.spec.request.allow = Some(vec![exeat_crds::rules::Statement {
        actions: vec!["s3:*".into()],
        resources: vec!["arn:aws:s3:::reports/*".into()],
    }]);
    assert_eq!(refused(&wider, Some(&policy()), Some(&provider())), "NarrowingTooWide");
    let mut account = session(LATER);
    account.spec.request.agent.service_account = "other".into();
    assert_eq!(refused(&account, Some(&policy()), Some(&provider())), "PodNotCovered");
}

#[test]
fn only_what_is_the_same_at_the_last_look_is_handed_out() {
    let before = session(LATER);
    let order =
        |session: &CredentialSession| recompute(session, Some(&policy()), Some(&provider()), None, now()).unwrap();
    let minted = order(&before);
    assert_eq!(confirm((&before, &minted), (&before, &minted)), Ok(()));
    let code = |again: &CredentialSession| confirm((&before, &minted), (again, &order(again))).unwrap_err().code;
    let mut replaced = session(LATER);
    replaced.metadata.uid = Some("another".into());
    assert_eq!(code(&replaced), "GrantChanged");
    assert_eq!(code(&session("2026-01-01T19:00:00Z")), "GrantChanged");
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
