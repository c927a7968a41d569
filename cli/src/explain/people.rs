//! What people decide: approvals and holds. Pure.

use super::facts::{Facts, Look, account_name};
use super::gate::Gate;
use crate::output::time;
use exeat_crds::approval::Needed;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{ApprovalPhase, Phase};
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialProvider, authority, hold, names, rules};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

const GATE: &str = "approval";

/// What the grant of a pod needs of people.
pub(super) fn needed(
    policy: &AgentCredentialPolicy,
    provider: Option<&CredentialProvider>,
    pod: &Pod,
) -> Option<Needed> {
    let authority = authority::resolve(policy, provider).ok()?;
    let narrowing = pod.annotations().get(names::ALLOW).and_then(|text| rules::parse_narrowing(text).ok());
    authority.approval.needed(&authority.grant(account_name(pod), narrowing.as_deref()).ok()?)
}

/// The gates.
pub(super) fn gates(facts: &Facts, now: Timestamp) -> Vec<Gate> {
    held(facts).into_iter().chain(approval(facts, now)).collect()
}

fn held(facts: &Facts) -> Option<Gate> {
    let session = facts.session().filter(|_| !matches!(facts.phase(), Some(Phase::Active)))?;
    let holds = facts.holds.found()?;
    let found = holds.iter().find(|found| hold::matches(found, &facts.namespace, &session.spec.request))?;
    let name = found.name_any();
    let by = found.annotations().get(names::REQUESTER).map(|by| format!(", by {by}")).unwrap_or_default();
    let message = format!("hold {name} keeps new sessions off: {}{by}", found.spec.reason);
    Some(Gate::fail("hold", Reason::Held.as_str(), message, format!("who may: `kubectl exeat release {name}`")))
}

fn approval(facts: &Facts, now: Timestamp) -> Option<Gate> {
    let needed = needed(facts.policy.found()?, facts.provider.found(), &facts.pod)?;
    if let Look::Found(approval) = &facts.approval {
        return Some(asked(approval, facts, now));
    }
    Some(
        askable(facts, &needed)
            .unwrap_or_else(|| Gate::ok(GATE, format!("{}; no approval stands yet", words(&needed)))),
    )
}

fn words(needed: &Needed) -> String {
    let who: Vec<String> = needed.demand.required.iter().map(|r| format!("{} of {}", r.count, r.group)).collect();
    format!("the grant trips {}: {} must approve", needed.rules.join(", "), who.join(" and "))
}

/// An approval that nobody can give.
fn askable(facts: &Facts, needed: &Needed) -> Option<Gate> {
    match &facts.approvers {
        Look::Found(approvers)
            if approvers.iter().all(|approver| approver.kind == "ServiceAccount" || approver.is_control_plane()) =>
        {
            let group = needed.demand.required.first().map(|r| r.group.clone()).unwrap_or_default();
            let policy = facts.policy.found().map(ResourceExt::name_any).unwrap_or_default();
            Some(Gate::fail(
                GATE,
                "NobodyCanApprove",
                format!("{}, and no person holds the verb approve on policy {policy}", words(needed)),
                format!(
                    "kubectl -n {} create rolebinding exeat-approvers --clusterrole=exeat-approver --group={group}",
                    facts.namespace
                ),
            ))
        }
        Look::Unreadable(why) => {
            Some(Gate::unknown(GATE, format!("{}; whether anybody can is not to be seen: {why}", words(needed))))
        }
        _ => None,
    }
}

fn asked(approval: &Approval, facts: &Facts, now: Timestamp) -> Gate {
    let name = approval.name_any();
    let request = &approval.spec.request;
    let status = approval.status.clone().unwrap_or_default();
    match crate::approvals::phase(approval) {
        ApprovalPhase::Pending => {
            let needed = needed_of(facts);
            if let Some(gate) = needed.and_then(|needed| askable(facts, &needed)).filter(|gate| gate.reason.is_some()) {
                return gate;
            }
            let left = time::until_text(Some(&request.deadline), now);
            Gate::fail(
                GATE,
                Reason::ApprovalPending.as_str(),
                format!("{name} waits for {}; {left} left", crate::approvals::missing(approval, now).join(", ")),
                format!(
                    "somebody of them: `kubectl exeat approve {name} -n {} -m WHY` (not {})",
                    facts.namespace,
                    request.excluded.join(", ")
                ),
            )
        }
        ApprovalPhase::Approved => Gate::ok(
            GATE,
            format!(
                "{name} is Approved until {}, used {} of {} times",
                status.valid_until.unwrap_or_default(),
                status.used,
                request.uses
            ),
        ),
        phase => {
            let why = exeat_crds::condition::get(&status.conditions, "Decided")
                .map(|c| c.message.clone())
                .unwrap_or_default();
            let reason = match phase {
                ApprovalPhase::Denied => Reason::ApprovalDenied,
                ApprovalPhase::Withdrawn => Reason::ApprovalWithdrawn,
                _ => Reason::ApprovalExpired,
            };
            let message = format!("{name} is {}: {why}", phase.as_str());
            Gate::fail(GATE, reason.as_str(), message, super::judge::fix_of(reason.as_str(), &facts.namespace))
        }
    }
}

fn needed_of(facts: &Facts) -> Option<Needed> {
    needed(facts.policy.found()?, facts.provider.found(), &facts.pod)
}
