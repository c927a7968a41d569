//! What a call may cost others before anybody is believed: a check of ours, then a share of its pod and of its namespace, and only then the
//! API server.
//!
//! Shares are taken from the pod that the *checked* token names: who can't sign for a namespace can't use its share up either. Requests for
//! credentials, openings of streams and credentials themselves have shares of their own, so that none starves the other.

use super::authn::PodIdentity;
use super::early::Early;
use super::hold::Caller;
use super::mint::{Desk, refusal};
use super::streams::{MAX_OF_POD, Place};
use super::view;
use crate::limiter::Limiter;
use crate::turns::{Turn, Turns};
use exeat_crds::CredentialSession;
use exeat_crds::pod_policies::MAX_POLICIES;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::Holder;
use exeat_wire::Refusal;
use jiff::Timestamp;
use kube::ResourceExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Requests that one pod may make in a second, on average: a sidecar that waits asks every other second.
const POD_RATE: u32 = 1;
/// A pod's streams: one in this time, after a few at once. A sidecar keeps its own for ten minutes, and waits longer from one failure to the
/// next.
const STREAM_PAUSE: Duration = Duration::from_secs(10);
pub(super) const STREAM_BURST: u32 = 6;
/// A pod's credentials, which cost several times as much as a refusal: one of each of its policies at once, and then one in this time. With as
/// many policies as a pod may have that is as often as the shortest credentials are renewed, those of a minute.
const MINT_PAUSE: Duration = Duration::from_secs(3);
pub(super) const MINT_BURST: u32 = MAX_POLICIES as u32;
/// A namespace's, at once, in seconds of its rate: its pods may all start together.
pub(super) const MINT_BURST_SECONDS: u32 = 30;
/// A pod's reports of what it used: one in this time, after a few at once. A sidecar makes them farther apart.
const REPORT_PAUSE: Duration = Duration::from_secs(10);
const REPORT_BURST: u32 = 6;
/// Those credentials, to people.
const NEW_ONES: &str = "new credentials instead of its last one";
/// Seconds after which a pod that has too many streams may try again: a stream over a cut network has ended by then.
const RETRY_AFTER: u64 = 20;

/// Requests that are under way at once: with more of them a slow API server would answer none before its caller has given up.
const UNDER_WAY: usize = 48;
/// Those of one namespace among them: what is answered one after the other leaves the API server to the others in between.
pub(super) const UNDER_WAY_OF_NAMESPACE: usize = 3;
/// So long a request waits for its turn: about half of what a sidecar waits for the whole call.
const PATIENCE: Duration = Duration::from_secs(8);
/// Seconds after which one that had no turn may try again.
const TURN_AFTER: u64 = 2;

/// What pods and namespaces may still ask for.
pub(super) struct Shares {
    requests: Mutex<Share>,
    streams: Mutex<Share>,
    mints: Mutex<Share>,
    reports: Mutex<Share>,
    early: Mutex<Early>,
    turns: Turns,
}

/// What one namespace may ask one replica for in a second, on average; ten times as much in a burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// Requests, and as many streams.
    pub(super) calls: u32,
    /// Credentials; thirty times as many in a burst.
    pub(super) mints: u32,
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
    pub(super) fn new(rates: Rates) -> Self {
        let share = |pods, namespaces| Mutex::new(Share { pods, namespaces });
        Self {
            requests: share(Limiter::new(POD_RATE), Limiter::new(rates.calls)),
            streams: share(Limiter::slow(STREAM_PAUSE, STREAM_BURST), Limiter::new(rates.calls)),
            mints: share(Limiter::slow(MINT_PAUSE, MINT_BURST), Limiter::with_burst(rates.mints, MINT_BURST_SECONDS)),
            reports: share(Limiter::slow(REPORT_PAUSE, REPORT_BURST), Limiter::new(rates.calls)),
            early: Mutex::default(),
            turns: Turns::new(UNDER_WAY, UNDER_WAY_OF_NAMESPACE),
        }
    }
}

impl Share {
    /// Whether the pod may make one more call.
    fn ready(&mut self, pod: &PodIdentity, what: &str, now: Instant) -> Result<(), Refusal> {
        self.namespaces.ready(&pod.namespace, now).map_err(|wait| limited("namespace", &pod.namespace, what, wait))?;
        self.pods.ready(&pod.pod_uid, now).map_err(|wait| limited("pod", &pod.pod, what, wait))
    }

    /// Counts one call of the pod, if it may make one more; else nothing of either share is used up.
    fn take(&mut self, pod: &PodIdentity, what: &str, now: Instant) -> Result<(), Refusal> {
        self.ready(pod, what, now)?;
        let taken = self.pods.take(&pod.pod_uid, now).and_then(|()| self.namespaces.take(&pod.namespace, now));
        taken.map_err(|wait| limited("namespace", &pod.namespace, what, wait))
    }
}

fn limited(who: &str, name: &str, what: &str, wait: Duration) -> Refusal {
    let message = format!("{who} {name:?} asks for {what} too often; wait");
    refusal(Reason::RateLimited, message, Some(wait.as_secs() + 1))
}

fn lock<T>(share: &Mutex<T>) -> MutexGuard<'_, T> {
    share.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Proves who asks for a credential, of one of its policies if it names that. The turn is to be kept until the request is answered.
    ///
    /// # Errors
    /// [`Reason::RateLimited`] before the API server is asked, also where no credential could be given for now; what [`super::authn`] refuses.
    pub(super) async fn admit_request(
        &self,
        token: &str,
        policy: Option<&str>,
    ) -> Result<(PodIdentity, Turn), Refusal> {
        let claimed = self.authenticator.check(token).await?;
        let (pod, now) = (claimed.pod(), Instant::now());
        lock(&self.shares.requests).take(pod, "credentials", now)?;
        lock(&self.shares.mints).ready(pod, NEW_ONES, now)?;
        self.not_early(pod, policy)?;
        let turn = self.turn(pod).await?;
        Ok((self.authenticator.prove(token, claimed).await?, turn))
    }

    /// Proves who tells what its agent used. The turn is to be kept until the report is answered.
    ///
    /// # Errors
    /// As [`Desk::admit_request`].
    pub(super) async fn admit_report(&self, token: &str) -> Result<(PodIdentity, Turn), Refusal> {
        let claimed = self.authenticator.check(token).await?;
        let pod = claimed.pod();
        lock(&self.shares.reports).take(pod, "to tell what it used", Instant::now())?;
        let turn = self.turn(pod).await?;
        Ok((self.authenticator.prove(token, claimed).await?, turn))
    }

    async fn turn(&self, pod: &PodIdentity) -> Result<Turn, Refusal> {
        timeout(PATIENCE, self.shares.turns.take(&pod.namespace)).await.map_err(|_| {
            let message = format!("too many requests of namespace {:?} are under way; wait", pod.namespace);
            refusal(Reason::RateLimited, message, Some(TURN_AFTER))
        })
    }

    /// Whether the pod may be given one more credential of this policy already.
    fn not_early(&self, pod: &PodIdentity, policy: Option<&str>) -> Result<(), Refusal> {
        let sessions = view::of_policy(self.view.of_pod(&pod.pod_uid), policy);
        let Some(uid) = view::current(&sessions, self.clock.now()).and_then(|s| s.uid()) else { return Ok(()) };
        lock(&self.shares.early).ready(&uid, Instant::now()).map_err(|wait| limited("pod", &pod.pod, NEW_ONES, wait))
    }

    /// A session was given a credential that is good until then.
    pub(super) fn was_given(&self, session: &CredentialSession, until: Timestamp) {
        let life = Duration::try_from(until.duration_since(self.clock.now())).unwrap_or_default();
        lock(&self.shares.early).given(&session.uid().unwrap_or_default(), life, Instant::now());
    }

    /// Counts one more credential of a proved pod.
    ///
    /// # Errors
    /// [`Reason::RateLimited`].
    pub(super) fn admit_mint(&self, pod: &PodIdentity) -> Result<(), Refusal> {
        lock(&self.shares.mints).take(pod, NEW_ONES, Instant::now())
    }

    /// Proves who asks for a stream. `key` is the fingerprint of its holder key, `policies` are those that it names.
    ///
    /// # Errors
    /// As [`Desk::admit_request`] and [`Desk::may_stream`]; [`Reason::RateLimited`] too while the pod has [`MAX_OF_POD`] streams.
    pub(super) async fn admit_stream(
        &self,
        token: &str,
        key: String,
        policies: Vec<String>,
    ) -> Result<Admitted, Refusal> {
        let claimed = self.authenticator.check(token).await?;
        let pod = claimed.pod();
        let place = self.streams.reserve(&pod.pod_uid).ok_or_else(|| {
            let message =
                format!("pod {:?} has {MAX_OF_POD} streams at this issuer already; close one of them", pod.pod);
            refusal(Reason::RateLimited, message, Some(RETRY_AFTER))
        })?;
        lock(&self.shares.streams).take(pod, "streams", Instant::now())?;
        let caller = Caller { pod: self.authenticator.prove_of_late(token, claimed).await?, key, held: None, policies };
        let holder = self.may_stream(&caller).await?;
        Ok(Admitted { caller, holder, place })
    }
}
