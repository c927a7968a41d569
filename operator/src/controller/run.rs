//! Start, lead, end.

use super::args::Args;
use super::backstop::{self, Backstop};
use super::caches::is_open;
use super::context::Context;
use super::error::Error;
use super::retention::Retention;
use super::watches::{Queues, watches};
use super::{approval, notify, pod, policy, provider, session};
use crate::metrics::ControllerMetrics;
use crate::process::{self, AuditLog, Process, RunError};
use crate::turns::Turns;
use exeat_crds::names;
use exeat_crds::v1alpha1::Phase;
use exeat_runtime::clock::{Clock, SystemClock};
use exeat_runtime::lease::{KubeLease, elect};
use futures::channel::mpsc::UnboundedReceiver;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use jiff::SignedDuration;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Runs until it is told to stop.
///
/// # Errors
/// What ended it otherwise; the process should exit and be started again.
pub async fn run(args: Args) -> Result<(), RunError> {
    let process = Process::start(&args.process).await?;
    let (client, shutdown) = (process.client.clone(), process.shutdown.clone());
    let metrics = ControllerMetrics::register(&process.registry).map_err(RunError::setup)?;
    let log = AuditLog::start(&args.process, &process, "controller", names::CONTROLLER).await?;
    let connected = process.readiness.latch("Kubernetes API");
    let config = args.process.lease.config("exeat-controller", &args.process.pod).map_err(RunError::setup)?;
    let leadership = elect(KubeLease::new(client.clone(), &config), config, SystemClock);
    let context = |caches| Context {
        client: client.clone(),
        caches,
        clock: Arc::new(SystemClock) as Arc<dyn Clock>,
        gate: leadership.gate(),
        audit: log.audit.clone(),
        events: process::events(&args.process, &client, "controller"),
        metrics: metrics.clone(),
        backstop: Backstop::default(),
        max_pending: args.max_pending,
        max_open_approvals: args.max_open_approvals,
        approval_patience: SignedDuration::try_from(args.approval_patience).unwrap_or(SignedDuration::MAX),
        retention: Retention {
            age: SignedDuration::try_from(args.session_retention_age).unwrap_or(SignedDuration::MAX),
            count: args.session_retention_count,
        },
    };
    let work = async {
        client.apiserver_version().await.map_err(RunError::setup)?;
        connected.release();
        leadership.acquired().await?;
        metrics.set_leader(true);
        tracing::info!("this replica decides now");
        let (caches, queues, drivers) = watches(&client);
        let context = Arc::new(context(caches));
        lead(context, queues, drivers, &args).await
    };
    let ended = tokio::select! {
        () = shutdown.wait() => Ok(()),
        end = leadership.ended() => Err(end.into()),
        result = work => result,
        error = process.serve_health() => Err(error),
    };
    metrics.set_leader(false);
    leadership.release().await;
    log.finish().await;
    ended
}

/// Runs all controllers. No decision is made before every cache is whole: an empty cache looks like a deleted policy.
async fn lead(
    context: Arc<Context>,
    queues: Queues,
    drivers: Vec<BoxFuture<'static, ()>>,
    args: &Args,
) -> Result<(), RunError> {
    let namespace = &args.process.pod.pod_namespace;
    let policies = args.admission_policies.as_deref();
    let backstop = backstop::start(&context, policies, namespace).await.map_err(RunError::setup)?;
    let watching = futures::future::select_all(drivers);
    let c = Arc::clone(&context);
    let controllers = async {
        wait_for_caches(&c).await?;
        tracing::info!(sessions = c.caches.sessions.len(), pods = c.caches.pods.len(), "all watched objects are known");
        let n = args.concurrency;
        tokio::select! {
            () = control("provider", queues.providers, c.caches.providers.clone(), provider::reconcile, &c, n) => {},
            () = control("policy", queues.policies, c.caches.policies.clone(), policy::reconcile, &c, n) => {},
            () = control("session", queues.sessions, c.caches.sessions.clone(), session::reconcile, &c, n) => {},
            () = control("pod", queues.pods, c.caches.pods.clone(), pod::reconcile, &c, n) => {},
            () = control("approval", queues.approvals, c.caches.approvals.clone(), approval::reconcile, &c, n) => {},
            () = notify::keep(&c, &args.notify, &args.process.cluster_name) => {},
        }
        Err(RunError::PartEnded("a controller"))
    };
    tokio::select! {
        _ = watching => Err(RunError::PartEnded("a watch")),
        result = controllers => result,
        () = count_active(&context) => Err(RunError::PartEnded("the session count")),
        () = backstop::keep(&context, backstop) => Err(RunError::PartEnded("the watch of admission policies")),
    }
}

async fn wait_for_caches(context: &Context) -> Result<(), RunError> {
    let caches = &context.caches;
    let objects = futures::future::try_join4(
        caches.providers.wait_until_ready(),
        caches.policies.wait_until_ready(),
        caches.sessions.wait_until_ready(),
        caches.pods.wait_until_ready(),
    );
    let people = futures::future::try_join(caches.approvals.wait_until_ready(), caches.holds.wait_until_ready());
    futures::future::try_join(objects, people).await.map(|_| ()).map_err(RunError::setup)
}

async fn count_active(context: &Context) {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        let active =
            context.caches.sessions.state_filter(|s| s.status.as_ref().and_then(|s| s.phase) == Some(Phase::Active));
        context.metrics.set_active(active.len());
        count_open(context);
    }
}

/// What waits for people, and for how long.
fn count_open(context: &Context) {
    let open = context.caches.approvals.state_filter(is_open);
    let oldest = open.iter().filter_map(|a| a.metadata.creation_timestamp.as_ref()).map(|t| t.0).min();
    let age = oldest.map_or(0.0, |t| context.clock.now().duration_since(t).as_secs_f64());
    context.metrics.set_open_approvals(open.len(), age);
}

async fn control<K, F>(
    kind: &'static str,
    queue: UnboundedReceiver<ObjectRef<K>>,
    store: Store<K>,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Clone + Send + Sync + 'static,
    context: &Arc<Context>,
    at_once: u16,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Future<Output = Result<Action, Error>> + Send + 'static,
{
    let failures = Failures::default();
    let policy = move |object: Arc<K>, error: &Error, context: Arc<Context>| {
        context.metrics.failed(kind, error.code());
        let delay = failures.next(&ObjectRef::from_obj(object.as_ref()).to_string());
        tracing::warn!(kind, %error, ?delay, object = %ObjectRef::from_obj(object.as_ref()), "a reconcile failed; it is tried again");
        Action::requeue(delay)
    };
    let at_once = usize::from(at_once);
    let (turns, known) = (Arc::new(Turns::new(at_once, at_once.div_ceil(2))), store.clone());
    let in_turn = move |object: Arc<K>, context: Arc<Context>| {
        let (turns, known, reconcile) = (Arc::clone(&turns), known.clone(), reconcile.clone());
        async move {
            let _turn = turns.take(&object.namespace().unwrap_or_default()).await;
            // It may have waited for long: what it is by now counts.
            match known.get(&ObjectRef::from_obj(object.as_ref())) {
                Some(object) => reconcile(object, context).await,
                None => Ok(Action::await_change()),
            }
        }
    };
    // How many are under way is up to the turns.
    Controller::for_stream(stream::pending::<Result<K, watcher::Error>>(), store)
        .with_config(Config::default().concurrency(0))
        .reconcile_on(queue)
        .run(in_turn, policy, Arc::clone(context))
        .for_each(|_| futures::future::ready(()))
        .boxed()
        .await;
}

/// How often each object failed in a row of late, so that the delay grows from 100 ms to 30 s.
#[derive(Default)]
struct Failures(std::sync::Mutex<std::collections::HashMap<String, (u32, tokio::time::Instant)>>);

impl Failures {
    fn next(&self, object: &str) -> Duration {
        let now = tokio::time::Instant::now();
        let mut failures = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failures.retain(|_, (_, at)| now.duration_since(*at) < Duration::from_secs(120));
        let entry = failures.entry(object.to_owned()).or_insert((0, now));
        *entry = (entry.0 + 1, now);
        let backoff = exeat_runtime::backoff::Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        backoff.delay(entry.0 - 1, rand::random::<f64>())
    }
}
