//! Sessions of a story's pods.

use exeat_crds::CredentialSession;
use exeat_crds::v1alpha1::Phase;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::{Failure, Result, Scope, ensure, wait_for};

/// Where a session is.
pub fn phase(session: &CredentialSession) -> Option<Phase> {
    session.status.as_ref().and_then(|s| s.phase)
}

impl Scope {
    /// All sessions that a pod has or had, by number.
    ///
    /// # Errors
    /// The API server's.
    pub async fn sessions(&self, pod: &str) -> Result<Vec<CredentialSession>> {
        let all = self.api::<CredentialSession>().list(&ListParams::default()).await?;
        let mut ours: Vec<_> = all.items.into_iter().filter(|s| s.spec.request.agent.pod.name == pod).collect();
        ours.sort_by_key(|s| s.spec.request.number);
        Ok(ours)
    }

    /// Waits until the `number`-th session of a pod is in a phase.
    ///
    /// # Errors
    /// Where it is instead, after that many seconds.
    pub async fn session(&self, pod: &str, number: i32, wanted: Phase, seconds: u64) -> Result<CredentialSession> {
        wait_for(&format!("session {number} of pod {pod} is {wanted:?}"), seconds, async || {
            let sessions = self.sessions(pod).await?;
            let found = sessions.into_iter().find(|s| s.spec.request.number == number);
            let session = found.ok_or_else(|| Failure::new("there is no such session"))?;
            ensure!(phase(&session) == Some(wanted), "it is {:?}", session.status);
            Ok(session)
        })
        .await
    }

    /// Revokes a session, as a person does.
    ///
    /// # Errors
    /// The API server's.
    pub async fn revoke(&self, session: &CredentialSession, reason: &str) -> Result {
        let body = json!({"spec": {"revoke": {"reason": reason}}});
        let api = self.api::<CredentialSession>();
        api.patch(&session.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await?;
        Ok(())
    }

    /// Waits until an object has an Event of a reason, and gives its note.
    ///
    /// # Errors
    /// Those that it has instead, after 20 seconds.
    pub async fn event(&self, uid: &str, reason: &str) -> Result<String> {
        wait_for(&format!("Event {reason}"), 20, async || {
            let events = self.api::<Event>().list(&ListParams::default()).await?.items;
            let about = events.iter().filter(|e| e.regarding.as_ref().and_then(|r| r.uid.as_deref()) == Some(uid));
            let reasons: Vec<_> = about.clone().filter_map(|e| e.reason.as_deref()).collect();
            let found = about.clone().find(|e| e.reason.as_deref() == Some(reason));
            let found = found.ok_or_else(|| Failure::new(format!("there are {reasons:?}")))?;
            Ok(found.note.clone().unwrap_or_default())
        })
        .await
    }
}
