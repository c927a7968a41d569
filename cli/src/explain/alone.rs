//! A pod with several policies is explained by each of them: what the pod would be with that one alone. Pure.

use exeat_crds::names;
use exeat_crds::pod_policies::{self, Group};
use exeat_crds::rules::Kind;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// An annotation for one kind of provider is judged with the policies of that kind, where the pod has one.
pub(super) fn leave_to_others(pod: &mut Pod, kind: Option<Kind>, all: &[Option<Kind>]) {
    for (annotation, of) in [(names::AWS_TOKEN, Kind::Aws), (names::GCP_METADATA_HOST, Kind::Gcp)] {
        if kind != Some(of) && all.contains(&Some(of)) {
            pod.annotations_mut().remove(annotation);
        }
    }
}

/// The pod as it would be with each of its policies alone: the containers that have it not are skipped.
pub(super) fn each_policy(pod: &Pod) -> Vec<Pod> {
    let (named, groups) = (pod_policies::of(pod.annotations()), pod_policies::groups(pod.annotations()));
    let pods = groups.first().is_some_and(|group| !group.policies.is_empty());
    if !pods || (named.len() < 2 && groups.len() < 2) {
        return vec![pod.clone()];
    }
    let alone = |name: String| {
        let mut pod = pod.clone();
        let without = without(&pod, &groups, &name);
        let annotations = pod.annotations_mut();
        annotations.retain(|key, _| !key.starts_with(names::CONTAINER_POLICY_PREFIX));
        annotations.insert(names::POLICY.to_owned(), name);
        if !without.is_empty() {
            let skipped = annotations.remove(names::SKIP_CONTAINERS).unwrap_or_default();
            annotations.insert(names::SKIP_CONTAINERS.to_owned(), format!("{skipped},{}", without.join(",")));
        }
        pod
    };
    named.into_iter().map(alone).collect()
}

/// The containers that have this policy not.
fn without(pod: &Pod, groups: &[Group], policy: &str) -> Vec<String> {
    let spec = pod.spec.as_ref();
    let inits = spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let all = inits.chain(spec.iter().flat_map(|spec| &spec.containers)).map(|container| &container.name);
    let has = |name: &String| {
        let own = groups.iter().find(|group| group.container.as_ref() == Some(name));
        own.or(groups.first()).is_some_and(|group| group.policies.iter().any(|known| known == policy))
    };
    all.filter(|name| *name != names::SIDECAR && !has(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_pod_is_explained_by_each_of_its_policies_alone() {
        let explained = |annotations: Value| -> Vec<Option<String>> {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap();
            each_policy(&pod).iter().map(|pod| pod.annotations().get(names::POLICY).cloned()).collect()
        };
        assert_eq!(explained(json!({"exeat.dev/policy": "a, b"})), [Some("a".to_owned()), Some("b".to_owned())]);
        assert_eq!(explained(json!({"exeat.dev/policy": "a"})), [Some("a".to_owned())]);
        assert_eq!(explained(json!({})), [None], "that it names none is explained, too");
        assert_eq!(explained(json!({"policy.exeat.dev/app": "a"})), [None], "nor does the webhook take it");
    }

    #[test]
    fn what_is_for_one_kind_of_provider_is_judged_with_a_policy_of_that_kind() {
        let (aws, vault) = (Some(Kind::Aws), Some(Kind::Vault));
        let stays = |kind, all: &[_]| {
            let mut pod = Pod::default();
            pod.annotations_mut().insert(names::AWS_TOKEN.to_owned(), "Env".to_owned());
            leave_to_others(&mut pod, kind, all);
            pod.annotations().contains_key(names::AWS_TOKEN)
        };
        assert!(stays(aws, &[aws, vault]) && !stays(vault, &[aws, vault]));
        assert!(
            stays(vault, &[vault, vault]) && stays(vault, &[vault, None]),
            "nobody else would say that it is wrong"
        );
    }

    #[test]
    fn a_policy_of_a_container_is_explained_by_that_container_alone() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"annotations": {
                "exeat.dev/policy": "a,b", "policy.exeat.dev/second": "c,b", "exeat.dev/skip-containers": "mesh",
            }},
            "spec": {
                "initContainers": [{"name": "exeat-sidecar"}, {"name": "mesh"}],
                "containers": [{"name": "first"}, {"name": "second"}],
            },
        }))
        .unwrap();
        let explained: Vec<(String, String)> = each_policy(&pod)
            .iter()
            .map(|pod| {
                let annotations = pod.annotations();
                assert!(!annotations.contains_key("policy.exeat.dev/second"));
                (annotations[names::POLICY].clone(), annotations[names::SKIP_CONTAINERS].clone())
            })
            .collect();
        let expected = [("a", "mesh,second"), ("b", "mesh"), ("c", "mesh,mesh,first")];
        assert_eq!(explained, expected.map(|(policy, skipped)| (policy.to_owned(), skipped.to_owned())));
    }
}
