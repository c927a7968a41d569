//! Puts the parts together.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use exeat_runtime::clock::Clock;
use exeat_runtime::dns::Resolver;
use exeat_runtime::shutdown::Shutdown;
use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::agent::{Agent, Parts};
use crate::args::{Provider, Settings, SettingsError};
use crate::files::RunDir;
use crate::guard::Guard;
use crate::issuer::{Issuer, SetupError};
use crate::lanes::{self, Lane};
use crate::listeners::Listeners;
use crate::machine::Event;
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
    let policies: Vec<&str> = settings.policies.iter().map(|(_, name)| name.as_str()).collect();
    let mut issuer =
        Issuer::new(&settings.issuer_url, &settings.issuer_ca, settings.token_file.clone(), Resolver::system())?;
    if !policies.is_empty() {
        issuer = issuer.serving(&policies)?;
    }
    let loopback = random_hex();
    let unwritable = |error| AppError::RunDir { folder: settings.run_dir.clone(), error };
    run_dir.write_secret(&loopback).map_err(unwritable)?;
    let common = Common { issuer: Arc::new(issuer), clock, run_dir, loopback, port, settings: &settings };
    let mut tasks = JoinSet::new();
    let all = match &settings.policies[..] {
        [] => {
            let metrics = Metrics::new().map_err(|error| AppError::Process(error.to_string()))?;
            let lane = common.lane(settings.provider, None, metrics, &mut tasks).await?;
            let events = Listeners::one(lane.events);
            All { router: lane.router, events, metrics: lane.metrics, reporters: vec![lane.reporter] }
        }
        several => common.lanes(several, &mut tasks).await?,
    };
    let All { router, events, metrics, reporters } = all;
    tasks.spawn(stream::run(Arc::clone(&common.issuer), events, metrics));
    tracing::info!(port, provider = settings.provider.as_str(), issuer = %settings.issuer_url, "serving on 127.0.0.1");
    tokio::select! {
        _ = server::serve(listener, router) => Err(AppError::PartEnded("listener")),
        _ = tasks.join_next() => Err(AppError::PartEnded("task that keeps the credential")),
        () = shutdown.wait() => {
            join_all(reporters.iter().map(|reporter| reporter.finish())).await;
            Ok(())
        }
    }
}

/// What all policies of a sidecar share.
struct Common<'a> {
    issuer: Arc<Issuer>,
    clock: Arc<dyn Clock>,
    run_dir: &'a RunDir,
    loopback: Zeroizing<String>,
    port: u16,
    settings: &'a Settings,
}

/// One policy, served.
struct Served {
    router: Router,
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
    reporter: Arc<Reporter>,
}

/// All that are served, behind one listener and one stream.
struct All {
    router: Router,
    events: Listeners,
    /// Those that count the stream.
    metrics: Arc<Metrics>,
    reporters: Vec<Arc<Reporter>>,
}

impl Common<'_> {
    async fn lane(
        &self,
        provider: Provider,
        policy: Option<&str>,
        metrics: Metrics,
        tasks: &mut JoinSet<()>,
    ) -> Result<Served, AppError> {
        if provider == Provider::Kubernetes {
            let unwritable = |error| AppError::RunDir { folder: self.settings.run_dir.clone(), error };
            self.run_dir.deny_kubernetes().map_err(unwritable)?;
        }
        let metrics = Arc::new(metrics);
        let (agent, snapshots) = Agent::new(Parts {
            issuer: Arc::clone(&self.issuer),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&metrics),
            run_dir: self.run_dir.clone(),
            provider,
            policy: policy.map(str::to_owned),
        });
        let observed = Arc::new(Observed::default());
        let reporter = Arc::new(Reporter::new(
            Arc::clone(&self.issuer),
            snapshots.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&observed),
            Arc::clone(&metrics),
        ));
        let shared = Shared {
            guard: Guard::new(self.port),
            secrets: Secrets::new(self.loopback.clone(), self.settings.accepted_uid(provider)),
            snapshots,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&metrics),
            provider,
            wait: self.settings.wait,
            forward: Forward::new(Resolver::system()),
            observed,
        };
        let (events, received) = mpsc::channel(QUEUE);
        tasks.spawn(agent.run(received));
        let datagrams = (self.settings.observe && provider == Provider::Aws).then_some(self.port);
        let observing = observe::start(tasks, datagrams, &reporter).await;
        observing.map_err(|error| AppError::Listen { port: self.port, error })?;
        Ok(Served { router: router(Arc::new(shared)), events, metrics, reporter })
    }

    /// Each policy for itself, behind one listener and one stream.
    async fn lanes(&self, policies: &[(Provider, String)], tasks: &mut JoinSet<()>) -> Result<All, AppError> {
        let (mut all, mut listeners, mut reporters) = (Vec::new(), Vec::new(), Vec::new());
        let mut of_stream = None;
        for (provider, policy) in policies {
            let metrics = Metrics::of(*provider).map_err(|error| AppError::Process(error.to_string()))?;
            let Served { router, events, metrics, reporter } =
                self.lane(*provider, Some(policy), metrics, tasks).await?;
            reporters.push(reporter);
            of_stream.get_or_insert_with(|| Arc::clone(&metrics));
            listeners.push((policy.clone(), events));
            all.push(Lane { policy: policy.clone(), provider: *provider, router, metrics });
        }
        let of_stream = of_stream.ok_or_else(|| AppError::Process("there is no policy to serve".to_owned()))?;
        Ok(All { router: lanes::router(all), events: Listeners::of(listeners), metrics: of_stream, reporters })
    }
}
