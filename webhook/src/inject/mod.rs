//! The injector: a pure function from pod to pod.
//!
//! Everything is derived from the pod as it is, so injecting twice gives the same pod, and what another admission
//! plugin changed in between (the service account, an annotation, a new container) is taken into account.

mod agent;
mod metadata;
mod monitor;
mod sidecar;
mod volumes;

use std::collections::BTreeSet;

use exeat_crds::approval::Needed;
use exeat_crds::reason::Refused;
use exeat_crds::rules::Kind;
use exeat_crds::v1alpha1::Mode;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, authority, names};
use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::annotations::{self, Asked, AwsToken, Wait};
use crate::settings::Settings;
use crate::{pod, refuse};

pub(crate) use self::agent::{fixed_env, is_injected, is_injected_mount, normal_capability};
pub(crate) use self::metadata::{LOOPBACK, METADATA_HOSTS, UNPRIVILEGED_PORTS};
pub(crate) use self::sidecar::BINARY;
pub(crate) use self::volumes::TOKEN_PATH;

/// What a pod is judged and injected by.
#[derive(Clone, Copy, Debug)]
pub struct InjectContext<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The policy that the pod names, if there is one.
    pub policy: Option<&'a AgentCredentialPolicy>,
    /// The provider that the policy names, if there is one.
    pub provider: Option<&'a CredentialProvider>,
    /// The same for the policies that the pod names after the first, in its order.
    pub further: &'a [Found],
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) name: &'a str,
    pub(crate) policy: Option<&'a AgentCredentialPolicy>,
    pub(crate) provider: Option<&'a CredentialProvider>,
}

/// The policies that a pod names, with what there is of them.
fn named<'a>(asked: &'a Asked, context: &InjectContext<'a>) -> Vec<Named<'a>> {
    let first = asked.policy.as_deref().map(|name| Named { name, policy: context.policy, provider: context.provider });
    let further = asked.further.iter().enumerate().map(|(i, name)| {
        let found = context.further.get(i);
        Named {
            name,
            policy: found.and_then(|found| found.policy.as_ref()),
            provider: found.and_then(|found| found.provider.as_ref()),
        }
    });
    first.into_iter().chain(further).collect()
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
    /// Kind and name of each of the pod's policies: one of a kind, so that paths and variables say whose they are.
    pub(crate) policies: Vec<(Kind, String)>,
    pub(crate) port: u16,
    pub(crate) aws_token: AwsToken,
    pub(crate) region: Option<String>,
    /// Google Cloud: the project that agents are given as their own.
    pub(crate) project: Option<String>,
    /// Whether the sidecar is Google's metadata server by its own name too.
    pub(crate) metadata_host: bool,
    pub(crate) skip: BTreeSet<String>,
    pub(crate) settings: &'a Settings,
    pub(crate) issuer_ca: &'a str,
    /// Whether all other containers request what they are limited to.
    pub(crate) guaranteed: bool,
    pub(crate) wait: Wait,
    pub(crate) needed: Vec<Needed>,
    /// The kinds whose policies only look on.
    pub(crate) observe: Vec<Kind>,
    pub(crate) warnings: Vec<Refused>,
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
    let named = named(&asked, context);
    let mut observe = Vec::new();
    let (mut policies, mut needed, mut region, mut project) = (Vec::new(), Vec::new(), None, None);
    for policy in &named {
        match refuse::authority(pod, &spec, policy, context) {
            Ok(asks) => needed.extend(asks),
            // What is wrong with the pod is wrong for each of its policies.
            Err(problem) if problems.contains(&problem) => {}
            Err(problem) => problems.push(problem),
        }
        let kind = policy.provider.and_then(|provider| authority::kind_of(provider).ok());
        policies.extend(kind.map(|kind| (kind, policy.name.to_owned())));
        observe.extend(kind.filter(|_| policy.policy.is_some_and(|found| found.spec.mode == Mode::Observe)));
        let aws = policy.provider.and_then(|p| p.spec.aws.as_ref());
        region = region.or(aws.map(|aws| aws.region.clone()));
        let google = policy.provider.and_then(|p| p.spec.gcp.as_ref());
        project = project.or(google.map(|gcp| gcp.project.clone()));
    }
    problems.extend(refuse::kinds(&policies));
    let shadows = refuse::shadows(&spec, &asked, &policies, &observe);
    problems.extend(shadows.refused);
    if !problems.is_empty() || policies.len() != named.len() || policies.is_empty() {
        return Err(problems);
    }
    Ok(Plan {
        policies,
        port: asked.port,
        aws_token: asked.aws_token.unwrap_or_default(),
        region,
        project,
        metadata_host: asked.metadata_host,
        skip: asked.skip.clone(),
        settings: context.settings,
        issuer_ca: context.issuer_ca,
        guaranteed: sidecar::is_guaranteed(&spec),
        wait: asked.wait,
        needed,
        observe,
        warnings: shadows.let_be,
    })
}

fn apply(spec: &mut PodSpec, plan: &Plan<'_>) {
    volumes::place(spec.volumes.get_or_insert_default(), &plan.settings.audience);
    sidecar::place(spec.init_containers.get_or_insert_default(), plan);
    if plan.metadata_host {
        metadata::place(spec);
    }
    let others = spec.init_containers.iter_mut().flatten().filter(|c| c.name != names::SIDECAR);
    for container in others.chain(&mut spec.containers) {
        agent::connect(container, plan);
    }
}
