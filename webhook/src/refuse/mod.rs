//! Why a pod can't hold credentials. All reasons are collected, so that an author meets them at once.

mod host;
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
use crate::inject::InjectContext;
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

/// What would keep an SDK from asking the sidecar. Where the policy only looks on, what leads past the sidecar is let be.
pub(crate) fn shadows(spec: &PodSpec, asked: &Asked, kind: Kind, observe: bool) -> Shadows {
    let Shadows { refused: mut problems, let_be } = shadow::check(spec, asked, kind, observe);
    if asked.aws_token == Some(AwsToken::Env) && kind != Kind::Aws {
        problems.push(refused(
            Reason::AnnotationInvalid,
            format_args!("annotation {}", names::AWS_TOKEN),
            "the policy's provider is not AWS",
            "remove it",
        ));
    }
    Shadows { refused: problems, let_be }
}

/// Whether the policy that the pod names can hand out anything to it, and who must approve that.
///
/// A pod whose annotation names no policy is judged by its annotations already.
pub(crate) fn authority(
    pod: &Pod,
    spec: &PodSpec,
    asked: &Asked,
    context: &InjectContext<'_>,
) -> Result<Option<Needed>, Refused> {
    let Some(name) = &asked.policy else { return Ok(None) };
    let policy = context.policy.ok_or_else(|| {
        refused(
            Reason::PolicyNotFound,
            format_args!("annotation {}", names::POLICY),
            format_args!("there is no AgentCredentialPolicy {name:?} in namespace {:?}", context.namespace),
            format_args!(
                "create it, or name one that `kubectl get agentcredentialpolicies --namespace {}` lists",
                context.namespace
            ),
        )
    })?;
    let of_policy = |problem: Refused| Refused::new(problem.reason, format!("policy {name:?}: {}", problem.message));
    let authority = authority::resolve(policy, context.provider).map_err(of_policy)?;
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    authority::covers_pod(policy, pod::service_account(spec), &labels)?;
    let ask = authority::ask_of_pod(&authority, &pod::annotations(pod))?;
    let grant = authority.grant(ask.allow.as_deref())?;
    Ok(authority.approval.needed(&grant))
}
