//! What would keep Google's metadata server from being the sidecar by name.

use exeat_crds::names;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::rules::Kind;
use k8s_openapi::api::core::v1::PodSpec;

use crate::annotations::Asked;
use crate::inject::{LOOPBACK, METADATA_HOSTS, UNPRIVILEGED_PORTS};
use crate::message::refused;

pub(super) fn check(spec: &PodSpec, asked: &Asked, policies: &[(Kind, String)]) -> Vec<Refused> {
    let mut problems = Vec::new();
    let google = policies.iter().any(|(kind, _)| *kind == Kind::Gcp);
    if google {
        problems.extend(aliases(spec));
    }
    if !asked.metadata_host {
        return problems;
    }
    if !google && !policies.is_empty() {
        problems.push(refused(
            Reason::AnnotationInvalid,
            format_args!("annotation {}", names::GCP_METADATA_HOST),
            "the policy's provider is not Google Cloud",
            "remove it",
        ));
    }
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
