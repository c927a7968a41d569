use super::*;
use serde_json::json;

fn provider(binding: serde_json::Value) -> CredentialProvider {
    let mut full = json!({
        "name": "agents", "namespaces": ["agents", "team-*"],
        "principals": ["arn:aws:iam::123456789012:role/agents/${namespace}/*"],
        "maxActions": ["s3:*"]
    });
    for (key, value) in binding.as_object().unwrap() {
        full[key] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "aws-prod", "uid": "prov"},
        "spec": {"aws": {"region": "eu-west-1"}, "bindings": [full]}
    }))
    .unwrap()
}

fn policy(change: serde_json::Value) -> AgentCredentialPolicy {
    let mut spec = json!({
        "providerRef": {"name": "aws-prod"},
        "principal": "arn:aws:iam::123456789012:role/agents/agents/report-writer",
        "subjects": {"serviceAccounts": ["report-agent"]},
        "allow": [{"actions": ["s3:GetObject", "s3:ListBucket"], "resources": ["arn:aws:s3:::reports", "arn:aws:s3:::reports/*"]}]
    });
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
        "metadata": {"name": "report-writer", "namespace": "agents", "uid": "pol"}, "spec": spec
    }))
    .unwrap()
}

#[test]
fn a_policy_within_its_binding_resolves_with_defaults() {
    let authority = resolve(&policy(json!({})), Some(&provider(json!({})))).unwrap();
    assert_eq!(authority.duration, SignedDuration::from_hours(8));
    assert_eq!(authority.credential_ttl, SignedDuration::from_mins(30));
    assert_eq!(authority.binding, "agents");
    assert_eq!(authority.revocation, RevocationMode::ExpiryOnly);
}

#[test]
fn every_refusal_has_its_reason_and_names_the_field() {
    let none = json!({});
    let cases = [
        (
            json!({"principal": "arn:aws:iam::123456789012:role/agents/other/x"}),
            none.clone(),
            Reason::PrincipalNotAllowed,
            "spec.principal",
        ),
        (none.clone(), json!({"namespaces": ["elsewhere"]}), Reason::NamespaceNotServed, "spec.bindings[].namespaces"),
        (
            json!({"allow": [{"actions": ["ec2:RunInstances"], "resources": ["*"]}]}),
            none.clone(),
            Reason::ActionNotAllowed,
            "spec.allow[0].actions[0]",
        ),
        (
            json!({"allow": [{"actions": ["GetObject"], "resources": ["*"]}]}),
            none.clone(),
            Reason::ActionInvalid,
            "spec.allow[0].actions[0]",
        ),
        (json!({"session": {"duration": "48h"}}), none.clone(), Reason::DurationTooLong, "spec.session.duration"),
        (json!({"session": {"duration": "10m"}}), none.clone(), Reason::DurationInvalid, "spec.session.duration"),
        (
            json!({"session": {"credentialTTL": "5m"}}),
            none.clone(),
            Reason::CredentialTTLTooShort,
            "spec.session.credentialTTL",
        ),
        (
            json!({"session": {"credentialTTL": "13h", "duration": "20h"}}),
            none.clone(),
            Reason::CredentialTTLTooLong,
            "spec.session.credentialTTL",
        ),
        (json!({"session": {"duration": "20h"}}), json!({"maxDuration": "8h"}), Reason::DurationTooLong, "agents"),
    ];
    for (change, binding, reason, field) in cases {
        let refused = resolve(&policy(change.clone()), Some(&provider(binding))).unwrap_err();
        assert_eq!(refused.reason, reason, "{change}: {refused}");
        assert!(refused.message.contains(field), "{change}: {refused}");
    }
    assert_eq!(resolve(&policy(none), None).unwrap_err().reason, Reason::ProviderNotFound);
}

#[test]
fn fields_that_are_not_built_grant_nothing_and_are_named() {
    let of_policy = [
        (json!({"limits": {"concurrent": 5}}), "spec.limits"),
        (json!({"budget": {"limit": "5.00"}}), "spec.budget"),
        (json!({"delivery": "Broker"}), "spec.delivery: Broker"),
    ];
    for (change, field) in of_policy {
        let refused = resolve(&policy(change), Some(&provider(json!({})))).unwrap_err();
        assert_eq!(refused.reason, Reason::NotImplemented);
        assert!(refused.message.starts_with(field), "{refused}");
    }
    let of_binding =
        [(json!({"limits": {"concurrent": 50}}), "limits"), (json!({"budget": {"limit": "5.00"}}), "budget")];
    for (change, field) in of_binding {
        let refused = resolve(&policy(json!({})), Some(&provider(change))).unwrap_err();
        assert_eq!(refused.reason, Reason::NotImplemented);
        assert!(refused.message.contains(&format!("spec.bindings[name=agents].{field}")), "{refused}");
    }
}

#[test]
fn kinds_that_are_not_built_are_named() {
    let mut value = serde_json::to_value(provider(json!({}))).unwrap();
    value["spec"].as_object_mut().unwrap().remove("aws");
    value["spec"]["http"] = json!({"secretRef": {"name": "s"}});
    let refused = resolve(&policy(json!({})), Some(&serde_json::from_value(value).unwrap())).unwrap_err();
    assert_eq!(refused.reason, Reason::NotImplemented);
    assert!(refused.message.contains("spec.http"), "{refused}");
}

fn vault(binding: serde_json::Value, allow: serde_json::Value) -> Result<Authority, Refused> {
    let mut object = serde_json::to_value(provider(binding)).unwrap();
    object["spec"].as_object_mut().unwrap().remove("aws");
    object["spec"]["vault"] = json!({"address": "http://vault", "auth": {"token": {"secretRef": {"name": "s"}}}});
    let policy = policy(json!({"principal": "agents-reader", "allow": allow}));
    resolve(&policy, Some(&serde_json::from_value(object).unwrap()))
}

#[test]
fn guardrails_of_vault_hold_by_path() {
    let binding =
        |max: &[&str], deny: &[&str]| json!({"principals": ["${namespace}-reader"], "maxActions": max, "deny": deny});
    let allow = |verbs: &[&str], paths: &[&str]| json!([{"actions": verbs, "resources": paths}]);
    let ceiling = &["read secret/*", "list secret/metadata/*"];
    let reports = allow(&["read"], &["secret/data/reports/*"]);
    let authority = vault(binding(ceiling, &["* secret/+/prod/*"]), reports.clone()).unwrap();
    assert_eq!((authority.enforcement, authority.revocation), (Enforcement::Sidecar, RevocationMode::Immediate));
    assert_eq!(
        authority.grant("report-agent", None).unwrap().deny.len(),
        0,
        "a denial elsewhere does not travel along"
    );
    for (binding, allow, reason, part) in [
        (
            binding(ceiling, &[]),
            allow(&["list"], &["secret/data/x"]),
            Reason::ActionNotAllowed,
            "\"list\" on \"secret/data/x\"",
        ),
        (binding(&["*"], &["read secret/*"]), reports.clone(), Reason::DeniedByGuardrail, "secret/data/reports/*"),
        (
            binding(&["read"], &[]),
            allow(&["read"], &["sys/mounts"]),
            Reason::ResourceInvalid,
            "spec.allow[0].resources[0]",
        ),
    ] {
        let refused = vault(binding, allow).unwrap_err();
        assert_eq!(refused.reason, reason, "{refused}");
        assert!(refused.message.contains(part), "{refused}");
    }
    let wide = vault(binding(&["*"], &["read secret/data/prod/*"]), allow(&["read"], &["secret/data/*"])).unwrap();
    let grant = wide.grant("report-agent", None).unwrap();
    let covers = |path| grant.covers(rules::Call { action: "read", resource: path });
    assert!(covers("secret/data/dev/x") && !covers("secret/data/prod/x"));
    let mut strict = binding(ceiling, &[]);
    strict["minEnforcement"] = json!("Provider");
    let refused = vault(strict, reports).unwrap_err();
    assert_eq!(refused.reason, Reason::EnforcementTooWeak);
}

fn gcp(binding: serde_json::Value, change: serde_json::Value) -> Result<Authority, Refused> {
    let mut full = json!({"principals": ["agents-*@example.iam.gserviceaccount.com"], "maxActions": ["*"]});
    for (key, value) in binding.as_object().unwrap() {
        full[key] = value.clone();
    }
    let mut object = serde_json::to_value(provider(full)).unwrap();
    object["spec"].as_object_mut().unwrap().remove("aws");
    object["spec"]["gcp"] = json!({"project": "example"});
    let mut spec = change;
    spec["principal"] = "agents-reader@example.iam.gserviceaccount.com".into();
    resolve(&policy(spec), Some(&serde_json::from_value(object).unwrap()))
}

#[test]
fn google_holds_a_token_to_roles_on_buckets_and_the_rest_must_be_accepted() {
    const OBJECTS: &str = "projects/_/buckets/reports/objects/*";
    let allow = |actions: &[&str], on: &str| json!([{"actions": actions, "resources": [on]}]);
    let reads = allow(&["storage.objects.get", "storage.objects.list"], OBJECTS);
    let authority = gcp(json!({}), json!({"allow": reads})).unwrap();
    assert_eq!((authority.enforcement, authority.revocation), (Enforcement::Provider, RevocationMode::ExpiryOnly));
    assert!(
        authority.exceptions.iter().any(|e| e.contains("storage.managedFolders.list")),
        "{:?}",
        authority.exceptions
    );
    assert_eq!(authority.outlives, SignedDuration::ZERO);
    let tables = allow(&["bigquery.tables.getData"], "*");
    let wide = gcp(json!({}), json!({"allow": tables, "acceptEnforcement": "PrincipalOnly"})).unwrap();
    assert_eq!(wide.enforcement, Enforcement::PrincipalOnly);
    assert!(wide.exceptions.iter().any(|e| e.contains("all that its service account may do")), "{:?}", wide.exceptions);
    let tokens = allow(&["iam.serviceAccounts.getOpenIdToken"], "audience/https://a.test");
    let tokens = gcp(json!({}), json!({"allow": tokens})).unwrap();
    assert_eq!((tokens.enforcement, tokens.outlives), (Enforcement::Provider, SignedDuration::from_hours(1)));
    for (binding, change, reason, part) in [
        (json!({}), json!({"allow": tables}), Reason::EnforcementTooWeak, "spec.acceptEnforcement"),
        (
            json!({"minEnforcement": "Provider"}),
            json!({"allow": tables, "acceptEnforcement": "PrincipalOnly"}),
            Reason::EnforcementTooWeak,
            "minEnforcement",
        ),
        (json!({}), json!({"allow": allow(&["storage.objects.delete"], OBJECTS)}), Reason::ActionInvalid, "spec.allow"),
        (
            json!({"maxActions": ["storage.objects.get"]}),
            json!({"allow": reads}),
            Reason::ActionNotAllowed,
            "objects.list",
        ),
        (json!({"deny": ["*.list"]}), json!({"allow": reads}), Reason::DeniedByGuardrail, "objects.list"),
        (json!({"deny": ["storage.folders.list"]}), json!({"allow": reads}), Reason::DeniedByGuardrail, "folders.list"),
        (json!({}), json!({"allow": reads, "session": {"credentialTTL": "2h"}}), Reason::CredentialTTLTooLong, "1h"),
        (
            json!({"principals": ["other@example.iam.gserviceaccount.com"]}),
            json!({"allow": reads}),
            Reason::PrincipalNotAllowed,
            "agents-reader",
        ),
    ] {
        let refused = gcp(binding, change).unwrap_err();
        assert_eq!(refused.reason, reason, "{refused}");
        assert!(refused.message.contains(part), "{refused}");
    }
}

#[test]
fn a_pod_narrows_only_what_somebody_enforces() {
    let on = |resource: &str| {
        vec![Statement { actions: vec!["storage.objects.get".into()], resources: vec![resource.into()] }]
    };
    let all = json!([{"actions": ["storage.objects.get"], "resources": ["*"]}]);
    let wide = gcp(json!({}), json!({"allow": all, "acceptEnforcement": "PrincipalOnly"})).unwrap();
    assert!(wide.grant("report-agent", Some(&on("projects/_/buckets/reports/objects/a/*"))).is_ok());
    let refused = wide.grant("report-agent", Some(&on("projects/p/*"))).unwrap_err();
    assert_eq!(refused.reason, Reason::EnforcementTooWeak, "{refused}");
    assert!(refused.message.contains("exeat.dev/allow"), "{refused}");
}

#[test]
fn the_hash_follows_policy_binding_and_settings_and_nothing_else() {
    let hash = |p: &AgentCredentialPolicy, c: &CredentialProvider| resolve(p, Some(c)).unwrap().hash;
    let (base_policy, base_provider) = (policy(json!({})), provider(json!({})));
    let base = hash(&base_policy, &base_provider);
    assert_ne!(base, hash(&policy(json!({"session": {"duration": "1h"}})), &base_provider));
    assert_ne!(base, hash(&base_policy, &provider(json!({"deny": ["s3:PutBucketPolicy"]}))));
    let mut other_uid = base_policy.clone();
    other_uid.metadata.uid = Some("another".into());
    assert_ne!(base, hash(&other_uid, &base_provider));
    let mut other_status = base_provider.clone();
    other_status.status = Some(Default::default());
    other_status.spec.bindings.push(Binding { name: "unrelated".into(), ..Binding::default() });
    assert_eq!(base, hash(&base_policy, &other_status));
}

#[test]
fn a_pod_may_only_ask_for_less() {
    let authority = resolve(&policy(json!({})), Some(&provider(json!({})))).unwrap();
    let ask = |key: &str, value: &str| ask_of_pod(&authority, &[(key.to_owned(), value.to_owned())].into());
    let narrower = ask("exeat.dev/allow", "s3:GetObject on arn:aws:s3:::reports/2026/*").unwrap();
    assert_eq!(narrower.allow.unwrap()[0].actions, ["s3:GetObject"]);
    assert_eq!(ask("exeat.dev/duration", "1h").unwrap().duration, Some(SignedDuration::from_hours(1)));
    for (key, value, reason) in [
        ("exeat.dev/allow", "s3:PutObject on arn:aws:s3:::reports/*", Reason::NarrowingTooWide),
        ("exeat.dev/allow", "s3:GetObject on arn:aws:s3:::payroll/*", Reason::NarrowingTooWide),
        ("exeat.dev/allow", "nonsense", Reason::AnnotationInvalid),
        ("exeat.dev/duration", "9h", Reason::DurationTooLong),
        ("exeat.dev/duration", "1m", Reason::DurationInvalid),
        ("exeat.dev/duration", "soon", Reason::AnnotationInvalid),
    ] {
        let refused = ask(key, value).unwrap_err();
        assert_eq!(refused.reason, reason, "{refused}");
        assert!(refused.message.contains(key), "{refused}");
    }
}

#[test]
fn cover_is_by_service_account_and_labels() {
    let covered = policy(json!({"subjects": {"serviceAccounts": ["report-agent"], "podSelector": {
        "matchLabels": {"app": "report"}, "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["dev"]}]}}}));
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert!(covers_pod(&covered, "report-agent", &labels(&[("app", "report")])).is_ok());
    assert!(
        covers_pod(&covered, "other", &labels(&[("app", "report")])).unwrap_err().message.contains("serviceAccounts")
    );
    assert!(covers_pod(&covered, "report-agent", &labels(&[("app", "report"), ("tier", "dev")])).is_err());
    assert!(covers_pod(&covered, "report-agent", &labels(&[])).unwrap_err().message.contains("podSelector"));
}

#[test]
fn a_grant_that_its_provider_would_not_take_is_refused_before_it_is_tried() {
    let many: Vec<String> =
        (0..40).map(|i| format!("arn:aws:s3:::a-bucket-with-a-rather-long-name-{i:03}/*")).collect();
    let large = policy(json!({"allow": [{"actions": ["s3:GetObject"], "resources": many}]}));
    let refused = resolve(&large, Some(&provider(json!({})))).unwrap_err();
    assert_eq!(refused.reason, Reason::PolicyTooLarge, "{refused}");
}

fn watching(change: serde_json::Value) -> AgentCredentialPolicy {
    let mut full = json!({"mode": "Observe", "acceptEnforcement": "PrincipalOnly"});
    for (key, value) in change.as_object().unwrap() {
        full[key] = value.clone();
    }
    policy(full)
}

#[test]
fn a_policy_that_looks_on_is_granted_the_ceiling_and_says_that_nothing_narrows_it() {
    let binding = json!({"allowObserve": true, "maxActions": ["s3:*", "sqs:*"], "deny": ["s3:PutBucketPolicy"],
        "approvalRules": [{"name": "deletes", "actions": ["*:Delete*"], "required": [{"group": "security", "count": 1}]}]});
    for allow in [json!([]), json!([{"actions": ["ec2:RunInstances"], "resources": ["*"]}])] {
        let authority = resolve(&watching(json!({"allow": allow})), Some(&provider(binding.clone()))).unwrap();
        let grant = authority.grant("report-agent", None).unwrap();
        let covers = |action| grant.covers(rules::Call { action, resource: "arn:aws:s3:::any/thing" });
        assert!(covers("s3:GetObject") && covers("sqs:SendMessage"));
        assert!(!covers("s3:PutBucketPolicy") && !covers("ec2:RunInstances"), "the admin's brakes hold");
        assert_eq!(authority.enforcement, Enforcement::PrincipalOnly);
        assert!(authority.exceptions[0].contains("narrows nothing"), "{:?}", authority.exceptions);
        assert_eq!(authority.approval.needed(&grant).unwrap().rules, ["provider/deletes"]);
        let ask = ask_of_pod(&authority, &[("exeat.dev/allow".to_owned(), "s3:GetObject on *".to_owned())].into());
        assert!(ask.unwrap_err().message.contains("remove the annotation"));
    }
}

#[test]
fn who_may_look_on_is_an_admins_word_and_accepted_in_writing() {
    let allowed = json!({"allowObserve": true});
    let strict = json!({"allowObserve": true, "minEnforcement": "Sidecar"});
    let refused = |policy: &AgentCredentialPolicy, binding: &serde_json::Value| {
        resolve(policy, Some(&provider(binding.clone()))).unwrap_err()
    };
    for (change, binding, reason, part) in [
        (json!({}), &json!({}), Reason::ObserveNotAllowed, "spec.bindings[name=agents].allowObserve: true"),
        (json!({"acceptEnforcement": null}), &allowed, Reason::EnforcementTooWeak, "spec.acceptEnforcement"),
        (json!({}), &strict, Reason::EnforcementTooWeak, "minEnforcement"),
        (
            json!({"allow": [{"actions": ["Get"], "resources": ["*"]}]}),
            &allowed,
            Reason::ActionInvalid,
            "spec.allow[0]",
        ),
    ] {
        let refused = refused(&watching(change), binding);
        assert_eq!(refused.reason, reason, "{refused}");
        assert!(refused.message.contains(part), "{refused}");
    }
    let mut cluster = serde_json::to_value(provider(allowed)).unwrap();
    cluster["spec"].as_object_mut().unwrap().remove("aws");
    cluster["spec"]["kubernetes"] = json!({});
    cluster["spec"]["bindings"][0]["principals"] = json!(["system:serviceaccounts:exeat-grants"]);
    let blind = watching(json!({"principal": "system:serviceaccounts:exeat-grants"}));
    let refused = resolve(&blind, Some(&serde_json::from_value(cluster).unwrap())).unwrap_err();
    assert_eq!(refused.reason, Reason::NotImplemented);
    assert!(refused.message.starts_with("spec.mode: Observe"), "{refused}");
}
