//! Events for people, written directly: kube's Recorder folds equal ones into a series and drops their notes. They are no evidence:
//! the audit log is.

use crate::audit::AuditEvent;
use crate::limiter::Limiter;
use exeat_crds::{Approval, CredentialSession, text};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Resource, ResourceExt};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Longest note that the API server takes, bytes.
const MAX_NOTE: usize = 1024;
/// What one namespace is told of: one thing in this time, after so many at once. Kubernetes keeps each Event for an hour.
const PAUSE: Duration = Duration::from_secs(1);
const BURST: u32 = 100;
/// Things that are told at once beside what they tell of: nobody waits for them, and they stand in others' way.
const BESIDE: usize = 2;
/// Those that wait for that; what is more is left out.
const WAITING: usize = 2048;

/// What an Event is about, and what else it concerns.
type On = (ObjectReference, Option<ObjectReference>);

/// Writes Events.
#[derive(Clone)]
pub struct Events {
    client: kube::Client,
    controller: &'static str,
    instance: String,
    limiter: Arc<Mutex<Limiter>>,
    beside: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Events {
    /// `controller` names the program, `instance` the pod.
    pub fn new(client: kube::Client, controller: &'static str, instance: &str) -> Self {
        let limiter = Arc::new(Mutex::new(Limiter::slow(PAUSE, BURST)));
        let (beside, waiting) = (Arc::new(Semaphore::new(BESIDE)), Arc::new(Semaphore::new(WAITING)));
        Self { client, controller, instance: text::cut(instance, 128).to_owned(), limiter, beside, waiting }
    }

    /// Publishes on the session and on its pod. A failure is logged and nothing more: people can do without an Event. The same holds
    /// for a namespace with so many that they would burden the others.
    pub async fn publish(&self, session: &CredentialSession, event: &AuditEvent, now: Timestamp) {
        if self.admits(event) {
            self.write(event, &on_both(session, event), now).await;
        }
    }

    /// As [`Events::publish`], but the caller goes on at once: a thousand sessions that end do not wait for what people are told of them.
    pub fn publish_beside(&self, session: &CredentialSession, event: AuditEvent, now: Timestamp) {
        if !self.admits(&event) {
            return;
        }
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            tracing::debug!(event = event.event.as_str(), "too many Events wait to be written: left out");
            return;
        };
        let (events, on) = (self.clone(), on_both(session, &event));
        tokio::spawn(async move {
            let _turn = events.beside.acquire().await;
            events.write(&event, &on, now).await;
            drop(place);
        });
    }

    /// Publishes on an approval, as [`Events::publish`] does on a session.
    pub async fn publish_on_approval(&self, approval: &Approval, event: &AuditEvent, now: Timestamp) {
        if self.admits(event) {
            self.write(event, &[(approval.object_ref(&()), None)], now).await;
        }
    }

    fn admits(&self, event: &AuditEvent) -> bool {
        let namespace = &event.namespace;
        let admits =
            self.limiter.lock().unwrap_or_else(PoisonError::into_inner).take(namespace, Instant::now()).is_ok();
        if !admits {
            tracing::debug!(%namespace, event = event.event.as_str(), "too many Events in this namespace: left out");
        }
        admits
    }

    async fn write(&self, event: &AuditEvent, on: &[On], now: Timestamp) {
        let namespace = event.namespace.clone();
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let writes = on.iter().map(|(regarding, related)| {
            let api = api.clone();
            let body = self.body(&namespace, regarding.clone(), related.clone(), event, now);
            async move { api.create(&PostParams::default(), &body).await }
        });
        for written in futures::future::join_all(writes).await {
            if let Err(error) = written {
                tracing::debug!(%error, event = event.event.as_str(), "an Event could not be written");
            }
        }
    }

    fn body(
        &self,
        namespace: &str,
        regarding: ObjectReference,
        related: Option<ObjectReference>,
        event: &AuditEvent,
        now: Timestamp,
    ) -> Event {
        let warning = event.event.is_warning();
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", text::cut(regarding.name.as_deref().unwrap_or("exeat"), 50))),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            action: Some(event.event.as_str().to_owned()),
            reason: Some(event.event.as_str().to_owned()),
            note: Some(text::cut(&format!("{}: {}", event.reason, event.message), MAX_NOTE).to_owned()),
            type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
            regarding: Some(regarding),
            related,
            reporting_controller: Some(format!("exeat.dev/{}", self.controller)),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

/// On the session and on its pod.
fn on_both(session: &CredentialSession, event: &AuditEvent) -> [On; 2] {
    let on_session = session.object_ref(&());
    let on_pod = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(event.pod.clone()),
        namespace: session.namespace(),
        uid: Some(event.pod_uid.clone()),
        ..ObjectReference::default()
    };
    [(on_session.clone(), Some(on_pod.clone())), (on_pod, Some(on_session))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::EventName;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tower::service_fn;

    fn session(namespace: usize) -> CredentialSession {
        serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": "s", "namespace": format!("n{namespace}")},
            "spec": {"request": {"policyRef": {"name": "p", "uid": "u"}, "providerRef": {"name": "here"}, "authorityHash": "h", "number": 1,
                "agent": {"serviceAccount": "sa", "pod": {"name": "a", "uid": "u"}}}}}))
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_takes_no_events_holds_up_nobody_and_few_are_under_way() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let never = service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let events = Events::new(kube::Client::new(never, "default"), "controller", "controller-0");
        let now = Timestamp::UNIX_EPOCH;
        for n in 0..2 * WAITING {
            let session = session(n);
            let event = AuditEvent::of(&session, EventName::SidecarSilent, "SidecarSilent", "m");
            events.publish_beside(&session, event, now);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2 * BESIDE, "each is about a session and its pod");
        assert_eq!(events.waiting.available_permits(), 0, "what is more is left out");
    }
}
