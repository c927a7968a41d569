//! The injector: a pure function from pod to pod.
//!
//! Everything is derived from the pod as it is, so injecting twice gives the same pod, and what another admission
//! plugin changed in between (the service account, an annotation, a new container) is taken into account.

mod agent;
mod metadata;
mod monitor;
mod route;
mod sidecar;
mod volumes;

use exeat_crds::approval::Needed;
use exeat_crds::pod_policies::Group;
use exeat_crds::reason::Refused;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, names};
use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::annotations::{self, Asked};
use crate::settings::Settings;
use crate::{pod, refuse};

pub(crate) use self::agent::{fixed_env, is_injected, is_injected_mount, normal_capability};
pub(crate) use self::metadata::{LOOPBACK, METADATA_HOSTS, UNPRIVILEGED_PORTS};
pub(crate) use self::route::Route;
pub(crate) use self::sidecar::BINARY;
pub(crate) use self::volumes::TOKEN_PATH;

/// What a pod is judged and injected by.
#[derive(Clone, Copy, Debug)]
pub struct InjectContext<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// What there is of each policy that the pod names, in the order of [`Asked::policies`].
    pub found: &'a [Found],
    /// The installation's settings.
    pub settings: &'a Settings,
    /// The roots that the sidecar trusts, as PEM.
    pub issuer_ca: &'a str,
    /// The person who creates the pod, where a person does.
    pub requester: Option<&'a str>,
}

/// What there is of a policy that a pod names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The policy.
    pub policy: Option<AgentCredentialPolicy>,
    /// The provider that it names.
    pub provider: Option<CredentialProvider>,
}

/// A policy that a pod names, by this name.
#[derive(Clone, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) name: &'a str,
    /// The annotation that names it, the first where several do.
    pub(crate) annotation: String,
    pub(crate) policy: Option<&'a AgentCredentialPolicy>,
    pub(crate) provider: Option<&'a CredentialProvider>,
}

/// The policies that a pod names, with what there is of them.
fn named<'a>(policies: &'a [String], groups: &[Group], context: &InjectContext<'a>) -> Vec<Named<'a>> {
    let annotation = |name: &str| {
        let group = groups.iter().find(|group| group.policies.iter().any(|policy| policy == name));
        group.map_or_else(|| names::POLICY.to_owned(), Group::annotation)
    };
    let named = policies.iter().enumerate().map(|(i, name)| {
        let found = context.found.get(i);
        Named {
            name,
            annotation: annotation(name),
            policy: found.and_then(|found| found.policy.as_ref()),
            provider: found.and_then(|found| found.provider.as_ref()),
        }
    });
    named.collect()
}

/// A pod with its sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Injected {
    /// The pod.
    pub pod: Pod,
    /// What people must approve before it gets credentials, by policy.
    pub needed: Vec<Needed>,
    /// What its author should know, where it is let pass all the same.
    pub warnings: Vec<Refused>,
}

/// What is injected into one pod.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    /// What its annotations say.
    pub(crate) asked: Asked,
    /// The way of each group of its containers to the sidecar.
    pub(crate) routes: Vec<Route>,
    pub(crate) settings: &'a Settings,
    pub(crate) issuer_ca: &'a str,
    /// Whether all other containers request what they are limited to.
    pub(crate) guaranteed: bool,
    pub(crate) needed: Vec<Needed>,
    pub(crate) warnings: Vec<Refused>,
}

impl Plan<'_> {
    /// The way of a container; none where it gets no credentials.
    pub(crate) fn route_of(&self, container: &str) -> Option<&Route> {
        self.routes.get(self.asked.group_of(container)?)
    }
}

/// Gives a pod its sidecar, and its containers the way to it.
///
/// # Errors
/// Every reason why this pod can't hold credentials, each with the field and the fix.
pub fn inject(pod: &Pod, context: &InjectContext<'_>) -> Result<Injected, Vec<Refused>> {
    let plan = plan(pod, context)?;
    let mut pod = pod.clone();
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(names::INJECTED_LABEL.to_owned(), "true".to_owned());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    match context.requester {
        Some(name) => annotations.insert(names::REQUESTER.to_owned(), name.to_owned()),
        None => annotations.remove(names::REQUESTER),
    };
    if let Some(spec) = &mut pod.spec {
        apply(spec, &plan);
    }
    Ok(Injected { pod, needed: plan.needed, warnings: plan.warnings })
}

fn plan<'a>(pod: &Pod, context: &InjectContext<'a>) -> Result<Plan<'a>, Vec<Refused>> {
    let annotations = pod::annotations(pod);
    let (asked, mut problems) = annotations::read(&annotations);
    let spec = pod.spec.clone().unwrap_or_default();
    problems.extend(refuse::shape(&spec, &asked, context.settings));
    let policies = asked.policies();
    let named = named(&policies, &asked.groups, context);
    let mut needed = Vec::new();
    for policy in &named {
        match refuse::authority(pod, &spec, policy, context) {
            Ok(asks) => needed.extend(asks),
            // What is wrong with the pod is wrong for each of its policies.
            Err(problem) if problems.contains(&problem) => {}
            Err(problem) => problems.push(problem),
        }
    }
    let routes: Vec<Route> = (0..asked.groups.len()).map(|number| Route::of(number, &asked, &named)).collect();
    problems.extend(routes.iter().filter_map(refuse::kinds));
    let shadows = refuse::shadows(&spec, &asked, &routes);
    problems.extend(shadows.refused);
    if !problems.is_empty() || routes.is_empty() || named.iter().any(|named| named.kind().is_none()) {
        return Err(problems);
    }
    Ok(Plan {
        asked,
        routes,
        settings: context.settings,
        issuer_ca: context.issuer_ca,
        guaranteed: sidecar::is_guaranteed(&spec),
        needed,
        warnings: shadows.let_be,
    })
}

fn apply(spec: &mut PodSpec, plan: &Plan<'_>) {
    volumes::place(spec.volumes.get_or_insert_default(), plan);
    sidecar::place(spec.init_containers.get_or_insert_default(), plan);
    if plan.asked.metadata_host {
        metadata::place(spec);
    }
    let others = spec.init_containers.iter_mut().flatten().filter(|c| c.name != names::SIDECAR);
    for container in others.chain(&mut spec.containers) {
        agent::connect(container, plan);
    }
}
