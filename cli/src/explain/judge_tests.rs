//! The first hour's mistakes: each is found, and by one message that names the fix.

use super::*;
use crate::explain::facts::{Counts, Told};
use crate::explain::fixtures::{IMAGE, mutate, now, of, pending, pod, ready, well};
use crate::explain::gate::Verdict;
use crate::explain::maker::Making;
use jiff::SignedDuration;
use serde_json::json;
use std::collections::BTreeMap;

fn sidecar_waits(facts: &mut Facts, reason: &str, message: &str) {
    facts.pod.status = Some(of(
        json!({"phase": "Pending", "initContainerStatuses": [{"name": "exeat-sidecar", "image": IMAGE, "imageID": "",
        "ready": false, "restartCount": 2, "state": {"waiting": {"reason": reason, "message": message}}}]}),
    ));
}

pub(in crate::explain) fn no_pod(facts: &mut Facts, note: &str) {
    (facts.live, facts.kind, facts.pod) = (false, "deployment".into(), pod());
    facts.sessions = Look::Skipped;
    let told = Told { reason: "FailedCreate".into(), note: note.into(), ..Told::default() };
    facts.making = Look::Found(Making { refused: Some(told), idle: None });
}

fn closed(facts: &Facts) -> Vec<Gate> {
    judge(facts, now())
        .unwrap()
        .into_iter()
        .filter(|gate| matches!(gate.verdict, Verdict::Fail | Verdict::Warn))
        .collect()
}

/// The one gate that a mistake closes, with words of its message and of its fix.
pub(in crate::explain) fn finds(mistake: &str, change: impl FnOnce(&mut Facts), gate: &str, says: &str, fix: &str) {
    let mut facts = well();
    change(&mut facts);
    let all = closed(&facts);
    let first = all.first().unwrap_or_else(|| panic!("{mistake}: no gate is closed"));
    let told = format!("{} {}", first.reason.as_deref().unwrap_or_default(), first.message);
    assert_eq!(first.gate, gate, "{mistake}: {all:?}");
    assert!(told.contains(says) && first.fix.as_deref().unwrap_or_default().contains(fix), "{mistake}: {first:?}");
    let others: Vec<_> = all.iter().skip(1).filter(|gate| !matches!(gate.gate, "session" | "policy Ready")).collect();
    assert!(others.is_empty(), "{mistake}: one message is enough: {others:?}");
}

#[test]
fn a_pod_that_works_passes_every_gate() {
    let gates = judge(&well(), now()).unwrap();
    assert!(gates.iter().all(|gate| gate.verdict == Verdict::Ok), "{gates:#?}");
    assert!(gates.len() >= 14, "{gates:#?}");
}

#[test]
fn mistakes_of_configuration_are_found() {
    finds(
        "provider not Ready",
        |f| mutate(&mut f.provider, |p| p.status = Some(of(ready("False", "BaseIdentityInvalid", "no credentials")))),
        "provider Ready",
        "BaseIdentityInvalid",
        "spec.aws.source",
    );
    finds(
        "trust refuses",
        |f| mutate(&mut f.policy, |p| p.status = Some(of(ready("False", "AssumeRoleDenied", "AccessDenied")))),
        "policy Ready",
        "AssumeRoleDenied",
        "trust policy of arn:aws:iam::123456789012:role/agents/agents/report-writer allow sts:AssumeRole to arn:aws:iam::999999999999:role/issuer; the role is in account 123456789012",
    );
    finds(
        "namespace not served",
        |f| mutate(&mut f.provider, |p| p.spec.bindings[0].namespaces = vec!["x".into()]),
        "guardrails",
        "NamespaceNotServed",
        "platform admin",
    );
    finds(
        "wrong account",
        |f| f.pod.spec.as_mut().unwrap().service_account_name = Some("other".into()),
        "subjects",
        "PodNotCovered",
        "spec.serviceAccountName",
    );
}

#[test]
fn mistakes_of_the_pod_are_found() {
    finds(
        "IRSA present",
        |f| {
            mutate(&mut f.account, |a| {
                a.metadata.annotations = Some(BTreeMap::from([("eks.amazonaws.com/role-arn".into(), "arn".into())]))
            })
        },
        "account",
        "IRSA",
        "without the annotation",
    );
    finds("IRSA in the pod", |f| env(f, "AWS_ROLE_ARN"), "pod", "CredentialsShadowed", "eks.amazonaws.com/role-arn");
    finds(
        "hostNetwork",
        |f| f.pod.spec.as_mut().unwrap().host_network = Some(true),
        "pod",
        "spec.hostNetwork",
        "remove it",
    );
    finds(
        "no annotation",
        |f| f.pod.metadata.annotations = None,
        "annotation",
        "leaves it alone",
        "metadata.annotations",
    );
    finds("no policy", |f| f.policy = Look::Missing, "policy", "PolicyNotFound", "kubectl get acp");
    finds("no provider", |f| f.provider = Look::Missing, "provider", "ProviderNotFound", "kubectl get cprov");
    finds(
        "narrowing too wide",
        |f| annotate(f, names::ALLOW, "s3:PutObject on arn:aws:s3:::reports/x"),
        "narrowing",
        "NarrowingTooWide",
        "ask for less",
    );
    finds("a shadowing key", |f| env(f, "AWS_ACCESS_KEY_ID"), "pod", "CredentialsShadowed", "remove it");
}

fn env(facts: &mut Facts, name: &str) {
    let container = &mut facts.pod.spec.as_mut().unwrap().containers[0];
    container.env.get_or_insert_default().push(of(json!({"name": name, "value": "x"})));
}

fn annotate(facts: &mut Facts, key: &str, value: &str) {
    facts.pod.metadata.annotations.get_or_insert_default().insert(key.into(), value.into());
}

#[test]
fn mistakes_of_the_cluster_are_found() {
    let denied = json!([{"metadata": {"name": "deny-all"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}}]);
    finds(
        "default-deny egress",
        |f| {
            f.network = Look::Found(of(denied));
            pending(f);
            f.sidecar = Look::Skipped;
        },
        "egress",
        "deny-all",
        "TCP 8443",
    );
    finds(
        "quota",
        |f| no_pod(f, "pods \"x\" is forbidden: exceeded quota: small"),
        "creation",
        "Quota",
        "ResourceQuota",
    );
    finds(
        "Pod Security",
        |f| no_pod(f, "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\""),
        "creation",
        "PodSecurity",
        "securityContext",
    );
    finds(
        "webhook away",
        |f| no_pod(f, "failed calling webhook \"pods.exeat.dev\": timeout"),
        "creation",
        "WebhookUnavailable",
        "doctor",
    );
    finds(
        "an admission policy is gone",
        |f| f.fallen = Look::Found(vec!["exeat-pods".into()]),
        "admission policies",
        "BackstopMissing",
        "doctor",
    );
    finds(
        "no sidecar",
        |f| f.pod.spec.as_mut().unwrap().init_containers = None,
        "injection",
        "NotInjected",
        "create it again",
    );
}

#[test]
fn mistakes_of_images_and_clocks_are_found() {
    finds(
        "architecture",
        |f| sidecar_waits(f, "ErrImagePull", "no match for platform in manifest: not found"),
        "start-up",
        "Architecture",
        "kubernetes.io/arch",
    );
    finds(
        "private registry",
        |f| sidecar_waits(f, "ImagePullBackOff", "failed to authorize: 401 Unauthorized"),
        "start-up",
        "PrivateRegistry",
        "imagePullSecrets",
    );
    let pulls_with = |f: &mut Facts, secret: &str| {
        sidecar_waits(f, "ImagePullBackOff", "failed to authorize: 401 Unauthorized");
        f.pod.spec.as_mut().unwrap().image_pull_secrets = Some(of(json!([{"name": secret}])));
    };
    finds(
        "wrong pull secret",
        |f| pulls_with(f, "regcred"),
        "start-up",
        "PrivateRegistry",
        "refuses the credentials in regcred",
    );
    finds(
        "pull secret not there",
        |f| {
            pulls_with(f, "regcred");
            let reason = "FailedToRetrieveImagePullSecret".to_owned();
            f.events = Look::Found(vec![Told { reason, ..Told::default() }]);
        },
        "start-up",
        "PrivateRegistry",
        "create secret docker-registry",
    );
    finds(
        "clock, by the log",
        |f| f.log = Look::Found("start\nAn error occurred (RequestTimeTooSkewed) when calling GetObject\n".into()),
        "clock",
        "(RequestTimeTooSkewed) when calling GetObject",
        "NTP",
    );
    finds(
        "image not there",
        |f| sidecar_waits(f, "ErrImagePull", "not found"),
        "start-up",
        "ErrImagePull",
        "image.registry",
    );
    finds(
        "clock",
        |f| mutate(&mut f.node, |n| n.ahead = Some(SignedDuration::from_secs(90))),
        "clock",
        "node n1 is 90 s ahead",
        "NTP",
    );
}

#[test]
fn an_sdk_that_does_not_take_what_is_served_is_found() {
    let counts = |c: Counts| move |f: &mut Facts| f.sidecar = Look::Found(c);
    finds(
        "old SDK",
        counts(Counts { without_secret: 7, ..Counts::default() }),
        "use",
        "LoopbackSecretMissing",
        "exeat.dev/aws-token: Env",
    );
    finds(
        "never used",
        counts(Counts::default()),
        "use",
        "NeverUsed the agent's SDK has never asked the sidecar, 30m after",
        "default chain",
    );
    finds(
        "never used, by the log",
        |f| {
            f.sidecar = Look::Unreadable("no".into());
            f.log = Look::Found("botocore.exceptions.NoCredentialsError: Unable to locate credentials\n".into());
        },
        "use",
        "Unable to locate credentials",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    );
}

#[test]
fn a_call_is_judged_with_the_narrowing_of_the_pod() {
    let mut facts = well();
    let call = |facts: &mut Facts, action: &str| {
        facts.call = Some((action.into(), "arn:aws:s3:::reports/a".into()));
        judge(facts, now()).map(|gates| gates.last().cloned().unwrap())
    };
    assert_eq!(call(&mut facts, "s3:GetObject").unwrap().verdict, Verdict::Ok);
    let no = call(&mut facts, "s3:PutObject").unwrap();
    assert!(
        no.gate == "call" && no.verdict == Verdict::Fail && no.fix.unwrap().contains("spec.allow"),
        "{}",
        no.message
    );
    annotate(&mut facts, names::ALLOW, "s3:GetObject on arn:aws:s3:::reports/2026/*");
    assert!(call(&mut facts, "s3:GetObject").unwrap().message.contains("asks for less"));
    assert_eq!(call(&mut facts, "s3:*").unwrap_err().exit().code(), 2);
}
