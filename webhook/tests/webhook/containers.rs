//! Policies of single containers: `policy.exeat.dev/<container>` instead of the pod's.

use std::collections::BTreeMap;

use exeat_webhook::message;
use k8s_openapi::api::core::v1::{Container, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{inject_pod, pod_with};

const URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// A pod of three containers with these annotations beside its policy `report-writer`.
fn three(annotations: &Value) -> Pod {
    pod_of(&["app", "helper", "mesh"], annotations)
}

fn pod_of(containers: &[&str], annotations: &Value) -> Pod {
    let containers: Vec<Value> = containers.iter().map(|name| json!({"name": name, "image": "i"})).collect();
    pod_with(&json!({"metadata": {"annotations": annotations}, "spec": {"containers": containers}}).to_string())
}

fn container<'a>(pod: &'a Pod, name: &str) -> &'a Container {
    let spec = pod.spec.as_ref().unwrap();
    spec.init_containers.iter().flatten().chain(&spec.containers).find(|c| c.name == name).unwrap()
}

fn env(pod: &Pod, of: &str) -> BTreeMap<String, String> {
    let env = container(pod, of).env.iter().flatten();
    env.map(|e| (e.name.clone(), e.value.clone().unwrap_or_default())).collect()
}

/// The memory volumes that a container mounts, and where.
fn mounts(pod: &Pod, of: &str) -> Vec<(String, String)> {
    let mounts = container(pod, of).volume_mounts.iter().flatten().filter(|m| m.name.starts_with("exeat-run"));
    mounts.map(|m| (m.name.clone(), m.mount_path.clone())).collect()
}

fn volumes(pod: &Pod) -> Vec<&str> {
    pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).map(|v| v.name.as_str()).collect()
}

fn own(name: &str, path: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), path.to_owned())]
}

#[test]
fn each_group_has_a_port_and_a_volume_of_its_own() {
    let pod =
        inject_pod(&three(&json!({"policy.exeat.dev/mesh": "pod-reader, report-cleaner", "exeat.dev/port": "15000"})))
            .unwrap();
    for name in ["app", "helper"] {
        assert_eq!(env(&pod, name)[URI], "http://127.0.0.1:15000/aws/credentials");
        assert!(!env(&pod, name).contains_key("KUBECONFIG"), "that is another container's");
        assert_eq!(mounts(&pod, name), own("exeat-run", "/var/run/exeat"));
    }
    assert_eq!(env(&pod, "mesh")[URI], "http://127.0.0.1:15001/aws/credentials");
    assert_eq!(env(&pod, "mesh")["KUBECONFIG"], "/var/run/exeat/kubernetes/kubeconfig");
    assert_eq!(mounts(&pod, "mesh"), own("exeat-run-1", "/var/run/exeat"));
    let sidecar = env(&pod, "exeat-sidecar");
    assert_eq!(sidecar["EXEAT_LISTEN_PORT"], "15000");
    assert_eq!(sidecar["EXEAT_POLICIES"], "aws:report-writer");
    assert_eq!(sidecar["EXEAT_GROUPS"], "kubernetes:pod-reader,aws:report-cleaner");
    let both = [own("exeat-run", "/var/run/exeat"), own("exeat-run-1", "/var/run/exeat-1")].concat();
    assert_eq!(mounts(&pod, "exeat-sidecar"), both);
    assert_eq!(inject_pod(&pod).unwrap(), pod, "twice is once");
}

#[test]
fn what_is_named_later_is_taken_in_and_what_goes_leaves_nothing() {
    let annotated = |annotations: Value| three(&annotations);
    let (none, one) = (annotated(json!({})), annotated(json!({"policy.exeat.dev/helper": "pod-reader"})));
    let with = |injected: &Pod, wanted: &Pod| {
        let mut pod = injected.clone();
        pod.metadata.annotations.clone_from(&wanted.metadata.annotations);
        inject_pod(&pod).unwrap()
    };
    let [of_none, of_one] = [&none, &one].map(|pod| inject_pod(pod).unwrap());
    let there = with(&of_none, &one);
    let back = with(&of_one, &none);
    for (again, fresh) in [(&there, &of_one), (&back, &of_none)] {
        assert_eq!(volumes(again), volumes(fresh));
        assert_eq!(container(again, "exeat-sidecar"), container(fresh, "exeat-sidecar"));
        for name in ["app", "helper", "mesh"] {
            assert_eq!(mounts(again, name), mounts(fresh, name), "{name}");
            let led = |pod| {
                ["KUBECONFIG", URI, "AWS_REGION", "AWS_DEFAULT_REGION"]
                    .map(|variable| env(pod, name).get(variable).cloned())
            };
            assert_eq!(led(again), led(fresh), "{name}");
        }
    }
    assert_eq!(volumes(&back), ["exeat-id", "exeat-run"]);
    let mut authors = serde_json::to_value(none).unwrap();
    authors["spec"]["containers"][1]["env"] = json!([{"name": "AWS_REGION", "value": "ap-south-1"}]);
    let authors = inject_pod(&serde_json::from_value(authors).unwrap()).unwrap();
    assert_eq!(env(&with(&authors, &one), "helper")["AWS_REGION"], "ap-south-1", "the author's own stays");
}

#[test]
fn a_mount_of_anothers_volume_is_taken_away_or_refused() {
    let annotations = json!({"policy.exeat.dev/helper": "report-cleaner"});
    let mount = |path: &str| json!([{"name": "exeat-run-1", "mountPath": path, "readOnly": true}]);
    let with = |path: &str| {
        let mut pod = serde_json::to_value(three(&annotations)).unwrap();
        pod["spec"]["containers"][0]["volumeMounts"] = mount(path);
        inject_pod(&serde_json::from_value(pod).unwrap())
    };
    assert_eq!(mounts(&with("/var/run/exeat").unwrap(), "app"), own("exeat-run", "/var/run/exeat"));
    let refused = message::all(&with("/x").unwrap_err());
    assert!(refused.contains("volume \"exeat-run-1\" is Exeat's"), "{refused}");
}

#[test]
fn only_the_containers_of_a_policy_are_searched_for_what_shadows_it() {
    let shadowed = |annotations: &Value| {
        let mut pod = serde_json::to_value(three(annotations)).unwrap();
        pod["spec"]["containers"][1]["env"] = json!([{"name": "AWS_PROFILE", "value": "mine"}]);
        inject_pod(&serde_json::from_value(pod).unwrap())
    };
    shadowed(&json!({"policy.exeat.dev/helper": "pod-reader"})).unwrap();
    let refused = message::all(&shadowed(&json!({"policy.exeat.dev/helper": "report-cleaner"})).unwrap_err());
    assert!(refused.contains("spec.containers[name=helper].env[name=AWS_PROFILE]"), "{refused}");
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    let many: Value = (0..8)
        .map(|i| (format!("policy.exeat.dev/c{i}"), json!("pod-reader")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for (annotations, parts) in [
        (
            json!({"policy.exeat.dev/helpr": "pod-reader"}),
            &["policy.exeat.dev/helpr", "no container", "policy.exeat.dev/helper"][..],
        ),
        (json!({"policy.exeat.dev/nobody": "pod-reader"}), &["policy.exeat.dev/nobody", "app, helper, mesh"]),
        (json!({"policy.exeat.dev/exeat-sidecar": "pod-reader"}), &["policy.exeat.dev/exeat-sidecar", "no container"]),
        (json!({"policy.exeat.dev/app": ""}), &["policy.exeat.dev/app", "empty"]),
        (json!({"policy.exeat.dev/app": "pod-reader,pod-reader"}), &["policy.exeat.dev/app", "twice"]),
        (json!({"policy.exeat.dev/app": "missing"}), &["PolicyNotFound", "policy.exeat.dev/app", "\"missing\""]),
        (
            json!({"policy.exeat.dev/app": "report-writer,report-cleaner"}),
            &["annotation policy.exeat.dev/app", "\"report-writer\" and \"report-cleaner\"", "kind aws"],
        ),
        (
            json!({"exeat.dev/policy": "report-writer,report-cleaner"}),
            &["annotation exeat.dev/policy", "kind aws", "policy.exeat.dev/<container>"],
        ),
        (
            json!({"policy.exeat.dev/app": "pod-reader", "exeat.dev/skip-containers": "app"}),
            &["policy.exeat.dev/app", "exeat.dev/skip-containers too"],
        ),
        (
            json!({"policy.exeat.dev/app": "pod-reader", "exeat.dev/skip-containers": "helper,mesh"}),
            &["annotation exeat.dev/policy", "no container is left that would use its policies"],
        ),
        (
            json!({"exeat.dev/policy": null, "policy.exeat.dev/app": "pod-reader"}),
            &["annotation exeat.dev/policy", "missing", "policy.exeat.dev/<container>"],
        ),
        (
            json!({"policy.exeat.dev/app": "pod-reader", "exeat.dev/allow": "s3:GetObject on arn:aws:s3:::reports/*"}),
            &["annotation exeat.dev/allow", "several policies"],
        ),
        (
            json!({"policy.exeat.dev/app": "pod-reader", "exeat.dev/port": "65535"}),
            &["annotation exeat.dev/port", "no 1 ports"],
        ),
        (many, &["8 containers have their own", "7 containers"]),
        (
            json!({"policy.exeat.dev/app": "object-reader", "exeat.dev/gcp-metadata-host": "true"}),
            &["annotation exeat.dev/gcp-metadata-host", "\"object-reader\" is a single container's"],
        ),
        (
            json!({"exeat.dev/policy": "object-reader", "policy.exeat.dev/app": "object-writer", "exeat.dev/gcp-metadata-host": "true"}),
            &["annotation exeat.dev/gcp-metadata-host", "\"object-reader\" and \"object-writer\"", "a pod for each"],
        ),
    ] {
        let told = message::all(&inject_pod(&three(&annotations)).expect_err(&annotations.to_string()));
        for part in parts {
            assert!(told.contains(part), "{annotations}: {part:?} is not in {told:?}");
        }
    }
}

#[test]
fn a_declared_port_of_a_group_is_refused() {
    let mut pod = serde_json::to_value(three(&json!({"policy.exeat.dev/helper": "pod-reader"}))).unwrap();
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 9912}]);
    let told = message::all(&inject_pod(&serde_json::from_value(pod).unwrap()).unwrap_err());
    assert!(told.contains("spec.containers[name=app].ports[containerPort=9912]"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever containers there are and whatever they name: twice is once, no volume has two readers of different groups, and each container is led to
    /// what it names and nothing else.
    #[test]
    fn containers_are_kept_apart(
        own in prop::collection::btree_map("c[0-4]", "(report-writer|report-cleaner)(,pod-reader)?|pod-reader(,secret-reader)?", 0..4),
        skip in prop::collection::btree_set("c[0-4]", 0..2),
    ) {
        let key = |name: &String| format!("policy.exeat.dev/{name}");
        let mut annotations: serde_json::Map<String, Value> = own.iter().map(|(name, list)| (key(name), json!(list))).collect();
        let skipped: Vec<String> = skip.iter().cloned().collect();
        annotations.insert("exeat.dev/skip-containers".to_owned(), json!(skipped.join(",")));
        let names = ["c0", "c1", "c2", "c3", "c4"];
        let pod = pod_of(&names, &annotations.into());
        let Ok(injected) = inject_pod(&pod) else { return Ok(()) };
        prop_assert_eq!(&inject_pod(&injected).unwrap(), &injected);
        let mut readers: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let mut ports: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for name in names {
            let (mounted, env) = (mounts(&injected, name), env(&injected, name));
            prop_assert_eq!(mounted.len(), usize::from(!skip.contains(name)), "{}", name);
            for (volume, _) in mounted {
                readers.entry(volume).or_default().push(name);
            }
            let list = if skip.contains(name) { "" } else { own.get(name).map_or("report-writer", String::as_str) };
            for (variable, policy) in [(URI, "report-"), ("KUBECONFIG", "pod-reader"), ("VAULT_ADDR", "secret-reader")] {
                prop_assert_eq!(env.contains_key(variable), list.contains(policy), "{} {}", name, variable);
            }
            if let Some(uri) = env.get(URI) {
                ports.entry(uri.clone()).or_default().push(name);
            }
        }
        for shared in readers.values().chain(ports.values()).filter(|readers| readers.len() > 1) {
            prop_assert!(shared.iter().all(|name| !own.contains_key(*name)), "{:?}", shared);
        }
    }
}
