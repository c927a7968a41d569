//! What a call may cost others before anybody is believed: a check of ours, then a share of its pod and of its namespace, and only then the
//! API server.
//!
//! Shares are taken from the pod that the *checked* token names: who can't sign for a namespace can't use its share up either. Requests for
//! credentials and openings of streams have shares of their own, so that neither starves the other.

use super::authn::PodIdentity;
use super::hold::Caller;
use super::mint::{Desk, refusal};
use super::streams::{MAX_OF_POD, Place};
use crate::limiter::Limiter;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::Holder;
use exeat_wire::Refusal;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Calls of one kind that one pod may make in a second, on average: a sidecar that waits asks every other second.
const POD_RATE: u32 = 1;
/// A pod's credentials, which cost several times as much as a refusal: one in this time, which is more often than the shortest needs to be
/// renewed, after a few at once.
const MINT_PAUSE: Duration = Duration::from_secs(10);
const MINT_BURST: u32 = 5;
/// Seconds after which a pod that has too many streams may try again: a stream over a cut network has ended by then.
const RETRY_AFTER: u64 = 20;

/// Requests that are under way at once: with more of them a slow API server would answer none before its caller has given up.
const UNDER_WAY: usize = 48;
/// Those of one namespace among them.
pub(super) const UNDER_WAY_OF_NAMESPACE: usize = 8;
/// So long a request waits for its turn: about half of what a sidecar waits for the whole call.
const PATIENCE: Duration = Duration::from_secs(8);
/// Seconds after which one that had no turn may try again.
const TURN_AFTER: u64 = 2;

/// What pods and namespaces may still ask for.
pub(super) struct Shares {
    requests: Mutex<Share>,
    streams: Mutex<Share>,
    mints: Mutex<Limiter>,
    turns: Turns,
}

/// Requests that are under way. Whoever waits gets his turn in the order of coming.
struct Turns {
    all: Arc<Semaphore>,
    namespaces: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// One request's turn, until it is dropped.
pub(super) struct Turn {
    _of_namespace: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// Calls of one kind. A pod's share comes first, so that one pod alone does not use up its namespace's.
struct Share {
    pods: Limiter,
    namespaces: Limiter,
}

/// Who may have a stream, the record under which, and its place among the pod's streams.
pub(super) struct Admitted {
    pub(super) caller: Caller,
    pub(super) holder: Option<Holder>,
    pub(super) place: Place,
}

impl Shares {
    /// `rate`: requests of one namespace in a second, and as many streams.
    pub(super) fn new(rate: u32) -> Self {
        let share = || Mutex::new(Share { pods: Limiter::new(POD_RATE), namespaces: Limiter::new(rate) });
        let mints = Mutex::new(Limiter::slow(MINT_PAUSE, MINT_BURST));
        let turns = Turns { all: Arc::new(Semaphore::new(UNDER_WAY)), namespaces: Mutex::default() };
        Self { requests: share(), streams: share(), mints, turns }
    }
}

impl Turns {
    async fn take(&self, pod: &PodIdentity) -> Result<Turn, Refusal> {
        let of_namespace = self.of(&pod.namespace);
        let taken = timeout(PATIENCE, async {
            // A namespace's own turn first: who waits for it takes nothing from the others.
            let namespace = of_namespace.acquire_owned().await?;
            let all = Arc::clone(&self.all).acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>(Turn { _of_namespace: namespace, _of_all: all })
        });
        match taken.await {
            Ok(Ok(turn)) => Ok(turn),
            _ => {
                let message = format!("too many requests of namespace {:?} are under way; wait", pod.namespace);
                Err(refusal(Reason::RateLimited, message, Some(TURN_AFTER)))
            }
        }
    }

    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        namespaces.retain(|_, turns| turns.strong_count() > 0);
        if let Some(turns) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return turns;
        }
        let turns = Arc::new(Semaphore::new(UNDER_WAY_OF_NAMESPACE));
        namespaces.insert(namespace.to_owned(), Arc::downgrade(&turns));
        turns
    }
}

impl Share {
    fn take(share: &Mutex<Self>, pod: &PodIdentity, what: &str, now: Instant) -> Result<(), Refusal> {
        let mut share = share.lock().unwrap_or_else(PoisonError::into_inner);
        let limited = |who: &str, name: &str, wait: Duration| {
            let message = format!("{who} {name:?} asks for {what} too often; wait");
            refusal(Reason::RateLimited, message, Some(wait.as_secs() + 1))
        };
        share.pods.take(&pod.pod_uid, now).map_err(|wait| limited("pod", &pod.pod, wait))?;
        share.namespaces.take(&pod.namespace, now).map_err(|wait| limited("namespace", &pod.namespace, wait))
    }
}

impl Desk {
    /// Proves who asks for a credential. The turn is to be kept until the request is answered.
    ///
    /// # Errors
    /// [`Reason::RateLimited`] before the API server is asked; what [`super::authn`] refuses.
    pub(super) async fn admit_request(&self, token: &str) -> Result<(PodIdentity, Turn), Refusal> {
        let claimed = self.authenticator.check(token).await?;
        Share::take(&self.shares.requests, claimed.pod(), "credentials", Instant::now())?;
        let turn = self.shares.turns.take(claimed.pod()).await?;
        Ok((self.authenticator.prove(token, claimed).await?, turn))
    }

    /// Whether a proved pod may have one more credential now.
    ///
    /// # Errors
    /// [`Reason::RateLimited`].
    pub(super) fn admit_mint(&self, pod: &PodIdentity) -> Result<(), Refusal> {
        let taken = self.shares.mints.lock().unwrap_or_else(PoisonError::into_inner).take(&pod.pod_uid, Instant::now());
        taken.map_err(|wait| {
            let message = format!(
                "pod {:?} has been given {MINT_BURST} credentials of late; it goes on with its last one",
                pod.pod
            );
            refusal(Reason::RateLimited, message, Some(wait.as_secs() + 1))
        })
    }

    /// Proves who asks for a stream. `key` is the fingerprint of its holder key.
    ///
    /// # Errors
    /// As [`Desk::admit_request`] and [`Desk::may_stream`]; [`Reason::RateLimited`] too while the pod has [`MAX_OF_POD`] streams.
    pub(super) async fn admit_stream(&self, token: &str, key: String) -> Result<Admitted, Refusal> {
        let claimed = self.authenticator.check(token).await?;
        let pod = claimed.pod();
        let place = self.streams.reserve(&pod.pod_uid).ok_or_else(|| {
            let message =
                format!("pod {:?} has {MAX_OF_POD} streams at this issuer already; close one of them", pod.pod);
            refusal(Reason::RateLimited, message, Some(RETRY_AFTER))
        })?;
        Share::take(&self.shares.streams, pod, "streams", Instant::now())?;
        let caller = Caller { pod: self.authenticator.prove(token, claimed).await?, key, held: None };
        let holder = self.may_stream(&caller).await?;
        Ok(Admitted { caller, holder, place })
    }
}
