use super::MAX_PEOPLE;
use crate::duration;
use crate::reason::{Reason, Refused};
use crate::rules::action::{Action, Role};
use crate::rules::{Grant, Kind};
use crate::v1alpha1::{
    AgentCredentialPolicy, ApprovalCeiling, ApprovalRule, ApprovalScope, Binding, RequiredApprovals,
};
use jiff::SignedDuration;
use kube::ResourceExt;
use std::collections::BTreeMap;

const DEFAULT_DEADLINE: SignedDuration = SignedDuration::from_hours(24);
const DEFAULT_VALID_FOR: SignedDuration = SignedDuration::from_hours(24);
const DEFAULT_COOL_DOWN: SignedDuration = SignedDuration::from_hours(1);
const DEFAULT_USES: i32 = 100;
/// A denial is kept, and read at each question, for as long as it stands. The schema has the same bound.
const MAX_COOL_DOWN: SignedDuration = SignedDuration::from_hours(720);
/// People who approve where nobody is known to answer for the workload: one alone could be its author.
const MINIMUM_WITHOUT_OWNER: i32 = 2;

/// All that policy and binding say of approvals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The rules of both.
    pub rules: Vec<Rule>,
    /// The policy's owners.
    pub owners: Vec<String>,
    /// Who changed the policy's spec last, as stamped.
    pub last_editor: Option<String>,
}

/// One rule, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `provider/NAME` or `policy/NAME`.
    pub name: String,
    /// Action patterns.
    pub actions: Vec<String>,
    /// What it asks for.
    pub demand: Demand,
}

/// Whom to ask, and what their yes and their no are good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Who must approve.
    pub required: Vec<RequiredApprovals>,
    /// What one approval counts for.
    pub scope: ApprovalScope,
    /// How long people are asked.
    pub deadline: SignedDuration,
    /// How long an approval may be used.
    pub valid_for: SignedDuration,
    /// How many sessions it may open.
    pub uses: i32,
    /// How long a denial stands.
    pub cool_down: SignedDuration,
}

/// What a grant needs: all rules that it hits, taken together. Of two values the stricter counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Names of the rules.
    pub rules: Vec<String>,
    /// What they ask for together.
    pub demand: Demand,
}

impl Terms {
    /// Reads the rules of a policy and of the binding that serves it.
    ///
    /// # Errors
    /// A rule that can't be read, can't be met, or gives more than the binding's ceiling.
    pub fn read(policy: &AgentCredentialPolicy, binding: &Binding, kind: Kind) -> Result<Self, Refused> {
        let ceiling = binding.approval_ceiling.clone().unwrap_or_default();
        let mut rules = Vec::new();
        for (i, rule) in binding.approval_rules.iter().enumerate() {
            let path = format!("spec.bindings[name={}].approvalRules[{i}] of the provider", binding.name);
            rules.push(read_rule(rule, "provider", &path, kind, &ceiling)?);
        }
        for (i, rule) in policy.spec.approval_rules.iter().enumerate() {
            rules.push(read_rule(rule, "policy", &format!("spec.approvalRules[{i}]"), kind, &ceiling)?);
        }
        let people: i32 = merged(rules.iter().flat_map(|r| &r.demand.required)).iter().map(|r| r.count).sum();
        if usize::try_from(people).unwrap_or(usize::MAX) > MAX_PEOPLE {
            let message = format!(
                "spec.approvalRules: together with the provider's they ask for {people} people, at most {MAX_PEOPLE} can decide; ask for fewer"
            );
            return Err(Refused::new(Reason::ApprovalRuleInvalid, message));
        }
        Ok(Self {
            rules,
            owners: policy.spec.owners.iter().map(|o| o.user.clone()).collect(),
            last_editor: policy.annotations().get(crate::names::LAST_EDITOR).cloned(),
        })
    }

    /// What this grant needs; `None` where no rule is hit.
    pub fn needed(&self, grant: &Grant) -> Option<Needed> {
        let hit: Vec<&Rule> = self.rules.iter().filter(|r| grant.meets(&r.actions)).collect();
        let demands: Vec<&Demand> = hit.iter().map(|r| &r.demand).collect();
        let least = |of: fn(&Demand) -> SignedDuration| demands.iter().map(|d| of(d)).min();
        let scope = match demands.iter().any(|d| d.scope == ApprovalScope::Session) {
            true => ApprovalScope::Session,
            false => ApprovalScope::Workload,
        };
        Some(Needed {
            rules: hit.iter().map(|r| r.name.clone()).collect(),
            demand: Demand {
                required: merged(demands.iter().flat_map(|d| &d.required)),
                scope,
                deadline: least(|d| d.deadline)?,
                valid_for: least(|d| d.valid_for)?,
                uses: if scope == ApprovalScope::Session { 1 } else { demands.iter().map(|d| d.uses).min()? },
                cool_down: demands.iter().map(|d| d.cool_down).max()?,
            },
        })
    }

    /// Who may not approve: who asked, the owners, and who changed the policy last. Sorted, each once.
    pub fn excluded(&self, requester: Option<&str>) -> Vec<String> {
        let mut names: Vec<String> = self.owners.clone();
        names.extend(self.last_editor.clone());
        names.extend(requester.map(str::to_owned));
        names.retain(|n| super::is_person(n));
        names.sort();
        names.dedup();
        names
    }

    /// Least number of distinct people.
    pub fn minimum(&self, needed: &Needed, requester: Option<&str>) -> i32 {
        let sum: i32 = needed.demand.required.iter().map(|r| r.count).sum();
        let known = !self.owners.is_empty() || requester.is_some();
        sum.max(if known { 1 } else { MINIMUM_WITHOUT_OWNER })
    }
}

/// For each group the greatest count.
fn merged<'a>(required: impl Iterator<Item = &'a RequiredApprovals>) -> Vec<RequiredApprovals> {
    let mut groups: BTreeMap<String, i32> = BTreeMap::new();
    for r in required {
        let count = groups.entry(r.group.clone()).or_default();
        *count = r.count.max(*count);
    }
    groups.into_iter().map(|(group, count)| RequiredApprovals { group, count }).collect()
}

fn read_rule(
    rule: &ApprovalRule,
    from: &str,
    path: &str,
    kind: Kind,
    ceiling: &ApprovalCeiling,
) -> Result<Rule, Refused> {
    let invalid =
        |field: &str, message: String| Refused::new(Reason::ApprovalRuleInvalid, format!("{path}.{field}: {message}"));
    for (i, action) in rule.actions.iter().enumerate() {
        Action::parse(kind, Role::Guardrail, action)
            .map_err(|e| Refused::new(e.reason(), format!("{path}.actions[{i}]: {e}")))?;
    }
    if let Some(group) = rule.required.iter().map(|r| &r.group).find(|g| g.starts_with("system:")) {
        return Err(invalid(
            "required",
            format!("{group:?} is a group of the cluster itself and can't approve; name a group of people"),
        ));
    }
    let time = |field: &str, text: &Option<String>, default| match text {
        None => Ok(default),
        Some(text) => duration::parse(text).map_err(|e| invalid(field, e.to_string())),
    };
    let most = ceiling.valid_for.as_deref().map(duration::parse).transpose();
    let most = most.map_err(|e| {
        Refused::new(Reason::ApprovalRuleInvalid, format!("approvalCeiling.validFor of the binding: {e}"))
    })?;
    let demand = Demand {
        required: rule.required.clone(),
        scope: rule.scope,
        deadline: time("deadline", &rule.deadline, DEFAULT_DEADLINE)?,
        valid_for: time("validFor", &rule.valid_for, DEFAULT_VALID_FOR.min(most.unwrap_or(DEFAULT_VALID_FOR)))?,
        uses: rule.uses.unwrap_or(DEFAULT_USES.min(ceiling.uses.unwrap_or(DEFAULT_USES))),
        cool_down: time("coolDown", &rule.cool_down, DEFAULT_COOL_DOWN)?,
    };
    if demand.cool_down > MAX_COOL_DOWN {
        let (has, most) = (duration::format(demand.cool_down), duration::format(MAX_COOL_DOWN));
        return Err(invalid("coolDown", format!("{has} exceeds {most}; lower it")));
    }
    let too_broad = |field: &str, has: String, most: String| {
        let message = format!("{path}.{field}: {has} exceeds the {most} of the binding's approvalCeiling; lower it");
        Err(Refused::new(Reason::ApprovalTooBroad, message))
    };
    match (most, ceiling.uses) {
        (Some(most), _) if demand.valid_for > most => {
            too_broad("validFor", duration::format(demand.valid_for), duration::format(most))
        }
        (_, Some(most)) if demand.uses > most => too_broad("uses", demand.uses.to_string(), most.to_string()),
        _ => Ok(Rule { name: format!("{from}/{}", rule.name), actions: rule.actions.clone(), demand }),
    }
}
