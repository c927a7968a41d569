//! Which sessions are meant.

use super::{ListArgs, phase};
use exeat_crds::CredentialSession;
use exeat_crds::v1alpha1::Phase;

/// What a session must be; what is not set is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Name of the session.
    pub name: Option<String>,
    /// Name of its pod.
    pub pod: Option<String>,
    /// Name of its policy.
    pub policy: Option<String>,
    /// Name of its provider.
    pub provider: Option<String>,
    /// Kinds and names of what made its pod: one of them.
    pub workloads: Option<Vec<(String, String)>>,
    /// Its phase: one of them; empty for all.
    pub phases: Vec<Phase>,
    /// Whether it must not have ended yet.
    pub open: bool,
}

/// The phases that end a session.
const ENDS: [Phase; 6] =
    [Phase::Completed, Phase::Failed, Phase::Expired, Phase::Revoked, Phase::BudgetExceeded, Phase::Denied];

impl Filter {
    /// What `sessions` was told.
    pub fn of(args: &ListArgs) -> Self {
        Self {
            pod: args.pod.clone(),
            policy: args.policy.clone(),
            provider: args.provider.clone(),
            phases: args.phases.iter().map(|phase| (*phase).into()).collect(),
            ..Self::default()
        }
    }

    /// Whether a session is meant.
    pub fn matches(&self, session: &CredentialSession) -> bool {
        let request = &session.spec.request;
        let is = |wanted: &Option<String>, actual: &str| wanted.as_deref().is_none_or(|wanted| wanted == actual);
        is(&self.name, session.metadata.name.as_deref().unwrap_or_default())
            && is(&self.pod, &request.agent.pod.name)
            && is(&self.policy, &request.policy_ref.name)
            && is(&self.provider, &request.provider_ref.name)
            && self.workloads.as_ref().is_none_or(|wanted| {
                request.agent.workload.as_ref().is_some_and(|own| {
                    wanted.iter().any(|(kind, name)| own.kind.eq_ignore_ascii_case(kind) && own.name == *name)
                })
            })
            && (self.phases.is_empty() || self.phases.contains(&phase(session)))
            && !(self.open && phase(session).is_terminal())
    }

    /// What the API server can sort out by itself.
    pub fn field_selector(&self) -> Option<String> {
        let fields = [
            ("metadata.name", &self.name),
            ("spec.request.policyRef.name", &self.policy),
            ("spec.request.providerRef.name", &self.provider),
        ];
        let mut wanted: Vec<String> =
            fields.iter().filter_map(|(field, value)| Some(format!("{field}={}", value.as_ref()?))).collect();
        if let [phase] = self.phases[..]
            && phase != Phase::Pending
        {
            wanted.push(format!("status.phase={}", phase.as_str()));
        }
        if self.open {
            wanted.extend(ENDS.iter().map(|phase| format!("status.phase!={}", phase.as_str())));
        }
        (!wanted.is_empty()).then(|| wanted.join(","))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sessions::PhaseArg;
    use clap::ValueEnum;
    use serde_json::json;

    pub(crate) fn session(name: &str, phase: &str) -> CredentialSession {
        serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession",
            "metadata": {"name": name, "namespace": "agents", "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"request": {
                "policyRef": {"name": "reader", "uid": "pu"}, "providerRef": {"name": "aws-prod"}, "authorityHash": "h", "number": 1,
                "agent": {"serviceAccount": "sa", "pod": {"name": format!("{name}-pod"), "uid": "podu"},
                    "workload": {"kind": "ReplicaSet", "name": "fleet-7d", "uid": "w"}},
                "justification": "nightly"
            }},
            "status": {"phase": phase, "reason": phase, "message": "until then", "startedAt": "2026-01-01T00:00:02Z", "expiresAt": "2026-01-01T08:00:00Z",
                "grant": {"digest": "d1", "principal": "arn:aws:iam::1:role/r", "allow": [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::r/*"]}], "deny": ["s3:Put*"]},
                "enforcement": "Provider", "exceptions": ["presigned URLs can outlive the session"],
                "revocation": {"mode": "ExpiryOnly", "effectiveBy": "2026-01-01T00:30:00Z"},
                "conditions": [{"type": "Decided", "status": "True", "reason": "Active", "message": "", "lastTransitionTime": "2026-01-01T00:00:02Z"}]}
        }))
        .unwrap()
    }

    #[test]
    fn every_word_narrows() {
        let one = session("a", "Active");
        assert!(Filter::default().matches(&one));
        let cases = [
            (Filter { pod: Some("a-pod".into()), ..Filter::default() }, true),
            (Filter { pod: Some("b-pod".into()), ..Filter::default() }, false),
            (Filter { policy: Some("writer".into()), ..Filter::default() }, false),
            (Filter { provider: Some("aws-prod".into()), name: Some("a".into()), ..Filter::default() }, true),
            (Filter { phases: vec![Phase::Pending, Phase::Active], ..Filter::default() }, true),
            (Filter { phases: vec![Phase::Revoked], ..Filter::default() }, false),
            (Filter { workloads: Some(vec![("replicaset".into(), "fleet-7d".into())]), ..Filter::default() }, true),
            (Filter { workloads: Some(Vec::new()), ..Filter::default() }, false),
        ];
        for (filter, meant) in cases {
            assert_eq!(filter.matches(&one), meant, "{filter:?}");
        }
        let filter = Filter { policy: Some("p".into()), phases: vec![Phase::Active], ..Filter::default() };
        assert_eq!(filter.field_selector().unwrap(), "spec.request.policyRef.name=p,status.phase=Active");
        let open = Filter { open: true, ..Filter::default() };
        let selector = open.field_selector().unwrap();
        for phase in PhaseArg::value_variants().iter().map(|phase| Phase::from(*phase)) {
            let left_out = selector.split(',').any(|term| term == format!("status.phase!={}", phase.as_str()));
            let meant = open.matches(&session("a", phase.as_str()));
            assert_eq!((left_out, meant), (phase.is_terminal(), !phase.is_terminal()), "{phase:?}");
        }
        // One that nobody has looked at has no phase that a selector could name.
        assert_eq!(Filter { phases: vec![Phase::Pending], ..Filter::default() }.field_selector(), None);
    }
}
