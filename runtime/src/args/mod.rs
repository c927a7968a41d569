//! Groups of command-line settings that the binaries share. Every setting is a flag and an environment variable
//! `EXEAT_…`; nothing else reads the environment.

mod duration;
#[cfg(feature = "lease")]
mod kubernetes;

use std::net::SocketAddr;

use clap::Args;
use tracing_subscriber::filter::Targets;

pub use self::duration::{DurationError, format_duration, parse_duration};
#[cfg(feature = "lease")]
pub use self::kubernetes::{ClientArgs, ClientError, LeaseArgs};
use crate::telemetry::{LogFormat, parse_filter};

/// What is logged, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logging")]
pub struct TelemetryArgs {
    /// Least level to log: off, error, warn, info, debug or trace; or a list by module, as info,hyper=warn.
    #[arg(long, env = "EXEAT_LOG", value_name = "FILTER", default_value = "info", value_parser = parse_filter)]
    pub log_level: Targets,

    /// How log lines are written to standard error.
    #[arg(long, env = "EXEAT_LOG_FORMAT", value_name = "FORMAT", default_value_t)]
    pub log_format: LogFormat,
}

/// Where kubelet and Prometheus find the process.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Health and metrics")]
pub struct HealthArgs {
    /// Address of the plain HTTP server for /livez, /readyz and /metrics.
    #[arg(long, env = "EXEAT_HEALTH_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub health_listen: SocketAddr,
}

/// Which pod the process runs in, by the downward API.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Pod")]
pub struct PodArgs {
    /// Name of the pod this process runs in (downward API metadata.name).
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: String,

    /// Namespace of the pod this process runs in (downward API metadata.namespace).
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", default_value = "exeat-system")]
    pub pod_namespace: String,
}

#[cfg(test)]
mod tests;
