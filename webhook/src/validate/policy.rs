use exeat_crds::authority::{self, Principals};
use exeat_crds::duration;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::rules::action::{Action, Resource, Role, check_pair};
use exeat_crds::rules::{Kind, Statement};
use exeat_crds::v1alpha1::{AgentCredentialPolicySpec, Mode};
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Findings;
use crate::message::refused;

/// Judges a policy. `provider` is the one that it names, if there is one.
pub fn policy(policy: &AgentCredentialPolicy, provider: Option<&CredentialProvider>) -> Findings {
    let spec = &policy.spec;
    let mut findings = Findings::default();
    if let Some(kind) = kind(spec, provider) {
        of_kind(policy, kind, &mut findings);
    }
    times(spec, kind(spec, provider), &mut findings);
    if let Some(selector) = &spec.subjects.pod_selector {
        pod_selector(selector, &mut findings);
    }
    for field in authority::unbuilt_policy_fields(spec) {
        findings.not_built(field);
    }
    if spec.mode == Mode::Observe && kind(spec, provider).is_some_and(|kind| !authority::can_observe(kind)) {
        findings.not_built("spec.mode: Observe");
    }
    if findings.errors.is_empty()
        && let Err(problem) = authority::resolve(policy, provider)
        && problem.reason != Reason::NotImplemented
    {
        let message = format!("pods of this policy are refused for now: {}", problem.message);
        findings.warnings.push(Refused::new(problem.reason, message));
    }
    findings
}

/// The provider's kind; where there is none yet, the one whose principals look like this one.
fn kind(spec: &AgentCredentialPolicySpec, provider: Option<&CredentialProvider>) -> Option<Kind> {
    match provider {
        Some(provider) => authority::kind_of(provider).ok(),
        None if spec.principal.starts_with("arn:") => Some(Kind::Aws),
        None if spec.principal.starts_with("system:") => Some(Kind::Kubernetes),
        None => None,
    }
}

fn of_kind(policy: &AgentCredentialPolicy, kind: Kind, findings: &mut Findings) {
    let spec = &policy.spec;
    // A file may leave the namespace open; how a principal is written does not depend on it.
    let namespace = policy.metadata.namespace.as_deref().unwrap_or("default");
    let principals = Principals::read(spec, namespace).and_then(|principals| principals.validate(kind));
    findings.errors.extend(principals.err());
    for (i, statement) in spec.allow.iter().enumerate() {
        findings.errors.extend(statement_problems(&format!("spec.allow[{i}]"), statement, kind));
    }
    for (i, rule) in spec.approval_rules.iter().enumerate() {
        let path = format!("spec.approvalRules[{i}].actions");
        findings.errors.extend(guardrail_problems(&path, &rule.actions, kind));
    }
}

fn statement_problems(path: &str, statement: &Statement, kind: Kind) -> Vec<Refused> {
    let mut problems = Vec::new();
    let mut resources = Vec::new();
    for (i, text) in statement.resources.iter().enumerate() {
        match Resource::parse(kind, text) {
            Ok(resource) => resources.push((i, resource)),
            Err(error) => problems.push(Refused::new(error.reason(), format!("{path}.resources[{i}]: {error}"))),
        }
    }
    for (i, text) in statement.actions.iter().enumerate() {
        let action = match Action::parse(kind, Role::Allow, text) {
            Ok(action) => action,
            Err(error) => {
                problems.push(Refused::new(error.reason(), format!("{path}.actions[{i}]: {error}")));
                continue;
            }
        };
        let pairs = resources.iter().filter_map(|(r, resource)| Some((r, check_pair(&action, resource).err()?)));
        problems
            .extend(pairs.map(|(r, error)| Refused::new(error.reason(), format!("{path}.resources[{r}]: {error}"))));
    }
    problems
}

/// Patterns of a guardrail that can't be read.
pub(super) fn guardrail_problems(path: &str, patterns: &[String], kind: Kind) -> Vec<Refused> {
    let parsed = patterns.iter().enumerate().map(|(i, text)| (i, Action::parse(kind, Role::Guardrail, text)));
    let failed = parsed.filter_map(|(i, result)| Some((i, result.err()?)));
    failed.map(|(i, error)| Refused::new(error.reason(), format!("{path}[{i}]: {error}"))).collect()
}

fn times(spec: &AgentCredentialPolicySpec, kind: Option<Kind>, findings: &mut Findings) {
    let session = &spec.session;
    let length = findings.duration("spec.session.duration", session.duration.as_ref());
    let ttl = findings.duration("spec.session.credentialTTL", session.credential_ttl.as_ref());
    findings.duration("spec.session.offlineGrace", session.offline_grace.as_ref());
    let Some(kind) = kind else { return };
    let (floor, ceiling) = authority::bounds(kind);
    let shortest = authority::shortest_session(kind);
    let checks = [
        ("spec.session.duration", length, Some(shortest), None, Reason::DurationInvalid),
        ("spec.session.credentialTTL", ttl, Some(floor), None, Reason::CredentialTTLTooShort),
        ("spec.session.credentialTTL", ttl, None, Some(ceiling), Reason::CredentialTTLTooLong),
    ];
    for (field, value, least, most, reason) in checks {
        let Some(value) = value else { continue };
        let written = duration::format(value);
        if let Some(least) = least.filter(|least| value < *least) {
            let problem = format!("{written} is shorter than what a provider of kind {kind} can do");
            findings.errors.push(refused(
                reason,
                field,
                problem,
                format!("write at least {}", duration::format(least)),
            ));
        }
        if let Some(most) = most.filter(|most| value > *most) {
            let problem = format!("{written} is longer than what a provider of kind {kind} can do");
            findings.errors.push(refused(reason, field, problem, format!("write at most {}", duration::format(most))));
        }
    }
}

/// A selector that Kubernetes would refuse selects nothing, in silence.
fn pod_selector(selector: &LabelSelector, findings: &mut Findings) {
    for (i, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let field = format!("spec.subjects.podSelector.matchExpressions[{i}]");
        let values = expression.values.as_ref().map_or(0, Vec::len);
        let (problem, fix) = match (expression.operator.as_str(), values) {
            ("In" | "NotIn", 0) => ("it compares with no values", "list some under values"),
            ("Exists" | "DoesNotExist", n) if n > 0 => ("this operator takes no values", "remove values"),
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => continue,
            _ => ("its operator is not known", "use In, NotIn, Exists or DoesNotExist"),
        };
        findings.errors.push(refused(Reason::PodNotCovered, field, problem, fix));
    }
}
