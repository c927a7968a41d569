//! Writes the chain's head into the ConfigMap `exeat-audit-heads`. Each program touches its own entry, and removes old ones, by a JSON merge
//! patch (RFC 7396): the API server merges entries of different programs, so that no two writers are in conflict.

use super::chain::{Head, Origin};
use super::heads::{Anchor, Schedule, entry_name, outdated};
use super::metrics::AuditMetrics;
use async_trait::async_trait;
use exeat_crds::names;
use exeat_runtime::clock::Clock;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Longest time for one write.
const WRITE: Duration = Duration::from_secs(10);

/// Why the head was not written.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The API server refused or did not answer.
    #[error("ConfigMap exeat-audit-heads can't be written: {0}")]
    Kube(#[from] kube::Error),
    /// The API server took too long.
    #[error("ConfigMap exeat-audit-heads was not written within {} s", WRITE.as_secs())]
    Slow,
    /// The entry can't be written as JSON.
    #[error("the chain's head can't be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Where heads are kept.
#[async_trait]
pub trait HeadStore: Send {
    /// Sets entries, or removes those without a value. Returns all that are there then.
    ///
    /// # Errors
    /// When it is not certain that all was done.
    async fn change(
        &mut self,
        entries: &BTreeMap<String, Option<String>>,
    ) -> Result<BTreeMap<String, String>, AnchorError>;
}

/// The ConfigMap.
pub struct ConfigMapHeads {
    api: Api<ConfigMap>,
    params: PatchParams,
}

impl ConfigMapHeads {
    /// In `namespace`, by the field manager `manager`.
    pub fn new(client: Client, namespace: &str, manager: &str) -> Self {
        let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        Self { api: Api::namespaced(client, namespace), params }
    }
}

#[async_trait]
impl HeadStore for ConfigMapHeads {
    async fn change(
        &mut self,
        entries: &BTreeMap<String, Option<String>>,
    ) -> Result<BTreeMap<String, String>, AnchorError> {
        let body = Patch::Merge(json!({"data": entries}));
        let written = timeout(WRITE, self.api.patch(names::AUDIT_HEADS_CONFIG_MAP, &self.params, &body)).await;
        Ok(written.map_err(|_| AnchorError::Slow)??.data.unwrap_or_default())
    }
}

/// Keeps one chain's head written, in a task of its own.
pub struct Anchors {
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Anchors {
    /// Follows `head`.
    pub fn start(
        store: Box<dyn HeadStore>,
        origin: Origin,
        key_id: &str,
        head: watch::Receiver<Option<Head>>,
        clock: Arc<dyn Clock>,
        metrics: AuditMetrics,
    ) -> Self {
        let closing = watch::Sender::new(false);
        let keeper = Keeper { store, origin, key_id: key_id.to_owned(), clock, metrics, schedule: Schedule::default() };
        let task = tokio::spawn(keeper.keep(head, closing.subscribe()));
        Self { closing, task }
    }

    /// Writes the last head if it changed, and ends, within `limit`.
    pub async fn finish(self, limit: Duration) {
        self.closing.send_replace(true);
        if timeout(limit, self.task).await.is_err() {
            tracing::warn!("the last head of the audit log was not written");
        }
    }
}

struct Keeper {
    store: Box<dyn HeadStore>,
    origin: Origin,
    key_id: String,
    clock: Arc<dyn Clock>,
    metrics: AuditMetrics,
    schedule: Schedule,
}

impl Keeper {
    async fn keep(mut self, mut source: watch::Receiver<Option<Head>>, mut closing: watch::Receiver<bool>) {
        let mut tried: Option<Instant> = None;
        loop {
            let head = *source.borrow_and_update();
            let closed = *closing.borrow_and_update();
            let wait = self.schedule.wait(head.as_ref(), tried.map(|at| at.elapsed()));
            match (head, wait) {
                (Some(head), _) if closed && !self.schedule.is_written(&head) => return self.write(head).await,
                _ if closed => return,
                (Some(head), Some(Duration::ZERO)) => {
                    self.write(head).await;
                    tried = Some(Instant::now());
                    continue;
                }
                _ => {}
            }
            tokio::select! {
                changed = source.changed() => if changed.is_err() { return },
                changed = closing.changed() => if changed.is_err() { return },
                () = sleep(wait.unwrap_or(Duration::MAX)) => {}
            }
        }
    }

    async fn write(&mut self, head: Head) {
        let written = self.try_write(head).await;
        self.metrics.anchored(written.is_ok());
        self.schedule.tried(head, written.is_ok());
        if let Err(error) = written {
            tracing::warn!(%error, "the head of the audit log is not anchored yet; it is tried again");
        }
    }

    async fn try_write(&mut self, head: Head) -> Result<(), AnchorError> {
        let now = self.clock.now();
        let name = entry_name(&self.origin.writer, &self.origin.boot);
        let value = serde_json::to_string(&Anchor::new(&self.origin.program, &self.key_id, &head, now))?;
        let entries = self.store.change(&BTreeMap::from([(name.clone(), Some(value))])).await?;
        let gone: BTreeMap<_, _> = outdated(&entries, &name, now).into_iter().map(|name| (name, None)).collect();
        if !gone.is_empty() {
            self.store.change(&gone).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::heads::MAX_AGE;
    use crate::audit::record::Mac;
    use crate::audit::tests::origin;
    use exeat_runtime::clock::ManualClock;
    use jiff::Timestamp;
    use std::sync::Mutex;

    #[derive(Default)]
    struct World {
        entries: BTreeMap<String, String>,
        writes: Vec<(Instant, u64)>,
        down: bool,
    }

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<World>>);

    #[async_trait]
    impl HeadStore for Memory {
        async fn change(
            &mut self,
            entries: &BTreeMap<String, Option<String>>,
        ) -> Result<BTreeMap<String, String>, AnchorError> {
            let mut world = self.0.lock().unwrap();
            if world.down {
                return Err(AnchorError::Slow);
            }
            for (name, value) in entries {
                match value {
                    Some(value) => {
                        let anchor: Anchor = serde_json::from_str(value).unwrap();
                        world.writes.push((Instant::now(), anchor.sequence));
                        world.entries.insert(name.clone(), value.clone());
                    }
                    None => drop(world.entries.remove(name)),
                }
            }
            Ok(world.entries.clone())
        }
    }

    fn head(sequence: u64) -> Option<Head> {
        Some(Head { sequence, mac: Mac::new([1; 32]) })
    }

    fn start(memory: &Memory) -> (watch::Sender<Option<Head>>, Anchors) {
        let heads = watch::Sender::new(None);
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH + MAX_AGE * 2));
        let metrics = AuditMetrics::register(&prometheus::Registry::new()).unwrap();
        let anchors =
            Anchors::start(Box::new(memory.clone()), origin("pod-a", "b0"), "id", heads.subscribe(), clock, metrics);
        (heads, anchors)
    }

    fn writes(memory: &Memory) -> Vec<u64> {
        memory.0.lock().unwrap().writes.iter().map(|(_, sequence)| *sequence).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn many_changes_are_few_writes_and_the_end_is_written() {
        let memory = Memory::default();
        let (heads, anchors) = start(&memory);
        let begun = Instant::now();
        for sequence in 0..100 {
            heads.send_replace(head(sequence));
            sleep(Duration::from_millis(100)).await;
        }
        let written = memory.0.lock().unwrap().writes.clone();
        let seconds: Vec<_> = written.iter().map(|(at, _)| (*at - begun).as_secs()).collect();
        assert_eq!(seconds, [0, 3, 6, 9]);
        anchors.finish(Duration::from_secs(1)).await;
        assert_eq!(writes(&memory).last(), Some(&99));
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_away_is_tried_again_and_old_entries_go() {
        let memory = Memory::default();
        let old =
            serde_json::to_string(&Anchor::new("issuer", "id", &head(1).unwrap(), Timestamp::UNIX_EPOCH)).unwrap();
        memory.0.lock().unwrap().entries.insert("gone.b".to_owned(), old);
        memory.0.lock().unwrap().down = true;
        let (heads, anchors) = start(&memory);
        heads.send_replace(head(0));
        sleep(Duration::from_secs(20)).await;
        assert!(writes(&memory).is_empty());
        memory.0.lock().unwrap().down = false;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(writes(&memory), [0]);
        assert_eq!(memory.0.lock().unwrap().entries.keys().collect::<Vec<_>>(), ["pod-a.b0"]);
        anchors.finish(Duration::from_secs(1)).await;
        assert_eq!(writes(&memory), [0], "nothing changed, so nothing is written");
    }
}
