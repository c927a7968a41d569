//! One approval as people outside the cluster see it. Pure.

use super::args::EventKind;
use super::due::Notice;
use exeat_crds::v1alpha1::{ApprovalPhase, RequiredApprovals, WorkloadName};
use exeat_crds::{Approval, condition, text};
use kube::ResourceExt;
use serde::Serialize;

/// One approval in a message. A field of the generic format each; docs/approvals.md says what they mean.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// `pending`, `reminder` or `decided`.
    pub event: &'static str,
    /// Tells a repetition, with `event` and `phase`.
    pub uid: String,
    /// Where.
    pub namespace: String,
    /// Which.
    pub name: String,
    /// Where it stands.
    pub phase: ApprovalPhase,
    /// Name of the policy.
    pub policy: String,
    /// Name of the provider.
    pub provider: String,
    /// The workload that it is for.
    pub workload: Option<WorkloadName>,
    /// The session that it is for, where it is for one alone.
    pub session: Option<String>,
    /// The agent's service account.
    pub service_account: String,
    /// The identity that would be assumed.
    pub principal: String,
    /// The rules that ask.
    pub rules: Vec<String>,
    /// Who must approve.
    pub required: Vec<RequiredApprovals>,
    /// Least number of people.
    pub minimum: i32,
    /// Who is missing, a line each.
    pub missing: Vec<String>,
    /// The person who asked, where known.
    pub requester: Option<String>,
    /// Why, as the pod's author claims: nobody has checked it.
    pub claimed_justification: Option<String>,
    /// What differs from what was approved last; none: nothing was.
    pub changes: Option<Vec<String>>,
    /// Until when people may decide.
    pub deadline: String,
    /// What exactly is decided on.
    pub digest: String,
    /// How it came out, once it is decided.
    pub outcome: Option<String>,
    /// The commands that decide, while it waits.
    pub decide: Option<Decide>,
}

/// Commands, but for the reason, which is theirs to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decide {
    /// Says yes, once the request was shown.
    pub approve: String,
    /// Says no.
    pub deny: String,
}

impl Item {
    /// What is told of `approval`.
    pub fn new(approval: &Approval, notice: Notice) -> Self {
        let request = &approval.spec.request;
        let status = approval.status.clone().unwrap_or_default();
        let (namespace, name) = (approval.namespace().unwrap_or_default(), approval.name_any());
        let waits = notice.kind() != EventKind::Decided;
        let outcome = condition::get(&status.conditions, "Decided").map(|c| text::sanitize(&c.message));
        let command = |word: &str| format!("kubectl exeat {word} -n {namespace} {name} -m WHY");
        let all = |lines: &[String]| lines.iter().map(|line| text::sanitize(line)).collect::<Vec<_>>();
        Self {
            event: match notice.kind() {
                EventKind::Pending => "pending",
                EventKind::Reminder => "reminder",
                EventKind::Decided => "decided",
            },
            uid: approval.uid().unwrap_or_default(),
            phase: status.phase.unwrap_or_default(),
            policy: request.policy_ref.name.clone(),
            provider: request.provider_ref.name.clone(),
            workload: request.workload.as_ref().map(|w| WorkloadName { kind: w.kind.clone(), name: w.name.clone() }),
            session: request.session_ref.as_ref().map(|s| s.name.clone()),
            service_account: request.service_account.clone(),
            principal: text::sanitize(&request.principal),
            rules: all(&request.rules),
            required: request.required.clone(),
            minimum: request.minimum,
            missing: all(&status.missing),
            requester: request.requester.as_ref().map(|r| text::sanitize(&r.username)),
            claimed_justification: request.justification.as_deref().map(text::sanitize),
            changes: request.changes.as_deref().map(all),
            deadline: request.deadline.clone(),
            digest: request.digest.clone(),
            outcome: outcome.filter(|_| !waits),
            decide: waits.then(|| Decide { approve: command("approve"), deny: command("deny") }),
            namespace,
            name,
        }
    }
}
