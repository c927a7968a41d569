//! A pod with several policies is explained by each of them: what the pod would be with that one alone. Pure.

use exeat_crds::names;
use exeat_crds::pod_policies::{self, Group};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// Whether the pod has more than one policy, or containers with their own.
pub(super) fn has_several(pod: &Pod) -> bool {
    let (named, groups) = (pod_policies::of(pod.annotations()), pod_policies::groups(pod.annotations()));
    let pods = groups.first().is_some_and(|group| !group.policies.is_empty());
    pods && (named.len() > 1 || groups.len() > 1)
}

/// The pod as it would be with each of its policies alone: the containers that have it not are skipped.
pub(super) fn each_policy(pod: &Pod) -> Vec<Pod> {
    if !has_several(pod) {
        return vec![pod.clone()];
    }
    let (named, groups) = (pod_policies::of(pod.annotations()), pod_policies::groups(pod.annotations()));
    let several = named.len() > 1;
    let alone = |name: String| {
        let mut pod = pod.clone();
        let without = without(&pod, &groups, &name);
        let annotations = pod.annotations_mut();
        annotations.retain(|key, _| !key.starts_with(names::CONTAINER_POLICY_PREFIX));
        annotations.insert(names::POLICY.to_owned(), name);
        if several {
            // It can't be told which of them it narrows: that is said of the pod.
            annotations.remove(names::ALLOW);
        }
        if !without.is_empty() {
            let skipped = annotations.remove(names::SKIP_CONTAINERS).unwrap_or_default();
            annotations.insert(names::SKIP_CONTAINERS.to_owned(), format!("{skipped},{}", without.join(",")));
        }
        pod
    };
    named.into_iter().map(alone).collect()
}

/// The annotations of the pod that name this policy.
pub(super) fn named_by(pod: &Pod, policy: &str) -> Vec<String> {
    let groups = pod_policies::groups(pod.annotations());
    let naming = groups.iter().filter(|group| group.policies.iter().any(|named| named == policy.trim()));
    naming.map(Group::annotation).collect()
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
    use crate::explain::facts::Facts;
    use crate::explain::fixtures::{self, now, of, well};
    use crate::explain::gate::{Gate, Verdict};
    use crate::explain::{config, judge};
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
        let by = |policy: &str| named_by(&pod, policy).join(", ");
        assert_eq!(
            ["a", "b", "c"].map(by),
            ["exeat.dev/policy", "exeat.dev/policy, policy.exeat.dev/second", "policy.exeat.dev/second"]
        );
        let named_by = named_by(&pod, "c");
        let gate = config::annotation(&Facts { pod: each_policy(&pod)[2].clone(), named_by, ..Facts::default() });
        assert_eq!(gate.message, "policy.exeat.dev/second: c");
        let expected = [("a", "mesh,second"), ("b", "mesh"), ("c", "mesh,mesh,first")];
        assert_eq!(explained, expected.map(|(policy, skipped)| (policy.to_owned(), skipped.to_owned())));
    }

    /// What is said of a pod with containers `agent` and `helper`, and what by each of its policies, all of one AWS provider.
    fn judged(annotations: Value) -> (Vec<Gate>, Vec<Gate>) {
        let mut pod = fixtures::pod();
        let spec = pod.spec.as_mut().unwrap();
        spec.containers.push(of(json!({"name": "helper", "image": "helper:1"})));
        pod.metadata.annotations = of(annotations);
        assert!(has_several(&pod));
        let each = each_policy(&pod).into_iter().map(|pod| Facts { pod, alone: true, live: false, ..well() });
        let each: Vec<Facts> = each.collect();
        let alone = each.iter().flat_map(|facts| judge::judge(facts, now()).unwrap()).collect();
        (config::pod(&pod, &each), alone)
    }

    /// What is closed of the pod itself; by its policies nothing is.
    fn refused(annotations: Value) -> Vec<String> {
        let (whole, alone) = judged(annotations);
        let closed = |gates: &[Gate]| -> Vec<String> {
            let closed = gates.iter().filter(|gate| gate.verdict == Verdict::Fail);
            closed.map(|gate| format!("{}; {}", gate.message, gate.fix.as_deref().unwrap_or_default())).collect()
        };
        assert_eq!(closed(&alone), [""; 0]);
        assert!(alone.iter().all(|gate| gate.gate != "pod") && whole.iter().all(|gate| gate.gate == "pod"));
        closed(&whole)
    }

    #[test]
    fn what_is_refused_of_a_pod_with_several_policies_is_told_once_and_by_the_words_of_the_webhook() {
        let helper = |own: &str| json!({"exeat.dev/policy": "report-writer", "policy.exeat.dev/helper": own});
        assert_eq!(refused(helper("cleaner")), [""; 0]);
        for slip in ["cleaner", "report-writer"] {
            let told = refused(json!({"exeat.dev/policy": "report-writer", "policy.exeat.dev/helpr": slip}));
            let [told] = &told[..] else { panic!("{told:?}") };
            for part in ["annotation policy.exeat.dev/helpr", "no container \"helpr\"", "policy.exeat.dev/helper?"] {
                assert!(told.contains(part), "{part} is not in {told}");
            }
        }
        let mut narrowed = helper("cleaner");
        narrowed["exeat.dev/allow"] = json!("s3:PutObject on arn:aws:s3:::elsewhere/*");
        let told = refused(narrowed);
        assert!(told.len() == 1 && told[0].contains("exeat.dev/allow: the pod names several policies"), "{told:?}");
        let told = refused(json!({"exeat.dev/policy": "report-writer,cleaner"}));
        assert!(told.len() == 1 && told[0].contains("are both of a provider of kind aws"), "{told:?}");
        let mut all = helper("cleaner");
        all["policy.exeat.dev/agent"] = json!("cleaner");
        let told = refused(all);
        assert!(told.len() == 1 && told[0].contains("no container is left that would use its policies"), "{told:?}");
    }

    #[test]
    fn a_narrowing_of_the_only_policy_is_judged_with_it() {
        let (whole, alone) = judged(json!({
            "exeat.dev/policy": "report-writer", "policy.exeat.dev/helper": "report-writer",
            "exeat.dev/allow": "s3:PutObject on arn:aws:s3:::elsewhere/*",
        }));
        assert!(whole.iter().all(|gate| gate.verdict == Verdict::Ok), "{whole:?}");
        assert!(alone.iter().any(|gate| gate.gate == "narrowing" && gate.verdict == Verdict::Fail), "{alone:?}");
    }
}
