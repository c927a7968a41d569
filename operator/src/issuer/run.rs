//! Start, serve, end.

use super::admit::{Rates, Shares};
use super::args::Args;
use super::authn::Authenticator;
use super::learn::Learning;
use super::mint::Desk;
use super::providers::Providers;
use super::root::Certificates;
use super::server::{Server, router};
use super::sessions::View;
use super::streams::Streams;
use super::{learn, orphans, probe, revoke};
use crate::audit::Audit;
use crate::metrics::IssuerMetrics;
use crate::process::{self, AuditLog, Process, RunError};
use exeat_crds::names;
use exeat_providers::Context;
use exeat_runtime::clock::SystemClock;
use exeat_runtime::dns::Resolver;
use exeat_runtime::lease::{KubeLease, Leadership, elect};
use exeat_runtime::readiness::Latch;
use exeat_runtime::shutdown::Shutdown;
use exeat_runtime::tls::{CertResolver, Limits, serve_tls, server_config};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// Runs until it is told to stop.
///
/// # Errors
/// What ended it otherwise; the process should exit and be started again.
pub async fn run(args: Args) -> Result<(), RunError> {
    let process = Process::start(&args.process).await?;
    let (client, shutdown) = (process.client.clone(), process.shutdown.clone());
    let metrics = IssuerMetrics::register(&process.registry).map_err(RunError::setup)?;
    let latches = Latches {
        caches: process.readiness.latch("caches"),
        keys: process.readiness.latch("cluster keys"),
        certificate: process.readiness.latch("certificate"),
    };
    let listener = TcpListener::bind(args.listen).await.map_err(RunError::setup)?;
    let (view, watching) = View::new(&client);
    let log = AuditLog::start(&args.process, &process, "issuer", names::ISSUER).await?;
    let desk = Arc::new(desk(&args, &client, view, metrics, log.audit.clone()));
    let serving = serve(&args, &client, Arc::clone(&desk), listener, shutdown, latches);
    let ended = tokio::select! {
        result = serving => result,
        error = process.serve_health() => Err(error),
        () = learn::run(Arc::clone(&desk)) => Err(RunError::PartEnded("writing what agents used")),
        () = watching => Err(RunError::PartEnded("a watch")),
        () = lead_for_good(&args, &client, &desk) => Err(RunError::PartEnded("the election")),
    };
    learn::finish(&desk).await;
    log.finish().await;
    ended
}

struct Latches {
    caches: Latch,
    keys: Latch,
    certificate: Latch,
}

fn desk(args: &Args, client: &kube::Client, view: Arc<View>, metrics: IssuerMetrics, audit: Audit) -> Desk {
    let context = Context {
        client: client.clone(),
        namespace: args.process.pod.pod_namespace.clone(),
        grants_namespace: args.grants_namespace.clone(),
        cluster: args.process.cluster_name.clone(),
        resolver: Resolver::system(),
        web_identity_token_file: args.web_identity_token_file.clone(),
        vault_token_file: args.vault_token_file.clone(),
        azure_token_file: args.azure_token_file.clone(),
        gcp_token_file: args.gcp_token_file.clone(),
        cluster_ca_pem: std::fs::read_to_string(&args.cluster_ca).ok(),
        cluster_server: args.cluster_server.clone(),
    };
    Desk {
        client: client.clone(),
        clock: Arc::new(SystemClock),
        authenticator: Authenticator::new(client.clone(), &args.audience),
        view,
        providers: Providers::new(context),
        audit,
        events: process::events(&args.process, client, "issuer"),
        metrics,
        shares: Shares::new(Rates { calls: args.namespace_rate, mints: args.namespace_credentials }),
        reports: Mutex::default(),
        streams: Streams::new(&args.process.pod.pod_name),
        learning: Learning::default(),
        flights: Mutex::default(),
    }
}

/// Serves sidecars once certificate, keys and caches are there.
async fn serve(
    args: &Args,
    client: &kube::Client,
    desk: Arc<Desk>,
    listener: TcpListener,
    shutdown: Shutdown,
    latches: Latches,
) -> Result<(), RunError> {
    let resolver = CertResolver::empty();
    let certificates = Certificates {
        client: client.clone(),
        namespace: args.process.pod.pod_namespace.clone(),
        service: args.service.clone(),
        overlap: args.root_overlap,
        clock: Arc::new(SystemClock),
        resolver: Arc::clone(&resolver),
    };
    let serving = certificates.start().await.map_err(RunError::setup)?;
    latches.certificate.release();
    desk.authenticator.warm_up().await.map_err(RunError::setup)?;
    latches.keys.release();
    desk.view.ready().await;
    latches.caches.release();
    tracing::info!(listen = %args.listen, "serving sidecars");
    let config = server_config(resolver).map_err(RunError::setup)?;
    let router = router(Server { desk, shutdown: shutdown.clone() });
    let limits = Limits { connections: 20_000, drain: Duration::from_secs(10), ..Limits::default() };
    tokio::select! {
        result = serve_tls(listener, router, config, shutdown, limits) => result.map_err(RunError::setup),
        () = certificates.keep(serving) => Err(RunError::PartEnded("certificate renewal")),
    }
}

/// Probing, revoking and looking for lost replicas are one replica's; serving is everybody's, so losing the Lease ends the former only.
async fn lead_for_good(args: &Args, client: &kube::Client, desk: &Arc<Desk>) {
    loop {
        let config = match args.process.lease.config("exeat-issuer", &args.process.pod) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%error, "no election");
                return;
            }
        };
        let leadership = elect(KubeLease::new(client.clone(), &config), config, SystemClock);
        lead(&leadership, desk, &args.process.pod.pod_namespace).await;
        tracing::warn!("another replica probes and revokes now");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn lead(leadership: &Leadership, desk: &Arc<Desk>, namespace: &str) {
    let work = async {
        if leadership.acquired().await.is_err() {
            return pending().await;
        }
        desk.view.ready().await;
        tracing::info!("this replica probes and revokes now");
        tokio::join!(
            probe::run(Arc::clone(desk), leadership.gate()),
            revoke::run(Arc::clone(desk), leadership.gate()),
            orphans::run(Arc::clone(desk), leadership.gate(), namespace.to_owned()),
        );
    };
    tokio::select! {
        _ = leadership.ended() => {}
        () = work => {}
    }
}
