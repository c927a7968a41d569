//! What would keep Google's metadata server from being the sidecar by name.

use exeat_crds::names;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::rules::Kind;
use k8s_openapi::api::core::v1::PodSpec;

use crate::annotations::Asked;
use crate::inject::{LOOPBACK, METADATA_HOSTS, Route, UNPRIVILEGED_PORTS};
use crate::message::refused;

pub(super) fn check(spec: &PodSpec, asked: &Asked, routes: &[Route]) -> Vec<Refused> {
    let mut problems = Vec::new();
    let google = routes.iter().any(|route| route.has(Kind::Gcp));
    if google {
        problems.extend(aliases(spec));
    }
    if !asked.metadata_host {
        return problems;
    }
    problems.extend(whose(google, routes));
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    let own = sysctls.filter(|sysctl| sysctl.name == UNPRIVILEGED_PORTS);
    problems.extend(own.filter(|sysctl| !sysctl.value.trim().parse::<u16>().is_ok_and(|first| first <= 80)).map(
        |_| {
            refused(
                Reason::PodUnsuitable,
                format_args!("spec.securityContext.sysctls[name={UNPRIVILEGED_PORTS}]"),
                "the sidecar could not listen on port 80",
                "remove it; the webhook sets its own",
            )
        },
    ));
    problems
}

/// The name leads every container to the port of the pod's own policies.
fn whose(google: bool, routes: &[Route]) -> Option<Refused> {
    let mut all: Vec<&String> = Vec::new();
    for (_, name) in routes.iter().flat_map(|route| &route.policies).filter(|(kind, _)| *kind == Kind::Gcp) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    let known = routes.iter().any(|route| !route.policies.is_empty());
    let (problem, fix) = match &all[..] {
        _ if known && !google => ("the policy's provider is not Google Cloud".to_owned(), "remove it"),
        [one, other, ..] => (
            format!(
                "policies {one:?} and {other:?} are both of Google Cloud, and all containers would find the metadata server of one"
            ),
            "remove it, or use a pod for each",
        ),
        [own] if !routes.first().is_some_and(|route| route.has(Kind::Gcp)) => (
            format!("policy {own:?} is a single container's, and all containers would find its metadata server"),
            "name it by exeat.dev/policy, or remove this",
        ),
        _ => return None,
    };
    Some(refused(Reason::AnnotationInvalid, format_args!("annotation {}", names::GCP_METADATA_HOST), problem, fix))
}

/// Another place under the metadata server's name would be asked before the sidecar.
fn aliases(spec: &PodSpec) -> Vec<Refused> {
    let elsewhere = spec.host_aliases.iter().flatten().filter(|alias| {
        let named = alias.hostnames.iter().flatten().any(|host| METADATA_HOSTS.contains(&host.as_str()));
        named && alias.ip != LOOPBACK
    });
    let told = |ip: &str| {
        refused(
            Reason::CredentialsShadowed,
            format_args!("spec.hostAliases[ip={ip}]"),
            format_args!("{} would be another metadata server than the sidecar", METADATA_HOSTS[0]),
            "remove it",
        )
    };
    elsewhere.map(|alias| told(&alias.ip)).collect()
}
