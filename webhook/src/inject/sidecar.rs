//! The sidecar's container.

use exeat_crds::approval::Needed;
use exeat_crds::names;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, EnvVarSource, ExecAction, ObjectFieldSelector, PodSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::agent::literal;
use super::{Plan, Route};
use crate::annotations::{AwsToken, Wait};
use crate::pod::others;

/// The program in the sidecar's image.
pub(crate) const BINARY: &str = "/exeat-sidecar";
/// Environment variables of the sidecar that begin like this are its settings.
const OWN_ENV_PREFIX: &str = "EXEAT_";
const POD_UID: &str = "POD_UID";
/// Longer than a change of leader takes; the probe runs once a second.
const PROBE_SECONDS: i32 = 120;
/// Beyond the deadline of those who are asked, so that the sidecar hears what came of it.
const PROBE_AFTER_DEADLINE: i64 = 60;
/// A node that starts many pods at once can take seconds to run a probe.
const PROBE_TIMEOUT: i32 = 5;
/// What a sidecar without limits of its own gets in a pod of class Guaranteed, which must have both.
const GUARANTEED: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "64Mi")];

/// Puts the sidecar at its place, or before all other init containers.
///
/// What other admission plugins added to it (variables, mounts) stays; everything else is as if it were new.
pub(super) fn place(init_containers: &mut Vec<Container>, plan: &Plan<'_>) {
    let mut desired = container(plan);
    match init_containers.iter_mut().find(|c| c.name == names::SIDECAR) {
        None => init_containers.insert(0, desired),
        Some(existing) => {
            let env = existing.env.take().unwrap_or_default();
            let foreign = |e: &EnvVar| !e.name.starts_with(OWN_ENV_PREFIX) && e.name != POD_UID;
            desired.env.get_or_insert_default().extend(env.into_iter().filter(foreign));
            let mounts = existing.volume_mounts.take().unwrap_or_default();
            let ours = |name: &str| name == names::IDENTITY_VOLUME || names::is_run_volume(name);
            let foreign = mounts.into_iter().filter(|mount| !ours(&mount.name));
            desired.volume_mounts.get_or_insert_default().extend(foreign);
            if plan.settings.sidecar.is_genuine(existing.image.as_deref()) {
                desired.image = existing.image.take();
            }
            *existing = desired;
        }
    }
}

/// Every default of the API server is written out, so that a second injection finds nothing to change.
fn container(plan: &Plan<'_>) -> Container {
    let sidecar = &plan.settings.sidecar;
    Container {
        name: names::SIDECAR.to_owned(),
        image: Some(sidecar.image.clone()),
        image_pull_policy: Some(sidecar.pull_policy.clone()),
        restart_policy: Some("Always".to_owned()),
        env: Some(env(plan)),
        resources: Some(resources(plan)),
        security_context: Some(security_context(sidecar.uid)),
        startup_probe: Some(startup_probe(plan)),
        termination_message_path: Some("/dev/termination-log".to_owned()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts(plan)),
        ..Container::default()
    }
}

/// Its identity, and the memory volume of each group at a path of its own.
fn mounts(plan: &Plan<'_>) -> Vec<VolumeMount> {
    let identity = VolumeMount {
        name: names::IDENTITY_VOLUME.to_owned(),
        mount_path: names::IDENTITY_PATH.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let run = |route: &Route| VolumeMount {
        name: names::run_volume(route.number),
        mount_path: names::run_path(route.number),
        ..VolumeMount::default()
    };
    [identity].into_iter().chain(plan.routes.iter().map(run)).collect()
}

/// A pod of class Guaranteed stays one: there the sidecar requests all that it may use.
fn resources(plan: &Plan<'_>) -> ResourceRequirements {
    let sidecar = &plan.settings.sidecar;
    let (mut requests, mut limits) = (sidecar.requests.clone(), sidecar.limits.clone());
    if plan.guaranteed {
        for (name, amount) in GUARANTEED {
            limits.entry(name.to_owned()).or_insert_with(|| Quantity(amount.to_owned()));
        }
        requests.extend(limits.clone());
    }
    ResourceRequirements {
        requests: Some(requests).filter(|amounts| !amounts.is_empty()),
        limits: Some(limits).filter(|amounts| !amounts.is_empty()),
        claims: None,
    }
}

/// Whether the pod would be of class Guaranteed without the sidecar.
pub(super) fn is_guaranteed(spec: &PodSpec) -> bool {
    others(spec).all(|placed| {
        let Some(resources) = &placed.container.resources else { return false };
        ["cpu", "memory"].iter().all(|name| {
            let limit = resources.limits.as_ref().and_then(|limits| limits.get(*name));
            let request = resources.requests.as_ref().and_then(|requests| requests.get(*name));
            limit.is_some() && request.is_none_or(|request| Some(request) == limit)
        })
    })
}

fn env(plan: &Plan<'_>) -> Vec<EnvVar> {
    let policies = || plan.routes.iter().flat_map(|route| &route.policies);
    let mut env = vec![
        literal("EXEAT_ISSUER_URL", &plan.settings.issuer_url),
        literal("EXEAT_ISSUER_CA", plan.issuer_ca),
        literal("EXEAT_PROVIDER", policies().next().map_or("", |(kind, _)| kind.as_str())),
        literal("EXEAT_LISTEN_PORT", &plan.asked.port.to_string()),
        literal("EXEAT_LOG", &plan.settings.sidecar.log_level),
        pod_uid(POD_UID),
    ];
    if policies().count() > 1
        && let Some((first, further)) = plan.routes.split_first()
    {
        env.push(literal("EXEAT_POLICIES", &listed(first)));
        if !further.is_empty() {
            env.push(literal("EXEAT_GROUPS", &further.iter().map(listed).collect::<Vec<_>>().join(";")));
        }
    }
    if plan.asked.aws_token == Some(AwsToken::Env) {
        env.push(literal("EXEAT_ACCEPT_POD_UID", "true"));
    }
    if plan.routes.iter().any(|route| !route.observe.is_empty()) {
        env.push(literal("EXEAT_OBSERVE", "true"));
    }
    if plan.asked.wait == Wait::Approval {
        env.push(literal("EXEAT_WAIT", "approval"));
    }
    env
}

/// The policies of a group as the sidecar reads them.
fn listed(route: &Route) -> String {
    let each: Vec<String> = route.policies.iter().map(|(kind, name)| format!("{}:{name}", kind.as_str())).collect();
    each.join(",")
}

/// A variable with the pod's UID by the downward API.
pub(super) fn pod_uid(name: &str) -> EnvVar {
    let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: "metadata.uid".to_owned() };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

fn security_context(uid: i64) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(uid),
        run_as_non_root: Some(true),
        run_as_user: Some(uid),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..SecurityContext::default()
    }
}

/// kubelet's network probes never reach loopback, so the probe is a program in the container.
fn startup_probe(plan: &Plan<'_>) -> Probe {
    Probe {
        exec: Some(ExecAction { command: Some(vec![BINARY.to_owned(), "probe".to_owned()]) }),
        period_seconds: Some(1),
        timeout_seconds: Some(PROBE_TIMEOUT),
        success_threshold: Some(1),
        failure_threshold: Some(probe_seconds(plan)),
        ..Probe::default()
    }
}

/// How long start-up may take. Where it waits for people it lasts as long as they are asked.
fn probe_seconds(plan: &Plan<'_>) -> i32 {
    let asked = |needed: &Needed| needed.demand.deadline.as_secs().saturating_add(PROBE_AFTER_DEADLINE);
    let asked = plan.needed.iter().filter(|_| plan.asked.wait == Wait::Approval).map(asked).max().unwrap_or(0);
    i32::try_from(asked).unwrap_or(i32::MAX).max(PROBE_SECONDS)
}
