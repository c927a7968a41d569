//! Which start of a sidecar may fetch credentials for its pod. Pure.
//!
//! A token proves a pod, but whoever may create tokens in a namespace has one too. So each start of a sidecar makes a random key, the first
//! key that asks is bound to the pod, and another one is taken only when kubelet says that the sidecar's container is another instance.
//!
//! The record stands on the pod's first session, which lives as long as its pod: one object, changed under the version that was read, so that
//! two replicas can't bind two keys. The pod is read *after* the record: what kubelet says is then never older than what the record was
//! decided on.

use exeat_crds::digest::sha256_hex;
use exeat_crds::names;
use exeat_crds::v1alpha1::Holder;
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Characters of a key as sidecars send it: 32 bytes in hex.
const KEY_LENGTH: usize = 64;
/// A conflict of one key is reported again after this long.
const REPORT_AGAIN: Duration = Duration::from_secs(60);
/// Keys of one session that are reported in that time; a caller that makes up a key for each request is known by then.
const REPORTS_PER_SESSION: usize = 3;
/// Sessions whose reports are remembered.
const MAX_REPORTED: usize = 10_000;

/// One run of a sidecar's container, as kubelet reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// How often the container has restarted.
    pub restarts: i32,
    /// The container's ID; empty until kubelet has reported it.
    pub container: String,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is the one that is bound.
    Accept,
    /// It is to be bound, in the place of none or of a sidecar that is gone for sure.
    Rebind,
    /// Another sidecar may be alive.
    Conflict,
}

/// The record's form of a key; nothing if it is not written as a sidecar writes it.
pub fn fingerprint(key: &str) -> Option<String> {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (key.len() == KEY_LENGTH && key.bytes().all(hex)).then(|| sha256_hex(key.as_bytes()))
}

/// What kubelet says of a pod's sidecar now.
pub fn instance(pod: &Pod) -> Instance {
    let statuses = pod.status.as_ref().and_then(|s| s.init_container_statuses.as_ref());
    let sidecar = statuses.into_iter().flatten().find(|s| s.name == names::SIDECAR);
    sidecar.map_or_else(Instance::default, |s| Instance {
        restarts: s.restart_count,
        container: s.container_id.clone().unwrap_or_default(),
    })
}

/// Decides over the key with this [`fingerprint`].
pub fn decide(recorded: Option<&Holder>, key: &str, sidecar: &Instance) -> Decision {
    let Some(recorded) = recorded else { return Decision::Rebind };
    if recorded.key == key {
        return Decision::Accept;
    }
    let other_container =
        !recorded.container.is_empty() && !sidecar.container.is_empty() && recorded.container != sidecar.container;
    if sidecar.restarts > recorded.restarts || other_container { Decision::Rebind } else { Decision::Conflict }
}

/// The record that binds a key.
pub fn bound(key: &str, sidecar: Instance) -> Holder {
    Holder { key: key.to_owned(), restarts: sidecar.restarts, container: sidecar.container }
}

/// Which conflicts were reported of late.
#[derive(Debug, Default)]
pub struct Reports(HashMap<String, Vec<(String, Instant)>>);

impl Reports {
    /// Whether a conflict is to be reported now; it then counts as reported.
    pub fn due(&mut self, session_uid: &str, key: &str, now: Instant) -> bool {
        let recent = |at: &Instant| now.duration_since(*at) < REPORT_AGAIN;
        if self.0.len() >= MAX_REPORTED {
            self.0.retain(|_, keys| keys.iter().any(|(_, at)| recent(at)));
        }
        if self.0.len() >= MAX_REPORTED && !self.0.contains_key(session_uid) {
            return false;
        }
        let keys = self.0.entry(session_uid.to_owned()).or_default();
        keys.retain(|(_, at)| recent(at));
        if keys.len() >= REPORTS_PER_SESSION || keys.iter().any(|(k, _)| k == key) {
            return false;
        }
        keys.push((key.to_owned(), now));
        true
    }
}

#[cfg(test)]
#[path = "holder_tests.rs"]
mod tests;
