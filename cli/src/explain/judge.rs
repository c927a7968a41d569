//! All gates, in the order in which a pod meets them. Pure.

use super::facts::{Facts, Look};
use super::gate::Gate;
use super::{config, egress, people, startup, usage};
use crate::error::Error;
use crate::policy::call;
use exeat_crds::authority;
use exeat_crds::reason::Reason;
use exeat_crds::rules::{self, Call};
use exeat_crds::text::sanitize;
use exeat_crds::v1alpha1::Phase;
use exeat_crds::{condition, names};
use jiff::Timestamp;
use kube::ResourceExt;

/// Judges every gate.
///
/// # Errors
/// A call that can't be read.
pub fn judge(facts: &Facts, now: Timestamp) -> Result<Vec<Gate>, Error> {
    let mut gates = vec![config::annotation(facts)];
    if facts.pod.annotations().contains_key(names::POLICY) {
        gates.extend(config::gates(facts));
        gates.push(installation(facts));
        gates.push(startup::gate(facts, now));
        gates.push(egress::gate(facts));
        gates.push(clock(facts));
        gates.extend(people::gates(facts, now));
        gates.push(session(facts, now));
        gates.push(usage::gate(facts, now));
        gates.extend(wanted(facts)?);
    }
    Ok(gates)
}

fn installation(facts: &Facts) -> Gate {
    const GATE: &str = "admission policies";
    match &facts.fallen {
        Look::Found(fallen) if fallen.is_empty() => Gate::ok(GATE, "they stand as installed"),
        Look::Found(fallen) => Gate::fail(
            GATE,
            Reason::BackstopMissing.as_str(),
            format!("missing or changed: {}; until they stand no session is opened", fallen.join(", ")),
            "the controller puts them back within a minute; where it does not, run `kubectl exeat doctor` and install the chart again",
        ),
        Look::Unreadable(why) => Gate::unknown(GATE, why),
        _ => Gate::unknown(
            GATE,
            format!("namespace {} has no ConfigMap exeat-admission-policies to compare with", facts.system),
        ),
    }
}

/// A token or a signature that is judged by two clocks fails where they differ.
fn clock(facts: &Facts) -> Gate {
    const GATE: &str = "clock";
    const SIGNS: [&str; 4] =
        ["RequestTimeTooSkewed", "Signature expired", "Signature not yet current", "not yet valid"];
    let fix = "let the node keep time (chrony, systemd-timesyncd or its cloud's NTP)";
    let probes = [
        facts.provider.found().and_then(|p| p.status.as_ref()?.probe.as_ref()),
        facts.policy.found().and_then(|p| p.status.as_ref()?.probe.as_ref()),
    ];
    let texts = probes.into_iter().flatten().map(|probe| probe.message.as_str());
    let session = facts.session().and_then(|s| s.status.as_ref()?.message.as_deref());
    let log = facts.log.found().into_iter().flat_map(|log| log.lines());
    if let Some(text) = texts.chain(session).chain(log).find(|text| SIGNS.iter().any(|sign| text.contains(sign))) {
        let fix = "let all nodes keep time (chrony, systemd-timesyncd or the cloud's NTP)";
        return Gate::fail(GATE, "", format!("two clocks differ: {}", sanitize(text)), fix);
    }
    match &facts.node {
        Look::Found(node) => match node.ahead.map(|ahead| ahead.as_secs()) {
            Some(seconds) if seconds > 5 => Gate::fail(
                GATE,
                "",
                format!("the clock of node {} is {seconds} s ahead of the API server's", node.name),
                fix,
            ),
            Some(seconds) if seconds < -60 => Gate::fail(
                GATE,
                "",
                format!(
                    "the last heartbeat of node {} is {} s old by the API server's clock: its clock is behind, or its kubelet is away",
                    node.name, -seconds
                ),
                fix,
            ),
            Some(_) => Gate::ok(GATE, format!("node {} agrees with the API server", node.name)),
            None => Gate::unknown(GATE, format!("the heartbeat of node {} can't be read", node.name)),
        },
        Look::Unreadable(why) => Gate::unknown(GATE, why),
        _ => Gate::unknown(GATE, "the pod is on no node yet"),
    }
}

fn session(facts: &Facts, now: Timestamp) -> Gate {
    const GATE: &str = "session";
    if !facts.live {
        return Gate::unknown(GATE, "a session belongs to a pod, and there is none");
    }
    let session = match &facts.sessions {
        Look::Unreadable(why) => return Gate::unknown(GATE, why),
        _ => facts.session(),
    };
    let Some(session) = session else {
        return Gate::fail(
            GATE,
            Reason::SessionNotFound.as_str(),
            "the controller has opened none for this pod",
            "if the pod is older than some seconds, look at the controller: `kubectl exeat doctor`",
        );
    };
    let status = session.status.clone().unwrap_or_default();
    let (name, phase) = (session.name_any(), crate::sessions::phase(session));
    let reason = status.reason.unwrap_or_else(|| phase.as_str().to_owned());
    let message = status.message.filter(|m| !m.is_empty()).map(|m| format!(": {m}")).unwrap_or_default();
    let told = format!("{name} is {}{message}", phase.as_str());
    match phase {
        Phase::Active => {
            let silent = condition::get(&status.conditions, "SidecarSilent").filter(|c| c.status == "True");
            match silent {
                Some(c) => Gate::warn(
                    GATE,
                    "SidecarSilent",
                    format!("{told}; its sidecar is silent: {}", c.message),
                    "look at the sidecar's log and at what may keep it from the issuer",
                ),
                None => {
                    let left = crate::output::time::until_text(status.expires_at.as_deref(), now);
                    Gate::ok(GATE, format!("{name} is Active, {left} left"))
                }
            }
        }
        Phase::Completed => Gate::ok(GATE, told),
        _ => Gate::fail(GATE, &reason, told, fix_of(&reason, &facts.namespace)),
    }
}

/// What helps where a session is not active.
pub(super) fn fix_of(reason: &str, namespace: &str) -> String {
    match reason {
        "Held" => "`kubectl exeat holds` lists what holds it; who may `kubectl exeat release`s it".to_owned(),
        "ApprovalPending" => format!("people decide: `kubectl exeat approvals -n {namespace}` tells who is missing"),
        "ApprovalNotCreated" => "change the ResourceQuota or the admission policy that the message names: it is tried again within half a minute".to_owned(),
        "ApprovalDenied" | "ApprovalWithdrawn" => "ask who said no; after the cool-down a new pod asks again: delete this one then, or roll the workload out again".to_owned(),
        "ApprovalExpired" => "a new pod asks again: delete this one, or roll the workload out again".to_owned(),
        "SessionRevoked" => "a revocation is final for the pod: start a new one if it shall go on".to_owned(),
        "SessionExpired" => "its time was up and the policy says onExpiry: Stop; start a new pod, or set onExpiry: Renew".to_owned(),
        "AuthorityChanged" => "policy or provider changed: the next session is decided afresh within seconds; if it is not, look at the policy's Ready".to_owned(),
        "BackstopMissing" => "an admission policy of ours is missing: the controller puts it back; `kubectl exeat doctor` tells which".to_owned(),
        "Deciding" => "wait some seconds; if it stays, look at the controller: `kubectl exeat doctor`".to_owned(),
        "NotInjected" => "the pod is not injected as it must be: delete it and let the webhook admit it anew".to_owned(),
        "AgentFailed" => "the agent ended with an error of its own: read its log".to_owned(),
        "PolicyNotReady" | "ProviderNotReady" | "ProbePending" => "mend what the policy's and the provider's Ready say; it goes on by itself".to_owned(),
        "AuditUnavailable" => "the audit log takes no record: look at the issuer's sink (`exeat_audit_available`)".to_owned(),
        _ => "mend what the message names; what waits goes on by itself, what was Denied needs a new pod".to_owned(),
    }
}

fn wanted(facts: &Facts) -> Result<Option<Gate>, Error> {
    const GATE: &str = "call";
    let Some((action, resource)) = &facts.call else { return Ok(None) };
    let (Some(policy), provider) = (facts.policy.found(), facts.provider.found()) else {
        return Ok(Some(Gate::unknown(GATE, "without the policy it can't be told")));
    };
    let authority = match authority::resolve(policy, provider) {
        Ok(authority) => authority,
        Err(problem) => return Ok(Some(Gate::refused(GATE, &problem))),
    };
    call::check_action(authority.kind, action).map_err(Error::Usage)?;
    let narrowing = facts.pod.annotations().get(names::ALLOW).and_then(|text| rules::parse_narrowing(text).ok());
    let verdict = match call::judge(&authority, facts.account_name(), narrowing.as_deref(), Call { action, resource }) {
        Ok(verdict) => verdict,
        Err(problem) => return Ok(Some(Gate::refused(GATE, &problem))),
    };
    let words = format!("{action} on {resource}: {}", verdict.because);
    if !verdict.allowed {
        let reason = Reason::ActionNotAllowed.as_str();
        return Ok(Some(Gate::fail(GATE, reason, words, verdict.fix.unwrap_or_default())));
    }
    let approvals = verdict.approvals.join("; ");
    let people =
        if approvals.is_empty() { String::new() } else { format!("; people must approve the grant: {approvals}") };
    Ok(Some(Gate::ok(GATE, format!("{words}{people}"))))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
pub(super) mod tests;
