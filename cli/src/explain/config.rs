//! What people configured: annotation, policy, provider, subjects, narrowing, and what of the pod stands in the way. Pure.

use super::facts::{Facts, Look};
use super::gate::Gate;
use exeat_crds::authority;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::rules::Kind;
use exeat_crds::v1alpha1::{CredentialProviderStatus, Probe};
use exeat_crds::{condition, names};
use exeat_webhook::{Found, InjectContext, inject};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

/// Role annotation by which EKS injects web identity into the account's pods.
const IRSA: &str = "eks.amazonaws.com/role-arn";

/// Whether the pod asks at all.
pub(super) fn annotation(facts: &Facts) -> Gate {
    const GATE: &str = "annotation";
    match facts.pod.annotations().get(names::POLICY) {
        Some(policy) if facts.named_by.is_empty() => Gate::ok(GATE, format!("{}: {policy}", names::POLICY)),
        Some(policy) => Gate::ok(GATE, format!("{}: {policy}", facts.named_by.join(", "))),
        None => {
            let place = match facts.kind.as_str() {
                "pod" => "metadata.annotations",
                "cronjob" => "spec.jobTemplate.spec.template.metadata.annotations",
                _ => "spec.template.metadata.annotations",
            };
            let asks = facts.pod.annotations().keys().any(|key| names::is_pod_annotation(key));
            let so = if asks { "with other annotations of Exeat it is refused" } else { "Exeat leaves it alone" };
            let message = format!("the pod has no {}: {so}", names::POLICY);
            let fix = format!(
                "set {place}[{}] to one that `kubectl get acp -n {}` lists, and start it anew",
                names::POLICY,
                facts.namespace
            );
            Gate::fail(GATE, "", message, fix)
        }
    }
}

/// The gates of configuration.
pub(super) fn gates(facts: &Facts) -> Vec<Gate> {
    let mut gates = vec![policy(facts)];
    if facts.policy.found().is_some() {
        gates.push(provider(facts));
        gates.push(guardrails(facts));
        gates.extend(ready(facts));
        gates.push(subjects(facts));
        gates.extend(narrowing(facts));
    }
    gates.push(account(facts));
    if !facts.alone {
        gates.extend(pod(&facts.pod, std::slice::from_ref(facts)));
    }
    gates.push(injected(facts));
    gates
}

fn policy(facts: &Facts) -> Gate {
    const GATE: &str = "policy";
    let name = facts.pod.annotations().get(names::POLICY).cloned().unwrap_or_default();
    match &facts.policy {
        Look::Found(policy) => Gate::ok(GATE, format!("{} is there", policy.name_any())),
        Look::Unreadable(why) => Gate::unknown(GATE, why),
        _ => Gate::fail(
            GATE,
            Reason::PolicyNotFound.as_str(),
            format!("there is no AgentCredentialPolicy {name:?} in namespace {}", facts.namespace),
            format!("create it, or name one that `kubectl get acp -n {}` lists", facts.namespace),
        ),
    }
}

fn provider(facts: &Facts) -> Gate {
    const GATE: &str = "provider";
    let name = facts.policy.found().map(|p| p.spec.provider_ref.name.clone()).unwrap_or_default();
    match &facts.provider {
        Look::Found(_) => Gate::ok(GATE, format!("{name} is there")),
        Look::Unreadable(why) => Gate::unknown(GATE, why),
        _ => Gate::fail(
            GATE,
            Reason::ProviderNotFound.as_str(),
            format!("spec.providerRef.name of the policy: there is no CredentialProvider {name:?}"),
            "name one that `kubectl get cprov` lists, or ask a platform admin for it",
        ),
    }
}

/// Namespace served, principal allowed, actions within the ceiling: what `resolve` says.
fn guardrails(facts: &Facts) -> Gate {
    const GATE: &str = "guardrails";
    let Some(policy) = facts.policy.found() else { return Gate::unknown(GATE, "without the policy it can't be told") };
    if facts.provider.found().is_none() {
        return Gate::unknown(GATE, "without the provider it can't be told");
    }
    match authority::resolve(policy, facts.provider.found()) {
        Ok(authority) => {
            let serves =
                format!("binding {:?} of the provider serves namespace {}", authority.binding, facts.namespace);
            // An account that is not covered is told by the gate of subjects.
            let principal = authority.principals.of(facts.account_name());
            Gate::ok(GATE, principal.map_or(serves.clone(), |principal| format!("{serves} and principal {principal}")))
        }
        Err(problem) => Gate::refused(GATE, &problem),
    }
}

fn ready(facts: &Facts) -> Vec<Gate> {
    let of_provider = facts.provider.found().map(|provider| {
        let CredentialProviderStatus { conditions, probe, .. } = provider.status.clone().unwrap_or_default();
        ready_gate("provider Ready", condition::get(&conditions, "Ready"), probe.as_ref(), facts)
    });
    let of_policy = facts.policy.found().map(|policy| {
        let status = policy.status.clone().unwrap_or_default();
        ready_gate("policy Ready", condition::get(&status.conditions, "Ready"), status.probe.as_ref(), facts)
    });
    of_provider.into_iter().chain(of_policy).collect()
}

fn ready_gate(gate: &'static str, ready: Option<&Condition>, probe: Option<&Probe>, facts: &Facts) -> Gate {
    let Some(ready) = ready else {
        let fix = "wait some seconds; if it stays, look at controller and issuer: `kubectl exeat doctor`";
        return Gate::fail(gate, "ProbePending", "nobody has looked at it yet", fix);
    };
    if ready.status == "True" {
        return Gate::ok(gate, "it is Ready");
    }
    Gate::fail(gate, &ready.reason, ready.message.clone(), fix_of_probe(&ready.reason, probe, facts))
}

fn fix_of_probe(reason: &str, probe: Option<&Probe>, facts: &Facts) -> String {
    match reason {
        "AssumeRoleDenied" => trust(probe, facts),
        "BaseIdentityInvalid" => {
            "give the issuer an identity at the provider: spec.aws.source of the CredentialProvider, and what it names (docs/aws.md)".to_owned()
        }
        "ProviderUnreachable" => "let the issuer's pods reach the provider's endpoint: network policies, proxy, DNS, spec.aws.endpoint".to_owned(),
        "IssuerForbidden" => "give the issuer's account what the message names (docs/kubernetes.md)".to_owned(),
        "NotImplemented" => "remove the field that the message names".to_owned(),
        "ProviderNotReady" => "mend the provider first".to_owned(),
        "ProbePending" => "the issuer tries within a minute; if it stays, `kubectl exeat doctor`".to_owned(),
        _ => "mend what the message names; the issuer tries again within a minute".to_owned(),
    }
}

/// The principal's trust policy is at the provider: the fix is a sentence for whoever may write it.
fn trust(probe: Option<&Probe>, facts: &Facts) -> String {
    let identity = probe
        .and_then(|p| p.identity.clone())
        .or_else(|| facts.provider.found()?.status.as_ref()?.probe.as_ref()?.identity.clone());
    let aws = facts.provider.found().and_then(|p| p.spec.aws.as_ref());
    let mut actions = vec!["sts:AssumeRole"];
    if aws.is_some_and(|aws| aws.session_tags) {
        actions.push("sts:TagSession");
    }
    if aws.is_some_and(|aws| aws.source_identity) {
        actions.push("sts:SetSourceIdentity");
    }
    let principal = refusing(probe, facts);
    let who = identity.unwrap_or_else(|| "the issuer's identity (status.probe.identity of the provider)".to_owned());
    let other =
        if account_of(&who).is_some() && account_of(&principal).is_some() && account_of(&who) != account_of(&principal)
        {
            format!(
                "; the role is in account {}, the issuer in {}: is the account number right?",
                account_of(&principal).unwrap_or_default(),
                account_of(&who).unwrap_or_default()
            )
        } else {
            String::new()
        };
    format!("in the trust policy of {principal} allow {} to {who}{other}", actions.join(", "))
}

/// The principal that the probe speaks of: another than this pod's, where service accounts have principals of their own.
fn refusing(probe: Option<&Probe>, facts: &Facts) -> String {
    let Some(policy) = facts.policy.found() else { return String::new() };
    let Ok(authority) = authority::resolve(policy, facts.provider.found()) else {
        return policy.spec.principal.clone();
    };
    let distinct = authority.principals.distinct();
    let told = distinct.iter().map(|(_, principal)| *principal);
    let told = told.filter(|principal| probe.is_some_and(|probe| probe.message.contains(principal)));
    let own = || authority.principals.of(facts.account_name()).ok();
    told.max_by_key(|principal| principal.len()).or_else(own).unwrap_or(&policy.spec.principal).to_owned()
}

fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty())
}

fn subjects(facts: &Facts) -> Gate {
    const GATE: &str = "subjects";
    let Some(policy) = facts.policy.found() else { return Gate::unknown(GATE, "without the policy it can't be told") };
    let account = facts.account_name();
    let labels = facts.pod.metadata.labels.clone().unwrap_or_default();
    match authority::covers_pod(policy, account, &labels) {
        Ok(()) => Gate::ok(GATE, format!("the policy covers service account {account} and the pod's labels")),
        Err(problem) => {
            let (message, fix) =
                problem.message.split_once(": ").unwrap_or((&problem.message, "name the account in the policy"));
            Gate::fail(GATE, problem.reason.as_str(), message, fix)
        }
    }
}

fn narrowing(facts: &Facts) -> Option<Gate> {
    const GATE: &str = "narrowing";
    let annotations = facts.pod.annotations();
    if !annotations.contains_key(names::ALLOW) && !annotations.contains_key(names::DURATION) {
        return None;
    }
    let authority = authority::resolve(facts.policy.found()?, facts.provider.found()).ok()?;
    Some(match authority::ask_of_pod(&authority, annotations) {
        Ok(_) => Gate::ok(GATE, "the pod asks for no more than the policy allows"),
        Err(problem) => Gate::refused(GATE, &problem),
    })
}

/// IRSA is not in the pod that its author writes: EKS adds it for the account, and an SDK takes it first.
fn account(facts: &Facts) -> Gate {
    const GATE: &str = "account";
    let name = facts.account_name();
    let is_aws = facts.provider.found().is_some_and(|p| authority::kind_of(p).is_ok_and(|kind| kind == Kind::Aws));
    match &facts.account {
        Look::Found(account) => match account.annotations().get(IRSA).filter(|_| is_aws) {
            Some(role) => Gate::fail(
                GATE,
                Reason::CredentialsShadowed.as_str(),
                format!(
                    "service account {name} has the annotation {IRSA} ({role}): web identity (IRSA) comes before the sidecar's credentials"
                ),
                "use a service account without the annotation (and without Pod Identity), and name it in the policy",
            ),
            None => Gate::ok(GATE, format!("{name} brings no credentials of its own")),
        },
        Look::Missing => Gate::fail(
            GATE,
            "",
            format!("there is no service account {name} in namespace {}", facts.namespace),
            format!("create it: `kubectl create serviceaccount {name} -n {}`", facts.namespace),
        ),
        Look::Unreadable(why) => Gate::unknown(GATE, why),
        Look::Skipped => Gate::unknown(GATE, "it was not looked at"),
    }
}

/// What the injector refuses of the pod itself, with the facts of each of its policies; what it says of policy and subjects has gates of its own.
pub(super) fn pod(pod: &Pod, each: &[Facts]) -> Vec<Gate> {
    const GATE: &str = "pod";
    let Some(facts) = each.first() else { return Vec::new() };
    let found: Vec<Found> = each
        .iter()
        .map(|facts| Found { policy: facts.policy.found().cloned(), provider: facts.provider.found().cloned() })
        .collect();
    let Some(settings) = &facts.settings else {
        return vec![Gate::unknown(GATE, "the webhook's settings are not known")];
    };
    let context = InjectContext {
        namespace: &facts.namespace,
        found: &found,
        settings,
        issuer_ca: "",
        requester: pod.annotations().get(names::REQUESTER).map(String::as_str),
    };
    let of_pod = |problem: &&Refused| {
        matches!(problem.reason, Reason::PodUnsuitable | Reason::CredentialsShadowed)
            || (matches!(problem.reason, Reason::AnnotationInvalid | Reason::NotImplemented)
                && problem.message.starts_with("annotation ")
                // Of several policies none is narrowed.
                && (each.len() > 1 || !problem.message.starts_with(&format!("annotation {}: ", names::ALLOW)))
                && !problem.message.starts_with(&format!("annotation {}: ", names::DURATION)))
    };
    let of_container = |problem: &&Refused| {
        let Some(container) = &facts.container else { return true };
        !problem.message.contains("ontainers[name=") || problem.message.contains(&format!("[name={container}]"))
    };
    let problems = inject(pod, &context).err().unwrap_or_default();
    let gates: Vec<Gate> =
        problems.iter().filter(of_pod).filter(of_container).map(|problem| Gate::refused(GATE, problem)).collect();
    if gates.is_empty() {
        vec![Gate::ok(GATE, "nothing in it shadows our credentials or lets others at them")]
    } else {
        gates
    }
}

fn injected(facts: &Facts) -> Gate {
    const GATE: &str = "injection";
    if !facts.live {
        return Gate::unknown(GATE, "the sidecar is added when a pod is created");
    }
    let sidecars = facts.pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    if sidecars.clone().any(|container| container.name == names::SIDECAR) {
        return Gate::ok(GATE, "the pod has its sidecar");
    }
    Gate::fail(
        GATE,
        Reason::NotInjected.as_str(),
        "the pod has no sidecar: it was created before the annotation or the webhook were there, or in a namespace that the webhook leaves out",
        "delete it and create it again; if it has none again, run `kubectl exeat doctor`",
    )
}
