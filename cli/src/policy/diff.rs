//! `policy diff`: what a change newly allows and what it takes away, by the rules and not by the text.

use super::{DiffArgs, kind};
use crate::error::{Error, Exit};
use crate::files;
use crate::output::{Out, Paint, Tone};
use exeat_crds::authority::Principals;
use exeat_crds::rules::{self, Kind, Statement};
use exeat_crds::v1alpha1::{AgentCredentialPolicySpec, ApprovalRule, Delivery, Enforcement, Mode, OnExpiry};
use exeat_crds::{AgentCredentialPolicy, duration};
use serde::Serialize;
use std::collections::BTreeSet;

/// Which way a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Direction {
    /// More is allowed than before, or it can't be told.
    Wider,
    /// Less is allowed.
    Narrower,
    /// Neither.
    Other,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// Which way it goes.
    pub direction: Direction,
    /// What.
    pub text: String,
}

/// The changes between two policies at one kind of provider; wider ones come first.
pub fn changes_of(kind: Kind, old: &AgentCredentialPolicy, new: &AgentCredentialPolicy) -> Vec<Change> {
    let mut found = Vec::new();
    let mut say = |direction, text: String| found.push(Change { direction, text });
    for (from, to, direction, word) in [
        (&old.spec.allow, &new.spec.allow, Direction::Wider, "newly allowed"),
        (&new.spec.allow, &old.spec.allow, Direction::Narrower, "no longer allowed"),
    ] {
        for pair in outside(kind, to, from) {
            say(direction, format!("{word}: {pair}"));
        }
    }
    provider(&old.spec, &new.spec, &mut say);
    principals(old, new, &mut say);
    subjects(&old.spec, &new.spec, &mut say);
    session(&old.spec, &new.spec, &mut say);
    approvals(&old.spec.approval_rules, &new.spec.approval_rules, &mut say);
    ceilings(&old.spec, &new.spec, &mut say);
    found.sort();
    found.dedup();
    found
}

/// Actions on resources of `narrow` that no single statement of `wide` allows.
fn outside(kind: Kind, narrow: &[Statement], wide: &[Statement]) -> Vec<String> {
    let pairs = narrow.iter().flat_map(|s| s.actions.iter().flat_map(|a| s.resources.iter().map(move |r| (a, r))));
    let new = pairs.filter(|(action, resource)| {
        let one = Statement { actions: vec![(*action).clone()], resources: vec![(*resource).clone()] };
        !rules::subset(kind, &[one], wide)
    });
    new.map(|(action, resource)| format!("{action} on {resource}")).collect()
}

fn provider(old: &AgentCredentialPolicySpec, new: &AgentCredentialPolicySpec, say: &mut impl FnMut(Direction, String)) {
    if old.provider_ref != new.provider_ref {
        say(
            Direction::Wider,
            format!("another provider: {} instead of {}", new.provider_ref.name, old.provider_ref.name),
        );
    }
}

/// Of each service account that both cover.
fn principals(old: &AgentCredentialPolicy, new: &AgentCredentialPolicy, say: &mut impl FnMut(Direction, String)) {
    let read = |policy: &AgentCredentialPolicy| {
        Principals::read(&policy.spec, policy.metadata.namespace.as_deref().unwrap_or("default"))
    };
    let (before, after) = match (read(old), read(new)) {
        (Ok(before), Ok(after)) => (before, after),
        (before, after) => {
            for problem in [before.err(), after.err()].into_iter().flatten() {
                say(Direction::Wider, format!("whom an agent acts as can't be told: {}", problem.message));
            }
            return;
        }
    };
    let one = before.distinct().len() == 1 && after.distinct().len() == 1;
    for account in &old.spec.subjects.service_accounts {
        let (Ok(before), Ok(after)) = (before.of(account), after.of(account)) else { continue };
        let whose = if one { String::new() } else { format!(" for service account {account}") };
        if before != after {
            say(Direction::Wider, format!("another principal{whose}: {after} instead of {before}"));
        }
    }
}

fn subjects(old: &AgentCredentialPolicySpec, new: &AgentCredentialPolicySpec, say: &mut impl FnMut(Direction, String)) {
    let set =
        |spec: &AgentCredentialPolicySpec| spec.subjects.service_accounts.iter().cloned().collect::<BTreeSet<_>>();
    for account in set(new).difference(&set(old)) {
        say(Direction::Wider, format!("newly covered service account: {account}"));
    }
    for account in set(old).difference(&set(new)) {
        say(Direction::Narrower, format!("service account no longer covered: {account}"));
    }
    match (&old.subjects.pod_selector, &new.subjects.pod_selector) {
        (Some(_), None) => {
            say(Direction::Wider, "spec.subjects.podSelector is gone: all pods of the accounts are covered".to_owned())
        }
        (None, Some(_)) => say(Direction::Narrower, "spec.subjects.podSelector now narrows the pods".to_owned()),
        (Some(a), Some(b)) if a != b => {
            say(Direction::Wider, "spec.subjects.podSelector selects other pods".to_owned())
        }
        _ => {}
    }
}

fn session(old: &AgentCredentialPolicySpec, new: &AgentCredentialPolicySpec, say: &mut impl FnMut(Direction, String)) {
    let times = [
        ("spec.session.duration", &old.session.duration, &new.session.duration, "8h"),
        ("spec.session.credentialTTL", &old.session.credential_ttl, &new.session.credential_ttl, "30m"),
        (
            "spec.session.offlineGrace",
            &old.session.offline_grace,
            &new.session.offline_grace,
            "until the credential expires",
        ),
    ];
    for (field, before, after, default) in times {
        if before == after {
            continue;
        }
        let read = |text: &Option<String>| duration::parse(text.as_deref().unwrap_or(default)).ok();
        let longer = match (read(before), read(after)) {
            (Some(before), Some(after)) => after > before,
            // Without a grace a sidecar serves the longest.
            _ => after.is_none(),
        };
        let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| default.to_owned());
        say(
            if longer { Direction::Wider } else { Direction::Narrower },
            format!("{field}: {} instead of {}", shown(after), shown(before)),
        );
    }
    if old.session.on_expiry != new.session.on_expiry {
        let direction = if new.session.on_expiry == OnExpiry::Renew { Direction::Wider } else { Direction::Narrower };
        say(
            direction,
            format!("spec.session.onExpiry: {:?} instead of {:?}", new.session.on_expiry, old.session.on_expiry),
        );
    }
}

/// A rule counts as kept where one with the same groups covers all its actions and asks for no fewer people.
fn approvals(old: &[ApprovalRule], new: &[ApprovalRule], say: &mut impl FnMut(Direction, String)) {
    for rule in old.iter().filter(|rule| !new.contains(rule)) {
        let kept = new.iter().any(|other| at_least(other, rule));
        if !kept {
            say(Direction::Wider, format!("approval rule {:?} asks for less, or is gone", rule.name));
        }
    }
    for rule in new.iter().filter(|rule| !old.contains(rule) && !old.iter().any(|other| at_least(other, rule))) {
        say(Direction::Narrower, format!("approval rule {:?} asks for more, or is new", rule.name));
    }
}

fn at_least(strict: &ApprovalRule, rule: &ApprovalRule) -> bool {
    let same = |rule: &ApprovalRule| {
        let mut rule = rule.clone();
        (rule.name, rule.actions, rule.required) = (String::new(), Vec::new(), Vec::new());
        rule
    };
    rule.actions.iter().all(|action| strict.actions.contains(action))
        && rule.required.iter().all(|r| strict.required.iter().any(|s| s.group == r.group && s.count >= r.count))
        && same(strict) == same(rule)
}

fn ceilings(old: &AgentCredentialPolicySpec, new: &AgentCredentialPolicySpec, say: &mut impl FnMut(Direction, String)) {
    let gone = |was: bool, is: bool| if was && !is { Direction::Wider } else { Direction::Other };
    if old.limits != new.limits {
        say(gone(old.limits.is_some(), new.limits.is_some()), "spec.limits changed".to_owned());
    }
    if old.budget != new.budget {
        say(gone(old.budget.is_some(), new.budget.is_some()), "spec.budget changed".to_owned());
    }
    if old.owners != new.owners {
        let dropped = old.owners.iter().any(|owner| !new.owners.contains(owner));
        say(
            if dropped { Direction::Wider } else { Direction::Narrower },
            "spec.owners changed: owners may not approve".to_owned(),
        );
    }
    if old.delivery != new.delivery {
        let direction = if new.delivery == Delivery::Metadata { Direction::Wider } else { Direction::Narrower };
        say(direction, format!("spec.delivery: {:?} instead of {:?}", new.delivery, old.delivery));
    }
    if old.mode != new.mode {
        let direction = if new.mode == Mode::Observe { Direction::Wider } else { Direction::Narrower };
        say(direction, format!("spec.mode: {:?} instead of {:?}", new.mode, old.mode));
    }
    if old.accept_enforcement != new.accept_enforcement {
        let weak = new.accept_enforcement == Some(Enforcement::PrincipalOnly);
        say(if weak { Direction::Wider } else { Direction::Narrower }, "spec.acceptEnforcement changed".to_owned());
    }
}

/// `policy diff`.
///
/// # Errors
/// A file that can't be read, or policies of which it can't be told how their actions are to be read.
pub fn run(args: &DiffArgs, out: &mut Out<'_>) -> Result<Exit, Error> {
    let (old, new) = (files::policy(&args.old)?, files::policy(&args.new)?);
    let providers = args.provider.as_deref().map(files::providers).transpose()?;
    let found = changes_of(kind::of(&old, &new, providers.as_deref())?, &old, &new);
    if out.is_data() {
        out.data(&found)?;
    } else if found.is_empty() {
        out.text("Both allow the same.\n")?;
    }
    let shown: &[Change] = if out.is_data() { &[] } else { &found };
    for line in lines(shown, out.paint) {
        out.text(&line)?;
    }
    let wider = found.iter().any(|change| change.direction == Direction::Wider);
    Ok(if wider && args.fail_if_wider { Exit::Denied } else { Exit::Done })
}

/// A line for each change.
pub fn lines(changes: &[Change], paint: Paint) -> Vec<String> {
    let line = |change: &Change| {
        let (sign, tone) = match change.direction {
            Direction::Wider => ("+ wider   ", Tone::Bad),
            Direction::Narrower => ("- narrower", Tone::Good),
            Direction::Other => ("~ changed ", Tone::Warn),
        };
        format!("{}  {}\n", paint.on(tone, sign), exeat_crds::text::strip_hidden(&change.text))
    };
    changes.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::call::tests::policy;
    use exeat_crds::v1alpha1::PrincipalMapping;
    use serde_json::{Value, json};

    fn changed(patch: impl FnOnce(&mut AgentCredentialPolicySpec)) -> Vec<(Direction, String)> {
        let mut new = policy();
        patch(&mut new.spec);
        changes_of(Kind::Aws, &policy(), &new).into_iter().map(|c| (c.direction, c.text)).collect()
    }

    #[test]
    fn the_same_in_other_words_is_no_change() {
        let found = changed(|spec| {
            spec.allow.reverse();
            spec.allow[0].actions.push("s3:GetObject".into());
            spec.allow[1].resources.push("arn:aws:s3:::reports".into());
        });
        assert_eq!(found, []);
    }

    #[test]
    fn pairs_are_compared_and_not_two_lists() {
        let found = changed(|spec| {
            spec.allow = serde_json::from_value::<Vec<Statement>>(json!([
                {"actions": ["s3:ListBucket", "s3:GetObject"], "resources": ["arn:aws:s3:::reports", "arn:aws:s3:::reports/2026/*"]}
            ]))
            .unwrap();
        });
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "newly allowed: s3:GetObject on arn:aws:s3:::reports",
                "newly allowed: s3:ListBucket on arn:aws:s3:::reports/2026/*",
                "no longer allowed: s3:Get* on arn:aws:s3:::reports/*"
            ]
        );
    }

    #[test]
    fn whatever_else_widens_is_told() {
        let rule = |count: i32| -> Value {
            json!({"name": "w", "actions": ["s3:Put*"], "required": [{"group": "security", "count": count}]})
        };
        let mut old = policy();
        old.spec.approval_rules = vec![serde_json::from_value(rule(2)).unwrap()];
        old.spec.subjects.pod_selector = Some(Default::default());
        let mut new = old.clone();
        new.spec.approval_rules = vec![serde_json::from_value(rule(1)).unwrap()];
        new.spec.subjects.pod_selector = None;
        new.spec.subjects.service_accounts.push("other".into());
        new.spec.session.duration = Some("12h".into());
        new.spec.principal = "arn:aws:iam::123456789012:role/agents/agents/admin".into();
        let found = changes_of(Kind::Aws, &old, &new);
        assert_eq!(found.iter().filter(|c| c.direction == Direction::Wider).count(), 5, "{found:?}");
        let back = changes_of(Kind::Aws, &new, &old);
        let wider: Vec<_> = back.iter().filter(|c| c.direction == Direction::Wider).collect();
        assert_eq!(wider.len(), 1, "another principal may be anything: {wider:?}");
        let mapped = changed(|spec| {
            spec.principal_mappings = vec![PrincipalMapping {
                service_account: "report-agent".into(),
                principal: "arn:aws:iam::123456789012:role/agents/${namespace}/audit".into(),
            }];
        });
        assert_eq!(mapped.len(), 1, "{mapped:?}");
        assert!(
            mapped[0].0 == Direction::Wider && mapped[0].1.contains(":role/agents/agents/audit instead of"),
            "{mapped:?}"
        );
        let same =
            changed(|spec| spec.principal = "arn:aws:iam::123456789012:role/agents/${namespace}/report-writer".into());
        assert_eq!(same, [], "the same principal in other words");
        let shorter = changed(|spec| spec.session.duration = Some("1h".into()));
        assert_eq!(shorter, [(Direction::Narrower, "spec.session.duration: 1h instead of 8h".to_owned())]);
    }
}
