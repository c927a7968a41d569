//! Sessions come and go, people speak, time passes, and every cache lags behind: in whatever order, nobody is refused for a question that
//! was withdrawn, nobody waits for one that has ended, and a no is not got around.

use super::*;
use crate::controller::approval::decide::{Facts, decide};
use exeat_crds::v1alpha1::Phase;
use jiff::SignedDuration;
use proptest::prelude::*;

const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// The API server's objects, and what the caches show of them.
struct World {
    fixture: Fixture,
    now: Timestamp,
    sessions: Vec<CredentialSession>,
    approvals: Vec<Approval>,
    seen_sessions: Vec<CredentialSession>,
    seen_approvals: Vec<Approval>,
}

fn wears(approval: &Approval, now: Timestamp) -> bool {
    let denied = approval.spec.decisions.iter().any(|d| d.decision == Verdict::Deny);
    let until = status(approval).cool_down_until.and_then(|t| t.parse::<Timestamp>().ok());
    denied && until.is_none_or(|t| now < t)
}

impl World {
    fn new() -> Self {
        let (sessions, approvals) = (Vec::new(), Vec::new());
        let (seen_sessions, seen_approvals) = (Vec::new(), Vec::new());
        Self { fixture: Fixture::new(), now: at(NOW), sessions, approvals, seen_sessions, seen_approvals }
    }

    fn appear(&mut self) {
        let number = self.sessions.len();
        let mut session = self.fixture.session.clone();
        session.metadata.name = Some(format!("pod-{number}"));
        session.metadata.uid = Some(format!("s{number}"));
        self.sessions.push(session);
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
                let name = approval.name_any();
                if self.approvals.iter().all(|a| a.name_any() != name) {
                    prop_assert!(!self.approvals.iter().any(|a| wears(a, self.now)), "a denial was got around");
                    let open = |a: &&Approval| status(a).phase.is_none_or(|p| p == ApprovalPhase::Pending);
                    prop_assert_eq!(self.approvals.iter().filter(open).count(), 0, "people are asked twice");
                    self.approvals.push(*approval);
                }
                self.set(index, Phase::AwaitingApproval, Some(&name));
            }
            Gate::Wait { name, .. } => self.set(index, Phase::AwaitingApproval, name.as_deref()),
            Gate::Use { name } => {
                let uid = format!("s{index}");
                let fresh = self.approvals.iter_mut().find(|a| a.name_any() == name).unwrap();
                if approval::usable(fresh, &uid, self.now) {
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
                    _ => prop_assert!(fresh.spec.decisions.iter().any(|d| d.decision == Verdict::Deny)),
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
        let facts =
            Facts { approval: seen, authority: hash, policy_gone: false, session: None, awaited, patience: PATIENCE };
        let decided = decide(&facts, self.now).status;
        if self.approvals[index] == *seen {
            self.approvals[index].status = Some(decided);
        }
    }

    /// Somebody speaks, if the webhook lets them.
    fn say(&mut self, index: usize, decision: Verdict) {
        let now = self.now;
        let Some(approval) = self.approvals.get_mut(index) else { return };
        let groups = ["security".to_owned()];
        let writer = approval::Writer { username: "alice", uid: None, groups: &groups };
        let spoken = !approval.spec.decisions.is_empty();
        if spoken || approval::may_decide(approval, decision, writer, now).is_err() {
            return;
        }
        approval.spec.decisions.push(ApprovalDecision {
            approver: "alice".into(),
            uid: None,
            groups: groups.to_vec(),
            decision,
            digest: approval.spec.request.digest.clone(),
            comment: None,
            time: Some(now.to_string()),
        });
    }

    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..4 {
            self.sync();
            (0..self.approvals.len()).for_each(|i| self.decide_approval(i));
            self.sync();
            for index in 0..self.sessions.len() {
                self.decide_session(index)?;
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
        steps in prop::collection::vec((0u8..12, 0usize..4, 0i64..900), 1..60)
    ) {
        let mut world = World::new();
        for (step, index, seconds) in steps {
            match step {
                0 | 1 => world.appear(),
                2 if index < world.sessions.len() => world.set(index, Phase::Completed, None),
                3 | 4 => world.decide_session(index)?,
                5 | 6 => world.decide_approval(index),
                7 | 8 => world.sync(),
                9 if index == 0 => world.say(world.approvals.len().saturating_sub(1), Verdict::Deny),
                9 if index == 1 => world.say(world.approvals.len().saturating_sub(1), Verdict::Approve),
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
