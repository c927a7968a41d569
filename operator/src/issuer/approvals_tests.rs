use super::*;
use crate::issuer::fixtures::{APPROVAL, NOW, approved, guard, policy, provider, read};
use crate::issuer::recompute::recompute;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use proptest::prelude::*;
use serde_json::{Value, json};

struct Case {
    policy: AgentCredentialPolicy,
    provider: CredentialProvider,
    session: CredentialSession,
    approvals: Vec<Option<Approval>>,
}

/// A session, and its approval as it is; with a no, a yes that became one, another yes beside it, a status that changed, no word, a word of one
/// who may not say it, for other terms, and gone.
fn case() -> Case {
    let (mut policy, mut provider) = (policy(), provider());
    guard(&mut policy, &mut provider);
    let (session, approval) = approved(&policy, &provider);
    let edited = |edit: fn(&mut Value)| {
        let mut approval = serde_json::to_value(&approval).unwrap();
        edit(&mut approval);
        Some(read(&approval))
    };
    let approvals = vec![
        edited(|_| {}),
        edited(|a| say(a, "bob", "Deny")),
        edited(|a| a["spec"]["decisions"][0]["decision"] = json!("Deny")),
        edited(|a| say(a, "bob", "Approve")),
        edited(|a| a["status"]["used"] = json!(2)),
        edited(|a| a["spec"]["decisions"] = json!([])),
        edited(|a| a["spec"]["decisions"][0]["approver"] = json!("olga")),
        edited(|a| a["spec"]["decisions"][0]["digest"] = json!("another")),
        None,
    ];
    Case { policy: read(&policy), provider: read(&provider), session: read(&session), approvals }
}

fn say(approval: &mut Value, who: &str, what: &str) {
    let digest = approval["spec"]["request"]["digest"].clone();
    let said = json!({"approver": who, "decision": what, "digest": digest, "time": "2026-01-01T11:20:00Z"});
    approval["spec"]["decisions"].as_array_mut().unwrap().push(said);
}

/// By a change, or by a new list.
fn told(approvals: &mut Approvals, old: Option<&Approval>, new: Option<&Approval>, listed: bool) -> HashSet<Key> {
    if listed {
        let list = [Event::Init].into_iter().chain(new.cloned().map(Event::InitApply)).chain([Event::InitDone]);
        return list.flat_map(|event| approvals.follow(&event)).collect();
    }
    match (old, new) {
        (_, Some(new)) => approvals.follow(&Event::Apply(new.clone())),
        (Some(old), None) => approvals.follow(&Event::Delete(old.clone())),
        (None, None) => HashSet::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Through any words, deletions and lists: what stands is what would be minted for, and no change of that goes untold.
    #[test]
    fn what_is_withheld_is_what_people_let_nobody_mint(changes in prop::collection::vec((0usize..9, any::<bool>()), 1..12)) {
        let case = case();
        let now = NOW.parse().unwrap();
        let key = ("agents".to_owned(), APPROVAL.to_owned());
        let mut approvals = Approvals::default();
        let mut old: Option<&Approval> = None;
        let mut stood = approvals.stand(&case.session, now).is_ok();
        for (which, listed) in changes {
            let new = case.approvals[which].as_ref();
            let changed = told(&mut approvals, old, new, listed);
            let stands = approvals.stand(&case.session, now);
            match (&stands, recompute(&case.session, Some(&case.policy), Some(&case.provider), new, now)) {
                (Ok(()), Ok(_)) => {}
                (Err(withheld), Err(refused)) => {
                    prop_assert_eq!(withheld.reason.as_str(), refused.code);
                    prop_assert_eq!(&withheld.message, &refused.message);
                }
                (stands, minted) => prop_assert!(false, "{:?} but {:?}", stands, minted),
            }
            prop_assert!(stood == stands.is_ok() || changed.contains(&key), "a change that nobody is told of");
            prop_assert!(changed.is_empty() || old.map(|a| &a.spec) != new.map(|a| &a.spec), "told of nothing");
            prop_assert_eq!(approvals.known.len() + approvals.listing.len(), usize::from(new.is_some()), "nothing is kept of what is gone");
            (old, stood) = (new, stands.is_ok());
        }
    }
}

#[test]
fn a_session_that_names_no_approval_and_one_of_another_namespace_are_not_touched() {
    let case = case();
    let now = NOW.parse().unwrap();
    let mut approvals = Approvals::default();
    let mut elsewhere = case.approvals[1].clone().unwrap();
    elsewhere.metadata.namespace = Some("others".into());
    approvals.follow(&Event::Apply(case.approvals[0].clone().unwrap()));
    approvals.follow(&Event::Apply(elsewhere.clone()));
    assert!(approvals.stand(&case.session, now).is_ok());
    approvals.follow(&Event::Delete(elsewhere));
    assert!(approvals.stand(&case.session, now).is_ok());
    let mut unguarded = case.session.clone();
    unguarded.status.as_mut().unwrap().approval_ref = None;
    assert!(Approvals::default().stand(&unguarded, now).is_ok());
}

#[test]
fn a_list_that_is_broken_off_and_begun_anew_brings_nothing_of_the_first() {
    let case = case();
    let now = NOW.parse().unwrap();
    let approval = || case.approvals[0].clone().unwrap();
    let mut approvals = Approvals::default();
    approvals.follow(&Event::Apply(approval()));
    approvals.follow(&Event::Init);
    approvals.follow(&Event::InitApply(approval()));
    assert!(approvals.stand(&case.session, now).is_ok(), "what was known holds until the list is whole");
    approvals.follow(&Event::Init);
    assert_eq!(approvals.follow(&Event::InitDone).len(), 1);
    assert!(approvals.stand(&case.session, now).is_err());
}
