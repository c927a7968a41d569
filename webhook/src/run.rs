//! Puts the parts on a cluster.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use exeat_runtime::clock::SystemClock;
use exeat_runtime::readiness::Readiness;
use exeat_runtime::shutdown::Shutdown;
use exeat_runtime::tls::{CertResolver, Limits, install_crypto_provider, serve_tls, server_config};
use exeat_runtime::{args::ClientError, health, telemetry};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::runtime::reflector;
use kube::{Api, Client, Resource};
use prometheus::Registry;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::args::{Cli, ServerArgs};
use crate::certs::bundle::{Configuration, heal};
use crate::certs::files::FileCertificate;
use crate::certs::own::{Bundles, OwnCertificate};
use crate::http::{App, router};
use crate::issuer_root;
use crate::metrics::Metrics;
use crate::objects::{self, Objects};
use crate::sidecar_images;

/// How long requests are still taken after the signal to stop.
const LAME_DUCK: Duration = Duration::from_secs(5);

/// Why the webhook ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No client for the API server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An address can't be listened on, or a listener failed.
    #[error("{what}: {source}")]
    Listen {
        /// The server and its address.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// The signal handlers can't be installed.
    #[error("signal handlers: {0}")]
    Signals(#[source] io::Error),
    /// The metrics can't be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// TLS can't be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// A part that should run for ever has ended.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the webhook can't start, or a part of it fails for good.
pub async fn run(cli: Cli) -> Result<(), RunError> {
    telemetry::init(&cli.telemetry);
    install_crypto_provider();
    let shutdown = Shutdown::on_signals().map_err(RunError::Signals)?;
    let client = cli.client.client().await?;
    let registry = Registry::new();
    let mut tasks = JoinSet::new();
    let stop = after_lame_duck(&shutdown);
    let parts = Parts {
        client,
        namespace: cli.pod.pod_namespace.clone(),
        readiness: Readiness::new(),
        stop: stop.clone(),
        metrics: Metrics::new(&registry)?,
    };
    let health_listener = listen("--health-listen", cli.health.health_listen).await?;
    let listener = listen("--listen", cli.server.listen).await?;
    let objects = parts.objects(&mut tasks);
    let settings = cli.injection.settings(&parts.namespace);
    let sidecar_images = parts.sidecar_images(&settings.general.sidecar.image, &mut tasks);
    let issuer_ca = parts.issuer_root(&mut tasks);
    let resolver = parts.certificate(&cli.server, &mut tasks);
    let app = App::new(objects, settings, sidecar_images, issuer_ca, parts.metrics.clone(), SystemClock);
    let config = server_config(resolver).map_err(|error| RunError::Tls(error.to_string()))?;
    // Only now: every latch is held, so that the first answer is no false "ready".
    let health = health::router(parts.readiness.clone(), shutdown.clone(), registry);
    let health_stop = stop.clone();
    tasks.spawn(async move {
        let served = health::serve(health_listener, health, health_stop).await;
        ended("health server", served)
    });
    let server_stop = stop.clone();
    tasks.spawn(async move {
        let served = serve_tls(listener, router(app), config, server_stop, Limits::default()).await;
        ended("HTTPS server", served)
    });
    tracing::info!(listen = %cli.server.listen, "webhook started");
    supervise(tasks, &stop).await
}

/// What stops the servers: some seconds after the signal, in which readiness is gone already. A Service sends requests
/// on for that long, and each one that is lost is a refused pod.
fn after_lame_duck(shutdown: &Shutdown) -> Shutdown {
    let stop = Shutdown::manual();
    let (shutdown, trigger) = (shutdown.clone(), stop.clone());
    tokio::spawn(async move {
        shutdown.wait().await;
        sleep(LAME_DUCK).await;
        trigger.trigger();
    });
    stop
}

/// A server may end once the drain has started; before that everything must go on.
async fn supervise(mut tasks: Tasks, stop: &Shutdown) -> Result<(), RunError> {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(_)) if stop.is_signalled() => {}
            Ok(Ok(part)) => return Err(RunError::Ended(part)),
            Ok(Err(error)) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "a task failed");
                return Err(RunError::Ended("a task"));
            }
        }
    }
    Ok(())
}

fn ended(what: &'static str, served: io::Result<()>) -> Result<&'static str, RunError> {
    served.map(|()| what).map_err(|source| RunError::Listen { what: what.to_owned(), source })
}

async fn listen(flag: &str, address: std::net::SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { what: format!("{flag} {address}"), source })
}

type Tasks = JoinSet<Result<&'static str, RunError>>;

struct Parts {
    client: Client,
    namespace: String,
    readiness: Readiness,
    stop: Shutdown,
    metrics: Metrics,
}

impl Parts {
    /// Runs a part that has no end of its own until the stop.
    fn until_stop(&self, tasks: &mut Tasks, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = part => {}
            }
            Ok(name)
        });
    }

    fn objects(&self, tasks: &mut Tasks) -> Objects {
        let (policies, policy_writer) = reflector::store();
        let (providers, provider_writer) = reflector::store();
        let api = Api::all(self.client.clone());
        let synced = self.readiness.latch("policies");
        self.until_stop(tasks, "watch of policies", objects::follow(api, policy_writer, synced));
        let api = Api::all(self.client.clone());
        let synced = self.readiness.latch("providers");
        self.until_stop(tasks, "watch of providers", objects::follow(api, provider_writer, synced));
        Objects::new(self.client.clone(), policies, providers)
    }

    fn sidecar_images(&self, own: &str, tasks: &mut Tasks) -> watch::Receiver<Vec<String>> {
        let (sender, receiver) = watch::channel(Vec::new());
        let (client, own) = (self.client.clone(), own.to_owned());
        let listed =
            self.readiness.latch("sidecar's image in the admission policy exeat-sidecar (does a controller run?)");
        let follow = async move { sidecar_images::follow(client, &own, sender, listed).await };
        self.until_stop(tasks, "watch of the sidecar's images", follow);
        receiver
    }

    fn issuer_root(&self, tasks: &mut Tasks) -> watch::Receiver<Option<String>> {
        let (sender, receiver) = watch::channel(None);
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        let follow = async move { issuer_root::follow(client, &namespace, sender).await };
        self.until_stop(tasks, "watch of the issuer's root", follow);
        receiver
    }

    fn certificate(&self, args: &ServerArgs, tasks: &mut Tasks) -> Arc<CertResolver> {
        let resolver = CertResolver::empty();
        let served = self.readiness.latch("certificate");
        if let (Some(cert_file), Some(key_file)) = (&args.tls_cert_file, &args.tls_key_file) {
            let certificate = FileCertificate {
                cert_file: cert_file.clone(),
                key_file: key_file.clone(),
                resolver: Arc::clone(&resolver),
                metrics: self.metrics.clone(),
            };
            self.until_stop(tasks, "certificate from files", certificate.run(served, self.stop.clone()));
            return resolver;
        }
        let (sender, bundle) = watch::channel(None);
        let certificate = OwnCertificate {
            client: self.client.clone(),
            namespace: self.namespace.clone(),
            host: format!("{}.{}.svc", args.service_name, self.namespace),
            configuration: args.webhook_configuration.clone(),
            overlap: args.root_overlap,
            resolver: Arc::clone(&resolver),
            bundle: sender,
            clock: SystemClock,
            metrics: self.metrics.clone(),
        };
        self.until_stop(tasks, "own certificate", certificate.run(served, self.stop.clone()));
        self.heal::<MutatingWebhookConfiguration>(args, "mutating webhook configuration", bundle.clone(), tasks);
        self.heal::<ValidatingWebhookConfiguration>(args, "validating webhook configuration", bundle, tasks);
        resolver
    }

    fn heal<K>(&self, args: &ServerArgs, part: &'static str, bundle: watch::Receiver<Option<String>>, tasks: &mut Tasks)
    where
        K: Configuration + Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let (api, healed) = (Api::<K>::all(self.client.clone()), self.readiness.latch(part));
        let name = args.webhook_configuration.clone();
        let (client, namespace, clock) = (self.client.clone(), self.namespace.clone(), Arc::new(SystemClock));
        self.until_stop(tasks, part, async move {
            let secret = Bundles { client, namespace, clock };
            heal(api, &name, bundle, &secret, healed).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_taken_for_a_while_after_the_signal() {
        let shutdown = Shutdown::manual();
        let stop = after_lame_duck(&shutdown);
        shutdown.trigger();
        sleep(LAME_DUCK - Duration::from_millis(10)).await;
        assert!(!stop.is_signalled());
        sleep(Duration::from_millis(20)).await;
        assert!(stop.is_signalled());
    }

    #[tokio::test]
    async fn a_part_that_ends_before_the_stop_ends_the_program() {
        let part = || async { Ok("watch of policies") };
        let stop = Shutdown::manual();
        let mut tasks = Tasks::new();
        tasks.spawn(part());
        let error = supervise(tasks, &stop).await.unwrap_err();
        assert_eq!(error.to_string(), "watch of policies ended unexpectedly");
        stop.trigger();
        let mut tasks = Tasks::new();
        tasks.spawn(part());
        supervise(tasks, &stop).await.unwrap();
    }
}
