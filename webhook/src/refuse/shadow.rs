//! Variables that an SDK would follow before it asks the sidecar. Chains as the SDKs document them: static keys,
//! profiles and web identity all come before container credentials.

use exeat_crds::names;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::rules::Kind;
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, PodSpec};

use crate::annotations::{Asked, AwsToken};
use crate::inject::{fixed_env, is_injected};
use crate::message::refused;
use crate::pod::{Placed, others};

const STATIC_KEYS: &str = "static keys come before the sidecar's credentials";
const PROFILE: &str = "a profile comes before the sidecar's credentials";
const IRSA: &str = "web identity (IRSA) comes before the sidecar's credentials";
const REMOVE: &str = "remove it";
const REMOVE_ROLE: &str =
    "remove it, or use a service account without the annotation eks.amazonaws.com/role-arn (and without Pod Identity)";

/// What shadows AWS container credentials: the variable, why, and the fix.
const AWS: [(&str, &str, &str); 12] = [
    ("AWS_ACCESS_KEY_ID", STATIC_KEYS, REMOVE),
    ("AWS_SECRET_ACCESS_KEY", STATIC_KEYS, REMOVE),
    ("AWS_SESSION_TOKEN", STATIC_KEYS, REMOVE),
    ("AWS_PROFILE", PROFILE, REMOVE),
    ("AWS_DEFAULT_PROFILE", PROFILE, REMOVE),
    ("AWS_SHARED_CREDENTIALS_FILE", "the file's keys come before the sidecar's credentials", REMOVE),
    ("AWS_CONFIG_FILE", "the file's profile can come before the sidecar's credentials", REMOVE),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", IRSA, REMOVE_ROLE),
    ("AWS_ROLE_ARN", IRSA, REMOVE_ROLE),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "SDKs follow it instead of the sidecar's address", REMOVE_ROLE),
    (
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "some SDKs send it instead of the sidecar's token",
        "remove it; for SDKs that need it set annotation exeat.dev/aws-token: Env",
    ),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "SDKs send it instead of the sidecar's token", REMOVE_ROLE),
];

const BEFORE: &str = "SDKs take it before the sidecar's tokens";
const REMOVE_WORKLOAD_IDENTITY: &str = "remove it, or the label azure.workload.identity/use that adds it";
const OTHER_HOST: &str = "SDKs then take the pod for another kind of host and ask elsewhere";

/// What comes before managed identity in the chain of Azure's SDKs, or makes them speak another protocol than App Service's. A client id
/// alone selects an identity, which the sidecar compares.
const AZURE: [(&str, &str, &str); 9] = [
    ("AZURE_CLIENT_SECRET", BEFORE, REMOVE),
    ("AZURE_CLIENT_CERTIFICATE_PATH", BEFORE, REMOVE),
    ("AZURE_USERNAME", BEFORE, REMOVE),
    ("AZURE_PASSWORD", BEFORE, REMOVE),
    ("AZURE_FEDERATED_TOKEN_FILE", BEFORE, REMOVE_WORKLOAD_IDENTITY),
    ("IMDS_ENDPOINT", OTHER_HOST, REMOVE),
    ("IDENTITY_SERVER_THUMBPRINT", OTHER_HOST, REMOVE),
    ("MSI_ENDPOINT", OTHER_HOST, REMOVE),
    ("MSI_SECRET", OTHER_HOST, REMOVE),
];

const ELSEWHERE: &str = "clients follow it instead of the sidecar's address";

/// What leads clients of Vault past the sidecar, or is of no use there.
const VAULT: [(&str, &str, &str); 8] = [
    ("VAULT_AGENT_ADDR", ELSEWHERE, REMOVE),
    ("VAULT_PROXY_ADDR", ELSEWHERE, REMOVE),
    ("BAO_AGENT_ADDR", ELSEWHERE, REMOVE),
    ("BAO_PROXY_ADDR", ELSEWHERE, REMOVE),
    ("VAULT_TOKEN", "a token of the pod's own is not used: the sidecar puts its own in its place", REMOVE),
    ("BAO_TOKEN", "a token of the pod's own is not used: the sidecar puts its own in its place", REMOVE),
    ("VAULT_NAMESPACE", "the namespace is the provider's: the sidecar puts it in", REMOVE),
    ("BAO_NAMESPACE", "the namespace is the provider's: the sidecar puts it in", REMOVE),
];

/// Files that hold nothing may be named: it is how a chain is shortened.
const NO_FILE: &str = "/dev/null";

pub(super) fn check(spec: &PodSpec, asked: &Asked, kind: Kind) -> Vec<Refused> {
    let agents = others(spec).filter(|placed| !asked.skip.contains(&placed.container.name));
    agents.flat_map(|placed| container(placed, asked, kind)).collect()
}

fn container(placed: Placed<'_>, asked: &Asked, kind: Kind) -> Vec<Refused> {
    let path = placed.path();
    let ours = fixed_env(kind, asked.port, asked.aws_token.unwrap_or_default());
    let env = placed.container.env.iter().flatten().filter(|variable| !is_injected(variable));
    let mut problems: Vec<Refused> = env.filter_map(|variable| shadow(&path, variable, &ours, kind)).collect();
    if !asked.allow_env_from.contains(&placed.container.name) {
        let sources = placed.container.env_from.iter().flatten().filter(|source| may_shadow(source, kind));
        problems.extend(sources.map(|source| env_from(&path, source, &placed.container.name)));
    }
    problems
}

fn shadow(path: &str, variable: &EnvVar, ours: &[EnvVar], kind: Kind) -> Option<Refused> {
    let field = format!("{path}.env[name={}]", variable.name);
    let known = match kind {
        Kind::Aws => AWS.iter().find(|(name, _, _)| *name == variable.name),
        Kind::Azure => AZURE.iter().find(|(name, _, _)| *name == variable.name),
        Kind::Kubernetes => None,
        Kind::Vault => VAULT.iter().find(|(name, _, _)| *name == variable.name),
    };
    if let Some((name, problem, fix)) = known {
        let harmless = name.ends_with("_FILE") && variable.value.as_deref() == Some(NO_FILE);
        return (!harmless).then(|| refused(Reason::CredentialsShadowed, field, problem, fix));
    }
    let own = ours.iter().find(|own| own.name == variable.name)?;
    let value = own.value.as_ref().map_or_else(|| "the pod's UID".to_owned(), |value| format!("{value:?}"));
    let problem = format!("the webhook sets it to {value}, and a part of its variables is as good as none");
    Some(refused(Reason::CredentialsShadowed, field, problem, REMOVE))
}

/// A prefix keeps a source away from every name that matters, unless the prefix is the start of one.
fn may_shadow(source: &EnvFromSource, kind: Kind) -> bool {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    guarded(kind).iter().any(|name| name.starts_with(prefix))
}

fn guarded(kind: Kind) -> Vec<String> {
    let shadows = match kind {
        Kind::Aws => AWS.as_slice(),
        Kind::Azure => AZURE.as_slice(),
        Kind::Kubernetes => &[],
        Kind::Vault => VAULT.as_slice(),
    };
    let ours = [AwsToken::File, AwsToken::Env].map(|token| fixed_env(kind, names::DEFAULT_PORT, token));
    let shadows = shadows.iter().map(|(name, _, _)| (*name).to_owned());
    shadows.chain(ours.into_iter().flatten().map(|variable| variable.name)).collect()
}

fn env_from(path: &str, source: &EnvFromSource, container: &str) -> Refused {
    let from = match (&source.config_map_ref, &source.secret_ref) {
        (Some(reference), _) => format!("ConfigMap {:?}", reference.name),
        (_, Some(reference)) => format!("Secret {:?}", reference.name),
        _ => "the source".to_owned(),
    };
    refused(
        Reason::CredentialsShadowed,
        format_args!("{path}.envFrom"),
        format_args!("{from} could hold variables that come before the sidecar's credentials"),
        format_args!(
            "name single variables under env, give it a prefix, or check it and add {container:?} to annotation {}",
            names::ALLOW_ENV_FROM
        ),
    )
}
