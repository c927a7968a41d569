//! What a session should be now. Pure: facts and `now` in, the status out.

use super::end::{AgentEnd, End};
use super::gate::{self, Gate, Queue};
use super::{founded, silence};
use crate::controller::pod::plan::UNRESOLVED;
use exeat_crds::approval::Asked;
use exeat_crds::authority::{self, Authority};
use exeat_crds::condition;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::v1alpha1::{
    AgentCredentialPolicy, Approval, CredentialHold, CredentialProvider, CredentialSession, CredentialSessionStatus,
    GrantStatus, NameRef, Phase, Revocation, RevocationMode,
};
use exeat_crds::{duration, rules, text};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::sync::Arc;

/// How long after its deletion at the provider a Kubernetes token may still pass: the API server caches token checks for 10 s.
const IMMEDIATE_SLACK: SignedDuration = SignedDuration::from_secs(15);

/// Longest part of a refusal of the API server that is repeated, bytes: what may be done about it must have room.
const MAX_SAID: usize = 500;

/// How soon a session that waits for the admission policies is looked at again.
const BACKSTOP_RETRY: SignedDuration = SignedDuration::from_secs(1);

/// All that is known of a session when it is decided.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The session as it stands.
    pub session: &'a CredentialSession,
    /// The policy that it names, whatever its UID.
    pub policy: Option<&'a AgentCredentialPolicy>,
    /// The provider that the policy names now.
    pub provider: Option<&'a CredentialProvider>,
    /// What became of the agent, once something did.
    pub agent: AgentEnd,
    /// The pod, judged: read whole from the API server while the session is not active yet, from the cache while it is.
    pub pod: Option<Result<(), Refused>>,
    /// Whether the admission policies stand: without them a pod may hold what nobody checked.
    pub backstop: bool,
    /// What keeps new sessions like this one off.
    pub hold: Option<&'a CredentialHold>,
    /// What people were asked under its policy.
    pub approvals: &'a [Arc<Approval>],
    /// Whether people may be asked one more thing in its namespace.
    pub room: bool,
}

/// What a session should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Its status; `issuance` is the issuer's and left out.
    pub status: CredentialSessionStatus,
    /// When to look again without being told, where time alone changes something.
    pub look_again: Option<Timestamp>,
    /// What people have to do with it.
    pub gate: Option<Gate>,
}

/// What a policy gives under its provider, or why it gives nothing.
type Resolved = Result<Authority, Refused>;

struct Verdict {
    phase: Phase,
    reason: Reason,
    message: String,
}

impl Verdict {
    fn new(phase: Phase, reason: Reason, message: impl Into<String>) -> Self {
        Self { phase, reason, message: message.into() }
    }
}

/// Decides. A final phase never changes; what ends a session is looked at before what could start it.
pub fn decide(facts: &Facts<'_>, now: Timestamp) -> Decision {
    let old = facts.session.status.clone().unwrap_or_default();
    if old.phase.is_some_and(Phase::is_terminal) {
        return Decision { status: old, look_again: None, gate: None };
    }
    let mut status = old;
    let mut gate = None;
    let resolved = facts.policy.map(|policy| authority::resolve(policy, facts.provider));
    let authority = resolved.as_ref().and_then(|resolved| resolved.as_ref().ok());
    let over = ended(facts, &status, now)
        .or_else(|| superseded(facts, &status, resolved.as_ref()))
        .or_else(|| unfounded(facts, &mut status, authority, now));
    let verdict = match over {
        Some(verdict) => verdict,
        None if status.phase == Some(Phase::Active) => {
            Verdict::new(Phase::Active, Reason::Active, "credentials may be minted")
        }
        None => open(facts, &mut status, resolved.as_ref(), &mut gate, now),
    };
    let look_again = match (verdict.phase, verdict.reason, &gate) {
        (Phase::Active, ..) => expiry(&status),
        (_, Reason::BackstopMissing, _) => now.checked_add(BACKSTOP_RETRY).ok(),
        (_, _, Some(Gate::Wait { look_again, .. })) => *look_again,
        _ => None,
    };
    record(&mut status, &verdict, facts.session, now);
    let generation = facts.session.metadata.generation;
    // Whether the sidecar of an active session is heard.
    let silent =
        (verdict.phase == Phase::Active).then(|| silence::note(&mut status, authority, generation, now)).flatten();
    Decision { status, look_again: [look_again, silent].into_iter().flatten().min(), gate }
}

/// Revocation by a person, the agent's own end, time.
fn ended(facts: &Facts<'_>, status: &CredentialSessionStatus, now: Timestamp) -> Option<Verdict> {
    if let Some(revoke) = &facts.session.spec.revoke {
        let why = text::sanitize(&revoke.reason);
        return Some(Verdict::new(Phase::Revoked, Reason::SessionRevoked, format!("revoked: {why}")));
    }
    if let AgentEnd::Ended(end) = &facts.agent {
        let (phase, reason) = match end {
            End::Completed => (Phase::Completed, Reason::AgentCompleted),
            End::Failed { .. } => (Phase::Failed, Reason::AgentFailed),
            End::Deleted => (Phase::Completed, Reason::PodDeleted),
            End::Unknown => (Phase::Completed, Reason::ExitUnknown),
        };
        return Some(Verdict::new(phase, reason, end.message()));
    }
    let expires = expiry(status)?;
    (status.phase == Some(Phase::Active) && expires <= now).then(|| {
        Verdict::new(Phase::Expired, Reason::SessionExpired, format!("the session's time was up at {expires}"))
    })
}

/// The authority that the session was asked under is gone or another one.
fn superseded(facts: &Facts<'_>, status: &CredentialSessionStatus, resolved: Option<&Resolved>) -> Option<Verdict> {
    let active = status.phase == Some(Phase::Active);
    let request = &facts.session.spec.request;
    let end = |reason, message: String| {
        Some(Verdict::new(if active { Phase::Revoked } else { Phase::Denied }, reason, message))
    };
    let Some((policy, resolved)) = facts.policy.zip(resolved) else {
        return if active {
            end(Reason::PolicyDeleted, format!("policy {:?} was deleted", request.policy_ref.name))
        } else {
            None
        };
    };
    let changed = |what: &str| {
        end(
            Reason::AuthorityChanged,
            format!("{what} since this session was asked for; the next session is decided afresh"),
        )
    };
    if policy.uid().as_deref() != Some(request.policy_ref.uid.as_str()) {
        let came = request.policy_ref.uid == UNRESOLVED;
        return changed(if came { "the policy was created" } else { "the policy was replaced" });
    }
    match resolved {
        Err(refused) if active => end(refused.reason, refused.message.clone()),
        Err(_) => None,
        Ok(authority) if authority.hash != request.authority_hash => changed("the policy or its provider changed"),
        Ok(_) => None,
    }
}

/// An active session that the controller would not have opened like this: it ends, and the next one is decided afresh. What is said about
/// one that stands is what holds now.
fn unfounded(
    facts: &Facts<'_>,
    status: &mut CredentialSessionStatus,
    authority: Option<&Authority>,
    now: Timestamp,
) -> Option<Verdict> {
    if status.phase != Some(Phase::Active) {
        return None;
    }
    let authority = authority?;
    if let Err(refused) = founded::check(facts, status, authority, now) {
        return Some(Verdict::new(Phase::Revoked, refused.reason, refused.message));
    }
    let end = expiry(status)?;
    say(status, authority, end);
    None
}

/// A session that is not active yet: may it be?
fn open(
    facts: &Facts<'_>,
    status: &mut CredentialSessionStatus,
    resolved: Option<&Resolved>,
    gate: &mut Option<Gate>,
    now: Timestamp,
) -> Verdict {
    let waiting = |reason, message: String| Verdict::new(Phase::Pending, reason, message);
    let request = &facts.session.spec.request;
    let Some((policy, resolved)) = facts.policy.zip(resolved) else {
        return waiting(
            Reason::PolicyNotFound,
            format!("policy {:?} does not exist in this namespace", request.policy_ref.name),
        );
    };
    let authority = match resolved {
        Ok(authority) => authority,
        Err(refused) => return waiting(refused.reason, refused.message.clone()),
    };
    match &facts.pod {
        None => return waiting(Reason::Deciding, "the pod has not been read yet".to_owned()),
        Some(Err(refused)) => return Verdict::new(Phase::Denied, refused.reason, refused.message.clone()),
        Some(Ok(())) => {}
    }
    let grant = match authority.grant(&request.agent.service_account, request.allow.as_deref()) {
        Ok(grant) => grant,
        Err(refused) => return Verdict::new(Phase::Denied, refused.reason, refused.message),
    };
    if let Err(refused) = ready(policy, authority) {
        return waiting(refused.reason, refused.message);
    }
    if !facts.backstop {
        let message =
            "an admission policy of Exeat is missing or was changed; sessions are opened once it stands again";
        return waiting(Reason::BackstopMissing, message.to_owned());
    }
    if let Some(hold) = facts.hold {
        let why = text::sanitize(&hold.spec.reason);
        return waiting(Reason::Held, format!("CredentialHold {:?} keeps new sessions off: {why}", hold.name_any()));
    }
    *gate = asked(facts, authority, &grant, now);
    if let Some(verdict) = gate.as_ref().and_then(|gate| behind(gate, status)) {
        return verdict;
    }
    match activate(status, authority, &grant, request.duration.as_deref(), now) {
        Ok(()) => Verdict::new(Phase::Active, Reason::Active, "credentials may be minted"),
        Err(refused) => Verdict::new(Phase::Denied, refused.reason, refused.message),
    }
}

/// A session for which people can't be asked, since the API server refuses the approval with these words: it waits.
pub fn unasked(session: &CredentialSession, approval: &str, said: &str, now: Timestamp) -> Decision {
    let mut status = session.status.clone().unwrap_or_default();
    status.approval_ref = None;
    let message = format!(
        "approval {approval} can't be created: {}; change the ResourceQuota, admission policy, webhook or right that this names, so that the controller may create approvals.exeat.dev in namespace {:?}: it is tried again",
        text::cut(&text::sanitize(said), MAX_SAID),
        session.namespace().unwrap_or_default(),
    );
    record(&mut status, &Verdict::new(Phase::Pending, Reason::ApprovalNotCreated, message), session, now);
    Decision { status, look_again: None, gate: None }
}

/// What people say, where the grant needs their approval.
fn asked(facts: &Facts<'_>, authority: &Authority, grant: &rules::Grant, now: Timestamp) -> Option<Gate> {
    let needed = authority.approval.needed(grant)?;
    let asked = Asked { session: facts.session, authority, grant, needed: &needed };
    Some(gate::judge(&asked, Queue { approvals: facts.approvals, room: facts.room }, now))
}

/// What a session behind a gate is; `None` where the gate is open.
fn behind(gate: &Gate, status: &mut CredentialSessionStatus) -> Option<Verdict> {
    let (name, verdict) = match gate {
        Gate::Use { name } => (Some(name.clone()), None),
        Gate::Ask(approval) => {
            let name = approval.name_any();
            let message =
                format!("approval {name} waits for people to decide, until {}", approval.spec.request.deadline);
            (Some(name), Some(Verdict::new(Phase::AwaitingApproval, Reason::ApprovalPending, message)))
        }
        Gate::Wait { name, message, .. } => {
            (name.clone(), Some(Verdict::new(Phase::AwaitingApproval, Reason::ApprovalPending, message.clone())))
        }
        Gate::Closed { name, why } => {
            (Some(name.clone()), Some(Verdict::new(Phase::Denied, why.reason, why.message.clone())))
        }
    };
    status.approval_ref = name.map(|name| NameRef { name });
    verdict
}

fn ready(policy: &AgentCredentialPolicy, authority: &Authority) -> Result<(), Refused> {
    let status = policy.status.as_ref();
    let current = status.is_some_and(|s| s.authority_hash.as_deref() == Some(authority.hash.as_str()));
    let condition = status.and_then(|s| condition::get(&s.conditions, "Ready"));
    match condition {
        Some(c) if current && c.status == "True" => Ok(()),
        Some(c) if current => Err(Refused::new(
            Reason::PolicyNotReady,
            format!("policy {:?} is not Ready: {}: {}", policy.name_any(), c.reason, c.message),
        )),
        _ => Err(Refused::new(
            Reason::PolicyNotReady,
            format!("policy {:?} is not Ready: it has not been tried yet", policy.name_any()),
        )),
    }
}

fn activate(
    status: &mut CredentialSessionStatus,
    authority: &Authority,
    grant: &rules::Grant,
    asked: Option<&str>,
    now: Timestamp,
) -> Result<(), Refused> {
    let start = condition::whole_seconds(now);
    let end = end_of(authority, asked, start)?;
    status.started_at = Some(start.to_string());
    status.expires_at = Some(end.to_string());
    status.grant = Some(GrantStatus::from(grant));
    say(status, authority, end);
    Ok(())
}

/// When a session that started at `start` ends.
pub(super) fn end_of(authority: &Authority, asked: Option<&str>, start: Timestamp) -> Result<Timestamp, Refused> {
    let invalid = |message: String| Refused::new(Reason::DurationInvalid, message);
    let asked = asked.map(duration::parse).transpose().map_err(|e| invalid(e.to_string()))?;
    let length = asked.unwrap_or(authority.duration).min(authority.duration);
    start.checked_add(length).map_err(|e| invalid(e.to_string()))
}

/// What people are told of how the grant is enforced, and how it ends.
fn say(status: &mut CredentialSessionStatus, authority: &Authority, end: Timestamp) {
    status.enforcement = Some(authority.enforcement);
    status.exceptions.clone_from(&authority.exceptions);
    // A credential that was handed out in the last moment may live on for so long.
    let last = end.saturating_add(authority.outlives).unwrap_or(end);
    status.revocation =
        Some(Revocation { mode: authority.revocation, effective_by: effective_by(authority.revocation, last) });
}

/// Until then access has ended for sure, if it ends at `end` on our side.
fn effective_by(mode: RevocationMode, end: Timestamp) -> String {
    match mode {
        RevocationMode::ExpiryOnly => end,
        RevocationMode::Immediate => end.saturating_add(IMMEDIATE_SLACK).unwrap_or(end),
    }
    .to_string()
}

/// When an active session's time is up.
pub fn expiry(status: &CredentialSessionStatus) -> Option<Timestamp> {
    status.expires_at.as_ref().and_then(|t| t.parse().ok())
}

fn record(status: &mut CredentialSessionStatus, verdict: &Verdict, session: &CredentialSession, now: Timestamp) {
    let generation = session.metadata.generation;
    let (phase, reason) = (verdict.phase, verdict.reason.as_str());
    let opened = status.expires_at.is_some();
    let issued = status.issuance.as_ref().is_some_and(|i| i.credential_id.is_some());
    status.phase = Some(phase);
    status.reason = Some(reason.to_owned());
    status.message = Some(text::cut(&verdict.message, 1024).to_owned());
    let mut set = |type_: &str, value: bool, reason: &str| {
        condition::set(&mut status.conditions, type_, value, reason, &verdict.message, generation, now);
    };
    set("Decided", opened || phase == Phase::Denied, reason);
    match (&status.approval_ref, phase) {
        (Some(_), Phase::Active) => set("Approved", true, "Approved"),
        (Some(_), Phase::AwaitingApproval | Phase::Denied) => set("Approved", false, reason),
        _ => {}
    }
    set("Ready", phase == Phase::Active, reason);
    if issued {
        set("Issued", true, "Issued");
    }
    if phase == Phase::Revoked {
        set("Revoked", true, reason);
    }
    if phase.is_terminal() {
        let end = condition::whole_seconds(now);
        status.ended_at = Some(end.to_string());
        shorten_revocation(status, end);
    }
}

/// An end that comes before the session's time moves the promise closer where the provider can end access at once.
fn shorten_revocation(status: &mut CredentialSessionStatus, end: Timestamp) {
    let Some(revocation) = &mut status.revocation else { return };
    if revocation.mode == RevocationMode::Immediate {
        let soon = effective_by(RevocationMode::Immediate, end);
        let earlier = match (soon.parse::<Timestamp>(), revocation.effective_by.parse::<Timestamp>()) {
            (Ok(soon), Ok(promised)) => soon < promised,
            _ => false,
        };
        if earlier {
            revocation.effective_by = soon;
        }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
