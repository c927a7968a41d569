//! Command line of the sidecar. Every setting is a flag and an environment variable.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use exeat_runtime::args::TelemetryArgs;
use http::Uri;

/// Serves the credential of this pod's session on loopback, in each SDK's own protocol.
#[derive(Debug, Parser)]
#[command(name = "exeat-sidecar", version)]
pub struct Cli {
    /// What to do; `serve` where none is named.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings of `serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM (the default).
    Serve(Box<ServeArgs>),
    /// Ask the sidecar of this pod whether its first credential is held or its denial is known: exit status 0 or 1.
    Probe(PortArgs),
}

/// Where the sidecar listens.
#[derive(Args, Clone, Debug)]
pub struct PortArgs {
    /// Port on 127.0.0.1.
    #[arg(long, env = "EXEAT_LISTEN_PORT", value_name = "PORT", default_value_t = 9911, value_parser = clap::value_parser!(u16).range(1..))]
    pub listen_port: u16,
}

/// Settings of `serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Where to listen.
    #[command(flatten)]
    pub port: PortArgs,
    /// Address of the issuer, https, with a port where it is not 443.
    #[arg(
        long,
        env = "EXEAT_ISSUER_URL",
        value_name = "URL",
        default_value = "https://exeat-issuer.exeat-system.svc:443"
    )]
    pub issuer_url: Uri,
    /// Roots that the issuer's certificate is checked against, as PEM text. No other root is trusted.
    #[arg(long, env = "EXEAT_ISSUER_CA", value_name = "PEM", hide_env_values = true, allow_hyphen_values = true)]
    pub issuer_ca: Option<String>,
    /// The projected service account token that proves this pod; read again at each call.
    #[arg(
        long,
        env = "EXEAT_TOKEN_FILE",
        value_name = "FILE",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    )]
    pub token_file: PathBuf,
    /// Memory volume shared with the agent: the loopback secret and, for Kubernetes, kubeconfig and token.
    #[arg(long, env = "EXEAT_RUN_DIR", value_name = "FOLDER", default_value = "/var/run/exeat")]
    pub run_dir: PathBuf,
    /// Kind of provider that the pod's policy names: which protocol is served.
    #[arg(long, env = "EXEAT_PROVIDER", value_name = "KIND")]
    pub provider: Option<Provider>,
    /// The pod's policies with the kinds of their providers, where it has several of different kinds: `aws:NAME,kubernetes:NAME`.
    #[arg(long, env = "EXEAT_POLICIES", value_name = "KIND:NAME", value_delimiter = ',', value_parser = read_policy)]
    pub policies: Vec<Policy>,
    /// What containers with policies of their own have instead, a group for each: `aws:NAME,kubernetes:NAME;aws:NAME`. Each is served on the next port,
    /// by a secret in the folder whose name ends with its number.
    #[arg(long, env = "EXEAT_GROUPS", value_name = "GROUP", value_delimiter = ';', value_parser = read_group)]
    pub groups: Vec<Group>,
    /// Accept the pod's UID as the loopback secret of AWS, for SDKs that are too old for a token file.
    #[arg(long, env = "EXEAT_ACCEPT_POD_UID", requires = "pod_uid")]
    pub accept_pod_uid: bool,
    /// What the start-up probe waits for, where people are asked to approve.
    #[arg(long, env = "EXEAT_WAIT", value_name = "WHAT", default_value = "decision")]
    pub wait: Wait,
    /// Take the monitoring datagrams of AWS SDKs, by UDP on the same port of 127.0.0.1: the pod's policy is in mode Observe.
    #[arg(long, env = "EXEAT_OBSERVE")]
    pub observe: bool,
    /// UID of this pod (downward API metadata.uid).
    #[arg(long, env = "POD_UID", value_name = "UID", hide_env_values = true)]
    pub pod_uid: Option<String>,
    /// Log output.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// Kind of provider behind the pod's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// AWS: container credentials.
    Aws,
    /// Azure: App Service's protocol for managed identities.
    Azure,
    /// Kubernetes: kubeconfig and token files.
    Kubernetes,
    /// Vault and OpenBao: their API.
    Vault,
    /// Google Cloud: the metadata server.
    Gcp,
}

impl Provider {
    /// As the flag writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Kubernetes => "kubernetes",
            Self::Vault => "vault",
            Self::Gcp => "gcp",
        }
    }
}

/// A policy and the kind of its provider.
pub type Policy = (Provider, String);

/// The policies of a container that has its own.
#[derive(Clone, Debug)]
pub struct Group(Vec<Policy>);

fn read_group(text: &str) -> Result<Group, String> {
    text.split(',').map(read_policy).collect::<Result<_, _>>().map(Group)
}

fn read_policy(text: &str) -> Result<Policy, String> {
    let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or("write KIND:NAME")?;
    Ok((Provider::from_str(kind, false)?, name.to_owned()))
}

/// What the start-up probe waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// Until it is known that people are asked: the agent starts and is told so.
    #[default]
    Decision,
    /// Until they have decided.
    Approval,
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// A setting without default is missing.
    #[error("--{flag} (environment variable {variable}) is missing; the webhook sets it, so inject the pod again")]
    Missing {
        /// Name of the flag.
        flag: &'static str,
        /// Name of the environment variable.
        variable: &'static str,
    },
    /// Two policies of one kind would share their paths.
    #[error(
        "--policies and --groups (environment variables EXEAT_POLICIES, EXEAT_GROUPS): {0} is named twice; a container has one policy for each kind of provider"
    )]
    KindTwice(&'static str),
    /// The containers without policies of their own would be served those of another.
    #[error("--groups (environment variable EXEAT_GROUPS): --policies (EXEAT_POLICIES) must name the pod's own")]
    NoPolicies,
    /// The issuer's address would send the pod's token in clear text.
    #[error("--issuer-url {0}: must be https://host[:port] without a path")]
    IssuerUrl(Uri),
    /// The pod's UID is no secret when it is empty.
    #[error(
        "--accept-pod-uid: --pod-uid (environment variable POD_UID) is empty; set it from the downward API metadata.uid"
    )]
    PodUid,
}

/// Checked settings of `serve`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Address of the issuer, https.
    pub issuer_url: Uri,
    /// PEM text of the issuer's roots.
    pub issuer_ca: String,
    /// The projected service account token.
    pub token_file: PathBuf,
    /// Memory volume shared with the agent.
    pub run_dir: PathBuf,
    /// Which protocol is served.
    pub provider: Provider,
    /// The policies of each group of the pod's containers, each of another kind; first what all have that have none of their own. Empty: the pod
    /// has one policy, of `provider`.
    pub groups: Vec<Vec<Policy>>,
    /// What the start-up probe waits for.
    pub wait: Wait,
    /// Whether monitoring datagrams of AWS SDKs are taken.
    pub observe: bool,
    /// Whether the pod's UID is accepted as the loopback secret of AWS.
    pub accept_pod_uid: bool,
    /// The pod's UID, which is Azure's loopback secret.
    pub pod_uid: Option<String>,
}

impl Settings {
    /// What is accepted beside the loopback secret by the protocol of this provider.
    pub fn accepted_uid(&self, provider: Provider) -> Option<String> {
        let accepted = match provider {
            Provider::Aws => self.accept_pod_uid,
            Provider::Azure => true,
            Provider::Kubernetes | Provider::Vault | Provider::Gcp => false,
        };
        self.pod_uid.clone().filter(|_| accepted)
    }
}

impl TryFrom<ServeArgs> for Settings {
    type Error = SettingsError;

    fn try_from(args: ServeArgs) -> Result<Self, SettingsError> {
        let url = &args.issuer_url;
        if url.scheme_str() != Some("https") || url.authority().is_none() || !matches!(url.path(), "" | "/") {
            return Err(SettingsError::IssuerUrl(args.issuer_url));
        }
        let issuer_ca =
            args.issuer_ca.ok_or(SettingsError::Missing { flag: "issuer-ca", variable: "EXEAT_ISSUER_CA" })?;
        let provider = args.provider.ok_or(SettingsError::Missing { flag: "provider", variable: "EXEAT_PROVIDER" })?;
        let pod_uid = args.pod_uid.filter(|uid| !uid.trim().is_empty());
        if args.accept_pod_uid && pod_uid.is_none() {
            return Err(SettingsError::PodUid);
        }
        Ok(Self {
            port: args.port.listen_port,
            issuer_url: args.issuer_url,
            issuer_ca,
            token_file: args.token_file,
            run_dir: args.run_dir,
            provider,
            groups: groups(args.policies, args.groups)?,
            wait: args.wait,
            observe: args.observe,
            accept_pod_uid: args.accept_pod_uid,
            pod_uid,
        })
    }
}

/// One alone is as good as none: what is said of the pod is said of it.
fn groups(policies: Vec<Policy>, further: Vec<Group>) -> Result<Vec<Vec<Policy>>, SettingsError> {
    if policies.is_empty() && !further.is_empty() {
        return Err(SettingsError::NoPolicies);
    }
    let all: Vec<Vec<Policy>> = [policies].into_iter().chain(further.into_iter().map(|group| group.0)).collect();
    for group in &all {
        let twice = group.iter().enumerate().find(|(i, (kind, _))| group[..*i].iter().any(|(other, _)| other == kind));
        if let Some((_, (kind, _))) = twice {
            return Err(SettingsError::KindTwice(kind.as_str()));
        }
    }
    Ok(if all.iter().flatten().count() > 1 { all } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings, SettingsError> {
        let cli = Cli::try_parse_from([&["exeat-sidecar"], arguments].concat()).unwrap();
        let serve = match cli.command {
            Some(Command::Serve(serve)) => *serve,
            _ => cli.serve,
        };
        serve.try_into()
    }

    #[test]
    fn serve_is_the_default_and_has_defaults_for_all_but_root_and_provider() {
        for start in [vec![], vec!["serve"]] {
            let arguments = [start, vec!["--issuer-ca", "pem", "--provider", "aws"]].concat();
            let settings = settings(&arguments).unwrap();
            assert_eq!((settings.port, settings.provider, &settings.pod_uid), (9911, Provider::Aws, &None));
            assert_eq!(settings.wait, Wait::Decision);
        }
    }

    #[test]
    fn start_up_waits_for_what_it_is_told() {
        let base = ["--issuer-ca", "pem", "--provider", "aws", "--wait"];
        assert_eq!(settings(&[&base[..], &["approval"]].concat()).unwrap().wait, Wait::Approval);
        let refused = Cli::try_parse_from([&["exeat-sidecar"], &base[..], &["Approval"]].concat()).unwrap_err();
        assert!(refused.to_string().contains("[possible values: decision, approval]"), "{refused}");
    }

    #[test]
    fn several_policies_are_of_different_kinds() {
        let base = ["--issuer-ca", "pem", "--provider", "aws", "--policies"];
        let read = |text: &str| settings(&[&base[..], &[text]].concat()).map(|settings| settings.groups);
        let both = vec![(Provider::Aws, "a".to_owned()), (Provider::Kubernetes, "b.c".to_owned())];
        assert_eq!(read("aws:a,kubernetes:b.c").unwrap(), [both]);
        assert!(read("aws:a").unwrap().is_empty(), "one is served as it always was");
        assert_eq!(read("aws:a,aws:b").unwrap_err(), SettingsError::KindTwice("aws"));
        for text in ["aws", "aws:", "ftp:a"] {
            assert!(Cli::try_parse_from([&["exeat-sidecar"], &base[..], &[text]].concat()).is_err(), "{text}");
        }
    }

    #[test]
    fn groups_stand_beside_the_pods_own_policies() {
        let base = ["--issuer-ca", "pem", "--provider", "aws", "--groups"];
        let read = |arguments: &[&str]| settings(&[&base[..], arguments].concat()).map(|settings| settings.groups);
        let of = |kind, name: &str| (kind, name.to_owned());
        assert_eq!(
            read(&["aws:b,vault:c;aws:a", "--policies", "aws:a"]).unwrap(),
            [
                vec![of(Provider::Aws, "a")],
                vec![of(Provider::Aws, "b"), of(Provider::Vault, "c")],
                vec![of(Provider::Aws, "a")],
            ]
        );
        assert_eq!(read(&["aws:b"]).unwrap_err(), SettingsError::NoPolicies);
        assert_eq!(read(&["aws:b,aws:c", "--policies", "aws:a"]).unwrap_err(), SettingsError::KindTwice("aws"));
        assert!(Cli::try_parse_from([&["exeat-sidecar"], &base[..], &["aws:b;"]].concat()).is_err());
    }

    #[test]
    fn the_probe_needs_no_other_setting() {
        let cli = Cli::try_parse_from(["exeat-sidecar", "probe", "--listen-port", "1234"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Probe(PortArgs { listen_port: 1234 }))), "{cli:?}");
    }

    #[test]
    fn what_is_missing_is_named_by_flag_and_variable() {
        let message = settings(&["--provider", "aws"]).unwrap_err().to_string();
        assert!(message.contains("--issuer-ca") && message.contains("EXEAT_ISSUER_CA"), "{message}");
        let message = settings(&["--issuer-ca", "pem"]).unwrap_err().to_string();
        assert!(message.contains("--provider") && message.contains("EXEAT_PROVIDER"), "{message}");
    }

    #[test]
    fn a_root_may_be_given_as_the_pem_text_that_it_is() {
        let pem = "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n";
        assert_eq!(settings(&["--issuer-ca", pem, "--provider", "aws"]).unwrap().issuer_ca, pem);
    }

    #[test]
    fn an_issuer_without_tls_or_with_a_path_is_refused() {
        for url in ["http://issuer:443", "https://issuer/path", "/only-a-path"] {
            let refused = settings(&["--issuer-ca", "pem", "--provider", "aws", "--issuer-url", url]).unwrap_err();
            assert_eq!(refused, SettingsError::IssuerUrl(url.parse().unwrap()));
        }
    }

    #[test]
    fn an_empty_pod_uid_is_no_secret() {
        let base = ["--issuer-ca", "pem", "--provider", "aws", "--accept-pod-uid", "--pod-uid"];
        assert_eq!(settings(&[&base[..], &[" "]].concat()).unwrap_err(), SettingsError::PodUid);
        let asked = settings(&[&base[..], &["u-1"]].concat()).unwrap();
        assert_eq!(asked.accepted_uid(Provider::Aws).as_deref(), Some("u-1"));
    }

    #[test]
    fn a_uid_opens_aws_only_when_asked_for_and_azure_always() {
        let settings = settings(&["--issuer-ca", "pem", "--provider", "aws", "--pod-uid", "u-1"]).unwrap();
        assert_eq!(settings.accepted_uid(Provider::Azure).as_deref(), Some("u-1"));
        for provider in [Provider::Aws, Provider::Kubernetes, Provider::Vault, Provider::Gcp] {
            assert_eq!(settings.accepted_uid(provider), None, "{provider:?}");
        }
    }
}
