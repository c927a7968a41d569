//! The request that people are asked to approve, and whether one that stands is the same.

use super::{Needed, State, changes, digest, opened, state};
use crate::authority::Authority;
use crate::reason::{Reason, Refused};
use crate::rules::Grant;
use crate::v1alpha1::{
    Approval, ApprovalRequest, ApprovalScope, ApprovalSpec, CredentialSession, Enforcement, NameRef, Requester,
    SessionRequest, Workload,
};
use crate::{condition, duration};
use jiff::Timestamp;
use kube::ResourceExt;

/// Longest part of a workload's or pod's name in an approval's name.
const MAX_NAME_PART: usize = 40;
/// Kind of a pod that nothing stands above.
pub const POD: &str = "Pod";

/// What approval is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The session that waits.
    pub session: &'a CredentialSession,
    /// What its policy may hand out.
    pub authority: &'a Authority,
    /// What it would be granted.
    pub grant: &'a Grant,
    /// What the grant needs.
    pub needed: &'a Needed,
}

impl Asked<'_> {
    fn request(&self) -> &SessionRequest {
        &self.session.spec.request
    }

    fn requester(&self) -> Option<&str> {
        self.request().requester.as_ref().map(|r| r.username.as_str())
    }

    /// Whether one approval serves all pods of a workload. Otherwise, as for a bare pod, it is for its session alone.
    fn is_shared(&self) -> bool {
        self.request().agent.workload.is_some() && self.needed.demand.scope == ApprovalScope::Workload
    }

    /// What the session belongs to: the workload, or the pod where nothing stands above it.
    pub fn subject(&self) -> Workload {
        let agent = &self.request().agent;
        let bare = || Workload { kind: POD.to_owned(), name: agent.pod.name.clone(), uid: agent.pod.uid.clone() };
        agent.workload.clone().unwrap_or_else(bare)
    }

    fn duration(&self) -> String {
        let asked = self.request().duration.as_deref().and_then(|d| duration::parse(d).ok());
        duration::format(asked.unwrap_or(self.authority.duration).min(self.authority.duration))
    }
}

/// The request, asked `now`. `last` is the request of the same workload and policy that was approved last.
pub fn request(asked: &Asked<'_>, last: Option<&ApprovalRequest>, now: Timestamp) -> ApprovalRequest {
    let session = asked.request();
    let (authority, needed) = (asked.authority, asked.needed);
    let deadline = condition::whole_seconds(now.saturating_add(needed.demand.deadline).unwrap_or(Timestamp::MAX));
    let shared = asked.is_shared();
    let mut request = ApprovalRequest {
        policy_ref: session.policy_ref.clone(),
        provider_ref: session.provider_ref.clone(),
        authority_hash: authority.hash.clone(),
        service_account: session.agent.service_account.clone(),
        session_ref: (!shared).then(|| NameRef { name: asked.session.name_any() }),
        uses: if shared { needed.demand.uses } else { 1 },
        workload: Some(asked.subject()),
        requester: asked.requester().map(|username| Requester { username: username.to_owned() }),
        justification: session.justification.clone(),
        rules: needed.rules.clone(),
        principal: asked.grant.principal.clone(),
        allow: asked.grant.allow.clone(),
        deny: asked.grant.deny.clone(),
        enforcement: Some(authority.enforcement).filter(|e| *e == Enforcement::PrincipalOnly),
        duration: asked.duration(),
        changes: None,
        deadline: deadline.to_string(),
        valid_for: duration::format(needed.demand.valid_for),
        cool_down: duration::format(needed.demand.cool_down),
        required: needed.demand.required.clone(),
        minimum: authority.approval.minimum(needed, asked.requester()),
        excluded: authority.approval.excluded(asked.requester()),
        digest: String::new(),
    };
    request.changes = last.map(|last| changes(last, &request));
    request.digest = digest(&request);
    request
}

/// The same for every request that asks the same: all but what depends on when it is asked. A session has one workload.
pub fn key(request: &ApprovalRequest) -> String {
    let workload = request.workload.clone().filter(|_| request.session_ref.is_none());
    digest(&ApprovalRequest {
        workload,
        deadline: String::new(),
        justification: None,
        changes: None,
        ..request.clone()
    })
}

/// Whether the words on an approval still let anything be: it is there, and nobody said no since.
///
/// # Errors
/// [`Reason::ApprovalWithdrawn`] with what does not hold.
pub fn still(name: &str, approval: Option<&ApprovalSpec>, now: Timestamp) -> Result<(), Refused> {
    let approval = approval.ok_or_else(gone)?;
    match state(&approval.request, &approval.decisions, now) {
        State::Denied { by, comment } => Err(withdrawn(format!("{by} took approval {name} back: {comment}"))),
        State::Open(missing) => {
            Err(withdrawn(format!("approval {name} is not what it was: missing {}", missing.join(", "))))
        }
        State::Approved => Ok(()),
    }
}

fn gone() -> Refused {
    withdrawn("people must approve this, and the approval that the session names does not exist".to_owned())
}

fn withdrawn(message: String) -> Refused {
    Refused::new(Reason::ApprovalWithdrawn, message)
}

/// Whether a session still rests on the approval that opened it: nobody said no since, it opened this very session, and all that people
/// approved is what the session would be given now.
///
/// # Errors
/// [`Reason::ApprovalWithdrawn`] with what does not hold.
pub fn rests(approval: Option<&Approval>, asked: &Asked<'_>, now: Timestamp) -> Result<(), Refused> {
    let approval = approval.ok_or_else(gone)?;
    let name = approval.name_any();
    still(&name, Some(&approval.spec), now)?;
    if !opened(approval, &asked.session.uid().unwrap_or_default()) {
        return Err(withdrawn(format!("approval {name} did not open this session")));
    }
    if !same_ask(&approval.spec.request, asked) {
        return Err(withdrawn(format!("approval {name} is about something else")));
    }
    Ok(())
}

/// Whether a request that stands is about what this session needs. Whose workload it is was settled when it opened the session; everything
/// that people approved is computed again.
pub(super) fn same_ask(standing: &ApprovalRequest, asked: &Asked<'_>) -> bool {
    let of_any = |request: &ApprovalRequest| key(&ApprovalRequest { workload: None, ..request.clone() });
    let fresh = request(asked, None, Timestamp::UNIX_EPOCH);
    (fresh.session_ref.is_some() || standing.workload.is_some()) && of_any(&fresh) == of_any(standing)
}

/// Name of the `number`-th approval for a request: `<workload or pod, at most 40 characters>-<key>-<number>`.
pub fn name(request: &ApprovalRequest, pod: &str, number: usize) -> String {
    let shared = request.workload.as_ref().filter(|_| request.session_ref.is_none());
    let stem = shared.map_or(pod, |w| w.name.as_str());
    let mut part: String = stem.chars().take(MAX_NAME_PART).collect();
    while part.ends_with(['-', '.']) {
        part.pop();
    }
    format!("{part}-{}-{number}", &key(request)[..10])
}
