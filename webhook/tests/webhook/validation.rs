//! Every error and warning about our own kinds.

use exeat_crds::{AgentCredentialPolicy, Approval, CredentialProvider, CredentialSession};
use exeat_webhook::validate::{self, Findings};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::common::{policy, provider, yaml};

type Case = (&'static str, &'static str, &'static [&'static str]);

fn changed<T: Serialize + DeserializeOwned>(object: &T, changes: &str) -> T {
    let mut value = serde_json::to_value(object).unwrap();
    json_patch::merge(&mut value, &yaml(changes));
    serde_json::from_value(value).unwrap()
}

fn error(findings: &Findings, (changes, reason, needles): &Case) {
    let message = exeat_webhook::message::all(&findings.errors);
    assert_eq!(findings.errors.len(), 1, "{changes}: {message}");
    assert_eq!(findings.errors[0].reason.as_str(), *reason, "{changes}: {message}");
    for needle in *needles {
        assert!(message.contains(needle), "{changes}: {needle:?} is not in {message:?}");
    }
}

fn warning(findings: &Findings, (changes, reason, needles): &Case) {
    assert_eq!(findings.errors, [], "{changes}");
    let message = exeat_webhook::message::all(&findings.warnings);
    assert_eq!(findings.warnings.len(), 1, "{changes}: {message}");
    assert_eq!(findings.warnings[0].reason.as_str(), *reason, "{changes}: {message}");
    for needle in *needles {
        assert!(message.contains(needle), "{changes}: {needle:?} is not in {message:?}");
    }
}

fn judge_policy(changes: &str) -> Findings {
    let policy: AgentCredentialPolicy = changed(&policy("report-writer").unwrap(), changes);
    let provider = provider(&policy.spec.provider_ref.name);
    validate::policy(&policy, provider.as_ref())
}

#[test]
fn good_objects_pass_in_silence() {
    for name in ["report-writer", "pod-reader"] {
        let policy = policy(name).unwrap();
        let provider = provider(&policy.spec.provider_ref.name).unwrap();
        assert_eq!(validate::policy(&policy, Some(&provider)), Findings::default(), "{name}");
        assert_eq!(validate::provider(&provider), Findings::default(), "{name}");
    }
}

#[test]
fn errors_in_policies() {
    let cases: [Case; 13] = [
        (
            "spec: {principal: 'arn:aws:iam::123456789012:role/${pod}'}",
            "PrincipalInvalid",
            &["spec.principal", "${serviceAccount}"],
        ),
        (
            "spec: {principalMappings: [{serviceAccount: report-agent, principal: x}]}",
            "PrincipalInvalid",
            &["spec.principalMappings[serviceAccount=report-agent].principal", "write arn:aws:iam::<12 digits>"],
        ),
        (
            "spec: {principal: 'arn:aws:iam::1:role/x'}",
            "PrincipalInvalid",
            &["spec.principal", "write arn:aws:iam::<12 digits>"],
        ),
        (
            "spec: {allow: [{actions: [GetObject], resources: ['*']}]}",
            "ActionInvalid",
            &["spec.allow[0].actions[0]", "GetObject"],
        ),
        ("spec: {allow: [{actions: ['*:*'], resources: ['*']}]}", "ActionInvalid", &["spec.allow[0].actions[0]"]),
        (
            "spec: {allow: [{actions: ['s3:GetObject'], resources: [reports]}]}",
            "ResourceInvalid",
            &["spec.allow[0].resources[0]", "reports"],
        ),
        ("spec: {session: {duration: soon}}", "DurationInvalid", &["spec.session.duration", "write it like 30m"]),
        ("spec: {session: {duration: 10m}}", "DurationInvalid", &["spec.session.duration", "write at least 16m"]),
        (
            "spec: {session: {credentialTTL: 5m}}",
            "CredentialTTLTooShort",
            &["spec.session.credentialTTL", "write at least 15m"],
        ),
        (
            "spec: {session: {credentialTTL: 13h}}",
            "CredentialTTLTooLong",
            &["spec.session.credentialTTL", "write at most 12h"],
        ),
        ("spec: {session: {offlineGrace: x}}", "DurationInvalid", &["spec.session.offlineGrace", "write it like"]),
        (
            "spec: {subjects: {podSelector: {matchExpressions: [{key: a, operator: Is, values: [b]}]}}}",
            "PodNotCovered",
            &["spec.subjects.podSelector.matchExpressions[0]", "use In, NotIn"],
        ),
        (
            "spec: {subjects: {podSelector: {matchExpressions: [{key: a, operator: In}]}}}",
            "PodNotCovered",
            &["spec.subjects.podSelector.matchExpressions[0]", "values"],
        ),
    ];
    for case in &cases {
        error(&judge_policy(case.0), case);
    }
    let without_provider =
        changed(&policy("report-writer").unwrap(), "spec: {allow: [{actions: [x], resources: ['*']}]}");
    error(
        &validate::policy(&without_provider, None),
        &("no provider yet", "ActionInvalid", &["spec.allow[0].actions[0]"]),
    );
}

#[test]
fn warnings_about_policies() {
    let cases: [Case; 7] = [
        (
            "spec: {providerRef: {name: later}}",
            "ProviderNotFound",
            &["pods of this policy are refused for now", "\"later\""],
        ),
        ("metadata: {namespace: elsewhere}", "NamespaceNotServed", &["spec.bindings[].namespaces"]),
        ("spec: {principal: 'arn:aws:iam::123456789012:role/x'}", "PrincipalNotAllowed", &["spec.principal"]),
        (
            "spec: {allow: [{actions: ['ec2:RunInstances'], resources: ['*']}]}",
            "ActionNotAllowed",
            &["ec2:RunInstances"],
        ),
        (
            "spec: {allow: [{actions: ['s3:PutBucketPolicy'], resources: ['*']}]}",
            "DeniedByGuardrail",
            &["s3:PutBucketPolicy"],
        ),
        ("spec: {mode: Observe}", "EnforcementTooWeak", &["spec.acceptEnforcement"]),
        ("spec: {session: {duration: 48h}}", "DurationTooLong", &["spec.session.duration", "24h"]),
    ];
    for case in &cases {
        warning(&judge_policy(case.0), case);
    }
}

#[test]
fn every_field_that_is_not_built_is_warned_about() {
    for (changes, field) in [
        ("spec: {limits: {concurrent: 5}}", "spec.limits"),
        ("spec: {budget: {limit: '5.00'}}", "spec.budget"),
        ("spec: {delivery: Broker}", "spec.delivery: Broker"),
    ] {
        let findings = judge_policy(changes);
        let case: Case = (changes, "NotImplemented", &["until then nothing is granted"]);
        warning(&findings, &case);
        assert!(findings.warnings[0].message.starts_with(field), "{}", findings.warnings[0]);
    }
    let aws = provider("aws-prod").unwrap();
    for (changes, field) in [("limits: {concurrent: 5}", "limits"), ("budget: {limit: '5.00'}", "budget")] {
        let mut binding = serde_json::to_value(&aws.spec.bindings[0]).unwrap();
        json_patch::merge(&mut binding, &yaml(changes));
        let mut provider = aws.clone();
        provider.spec.bindings[0] = serde_json::from_value(binding).unwrap();
        let findings = validate::provider(&provider);
        warning(&findings, &("binding", "NotImplemented", &["spec.bindings[name=agents]"]));
        assert!(findings.warnings[0].message.contains(field), "{}", findings.warnings[0]);
    }
    let http: CredentialProvider = changed(&aws, "spec: {aws: null, http: {secretRef: {name: s}}}");
    warning(&validate::provider(&http), &("kind", "NotImplemented", &["aws, azure, gcp, kubernetes and vault are"]));
}

#[test]
fn a_life_that_no_token_of_azure_has_is_an_error() {
    let case: Case = ("maxTokenLifetime", "DurationInvalid", &["spec.azure.maxTokenLifetime", "10m to 28h"]);
    for (life, fine) in [("29h", false), ("5m", false), ("28h", true)] {
        let change = format!("spec: {{azure: {{maxTokenLifetime: {life}}}}}");
        let findings = validate::provider(&changed(&provider("azure").unwrap(), &change));
        if fine { assert_eq!(findings.errors, [], "{life}") } else { error(&findings, &case) }
    }
}

#[test]
fn findings_in_providers() {
    let aws = provider("aws-prod").unwrap();
    let with = |change: &dyn Fn(&mut exeat_crds::v1alpha1::Binding)| {
        let mut provider = aws.clone();
        change(&mut provider.spec.bindings[0]);
        validate::provider(&provider)
    };
    let findings = with(&|b| b.principals = vec!["arn:aws:iam::123456789012:role/${namespace}*".to_owned()]);
    error(
        &findings,
        &("principals", "PrincipalInvalid", &["spec.bindings[name=agents].principals[0]", "put a / between"]),
    );
    let findings = with(&|b| b.max_actions = vec!["s3:*".to_owned(), "get pods".to_owned()]);
    error(&findings, &("maxActions", "ActionInvalid", &["spec.bindings[name=agents].maxActions[1]", "get pods"]));
    let findings = with(&|b| b.deny = vec!["".to_owned()]);
    error(&findings, &("deny", "ActionInvalid", &["spec.bindings[name=agents].deny[0]"]));
    let findings = with(&|b| b.max_duration = Some("1d".to_owned()));
    error(&findings, &("maxDuration", "DurationInvalid", &["spec.bindings[name=agents].maxDuration", "write it like"]));
    let findings = with(&|b| b.max_duration = Some("10m".to_owned()));
    error(
        &findings,
        &("maxDuration", "DurationInvalid", &["spec.bindings[name=agents].maxDuration", "write at least 16m"]),
    );
    let plain = changed(&aws, "spec: {aws: {endpoint: 'http://sts.example'}}");
    warning(&validate::provider(&plain), &("endpoint", "ProviderRejected", &["spec.aws.endpoint", "use https"]));
    let google = provider("google").unwrap();
    let plain = changed(&google, "spec: {gcp: {endpoints: {sts: 'http://sts.example'}}}");
    warning(&validate::provider(&plain), &("endpoint", "ProviderRejected", &["spec.gcp.endpoints.sts", "use https"]));
}

#[test]
fn errors_in_sessions_and_approvals() {
    let session: CredentialSession = yaml(
        r#"
apiVersion: exeat.dev/v1alpha1
kind: CredentialSession
metadata: {name: s, namespace: agents}
spec:
  request:
    policyRef: {name: p, uid: u}
    providerRef: {name: p}
    authorityHash: h
    agent: {serviceAccount: a, pod: {name: p, uid: u}}
    number: 1
"#,
    );
    assert_eq!(validate::session(&session), Findings::default());
    let bad = changed(&session, "spec: {request: {duration: x}}");
    error(&validate::session(&bad), &("duration", "DurationInvalid", &["spec.request.duration", "write it like"]));
    for (changes, field) in
        [("requester: {username: alice}", "spec.request.requester"), ("holderKey: k", "spec.request.holderKey")]
    {
        let session = changed(&session, &format!("spec: {{request: {{{changes}}}}}"));
        let findings = validate::session(&session);
        assert!(findings.warnings[0].message.starts_with(field), "{:?}", findings.warnings);
    }
    let approval: Approval = yaml(
        r#"
apiVersion: exeat.dev/v1alpha1
kind: Approval
metadata: {name: a, namespace: agents}
spec:
  request:
    policyRef: {name: p, uid: u}
    providerRef: {name: aws-prod}
    authorityHash: h
    serviceAccount: agent
    rules: [provider/deletes]
    principal: p
    allow: [{actions: ["s3:*"], resources: ["*"]}]
    duration: 1h
    validFor: 1h
    coolDown: 1h
    uses: 1
    minimum: 1
    digest: d
    deadline: "2026-01-01T00:00:00Z"
    required: [{group: g, count: 1}]
  decisions: [{approver: alice, decision: Approve, digest: d}]
"#,
    );
    assert_eq!(validate::approval(&approval), Findings::default());
    let cases: [Case; 4] = [
        ("spec: {request: {deadline: soon}}", "DurationInvalid", &["spec.request.deadline", "write RFC 3339"]),
        ("spec: {request: {validFor: soon}}", "DurationInvalid", &["spec.request.validFor", "write it like"]),
        ("spec: {request: {duration: soon}}", "DurationInvalid", &["spec.request.duration", "write it like"]),
        ("spec: {request: {digest: other}}", "GrantChanged", &["spec.decisions[0].digest", "read spec.request again"]),
    ];
    for case in &cases {
        error(&validate::approval(&changed(&approval, case.0)), case);
    }
}
