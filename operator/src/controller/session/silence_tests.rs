//! A sidecar that is not heard.

use super::*;

fn stream(case: &mut Case, lost_at: Option<&str>) {
    let stream = exeat_crds::v1alpha1::StreamRecord {
        replica: "issuer-0".into(),
        since: NOW.into(),
        lost_at: lost_at.map(Into::into),
    };
    let issuance = exeat_crds::v1alpha1::Issuance { stream: Some(stream), ..Default::default() };
    case.session.status.as_mut().unwrap().issuance = Some(issuance);
}

fn silent(case: &mut Case, now: &str) -> (Option<(String, String)>, Option<Timestamp>) {
    let decision = case.decide(now);
    case.session.status = Some(decision.status.clone());
    let found = condition::get(&decision.status.conditions, "SidecarSilent");
    (found.map(|c| (c.status.clone(), c.message.clone())), decision.look_again)
}

#[test]
fn a_sidecar_without_a_stream_shows_after_half_a_minute_and_until_it_is_back() {
    let mut case = Case::active();
    stream(&mut case, None);
    assert_eq!(silent(&mut case, NOW).0, None, "one that was never silent says nothing");
    stream(&mut case, Some("2026-01-01T12:10:00Z"));
    assert_eq!(silent(&mut case, "2026-01-01T12:10:29Z"), (None, Some(at("2026-01-01T12:10:30Z"))));
    let (found, again) = silent(&mut case, "2026-01-01T12:10:30Z");
    let (status, message) = found.unwrap();
    assert_eq!((status.as_str(), again), ("True", Some(at("2026-01-01T13:00:00Z"))));
    assert!(message.contains("since 2026-01-01T12:10:00Z"), "{message}");
    let before = case.session.status.clone();
    silent(&mut case, "2026-01-01T12:30:00Z");
    assert_eq!(case.session.status, before, "nothing happened, so nothing is written");
    stream(&mut case, None);
    assert_eq!(silent(&mut case, "2026-01-01T12:31:00Z").0.unwrap().0, "False");
}

#[test]
fn it_is_said_until_when_a_silent_sidecar_serves() {
    for (grace, until) in [("10m", "2026-01-01T12:20:00Z"), ("2h", "2026-01-01T13:00:00Z")] {
        let mut case = Case::fresh();
        let mut policy = policy(true);
        policy.spec.session.offline_grace = Some(grace.into());
        let hash = authority::resolve(&policy, Some(&provider())).map(|a| a.hash).unwrap();
        case.session.spec.request.authority_hash.clone_from(&hash);
        policy.status.as_mut().unwrap().authority_hash = Some(hash);
        case.policy = Some(policy);
        case.session.status = Some(case.decide(NOW).status);
        stream(&mut case, Some("2026-01-01T12:10:00Z"));
        let message = silent(&mut case, "2026-01-01T12:15:00Z").0.unwrap().1;
        assert!(message.contains(&format!("until {until}")), "{message}");
    }
}

#[test]
fn a_session_that_ended_is_not_listened_for() {
    let mut case = Case::active();
    stream(&mut case, Some("2026-01-01T12:10:00Z"));
    case.agent = AgentEnd::Ended(End::Completed);
    assert_eq!(silent(&mut case, "2026-01-01T12:15:00Z").0, None);
}
