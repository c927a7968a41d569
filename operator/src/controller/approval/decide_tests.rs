use super::*;
use exeat_crds::v1alpha1::{
    ApprovalDecision, ApprovalRequest, ApprovalSpec, CredentialSessionSpec, CredentialSessionStatus, Phase,
    RequiredApprovals,
};
use std::collections::HashSet;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOW: &str = "2026-01-01T12:00:00Z";

fn approval() -> Approval {
    let mut request = ApprovalRequest {
        authority_hash: "hash".into(),
        deadline: "2026-01-01T13:00:00Z".into(),
        valid_for: "1h".into(),
        cool_down: "1h".into(),
        uses: 1,
        minimum: 1,
        required: vec![RequiredApprovals { group: "security".into(), count: 1 }],
        ..ApprovalRequest::default()
    };
    request.digest = exeat_crds::approval::digest(&request);
    Approval::new("a", ApprovalSpec { request, decisions: vec![] })
}

fn word(approval: &Approval, who: &str, decision: Verdict) -> ApprovalDecision {
    ApprovalDecision {
        approver: who.into(),
        uid: None,
        groups: vec!["security".into()],
        decision,
        digest: approval.spec.request.digest.clone(),
        comment: Some("why\u{202E}".into()),
        time: Some(NOW.into()),
    }
}

fn facts(approval: &Approval) -> Facts<'_> {
    let patience = SignedDuration::from_mins(10);
    Facts {
        approval,
        authority: Some("hash"),
        policy_gone: false,
        session: None,
        awaited: true,
        recurs: false,
        patience,
    }
}

#[test]
fn each_word_is_news_once() {
    let mut object = approval();
    object.spec.decisions.push(word(&object, "alice", Verdict::Approve));
    let first = decide(&facts(&object), at(NOW));
    let news = News { approver: "alice".into(), verdict: Verdict::Approve, comment: "why".into() };
    assert_eq!((first.status.phase, first.news), (Some(ApprovalPhase::Approved), vec![news]));
    object.status = Some(first.status);
    assert!(decide(&facts(&object), at(NOW)).news.is_empty());
    object.spec.decisions[0].decision = Verdict::Deny;
    let changed = decide(&facts(&object), at(NOW));
    assert_eq!((changed.news.len(), changed.status.phase), (1, Some(ApprovalPhase::Denied)));
    let lines: HashSet<_> = changed.status.heard.iter().collect();
    assert_eq!(lines.len(), 2);
}

#[test]
fn people_are_not_asked_for_what_nobody_can_use_any_more() {
    let object = approval();
    let ended = |phase| {
        let mut session =
            CredentialSession::new("s", CredentialSessionSpec { request: Default::default(), revoke: None });
        session.status = Some(CredentialSessionStatus { phase: Some(phase), ..Default::default() });
        session
    };
    let (over, waits) = (ended(Phase::Completed), ended(Phase::AwaitingApproval));
    for (facts, phase) in [
        (facts(&object), ApprovalPhase::Pending),
        (Facts { authority: None, ..facts(&object) }, ApprovalPhase::Pending),
        (Facts { session: Some(&waits), ..facts(&object) }, ApprovalPhase::Pending),
        (Facts { authority: Some("other"), ..facts(&object) }, ApprovalPhase::Expired),
        (Facts { policy_gone: true, authority: None, ..facts(&object) }, ApprovalPhase::Expired),
        (Facts { session: Some(&over), ..facts(&object) }, ApprovalPhase::Expired),
    ] {
        let decision = decide(&facts, at(NOW));
        assert_eq!(decision.status.phase, Some(phase), "{facts:?}");
        assert_eq!(decision.look_again.is_some(), phase == ApprovalPhase::Pending);
    }
}

#[test]
fn a_question_that_nobody_waits_for_is_withdrawn_after_a_while_and_not_when_somebody_comes_back() {
    let mut object = approval();
    let deserted = |object: &Approval, now: &str| decide(&Facts { awaited: false, ..facts(object) }, at(now));
    let first = deserted(&object, NOW);
    assert_eq!(first.look_again, Some(at("2026-01-01T12:10:00Z")));
    object.status = Some(first.status);
    let still = deserted(&object, "2026-01-01T12:09:59Z");
    assert_eq!(Some(&still.status), object.status.as_ref(), "nothing happened, so nothing is written");
    let over = deserted(&object, "2026-01-01T12:10:00Z");
    let told = condition::get(&over.status.conditions, "Decided").unwrap();
    assert_eq!((over.status.phase, told.reason.as_str()), (Some(ApprovalPhase::Expired), "ApprovalUnneeded"));
    assert_eq!((over.look_again, over.status.missing.len()), (None, 0));

    let back = decide(&facts(&object), at("2026-01-01T12:09:59Z"));
    assert_eq!(back.status.phase, Some(ApprovalPhase::Pending));
    assert!(condition::get(&back.status.conditions, "Awaited").is_none());
    object.status = Some(back.status);
    assert_eq!(deserted(&object, "2026-01-01T12:20:00Z").status.phase, Some(ApprovalPhase::Pending), "counted anew");
}

#[test]
fn a_word_counts_whoever_waits_and_a_cronjob_that_is_there_runs_again() {
    let later = "2026-01-01T12:30:00Z";
    for (verdict, phase) in [(Verdict::Approve, ApprovalPhase::Approved), (Verdict::Deny, ApprovalPhase::Denied)] {
        let mut object = approval();
        object.status = Some(decide(&Facts { awaited: false, ..facts(&object) }, at(NOW)).status);
        object.spec.decisions.push(word(&object, "alice", verdict));
        assert_eq!(decide(&Facts { awaited: false, ..facts(&object) }, at(later)).status.phase, Some(phase));
    }
    let mut object = approval();
    let decision = decide(&Facts { awaited: false, recurs: true, ..facts(&object) }, at(later));
    assert_eq!(decision.status.phase, Some(ApprovalPhase::Pending));
    assert_eq!(decision.look_again, Some(at("2026-01-01T13:00:00Z")));
    // It is deleted: from then on nobody waits.
    object.status = Some(decision.status);
    let gone = decide(&Facts { awaited: false, ..facts(&object) }, at(later));
    assert_eq!(gone.look_again, Some(at("2026-01-01T12:40:00Z")));
    object.status = Some(gone.status);
    let over = decide(&Facts { awaited: false, ..facts(&object) }, at("2026-01-01T12:40:00Z"));
    assert_eq!(over.status.phase, Some(ApprovalPhase::Expired));
}

#[test]
fn what_was_asked_for_nothing_is_kept_for_a_day_and_the_rest_as_long_as_sessions() {
    let mut object = approval();
    let week = SignedDuration::from_hours(168);
    assert_eq!(kept_until(&object, week), None, "people are asked");
    object.status = Some(decide(&Facts { policy_gone: true, ..facts(&object) }, at(NOW)).status);
    assert_eq!(kept_until(&object, week), Some(at("2026-01-02T12:00:00Z")));
    assert_eq!(kept_until(&object, SignedDuration::from_hours(1)), Some(at("2026-01-01T13:00:00Z")));
    let mut object = approval();
    object.status = Some(decide(&facts(&object), at("2026-01-01T13:00:01Z")).status);
    assert_eq!(kept_until(&object, week), Some(at("2026-01-08T13:00:00Z")), "nobody decided by the deadline");
    let mut object = approval();
    object.spec.decisions.push(word(&object, "alice", Verdict::Deny));
    object.status = Some(decide(&facts(&object), at(NOW)).status);
    assert_eq!(kept_until(&object, week), Some(at("2026-01-08T12:00:00Z")));
}

#[test]
fn a_no_is_kept_for_as_long_as_it_stands() {
    let day = SignedDuration::from_hours(24);
    let mut object = approval();
    object.spec.request.cool_down = "48h".into();
    object.spec.request.digest = exeat_crds::approval::digest(&object.spec.request);
    object.spec.decisions.push(word(&object, "alice", Verdict::Approve));
    object.status = Some(decide(&facts(&object), at(NOW)).status);
    object.status = object.status.map(|s| exeat_crds::approval::consume(&s, "s"));
    object.spec.decisions[0].decision = Verdict::Deny;
    object.status = Some(decide(&facts(&object), at("2026-01-01T12:30:00Z")).status);
    assert_eq!(object.status.as_ref().unwrap().phase, Some(ApprovalPhase::Withdrawn));
    assert_eq!(kept_until(&object, day), Some(at("2026-01-03T12:30:00Z")), "from the no on, not from the yes");
    assert_eq!(kept_until(&object, SignedDuration::from_hours(72)), Some(at("2026-01-04T12:30:00Z")));
}

#[test]
fn what_people_were_told_stays_on_record() {
    let mut object = approval();
    object.status = Some(decide(&facts(&object), at(NOW)).status);
    let status = object.status.as_mut().unwrap();
    condition::set(&mut status.conditions, "Notified", true, "Pending", "", None, at(NOW));
    assert_eq!(decide(&facts(&object), at(NOW)).status, *object.status.as_ref().unwrap());
    object.spec.decisions.push(word(&object, "alice", Verdict::Approve));
    let approved = decide(&facts(&object), at(NOW)).status;
    let gone = decide(&Facts { policy_gone: true, ..facts(&object) }, at("2026-01-01T13:30:00Z")).status;
    for status in [approved, gone] {
        assert_eq!(condition::get(&status.conditions, "Notified").map(|c| c.reason.as_str()), Some("Pending"));
    }
}
