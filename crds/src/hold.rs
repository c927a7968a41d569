//! Which sessions a hold keeps off. Pure.

use crate::CredentialHold;
use crate::v1alpha1::SessionRequest;

/// Whether a hold matches a session that asks in `namespace`: every field that it sets must.
pub fn matches(hold: &CredentialHold, namespace: &str, request: &SessionRequest) -> bool {
    let spec = &hold.spec;
    let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
    let workload = spec.workload.as_ref().is_none_or(|wanted| {
        request.agent.workload.as_ref().is_some_and(|w| w.kind == wanted.kind && w.name == wanted.name)
    });
    same(&spec.provider, &request.provider_ref.name)
        && same(&spec.namespace, namespace)
        && same(&spec.policy, &request.policy_ref.name)
        && same(&spec.service_account, &request.agent.service_account)
        && same(&spec.pod, &request.agent.pod.name)
        && workload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1alpha1::{Agent, CredentialHoldSpec, NameRef, ObjectRef, Workload, WorkloadName};

    fn request() -> SessionRequest {
        SessionRequest {
            policy_ref: ObjectRef { name: "reader".into(), uid: "u".into() },
            provider_ref: NameRef { name: "aws".into() },
            agent: Agent {
                service_account: "agent".into(),
                pod: ObjectRef { name: "pod-1".into(), uid: "p".into() },
                workload: Some(Workload { kind: "Deployment".into(), name: "app".into(), uid: "w".into() }),
            },
            ..SessionRequest::default()
        }
    }

    #[test]
    fn every_field_that_is_set_must_match() {
        let text = |s: &str| Some(s.to_owned());
        let base = CredentialHoldSpec { namespace: text("team"), reason: "r".into(), ..CredentialHoldSpec::default() };
        let workload = |kind: &str| Some(WorkloadName { kind: kind.into(), name: "app".into() });
        for (spec, holds) in [
            (base.clone(), true),
            (CredentialHoldSpec { namespace: text("other"), ..base.clone() }, false),
            (CredentialHoldSpec { namespace: None, provider: text("aws"), ..base.clone() }, true),
            (CredentialHoldSpec { provider: text("gcp"), ..base.clone() }, false),
            (CredentialHoldSpec { policy: text("reader"), pod: text("pod-1"), ..base.clone() }, true),
            (CredentialHoldSpec { policy: text("reader"), pod: text("pod-2"), ..base.clone() }, false),
            (CredentialHoldSpec { service_account: text("agent"), ..base.clone() }, true),
            (CredentialHoldSpec { service_account: text("nobody"), ..base.clone() }, false),
            (CredentialHoldSpec { workload: workload("Deployment"), ..base.clone() }, true),
            (CredentialHoldSpec { workload: workload("Job"), ..base.clone() }, false),
        ] {
            assert_eq!(matches(&CredentialHold::new("h", spec.clone()), "team", &request()), holds, "{spec:?}");
        }
    }
}
