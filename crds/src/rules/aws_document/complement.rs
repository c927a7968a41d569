//! Statements that deny all that a list of statements does not allow.
//!
//! With statements `i` of actions `Aᵢ` on resources `Rᵢ`, an action that is in exactly the statements `K` is allowed on the union of
//! `Rₖ`. So, for every `K` that some action can be in, deny what is in no statement outside `K` on everything but that union:
//! `NotAction: ⋃ᵢ∉K Aᵢ, NotResource: ⋃ₖ∈K Rₖ`. For `K = ∅` that denies all other actions on everything. Where no pattern
//! outside `K` overlaps those inside, the same is said shorter by `Action`. Statements are first regrouped so that one
//! pattern stands in one group, with the resources of every pattern that contains it; then two groups overlap only
//! where two patterns of theirs do.

use super::{Dialect, DocumentError, Entry, Items, s3};
use crate::reason::Reason;
use crate::rules::action::aws::{Action, Resource};
use std::collections::{BTreeMap, BTreeSet};

/// Most sets of groups that may overlap. The documents of more would not fit anyway.
const MAX_SETS: usize = 128;

/// Actions on resources.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) actions: Vec<Action>,
    pub(super) resources: Vec<Resource>,
}

impl Group {
    pub(super) fn resource_texts(&self) -> Vec<String> {
        self.resources.iter().map(|r| r.text().to_owned()).collect()
    }

    fn has_overlap(&self, action: &Action) -> bool {
        self.actions.iter().any(|own| own.overlaps(action))
    }

    fn contains(&self, action: &Action) -> bool {
        self.actions.iter().any(|own| action.subset(own))
    }
}

/// Sorted; patterns that are inside another one are gone.
pub(super) fn reduce_actions(actions: Vec<Action>) -> Vec<Action> {
    reduce(actions, |a| a.text().to_ascii_lowercase(), Action::subset)
}

fn reduce_resources(resources: Vec<Resource>) -> Vec<Resource> {
    reduce(resources, |r| r.text().to_owned(), Resource::subset)
}

fn reduce<T: Clone>(mut items: Vec<T>, key: impl Fn(&T) -> String, subset: impl Fn(&T, &T) -> bool) -> Vec<T> {
    items.sort_by_key(&key);
    items.dedup_by_key(|item| key(item));
    let inside = |i: usize| {
        items
            .iter()
            .enumerate()
            .any(|(j, other)| i != j && subset(&items[i], other) && (j < i || !subset(other, &items[i])))
    };
    (0..items.len()).filter(|i| !inside(*i)).map(|i| items[i].clone()).collect()
}

/// The statements with what is said twice said once.
pub(super) fn allowed(statements: &[Group]) -> Vec<Group> {
    let key = |action: &Action| action.text().to_ascii_lowercase();
    regroup(statements, |action, statement| statement.actions.iter().any(|own| key(own) == key(action)))
}

/// One group for each set of resources, of all statements that `counts` says an action is allowed by.
fn regroup(statements: &[Group], counts: impl Fn(&Action, &Group) -> bool) -> Vec<Group> {
    let mut by_statements: BTreeMap<Vec<usize>, Vec<Action>> = BTreeMap::new();
    for action in reduce(statements.iter().flat_map(|s| s.actions.clone()).collect(), Action::text, |_, _| false) {
        let allowing = (0..statements.len()).filter(|i| counts(&action, &statements[*i])).collect();
        by_statements.entry(allowing).or_default().push(action);
    }
    let mut groups: BTreeMap<Vec<String>, Group> = BTreeMap::new();
    for (allowing, actions) in by_statements {
        let resources = reduce_resources(allowing.iter().flat_map(|i| statements[*i].resources.clone()).collect());
        let key = resources.iter().map(|r| r.text().to_owned()).collect();
        groups.entry(key).or_insert_with(|| Group { actions: Vec::new(), resources }).actions.extend(actions);
    }
    groups.into_values().map(|g| Group { actions: reduce_actions(g.actions), resources: g.resources }).collect()
}

/// The statements that deny the complement.
///
/// # Errors
/// `PolicyTooLarge` where too many patterns of different statements overlap.
pub(super) fn entries(statements: &[Group], dialect: Dialect) -> Result<Vec<Entry>, DocumentError> {
    let groups = regroup(statements, |action, statement| statement.contains(action));
    let placed = place(&groups);
    let mut entries = Vec::new();
    if dialect == Dialect::Aws {
        let all = reduce_actions(groups.iter().flat_map(|g| g.actions.clone()).collect());
        if !all.iter().any(Action::is_everything) {
            entries.push(Entry {
                not_action: Some(Items::actions(dialect, &all)),
                resource: Some(Items::new(dialect, vec!["*".to_owned()])),
                ..Entry::DENY
            });
        }
    }
    let mut positive: BTreeMap<Vec<String>, Vec<Action>> = BTreeMap::new();
    let mut negative: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for set in overlapping_sets(&placed)? {
        let Some(candidates) = candidates(&placed, &set) else { continue };
        let resources = reduce_resources(set.iter().flat_map(|k| groups[*k].resources.clone()).collect());
        let resources: Vec<String> = resources.iter().map(|r| r.text().to_owned()).collect();
        if resources.iter().any(|r| r == "*") {
            continue;
        }
        if let Some(actions) = shortest_apart(&set, candidates) {
            positive.entry(resources).or_default().extend(actions);
        } else if dialect == Dialect::Aws {
            let others =
                groups.iter().enumerate().filter(|(i, _)| !set.contains(i)).flat_map(|(_, g)| g.actions.clone());
            negative.push((reduce_actions(others.collect()).iter().map(Action::text).collect(), resources));
        } else {
            let exact = s3::known().filter(|action| membership(&groups, action) == set).collect::<Vec<_>>();
            positive.entry(resources).or_default().extend(exact);
        }
    }
    for (resources, actions) in positive {
        let actions = reduce_actions(actions);
        if !actions.is_empty() {
            entries.push(Entry {
                action: Some(Items::actions(dialect, &actions)),
                not_resource: Some(Items::new(dialect, resources)),
                ..Entry::DENY
            });
        }
    }
    entries.extend(strongest(negative).map(|(others, resources)| Entry {
        not_action: Some(Items::new(dialect, others)),
        not_resource: Some(Items::new(dialect, resources)),
        ..Entry::DENY
    }));
    Ok(entries)
}

/// A pattern and the other groups that it has to do with, by index.
struct Placed {
    action: Action,
    /// Those that overlap it.
    meets: BTreeSet<usize>,
    /// Those that contain it.
    within: BTreeSet<usize>,
}

fn place(groups: &[Group]) -> Vec<Vec<Placed>> {
    let others = |k: usize, is: &dyn Fn(&Group) -> bool| {
        groups.iter().enumerate().filter(|(i, group)| *i != k && is(group)).map(|(i, _)| i).collect()
    };
    groups
        .iter()
        .enumerate()
        .map(|(k, group)| {
            let place = |action: &Action| Placed {
                action: action.clone(),
                meets: others(k, &|group| group.has_overlap(action)),
                within: others(k, &|group| group.contains(action)),
            };
            group.actions.iter().map(place).collect()
        })
        .collect()
}

/// Every set of groups of which each two overlap.
fn overlapping_sets(groups: &[Vec<Placed>]) -> Result<Vec<BTreeSet<usize>>, DocumentError> {
    let meets: Vec<BTreeSet<usize>> =
        groups.iter().map(|group| group.iter().flat_map(|placed| placed.meets.iter().copied()).collect()).collect();
    let mut sets: Vec<BTreeSet<usize>> = (0..groups.len()).map(|k| BTreeSet::from([k])).collect();
    let mut from = 0;
    while let Some(set) = sets.get(from).cloned() {
        from += 1;
        let next = set.last().map_or(0, |last| last + 1);
        for k in (next..groups.len()).filter(|k| set.is_subset(&meets[*k])) {
            let mut larger = set.clone();
            larger.insert(k);
            sets.push(larger);
        }
        if sets.len() > groups.len() + MAX_SETS {
            return Err(DocumentError::new(
                Reason::PolicyTooLarge,
                "too many action patterns of different statements overlap, so no document that fits can deny the rest",
                "write actions out instead of patterns, or give statements with overlapping actions the same resources",
            ));
        }
    }
    Ok(sets)
}

/// For each group of the set, its patterns that can hold an action which is in exactly this set; `None` where no action can be.
fn candidates<'a>(groups: &'a [Vec<Placed>], set: &BTreeSet<usize>) -> Option<Vec<Vec<&'a Placed>>> {
    set.iter()
        .map(|k| {
            let fits = |placed: &&Placed| {
                placed.within.is_subset(set) && set.iter().all(|i| i == k || placed.meets.contains(i))
            };
            let fitting: Vec<&Placed> = groups[*k].iter().filter(fits).collect();
            (!fitting.is_empty()).then_some(fitting)
        })
        .collect()
}

/// The shortest list of candidates that no group outside the set overlaps.
fn shortest_apart(set: &BTreeSet<usize>, candidates: Vec<Vec<&Placed>>) -> Option<Vec<Action>> {
    candidates
        .into_iter()
        .filter(|placed| placed.iter().all(|p| p.meets.is_subset(set)))
        .map(|placed| placed.into_iter().map(|p| p.action.clone()).collect::<Vec<_>>())
        .min_by_key(|actions| actions.iter().map(|a| a.text().len()).sum::<usize>())
}

/// Of actions and resources to spare, those pairs that no other pair makes needless by sparing less.
fn strongest(pairs: Vec<(Vec<String>, Vec<String>)>) -> impl Iterator<Item = (Vec<String>, Vec<String>)> {
    let within = |small: &[String], large: &[String]| small.iter().all(|item| large.contains(item));
    let mut kept: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for pair in pairs {
        if kept.iter().any(|k| within(&k.0, &pair.0) && within(&k.1, &pair.1)) {
            continue;
        }
        kept.retain(|k| !(within(&pair.0, &k.0) && within(&pair.1, &k.1)));
        kept.push(pair);
    }
    kept.into_iter()
}

fn membership(groups: &[Group], action: &Action) -> BTreeSet<usize> {
    groups.iter().enumerate().filter(|(_, g)| g.contains(action)).map(|(i, _)| i).collect()
}
