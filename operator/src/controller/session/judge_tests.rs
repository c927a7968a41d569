use super::*;
use crate::controller::caches::prune;
use exeat_crds::CredentialProvider;
use serde_json::{Value, json};

fn provider() -> CredentialProvider {
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "here", "uid": "prov"},
        "spec": {"kubernetes": {}, "bindings": [{
            "name": "b", "namespaces": ["agents"], "principals": ["system:serviceaccounts:exeat-grants"], "maxActions": ["get *"]}]}
    }))
    .unwrap()
}

fn policy() -> AgentCredentialPolicy {
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
        "metadata": {"name": "reader", "namespace": "agents", "uid": "pol"},
        "spec": {
            "providerRef": {"name": "here"}, "principal": "system:serviceaccounts:exeat-grants",
            "subjects": {"serviceAccounts": ["sa"], "podSelector": {"matchLabels": {"app": "agent"}}},
            "allow": [{"actions": ["get pods"], "resources": ["agents/*"]}]
        }
    }))
    .unwrap()
}

fn request() -> SessionRequest {
    serde_json::from_value(json!({
        "policyRef": {"name": "reader", "uid": "pol"}, "providerRef": {"name": "here"}, "authorityHash": "h", "number": 1,
        "agent": {"serviceAccount": "sa", "pod": {"name": "pod", "uid": "poduid"}}, "duration": "30m"
    }))
    .unwrap()
}

/// As the webhook injects one.
fn pod() -> Value {
    json!({
        "metadata": {
            "name": "pod", "namespace": "agents", "uid": "poduid", "labels": {"app": "agent"},
            "annotations": {"exeat.dev/policy": "reader", "exeat.dev/duration": "30m", "other": "x"}
        },
        "spec": {
            "serviceAccountName": "sa", "nodeName": "node", "volumes": [{"name": "exeat-id"}, {"name": "data"}],
            "initContainers": [
                {"name": "exeat-sidecar", "image": "i", "restartPolicy": "Always", "volumeMounts": [
                    {"name": "exeat-id", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]},
                {"name": "setup", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "containers": [{"name": "agent", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "ephemeralContainers": [{"name": "debug", "image": "i", "targetContainerName": "agent"}]
        }
    })
}

type Change = (&'static str, fn(&mut Value), Reason);

const NOT_ITS_POD: &[Change] = &[
    ("another pod of the name", |p| p["metadata"]["uid"] = json!("other"), Reason::PodGone),
    ("another account", |p| p["spec"]["serviceAccountName"] = json!("admin"), Reason::PodNotCovered),
    ("another policy", |p| p["metadata"]["annotations"]["exeat.dev/policy"] = json!("other"), Reason::PodNotCovered),
    (
        "asks for another time",
        |p| p["metadata"]["annotations"]["exeat.dev/duration"] = json!("1h"),
        Reason::NotInjected,
    ),
    (
        "asks for less",
        |p| p["metadata"]["annotations"]["exeat.dev/allow"] = json!("get pods on agents/*"),
        Reason::NotInjected,
    ),
    ("no sidecar", |p| p["spec"]["initContainers"] = json!([]), Reason::NotInjected),
    ("one that ends", |p| p["spec"]["initContainers"][0]["restartPolicy"] = json!(null), Reason::NotInjected),
    ("one without identity", |p| p["spec"]["initContainers"][0]["volumeMounts"] = json!([]), Reason::NotInjected),
    ("two of them", |p| p["spec"]["initContainers"][1] = p["spec"]["initContainers"][0].clone(), Reason::NotInjected),
    ("identity in the agent", |p| mount(&mut p["spec"]["containers"][0]), Reason::NotInjected),
    ("identity in another init container", |p| mount(&mut p["spec"]["initContainers"][1]), Reason::NotInjected),
    ("identity in a debug container", |p| mount(&mut p["spec"]["ephemeralContainers"][0]), Reason::NotInjected),
    (
        "a debug container at the sidecar",
        |p| p["spec"]["ephemeralContainers"][0]["targetContainerName"] = json!("exeat-sidecar"),
        Reason::NotInjected,
    ),
    ("the node's network", |p| p["spec"]["hostNetwork"] = json!(true), Reason::NotInjected),
    ("the node's processes", |p| p["spec"]["hostPID"] = json!(true), Reason::NotInjected),
    ("the node's IPC", |p| p["spec"]["hostIPC"] = json!(true), Reason::NotInjected),
    ("shared processes", |p| p["spec"]["shareProcessNamespace"] = json!(true), Reason::NotInjected),
];

fn mount(container: &mut Value) {
    container["volumeMounts"] = json!([{"name": "exeat-id", "mountPath": "/x"}]);
}

type Verdict = Result<(), Reason>;

/// By the whole pod before the session is opened, by the whole pod after, and by the cached one after.
fn verdicts(pod: Value) -> [Verdict; 3] {
    let (policy, provider) = (policy(), provider());
    let authority = authority::resolve(&policy, Some(&provider)).unwrap();
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let mut cached = pod.clone();
    prune(&mut cached);
    [
        judge(&pod, &request(), &policy, &authority),
        judge_again(&pod, &request(), &policy, &authority),
        judge_again(&cached, &request(), &policy, &authority),
    ]
    .map(|v| v.map_err(|refused| refused.reason))
}

#[test]
fn a_pod_that_is_not_as_it_was_admitted_holds_no_session_whole_or_cached() {
    assert_eq!(verdicts(pod()), [Ok(()); 3]);
    for (what, change, reason) in NOT_ITS_POD {
        let mut changed = pod();
        change(&mut changed);
        assert_eq!(verdicts(changed), [Err(*reason); 3], "{what}");
    }
}

#[test]
fn a_policy_of_a_single_container_is_one_of_the_pods_whole_or_cached() {
    let mut pod = pod();
    pod["metadata"]["annotations"]["exeat.dev/policy"] = json!("other");
    assert_eq!(verdicts(pod.clone()), [Err(Reason::PodNotCovered); 3]);
    pod["metadata"]["annotations"]["policy.exeat.dev/agent"] = json!("reader");
    // The pod's first policy is another than the session says: the session is of before, and none of this pod.
    assert_eq!(verdicts(pod.clone()), [Err(Reason::NotInjected); 3]);
    pod["metadata"]["annotations"]["exeat.dev/policy"] = json!("reader");
    assert_eq!(verdicts(pod), [Ok(()); 3]);
}

#[test]
fn labels_count_when_a_session_is_opened_and_not_again() {
    let mut relabelled = pod();
    relabelled["metadata"]["labels"] = json!({"app": "other"});
    assert_eq!(verdicts(relabelled), [Err(Reason::PodNotCovered), Ok(()), Ok(())]);
}
