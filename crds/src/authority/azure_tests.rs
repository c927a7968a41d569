use super::*;
use crate::authority::resolve;
use crate::v1alpha1::{AgentCredentialPolicy, Enforcement, RevocationMode};
use serde_json::{Value, json};

const APP: &str = "11111111-2222-3333-4444-555555555555";
const READ: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read";
const STORAGE: &str = "https://storage.azure.com";

fn merged(mut base: Value, change: &Value) -> Value {
    for (key, value) in change.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

fn provider(azure: &Value, binding: &Value) -> CredentialProvider {
    let binding = merged(
        json!({"name": "agents", "namespaces": ["agents"], "principals": [APP], "maxActions": ["Microsoft.Storage/*/read"]}),
        binding,
    );
    let azure = merged(json!({"tenantID": "contoso.example"}), azure);
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "azure", "uid": "prov"},
        "spec": {"azure": azure, "bindings": [binding]}
    }))
    .unwrap()
}

fn policy(change: &Value) -> AgentCredentialPolicy {
    let spec = merged(
        json!({
            "providerRef": {"name": "azure"}, "principal": APP, "subjects": {"serviceAccounts": ["report-agent"]},
            "allow": [{"actions": [READ], "resources": [STORAGE]}], "acceptEnforcement": "PrincipalOnly"
        }),
        change,
    );
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
        "metadata": {"name": "reports", "namespace": "agents", "uid": "pol"}, "spec": spec
    }))
    .unwrap()
}

#[test]
fn a_policy_that_accepts_it_is_served_and_told_what_holds_it() {
    let none = json!({});
    let authority = resolve(&policy(&none), Some(&provider(&none, &none))).unwrap();
    assert_eq!((authority.enforcement, authority.revocation), (Enforcement::PrincipalOnly, RevocationMode::ExpiryOnly));
    assert_eq!(authority.outlives, SignedDuration::from_mins(90));
    assert!(authority.exceptions.iter().any(|e| e.contains("role assignments")), "{:?}", authority.exceptions);
    assert!(authority.exceptions.iter().any(|e| e.contains("at most 1h30m")), "{:?}", authority.exceptions);
    let longer = provider(&json!({"maxTokenLifetime": "24h"}), &none);
    assert_eq!(resolve(&policy(&none), Some(&longer)).unwrap().outlives, SignedDuration::from_hours(24));
}

#[test]
fn every_refusal_has_its_reason_and_names_the_field() {
    let none = json!({});
    let many: Vec<String> = (0..9).map(|n| format!("api://service-{n}")).collect();
    for (change, azure, binding, reason, part) in [
        (
            json!({"acceptEnforcement": null}),
            none.clone(),
            none.clone(),
            Reason::EnforcementTooWeak,
            "acceptEnforcement: PrincipalOnly",
        ),
        (
            json!({"acceptEnforcement": "Provider"}),
            none.clone(),
            none.clone(),
            Reason::EnforcementTooWeak,
            "spec.acceptEnforcement",
        ),
        (
            none.clone(),
            none.clone(),
            json!({"minEnforcement": "Sidecar"}),
            Reason::EnforcementTooWeak,
            "minEnforcement",
        ),
        (
            none.clone(),
            none.clone(),
            json!({"deny": ["*/blobs/*"]}),
            Reason::DeniedByGuardrail,
            "spec.allow[0].actions[0]",
        ),
        (
            none.clone(),
            none.clone(),
            json!({"maxActions": ["Microsoft.KeyVault/*"]}),
            Reason::ActionNotAllowed,
            "spec.allow[0].actions[0]",
        ),
        (
            json!({"principal": "reports"}),
            none.clone(),
            json!({"principals": ["*"]}),
            Reason::PrincipalInvalid,
            "client id",
        ),
        (
            json!({"allow": [{"actions": [READ], "resources": many}]}),
            none.clone(),
            none.clone(),
            Reason::PolicyTooLarge,
            "9 resources",
        ),
        (
            none.clone(),
            json!({"maxTokenLifetime": "29h"}),
            none.clone(),
            Reason::DurationInvalid,
            "spec.azure.maxTokenLifetime",
        ),
    ] {
        let refused = resolve(&policy(&change), Some(&provider(&azure, &binding))).unwrap_err();
        assert_eq!(refused.reason, reason, "{change} {azure} {binding}: {refused}");
        assert!(refused.message.contains(part), "{change}: {refused}");
    }
}

#[test]
fn a_resource_that_is_named_twice_is_one() {
    let allow = json!([{"actions": [READ], "resources": [STORAGE]}, {"actions": [READ], "resources": ["HTTPS://storage.azure.com", "api://x"]}]);
    let authority = resolve(&policy(&json!({"allow": allow})), Some(&provider(&json!({}), &json!({}))));
    assert!(authority.is_err(), "the scheme is written in lower case");
    let allow = json!([{"actions": [READ], "resources": [STORAGE]}, {"actions": [READ], "resources": ["https://Storage.azure.com", "api://x"]}]);
    let authority = resolve(&policy(&json!({"allow": allow})), Some(&provider(&json!({}), &json!({})))).unwrap();
    assert_eq!(resources(&authority.grant("report-agent", None).unwrap()).len(), 2);
}
