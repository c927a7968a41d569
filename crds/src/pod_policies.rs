//! Which policies a pod names: one, or several of different kinds of providers, separated by commas. Pure.

use crate::names;
use crate::v1alpha1::SessionRequest;
use std::collections::BTreeMap;

/// Most policies that one pod may name: there are fewer kinds of providers.
pub const MAX_POLICIES: usize = 8;

/// The policies that a pod's annotation names, in its order, each once. What the webhook has refused is cut off here.
pub fn of(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let written = annotations.get(names::POLICY).map(String::as_str).unwrap_or_default();
    for name in written.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if found.len() < MAX_POLICIES && !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

/// Whether a pod's annotation names this policy.
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

    fn read(written: &str) -> Vec<String> {
        of(&[(names::POLICY.to_owned(), written.to_owned())].into())
    }

    #[test]
    fn each_name_counts_once_and_in_its_order() {
        assert_eq!(read("reader"), ["reader"]);
        assert_eq!(read(" b , a,b,, "), ["b", "a"]);
        assert!(read("").is_empty() && of(&BTreeMap::new()).is_empty());
        let many: Vec<String> = (0..20).map(|i| format!("p{i}")).collect();
        assert_eq!(read(&many.join(",")).len(), MAX_POLICIES);
    }

    #[test]
    fn a_name_is_a_whole_name() {
        let annotations = [(names::POLICY.to_owned(), "reader,writer".to_owned())].into();
        assert!(names(&annotations, "writer") && !names(&annotations, "read") && !names(&annotations, "reader,writer"));
    }
}
