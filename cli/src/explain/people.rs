//! What people decide: approvals and holds. Pure.

use super::facts::{Facts, Look, account_name};
use super::gate::{Gate, Verdict};
use crate::doctor::access::rbac::Subject;
use crate::output::time;
use exeat_crds::approval::Needed;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{ApprovalPhase, Phase, Verdict as Word};
use exeat_crds::{
    AgentCredentialPolicy, Approval, CredentialProvider, CredentialSession, authority, hold, names, rules,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

const GATE: &str = "approval";
/// Reason of an approval that nobody, or nobody of a group, seems to be able to give.
const NOBODY: &str = "NobodyCanApprove";

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
    let holds = match &facts.holds {
        Look::Found(holds) => holds,
        Look::Unreadable(why) => return Some(unseen(session, why)),
        Look::Missing | Look::Skipped => return None,
    };
    let found = holds.iter().find(|found| hold::matches(found, &facts.namespace, &session.spec.request))?;
    let name = found.name_any();
    let by = found.annotations().get(names::REQUESTER).map(|by| format!(", by {by}")).unwrap_or_default();
    let message = format!("hold {name} keeps new sessions off: {}{by}", found.spec.reason);
    Some(Gate::fail("hold", Reason::Held.as_str(), message, format!("who may: `kubectl exeat release {name}`")))
}

/// Who may not read holds is told of one by the session that it keeps off.
fn unseen(session: &CredentialSession, why: &str) -> Gate {
    let status = session.status.clone().unwrap_or_default();
    let reason = Reason::Held.as_str();
    if status.reason.as_deref() != Some(reason) {
        return Gate::unknown("hold", format!("{why}; a session that a hold keeps off says so: reason {reason}"));
    }
    let message = status.message.unwrap_or_else(|| "a hold keeps new sessions off".to_owned());
    Gate::fail(
        "hold",
        reason,
        message,
        "ask the security officers: they list holds (`kubectl exeat holds`) and release them",
    )
}

fn approval(facts: &Facts, now: Timestamp) -> Vec<Gate> {
    let Some(needed) = needed_of(facts) else { return Vec::new() };
    if let Look::Found(approval) = &facts.approval {
        return asked(approval, facts, &needed, now);
    }
    let groups: Vec<&str> = needed.demand.required.iter().map(|r| r.group.as_str()).collect();
    match askable(facts, &needed, &groups) {
        Some(gate) => vec![gate],
        None => vec![Gate::ok(GATE, format!("{}; no approval stands yet", words(&needed)))],
    }
}

fn words(needed: &Needed) -> String {
    let who: Vec<String> = needed.demand.required.iter().map(|r| format!("{} of {}", r.count, r.group)).collect();
    format!("the grant trips {}: {} must approve", needed.rules.join(", "), who.join(" and "))
}

/// An approval that nobody can give, or that some of these groups can't, as far as bindings tell. Who is in a group is not to be seen.
fn askable(facts: &Facts, needed: &Needed, groups: &[&str]) -> Option<Gate> {
    let approvers = match &facts.approvers {
        Look::Found(approvers) => approvers,
        Look::Unreadable(why) => {
            let message = format!("{}; whether anybody can is not to be seen: {why}", words(needed));
            return Some(Gate::unknown(GATE, message));
        }
        Look::Missing | Look::Skipped => return None,
    };
    let people: Vec<&Subject> = approvers.iter().filter(|approver| approver.may_be_people()).collect();
    let policy = facts.policy.found().map(ResourceExt::name_any).unwrap_or_default();
    if people.is_empty() {
        let message = format!("{}, and no person holds the verb approve on policy {policy}", words(needed));
        return Some(Gate::fail(GATE, NOBODY, message, binding(facts, "exeat-approvers", groups)));
    }
    let is_bound =
        |group: &str| people.iter().any(|found| found.is_everybody() || (found.kind == "Group" && found.name == group));
    let unbound: Vec<&str> = groups.iter().copied().filter(|group| !is_bound(group)).collect();
    if unbound.is_empty() {
        return None;
    }
    let held: Vec<String> = people.iter().take(5).map(ToString::to_string).collect();
    let message = format!(
        "{}, and no binding gives {} the verb approve on policy {policy}: only who is in it and is meant by another ({}) can",
        words(needed),
        unbound.iter().map(|group| format!("group {group}")).collect::<Vec<_>>().join(" or "),
        held.join(", ")
    );
    Some(Gate::warn(GATE, NOBODY, message, binding(facts, "exeat-more-approvers", &unbound)))
}

/// The command that lets these groups approve.
fn binding(facts: &Facts, name: &str, groups: &[&str]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:@/".contains(c);
    let word = |group: &str| {
        if group.chars().all(is_plain) { group.to_owned() } else { format!("'{}'", group.replace('\'', r"'\''")) }
    };
    let groups: Vec<String> = groups.iter().map(|group| format!(" --group={}", word(group))).collect();
    let namespace = &facts.namespace;
    format!("kubectl -n {namespace} create rolebinding {name} --clusterrole=exeat-approver{}", groups.concat())
}

fn pending(approval: &Approval, facts: &Facts, needed: &Needed, now: Timestamp) -> Vec<Gate> {
    let (name, request) = (approval.name_any(), &approval.spec.request);
    let doubt = askable(facts, needed, &waited_for(approval)).filter(|gate| gate.reason.is_some());
    if let Some(closed) = doubt.clone().filter(|gate| gate.verdict == Verdict::Fail) {
        return vec![closed];
    }
    let left = time::until_text(Some(&request.deadline), now);
    let unseen = match &facts.approvers {
        Look::Unreadable(_) => "; whether a binding lets one of them approve is not for you to see",
        _ => "",
    };
    let excluded = request.excluded.join(", ");
    let not = if excluded.is_empty() { excluded } else { format!(" (not {excluded})") };
    let waits = Gate::fail(
        GATE,
        Reason::ApprovalPending.as_str(),
        format!("{name} waits for {}; {left} left{unseen}", crate::approvals::missing(approval, now).join(", ")),
        format!("somebody of them: `kubectl exeat approve {name} -n {} -m WHY`{not}", facts.namespace),
    );
    [waits].into_iter().chain(doubt).collect()
}

fn asked(approval: &Approval, facts: &Facts, needed: &Needed, now: Timestamp) -> Vec<Gate> {
    let name = approval.name_any();
    let request = &approval.spec.request;
    let status = approval.status.clone().unwrap_or_default();
    let gate = match crate::approvals::phase(approval) {
        ApprovalPhase::Pending => return pending(approval, facts, needed, now),
        ApprovalPhase::Approved => Gate::ok(
            GATE,
            format!(
                "{name} is Approved until {}, used {} of {} times",
                status.valid_until.unwrap_or_default(),
                status.used,
                request.uses
            ),
        ),
        // A yes that was used becomes too old, too: what it opened runs on to its own end.
        ApprovalPhase::Expired if was_opened(facts) => {
            Gate::ok(GATE, format!("{name} has opened this session and can open no other: the next one asks anew"))
        }
        phase => {
            let why = exeat_crds::condition::get(&status.conditions, "Decided")
                .map(|c| c.message.clone())
                .unwrap_or_default();
            let reason = match phase {
                ApprovalPhase::Denied => Reason::ApprovalDenied,
                ApprovalPhase::Withdrawn => Reason::ApprovalWithdrawn,
                _ => Reason::ApprovalExpired,
            };
            let until = status.cool_down_until.map(|until| format!("; the cool-down ends {until}")).unwrap_or_default();
            let message = format!("{name} is {}: {why}{until}", phase.as_str());
            Gate::fail(GATE, reason.as_str(), message, super::judge::fix_of(reason.as_str(), &facts.namespace))
        }
    };
    vec![gate]
}

/// Whether the session that counts has begun, and not been ended by anybody.
fn was_opened(facts: &Facts) -> bool {
    let has_begun = |session: &CredentialSession| session.status.as_ref().is_some_and(|s| s.started_at.is_some());
    matches!(facts.phase(), Some(Phase::Active | Phase::Completed)) && facts.session().is_some_and(has_begun)
}

/// The required groups of which nobody has said yes.
fn waited_for(approval: &Approval) -> Vec<&str> {
    let yes: Vec<&String> = approval
        .spec
        .decisions
        .iter()
        .filter(|decision| decision.decision == Word::Approve)
        .flat_map(|decision| &decision.groups)
        .collect();
    let groups = approval.spec.request.required.iter().map(|required| &required.group);
    groups.filter(|group| !yes.contains(group)).map(String::as_str).collect()
}

fn needed_of(facts: &Facts) -> Option<Needed> {
    needed(facts.policy.found()?, facts.provider.found(), &facts.pod)
}

#[cfg(test)]
#[path = "people_tests.rs"]
mod tests;
