//! Puts the parts together.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use exeat_runtime::clock::Clock;
use exeat_runtime::dns::Resolver;
use exeat_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::agent::{Agent, Parts};
use crate::args::{Provider, Settings, SettingsError};
use crate::files::RunDir;
use crate::guard::Guard;
use crate::issuer::{Issuer, SetupError};
use crate::metrics::Metrics;
use crate::observe::report::Reporter;
use crate::observe::{self, Observed};
use crate::router::{Shared, router};
use crate::secret::{Secrets, random_hex};
use crate::vault::forward::Forward;
use crate::{server, stream};

/// Events of the stream that may wait for the agent.
const QUEUE: usize = 16;

/// Why the sidecar ends, other than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The settings can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The issuer's client can't be made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Another process of the pod listens there.
    #[error(
        "port {0} on 127.0.0.1 is taken by another process of this pod; choose a free one by the pod annotation exeat.dev/port"
    )]
    PortTaken(u16),
    /// The listener can't be made for another cause.
    #[error("can't listen on 127.0.0.1:{port}: {error}")]
    Listen {
        /// The port.
        port: u16,
        /// The cause.
        error: io::Error,
    },
    /// The shared volume can't be written.
    #[error("--run-dir {folder}: {error}; mount the memory volume exeat-run there, writable for this user")]
    RunDir {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The process can't be set up: signals, metrics.
    #[error("can't start: {0}")]
    Process(String),
    /// A part ended that never should.
    #[error("the {0} ended")]
    PartEnded(&'static str),
}

impl AppError {
    /// Exit status of the process: 2 settings, 3 port taken, 4 shared volume, 1 anything else.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Setup(_) => 2,
            Self::PortTaken(_) => 3,
            Self::RunDir { .. } => 4,
            Self::Listen { .. } | Self::Process(_) | Self::PartEnded(_) => 1,
        }
    }
}

/// Listens on 127.0.0.1 at `port`.
///
/// # Errors
/// When that can't be done.
pub async fn listen(port: u16) -> Result<TcpListener, AppError> {
    server::bind(port).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => AppError::PortTaken(port),
        _ => AppError::Listen { port, error },
    })
}

/// Serves on `listener` until `shutdown`, then at once removes what it wrote: a slow sidecar holds up a finished Job.
///
/// # Errors
/// When a part can't be set up, or ends.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) -> Result<(), AppError> {
    let listening = listener.local_addr().map_err(|error| AppError::Listen { port: settings.port, error })?;
    let run_dir = RunDir::new(settings.run_dir.clone(), listening.port());
    let served = serve(settings, listener, clock, shutdown, &run_dir).await;
    run_dir.clean();
    served
}

async fn serve(
    settings: Settings,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    run_dir: &RunDir,
) -> Result<(), AppError> {
    let port = listener.local_addr().map_err(|error| AppError::Listen { port: settings.port, error })?.port();
    let issuer = Issuer::new(&settings.issuer_url, &settings.issuer_ca, settings.token_file, Resolver::system())?;
    let metrics = Arc::new(Metrics::new().map_err(|error| AppError::Process(error.to_string()))?);
    let loopback = random_hex();
    let unwritable = |error| AppError::RunDir { folder: settings.run_dir.clone(), error };
    run_dir.write_secret(&loopback).map_err(unwritable)?;
    if settings.provider == Provider::Kubernetes {
        run_dir.deny_kubernetes().map_err(unwritable)?;
    }
    let parts = Parts {
        issuer: Arc::new(issuer),
        clock: Arc::clone(&clock),
        metrics: Arc::clone(&metrics),
        run_dir: run_dir.clone(),
        provider: settings.provider,
    };
    let issuer = Arc::clone(&parts.issuer);
    let observed = Arc::new(Observed::default());
    let (agent, snapshots) = Agent::new(parts);
    let reporter = Arc::new(Reporter::new(
        Arc::clone(&issuer),
        snapshots.clone(),
        Arc::clone(&clock),
        Arc::clone(&observed),
        Arc::clone(&metrics),
    ));
    let shared = Shared {
        guard: Guard::new(port),
        secrets: Secrets::new(loopback, settings.pod_uid),
        snapshots,
        clock,
        metrics: Arc::clone(&metrics),
        provider: settings.provider,
        wait: settings.wait,
        forward: Forward::new(Resolver::system()),
        observed: Arc::clone(&observed),
    };
    let (events, received) = mpsc::channel(QUEUE);
    let mut tasks = JoinSet::new();
    tasks.spawn(agent.run(received));
    tasks.spawn(stream::run(issuer, events, metrics));
    let datagrams = settings.observe.then_some(port);
    let observing = observe::start(&mut tasks, datagrams, &reporter).await;
    observing.map_err(|error| AppError::Listen { port, error })?;
    tracing::info!(port, provider = settings.provider.as_str(), issuer = %settings.issuer_url, "serving on 127.0.0.1");
    tokio::select! {
        _ = server::serve(listener, router(Arc::new(shared))) => Err(AppError::PartEnded("listener")),
        _ = tasks.join_next() => Err(AppError::PartEnded("task that keeps the credential")),
        () = shutdown.wait() => {
            reporter.finish().await;
            Ok(())
        }
    }
}
