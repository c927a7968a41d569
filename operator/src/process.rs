//! What both programs are as processes: settings, connection to the API server, health server, end.

use crate::audit::anchor::{Anchors, ConfigMapHeads};
use crate::audit::args::AuditArgs;
use crate::audit::chain::{Chain, Origin};
use crate::audit::metrics::AuditMetrics;
use crate::audit::{Audit, secret};
use crate::events::Events;
use clap::Args;
use exeat_runtime::args::{ClientArgs, HealthArgs, LeaseArgs, PodArgs, TelemetryArgs};
use exeat_runtime::clock::SystemClock;
use exeat_runtime::lease::LeaseEnd;
use exeat_runtime::readiness::Readiness;
use exeat_runtime::shutdown::Shutdown;
use exeat_runtime::{health, telemetry};
use prometheus::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Longest time, at the end, for the sink to take the last records.
const FLUSH: Duration = Duration::from_secs(6);
/// Longest time after that for the last head.
const LAST_HEAD: Duration = Duration::from_secs(2);

/// Settings of both programs.
#[derive(Args, Clone, Debug)]
pub struct ProcessArgs {
    /// Name of this cluster, written into audit records and session tags.
    #[arg(long, env = "EXEAT_CLUSTER_NAME", default_value = "")]
    pub cluster_name: String,

    /// Which pod this is.
    #[command(flatten)]
    pub pod: PodArgs,
    /// API server.
    #[command(flatten)]
    pub client: ClientArgs,
    /// Leader election.
    #[command(flatten)]
    pub lease: LeaseArgs,
    /// Health and metrics.
    #[command(flatten)]
    pub health: HealthArgs,
    /// Logging.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Audit.
    #[command(flatten)]
    pub audit: AuditArgs,
}

/// Why a program ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting or the machine is not as needed.
    #[error("{0}")]
    Setup(String),
    /// Another replica decides now: this one starts again, with nothing remembered.
    #[error("leadership ended: {0}")]
    Lease(#[from] LeaseEnd),
    /// A part that must run for good has ended.
    #[error("{0} ended")]
    PartEnded(&'static str),
}

impl RunError {
    /// Any error of setting up, in one line.
    pub fn setup(error: impl std::fmt::Display) -> Self {
        Self::Setup(error.to_string())
    }
}

/// A started process, before it does its own work.
pub struct Process {
    /// Client of the API server.
    pub client: kube::Client,
    /// Where metrics are registered.
    pub registry: Registry,
    /// What `/readyz` waits for.
    pub readiness: Readiness,
    /// The request to stop.
    pub shutdown: Shutdown,
    health: TcpListener,
}

impl Process {
    /// Starts logging, listens for signals and on the health server's address, and makes a client.
    ///
    /// # Errors
    /// The setting or the part of the machine that is not as needed.
    pub async fn start(args: &ProcessArgs) -> Result<Self, RunError> {
        telemetry::init(&args.telemetry);
        Ok(Self {
            shutdown: Shutdown::on_signals().map_err(RunError::setup)?,
            client: args.client.client().await.map_err(RunError::setup)?,
            registry: Registry::new(),
            readiness: Readiness::new(),
            health: TcpListener::bind(args.health.health_listen).await.map_err(RunError::setup)?,
        })
    }

    /// Serves health until it fails; a request to stop is the other parts' to answer, which may have work to finish.
    ///
    /// To be called once every latch of [`Process::readiness`] is taken, so that the first answer is no false "ready".
    pub async fn serve_health(self) -> RunError {
        let Self { registry, readiness, shutdown, health: listener, .. } = self;
        let router = health::router(readiness, shutdown.clone(), registry);
        match health::serve(listener, router, shutdown.clone()).await {
            Err(error) => RunError::setup(error),
            Ok(()) if shutdown.is_signalled() => std::future::pending().await,
            Ok(()) => RunError::PartEnded("the health server"),
        }
    }
}

/// The audit log of one start of a program.
pub struct AuditLog {
    /// Where to record.
    pub audit: Audit,
    anchors: Anchors,
}

impl AuditLog {
    /// Gets the key of `program` (`controller` or `issuer`), opens the sink, and begins a chain. `manager` is the program's field manager.
    ///
    /// # Errors
    /// The Secret or the setting that is not as needed.
    pub async fn start(args: &ProcessArgs, process: &Process, program: &str, manager: &str) -> Result<Self, RunError> {
        let (client, namespace) = (&process.client, &args.pod.pod_namespace);
        let key = secret::load(client.clone(), namespace, program).await.map_err(RunError::setup)?;
        let metrics = AuditMetrics::register(&process.registry).map_err(RunError::setup)?;
        let origin = Origin {
            program: program.to_owned(),
            writer: args.pod.pod_name.clone(),
            boot: hex::encode(rand::random::<[u8; 8]>()),
        };
        let key_id = key.id().to_owned();
        let sink = args.audit.sink(&origin.writer).map_err(RunError::setup)?;
        let chain = Chain::new(key, origin.clone(), &args.cluster_name);
        let audit = Audit::start(chain, args.audit.limits(), sink, metrics.clone());
        let store = Box::new(ConfigMapHeads::new(client.clone(), namespace, manager));
        let anchors = Anchors::start(store, origin, &key_id, audit.head(), Arc::new(SystemClock), metrics);
        Ok(Self { audit, anchors })
    }

    /// Hands over what still waits, for at most six seconds, and anchors the end.
    pub async fn finish(self) {
        let left = self.audit.flush(FLUSH).await;
        if left > 0 {
            tracing::error!(left, "audit records are lost: the sink did not take them before the end");
        }
        self.anchors.finish(LAST_HEAD).await;
    }
}

/// The Events that a program writes as `exeat-COMPONENT`.
pub fn events(args: &ProcessArgs, client: &kube::Client, component: &'static str) -> Events {
    Events::new(client.clone(), component, &args.pod.pod_name)
}
