//! A pod that works, written down.

use super::facts::{Counts, Facts, Look, Node};
use crate::policy::call::tests::{policy, provider};
use crate::sessions::filter::tests::session;
use exeat_crds::v1alpha1::Phase;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, names};
use exeat_webhook::{Found, Settings, SidecarSettings};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const IMAGE: &str = "exeat/sidecar:1";

pub(super) fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

pub(super) fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub(super) fn ready(status: &str, reason: &str, message: &str) -> Value {
    json!({"conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "probe": {"hash": "h", "ok": status == "True", "reason": reason, "message": message, "time": "2026-01-01T00:00:00Z", "identity": "arn:aws:iam::999999999999:role/issuer"}})
}

fn settings() -> Settings {
    Settings {
        sidecar: SidecarSettings {
            image: IMAGE.into(),
            accepted_images: Vec::new(),
            pull_policy: "IfNotPresent".into(),
            uid: 60911,
            log_level: "info".into(),
            requests: BTreeMap::new(),
            limits: BTreeMap::new(),
        },
        audience: names::DEFAULT_AUDIENCE.into(),
        issuer_url: "https://exeat-issuer.exeat-system.svc:443".into(),
    }
}

pub(super) fn pod() -> Pod {
    of(json!({
        "metadata": {"name": "agent", "namespace": "agents", "uid": "podu", "annotations": {"exeat.dev/policy": "report-writer"}},
        "spec": {"serviceAccountName": "report-agent", "nodeName": "n1", "containers": [{"name": "agent", "image": "agent:1"}]},
        "status": {"phase": "Running"}
    }))
}

fn facts_of(policy: AgentCredentialPolicy, provider: CredentialProvider) -> Facts {
    let mut facts = Facts {
        kind: "pod".into(),
        name: "agent".into(),
        namespace: "agents".into(),
        live: true,
        pod: pod(),
        account: Look::Found(of(json!({"metadata": {"name": "report-agent"}}))),
        settings: Some(settings()),
        sessions: Look::Found(vec![session("agent-1", "Active")]),
        events: Look::Found(Vec::new()),
        fallen: Look::Found(Vec::new()),
        network: Look::Found(Vec::new()),
        system: "exeat-system".into(),
        node: Look::Found(Node { name: "n1".into(), architecture: "amd64".into(), ahead: Some(SignedDuration::ZERO) }),
        sidecar: Look::Found(Counts { served: 3, ..Counts::default() }),
        ..Facts::default()
    };
    let context = exeat_webhook::InjectContext {
        namespace: "agents",
        found: &[Found { policy: Some(policy.clone()), provider: Some(provider.clone()) }],
        settings: facts.settings.as_ref().unwrap(),
        issuer_ca: "ca",
        requester: None,
    };
    facts.pod = exeat_webhook::inject(&pod(), &context).unwrap().pod;
    facts.pod.status = Some(of(json!({"phase": "Running", "initContainerStatuses": [
        {"name": "exeat-sidecar", "image": IMAGE, "imageID": "i", "ready": true, "restartCount": 0, "started": true, "state": {"running": {}}}],
        "containerStatuses": [{"name": "agent", "image": "agent:1", "imageID": "i", "ready": true, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:30:00Z"}}}]})));
    (facts.policy, facts.provider) = (Look::Found(policy), Look::Found(provider));
    facts
}

/// A pod that works.
pub(super) fn well() -> Facts {
    let (mut policy, mut provider) = (policy(), provider());
    policy.status = Some(of(ready("True", "Ready", "")));
    provider.status = Some(of(ready("True", "Ready", "")));
    facts_of(policy, provider)
}

pub(super) fn mutate<T: Clone>(look: &mut Look<T>, change: impl FnOnce(&mut T)) {
    if let Look::Found(found) = look {
        change(found);
    }
}

/// Its session is not decided yet.
pub(super) fn pending(facts: &mut Facts) {
    mutate(&mut facts.sessions, |sessions| {
        let status = sessions[0].status.as_mut().unwrap();
        (status.phase, status.reason) = (Some(Phase::Pending), Some("PolicyNotReady".into()));
    });
}
