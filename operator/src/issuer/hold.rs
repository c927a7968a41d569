//! Binds one start of a sidecar to its pod, by [`holder`](super::holder)'s rules.

use super::authn::PodIdentity;
use super::holder::{self, Decision, Instance};
use super::mint::{Desk, refusal, unavailable};
use super::status::write_issuance;
use super::view;
use crate::audit::{AuditEvent, EventName};
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{Holder, Issuance};
use exeat_crds::{CredentialSession, names, pod_policies, text};
use exeat_wire::{HOLDER_HEADER, Refusal};
use kube::{Api, ResourceExt};
use std::sync::PoisonError;
use tokio::time::Instant;

/// Writes that are tried: each one that fails means that somebody else's has passed.
const ATTEMPTS: usize = 5;
/// Seconds after which a refused sidecar asks again: kubelet has reported a restart by then.
const RETRY_AFTER: u64 = 2;
/// Characters of a fingerprint that people are shown.
const SHOWN: usize = 12;

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The pod that its token proves.
    pub(super) pod: PodIdentity,
    /// Fingerprint of its holder key.
    pub(super) key: String,
    /// The credential that it says it holds.
    pub(super) held: Option<String>,
    /// The policies that it names, where it serves several.
    pub(super) policies: Vec<String>,
}

/// A key, judged against a fresh read of the record: of the pod's first session, of its first policy where it names several.
struct Judged {
    first: CredentialSession,
    recorded: Option<Holder>,
    sidecar: Instance,
    decision: Decision,
}

/// The fingerprint of a key as it is sent.
///
/// # Errors
/// When there is none, or not as a sidecar writes it.
pub(super) fn read_key(sent: Option<&str>) -> Result<String, Refusal> {
    sent.and_then(holder::fingerprint).ok_or_else(|| {
        let message = format!(
            "header {HOLDER_HEADER} must hold 64 hexadecimal digits: a random key that the sidecar makes at its start"
        );
        refusal(Reason::HolderKeyInvalid, message, None)
    })
}

/// The record on the pod's first session.
pub(super) fn recorded(session: &CredentialSession) -> Option<&Holder> {
    session.status.as_ref()?.issuance.as_ref()?.holder.as_ref()
}

impl Desk {
    /// Binds the caller's key to its pod, or finds it bound. Nothing may be minted before. `session` was read just now.
    ///
    /// # Errors
    /// [`Reason::HolderConflict`] while another key is bound, which is reported.
    pub(super) async fn hold(&self, caller: &Caller, session: &CredentialSession) -> Result<Holder, Refusal> {
        // On a pod's first session the record has just been read.
        let mut read = Some(session.clone()).filter(|s| pod_policies::is_anchor(&s.spec.request));
        for _ in 0..ATTEMPTS {
            let first = match read.take() {
                Some(first) => first,
                None => self.first_of(caller, session).await?,
            };
            let Judged { first, recorded, sidecar, decision } = self.judge(caller, first).await?;
            match (decision, recorded) {
                (Decision::Accept, Some(recorded)) => return Ok(recorded),
                (Decision::Conflict, recorded) => {
                    return Err(self.conflict("credential", caller, session, recorded).await);
                }
                (Decision::Accept | Decision::Rebind, _) => {}
            }
            let holder = holder::bound(&caller.key, sidecar);
            let old = first.status.as_ref().and_then(|s| s.issuance.clone()).unwrap_or_default();
            let new = Issuance { holder: Some(holder.clone()), ..old };
            match write_issuance(&self.client, &first, &new).await {
                Ok(_) => return Ok(holder),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(unavailable("the pod's first session changes all the time"))
    }

    /// Whether the caller may have a stream, as long as the returned record stands. A stream gives no credential, and ends when the record
    /// changes: where the view knows the caller's key, the API server is not asked.
    ///
    /// # Errors
    /// As [`Desk::hold`]; without any record every key may.
    pub(super) async fn may_stream(&self, caller: &Caller) -> Result<Option<Holder>, Refusal> {
        let Some(session) = self.current_of(caller) else { return Ok(None) };
        if let Some(known) = self.known_holder(caller) {
            return Ok(Some(known));
        }
        let judged = self.judge(caller, self.first_of(caller, &session).await?).await?;
        match judged.decision {
            Decision::Conflict => Err(self.conflict("stream", caller, &session, judged.recorded).await),
            Decision::Accept | Decision::Rebind => Ok(judged.recorded),
        }
    }

    /// Whether an open stream goes on although another key is bound. A stream of a sidecar that is gone is no conflict.
    pub(super) async fn stream_goes_on(&self, caller: &Caller) -> bool {
        let Some(session) = self.current_of(caller) else { return true };
        let Ok(first) = self.first_of(caller, &session).await else { return false };
        matches!(self.judge(caller, first).await, Ok(judged) if judged.decision != Decision::Conflict)
    }

    /// Whether the caller's key is still the bound one. `session` was read just now.
    ///
    /// # Errors
    /// [`Reason::HolderConflict`] when another key was bound in the meantime.
    pub(super) async fn still_holds(&self, caller: &Caller, session: &CredentialSession) -> Result<(), Refusal> {
        let first;
        let first = if pod_policies::is_anchor(&session.spec.request) {
            session
        } else {
            first = self.first_of(caller, session).await?;
            &first
        };
        match recorded(first) {
            Some(holder) if holder.key == caller.key => Ok(()),
            _ => Err(refusal(
                Reason::HolderConflict,
                "another sidecar of this pod took over while the credential was minted",
                Some(RETRY_AFTER),
            )),
        }
    }

    fn current_of(&self, caller: &Caller) -> Option<std::sync::Arc<CredentialSession>> {
        view::current(&self.view.of_pod(&caller.pod.pod_uid), self.clock.now()).cloned()
    }

    /// The record as the view has it, if it binds the caller's key.
    fn known_holder(&self, caller: &Caller) -> Option<Holder> {
        let sessions = self.view.of_pod(&caller.pod.pod_uid);
        let first = sessions.iter().find(|s| pod_policies::is_anchor(&s.spec.request))?;
        recorded(first).filter(|record| record.key == caller.key).cloned()
    }

    async fn judge(&self, caller: &Caller, first: CredentialSession) -> Result<Judged, Refusal> {
        let recorded = recorded(&first).cloned();
        let bound = recorded.as_ref().is_some_and(|r| r.key == caller.key);
        // After the record, so that it is no older.
        let sidecar = if bound { Instance::default() } else { self.authenticator.sidecar(&caller.pod).await? };
        let decision = holder::decide(recorded.as_ref(), &caller.key, &sidecar);
        Ok(Judged { first, recorded, sidecar, decision })
    }

    /// A quorum read of the pod's first session: the sessions of a living pod are never removed.
    async fn first_of(&self, caller: &Caller, session: &CredentialSession) -> Result<CredentialSession, Refusal> {
        let request = &session.spec.request;
        let pod = &caller.pod;
        let name = names::session_name(&pod.pod, &pod.pod_uid, pod_policies::anchor_policy(request), 1);
        let api: Api<CredentialSession> = Api::namespaced(self.client.clone(), &pod.namespace);
        let first = api.get_opt(&name).await.map_err(unavailable)?;
        first.filter(|f| f.spec.request.agent.pod.uid == pod.pod_uid).ok_or_else(|| {
            // That of another policy may not be there yet.
            let wait = (*pod_policies::anchor_policy(request) != request.policy_ref.name).then_some(RETRY_AFTER);
            let message = format!(
                "session {name}, on which this pod's sidecar is recorded, is not there; if it stays away, delete the pod to start afresh"
            );
            refusal(Reason::SessionNotFound, message, wait)
        })
    }

    /// The refusal. It is reported on session and pod, but not for each request.
    async fn conflict(
        &self,
        call: &'static str,
        caller: &Caller,
        session: &CredentialSession,
        recorded: Option<Holder>,
    ) -> Refusal {
        self.metrics.holder_conflict(call);
        let recorded = recorded.unwrap_or_default();
        let message = format!(
            "a {call} was asked for with key {}… while the sidecar with key {}… (restart {}) holds this pod's credentials: \
             the sidecar has just restarted, or somebody else has a token of this pod",
            text::cut(&caller.key, SHOWN),
            text::cut(&recorded.key, SHOWN),
            recorded.restarts
        );
        let uid = session.uid().unwrap_or_default();
        let due = self.reports.lock().unwrap_or_else(PoisonError::into_inner).due(&uid, &caller.key, Instant::now());
        if due {
            let event = AuditEvent::of(session, EventName::HolderConflict, Reason::HolderConflict.as_str(), &message);
            self.audit.record(&event, self.clock.now());
            self.events.publish(session, &event, self.clock.now()).await;
        }
        Refusal { session: Some(session.name_any()), ..refusal(Reason::HolderConflict, message, Some(RETRY_AFTER)) }
    }
}
