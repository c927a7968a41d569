//! The smallest policy that would have let pass what was seen. Pure.

use crate::rules::action::{Action, Resource, Role};
use crate::rules::statement::MAX_ITEMS;
use crate::rules::{Kind, Statement};
use crate::v1alpha1::{Suggested, SuggestedAction};
use std::collections::{BTreeMap, BTreeSet};

/// What is proposed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Statements for `spec.allow`.
    pub allow: Vec<Statement>,
    /// What people must know before they take it.
    pub notes: Vec<String>,
}

/// What was used, on what it was used on. Where that is not seen (AWS) it is the resources that `today` names for the action, else those
/// that it names of the same service, else everything.
pub fn propose(kind: Kind, today: &[Statement], suggested: &Suggested) -> Proposal {
    let mut notes = Vec::new();
    let mut by_resources: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
    let mut by_path: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for used in &suggested.actions {
        if used.calls <= used.denied {
            notes.push(format!("{}: refused every time, so it is left out", shown(used)));
            continue;
        }
        if used.unsure {
            notes.push(format!(
                "{}: assumed from the call's name; check it in the service's own list of actions",
                shown(used)
            ));
        }
        if let Err(problem) = Action::parse(kind, Role::Allow, &used.action) {
            notes.push(format!("{}: can't be allowed, so it is left out: {problem}", shown(used)));
            continue;
        }
        match (kind, &used.resource) {
            (Kind::Vault, Some(path)) => match Resource::parse(kind, path) {
                Ok(path) => {
                    by_path.entry(path.text()).or_default().insert(used.action.clone());
                }
                Err(problem) => notes.push(format!("{}: can't be allowed, so it is left out: {problem}", shown(used))),
            },
            _ => {
                let (resources, from) = resources_of(kind, today, &used.action);
                notes.extend(from.map(|from| format!("{}: {from}", used.action)));
                by_resources.entry(resources).or_default().insert(used.action.clone());
            }
        }
    }
    for (path, verbs) in by_path {
        // Paths with the same verbs share a statement.
        let verbs: Vec<String> = verbs.into_iter().collect();
        by_resources.entry(verbs).or_default().insert(path);
    }
    let allow = by_resources.into_iter().flat_map(|(key, items)| match kind {
        Kind::Vault => statements(&key, &items.into_iter().collect::<Vec<_>>()),
        _ => statements(&items.into_iter().collect::<Vec<_>>(), &key),
    });
    let allow = allow.collect();
    if suggested.omitted > 0 {
        notes.push(format!("{} calls had no place in the list: what they used is missing here", suggested.omitted));
    }
    Proposal { allow, notes }
}

fn shown(used: &SuggestedAction) -> String {
    match &used.resource {
        Some(resource) => format!("{} on {resource}", used.action),
        None => used.action.clone(),
    }
}

/// As few statements as lists of their length allow.
fn statements(actions: &[String], resources: &[String]) -> Vec<Statement> {
    let chunks = actions.chunks(MAX_ITEMS).flat_map(|a| resources.chunks(MAX_ITEMS).map(move |r| (a, r)));
    chunks.map(|(actions, resources)| Statement { actions: actions.to_vec(), resources: resources.to_vec() }).collect()
}

/// The resources, and what to know of them where today's policy does not name them for this very action.
fn resources_of(kind: Kind, today: &[Statement], action: &str) -> (Vec<String>, Option<&'static str>) {
    let covers = |text: &String| Action::parse(kind, Role::Allow, text).is_ok_and(|pattern| pattern.covers(action));
    let covering = today.iter().filter(|statement| statement.actions.iter().any(covers));
    let named: BTreeSet<String> = covering.flat_map(|statement| statement.resources.iter().cloned()).collect();
    if !named.is_empty() {
        return (named.into_iter().collect(), None);
    }
    let service = action.split(':').next().unwrap_or_default();
    let of_service = |resource: &&String| resource.split(':').nth(2) == Some(service);
    let near: BTreeSet<String> =
        today.iter().flat_map(|statement| &statement.resources).filter(of_service).cloned().collect();
    if near.is_empty() {
        return (vec!["*".to_owned()], Some("on *, since no resource is seen; name what it is used on"));
    }
    (
        near.into_iter().collect(),
        Some("on what today's policy names of the service, since no resource is seen; check it"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Call, GrantInput, grant};
    use proptest::prelude::*;

    fn own(items: &[&str]) -> Vec<String> {
        items.iter().map(|s| (*s).to_owned()).collect()
    }

    fn statement(actions: &[&str], resources: &[&str]) -> Statement {
        Statement { actions: own(actions), resources: own(resources) }
    }

    fn used(action: &str, resource: Option<&str>) -> SuggestedAction {
        let resource = resource.map(str::to_owned);
        SuggestedAction { action: action.into(), resource, calls: 2, ..SuggestedAction::default() }
    }

    fn seen(actions: Vec<SuggestedAction>) -> Suggested {
        Suggested { actions, ..Suggested::default() }
    }

    #[test]
    fn resources_are_those_of_today_else_of_the_service_else_everything() {
        let today = [
            statement(&["s3:Get*"], &["arn:aws:s3:::reports/*"]),
            statement(&["s3:ListBucket"], &["arn:aws:s3:::reports"]),
        ];
        let all = seen(["s3:GetObject", "s3:PutObject", "sqs:SendMessage"].map(|action| used(action, None)).to_vec());
        let proposal = propose(Kind::Aws, &today, &all);
        assert_eq!(
            proposal.allow,
            [
                statement(&["sqs:SendMessage"], &["*"]),
                statement(&["s3:PutObject"], &["arn:aws:s3:::reports", "arn:aws:s3:::reports/*"]),
                statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"]),
            ]
        );
        let [put, send] = proposal.notes.as_slice() else { panic!("{:?}", proposal.notes) };
        assert!(put.starts_with("s3:PutObject: on what today's policy names"), "{put}");
        assert!(send.starts_with("sqs:SendMessage: on *"), "{send}");
    }

    #[test]
    fn what_was_always_refused_or_can_not_be_allowed_is_left_out_and_told() {
        let refused = SuggestedAction { denied: 2, ..used("s3:DeleteObject", None) };
        let unsure = SuggestedAction { unsure: true, ..used("s3:GetThing", None) };
        let all = Suggested { omitted: 7, ..seen(vec![refused, unsure, used("sts:AssumeRole", None)]) };
        let proposal = propose(Kind::Aws, &[], &all);
        assert_eq!(proposal.allow, [statement(&["s3:GetThing"], &["*"])]);
        for (part, note) in
            ["refused every time", "assumed from", "on *", "can't be allowed", "7 calls"].iter().zip(&proposal.notes)
        {
            assert!(note.contains(part), "{part}: {:?}", proposal.notes);
        }
        assert_eq!(proposal.notes.len(), 5);
    }

    #[test]
    fn paths_with_the_same_verbs_share_a_statement() {
        let all = seen(vec![
            used("read", Some("secret/data/a")),
            used("write", Some("secret/data/a")),
            used("read", Some("secret/data/b")),
            used("read", Some("secret/data/c")),
            used("list", Some("secret/metadata/")),
            used("read", Some("sys/health")),
        ]);
        let proposal = propose(Kind::Vault, &[], &all);
        assert_eq!(
            proposal.allow,
            [
                statement(&["list"], &["secret/metadata"]),
                statement(&["read"], &["secret/data/b", "secret/data/c"]),
                statement(&["read", "write"], &["secret/data/a"]),
            ]
        );
        assert!(proposal.notes[0].contains("read on sys/health"), "{:?}", proposal.notes);
    }

    proptest! {
        /// What is proposed covers all that was used, and no path or verb that was not.
        #[test]
        fn what_is_proposed_is_what_was_used(pairs in prop::collection::btree_set((0_usize..4, 0_u8..100), 1..60), other in (0_usize..4, 0_u8..100)) {
            let verbs = ["read", "list", "write", "delete"];
            let path = |n: u8| format!("secret/data/p{n}");
            let all = seen(pairs.iter().map(|(v, n)| used(verbs[*v], Some(&path(*n)))).collect());
            let proposal = propose(Kind::Vault, &[], &all);
            let granted = grant(GrantInput {
                kind: Kind::Vault, principal: "agents", policy_allow: &proposal.allow, max_actions: &own(&["*"]), deny: &[], narrowing: None,
            }).unwrap();
            for (v, n) in &pairs {
                let covered = granted.covers(Call { action: verbs[*v], resource: &path(*n) });
                prop_assert!(covered);
            }
            let covered = granted.covers(Call { action: verbs[other.0], resource: &path(other.1) });
            prop_assert_eq!(covered, pairs.contains(&other));
        }
    }
}
