//! The issuer's view of sessions and of what they rest on, and who wants to hear of a change. It only wakes and picks: every mint reads the session afresh.

use super::approvals::{self, Approvals};
use super::authorities::{Authorities, Key, key_of};
use super::view;
use crate::revocation::ended_unissued;
use exeat_crds::reason::Refused;
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialProvider, CredentialSession};
use futures::StreamExt;
use jiff::Timestamp;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

/// How often the API server is asked whether it is there.
const CONTACT_PERIOD: Duration = Duration::from_secs(5);
/// After this long without an answer the view counts as stale.
const FRESH: Duration = Duration::from_secs(20);

/// Sessions that went and were not looked at yet; what is more, the next sweep finds.
const MAX_GONE: usize = 4096;

/// Watched objects.
pub(super) struct View {
    pub(super) sessions: Store<CredentialSession>,
    pub(super) policies: Store<AgentCredentialPolicy>,
    pub(super) providers: Store<CredentialProvider>,
    /// Told of every change of any of them: the prober and the revoker look again.
    pub(super) changed: Notify,
    /// How often the sessions were listed whole.
    listed: watch::Sender<u64>,
    gone: broadcast::Sender<Arc<CredentialSession>>,
    index: Mutex<HashMap<String, Pod>>,
    authorities: Mutex<Authorities>,
    approvals: Mutex<Approvals>,
    /// Whether the approvals were listed once.
    approvals_seen: watch::Sender<bool>,
    contact: Mutex<Instant>,
}

/// The write ends of what is watched.
pub(super) struct Writers {
    pub(super) sessions: Writer<CredentialSession>,
    pub(super) policies: Writer<AgentCredentialPolicy>,
    pub(super) providers: Writer<CredentialProvider>,
}

#[derive(Default)]
struct Pod {
    sessions: HashMap<String, Arc<CredentialSession>>,
    listener: Option<watch::Sender<u64>>,
}

impl View {
    /// A view of nothing yet, and what fills it.
    pub(super) fn empty() -> (Arc<Self>, Writers) {
        let (sessions, session_writer) = store();
        let (policies, policy_writer) = store();
        let (providers, provider_writer) = store();
        let view = Arc::new(Self {
            sessions,
            policies,
            providers,
            changed: Notify::new(),
            listed: watch::channel(0).0,
            gone: broadcast::channel(MAX_GONE).0,
            index: Mutex::default(),
            authorities: Mutex::default(),
            approvals: Mutex::default(),
            approvals_seen: watch::channel(false).0,
            contact: Mutex::new(Instant::now()),
        });
        (view, Writers { sessions: session_writer, policies: policy_writer, providers: provider_writer })
    }

    /// The view, and the future that keeps it up to date.
    pub(super) fn new(client: &Client) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (view, writers) = Self::empty();
        let [a, b, c, d] = std::array::from_fn(|_| Arc::clone(&view));
        let on_session = move |event: &watcher::Event<CredentialSession>| a.on_session(event);
        let on_policy = move |event: &watcher::Event<AgentCredentialPolicy>| b.on_policy(event);
        let on_provider = move |event: &watcher::Event<CredentialProvider>| c.on_provider(event);
        let on_approval = move |event: &watcher::Event<Approval>| d.on_approval(event);
        let sessions = reflector(writers.sessions, events::<CredentialSession>(client));
        let policies = reflector(writers.policies, events::<AgentCredentialPolicy>(client));
        let providers = reflector(writers.providers, events::<CredentialProvider>(client));
        let approvals = events::<Approval>(client);
        let contact = keep_contact(Arc::clone(&view), client.clone());
        let run = async move {
            tokio::join!(
                drive(sessions, on_session),
                drive(policies, on_policy),
                drive(providers, on_provider),
                drive(approvals, on_approval),
                contact
            );
        };
        (view, run)
    }

    /// Waits until everything has been listed once.
    pub(super) async fn ready(&self) {
        let _ = futures::future::join3(
            self.sessions.wait_until_ready(),
            self.policies.wait_until_ready(),
            self.providers.wait_until_ready(),
        )
        .await;
        let _ = self.approvals_seen.subscribe().wait_for(|seen| *seen).await;
        self.judge(|_| true);
    }

    /// Whether a session has the authority that it was decided under, and people still let it be.
    ///
    /// # Errors
    /// Why not, as far as is seen here.
    pub(super) fn stands(&self, session: &CredentialSession, now: Timestamp) -> Result<(), Refused> {
        lock(&self.authorities).stand(session)?;
        lock(&self.approvals).stand(session, now)
    }

    /// The sessions of a pod.
    pub(super) fn of_pod(&self, pod_uid: &str) -> Vec<Arc<CredentialSession>> {
        self.lock().get(pod_uid).map(|p| p.sessions.values().cloned().collect()).unwrap_or_default()
    }

    /// Of each pod, the sessions that it uses.
    pub(super) fn in_use(&self, now: Timestamp) -> Vec<Arc<CredentialSession>> {
        let used = |pod: &Pod| {
            let sessions: Vec<_> = pod.sessions.values().cloned().collect();
            view::in_use(&sessions, now).into_iter().cloned().collect::<Vec<_>>()
        };
        self.lock().values().flat_map(used).collect()
    }

    /// A receiver that changes whenever a session of the pod does.
    pub(super) fn listen(&self, pod_uid: &str) -> watch::Receiver<u64> {
        let mut index = self.lock();
        let pod = index.entry(pod_uid.to_owned()).or_default();
        pod.listener.get_or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// The UIDs of all sessions that something may have been made for; `None` while that can't be said for sure.
    pub(super) fn known(&self) -> Option<HashSet<String>> {
        if *self.listed.borrow() == 0 || !self.is_fresh() {
            return None;
        }
        let index = self.lock();
        let sessions = index.values().flat_map(|pod| pod.sessions.values());
        Some(sessions.filter(|s| !ended_unissued(s)).filter_map(|s| s.uid()).collect())
    }

    /// A receiver that changes whenever the sessions were listed whole: what went before that was told to nobody.
    pub(super) fn listed(&self) -> watch::Receiver<u64> {
        self.listed.subscribe()
    }

    /// A receiver of sessions that go from now on, as they were last.
    pub(super) fn gone(&self) -> broadcast::Receiver<Arc<CredentialSession>> {
        self.gone.subscribe()
    }

    /// Whether the API server was reached lately: an issuer that is cut off must not look alive to its sidecars.
    pub(super) fn is_fresh(&self) -> bool {
        lock(&self.contact).elapsed() < FRESH
    }

    pub(super) fn on_session(&self, event: &watcher::Event<CredentialSession>) {
        match event {
            watcher::Event::Apply(session) => self.put(Arc::new(session.clone())),
            watcher::Event::Delete(session) => {
                self.remove(session);
                // Only the replica with the Lease listens.
                let _ = self.gone.send(Arc::new(session.clone()));
            }
            watcher::Event::InitDone => {
                self.replace_all();
                self.listed.send_modify(|n| *n += 1);
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => return,
        }
        self.changed.notify_waiters();
    }

    pub(super) fn on_policy(&self, event: &watcher::Event<AgentCredentialPolicy>) {
        match event {
            watcher::Event::Apply(policy) | watcher::Event::Delete(policy) => {
                let key = (policy.namespace().unwrap_or_default(), policy.name_any());
                self.note([key]);
            }
            watcher::Event::InitDone => self.judge(|_| true),
            watcher::Event::Init | watcher::Event::InitApply(_) => return,
        }
        self.changed.notify_waiters();
    }

    pub(super) fn on_provider(&self, event: &watcher::Event<CredentialProvider>) {
        match event {
            watcher::Event::Apply(provider) | watcher::Event::Delete(provider) => {
                let name = provider.name_any();
                self.judge(|policy| policy.spec.provider_ref.name == name);
            }
            watcher::Event::InitDone => self.judge(|_| true),
            watcher::Event::Init | watcher::Event::InitApply(_) => return,
        }
        self.changed.notify_waiters();
    }

    pub(super) fn on_approval(&self, event: &watcher::Event<Approval>) {
        let changed = lock(&self.approvals).follow(event);
        if !changed.is_empty() {
            self.tell(|session| approvals::named_by(session).is_some_and(|named| changed.contains(&named)));
        }
        if matches!(event, watcher::Event::InitDone) {
            self.approvals_seen.send_replace(true);
        }
    }

    /// Looks at what these policies hand out, and at those that are known and gone.
    fn judge(&self, concerned: impl Fn(&AgentCredentialPolicy) -> bool) {
        let key = |p: &AgentCredentialPolicy| (p.namespace().unwrap_or_default(), p.name_any());
        let there: HashSet<Key> = self.policies.state().iter().filter(|p| concerned(p)).map(|p| key(p)).collect();
        let known: Vec<Key> = lock(&self.authorities).keys().filter(|k| !there.contains(*k)).cloned().collect();
        let gone = known.into_iter().filter(|key| self.policy(key).is_none()).collect::<Vec<_>>();
        self.note(there.into_iter().chain(gone));
    }

    fn policy(&self, (namespace, name): &Key) -> Option<Arc<AgentCredentialPolicy>> {
        self.policies.get(&ObjectRef::new(name).within(namespace))
    }

    /// Notes what these policies hand out, and tells the pods that rest on what has changed.
    fn note(&self, keys: impl IntoIterator<Item = Key>) {
        let mut authorities = lock(&self.authorities);
        let mut changed = HashSet::new();
        for key in keys {
            let policy = self.policy(&key);
            let provider = policy.as_ref().and_then(|p| self.providers.get(&ObjectRef::new(&p.spec.provider_ref.name)));
            if authorities.note(&key, policy, provider) {
                changed.insert(key);
            }
        }
        drop(authorities);
        if !changed.is_empty() {
            self.tell(|session| changed.contains(&key_of(session)));
        }
    }

    fn tell(&self, concerned: impl Fn(&CredentialSession) -> bool) {
        for pod in self.lock().values() {
            if pod.sessions.values().any(|session| concerned(session)) {
                pod.tell();
            }
        }
    }

    fn put(&self, session: Arc<CredentialSession>) {
        let mut index = self.lock();
        let pod = index.entry(session.spec.request.agent.pod.uid.clone()).or_default();
        pod.sessions.insert(session.name_any(), session);
        pod.tell();
    }

    fn remove(&self, session: &CredentialSession) {
        let mut index = self.lock();
        let uid = &session.spec.request.agent.pod.uid;
        let Some(pod) = index.get_mut(uid) else { return };
        pod.sessions.remove(&session.name_any());
        pod.tell();
        if pod.is_idle() {
            index.remove(uid);
        }
    }

    /// A fresh list: what it does not hold is gone.
    fn replace_all(&self) {
        let mut index = self.lock();
        for pod in index.values_mut() {
            pod.sessions.clear();
        }
        for session in self.sessions.state() {
            let pod = index.entry(session.spec.request.agent.pod.uid.clone()).or_default();
            pod.sessions.insert(session.name_any(), session);
        }
        for pod in index.values() {
            pod.tell();
        }
        index.retain(|_, pod| !pod.is_idle());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Pod>> {
        lock(&self.index)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pod {
    fn tell(&self) {
        if let Some(listener) = &self.listener {
            listener.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.listener.as_ref().is_none_or(|l| l.receiver_count() == 0)
    }
}

async fn keep_contact(view: Arc<View>, client: Client) {
    let mut tick = tokio::time::interval(CONTACT_PERIOD);
    loop {
        tick.tick().await;
        let asked = tokio::time::timeout(CONTACT_PERIOD, client.apiserver_version()).await;
        if matches!(asked, Ok(Ok(_))) {
            *lock(&view.contact) = Instant::now();
        }
    }
}

fn events<K>(client: &Client) -> impl futures::Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(Api::<K>::all(client.clone()), watcher::Config::default()).default_backoff()
}

async fn drive<K>(
    events: impl futures::Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
    changed: impl Fn(&watcher::Event<K>) + Send,
) where
    K: Resource<DynamicType = ()>,
{
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => changed(&event),
            Err(error) => tracing::warn!(%error, kind = %K::kind(&()), "a watch was interrupted; it goes on"),
        }
    }
}
