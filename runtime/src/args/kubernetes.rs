//! Settings of programs that talk to the API server.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::{PodArgs, parse_duration};
use crate::lease::{LeaseConfig, LeaseConfigError, new_identity};

/// How the API server is reached.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kubernetes API")]
pub struct ClientArgs {
    /// Kubeconfig file to use instead of the pod's own service account.
    #[arg(long, env = "EXEAT_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig file, when not its current one.
    #[arg(long, env = "EXEAT_KUBE_CONTEXT", value_name = "NAME", requires = "kubeconfig")]
    pub kube_context: Option<String>,

    /// Longest time to establish a connection to the API server.
    #[arg(long, env = "EXEAT_KUBE_CONNECT_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub kube_connect_timeout: Duration,
}

/// Why there is no client for the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig file is missing, unreadable or has no such context.
    #[error("--kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        /// The file as given.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// Not in a pod, and no kubeconfig named.
    #[error("no service account of a pod ({0}); outside a cluster name a file with --kubeconfig")]
    InCluster(#[source] kube::config::InClusterError),
    /// The client can't be built from the configuration.
    #[error("no client for the API server: {0}")]
    Client(#[source] Box<kube::Error>),
}

impl ClientArgs {
    /// The configuration that these settings describe: the named kubeconfig, else the pod's service account.
    ///
    /// # Errors
    /// When the file or the service account is not usable.
    pub async fn config(&self) -> Result<Config, ClientError> {
        let mut config = match &self.kubeconfig {
            Some(path) => self.read_kubeconfig(path).await?,
            None => Config::incluster().map_err(ClientError::InCluster)?,
        };
        config.connect_timeout = Some(self.kube_connect_timeout);
        Ok(config)
    }

    /// A client of the API server that these settings describe.
    ///
    /// # Errors
    /// As [`ClientArgs::config`], or when the configuration makes no client.
    pub async fn client(&self) -> Result<kube::Client, ClientError> {
        let config = self.config().await?;
        kube::Client::try_from(config).map_err(|error| ClientError::Client(Box::new(error)))
    }

    async fn read_kubeconfig(&self, path: &PathBuf) -> Result<Config, ClientError> {
        let failed = |source| ClientError::Kubeconfig { path: path.clone(), source: Box::new(source) };
        let file = Kubeconfig::read_from(path).map_err(failed)?;
        let options = KubeConfigOptions { context: self.kube_context.clone(), ..KubeConfigOptions::default() };
        Config::from_custom_kubeconfig(file, &options).await.map_err(failed)
    }
}

/// Leader election among the replicas of one program.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Leader election")]
pub struct LeaseArgs {
    /// Name of the Lease that the replicas compete for [default: the program's own].
    #[arg(long, env = "EXEAT_LEASE_NAME", value_name = "NAME")]
    pub lease_name: Option<String>,

    /// Namespace of the Lease [default: the pod's].
    #[arg(long, env = "EXEAT_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// How long the others wait after the last renewal they saw before they take over; whole seconds.
    #[arg(long, env = "EXEAT_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    pub lease_duration: Duration,

    /// How long the leader may go without a renewal before it stops writing and exits; shorter than the lease.
    #[arg(long, env = "EXEAT_LEASE_RENEW_DEADLINE", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub lease_renew_deadline: Duration,

    /// Wait between two attempts to take or renew the Lease.
    #[arg(long, env = "EXEAT_LEASE_RETRY_PERIOD", value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    pub lease_retry_period: Duration,
}

impl LeaseArgs {
    /// The checked configuration of one candidate, with a fresh identity that starts with the pod's name.
    ///
    /// # Errors
    /// When the three durations do not fit together; the message names the flags.
    pub fn config(&self, program: &str, pod: &PodArgs) -> Result<LeaseConfig, LeaseConfigError> {
        LeaseConfig {
            name: self.lease_name.clone().unwrap_or_else(|| program.to_owned()),
            namespace: self.lease_namespace.clone().unwrap_or_else(|| pod.pod_namespace.clone()),
            identity: new_identity(&pod.pod_name),
            duration: self.lease_duration,
            renew_deadline: self.lease_renew_deadline,
            retry_period: self.lease_retry_period,
        }
        .validated()
    }
}
