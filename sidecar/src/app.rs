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
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::agent::{Agent, Parts};
use crate::args::{Provider, Settings, SettingsError};
use crate::guard::Guard;
use crate::issuer::{Issuer, SetupError};
use crate::lanes::{self, Lane, Told};
use crate::listeners::Listeners;
use crate::machine::Event;
use crate::metrics::Metrics;
use crate::observe;
use crate::observe::report::Reporter;
use crate::place::{self, Place};
use crate::router::{Shared, router};
use crate::secret::Secrets;
use crate::snapshot::Snapshot;
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
    #[error("--run-dir {folder}: {error}; mount a memory volume (exeat-run…) there, writable for this user")]
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

/// Listens for each group of the pod's containers: at the port, and at those after it.
///
/// # Errors
/// When that can't be done.
pub async fn listen_all(settings: &Settings) -> Result<Vec<TcpListener>, AppError> {
    let mut listeners = Vec::new();
    for number in 0..settings.groups.len().max(1) {
        let offset = u16::try_from(number).unwrap_or(u16::MAX);
        listeners.push(listen(settings.port.saturating_add(offset)).await?);
    }
    Ok(listeners)
}

/// Serves each group of containers on its listener until `shutdown`, then at once removes what it wrote: a slow sidecar holds up a finished Job.
///
/// # Errors
/// When a part can't be set up, or ends.
pub async fn run(
    settings: Settings,
    listeners: Vec<TcpListener>,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) -> Result<(), AppError> {
    let ports: Result<Vec<u16>, _> = listeners.iter().map(|l| l.local_addr().map(|address| address.port())).collect();
    let ports = ports.map_err(|error| AppError::Listen { port: settings.port, error })?;
    let places = Place::of(&settings.groups, &ports, &settings.run_dir);
    let served = serve(settings, listeners, clock, shutdown, &places).await;
    for place in &places {
        place.run_dir.clean();
    }
    served
}

async fn serve(
    settings: Settings,
    listeners: Vec<TcpListener>,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    places: &[Place],
) -> Result<(), AppError> {
    let policies = place::policies(&settings.groups);
    let mut issuer =
        Issuer::new(&settings.issuer_url, &settings.issuer_ca, settings.token_file.clone(), Resolver::system())?;
    if !policies.is_empty() {
        issuer = issuer.serving(&policies.iter().map(|(_, name)| *name).collect::<Vec<_>>())?;
    }
    for place in places {
        place.run_dir.write_secret(&place.loopback).map_err(|error| unwritable(place, error))?;
    }
    let common = Common { issuer: Arc::new(issuer), clock, places, settings: &settings };
    let mut tasks = JoinSet::new();
    let all = match &policies[..] {
        [] => common.only(&mut tasks).await?,
        several => common.lanes(several, &mut tasks).await?,
    };
    let All { routers, events, metrics, reporters } = all;
    tasks.spawn(stream::run(Arc::clone(&common.issuer), events, metrics));
    for place in places {
        tracing::info!(port = place.port, issuer = %settings.issuer_url, "serving on 127.0.0.1");
    }
    let share = server::MAX_CONNECTIONS / places.len().max(1);
    let serving = listeners.into_iter().zip(routers).map(|(listener, router)| server::serve(listener, router, share));
    tokio::select! {
        _ = join_all(serving) => Err(AppError::PartEnded("listener")),
        _ = tasks.join_next() => Err(AppError::PartEnded("task that keeps the credential")),
        () = shutdown.wait() => {
            join_all(reporters.iter().map(|reporter| reporter.finish())).await;
            Ok(())
        }
    }
}

fn unwritable(place: &Place, error: io::Error) -> AppError {
    AppError::RunDir { folder: place.run_dir.folder().to_owned(), error }
}

/// What all policies of a sidecar share.
struct Common<'a> {
    issuer: Arc<Issuer>,
    clock: Arc<dyn Clock>,
    places: &'a [Place],
    settings: &'a Settings,
}

/// One policy, served.
struct Served {
    provider: Provider,
    snapshots: watch::Receiver<Snapshot>,
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
    reporter: Arc<Reporter>,
}

/// All that are served, behind a listener for each group and one stream.
struct All {
    /// What answers at each place.
    routers: Vec<Router>,
    events: Listeners,
    /// Those that count the stream.
    metrics: Arc<Metrics>,
    reporters: Vec<Arc<Reporter>>,
}

impl Common<'_> {
    async fn serve(
        &self,
        provider: Provider,
        policy: Option<&str>,
        metrics: Result<Metrics, prometheus::Error>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Served, AppError> {
        let places: Vec<&Place> = self.places.iter().filter(|place| place.serves(policy)).collect();
        if provider == Provider::Kubernetes {
            for place in &places {
                place.run_dir.deny_kubernetes().map_err(|error| unwritable(place, error))?;
            }
        }
        let metrics = Arc::new(metrics.map_err(|error| AppError::Process(error.to_string()))?);
        let (agent, snapshots) = Agent::new(Parts {
            issuer: Arc::clone(&self.issuer),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&metrics),
            run_dirs: places.iter().map(|place| place.run_dir.clone()).collect(),
            provider,
            policy: policy.map(str::to_owned),
        });
        let reporter = Arc::new(Reporter::new(
            Arc::clone(&self.issuer),
            snapshots.clone(),
            Arc::clone(&self.clock),
            Arc::default(),
            Arc::clone(&metrics),
        ));
        let (events, received) = mpsc::channel(QUEUE);
        tasks.spawn(agent.run(received));
        let datagrams = self.settings.observe && provider == Provider::Aws;
        let ports: Vec<u16> = places.iter().filter(|_| datagrams).map(|place| place.port).collect();
        let observing = observe::start(tasks, &ports, &reporter).await;
        observing.map_err(|(port, error)| AppError::Listen { port, error })?;
        Ok(Served { provider, snapshots, events, metrics, reporter })
    }

    /// What serves a policy at a place, guard and all.
    fn router_at(&self, place: &Place, served: &Served) -> Router {
        router(Arc::new(Shared {
            guard: Guard::new(place.port),
            secrets: Secrets::new(place.loopback.clone(), self.settings.accepted_uid(served.provider)),
            snapshots: served.snapshots.clone(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&served.metrics),
            provider: served.provider,
            wait: self.settings.wait,
            forward: Forward::new(Resolver::system()),
            observed: Arc::clone(&served.reporter.observed),
        }))
    }

    /// The pod's only policy, whatever it is called.
    async fn only(&self, tasks: &mut JoinSet<()>) -> Result<All, AppError> {
        let served = self.serve(self.settings.provider, None, Metrics::new(), tasks).await?;
        let routers = self.places.iter().map(|place| self.router_at(place, &served)).collect();
        let Served { events, metrics, reporter, .. } = served;
        Ok(All { routers, events: Listeners::one(events), metrics, reporters: vec![reporter] })
    }

    /// Each policy for itself, behind the listeners of the groups that have it and one stream.
    async fn lanes(&self, policies: &[(Provider, &str)], tasks: &mut JoinSet<()>) -> Result<All, AppError> {
        let mut all = Vec::new();
        for (provider, policy) in policies {
            let metrics = Metrics::of(*provider, Some(*policy).filter(|_| self.places.len() > 1));
            all.push((*policy, self.serve(*provider, Some(policy), metrics, tasks).await?));
        }
        let lane = |place: &Place, (policy, served): &(&str, Served)| Lane {
            policy: (*policy).to_owned(),
            provider: served.provider,
            router: self.router_at(place, served),
        };
        let routers = self.places.iter().enumerate().map(|(number, place)| {
            let own = all.iter().filter(|(policy, _)| place.serves(Some(policy)));
            // The probe asks at the first place, for the whole pod.
            let told = all.iter().filter(|(policy, _)| number == 0 || place.serves(Some(policy)));
            let told = Told {
                snapshots: told.map(|(_, served)| served.snapshots.clone()).collect(),
                metrics: all.iter().filter(|_| number == 0).map(|(_, served)| Arc::clone(&served.metrics)).collect(),
                clock: Arc::clone(&self.clock),
                wait: self.settings.wait,
            };
            lanes::router(own.map(|policy| lane(place, policy)).collect(), told)
        });
        let routers = routers.collect();
        let metrics = all.first().map(|(_, served)| Arc::clone(&served.metrics));
        let metrics = metrics.ok_or_else(|| AppError::Process("there is no policy to serve".to_owned()))?;
        let reporters = all.iter().map(|(_, served)| Arc::clone(&served.reporter)).collect();
        let events = all.into_iter().map(|(policy, served)| (policy.to_owned(), served.events)).collect();
        Ok(All { routers, events: Listeners::of(events), metrics, reporters })
    }
}
