//! What the controller watches, and the indexes over it.

use super::index::{Index, Queue, Sessions};
use super::session::end::{AgentEnd, End, of_pod};
use super::session::judge::judged_part;
use exeat_crds::v1alpha1::{ApprovalPhase, SessionRequest};
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialHold, CredentialProvider, CredentialSession, hold, names};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ends of deleted pods that are remembered: more than can be under way at once.
const REMEMBERED_ENDS: usize = 20_000;

/// Read side of all watches.
pub struct Caches {
    /// All providers.
    pub providers: Store<CredentialProvider>,
    /// All policies.
    pub policies: Store<AgentCredentialPolicy>,
    /// All sessions.
    pub sessions: Store<CredentialSession>,
    /// Injected pods, pruned.
    pub pods: Store<Pod>,
    /// All approvals.
    pub approvals: Store<Approval>,
    /// All holds.
    pub holds: Store<CredentialHold>,
    ends: Mutex<Ends>,
    index: Mutex<Index<Sessions>>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Ends {
    by_uid: HashMap<String, End>,
    order: VecDeque<String>,
}

impl Caches {
    /// Over these stores.
    pub fn new(
        providers: Store<CredentialProvider>,
        policies: Store<AgentCredentialPolicy>,
        sessions: Store<CredentialSession>,
        pods: Store<Pod>,
        approvals: Store<Approval>,
        holds: Store<CredentialHold>,
    ) -> Self {
        let (ends, index, queue) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { providers, policies, sessions, pods, approvals, holds, ends, index, queue }
    }

    /// A policy by name.
    pub fn policy(&self, namespace: &str, name: &str) -> Option<Arc<AgentCredentialPolicy>> {
        self.policies.get(&ObjectRef::new(name).within(namespace))
    }

    /// A provider by name.
    pub fn provider(&self, name: &str) -> Option<Arc<CredentialProvider>> {
        self.providers.get(&ObjectRef::new(name))
    }

    /// The sessions of a pod.
    pub fn sessions_of(&self, pod_uid: &str) -> Vec<Arc<CredentialSession>> {
        let keys = self.index().view().of_pod(pod_uid);
        let of_pod = |s: &Arc<CredentialSession>| s.spec.request.agent.pod.uid == pod_uid;
        keys.iter().filter_map(|key| self.sessions.get(key)).filter(of_pod).collect()
    }

    /// How many sessions of a namespace are not decided yet.
    pub fn waiting_in(&self, namespace: &str) -> usize {
        self.index().view().waiting_count(namespace)
    }

    /// The sessions of a namespace that are not decided yet.
    pub fn waiting_sessions(&self, namespace: &str) -> Vec<Arc<CredentialSession>> {
        let keys = self.index().view().waiting(namespace);
        keys.iter().filter_map(|key| self.sessions.get(key)).collect()
    }

    /// Takes in what the watch of sessions says, once the store has.
    pub fn follow(&self, event: &watcher::Event<CredentialSession>) {
        self.index().follow(event);
    }

    /// What people were asked under a policy of this name.
    pub fn approvals_of(&self, namespace: &str, policy: &str) -> Vec<Arc<Approval>> {
        let keys = self.queue().of_policy(namespace, policy);
        keys.iter().filter_map(|key| self.approvals.get(key)).collect()
    }

    /// Takes in what the watch of approvals says, once the store has.
    pub fn follow_approvals(&self, event: &watcher::Event<Approval>) {
        self.queue().follow(event);
    }

    /// Whether people may be asked one more thing in a namespace.
    pub fn has_room(&self, namespace: &str, most: usize, now: Timestamp) -> bool {
        self.queue().has_room(namespace, most, now)
    }

    /// Before people are asked this: whether there is a place for it.
    pub fn take_place(&self, approval: &Approval, most: usize, now: Timestamp) -> bool {
        self.queue().take_place(&ObjectRef::from_obj(approval), most, now)
    }

    /// After people were asked this, or the API server has refused it.
    pub fn asked(&self, approval: &Approval, refused: bool) {
        self.queue().asked(&ObjectRef::from_obj(approval), refused);
    }

    /// The hold that keeps a session off, if one does: of several the first by name.
    pub fn hold(&self, namespace: &str, request: &SessionRequest) -> Option<Arc<CredentialHold>> {
        self.holds.state_filter(|h| hold::matches(h, namespace, request)).into_iter().min_by_key(|h| h.name_any())
    }

    /// How a pod ended, if its deletion was seen.
    pub fn end_of(&self, pod_uid: &str) -> Option<End> {
        self.lock().by_uid.get(pod_uid).cloned()
    }

    /// Keeps how a deleted pod ended: the last event carries the exit codes, and the cache forgets the pod at once.
    pub fn remember_deleted(&self, pod: &Pod) {
        let (Some(uid), AgentEnd::Ended(end)) = (pod.uid(), of_pod(pod, true)) else { return };
        let mut ends = self.lock();
        if ends.by_uid.insert(uid.clone(), end).is_none() {
            ends.order.push_back(uid);
        }
        while ends.order.len() > REMEMBERED_ENDS {
            if let Some(oldest) = ends.order.pop_front() {
                ends.by_uid.remove(&oldest);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, Index<Sessions>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether people are still asked.
pub fn is_open(approval: &Approval) -> bool {
    approval.status.as_ref().and_then(|s| s.phase).is_none_or(|p| p == ApprovalPhase::Pending)
}

/// Drops what no decision reads: a cluster has many pods, and each is large.
pub fn prune(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.annotations_mut().retain(|key, _| names::is_pod_annotation(key));
    pod.spec = pod.spec.take().map(judged_part);
    if let Some(status) = &mut pod.status {
        status.conditions = None;
        status.pod_ips = None;
    }
}
