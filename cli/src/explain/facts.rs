//! What is known when a pod is judged. [`super::gather`] reads it from a cluster; tests write it down.

use super::maker::Making;
use crate::doctor::access::rbac::Subject;
use exeat_crds::v1alpha1::Phase;
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialHold, CredentialProvider, CredentialSession};
use exeat_webhook::Settings;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;

/// One thing that was looked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Look<T> {
    /// It is there.
    Found(T),
    /// It is not there.
    Missing,
    /// It may not be read, or not now.
    Unreadable(String),
    /// There was no reason to look.
    #[default]
    Skipped,
}

impl<T> Look<T> {
    /// What was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            _ => None,
        }
    }
}

/// All that is known.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Kind of what is explained, as people write it.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The pod, or what the workload's template would make.
    pub pod: Pod,
    /// Whether it is the pod with one policy out of several: what is refused of the pod is then told once, by all of them.
    pub alone: bool,
    /// Whether the pod exists.
    pub live: bool,
    /// The workload's newest pod, where its template is judged all the same: the next pod is refused.
    pub before: Option<String>,
    /// What the workload says of making pods.
    pub making: Look<Making>,
    /// The annotations that name the policy, where not the pod's alone does.
    pub named_by: Vec<String>,
    /// The policy that it names.
    pub policy: Look<AgentCredentialPolicy>,
    /// The provider that the policy names.
    pub provider: Look<CredentialProvider>,
    /// The account that it runs as.
    pub account: Look<ServiceAccount>,
    /// What the webhook injects.
    pub settings: Option<Settings>,
    /// Sessions of the pod, by number.
    pub sessions: Look<Vec<CredentialSession>>,
    /// What Kubernetes told of the pod.
    pub events: Look<Vec<Told>>,
    /// Admission policies and bindings of ours that are missing or changed.
    pub fallen: Look<Vec<String>>,
    /// Network policies of the namespace.
    pub network: Look<Vec<NetworkPolicy>>,
    /// The namespace that Exeat is installed in.
    pub system: String,
    /// The node that the pod runs on.
    pub node: Look<Node>,
    /// What the sidecar counted.
    pub sidecar: Look<Counts>,
    /// The end of the agent's log.
    pub log: Look<String>,
    /// The end of the log of a container that does not start.
    pub last_words: Look<String>,
    /// Who holds the verb `approve` on the policy, where its grant needs people.
    pub approvers: Look<Vec<Subject>>,
    /// The approval that the session waits for or rests on.
    pub approval: Look<Approval>,
    /// What keeps new sessions off.
    pub holds: Look<Vec<CredentialHold>>,
    /// The call that is asked about.
    pub call: Option<(String, String)>,
    /// The container that is asked about.
    pub container: Option<String>,
}

/// An Event, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Kind of the object that it is about.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its reason.
    pub reason: String,
    /// Its text.
    pub note: String,
    /// When it was last told.
    pub at: Option<Timestamp>,
}

/// A node, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// How far its last heartbeat is ahead of the API server's clock; negative: behind.
    pub ahead: Option<SignedDuration>,
}

/// What the sidecar counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Credentials that were served.
    pub served: u64,
    /// Requests that found none yet, or none any more.
    pub unserved: u64,
    /// Requests without the loopback secret.
    pub without_secret: u64,
    /// Requests with a wrong secret.
    pub wrong_secret: u64,
    /// Requests that were refused for another reason.
    pub rejected: u64,
}

impl Facts {
    /// The service account that the pod runs as.
    pub fn account_name(&self) -> &str {
        account_name(&self.pod)
    }

    /// The session that counts: the newest one of the pod.
    pub fn session(&self) -> Option<&CredentialSession> {
        self.sessions.found()?.last()
    }

    /// Where that session is.
    pub fn phase(&self) -> Option<Phase> {
        self.session().map(crate::sessions::phase)
    }
}

/// The service account that a pod runs as.
pub fn account_name(pod: &Pod) -> &str {
    let name = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    name.filter(|name| !name.is_empty()).unwrap_or("default")
}
