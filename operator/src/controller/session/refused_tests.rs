//! How far a no reaches, and that a yes reaches no further.

use super::*;
use exeat_crds::rules::parse_narrowing;

const LATER: &str = "2026-01-01T12:30:00Z";
/// Half an hour after the no that was seen at [`SOON`].
const WORN_OFF: &str = "2026-01-01T12:40:00Z";

fn each(fixture: &mut Fixture) {
    fixture.needed.demand.scope = ApprovalScope::Session;
}

fn bare(fixture: &mut Fixture) {
    fixture.session.spec.request.agent.workload = None;
}

fn next_session(fixture: &mut Fixture) {
    fixture.session.metadata.name = Some("pod-2".into());
    fixture.session.metadata.uid = Some("s2".into());
    fixture.session.spec.request.number = 2;
}

fn of_workload(name: &str, uid: &str) -> impl Fn(&mut Fixture) {
    let workload = Workload { kind: "Deployment".into(), name: name.into(), uid: uid.into() };
    move |fixture| fixture.session.spec.request.agent.workload = Some(workload.clone())
}

fn another_pod(fixture: &mut Fixture) {
    fixture.session.metadata.name = Some("new-1".into());
    fixture.session.spec.request.agent.pod.name = "new".into();
    fixture.session.spec.request.agent.pod.uid = "new".into();
}

#[test]
fn a_yes_that_was_taken_back_is_not_asked_for_again_by_the_pod_that_lives_on() {
    for kind in [|_: &mut Fixture| (), each, bare] {
        let mut fixture = Fixture::new();
        kind(&mut fixture);
        let name = fixture.stand(&[("alice", Verdict::Approve)], SOON);
        fixture.uses("s1");
        fixture.say(&[("bob", Verdict::Deny)], SOON);
        assert_eq!(fixture.approvals[0].status.as_ref().unwrap().phase, Some(ApprovalPhase::Withdrawn));
        next_session(&mut fixture);
        let Gate::Closed { name: by, why } = fixture.judge(LATER) else { panic!("{:?}", fixture.judge(LATER)) };
        assert_eq!((by, why.reason), (name, Reason::ApprovalDenied));
        assert!(why.message.contains("bob denied") && why.message.contains(WORN_OFF), "{}", why.message);
        let Gate::Ask(next) = fixture.judge(WORN_OFF) else { panic!("the cool-down is over") };
        assert_eq!(next.spec.request.changes, None, "what was taken back is no last yes that anything equals");
    }
}

#[test]
fn what_was_approved_last_is_a_yes_that_stands() {
    let mut fixture = Fixture::new();
    fixture.stand(&[("alice", Verdict::Approve)], SOON);
    fixture.say(&[("bob", Verdict::Deny)], SOON);
    // As a controller left it that did not take the time of use back.
    let mut old = (*fixture.approvals[0]).clone();
    old.status.as_mut().unwrap().valid_until = Some("2026-01-01T14:10:00Z".into());
    fixture.approvals[0] = Arc::new(old);
    let Gate::Ask(next) = fixture.judge(WORN_OFF) else { panic!("the cool-down is over") };
    assert_eq!(next.spec.request.changes, None);
}

#[test]
fn a_no_is_not_got_around_by_what_is_nearly_the_same() {
    let longer = |f: &mut Fixture| f.session.spec.request.duration = Some("10m".into());
    let less = |f: &mut Fixture| {
        f.grant = f.authority.grant("sa", Some(&parse_narrowing("delete pods on agents/one").unwrap())).unwrap();
    };
    let recreated = of_workload("cleaner", "w2");
    let by_hand = |fixture: &mut Fixture| {
        bare(fixture);
        fixture.session.spec.request.requester = Some(Requester { username: "paula".into() });
    };
    type Change<'a> = &'a dyn Fn(&mut Fixture);
    let same: [(&str, Change<'_>, Change<'_>); 6] = [
        ("another duration", &|_| (), &longer),
        ("a part of it", &|_| (), &less),
        ("a workload that was made again", &|_| (), &recreated),
        ("another replica", &each, &another_pod),
        ("another bare pod of the same person", &by_hand, &another_pod),
        ("the pod's next session", &bare, &next_session),
    ];
    for (what, first, second) in same {
        let mut fixture = Fixture::new();
        first(&mut fixture);
        let name = fixture.stand(&[("bob", Verdict::Deny)], SOON);
        second(&mut fixture);
        let gate = fixture.judge(LATER);
        assert!(matches!(&gate, Gate::Closed { name: by, .. } if *by == name), "{what}: {gate:?}");
        assert!(matches!(fixture.judge(WORN_OFF), Gate::Ask(_)), "{what}: the cool-down is over");
    }
}

#[test]
fn nobody_answers_for_a_no_to_somebody_else() {
    let other_policy = |f: &mut Fixture| f.session.spec.request.policy_ref.uid = "made again".into();
    let changed = |f: &mut Fixture| f.authority.hash = "changed".into();
    type Change<'a> = &'a dyn Fn(&mut Fixture);
    let others: [(&str, Change<'_>, Change<'_>); 4] = [
        ("another workload", &|_| (), &of_workload("other", "o")),
        ("another policy of the name", &|_| (), &other_policy),
        ("a policy that changed", &|_| (), &changed),
        ("a bare pod that a machine made", &bare, &another_pod),
    ];
    for (what, first, second) in others {
        let mut fixture = Fixture::new();
        first(&mut fixture);
        fixture.stand(&[("bob", Verdict::Deny)], SOON);
        second(&mut fixture);
        assert!(matches!(fixture.judge(LATER), Gate::Ask(_)), "{what}: {:?}", fixture.judge(LATER));
    }
}

#[test]
fn a_no_takes_back_no_other_question_that_people_have_answered_or_are_asked() {
    let mut fixture = Fixture::new();
    fixture.session.spec.request.duration = Some("10m".into());
    let open = fixture.stand(&[], SOON);
    fixture.session.spec.request.duration = None;
    fixture.stand(&[("bob", Verdict::Deny)], SOON);
    fixture.session.spec.request.duration = Some("10m".into());
    assert!(matches!(fixture.judge(LATER), Gate::Wait { name: Some(name), .. } if name == open));
    fixture.approvals.swap(0, 1);
    fixture.say(&[("alice", Verdict::Approve)], SOON);
    assert_eq!(fixture.judge(LATER), Gate::Use { name: open });
}

/// Deleted and made again under the same name, it is something else: no old yes lets it in.
#[test]
fn no_yes_outlives_its_workload_or_its_policy() {
    let policy = |f: &mut Fixture| f.session.spec.request.policy_ref.uid = "made again".into();
    let workload = of_workload("cleaner", "w2");
    for change in [&policy as &dyn Fn(&mut Fixture), &workload] {
        let mut fixture = Fixture::new();
        fixture.stand(&[("alice", Verdict::Approve)], SOON);
        assert!(matches!(fixture.judge(LATER), Gate::Use { .. }));
        change(&mut fixture);
        let Gate::Ask(next) = fixture.judge(LATER) else { panic!("{:?}", fixture.judge(LATER)) };
        assert_ne!(next.name_any(), fixture.approvals[0].name_any());
    }
}
