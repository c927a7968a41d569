//! What the sidecar serves, and when it acts next. Pure: events in, `now` and the random number are arguments.
//!
//! | phase | answer | leaves by |
//! |---|---|---|
//! | Waiting | 5xx, the issuer's reason or `IssuerUnreachable` | a credential, a denial |
//! | Held | the credential, never past the earliest of its end, the session's end and the grace without contact | an end, a denial, a message of the stream |
//! | Stopped | 4xx, the reason | a credential of another session, or one that the stream calls active again |

mod held;

use exeat_wire::{Refusal, StreamMessage};
use jiff::{SignedDuration, Timestamp};

pub use self::held::{Held, Payload, Unusable, complete};
use crate::refresh;

/// How long a credential is served on after the stream named another session or grant, while its successor is fetched.
pub const SUPERSEDED: SignedDuration = SignedDuration::from_secs(10);
/// Without any answer for this long, the last word of the issuer is no longer repeated.
const STALE: SignedDuration = SignedDuration::from_secs(60);

/// Code of the refusal before anything is known.
pub const PENDING: &str = "CredentialPending";
/// Code of the refusal without contact.
pub const UNREACHABLE: &str = "IssuerUnreachable";
/// Code of the refusal after the session's end.
pub const EXPIRED: &str = "SessionExpired";

/// What may happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A call that started under `epoch` brought a credential.
    Fetched {
        /// What [`Machine::fetch_started`] gave.
        epoch: u64,
        /// The credential.
        held: Box<Held>,
    },
    /// A call that started under `epoch` was refused by the issuer.
    Refused {
        /// What [`Machine::fetch_started`] gave.
        epoch: u64,
        /// The issuer's words.
        refusal: Refusal,
    },
    /// A call brought no answer of an issuer.
    Failed {
        /// Cause, for people; no secret.
        cause: String,
    },
    /// The stream opened.
    Connected,
    /// The stream was refused by the issuer.
    StreamRefused(Refusal),
    /// The stream said something.
    Stream(StreamMessage),
}

/// What is served at a given time.
#[derive(Clone, Debug)]
pub enum View<'a> {
    /// This credential, until the given time at the latest.
    Held(&'a Held, Timestamp),
    /// Nothing, for this reason.
    Refused(Refusal),
}

#[derive(Debug)]
enum Phase {
    Waiting(Refusal),
    Held(Box<Held>),
    Stopped(Refusal),
}

/// The state behind every answer.
#[derive(Debug)]
pub struct Machine {
    phase: Phase,
    /// The last credential or heartbeat: an issuer that sees its sessions freshly. Counts for the grace.
    contact: Timestamp,
    /// The last word of any issuer.
    heard: Timestamp,
    superseded: Option<Timestamp>,
    last_refusal: Option<Refusal>,
    last_failure: Option<String>,
    /// Counts the stream's words that make a call in flight stale.
    epoch: u64,
    /// Session and digest that the stream named last.
    active: Option<(String, String)>,
    /// The session that was ended for good.
    ended: Option<String>,
    failures: u32,
    fetch_at: Option<Timestamp>,
    fetched_at: Timestamp,
    started: bool,
}

impl Machine {
    /// Knows nothing and wants to fetch at once.
    pub fn new(now: Timestamp) -> Self {
        let refusal = wait(PENDING, "the first credential is being fetched; try again in a second", Some(1));
        Self {
            phase: Phase::Waiting(refusal),
            contact: now,
            heard: now,
            superseded: None,
            last_refusal: None,
            last_failure: None,
            epoch: 0,
            active: None,
            ended: None,
            failures: 0,
            fetch_at: Some(now),
            fetched_at: Timestamp::MIN,
            started: false,
        }
    }

    /// What is served at `now`.
    pub fn view(&self, now: Timestamp) -> View<'_> {
        match &self.phase {
            Phase::Held(held) => {
                let until = self.serve_until(held);
                if now < until { View::Held(held, until) } else { View::Refused(self.over(held, now)) }
            }
            Phase::Waiting(refusal) if self.silent(now) && refusal.code != UNREACHABLE => {
                View::Refused(self.unreachable())
            }
            Phase::Waiting(refusal) | Phase::Stopped(refusal) => View::Refused(refusal.clone()),
        }
    }

    /// Why nothing is served at `now`, or will be from then on.
    pub fn refusal_at(&self, now: Timestamp) -> Refusal {
        match self.view(now) {
            View::Refused(refusal) => refusal,
            View::Held(held, _) => self.over(held, now),
        }
    }

    /// Whether a first credential was held or a denial known, ever.
    pub fn started(&self) -> bool {
        self.started
    }

    /// When the next call is due; none while one is in flight or where it can't help.
    pub fn fetch_at(&self) -> Option<Timestamp> {
        self.fetch_at.map(|at| at.max(refresh::after(self.fetched_at, refresh::MIN_GAP)))
    }

    /// When [`Machine::tick`] has something to do.
    pub fn ends_at(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Held(held) => Some(self.serve_until(held)),
            _ => None,
        }
    }

    /// Notes that a call has started; its outcome must come back with the returned epoch.
    pub fn fetch_started(&mut self, now: Timestamp) -> u64 {
        self.fetch_at = None;
        self.fetched_at = now;
        self.epoch
    }

    /// Drops what is over at `now`. Call it at [`Machine::ends_at`].
    pub fn tick(&mut self, now: Timestamp) {
        let Phase::Held(held) = &self.phase else { return };
        if now < self.serve_until(held) {
            return;
        }
        let refusal = self.over(held, now);
        self.phase = if refusal.retryable { Phase::Waiting(refusal) } else { Phase::Stopped(refusal) };
        self.superseded = None;
        // A new session may be there at once; else a Retry-After that was given while the credential was held still counts.
        self.fetch_at = match (&self.phase, self.fetch_at) {
            (Phase::Waiting(_), Some(at)) if self.last_refusal.is_some() => Some(at),
            _ => Some(now),
        };
    }

    /// Takes an event. `roll` is a random number in `[0, 1)`.
    pub fn apply(&mut self, event: Event, now: Timestamp, roll: f64) {
        self.tick(now);
        match event {
            Event::Failed { cause } => self.failed(cause, now, roll),
            Event::Fetched { epoch, held } => self.fetched(epoch, held, now, roll),
            Event::Refused { epoch, refusal } => {
                self.heard(now);
                if epoch == self.epoch {
                    self.refused(refusal, now, roll);
                } else if self.fetch_at.is_none() {
                    self.fetch_at = Some(now);
                }
            }
            Event::Connected => {
                self.heard(now);
                self.active = None;
            }
            Event::StreamRefused(refusal) => {
                self.heard(now);
                if !refusal.retryable {
                    self.epoch += 1;
                    self.active = None;
                    self.stop(refusal, now, roll);
                }
            }
            Event::Stream(message) => self.told(message, now, roll),
        }
    }

    fn told(&mut self, message: StreamMessage, now: Timestamp, roll: f64) {
        self.heard(now);
        match message {
            StreamMessage::Active { session, digest } => self.activated(session, digest, now),
            StreamMessage::Waiting(refusal) => {
                self.epoch += 1;
                self.active = None;
                self.superseded = None;
                self.fetch_at = Some(refresh::waiting_at(now, refusal.retry_after_seconds, roll));
                self.phase = Phase::Waiting(Refusal { retryable: true, ..refusal });
            }
            StreamMessage::Stopped(refusal) => {
                self.epoch += 1;
                self.active = None;
                if !refusal.retryable {
                    self.end(&refusal);
                }
                self.stop(refusal, now, roll);
            }
            StreamMessage::Heartbeat => self.fresh(now),
            _ => {}
        }
    }

    fn activated(&mut self, session: String, digest: String, now: Timestamp) {
        if self.ended.as_ref() == Some(&session) {
            self.ended = None;
        }
        let named = Some((session, digest));
        let changed = self.active != named;
        self.active = named;
        let Some((session, digest)) = &self.active else { return };
        match &mut self.phase {
            Phase::Held(held) if held.session == *session && held.digest.is_empty() => held.digest.clone_from(digest),
            Phase::Held(held) if held.is_of(session, digest) => {
                self.superseded = None;
                return;
            }
            Phase::Held(_) => {
                self.superseded.get_or_insert(refresh::after(now, SUPERSEDED));
            }
            Phase::Waiting(_) | Phase::Stopped(_) => {}
        }
        if self.superseded.is_some() || !matches!(self.phase, Phase::Held(_)) {
            if changed {
                self.epoch += 1;
                self.failures = 0;
            }
            self.fetch_at = Some(now);
        }
    }

    fn fetched(&mut self, epoch: u64, mut held: Box<Held>, now: Timestamp, roll: f64) {
        self.fresh(now);
        let named = self.active.as_ref().is_some_and(|(session, digest)| held.is_of(session, digest));
        if self.ended.as_ref() == Some(&held.session) || (epoch != self.epoch && !named) {
            self.fetch_at.get_or_insert(refresh::stopped_at(now, roll));
            return;
        }
        if held.ends_at() <= now {
            return self.failed("the credential had ended when it came; check this node's clock".into(), now, roll);
        }
        match &self.active {
            Some((session, digest)) if held.session == *session && held.digest.is_empty() => {
                held.digest.clone_from(digest);
            }
            _ => self.active = Some((held.session.clone(), held.digest.clone())),
        }
        self.fetch_at =
            (held.expires_at < held.session_expires_at).then(|| refresh::renew_at(now, held.expires_at, roll));
        self.phase = Phase::Held(held);
        self.superseded = None;
        self.last_refusal = None;
        self.failures = 0;
        self.started = true;
    }

    fn refused(&mut self, refusal: Refusal, now: Timestamp, roll: f64) {
        if !refusal.retryable {
            return self.stop(refusal, now, roll);
        }
        self.fetch_at = Some(refresh::retry_at(now, self.failures, refusal.retry_after_seconds, roll));
        self.failures = self.failures.saturating_add(1);
        match &self.phase {
            Phase::Held(_) => self.last_refusal = Some(refusal),
            Phase::Stopped(reason) if reason.code != EXPIRED => {}
            Phase::Stopped(_) | Phase::Waiting(_) => self.phase = Phase::Waiting(refusal),
        }
    }

    /// The stream's last word on a session: no answer to a call brings it back, only the stream itself.
    fn end(&mut self, refusal: &Refusal) {
        let held = match &self.phase {
            Phase::Held(held) => Some(&held.session),
            _ => None,
        };
        if let Some(session) = refusal.session.as_ref().or(held) {
            self.ended = Some(session.clone());
        }
    }

    fn stop(&mut self, refusal: Refusal, now: Timestamp, roll: f64) {
        if refusal.retryable {
            self.fetch_at = Some(refresh::waiting_at(now, refusal.retry_after_seconds, roll));
        } else {
            self.fetch_at = Some(refresh::stopped_at(now, roll));
            self.started = true;
        }
        self.superseded = None;
        self.phase = Phase::Stopped(refusal);
    }

    fn failed(&mut self, cause: String, now: Timestamp, roll: f64) {
        let retry = match self.phase {
            Phase::Stopped(_) => refresh::stopped_at(now, roll),
            _ => refresh::retry_at(now, self.failures, None, roll),
        };
        self.fetch_at = Some(self.fetch_at.map_or(retry, |at| at.min(retry)));
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(cause);
        if matches!(&self.phase, Phase::Waiting(refusal) if refusal.code == PENDING || refusal.code == UNREACHABLE) {
            self.phase = Phase::Waiting(self.unreachable());
        }
    }

    fn heard(&mut self, now: Timestamp) {
        self.heard = self.heard.max(now);
    }

    fn fresh(&mut self, now: Timestamp) {
        self.heard(now);
        self.contact = self.contact.max(now);
    }

    fn silent(&self, now: Timestamp) -> bool {
        now.duration_since(self.heard) > STALE
    }

    fn serve_until(&self, held: &Held) -> Timestamp {
        let alone = refresh::after(self.contact, held.offline_grace);
        held.ends_at().min(alone).min(self.superseded.unwrap_or(Timestamp::MAX))
    }

    /// Why `held` is no longer served at `now`.
    fn over(&self, held: &Held, now: Timestamp) -> Refusal {
        if now >= held.session_expires_at {
            return Refusal {
                code: EXPIRED.into(),
                message: format!("session {} ended at {}", held.session, held.session_expires_at),
                retryable: false,
                retry_after_seconds: None,
                session: Some(held.session.clone()),
            };
        }
        let alone = now >= refresh::after(self.contact, held.offline_grace);
        match &self.last_refusal {
            Some(refusal) if !self.silent(now) => refusal.clone(),
            None if self.superseded.is_some() && !alone && now < held.expires_at => {
                let message = "the session changed and its new credential is being fetched; try again in a second";
                wait(PENDING, message, Some(1))
            }
            _ => self.unreachable(),
        }
    }

    fn unreachable(&self) -> Refusal {
        let cause = self.last_failure.as_deref().unwrap_or("no fresh answer");
        let message = format!(
            "the sidecar can't reach the issuer ({cause}); check that the exeat-issuer pods run and that this \
             namespace's NetworkPolicies allow egress to them and to cluster DNS"
        );
        wait(UNREACHABLE, message, None)
    }
}

fn wait(code: &str, message: impl Into<String>, retry_after_seconds: Option<u64>) -> Refusal {
    Refusal { code: code.into(), message: message.into(), retryable: true, retry_after_seconds, session: None }
}

#[cfg(test)]
mod tests;
