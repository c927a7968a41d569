//! An API server in memory that holds one approval, with conditional writes, and what others do to it between two requests.

use super::backstop::Backstop;
use super::caches::Caches;
use super::context::Context;
use super::retention::Retention;
use crate::audit::Audit;
use crate::audit::chain::{Chain, Origin};
use crate::audit::key::Key;
use crate::audit::metrics::AuditMetrics;
use crate::audit::sink::{Sink, SinkError};
use crate::audit::spool::{Entry, Limits};
use crate::events::Events;
use crate::metrics::ControllerMetrics;
use async_trait::async_trait;
use exeat_crds::Approval;
use exeat_runtime::clock::ManualClock;
use exeat_runtime::lease::WriteGate;
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use kube::runtime::reflector::store;
use prometheus::Registry;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::Barrier;
use tower::service_fn;

/// A change by somebody else.
pub(super) type Change = fn(&mut Value);

/// Clones share it.
#[derive(Clone)]
pub(super) struct World(Arc<Inner>);

struct Inner {
    approval: Mutex<Value>,
    /// Method and status of each answer.
    answers: Mutex<Vec<(String, u16)>>,
    /// One comes before each write.
    changes: Mutex<VecDeque<Change>>,
    /// How many answers to writes get lost on their way.
    lost: Mutex<usize>,
    /// The first reads are answered together: what each of them says is overtaken by the first write.
    together: Barrier,
    reads: Mutex<usize>,
    first: usize,
}

impl World {
    /// With this approval. So many of the first reads see the same.
    pub(super) fn new(approval: &Approval, first: usize) -> Self {
        let mut approval = serde_json::to_value(approval).unwrap();
        approval["metadata"]["resourceVersion"] = json!("1");
        Self(Arc::new(Inner {
            approval: Mutex::new(approval),
            answers: Mutex::default(),
            changes: Mutex::default(),
            lost: Mutex::default(),
            together: Barrier::new(first.max(1)),
            reads: Mutex::default(),
            first,
        }))
    }

    /// Lets a change come right before the next write that none comes before yet.
    pub(super) fn change_before_a_write(&self, change: Change) {
        self.0.changes.lock().unwrap().push_back(change);
    }

    /// Loses the answer to the next write.
    pub(super) fn lose_an_answer(&self) {
        *self.0.lost.lock().unwrap() += 1;
    }

    pub(super) fn approval(&self) -> Approval {
        serde_json::from_value(self.0.approval.lock().unwrap().clone()).unwrap()
    }

    /// How often a method was answered so.
    pub(super) fn answered(&self, method: &str, status: u16) -> usize {
        self.0.answers.lock().unwrap().iter().filter(|(m, s)| m == method && *s == status).count()
    }

    async fn answer(&self, method: &str, sent: &Value) -> (u16, Value) {
        if method == "GET" {
            let read = self.0.approval.lock().unwrap().clone();
            let nth = {
                let mut reads = self.0.reads.lock().unwrap();
                *reads += 1;
                *reads
            };
            if nth <= self.0.first {
                self.0.together.wait().await;
            }
            return (200, read);
        }
        let change = self.0.changes.lock().unwrap().pop_front();
        let mut approval = self.0.approval.lock().unwrap();
        if let Some(change) = change {
            change(&mut approval);
            renumber(&mut approval);
        }
        let stale = |key: &str| !sent["metadata"][key].is_null() && sent["metadata"][key] != approval["metadata"][key];
        if stale("resourceVersion") || stale("uid") {
            return (409, failure(409, "Conflict"));
        }
        approval["status"] = sent["status"].clone();
        renumber(&mut approval);
        let mut lost = self.0.lost.lock().unwrap();
        if *lost > 0 {
            *lost -= 1;
            return (504, failure(504, "Timeout"));
        }
        (200, approval.clone())
    }

    fn client(&self) -> Client {
        let world = self.clone();
        let serve = service_fn(move |request: Request<Body>| {
            let world = world.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let sent = serde_json::from_slice(&body).unwrap_or_default();
                let (status, answer) = world.answer(head.method.as_str(), &sent).await;
                world.0.answers.lock().unwrap().push((head.method.to_string(), status));
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, Infallible>(Response::builder().status(status).body(answer).unwrap())
            }
        });
        Client::new(serve, "default")
    }

    /// A controller that leads, with empty caches.
    pub(super) fn context(&self, now: Timestamp) -> Context {
        let client = self.client();
        let origin = Origin { program: "controller".into(), writer: "controller-0".into(), boot: "boot".into() };
        let limits = Limits { records: 1000, bytes: 1 << 20 };
        let metrics = AuditMetrics::register(&Registry::new()).unwrap();
        Context {
            caches: Arc::new(Caches::new(store().0, store().0, store().0, store().0, store().0, store().0)),
            clock: Arc::new(ManualClock::new(now)),
            gate: WriteGate::always_open(),
            audit: Audit::start(Chain::new(Key::generate(), origin, "test"), limits, Box::new(Nowhere), metrics),
            events: Events::new(client.clone(), "controller", "controller-0"),
            metrics: ControllerMetrics::register(&Registry::new()).unwrap(),
            backstop: Backstop::default(),
            max_pending: 10,
            max_open_approvals: 10,
            approval_patience: SignedDuration::from_mins(10),
            retention: Retention { age: SignedDuration::from_hours(1), count: 10 },
            client,
        }
    }
}

fn renumber(approval: &mut Value) {
    let version: u64 = approval["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    approval["metadata"]["resourceVersion"] = json!((version + 1).to_string());
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason, "reason": reason, "code": code})
}

struct Nowhere;

#[async_trait]
impl Sink for Nowhere {
    fn is_local(&self) -> bool {
        true
    }

    async fn deliver(&mut self, _: Vec<Entry>) -> Result<(), SinkError> {
        Ok(())
    }
}
