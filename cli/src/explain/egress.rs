//! Whether network policies let the sidecar reach the issuer. Pure, and only as sure as the words of the policies.

use super::facts::{Facts, Look};
use super::gate::Gate;
use exeat_crds::authority::selects;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use std::collections::BTreeMap;

const GATE: &str = "egress";
/// Port of the issuer's pods, that of its Service, and its name.
const ISSUER: (i32, i32, &str) = (8443, 443, "https");
const DNS: (i32, i32, &str) = (53, 53, "dns");

/// How sure it is that something may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    No,
    /// A rule by addresses: it can't be told from here whether the issuer's are among them.
    Perhaps,
    Yes,
}

/// The gate.
pub(super) fn gate(facts: &Facts) -> Gate {
    let reached =
        facts.session().and_then(|s| s.status.as_ref()?.issuance.as_ref()).is_some_and(|i| i.credential_id.is_some());
    if reached {
        return Gate::ok(GATE, "the sidecar has reached the issuer");
    }
    let policies = match &facts.network {
        Look::Found(policies) => policies,
        Look::Unreadable(why) => return Gate::unknown(GATE, why),
        _ => return Gate::unknown(GATE, "network policies were not read"),
    };
    let labels = facts.pod.metadata.labels.clone().unwrap_or_default();
    let ruling: Vec<&NetworkPolicy> = policies.iter().filter(|policy| rules_egress(policy, &labels)).collect();
    if ruling.is_empty() {
        return Gate::ok(GATE, "no network policy restricts what the pod may reach");
    }
    let names: Vec<String> = ruling.iter().map(|policy| policy.name_any()).collect();
    let names = names.join(", ");
    let issuer = best(&ruling, ISSUER, |peer| to_issuer(peer, &facts.system));
    let dns = best(&ruling, DNS, to_dns);
    let allow = format!(
        "add a NetworkPolicy in namespace {} that lets these pods reach namespace {} (namespaceSelector kubernetes.io/metadata.name) on TCP 8443",
        facts.namespace, facts.system
    );
    match (issuer, dns) {
        (Reach::No, _) => Gate::fail(
            GATE,
            "EgressDenied",
            format!("{names} restricts egress, and no rule lets the sidecar reach the issuer"),
            allow,
        ),
        (_, Reach::No) => Gate::fail(
            GATE,
            "EgressDenied",
            format!("{names} restricts egress, and no rule lets the sidecar look up names"),
            format!("add a rule for UDP and TCP 53 to kube-dns to a NetworkPolicy in namespace {}", facts.namespace),
        ),
        (Reach::Yes, Reach::Yes) => Gate::ok(GATE, format!("{names} lets the sidecar reach the issuer and DNS")),
        _ => Gate::warn(
            GATE,
            "",
            format!(
                "{names} restricts egress by addresses: whether the issuer's are among them can't be told from here"
            ),
            allow,
        ),
    }
}

fn rules_egress(policy: &NetworkPolicy, labels: &BTreeMap<String, String>) -> bool {
    let Some(spec) = &policy.spec else { return false };
    let types = spec.policy_types.as_deref().unwrap_or_default();
    // Without types a policy restricts egress only where it has egress rules.
    let egress = if types.is_empty() { spec.egress.is_some() } else { types.iter().any(|t| t == "Egress") };
    egress && spec.pod_selector.as_ref().is_none_or(|selector| selects(selector, labels))
}

fn best(policies: &[&NetworkPolicy], port: (i32, i32, &str), peer: impl Fn(&NetworkPolicyPeer) -> Reach) -> Reach {
    let rules = policies.iter().filter_map(|policy| policy.spec.as_ref()).flat_map(|spec| spec.egress.iter().flatten());
    rules.filter(|rule| opens(rule, port)).map(|rule| to(rule, &peer)).max().unwrap_or(Reach::No)
}

fn opens(rule: &NetworkPolicyEgressRule, (pod, service, name): (i32, i32, &str)) -> bool {
    let Some(ports) = rule.ports.as_deref().filter(|ports| !ports.is_empty()) else { return true };
    ports.iter().any(|NetworkPolicyPort { port, end_port, .. }| match port {
        None => true,
        Some(IntOrString::String(text)) => text == name,
        Some(IntOrString::Int(from)) => {
            let until = end_port.unwrap_or(*from);
            [pod, service].iter().any(|port| (*from..=until).contains(port))
        }
    })
}

fn to(rule: &NetworkPolicyEgressRule, peer: &impl Fn(&NetworkPolicyPeer) -> Reach) -> Reach {
    match rule.to.as_deref() {
        None | Some([]) => Reach::Yes,
        Some(peers) => peers.iter().map(peer).max().unwrap_or(Reach::No),
    }
}

fn to_issuer(peer: &NetworkPolicyPeer, system: &str) -> Reach {
    if peer.ip_block.is_some() {
        return Reach::Perhaps;
    }
    let Some(namespaces) = &peer.namespace_selector else { return Reach::No };
    let name = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), system.to_owned())]);
    let issuer = [("app.kubernetes.io/name", "exeat"), ("app.kubernetes.io/component", "issuer")];
    let issuer: BTreeMap<String, String> = issuer.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    if peer.pod_selector.as_ref().is_some_and(|pods| !selects(pods, &issuer)) {
        return Reach::No;
    }
    // Other labels of the namespace are not known here.
    let by_name = namespaces.match_labels.iter().flatten().all(|(key, _)| key == "kubernetes.io/metadata.name")
        && namespaces.match_expressions.iter().flatten().all(|e| e.key == "kubernetes.io/metadata.name");
    match (by_name, selects(namespaces, &name)) {
        (true, true) => Reach::Yes,
        (true, false) => Reach::No,
        (false, _) => Reach::Perhaps,
    }
}

/// Where names are looked up differs between clusters: any peer may be it.
fn to_dns(_: &NetworkPolicyPeer) -> Reach {
    Reach::Yes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Verdict;
    use serde_json::{Value, json};

    fn judged(egress: Value) -> Gate {
        let policy = json!({"metadata": {"name": "deny"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}});
        let network = Look::Found(vec![serde_json::from_value(policy).unwrap()]);
        gate(&Facts { network, system: "exeat-system".into(), namespace: "agents".into(), ..Facts::default() })
    }

    #[test]
    fn the_words_of_the_policies_decide() {
        let dns = json!({"ports": [{"port": 53, "protocol": "UDP"}]});
        let to = |namespace: &str, port: i32| json!({"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}], "ports": [{"port": port}]});
        for (egress, verdict) in [
            (json!([]), Verdict::Fail),
            (json!([{}]), Verdict::Ok),
            (json!([to("exeat-system", 8443)]), Verdict::Fail),
            (json!([to("exeat-system", 8443), dns]), Verdict::Ok),
            (json!([to("elsewhere", 8443), dns]), Verdict::Fail),
            (json!([to("exeat-system", 9090), dns]), Verdict::Fail),
            (json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}, dns]), Verdict::Warn),
            (json!([{"to": [{"podSelector": {}}]}, dns]), Verdict::Fail),
        ] {
            assert_eq!(judged(egress.clone()).verdict, verdict, "{egress}");
        }
        assert!(judged(json!([])).fix.unwrap().contains("TCP 8443"));
    }
}
