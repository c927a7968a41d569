use crate::process::ProcessArgs;
use clap::Parser;
use exeat_runtime::args::parse_duration;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Hands minted credentials to sidecars. It alone has an identity at the providers, and it mints only what the controller granted.
#[derive(Parser, Clone, Debug)]
#[command(name = "exeat-issuer", version)]
pub struct Args {
    /// Audience that sidecars' tokens must be for.
    #[arg(long, env = "EXEAT_AUDIENCE", default_value = exeat_crds::names::DEFAULT_AUDIENCE)]
    pub audience: String,

    /// Address of the TLS server for sidecars.
    #[arg(long, env = "EXEAT_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,

    /// Name of the Service in front of all issuers; certificates are made for it.
    #[arg(long, env = "EXEAT_SERVICE", default_value = "exeat-issuer")]
    pub service: String,

    /// How long a former root is handed to new pods beside the next one. Replicas look for a new root at least four times
    /// in it, so that all of them serve it before the former is handed out no more.
    #[arg(long, env = "EXEAT_ROOT_OVERLAP", default_value = "1h", value_parser = parse_duration)]
    pub root_overlap: Duration,

    /// Namespace of the accounts that the Kubernetes provider makes.
    #[arg(long, env = "EXEAT_GRANTS_NAMESPACE", default_value = exeat_crds::names::GRANTS_NAMESPACE)]
    pub grants_namespace: String,

    /// Where agents reach the cluster's own API server.
    #[arg(long, env = "EXEAT_CLUSTER_SERVER", default_value = "https://kubernetes.default.svc")]
    pub cluster_server: String,

    /// PEM bundle that agents check the API server's certificate against.
    #[arg(
        long,
        env = "EXEAT_CLUSTER_CA",
        value_name = "FILE",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    )]
    pub cluster_ca: PathBuf,

    /// The issuer's own token for AssumeRoleWithWebIdentity (providers with `source: WebIdentity`).
    #[arg(
        long,
        env = "EXEAT_WEB_IDENTITY_TOKEN_FILE",
        value_name = "FILE",
        default_value = "/var/run/secrets/exeat/web-identity/token"
    )]
    pub web_identity_token_file: PathBuf,

    /// The issuer's own token for Vault's auth method kubernetes (providers with `vault.auth.kubernetes`).
    #[arg(
        long,
        env = "EXEAT_VAULT_TOKEN_FILE",
        value_name = "FILE",
        default_value = "/var/run/secrets/exeat/vault/token"
    )]
    pub vault_token_file: PathBuf,

    /// The issuer's own token for federated credentials of Entra (providers with `azure.source: Federated`).
    #[arg(
        long,
        env = "EXEAT_AZURE_TOKEN_FILE",
        value_name = "FILE",
        default_value = "/var/run/secrets/exeat/azure/token"
    )]
    pub azure_token_file: PathBuf,

    /// The issuer's own token for Google's workload identity federation (providers with `gcp.source: WorkloadIdentity`).
    #[arg(long, env = "EXEAT_GCP_TOKEN_FILE", value_name = "FILE", default_value = "/var/run/secrets/exeat/gcp/token")]
    pub gcp_token_file: PathBuf,

    /// Credential requests that one namespace may make at one replica in a second, on average, and as many openings of streams; ten times
    /// as many in a burst.
    #[arg(long, env = "EXEAT_NAMESPACE_RATE", default_value_t = 20)]
    pub namespace_rate: u32,

    /// Credentials that one namespace may be given at one replica in a second, on average; thirty times as many in a burst. Each pod needs one
    /// at its start and one each time that about half of its credential's life has passed.
    #[arg(long, env = "EXEAT_NAMESPACE_CREDENTIALS", default_value_t = 2)]
    pub namespace_credentials: u32,

    /// As every program of ours.
    #[command(flatten)]
    pub process: ProcessArgs,
}
