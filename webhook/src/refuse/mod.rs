//! Why a pod can't hold credentials. All reasons are collected, so that an author meets them at once.

mod host;
mod metadata;
mod reserved;
mod security;
mod selection;
mod shadow;

use exeat_crds::approval::Needed;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::rules::Kind;
use exeat_crds::{authority, names};
use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::annotations::{Asked, AwsToken};
use crate::inject::{InjectContext, Named, Route};
use crate::message::refused;
use crate::pod;
use crate::settings::Settings;

pub(crate) use self::shadow::Shadows;

/// What can be judged without a policy.
pub(crate) fn shape(spec: &PodSpec, asked: &Asked, settings: &Settings) -> Vec<Refused> {
    let mut problems = host::check(spec);
    problems.extend(security::check(spec, settings.sidecar.uid));
    problems.extend(reserved::check(spec, settings));
    problems.extend(selection::check(spec, asked));
    problems
}

/// What would keep an SDK from asking the sidecar. Where a policy only looks on, what leads past the sidecar is let be.
pub(crate) fn shadows(spec: &PodSpec, asked: &Asked, routes: &[Route]) -> Shadows {
    let mut all = Shadows::default();
    for route in routes {
        for (kind, _) in &route.policies {
            let found = shadow::check(spec, asked, route, *kind);
            all.refused.extend(found.refused);
            all.let_be.extend(found.let_be);
        }
    }
    let Shadows { refused: mut problems, let_be } = all;
    problems.extend(metadata::check(spec, asked, routes));
    let unknown = routes.iter().all(|route| route.policies.is_empty());
    let is_aws = unknown || routes.iter().any(|route| route.has(Kind::Aws));
    if asked.aws_token == Some(AwsToken::Env) && !is_aws {
        problems.push(refused(
            Reason::AnnotationInvalid,
            format_args!("annotation {}", names::AWS_TOKEN),
            "the policy's provider is not AWS",
            "remove it",
        ));
    }
    Shadows { refused: problems, let_be }
}

/// Two policies of one kind would share paths, variables and files: nothing could tell whose credential an SDK asks for.
pub(crate) fn kinds(route: &Route) -> Option<Refused> {
    let policies = &route.policies;
    let (i, (kind, name)) =
        policies.iter().enumerate().find(|(i, (kind, _))| policies[..*i].iter().any(|(other, _)| other == kind))?;
    let (_, other) = policies[..i].iter().find(|(other, _)| other == kind)?;
    Some(refused(
        Reason::AnnotationInvalid,
        format_args!("annotation {}", route.annotation),
        format_args!(
            "policies {other:?} and {name:?} are both of a provider of kind {kind}, and a container has one for each kind"
        ),
        format_args!(
            "name one of them here and the other for the container that needs it (annotation {}<container>), or run what needs it in a pod \
             of its own, or let one policy allow both",
            names::CONTAINER_POLICY_PREFIX
        ),
    ))
}

/// Whether a policy that the pod names can hand out anything to it, and who must approve that.
pub(crate) fn authority(
    pod: &Pod,
    spec: &PodSpec,
    named: &Named<'_>,
    context: &InjectContext<'_>,
) -> Result<Option<Needed>, Refused> {
    let name = named.name;
    let policy = named.policy.ok_or_else(|| {
        refused(
            Reason::PolicyNotFound,
            format_args!("annotation {}", named.annotation),
            format_args!("there is no AgentCredentialPolicy {name:?} in namespace {:?}", context.namespace),
            format_args!(
                "create it, or name one that `kubectl get agentcredentialpolicies --namespace {}` lists",
                context.namespace
            ),
        )
    })?;
    let of_policy = |problem: Refused| Refused::new(problem.reason, format!("policy {name:?}: {}", problem.message));
    let authority = authority::resolve(policy, named.provider).map_err(of_policy)?;
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let account = pod::service_account(spec);
    authority::covers_pod(policy, account, &labels)?;
    let ask = authority::ask_of_pod(&authority, &pod::annotations(pod))?;
    let grant = authority.grant(account, ask.allow.as_deref())?;
    Ok(authority.approval.needed(&grant))
}
