//! One watch a kind, indexes, and from each change the objects that must be looked at again. Deletions trigger as well:
//! a deleted pod or policy ends sessions.

use super::caches::{Caches, prune};
use super::session::gate::{self, answers};
use exeat_crds::v1alpha1::Phase;
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialProvider, CredentialSession, names, pod_policies};
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;

/// What each controller must look at again. The controllers' schedulers drop duplicates.
#[derive(Clone)]
pub(super) struct Triggers {
    providers: UnboundedSender<ObjectRef<CredentialProvider>>,
    policies: UnboundedSender<ObjectRef<AgentCredentialPolicy>>,
    sessions: UnboundedSender<ObjectRef<CredentialSession>>,
    pods: UnboundedSender<ObjectRef<Pod>>,
    approvals: UnboundedSender<ObjectRef<Approval>>,
    caches: Arc<Caches>,
}

/// The read ends.
pub(super) struct Queues {
    pub(super) providers: UnboundedReceiver<ObjectRef<CredentialProvider>>,
    pub(super) policies: UnboundedReceiver<ObjectRef<AgentCredentialPolicy>>,
    pub(super) sessions: UnboundedReceiver<ObjectRef<CredentialSession>>,
    pub(super) pods: UnboundedReceiver<ObjectRef<Pod>>,
    pub(super) approvals: UnboundedReceiver<ObjectRef<Approval>>,
}

/// Caches, queues, and the futures that must run to fill them.
pub(super) fn watches(client: &kube::Client) -> (Arc<Caches>, Queues, Vec<BoxFuture<'static, ()>>) {
    let (provider_reader, provider_writer) = store();
    let (policy_reader, policy_writer) = store();
    let (session_reader, session_writer) = store();
    let (pod_reader, pod_writer) = store();
    let (approval_reader, approval_writer) = store();
    let (hold_reader, hold_writer) = store();
    let caches = Arc::new(Caches::new(
        provider_reader.clone(),
        policy_reader.clone(),
        session_reader.clone(),
        pod_reader.clone(),
        approval_reader.clone(),
        hold_reader.clone(),
    ));
    let (providers, provider_queue) = unbounded();
    let (policies, policy_queue) = unbounded();
    let (sessions, session_queue) = unbounded();
    let (pods, pod_queue) = unbounded();
    let (approvals, approval_queue) = unbounded();
    let triggers = Triggers { providers, policies, sessions, pods, approvals, caches: Arc::clone(&caches) };
    let queues = Queues {
        providers: provider_queue,
        policies: policy_queue,
        sessions: session_queue,
        pods: pod_queue,
        approvals: approval_queue,
    };
    let all = watcher::Config::default();
    let [t0, t1, t2, t3, t4, t5] = std::array::from_fn(|_| triggers.clone());
    let drivers = vec![
        drive(reflector(provider_writer, watch(client, all.clone())), provider_reader, move |p| t0.on_provider(p)),
        drive(reflector(policy_writer, watch(client, all.clone())), policy_reader, move |p| t1.on_policy(p)),
        drive(followed(session_writer, client, &caches, Caches::follow), session_reader, move |s| t2.on_session(s)),
        drive(followed(approval_writer, client, &caches, Caches::follow_approvals), approval_reader, move |a| {
            t4.on_approval(a)
        }),
        drive(reflector(hold_writer, watch(client, all)), hold_reader, move |_| t5.on_hold()),
        drive(reflector(pod_writer, watch_pods(client, Arc::clone(&caches))), pod_reader, move |p| t3.on_pod(p)),
    ];
    (caches, queues, drivers)
}

impl Triggers {
    fn on_provider(&self, provider: &CredentialProvider) {
        send(&self.providers, ObjectRef::from_obj(provider));
        let name = provider.name_any();
        for policy in self.caches.policies.state_filter(|p| p.spec.provider_ref.name == name) {
            self.on_policy(&policy);
        }
    }

    fn on_policy(&self, policy: &AgentCredentialPolicy) {
        send(&self.policies, ObjectRef::from_obj(policy));
        let key = (policy.namespace(), policy.name_any());
        // What has ended rests on nothing any more.
        let uses =
            |s: &CredentialSession| s.namespace() == key.0 && s.spec.request.policy_ref.name == key.1 && !has_ended(s);
        for session in self.caches.sessions.state_filter(uses) {
            send(&self.sessions, ObjectRef::from_obj(session.as_ref()));
        }
        let names = |p: &Pod| p.namespace() == key.0 && pod_policies::names(p.annotations(), &key.1);
        for pod in self.caches.pods.state_filter(names) {
            send(&self.pods, ObjectRef::from_obj(pod.as_ref()));
        }
        for approval in self.caches.approvals_of(&key.0.unwrap_or_default(), &key.1) {
            send(&self.approvals, ObjectRef::from_obj(approval.as_ref()));
        }
    }

    /// Whoever waits for it, or rests on it.
    fn on_approval(&self, approval: &Approval) {
        send(&self.approvals, ObjectRef::from_obj(approval));
        let (namespace, name) = (approval.namespace(), approval.name_any());
        let policy = &approval.spec.request.policy_ref.name;
        let concerned = |s: &CredentialSession| {
            let status = s.status.as_ref();
            let waits = gate::waits(s) && answers(&approval.spec.request, s);
            let rests = status.and_then(|s| s.approval_ref.as_ref()).is_some_and(|r| r.name == name);
            s.namespace() == namespace && s.spec.request.policy_ref.name == *policy && (waits || rests)
        };
        for session in self.caches.sessions.state_filter(concerned) {
            send(&self.sessions, ObjectRef::from_obj(session.as_ref()));
        }
    }

    /// Whoever waits: a hold has come or gone.
    fn on_hold(&self) {
        let waits = |s: &CredentialSession| s.status.as_ref().and_then(|s| s.phase) == Some(Phase::Pending);
        for session in self.caches.sessions.state_filter(waits) {
            send(&self.sessions, ObjectRef::from_obj(session.as_ref()));
        }
    }

    fn on_session(&self, session: &CredentialSession) {
        send(&self.sessions, ObjectRef::from_obj(session));
        let namespace = session.namespace().unwrap_or_default();
        // An approval for one session is moot once that one has ended.
        if let Some(approval) = session.status.as_ref().and_then(|s| s.approval_ref.as_ref()) {
            send(&self.approvals, ObjectRef::new(&approval.name).within(&namespace));
        }
        send(&self.pods, ObjectRef::new(&session.spec.request.agent.pod.name).within(&namespace));
    }

    fn on_pod(&self, pod: &Pod) {
        send(&self.pods, ObjectRef::from_obj(pod));
        for session in self.caches.sessions_of(&pod.uid().unwrap_or_default()) {
            send(&self.sessions, ObjectRef::from_obj(session.as_ref()));
        }
    }
}

fn has_ended(session: &CredentialSession) -> bool {
    session.status.as_ref().and_then(|s| s.phase).is_some_and(Phase::is_terminal)
}

/// A closed queue means that the process is leaving.
fn send<K: Resource<DynamicType = ()>>(queue: &UnboundedSender<ObjectRef<K>>, object: ObjectRef<K>) {
    let _ = queue.unbounded_send(object);
}

fn watch<K>(
    client: &kube::Client,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(Api::<K>::all(client.clone()), config).default_backoff()
}

/// A watch that an index of the caches follows, once the store has taken the event.
fn followed<K>(
    store: Writer<K>,
    client: &kube::Client,
    caches: &Arc<Caches>,
    follow: fn(&Caches, &watcher::Event<K>),
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let caches = Arc::clone(caches);
    reflector(store, watch(client, watcher::Config::default())).inspect_ok(move |event| follow(&caches, event))
}

/// Injected pods only: the label is stamped by the webhook and frozen by admission policy.
fn watch_pods(
    client: &kube::Client,
    caches: Arc<Caches>,
) -> impl Stream<Item = watcher::Result<watcher::Event<Pod>>> + Send + 'static {
    let config = watcher::Config::default().labels(&format!("{}=true", names::INJECTED_LABEL));
    watch::<Pod>(client, config).map(move |event| {
        event.map(|mut event| {
            match &mut event {
                watcher::Event::Delete(pod) => caches.remember_deleted(pod),
                watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => prune(pod),
                watcher::Event::Init | watcher::Event::InitDone => {}
            }
            event
        })
    })
}

/// The store has taken an event before it comes out here; a fresh list is there as a whole at `InitDone`.
fn drive<K>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    store: Store<K>,
    changed: impl Fn(&K) + Send + 'static,
) -> BoxFuture<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => changed(&object),
                Ok(watcher::Event::InitDone) => store.state().iter().for_each(|object| changed(object)),
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Err(error) => tracing::warn!(%error, kind = %K::kind(&()), "a watch was interrupted; it goes on"),
            }
        }
    }
    .boxed()
}
