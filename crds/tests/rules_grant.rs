//! A grant is never wider than anything it came from, and its digest is that of its meaning.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod rules_support;

use exeat_crds::rules::{Call, Kind, Statement, grant, overlaps, subset};
use exeat_crds::rules::{GrantInput, action};
use proptest::prelude::*;
use rules_support::{World, calls, ceilings, decide, guardrails, plain, statements};

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

fn names(patterns: &[String], call: Call<'_>) -> bool {
    let (service, name) = call.action.split_once(':').unwrap();
    patterns.iter().any(|pattern| {
        let pattern = if pattern == "*" { "*:*" } else { pattern }.to_ascii_lowercase();
        let (s, n) = pattern.split_once(':').unwrap();
        plain(s, service) && plain(n, &name.to_ascii_lowercase())
    })
}

fn alone(allow: &[Statement], call: Call<'_>) -> bool {
    decide(allow, &everything(), &[], None).is_some_and(|grant| grant.covers(call))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_grant_is_never_wider_than_any_input(
        policy in statements(World::Aws),
        asked in prop::option::of(statements(World::Aws)),
        same in any::<bool>(),
        ceiling in ceilings(),
        deny in guardrails(),
        calls in calls(),
    ) {
        let asked = if same { asked.map(|_| policy[..1].to_vec()) } else { asked };
        let Some(grant) = decide(&policy, &ceiling, &deny, asked.as_deref()) else { return Ok(()) };
        for call in calls.into_iter().filter(|call| grant.covers(*call)) {
            prop_assert!(alone(&policy, call), "outside the policy: {:?}", call);
            prop_assert!(names(&ceiling, call), "above the ceiling: {:?}", call);
            prop_assert!(!names(&deny, call), "denied: {:?}", call);
            prop_assert!(asked.as_ref().is_none_or(|asked| alone(asked, call)), "not asked for: {:?}", call);
        }
    }

    /// Nothing is lost either: what the asked list allows and no denial names is granted.
    #[test]
    fn a_grant_is_all_that_was_decided(policy in statements(World::Aws), deny in guardrails(), calls in calls()) {
        let Some(grant) = decide(&policy, &everything(), &deny, None) else { return Ok(()) };
        for call in calls {
            prop_assert_eq!(grant.covers(call), alone(&policy, call) && !names(&deny, call), "{:?}", call);
        }
    }

    #[test]
    fn subset_and_overlap_of_lists_hold_for_calls(
        narrow in statements(World::Aws), wide in statements(World::Aws), patterns in guardrails(), calls in calls(),
    ) {
        let (inside, beside) = (subset(Kind::Aws, &narrow, &wide), !overlaps(Kind::Aws, &narrow, &patterns));
        for call in calls.iter().copied().filter(|call| alone(&narrow, *call)) {
            prop_assert!(!inside || alone(&wide, call), "outside: {:?}", call);
            prop_assert!(!beside || !names(&patterns, call), "overlapping: {:?}", call);
        }
        prop_assert!(subset(Kind::Aws, &narrow[..1], &narrow));
        let Some(grant) = decide(&wide, &everything(), &[], None) else { return Ok(()) };
        let apart = !grant.shares(&narrow);
        for call in calls.into_iter().filter(|call| alone(&narrow, *call)) {
            prop_assert!(!apart || !grant.covers(call), "allowed by both: {:?}", call);
        }
        prop_assert!(!inside || !apart, "what is inside shares all of it");
    }

    #[test]
    fn the_digest_knows_no_order_case_or_repetition(policy in statements(World::Aws), deny in guardrails(), seed in any::<u64>()) {
        let Some(grant) = decide(&policy, &everything(), &deny, None) else { return Ok(()) };
        let mut other: Vec<Statement> = policy.iter().chain(&policy[..1]).cloned().collect();
        other.reverse();
        for statement in &mut other {
            let by = usize::try_from(seed % 3).unwrap() % statement.actions.len();
            statement.actions.rotate_left(by);
            statement.actions.push(statement.actions[0].to_ascii_uppercase());
            statement.resources.reverse();
            statement.resources.push(statement.resources[0].clone());
        }
        let mut denied = deny.clone();
        denied.extend(deny.iter().rev().map(|d| d.to_ascii_lowercase()));
        let same = decide(&other, &everything(), &denied, None).unwrap();
        prop_assert_eq!(same.digest(), grant.digest());
        prop_assert_eq!(&grant, &decide(&grant.allow, &everything(), &grant.deny, None).unwrap());
    }

    #[test]
    fn grants_of_kubernetes_are_never_wider_either(
        verbs in prop::collection::vec("(get|list|create|delete) (pods|secrets|pods/log|deployments.apps)", 1..4),
        resources in prop::collection::vec("(agents|other)/(a|b|[*])", 1..3),
        max in prop::collection::vec("(get|list|[*]) (pods|[*]|pods/[*]|[*].apps)", 1..4),
        deny in prop::collection::vec("(delete|[*]) (secrets|[*]/log)", 0..2),
        call in ("(get|list|create|delete) (pods|secrets|pods/log|deployments.apps)", "(agents|other|x)/(a|b|c|)"),
    ) {
        let allow = [Statement { actions: verbs, resources }];
        let input = GrantInput {
            kind: Kind::Kubernetes, principal: "system:serviceaccounts:exeat-grants",
            policy_allow: &allow, max_actions: &max, deny: &deny, narrowing: None,
        };
        let Ok(grant) = grant(input) else { return Ok(()) };
        prop_assert!(grant.deny.is_empty(), "RBAC knows no denials, so none may be left to enforce: {:?}", grant.deny);
        let named = |patterns: &[String]| patterns.iter().any(|p| {
            action::Action::parse(Kind::Kubernetes, action::Role::Guardrail, p).unwrap().covers(&call.0)
        });
        if grant.covers(Call { action: &call.0, resource: &call.1 }) {
            prop_assert!(allow[0].actions.contains(&call.0) && named(&max) && !named(&deny));
            let all = format!("{}/*", call.1.split_once('/').unwrap().0);
            prop_assert!(allow[0].resources.contains(&call.1) || allow[0].resources.contains(&all));
        }
    }
}
