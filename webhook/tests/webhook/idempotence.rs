//! Injecting again changes nothing, and what changed in between is taken into account.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{
    NAMESPACE, OWN_SIDECAR, inject_pod, inject_with, installation, named_policy, pod_with, policy, settings,
};

fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap()
}

fn merged(pod: &Pod, changes: &Value) -> Pod {
    let mut value = serde_json::to_value(pod).unwrap();
    json_patch::merge(&mut value, changes);
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_changed_service_account_is_judged_afresh() {
    let injected = inject_pod(&pod_with("{}")).unwrap();
    let changed = merged(&injected, &json!({"spec": {"serviceAccountName": "other"}}));
    let problems = inject_pod(&changed).unwrap_err();
    assert_eq!(problems[0].reason.as_str(), "PodNotCovered");
}

#[test]
fn a_changed_annotation_leaves_nothing_stale() {
    let injected = inject_pod(&pod_with("{}")).unwrap();
    for changes in [
        json!({"metadata": {"annotations": {"exeat.dev/port": "15911"}}}),
        json!({"metadata": {"annotations": {"exeat.dev/aws-token": "Env"}}}),
        json!({"metadata": {"annotations": {"exeat.dev/policy": "pod-reader"}}}),
    ] {
        let again = inject_pod(&merged(&injected, &changes)).unwrap();
        let fresh = inject_pod(&merged(&pod_with("{}"), &changes)).unwrap();
        let names = |pod: &Pod| -> Vec<(String, Option<String>)> {
            let env = spec(pod).containers[0].env.iter().flatten();
            // The region and the disabled metadata service do no harm to another kind of provider.
            let env = env.filter(|e| !e.name.ends_with("REGION") && e.name != "AWS_EC2_METADATA_DISABLED");
            let mut env: Vec<_> = env.map(|e| (e.name.clone(), e.value.clone())).collect();
            env.sort();
            env
        };
        assert_eq!(names(&again), names(&fresh), "{changes}");
        assert_eq!(spec(&again).init_containers, spec(&fresh).init_containers, "{changes}");
    }
}

#[test]
fn policies_that_are_named_later_are_taken_in_and_those_that_go_leave_nothing() {
    let one = pod_with("{}");
    let several = json!({"metadata": {"annotations": {"exeat.dev/policy": "report-writer,pod-reader,secret-reader"}}});
    let later = inject_pod(&merged(&inject_pod(&one).unwrap(), &several)).unwrap();
    let fresh = inject_pod(&merged(&one, &several)).unwrap();
    let names = |pod: &Pod| -> std::collections::BTreeSet<String> {
        spec(pod).containers[0].env.iter().flatten().map(|e| e.name.clone()).collect()
    };
    assert_eq!(names(&later), names(&fresh));
    for name in ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "KUBECONFIG", "VAULT_ADDR"] {
        assert!(names(&fresh).contains(name), "{name}");
    }
    assert_eq!(spec(&later).init_containers, spec(&fresh).init_containers);
    assert_eq!(inject_pod(&fresh).unwrap(), fresh, "twice is once");
    let back =
        inject_pod(&merged(&later, &json!({"metadata": {"annotations": {"exeat.dev/policy": "pod-reader"}}}))).unwrap();
    assert!(!names(&back).contains("VAULT_ADDR") && !names(&back).contains("AWS_CONTAINER_CREDENTIALS_FULL_URI"));
    let sidecar = &spec(&back).init_containers.as_ref().unwrap()[0];
    assert!(!sidecar.env.iter().flatten().any(|e| e.name == "EXEAT_POLICIES"), "one policy is served as ever");
}

#[test]
fn a_container_that_is_skipped_later_loses_what_it_was_given() {
    let two = pod_with("spec: {containers: [{name: app, image: a}, {name: helper, image: h}]}");
    let injected = inject_pod(&two).unwrap();
    let changed = merged(&injected, &json!({"metadata": {"annotations": {"exeat.dev/skip-containers": "helper"}}}));
    let again = inject_pod(&changed).unwrap();
    let helper = &spec(&again).containers[1];
    assert_eq!(helper.volume_mounts, None);
    assert!(!helper.env.iter().flatten().any(|e| e.name.starts_with("AWS_CONTAINER_")), "{:?}", helper.env);
    assert_eq!(spec(&again).containers[0], spec(&injected).containers[0]);
}

#[test]
fn what_other_plugins_added_stays_and_their_containers_are_injected() {
    let injected = inject_pod(&pod_with("{}")).unwrap();
    let mut value = serde_json::to_value(&injected).unwrap();
    let sidecar = &mut value["spec"]["initContainers"][0];
    sidecar["env"].as_array_mut().unwrap().push(json!({"name": "NODE", "value": "n"}));
    sidecar["env"].as_array_mut().unwrap().push(json!({"name": "EXEAT_ISSUER_URL", "value": "https://evil"}));
    sidecar["volumeMounts"].as_array_mut().unwrap().push(json!({"name": "ca", "mountPath": "/etc/ca"}));
    sidecar["command"] = json!(["/bin/sh"]);
    sidecar["lifecycle"] = json!({"postStart": {"exec": {"command": ["/bin/sh"]}}});
    value["spec"]["initContainers"].as_array_mut().unwrap().insert(0, json!({"name": "mesh", "image": "m"}));
    value["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late", "image": "l"}));
    let again = inject_pod(&serde_json::from_value(value).unwrap()).unwrap();
    let inits = spec(&again).init_containers.as_ref().unwrap();
    assert_eq!(inits.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["mesh", "exeat-sidecar"]);
    let (sidecar, original) = (&inits[1], &spec(&injected).init_containers.as_ref().unwrap()[0]);
    let (env, expected) = (sidecar.env.as_ref().unwrap(), original.env.as_ref().unwrap());
    assert_eq!(env[..expected.len()], expected[..]);
    assert_eq!(env[expected.len()..].iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["NODE"]);
    assert_eq!(sidecar.volume_mounts.as_ref().unwrap().last().unwrap().mount_path, "/etc/ca");
    assert_eq!((&sidecar.command, &sidecar.lifecycle), (&None, &None));
    assert!(spec(&again).containers[1].env.is_some());
}

#[test]
fn defaults_of_the_api_server_are_kept() {
    let injected = inject_pod(&pod_with("{}")).unwrap();
    let mut value = serde_json::to_value(&injected).unwrap();
    for volume in value["spec"]["volumes"].as_array_mut().unwrap() {
        if volume["name"] == "exeat-id" {
            volume["projected"]["defaultMode"] = json!(420);
        }
    }
    let defaulted: Pod = serde_json::from_value(value).unwrap();
    assert_eq!(inject_pod(&defaulted).unwrap(), defaulted);
}

#[test]
fn a_guaranteed_pod_stays_one_and_others_get_the_small_request() {
    let sidecar = |resources: &str| {
        let pod =
            inject_pod(&pod_with(&format!("spec: {{containers: [{{name: app, resources: {resources}}}]}}"))).unwrap();
        assert_eq!(inject_pod(&pod).unwrap(), pod);
        serde_json::to_value(&spec(&pod).init_containers.as_ref().unwrap()[0].resources).unwrap()
    };
    let limits = json!({"cpu": "200m", "memory": "64Mi"});
    for resources in
        ["{limits: {cpu: '1', memory: 1Gi}}", "{limits: {cpu: '1', memory: 1Gi}, requests: {cpu: '1', memory: 1Gi}}"]
    {
        assert_eq!(sidecar(resources), json!({"limits": limits, "requests": limits}), "{resources}");
    }
    for resources in ["{}", "{limits: {memory: 1Gi}}", "{limits: {cpu: '1', memory: 1Gi}, requests: {cpu: 500m}}"] {
        let small = json!({"cpu": "10m", "memory": "16Mi"});
        assert_eq!(sidecar(resources), json!({"limits": limits, "requests": small}), "{resources}");
    }
}

#[test]
fn an_image_by_digest_is_injected_and_no_other_is_genuine() {
    let mut settings = settings();
    settings.sidecar.image = format!("registry.example:5000/exeat/sidecar@sha256:{}", "3".repeat(64));
    let policy = policy("report-writer");
    let injected = inject_with(&pod_with("{}"), policy.as_ref(), &settings).unwrap();
    let sidecar = &spec(&injected).init_containers.as_ref().unwrap()[0];
    assert_eq!(sidecar.image.as_ref(), Some(&settings.sidecar.image));
    assert_eq!(inject_with(&injected, policy.as_ref(), &settings).unwrap(), injected);
    for other in [settings.sidecar.image.replace('3', "4"), "registry.example:5000/exeat/sidecar:1".to_owned()] {
        let mut value = serde_json::to_value(&injected).unwrap();
        value["spec"]["initContainers"][0]["image"] = json!(other);
        let forged: Pod = serde_json::from_value(value).unwrap();
        let problems = inject_with(&forged, policy.as_ref(), &settings).unwrap_err();
        assert!(problems[0].message.contains("initContainers[name=exeat-sidecar].image"), "{problems:?}");
    }
}

#[test]
fn a_sidecar_without_a_cpu_limit_gets_one_in_a_guaranteed_pod_alone() {
    let mut settings = settings();
    settings.sidecar.limits.remove("cpu");
    let sidecar = |resources: &str| {
        let pod = pod_with(&format!("spec: {{containers: [{{name: app, resources: {resources}}}]}}"));
        let pod = inject_with(&pod, policy("report-writer").as_ref(), &settings).unwrap();
        serde_json::to_value(&spec(&pod).init_containers.as_ref().unwrap()[0].resources).unwrap()
    };
    let both = json!({"cpu": "100m", "memory": "64Mi"});
    assert_eq!(sidecar("{limits: {cpu: '1', memory: 1Gi}}"), json!({"limits": both, "requests": both}));
    assert_eq!(sidecar("{}")["limits"], json!({"memory": "64Mi"}));
}

#[test]
fn an_image_that_a_mirror_rewrote_stays_where_it_is_accepted() {
    let mut settings = settings();
    let policy = policy("report-writer");
    let injected = inject_with(&pod_with("{}"), policy.as_ref(), &settings).unwrap();
    let mut mirrored = injected.clone();
    let image = "mirror.example/exeat-sidecar:1".to_owned();
    mirrored.spec.as_mut().unwrap().init_containers.as_mut().unwrap()[0].image = Some(image.clone());
    let refused = inject_with(&mirrored, policy.as_ref(), &settings).unwrap_err();
    assert!(refused[0].message.contains("exeat-sidecar].image"), "{refused:?}");
    settings.sidecar.accepted_images = vec![image];
    assert_eq!(inject_with(&mirrored, policy.as_ref(), &settings).unwrap(), mirrored);
}

#[test]
fn the_user_of_the_namespaces_sidecar_is_kept_from_others() {
    let pod = pod_with("spec: {securityContext: {runAsUser: 70000}}");
    let policy = policy("report-writer");
    inject_with(&pod, policy.as_ref(), &installation().of(NAMESPACE)).unwrap();
    let refused = inject_with(&pod, policy.as_ref(), &installation().of(OWN_SIDECAR)).unwrap_err();
    assert!(refused[0].message.contains("70000 is the user of the sidecar"), "{refused:?}");
    // Injected under other settings, as when they change between two calls: what was there is written over.
    let before = inject_with(&pod_with("{}"), policy.as_ref(), &installation().of(NAMESPACE)).unwrap();
    let settings = installation().of(OWN_SIDECAR);
    let after = inject_with(&before, policy.as_ref(), &settings).unwrap();
    assert_eq!(after, inject_with(&pod_with("{}"), policy.as_ref(), &settings).unwrap());
}

fn env() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("AWS_REGION"),
        Just("AWS_DEFAULT_REGION"),
        Just("NO_PROXY"),
        Just("no_proxy"),
        Just("AWS_EC2_METADATA_DISABLED"),
        Just("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        Just("APP"),
    ];
    let value = prop_oneof![
        Just(json!({"value": "a,localhost,,b"})),
        Just(json!({"value": "true"})),
        Just(json!({"value": "/var/run/exeat/token"})),
        Just(json!({"valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}})),
        Just(json!({})),
    ];
    (name, value).prop_map(|(name, mut value)| {
        value["name"] = json!(name);
        value
    })
}

fn container() -> impl Strategy<Value = Value> {
    let drop = prop_oneof![
        Just(json!(null)),
        Just(json!({"capabilities": {"drop": ["ALL"]}})),
        Just(json!({"capabilities": {"drop": ["CAP_NET_RAW", "CHOWN"]}})),
        Just(json!({"runAsUser": 1000})),
    ];
    let mounts = prop_oneof![Just(json!(null)), Just(json!([])), Just(json!([{"name": "data", "mountPath": "/data"}]))];
    let env = proptest::collection::vec(env(), 0..5);
    (env, drop, mounts, any::<bool>()).prop_map(|(env, security, mounts, sidecar)| {
        json!({
            "image": "i", "env": env, "securityContext": security, "volumeMounts": mounts,
            "restartPolicy": if sidecar { json!("Always") } else { json!(null) },
        })
    })
}

fn pods() -> impl Strategy<Value = Pod> {
    let policy = prop_oneof![Just("report-writer"), Just("pod-reader")];
    let skip = prop_oneof![Just("none-of-them"), Just("c1"), Just("i0,c1")];
    let token = prop_oneof![Just(None), Just(Some("Env")), Just(Some("File"))];
    let lists = (proptest::collection::vec(container(), 0..3), proptest::collection::vec(container(), 1..3));
    (policy, skip, token, 1024u16.., lists).prop_map(|(policy, skip, token, port, (mut init, mut containers))| {
        for (prefix, list) in [("i", &mut init), ("c", &mut containers)] {
            for (n, container) in list.iter_mut().enumerate() {
                container["name"] = json!(format!("{prefix}{n}"));
            }
        }
        let mut annotations =
            json!({"exeat.dev/policy": policy, "exeat.dev/skip-containers": skip, "exeat.dev/port": port.to_string()});
        if let (Some(token), "report-writer") = (token, policy) {
            annotations["exeat.dev/aws-token"] = json!(token);
        }
        let spec = json!({"serviceAccountName": "report-agent", "initContainers": init, "containers": containers});
        serde_json::from_value(json!({"metadata": {"annotations": annotations}, "spec": spec})).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn injecting_twice_is_injecting_once(pod in pods(), namespace in prop_oneof![Just(NAMESPACE), Just(OWN_SIDECAR)]) {
        let settings = installation().of(namespace);
        let inject = |pod: &Pod| inject_with(pod, named_policy(pod).as_ref(), &settings);
        match inject(&pod) {
            Ok(once) => prop_assert_eq!(inject(&once).unwrap(), once),
            // The generator writes foreign values too; then the pod is refused, and refused again.
            Err(problems) => prop_assert_eq!(inject(&pod).unwrap_err(), problems),
        }
    }

    #[test]
    fn all_or_nothing_in_each_container_and_the_sidecar_first(pod in pods()) {
        let Ok(injected) = inject_pod(&pod) else { return Ok(()) };
        let annotations = injected.metadata.annotations.clone().unwrap();
        let skip: Vec<&str> = annotations["exeat.dev/skip-containers"].split(',').collect();
        let wanted: &[&str] = match (annotations["exeat.dev/policy"].as_str(), annotations.get("exeat.dev/aws-token").map(String::as_str)) {
            ("pod-reader", _) => &["KUBECONFIG"],
            (_, Some("Env")) => &["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"],
            _ => &["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"],
        };
        let inits = spec(&injected).init_containers.as_ref().unwrap();
        prop_assert_eq!(inits[0].name.as_str(), "exeat-sidecar");
        for container in inits[1..].iter().chain(&spec(&injected).containers) {
            let names: Vec<&str> = container.env.iter().flatten().map(|e| e.name.as_str()).collect();
            let has: Vec<bool> = wanted.iter().map(|name| names.contains(name)).collect();
            let mounted = container.volume_mounts.iter().flatten().filter(|m| m.name.starts_with("exeat-")).count();
            let skipped = skip.contains(&container.name.as_str());
            // What a skipped container says itself is its own affair.
            let right = if skipped { !has[0] } else { has.iter().all(|has| *has) };
            prop_assert!(right, "{} {:?}", container.name, names);
            prop_assert_eq!(mounted, usize::from(!skipped));
            let dropped = container.security_context.as_ref().unwrap().capabilities.as_ref().unwrap().drop.clone().unwrap();
            prop_assert!(dropped.iter().any(|c| c == "ALL" || c.ends_with("NET_RAW")));
        }
    }
}
