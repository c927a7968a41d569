use super::Authority;
use crate::reason::{Reason, Refused};
use crate::rules::{self, Statement};
use crate::v1alpha1::AgentCredentialPolicy;
use crate::{duration, names, pod_policies, text};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use std::collections::BTreeMap;

/// What a pod's annotations ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodAsk {
    /// `exeat.dev/allow`.
    pub allow: Option<Vec<Statement>>,
    /// `exeat.dev/duration`.
    pub duration: Option<SignedDuration>,
    /// `exeat.dev/justification`, sanitised.
    pub justification: Option<String>,
}

/// Whether a policy covers a service account of its namespace.
///
/// # Errors
/// [`Reason::PodNotCovered`].
pub fn covers_account(policy: &AgentCredentialPolicy, service_account: &str) -> Result<(), Refused> {
    let covered = &policy.spec.subjects.service_accounts;
    if covered.iter().any(|s| s == service_account) {
        return Ok(());
    }
    Err(Refused::new(
        Reason::PodNotCovered,
        format!(
            "policy {:?} does not cover service account {service_account:?}: set the pod's spec.serviceAccountName to one of {covered:?}, or add it to the policy's spec.subjects.serviceAccounts",
            policy.name_any()
        ),
    ))
}

/// Whether a policy covers a pod of its namespace.
///
/// # Errors
/// Which part of `spec.subjects` does not fit.
pub fn covers_pod(
    policy: &AgentCredentialPolicy,
    service_account: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), Refused> {
    covers_account(policy, service_account)?;
    match &policy.spec.subjects.pod_selector {
        Some(selector) if !selects(selector, labels) => Err(Refused::new(
            Reason::PodNotCovered,
            format!(
                "the pod's labels do not match spec.subjects.podSelector of policy {:?}: add the labels that it asks for",
                policy.name_any()
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether a label selector selects these labels; one that Kubernetes would refuse selects nothing.
pub fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector.match_labels.iter().flatten().all(|(k, v)| labels.get(k) == Some(v));
    let expressions = selector.match_expressions.iter().flatten().all(|e| {
        let value = labels.get(&e.key);
        let listed = || e.values.iter().flatten().any(|v| Some(v) == value);
        match e.operator.as_str() {
            "In" => value.is_some() && listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    exact && expressions
}

/// Reads a pod's annotations and checks that they ask for no more than the policy allows.
///
/// # Errors
/// The annotation and its fix.
pub fn ask_of_pod(authority: &Authority, annotations: &BTreeMap<String, String>) -> Result<PodAsk, Refused> {
    let allow = match annotations.get(names::ALLOW) {
        None => None,
        Some(_) if pod_policies::of(annotations).len() > 1 => {
            return Err(Refused::new(
                Reason::AnnotationInvalid,
                format!(
                    "annotation {}: the pod names several policies, and it can't be told which of them it narrows; remove it and write \
                     the narrower grant into a policy, or use a pod for each",
                    names::ALLOW
                ),
            ));
        }
        Some(value) => {
            let statements = rules::parse_narrowing(value)
                .map_err(|e| Refused::new(Reason::AnnotationInvalid, format!("annotation {}: {e}", names::ALLOW)))?;
            authority
                .grant_of_any(Some(&statements))
                .map_err(|e| Refused::new(e.reason, format!("annotation {}: {}", names::ALLOW, e.message)))?;
            Some(statements)
        }
    };
    let duration = match annotations.get(names::DURATION) {
        None => None,
        Some(value) => Some(read_duration(authority, value)?),
    };
    let justification = annotations.get(names::JUSTIFICATION).map(|t| text::sanitize(t)).filter(|t| !t.is_empty());
    Ok(PodAsk { allow, duration, justification })
}

fn read_duration(authority: &Authority, value: &str) -> Result<SignedDuration, Refused> {
    let field = names::DURATION;
    let asked = duration::parse(value)
        .map_err(|e| Refused::new(Reason::AnnotationInvalid, format!("annotation {field}: {e}")))?;
    if asked > authority.duration {
        return Err(Refused::new(
            Reason::DurationTooLong,
            format!(
                "annotation {field}: {value} is longer than the policy's {}; a pod may only shorten it",
                duration::format(authority.duration)
            ),
        ));
    }
    let floor = super::shortest_session(authority.kind);
    if asked < floor {
        return Err(Refused::new(
            Reason::DurationInvalid,
            format!("annotation {field}: {value} is shorter than the provider's least of {}", duration::format(floor)),
        ));
    }
    Ok(asked)
}
