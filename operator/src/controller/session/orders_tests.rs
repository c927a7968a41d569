//! Sessions come and go, people speak, time passes, and every cache lags behind: in whatever order, nobody is refused for a question that
//! was withdrawn, nobody waits for one that has ended, a no is not got around, and a yes serves nobody else.

use super::*;
use crate::controller::approval::decide::{Facts, decide};
use exeat_crds::v1alpha1::{ObjectRef, Phase};
use jiff::SignedDuration;
use proptest::prelude::*;
use std::collections::HashMap;

const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// The API server's objects, and what the caches show of them.
struct World {
    fixture: Fixture,
    now: Timestamp,
    sessions: Vec<CredentialSession>,
    /// Who is behind each session, and who asked each question.
    askers: Vec<usize>,
    asked_by: HashMap<String, usize>,
    approvals: Vec<Approval>,
    seen_sessions: Vec<CredentialSession>,
    seen_approvals: Vec<Approval>,
}

/// Who asks: a Deployment, the same for less time, the same made again, another one, and pods that paula makes by hand.
const ASKERS: usize = 5;

/// Whether a no to one of them is a no to the other.
fn alike(a: usize, b: usize) -> bool {
    a == b || (a < 3 && b < 3)
}

fn wears(approval: &Approval, now: Timestamp) -> bool {
    let until = status(approval).cool_down_until.and_then(|t| t.parse::<Timestamp>().ok());
    denied(approval) && until.is_none_or(|t| now < t)
}

fn denied(approval: &Approval) -> bool {
    approval.spec.decisions.iter().any(|d| d.decision == Verdict::Deny)
}

impl World {
    fn new(scope: ApprovalScope) -> Self {
        let mut fixture = Fixture::new();
        fixture.needed.demand.scope = scope;
        Self {
            fixture,
            now: at(NOW),
            sessions: Vec::new(),
            askers: Vec::new(),
            approvals: Vec::new(),
            asked_by: HashMap::new(),
            seen_sessions: Vec::new(),
            seen_approvals: Vec::new(),
        }
    }

    /// A new pod of one of them.
    fn appear(&mut self, asker: usize) {
        let number = self.sessions.len();
        let mut session = self.fixture.session.clone();
        session.status = None;
        let request = &mut session.spec.request;
        let (name, uid) = [("cleaner", "w"), ("cleaner", "w"), ("cleaner", "w2"), ("other", "o"), ("", "")][asker];
        request.agent.workload =
            (asker < 4).then(|| Workload { kind: "Deployment".into(), name: name.into(), uid: uid.into() });
        request.requester = (asker == 4).then(|| Requester { username: "paula".into() });
        request.duration = (asker == 1).then(|| "10m".into());
        request.agent.pod = ObjectRef { name: format!("pod{number}"), uid: format!("pod{number}") };
        self.push(session, asker);
    }

    fn push(&mut self, mut session: CredentialSession, asker: usize) {
        let number = self.sessions.len();
        session.metadata.name = Some(format!("pod-{number}"));
        session.metadata.uid = Some(format!("s{number}"));
        self.sessions.push(session);
        self.askers.push(asker);
    }

    /// An active session whose yes was taken back ends, and its pod has the next one.
    fn look_at_active(&mut self, index: usize) {
        let Some(seen) = self.seen_sessions.get(index) else { return };
        let is_active = |s: &CredentialSession| s.status.as_ref().and_then(|s| s.phase) == Some(Phase::Active);
        let name = seen.status.as_ref().and_then(|s| s.approval_ref.clone()).map(|r| r.name);
        let found = self.seen_approvals.iter().find(|a| Some(a.name_any()) == name);
        if is_active(seen) && is_active(&self.sessions[index]) && found.is_some_and(denied) {
            let mut next = seen.clone();
            next.status = None;
            self.set(index, Phase::Revoked, None);
            self.push(next, self.askers[index]);
        }
    }

    fn set(&mut self, index: usize, phase: Phase, approval: Option<&str>) {
        let status = self.sessions[index].status.get_or_insert_default();
        status.phase = Some(phase);
        if let Some(name) = approval {
            status.approval_ref = Some(NameRef { name: name.to_owned() });
        }
    }

    fn sync(&mut self) {
        self.seen_sessions.clone_from(&self.sessions);
        self.seen_approvals.clone_from(&self.approvals);
    }

    /// As the reconcile of a session does it.
    fn decide_session(&mut self, index: usize) -> Result<(), TestCaseError> {
        let Some(session) = self.seen_sessions.get(index) else { return Ok(()) };
        if !waits(session) || !waits(&self.sessions[index]) {
            return Ok(());
        }
        self.fixture.session = session.clone();
        self.fixture.approvals = self.seen_approvals.iter().cloned().map(Arc::new).collect();
        match self.fixture.judge_at(self.now) {
            Gate::Ask(approval) => {
                let (name, asker) = (approval.name_any(), self.askers[index]);
                let by = |a: &Approval| self.asked_by[&a.name_any()];
                if self.approvals.iter().all(|a| a.name_any() != name) {
                    let no = |a: &&Approval| wears(a, self.now) && alike(by(a), asker);
                    prop_assert!(!self.seen_approvals.iter().any(|a| no(&a)), "a denial was got around");
                    let key = approval::key(&approval.spec.request);
                    let mut same = self.approvals.iter().filter(|a| approval::key(&a.spec.request) == key);
                    let open = |a: &Approval| status(a).phase.is_none_or(|p| p == ApprovalPhase::Pending);
                    prop_assert!(
                        !same.any(|a| open(a) || wears(a, self.now)),
                        "people are asked twice, or a denial that no cache shows was got around"
                    );
                    self.asked_by.insert(name.clone(), asker);
                    self.approvals.push(*approval);
                }
                self.set(index, Phase::AwaitingApproval, Some(&name));
            }
            Gate::Wait { name, .. } => self.set(index, Phase::AwaitingApproval, name.as_deref()),
            Gate::Use { name } => {
                let uid = format!("s{index}");
                let fresh = self.approvals.iter_mut().find(|a| a.name_any() == name).unwrap();
                if approval::usable(fresh, &uid, self.now) {
                    prop_assert!(!denied(fresh));
                    prop_assert_eq!(self.asked_by[&name], self.askers[index], "a yes for somebody else was used");
                    let one = fresh.spec.request.session_ref.as_ref();
                    prop_assert!(one.is_none_or(|one| one.name == session.name_any()));
                    fresh.status = Some(approval::consume(&status(fresh), &uid));
                    self.set(index, Phase::Active, Some(&name));
                }
            }
            Gate::Closed { name, why } => {
                let fresh = self.approvals.iter().find(|a| a.name_any() == name).unwrap();
                match why.reason {
                    Reason::ApprovalExpired => {
                        prop_assert!(
                            at(&fresh.spec.request.deadline) < self.now,
                            "a withdrawn question refused somebody"
                        );
                    }
                    _ => prop_assert!(denied(fresh) && alike(self.asked_by[&name], self.askers[index])),
                }
                self.set(index, Phase::Denied, Some(&name));
            }
        }
        Ok(())
    }

    /// As the reconcile of an approval does it: written under the version that was read.
    fn decide_approval(&mut self, index: usize) {
        let Some(seen) = self.seen_approvals.get(index) else { return };
        let awaited = self.seen_sessions.iter().any(|s| waits_for(s, seen));
        let hash = Some(seen.spec.request.authority_hash.as_str());
        let facts = Facts {
            approval: seen,
            authority: hash,
            policy_gone: false,
            session: None,
            awaited,
            recurs: false,
            patience: PATIENCE,
        };
        let decided = decide(&facts, self.now).status;
        if self.approvals[index] == *seen {
            self.approvals[index].status = Some(decided);
        }
    }

    /// Somebody speaks, or takes a yes back, if the webhook lets them.
    fn say(&mut self, index: usize, who: &str, decision: Verdict) {
        let now = self.now;
        let Some(approval) = self.approvals.get_mut(index) else { return };
        let groups = ["security".to_owned()];
        let writer = approval::Writer { username: who, uid: None, groups: &groups };
        let mut new = approval.clone();
        new.spec.decisions.retain(|d| d.approver != who);
        new.spec.decisions.push(ApprovalDecision {
            approver: who.into(),
            uid: None,
            groups: groups.to_vec(),
            decision,
            digest: approval.spec.request.digest.clone(),
            comment: None,
            time: None,
        });
        if let Ok(approval::Decided::One { index, decision }) = approval::decide(approval, &new, writer, now) {
            new.spec.decisions[index] = *decision;
            *approval = new;
        }
    }

    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..4 {
            self.sync();
            (0..self.approvals.len()).for_each(|i| self.decide_approval(i));
            self.sync();
            for index in 0..self.sessions.len() {
                self.decide_session(index)?;
                self.look_at_active(index);
                self.sync();
            }
        }
        Ok(())
    }

    fn pass(&mut self, time: SignedDuration) {
        self.now = self.now.checked_add(time).unwrap();
    }

    fn pending(&self) -> Vec<String> {
        let open = |a: &&Approval| status(a).phase.is_none_or(|p| p == ApprovalPhase::Pending);
        self.approvals.iter().filter(open).map(ResourceExt::name_any).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_comes_finds_a_question_that_stands_and_a_no_stays(
        each in any::<bool>(),
        steps in prop::collection::vec((0u8..14, 0usize..8, 0i64..900), 1..60)
    ) {
        let mut world = World::new(if each { ApprovalScope::Session } else { ApprovalScope::Workload });
        for (step, index, seconds) in steps {
            let question = usize::try_from(seconds).unwrap() % world.approvals.len().max(1);
            match step {
                0 | 1 => world.appear(index % ASKERS),
                2 if index < world.sessions.len() => world.set(index, Phase::Completed, None),
                3 | 4 => world.decide_session(index)?,
                5 | 6 => world.decide_approval(index),
                7 | 8 => world.sync(),
                9 => world.look_at_active(index),
                10 => world.say(question, "bob", if index == 0 { Verdict::Deny } else { Verdict::Approve }),
                11 => world.say(question, "alice", if index < 4 { Verdict::Deny } else { Verdict::Approve }),
                _ => world.pass(SignedDuration::from_secs(seconds)),
            }
        }
        world.settle()?;
        let pending = world.pending();
        for session in world.sessions.iter().filter(|s| waits(s)) {
            let named = session.status.as_ref().and_then(|s| s.approval_ref.clone()).map(|r| r.name);
            prop_assert!(named.is_some_and(|n| pending.contains(&n)), "{:?} of {pending:?}", session.status);
        }
        for index in 0..world.sessions.len() {
            world.set(index, Phase::Completed, None);
        }
        world.settle()?;
        world.pass(PATIENCE);
        world.settle()?;
        prop_assert!(world.pending().is_empty(), "nobody waits, and people are asked");
    }
}
