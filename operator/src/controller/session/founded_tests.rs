//! What stands as active is what the controller decided.

use super::*;

type Forgery = (&'static str, fn(&mut CredentialSessionStatus), Reason);

/// What somebody may write into an active session's status while no admission policy stands in the way, with the reason by which it ends.
const FORGED: &[Forgery] = &[
    ("phase alone", |s| *s = of_phase(Phase::Active), Reason::SessionNotActive),
    ("no decision", |s| s.conditions.clear(), Reason::SessionNotActive),
    ("a decision that was none", |s| s.conditions[0].status = "False".into(), Reason::SessionNotActive),
    ("no grant", |s| s.grant = None, Reason::GrantChanged),
    ("another digest", |s| grant(s).digest = "0".repeat(64), Reason::GrantChanged),
    ("another principal", |s| grant(s).principal = "root".into(), Reason::GrantChanged),
    ("more actions", |s| grant(s).allow[0].actions.push("get secrets".into()), Reason::GrantChanged),
    ("another denial", |s| grant(s).deny = vec!["get nodes".into()], Reason::GrantChanged),
    ("no start", |s| s.started_at = None, Reason::GrantChanged),
    ("no time as start", |s| s.started_at = Some("soon".into()), Reason::GrantChanged),
    ("no end", |s| s.expires_at = None, Reason::GrantChanged),
    ("a later end", |s| s.expires_at = Some("2026-01-01T13:00:01Z".into()), Reason::GrantChanged),
    (
        "a start to come, with its end",
        |s| {
            s.started_at = Some("2026-01-01T12:05:01Z".into());
            s.expires_at = Some("2026-01-01T13:05:01Z".into());
        },
        Reason::GrantChanged,
    ),
];

fn of_phase(phase: Phase) -> CredentialSessionStatus {
    CredentialSessionStatus { phase: Some(phase), ..CredentialSessionStatus::default() }
}

fn grant(status: &mut CredentialSessionStatus) -> &mut GrantStatus {
    status.grant.as_mut().unwrap()
}

#[test]
fn an_active_session_that_the_controller_did_not_decide_ends() {
    for (what, forge, reason) in FORGED {
        let mut case = Case::active();
        assert_eq!(case.outcome(NOW), (Phase::Active, "Active".into()));
        forge(case.session.status.as_mut().unwrap());
        assert_eq!(case.outcome(NOW), (Phase::Revoked, reason.to_string()), "{what}");
    }
}

#[test]
fn an_active_session_ends_when_its_pod_is_not_what_may_hold_it() {
    let mut case = Case::active();
    case.pod = Some(Ok(()));
    assert_eq!(case.outcome(NOW), (Phase::Active, "Active".into()));
    case.pod = Some(Err(Refused::new(Reason::NotInjected, "no sidecar of ours")));
    assert_eq!(case.outcome(NOW), (Phase::Revoked, "NotInjected".into()));
}

#[test]
fn what_is_said_of_an_active_session_is_put_right() {
    let mut case = Case::active();
    let before = case.session.status.clone().unwrap();
    let status = case.session.status.as_mut().unwrap();
    status.revocation = Some(Revocation { mode: RevocationMode::ExpiryOnly, effective_by: NOW.into() });
    status.enforcement = None;
    status.exceptions = vec!["none at all".into()];
    assert_eq!(case.decide(NOW).status, before);
}

proptest! {
    /// Whatever mix of fields somebody writes beside phase Active: it stands only as what the controller would have decided itself.
    #[test]
    fn what_stands_as_active_is_what_the_controller_decides(
        forgeries in prop::collection::vec(0..FORGED.len(), 0..4), minutes in 0i64..90, pod in any::<bool>()
    ) {
        let mut case = Case::active();
        let decided = case.session.status.clone().unwrap();
        for index in forgeries {
            // A forgery of a field that another one took away changes nothing.
            let mut status = case.session.status.clone().unwrap();
            if status.grant.is_some() && !status.conditions.is_empty() {
                FORGED[index].1(&mut status);
            }
            case.session.status = Some(status);
        }
        case.pod = Some(if pod { Ok(()) } else { Err(Refused::new(Reason::NotInjected, "")) });
        let now = at(NOW).checked_add(SignedDuration::from_mins(minutes)).unwrap();
        let status = case.decide(&now.to_string()).status;
        if status.phase == Some(Phase::Active) {
            prop_assert!(pod && expiry(&status).unwrap() > now);
            // A start that has come by now may stand: the schema lets no recorded end move later.
            let same = |s: &CredentialSessionStatus| (s.grant.clone(), s.enforcement, s.exceptions.clone());
            prop_assert_eq!(same(&status), same(&decided));
        }
        prop_assert!(status.phase.is_some_and(|p| p == Phase::Active || p.is_terminal()), "{:?}", status.phase);
    }
}
