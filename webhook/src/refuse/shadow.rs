//! Variables that an SDK would follow before it asks the sidecar. Chains as the SDKs document them: static keys,
//! profiles and web identity all come before container credentials.

use exeat_crds::names;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::rules::Kind;
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, PodSpec};

use crate::annotations::{Asked, AwsToken};
use crate::inject::{Route, fixed_env, is_injected};
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

const KEY_FILE: &str = "the file's credentials come before the sidecar's";
const GCLOUD: &str = "gcloud follows it instead of the sidecar";

/// What Google's clients follow before they ask a metadata server, or what keeps them from it.
const GCP: [(&str, &str, &str); 7] = [
    ("GOOGLE_APPLICATION_CREDENTIALS", KEY_FILE, REMOVE),
    ("CLOUDSDK_CONFIG", "application default credentials in that folder come before the sidecar's", REMOVE),
    ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", GCLOUD, REMOVE),
    ("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", GCLOUD, REMOVE),
    ("CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", "the session's service account can't act as another", REMOVE),
    ("NO_GCE_CHECK", "with it no metadata server is looked for", REMOVE),
    ("GCE_METADATA_MTLS_MODE", "the sidecar speaks plain HTTP on loopback", REMOVE),
];

/// What SDKs show the sidecar: with another value they would get nothing.
const SECRET: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
/// Files that hold nothing may be named: it is how a chain is shortened.
const NO_FILE: &str = "/dev/null";

/// What would shadow the sidecar in a pod.
#[derive(Debug, Default)]
pub(crate) struct Shadows {
    /// Why the pod is refused.
    pub(crate) refused: Vec<Refused>,
    /// What its author is told, no more.
    pub(crate) let_be: Vec<Refused>,
}

/// Under a policy that only looks on, an agent may go past the sidecar: a workload is taken as it is, and its author is told that nothing is
/// learnt then. What would break the way to the sidecar instead is refused all the same.
pub(super) fn check(spec: &PodSpec, asked: &Asked, route: &Route, kind: Kind) -> Shadows {
    let observe = route.observe.contains(&kind);
    let agents = others(spec).filter(|placed| asked.group_of(&placed.container.name) == Some(route.number));
    let found = agents.flat_map(|placed| container(placed, asked, route.port, kind));
    let (let_be, refused): (Vec<Shadow>, Vec<Shadow>) = found.partition(|shadow| observe && shadow.leads_past);
    let told = |shadow: Shadow| {
        let message = format!(
            "{}; mode Observe lets it be, but calls that go past the sidecar's credentials are not this session's: they are neither short-lived \
             nor audited, and nothing sound is learnt of them",
            shadow.why.message
        );
        Refused::new(shadow.why.reason, message)
    };
    Shadows {
        refused: refused.into_iter().map(|shadow| shadow.why).collect(),
        let_be: let_be.into_iter().map(told).collect(),
    }
}

struct Shadow {
    why: Refused,
    /// Whether the agent gets by without the sidecar then, rather than not at all.
    leads_past: bool,
}

fn container(placed: Placed<'_>, asked: &Asked, port: u16, kind: Kind) -> Vec<Shadow> {
    let path = placed.path();
    let ours = fixed_env(kind, port, asked.aws_token.unwrap_or_default());
    let env = placed.container.env.iter().flatten().filter(|variable| !is_injected(variable));
    let mut problems: Vec<Shadow> = env.filter_map(|variable| shadow(&path, variable, &ours, kind)).collect();
    if !asked.allow_env_from.contains(&placed.container.name) {
        let sources = placed.container.env_from.iter().flatten().filter(|source| may_shadow(source, kind));
        let let_by = |source| Shadow { why: env_from(&path, source, &placed.container.name), leads_past: true };
        problems.extend(sources.map(let_by));
    }
    problems
}

fn shadow(path: &str, variable: &EnvVar, ours: &[EnvVar], kind: Kind) -> Option<Shadow> {
    let field = format!("{path}.env[name={}]", variable.name);
    let known = match kind {
        Kind::Aws => AWS.iter().find(|(name, _, _)| *name == variable.name),
        Kind::Azure => AZURE.iter().find(|(name, _, _)| *name == variable.name),
        Kind::Kubernetes => None,
        Kind::Vault => VAULT.iter().find(|(name, _, _)| *name == variable.name),
        Kind::Gcp => GCP.iter().find(|(name, _, _)| *name == variable.name),
    };
    if let Some((name, problem, fix)) = known {
        let harmless = name.ends_with("_FILE") && variable.value.as_deref() == Some(NO_FILE);
        let leads_past = !name.starts_with(SECRET) && !ours.iter().any(|own| own.name == *name);
        let why = || refused(Reason::CredentialsShadowed, field, problem, fix);
        return (!harmless).then(|| Shadow { why: why(), leads_past });
    }
    let own = ours.iter().find(|own| own.name == variable.name)?;
    let value = own.value.as_ref().map_or_else(|| "the pod's UID".to_owned(), |value| format!("{value:?}"));
    let problem = format!("the webhook sets it to {value}, and a part of its variables is as good as none");
    Some(Shadow { why: refused(Reason::CredentialsShadowed, field, problem, REMOVE), leads_past: false })
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
        Kind::Gcp => GCP.as_slice(),
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
