//! The injector: a pure function from pod to pod.
//!
//! Everything is derived from the pod as it is, so injecting twice gives the same pod, and what another admission
//! plugin changed in between (the service account, an annotation, a new container) is taken into account.

mod agent;
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

use crate::annotations::{self, AwsToken, Wait};
use crate::settings::Settings;
use crate::{pod, refuse};

pub(crate) use self::agent::{fixed_env, is_injected, is_injected_mount, normal_capability};
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
    /// The installation's settings.
    pub settings: &'a Settings,
    /// The roots that the sidecar trusts, as PEM.
    pub issuer_ca: &'a str,
    /// The person who creates the pod, where a person does.
    pub requester: Option<&'a str>,
}

/// A pod with its sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Injected {
    /// The pod.
    pub pod: Pod,
    /// What people must approve before it gets credentials.
    pub needed: Option<Needed>,
    /// What its author should know, where it is let pass all the same.
    pub warnings: Vec<Refused>,
}

/// What is injected into one pod.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    pub(crate) aws_token: AwsToken,
    pub(crate) region: Option<&'a str>,
    pub(crate) skip: BTreeSet<String>,
    pub(crate) settings: &'a Settings,
    pub(crate) issuer_ca: &'a str,
    /// Whether all other containers request what they are limited to.
    pub(crate) guaranteed: bool,
    pub(crate) wait: Wait,
    pub(crate) needed: Option<Needed>,
    /// Whether the policy only looks on.
    pub(crate) observe: bool,
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
    let needed = refuse::authority(pod, &spec, &asked, context).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let kind = context.provider.and_then(|provider| authority::kind_of(provider).ok());
    let observe = context.policy.is_some_and(|policy| policy.spec.mode == Mode::Observe);
    let mut warnings = Vec::new();
    if let Some(kind) = kind {
        let shadows = refuse::shadows(&spec, &asked, kind, observe);
        problems.extend(shadows.refused);
        warnings = shadows.let_be;
    }
    match kind {
        Some(kind) if problems.is_empty() => Ok(Plan {
            kind,
            port: asked.port,
            aws_token: asked.aws_token.unwrap_or_default(),
            region: context.provider.and_then(|p| p.spec.aws.as_ref()).map(|aws| aws.region.as_str()),
            skip: asked.skip,
            settings: context.settings,
            issuer_ca: context.issuer_ca,
            guaranteed: sidecar::is_guaranteed(&spec),
            wait: asked.wait,
            needed,
            observe,
            warnings,
        }),
        _ => Err(problems),
    }
}

fn apply(spec: &mut PodSpec, plan: &Plan<'_>) {
    volumes::place(spec.volumes.get_or_insert_default(), &plan.settings.audience);
    sidecar::place(spec.init_containers.get_or_insert_default(), plan);
    let others = spec.init_containers.iter_mut().flatten().filter(|c| c.name != names::SIDECAR);
    for container in others.chain(&mut spec.containers) {
        agent::connect(container, plan);
    }
}
