//! Which policies a pod names: by `exeat.dev/policy` for its containers, by `policy.exeat.dev/<container>` for a single one instead. A container
//! has one, or several of different kinds of providers, separated by commas. Pure.

use crate::names;
use crate::v1alpha1::SessionRequest;
use std::collections::BTreeMap;

/// Most policies that one pod may name, and most groups of containers.
pub const MAX_POLICIES: usize = 8;

/// Containers with the same policies, which share a listener of the sidecar and a secret. Its place in [`groups`] is its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The container whose own they are; of the first group none: it is every container that has none of its own.
    pub container: Option<String>,
    /// The policies, in the order in which they are written, each once.
    pub policies: Vec<String>,
}

impl Group {
    /// The annotation that names these policies.
    pub fn annotation(&self) -> String {
        match &self.container {
            Some(container) => format!("{}{container}", names::CONTAINER_POLICY_PREFIX),
            None => names::POLICY.to_owned(),
        }
    }
}

/// The groups of a pod's containers: first the pod's, then each container that has policies of its own, by name. They follow from the annotations
/// alone, whatever containers others add.
pub fn groups(annotations: &BTreeMap<String, String>) -> Vec<Group> {
    let own = annotations.iter().filter_map(|(key, written)| {
        let container = key.strip_prefix(names::CONTAINER_POLICY_PREFIX)?;
        Some(Group { container: Some(container.to_owned()), policies: read(written) })
    });
    let written = annotations.get(names::POLICY).map(String::as_str).unwrap_or_default();
    [Group { container: None, policies: read(written) }].into_iter().chain(own).collect()
}

fn read(written: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in written.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

/// The policies of all these groups, in their order, each once.
pub fn union(groups: &[Group]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in groups.iter().flat_map(|group| &group.policies) {
        if !found.contains(name) {
            found.push(name.clone());
        }
    }
    found
}

/// All policies that a pod's annotations name, each once: those of the pod in its order, then those of single containers. What the webhook has
/// refused is cut off here.
pub fn of(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = union(&groups(annotations));
    found.truncate(MAX_POLICIES);
    found
}

/// Whether a pod's annotations name this policy.
pub fn names(annotations: &BTreeMap<String, String>, policy: &str) -> bool {
    of(annotations).iter().any(|name| name == policy)
}

/// The first of several: what is one for a pod stands on the first session of this policy. None where the pod names one.
pub fn primary(annotations: &BTreeMap<String, String>) -> Option<String> {
    let named = of(annotations);
    (named.len() > 1).then(|| named.into_iter().next()).flatten()
}

/// Whether a session is the one on which what is one for its pod stands: the first of its policy, and of the pod's first policy.
pub fn is_anchor(request: &SessionRequest) -> bool {
    request.number == 1 && *anchor_policy(request) == request.policy_ref.name
}

/// The policy whose first session that is.
pub fn anchor_policy(request: &SessionRequest) -> &String {
    request.primary.as_ref().unwrap_or(&request.policy_ref.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1alpha1::ObjectRef;

    #[test]
    fn a_pod_has_one_anchor_whatever_policies_it_names() {
        let annotations: BTreeMap<String, String> = [(names::POLICY.to_owned(), "b,a".to_owned())].into();
        let anchors = of(&annotations).into_iter().flat_map(|name| (1..4).map(move |number| (name.clone(), number)));
        let anchors = anchors.filter(|(name, number)| {
            let policy_ref = ObjectRef { name: name.clone(), uid: "u".into() };
            let request = SessionRequest {
                policy_ref,
                number: *number,
                primary: primary(&annotations),
                ..SessionRequest::default()
            };
            assert_eq!(anchor_policy(&request), "b");
            is_anchor(&request)
        });
        assert_eq!(anchors.collect::<Vec<_>>(), [("b".to_owned(), 1)]);
        assert_eq!(
            primary(&[(names::POLICY.to_owned(), "b".to_owned())].into()),
            None,
            "as it was before there were several"
        );
    }

    fn of_pod(written: &str) -> Vec<String> {
        of(&[(names::POLICY.to_owned(), written.to_owned())].into())
    }

    #[test]
    fn each_name_counts_once_and_in_its_order() {
        assert_eq!(of_pod("reader"), ["reader"]);
        assert_eq!(of_pod(" b , a,b,, "), ["b", "a"]);
        assert!(of_pod("").is_empty() && of(&BTreeMap::new()).is_empty());
        let many: Vec<String> = (0..20).map(|i| format!("p{i}")).collect();
        assert_eq!(of_pod(&many.join(",")).len(), MAX_POLICIES);
    }

    #[test]
    fn a_container_with_policies_of_its_own_is_a_group_of_its_own() {
        let written = [
            (names::POLICY, "writer,pods"),
            ("policy.exeat.dev/second", "cleaner,pods"),
            ("policy.exeat.dev/first", "cleaner"),
            ("exeat.dev/duration", "1h"),
            ("other/policy.exeat.dev", "x"),
        ];
        let annotations = written.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let read: Vec<_> = groups(&annotations).into_iter().map(|g| (g.annotation(), g.policies.join(" "))).collect();
        let expected = [
            (names::POLICY, "writer pods"),
            ("policy.exeat.dev/first", "cleaner"),
            ("policy.exeat.dev/second", "cleaner pods"),
        ];
        assert_eq!(read, expected.map(|(key, policies)| (key.to_owned(), policies.to_owned())));
        assert_eq!(
            of(&annotations),
            ["writer", "pods", "cleaner"],
            "the pod's own first: what is one for it stays with them"
        );
        assert_eq!(primary(&annotations).as_deref(), Some("writer"));
        assert!(names(&annotations, "cleaner"));
    }

    proptest::proptest! {
        #[test]
        fn every_policy_of_a_group_is_one_of_the_pods_and_no_other(
            lists in proptest::collection::btree_map("[a-c]", "[a-d](,[a-d]){0,3}", 0..3),
            own in "[a-d](,[a-d]){0,3}",
        ) {
            let key = |container: &String| format!("{}{container}", names::CONTAINER_POLICY_PREFIX);
            let mut annotations: BTreeMap<String, String> = lists.iter().map(|(c, list)| (key(c), list.clone())).collect();
            annotations.insert(names::POLICY.to_owned(), own);
            let (groups, all) = (groups(&annotations), of(&annotations));
            proptest::prop_assert_eq!(groups.len(), lists.len() + 1);
            for name in ["a", "b", "c", "d"] {
                let somewhere = groups.iter().any(|group| group.policies.iter().any(|policy| policy == name));
                proptest::prop_assert_eq!(all.iter().filter(|policy| *policy == name).count(), usize::from(somewhere));
            }
        }
    }

    #[test]
    fn a_name_is_a_whole_name() {
        let annotations = [(names::POLICY.to_owned(), "reader,writer".to_owned())].into();
        assert!(names(&annotations, "writer") && !names(&annotations, "read") && !names(&annotations, "reader,writer"));
    }
}
