//! An agent's container: the variables and the mount that lead its SDK to the sidecar, all or none of them.

use exeat_crds::names;
use exeat_crds::rules::Kind;
use k8s_openapi::api::core::v1::{Container, EnvVar, VolumeMount};

use super::metadata::METADATA_HOSTS;
use super::sidecar::pod_uid;
use super::{Plan, Route, monitor};
use crate::annotations::AwsToken;
use crate::pod::mount_path;

const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
const KUBECONFIG: &str = "KUBECONFIG";
/// Clients of OpenBao read their own name of it.
const VAULT_ADDRS: [&str; 2] = ["VAULT_ADDR", "BAO_ADDR"];
/// App Service's protocol, the only one that all of Azure's SDKs take from the environment.
const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";
const IDENTITY_HEADER: &str = "IDENTITY_HEADER";
/// Google's clients in Python read all three, those in Go the first, those in Node the second before the first.
const METADATA_SERVERS: [&str; 3] = ["GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT"];
/// Node looks for the metadata server by itself, unless it is told that there is one.
const METADATA_DETECTION: &str = "METADATA_SERVER_DETECTION";
const METADATA_PRESENT: &str = "assume-present";
const PROJECT: &str = "GOOGLE_CLOUD_PROJECT";
const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

const ENDPOINT_START: &str = "http://127.0.0.1:";
const ENDPOINT_END: &str = "/aws/credentials";
const AZURE_END: &str = "/azure/token";
const TOKEN_FILE_VALUE: &str = "/var/run/exeat/token";
const KUBECONFIG_VALUE: &str = "/var/run/exeat/kubernetes/kubeconfig";
/// Where SDKs must not send their calls to the sidecar through a proxy.
const LOOPBACK: [&str; 2] = ["127.0.0.1", "localhost"];

/// A variable with a written value.
pub(super) fn literal(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

/// The variables whose values are ours alone, for one kind of provider.
pub(crate) fn fixed_env(kind: Kind, port: u16, aws_token: AwsToken) -> Vec<EnvVar> {
    match kind {
        Kind::Aws => vec![
            literal(FULL_URI, &format!("{ENDPOINT_START}{port}{ENDPOINT_END}")),
            match aws_token {
                AwsToken::File => literal(TOKEN_FILE, TOKEN_FILE_VALUE),
                AwsToken::Env => pod_uid(TOKEN),
            },
            literal(METADATA_DISABLED, "true"),
        ],
        // Its SDKs read the secret from the environment alone, which nothing can fill once the sidecar has started: so it is the pod's UID.
        Kind::Azure => {
            vec![literal(IDENTITY_ENDPOINT, &format!("{ENDPOINT_START}{port}{AZURE_END}")), pod_uid(IDENTITY_HEADER)]
        }
        Kind::Kubernetes => vec![literal(KUBECONFIG, KUBECONFIG_VALUE)],
        Kind::Vault => VAULT_ADDRS.map(|name| literal(name, &format!("{ENDPOINT_START}{port}"))).into(),
        Kind::Gcp => {
            let servers = METADATA_SERVERS.map(|name| literal(name, &format!("{}:{port}", LOOPBACK[0])));
            servers.into_iter().chain([literal(METADATA_DETECTION, METADATA_PRESENT)]).collect()
        }
    }
}

/// Whether a variable has the shape in which an injection, now or earlier, writes it.
pub(crate) fn is_injected(env: &EnvVar) -> bool {
    let value = env.value.as_deref().unwrap_or_default();
    match env.name.as_str() {
        FULL_URI => value
            .strip_prefix(ENDPOINT_START)
            .and_then(|rest| rest.strip_suffix(ENDPOINT_END))
            .is_some_and(|port| port.parse::<u16>().is_ok()),
        TOKEN_FILE => value == TOKEN_FILE_VALUE,
        IDENTITY_ENDPOINT => value
            .strip_prefix(ENDPOINT_START)
            .and_then(|rest| rest.strip_suffix(AZURE_END))
            .is_some_and(|port| port.parse::<u16>().is_ok()),
        TOKEN | IDENTITY_HEADER => {
            let field = env.value_from.as_ref().and_then(|source| source.field_ref.as_ref());
            field.is_some_and(|field| field.field_path == "metadata.uid")
        }
        METADATA_DISABLED => value.eq_ignore_ascii_case("true"),
        KUBECONFIG => value == KUBECONFIG_VALUE,
        name if VAULT_ADDRS.contains(&name) => {
            value.strip_prefix(ENDPOINT_START).is_some_and(|port| port.parse::<u16>().is_ok())
        }
        name if METADATA_SERVERS.contains(&name) => {
            value.strip_prefix("127.0.0.1:").is_some_and(|port| port.parse::<u16>().is_ok())
        }
        METADATA_DETECTION => value == METADATA_PRESENT,
        _ => false,
    }
}

/// Whether a mount is the agent's one of some group, as an injection writes it.
pub(crate) fn is_injected_mount(mount: &VolumeMount) -> bool {
    let whole = mount.sub_path.is_none() && mount.sub_path_expr.is_none();
    let propagates = mount.mount_propagation.as_deref().is_some_and(|propagation| propagation != "None");
    names::is_run_volume(&mount.name)
        && mount_path(&mount.mount_path) == names::RUN_PATH
        && mount.read_only == Some(true)
        && whole
        && !propagates
}

/// Connects a container to the sidecar, or takes an earlier injection back where the pod now skips it.
///
/// `NET_RAW` goes from every container of the pod: with it loopback could be listened to.
pub(super) fn connect(container: &mut Container, plan: &Plan<'_>) {
    drop_net_raw(container);
    let route = plan.route_of(&container.name);
    let aws_token = plan.asked.aws_token.unwrap_or_default();
    let of_route = |route: &Route| -> Vec<EnvVar> {
        route.policies.iter().flat_map(|(kind, _)| fixed_env(*kind, route.port, aws_token)).collect()
    };
    let fixed = route.map(of_route).unwrap_or_default();
    let mut env = container.env.take().unwrap_or_default();
    env.retain(|old| {
        !is_injected(old) || fixed.iter().any(|new| new.name == old.name) || old.name == METADATA_DISABLED
    });
    for variable in fixed {
        set(&mut env, variable);
    }
    monitor::place(&mut env, route.filter(|route| route.observe.contains(&Kind::Aws)).map(|route| route.port));
    let mut mounts = container.volume_mounts.take().unwrap_or_default();
    if let (Some(pods), Some(own)) = (plan.routes.first(), route)
        && own.number != pods.number
        && mounts.iter().any(|mount| is_injected_mount(mount) && mount.name == names::RUN_VOLUME)
    {
        env.retain(|old| !is_place_of(old, pods));
    }
    let volume = route.map(|route| names::run_volume(route.number));
    mounts.retain(|mount| !is_injected_mount(mount) || Some(&mount.name) == volume.as_ref());
    if let Some(route) = route {
        if let Some(region) = &route.region {
            set_region(&mut env, region);
        }
        if let Some(project) = &route.project
            && !env.iter().any(|e| e.name == PROJECT)
        {
            env.push(literal(PROJECT, project));
        }
        merge_no_proxy(&mut env, plan.asked.metadata_host);
        if !mounts.iter().any(is_injected_mount) {
            mounts.push(run_mount(route.number));
        }
    }
    container.env = Some(env).filter(|env| !env.is_empty());
    container.volume_mounts = Some(mounts).filter(|mounts| !mounts.is_empty());
}

fn run_mount(number: usize) -> VolumeMount {
    VolumeMount {
        name: names::run_volume(number),
        mount_path: names::RUN_PATH.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

pub(super) fn set(env: &mut Vec<EnvVar>, variable: EnvVar) {
    let mut found = false;
    for old in env.iter_mut().filter(|old| old.name == variable.name) {
        *old = variable.clone();
        found = true;
    }
    if !found {
        env.push(variable);
    }
}

/// Whether it is the region or the project of this way: what a container was given by it before it had policies of its own.
fn is_place_of(env: &EnvVar, route: &Route) -> bool {
    let given = match env.name.as_str() {
        PROJECT => &route.project,
        name if REGIONS.contains(&name) => &route.region,
        _ => return false,
    };
    given.is_some() && env.value == *given
}

/// The author's own region stands, under both names; else it is the provider's.
fn set_region(env: &mut Vec<EnvVar>, region: &str) {
    let authors = REGIONS.iter().find_map(|name| env.iter().rfind(|e| e.name == *name).cloned());
    for name in REGIONS {
        if env.iter().any(|e| e.name == name) {
            continue;
        }
        env.push(match &authors {
            Some(author) => EnvVar { name: name.to_owned(), ..author.clone() },
            None => literal(name, region),
        });
    }
}

/// Both spellings get the union of both, as some clients read one and some the other. A value from elsewhere can't be
/// merged and stays.
fn merge_no_proxy(env: &mut Vec<EnvVar>, metadata_host: bool) {
    let of = |name: &str| env.iter().rfind(|e| e.name == name);
    if NO_PROXY.iter().filter_map(|name| of(name)).any(|e| e.value_from.is_some()) {
        return;
    }
    let mut hosts: Vec<String> = Vec::new();
    let written = NO_PROXY.iter().filter_map(|name| of(name)?.value.as_deref()).flat_map(|value| value.split(','));
    let by_name = metadata_host.then_some(METADATA_HOSTS).into_iter().flatten();
    for host in written.map(str::trim).chain(LOOPBACK).chain(by_name).filter(|host| !host.is_empty()) {
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }
    let merged = hosts.join(",");
    for name in NO_PROXY {
        set(env, literal(name, &merged));
    }
}

fn drop_net_raw(container: &mut Container) {
    let capabilities = container.security_context.get_or_insert_default().capabilities.get_or_insert_default();
    let drop = capabilities.drop.get_or_insert_default();
    if !drop.iter().any(|capability| ["ALL", "NET_RAW"].contains(&normal_capability(capability).as_str())) {
        drop.push("NET_RAW".to_owned());
    }
}

/// A capability as the kernel's documentation names it, without `CAP_`.
pub(crate) fn normal_capability(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
}
