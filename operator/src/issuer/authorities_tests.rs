use super::*;
use crate::issuer::fixtures::{self, NOW, read, session_of};
use crate::issuer::recompute::recompute;
use exeat_crds::reason::Reason;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn provider(edit: impl FnOnce(&mut Value)) -> Arc<CredentialProvider> {
    let mut provider = fixtures::provider();
    edit(&mut provider);
    Arc::new(read(&provider))
}

fn policy(edit: impl FnOnce(&mut Value)) -> Arc<AgentCredentialPolicy> {
    let mut policy = fixtures::policy();
    edit(&mut policy);
    Arc::new(read(&policy))
}

/// As it is, tightened, widened beyond the ceiling, another one of its name, with a status, gone.
fn policies() -> [Option<Arc<AgentCredentialPolicy>>; 7] {
    [
        Some(policy(|_| {})),
        Some(policy(|p| p["spec"]["allow"][0]["actions"] = json!(["list pods"]))),
        Some(policy(|p| p["spec"]["allow"][0]["actions"] = json!(["delete pods"]))),
        Some(policy(|p| p["spec"]["session"]["duration"] = json!("30m"))),
        Some(policy(|p| p["metadata"]["uid"] = json!("another"))),
        Some(policy(|p| p["status"] = json!({"authorityHash": "h"}))),
        None,
    ]
}

fn providers() -> [Option<Arc<CredentialProvider>>; 7] {
    [
        Some(provider(|_| {})),
        Some(provider(|p| p["spec"]["bindings"][0]["maxActions"] = json!(["list *"]))),
        Some(provider(|p| p["spec"]["bindings"][0]["deny"] = json!(["get secrets"]))),
        Some(provider(|p| p["spec"]["bindings"][0]["namespaces"] = json!(["others"]))),
        Some(provider(|p| p["metadata"]["uid"] = json!("another"))),
        Some(provider(
            |p| p["status"] = json!({"probe": {"hash": "h", "ok": true, "time": "2026-01-01T11:00:00Z", "reason": "Ready", "message": "m"}}),
        )),
        None,
    ]
}

/// It ends before any of the policies would have it end.
fn session(policy: &AgentCredentialPolicy, provider: Option<&CredentialProvider>) -> Option<CredentialSession> {
    let mut session = session_of(policy, provider, 1)?;
    session["status"]["expiresAt"] = json!("2026-01-01T12:20:00Z");
    Some(read(&session))
}

fn sessions() -> Vec<CredentialSession> {
    let policies = policies().into_iter().flatten();
    let pairs = policies.flat_map(|policy| providers().map(|provider| (policy.clone(), provider)));
    pairs.filter_map(|(policy, provider)| session(&policy, provider.as_deref())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Through any changes of policy and provider: what stands is what would be minted for, and where nothing was told of a change, none
    /// is to be told of.
    #[test]
    fn what_is_withheld_is_what_is_not_minted(changes in prop::collection::vec((any::<bool>(), 0usize..7), 1..12)) {
        let (policies, providers, sessions) = (policies(), providers(), sessions());
        let key = ("agents".to_owned(), "reader".to_owned());
        let (mut policy, mut provider) = (policies[0].clone(), providers[0].clone());
        let mut authorities = Authorities::default();
        authorities.note(&key, policy.clone(), provider.clone());
        let mut before: Option<Vec<bool>> = None;
        for (of_policy, which) in changes {
            if of_policy { policy = policies[which].clone() } else { provider = providers[which].clone() }
            let changed = authorities.note(&key, policy.clone(), provider.clone());
            let stands: Vec<_> = sessions.iter().map(|s| authorities.stand(s)).collect();
            for (session, stands) in sessions.iter().zip(&stands) {
                match (stands, recompute(session, policy.as_deref(), provider.as_deref(), None, now())) {
                    (Ok(()), Ok(_)) => {}
                    (Err(withheld), Err(refused)) => prop_assert_eq!(withheld.reason.as_str(), refused.code),
                    (stands, minted) => prop_assert!(false, "{:?} but {:?}", stands, minted),
                }
            }
            let stands: Vec<_> = stands.iter().map(Result::is_ok).collect();
            prop_assert!(changed || before.is_none_or(|before| before == stands), "a change that nobody is told of");
            before = Some(stands);
            prop_assert!(authorities.keys().count() == usize::from(policy.is_some()), "nothing is kept of what is gone");
        }
    }
}

#[test]
fn a_status_that_is_written_changes_nothing() {
    let key = ("agents".to_owned(), "reader".to_owned());
    let mut authorities = Authorities::default();
    assert!(authorities.note(&key, policies()[0].clone(), providers()[0].clone()), "it was not known");
    assert!(!authorities.note(&key, policies()[5].clone(), providers()[5].clone()));
    assert!(authorities.note(&key, policies()[1].clone(), providers()[5].clone()));
    assert!(authorities.note(&key, None, providers()[0].clone()));
    assert!(!authorities.note(&key, None, providers()[0].clone()));
}

#[test]
fn a_policy_of_another_namespace_is_another_one() {
    let mut authorities = Authorities::default();
    let mine = session(policies()[0].as_ref().unwrap(), providers()[0].as_deref()).unwrap();
    authorities.note(&("others".to_owned(), "reader".to_owned()), policies()[0].clone(), providers()[0].clone());
    assert_eq!(authorities.stand(&mine).unwrap_err().reason, Reason::PolicyDeleted);
}
