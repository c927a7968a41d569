//! The grant: `policy ∩ guardrails ∩ narrowing`, where nothing is narrowed in silence. What a policy allows must be inside the
//! binding's ceiling, what a pod asks for inside the policy; the binding's deny list travels with the grant and always wins.

use super::action::{Action, Kind, Resource, Role};
use super::names;
use super::statement::{self, GrantError, Read, Statement};
use crate::digest;
use crate::reason::Reason;
use serde::{Deserialize, Serialize};

pub(super) const POLICY: &str = "spec.allow";
pub(super) const CEILING: &str = "spec.bindings[].maxActions";
pub(super) const DENY: &str = "spec.bindings[].deny";
const NARROWING: &str = "metadata.annotations[exeat.dev/allow]";

/// All that decides a grant.
#[derive(Clone, Copy, Debug)]
pub struct GrantInput<'a> {
    /// The provider's kind.
    pub kind: Kind,
    /// The identity that is assumed.
    pub principal: &'a str,
    /// `spec.allow` of the policy.
    pub policy_allow: &'a [Statement],
    /// `maxActions` of the binding. Empty: nothing may be allowed.
    pub max_actions: &'a [String],
    /// `deny` of the binding.
    pub deny: &'a [String],
    /// What the pod asks for instead of all that the policy allows.
    pub narrowing: Option<&'a [Statement]>,
}

/// What is handed out. Always normalised: sorted, each item once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The provider's kind.
    pub kind: Kind,
    /// The identity that is assumed.
    pub principal: String,
    /// What may be done.
    pub allow: Vec<Statement>,
    /// Those of the binding's deny patterns that could meet what is allowed. They win.
    pub deny: Vec<String>,
    /// Whether it is that of a policy in mode Observe ([`super::observe`]): what is allowed is written as guardrails are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe: bool,
}

/// One call to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// For instance `s3:GetObject`, `get pods`, `read` or `Microsoft.Storage/storageAccounts/read`.
    pub action: &'a str,
    /// AWS: the resource's ARN, or `*` for an action that has none. Kubernetes: `namespace/name`, or `namespace/` where the call carries no name.
    /// Vault: the path. Azure: what the token is for. Google Cloud: `projects/_/buckets/reports/objects/a`, `audience/…` or another name.
    pub resource: &'a str,
}

/// Decides what is handed out.
///
/// # Errors
/// The first thing that can't be read, is outside its ceiling, or is denied altogether, with the field and the fix.
pub fn grant(input: GrantInput<'_>) -> Result<Grant, GrantError> {
    let GrantInput { kind, principal, .. } = input;
    names::validate_principal(kind, principal)
        .map_err(|e| GrantError::new(Reason::PrincipalInvalid, "spec.principal", e.problem, e.fix))?;
    let ceiling = statement::read_guardrail(kind, input.max_actions, CEILING)?;
    let deny = statement::read_guardrail(kind, input.deny, DENY)?;
    let policy = statement::read(kind, input.policy_allow, POLICY)?;
    check_ceiling(&policy, &ceiling)?;
    check_denied(&policy, &deny, POLICY)?;
    let asked = match input.narrowing {
        None => policy,
        Some(narrowing) => {
            let asked = statement::read(kind, narrowing, NARROWING)?;
            check_narrowing(&asked, &policy)?;
            check_denied(&asked, &deny, NARROWING)?;
            asked
        }
    };
    Ok(normalise(kind, principal, &asked, &deny))
}

fn check_ceiling(policy: &[Read], ceiling: &[Action]) -> Result<(), GrantError> {
    for (s, statement) in policy.iter().enumerate() {
        for (a, action) in statement.actions.iter().enumerate() {
            let open = |resource: &&Resource| !ceiling.iter().any(|max| action.within(max, resource));
            if let Some(resource) = statement.resources.iter().find(open) {
                return Err(GrantError::new(
                    Reason::ActionNotAllowed,
                    format!("{POLICY}[{s}].actions[{a}]"),
                    format!("{} is not within {CEILING} of the provider ({})", shown(action, resource), list(ceiling)),
                    "narrow or remove it, or ask a platform admin to raise the ceiling",
                ));
            }
        }
    }
    Ok(())
}

fn check_denied(asked: &[Read], deny: &[Action], path: &str) -> Result<(), GrantError> {
    for (s, statement) in asked.iter().enumerate() {
        for (a, action) in statement.actions.iter().enumerate() {
            let hit = |resource: &Resource| deny.iter().find(|deny| action.within(deny, resource));
            if let Some((resource, hit)) = statement.resources.iter().find_map(|r| Some((r, hit(r)?))) {
                return Err(GrantError::new(
                    Reason::DeniedByGuardrail,
                    format!("{path}[{s}].actions[{a}]"),
                    format!(
                        "{} is denied altogether by {:?} in {DENY} of the provider",
                        shown(action, resource),
                        hit.text()
                    ),
                    "remove it, or ask a platform admin to lift the denial",
                ));
            }
        }
    }
    Ok(())
}

fn check_narrowing(asked: &[Read], policy: &[Read]) -> Result<(), GrantError> {
    let Some((s, a, r)) = statement::first_outside(asked, policy) else { return Ok(()) };
    let (action, resource) = (&asked[s].actions[a], &asked[s].resources[r]);
    Err(GrantError::new(
        Reason::NarrowingTooWide,
        format!("{NARROWING}[{s}]"),
        format!("{:?} on {:?} is not within one statement of the policy's {POLICY}", action.text(), resource.text()),
        "ask for less, or for exactly what one statement of the policy allows",
    ))
}

/// Where guardrails may name a place, it is shown.
fn shown(action: &Action, resource: &Resource) -> String {
    match action {
        Action::Vault(_) => format!("{:?} on {:?}", action.text(), resource.text()),
        _ => format!("{:?}", action.text()),
    }
}

fn list(patterns: &[Action]) -> String {
    const SHOWN: usize = 8;
    if patterns.is_empty() {
        return "it is empty".to_owned();
    }
    let mut text = patterns.iter().take(SHOWN).map(Action::text).collect::<Vec<_>>().join(", ");
    if patterns.len() > SHOWN {
        text.push_str(", …");
    }
    text
}

pub(super) fn normalise(kind: Kind, principal: &str, asked: &[Read], deny: &[Action]) -> Grant {
    let mut allow: Vec<Statement> = asked.iter().map(Read::normalised).collect();
    allow.sort_by_key(|statement| canonical(kind, statement));
    allow.dedup_by_key(|statement| canonical(kind, statement));
    let mut deny: Vec<(String, String)> = deny
        .iter()
        .filter(|deny| asked.iter().any(|statement| statement.meets(deny)))
        .map(|deny| (deny.key(), deny.text()))
        .collect();
    deny.sort();
    deny.dedup_by(|a, b| a.0 == b.0);
    let deny = deny.into_iter().map(|(_, text)| text).collect();
    Grant { kind, principal: principal.to_owned(), allow, deny, observe: false }
}

/// A statement of a grant without what has no meaning.
fn canonical(kind: Kind, statement: &Statement) -> Statement {
    Statement {
        actions: statement.actions.iter().map(|action| folded(kind, action)).collect(),
        resources: statement.resources.clone(),
    }
}

impl Grant {
    /// SHA-256 in hex of the canonical JSON: equal for equal grants, whatever order, case or repetition they were written in.
    pub fn digest(&self) -> String {
        digest::of(&Self {
            kind: self.kind,
            principal: self.principal.clone(),
            allow: self.allow.iter().map(|statement| canonical(self.kind, statement)).collect(),
            deny: self.deny.iter().map(|d| folded(self.kind, d)).collect(),
            observe: self.observe,
        })
    }

    /// Whether this one call is allowed: a statement names it and no deny pattern does. What can't be read allows nothing.
    pub fn covers(&self, call: Call<'_>) -> bool {
        covers(self, call)
    }

    /// Whether one of a guardrail's patterns names something that is allowed. Never `false` wrongly; what can't be read is met.
    pub fn meets(&self, patterns: &[String]) -> bool {
        let allow = statement::read_as(self.kind, self.role(), &self.allow, POLICY);
        match (allow, statement::read_guardrail(self.kind, patterns, "")) {
            (Ok(allow), Ok(patterns)) => allow.iter().any(|s| patterns.iter().any(|pattern| s.meets(pattern))),
            _ => true,
        }
    }

    /// Whether a list in the words of this grant allows something that is allowed here. Never `false` wrongly; what can't be read does.
    pub fn shares(&self, allow: &[Statement]) -> bool {
        let read = |allow| statement::read_as(self.kind, self.role(), allow, POLICY);
        match (read(&self.allow), read(allow)) {
            (Ok(own), Ok(other)) => own.iter().any(|a| other.iter().any(|b| a.shares(b))),
            _ => true,
        }
    }

    /// In whose words `allow` is written.
    pub(crate) fn role(&self) -> Role {
        if self.observe { Role::Guardrail } else { Role::Allow }
    }
}

/// A pattern without what has no meaning: paths of Vault and permissions of Google tell capitals apart. Actions of Kubernetes are lower case already.
fn folded(kind: Kind, pattern: &str) -> String {
    match kind {
        Kind::Vault | Kind::Gcp => pattern.to_owned(),
        Kind::Aws | Kind::Azure | Kind::Kubernetes => pattern.to_ascii_lowercase(),
    }
}

/// Whether a grant allows this one call. See [`Grant::covers`].
pub fn covers(grant: &Grant, call: Call<'_>) -> bool {
    let Ok(allow) = statement::read_as(grant.kind, grant.role(), &grant.allow, POLICY) else { return false };
    let Ok(deny) = statement::read_guardrail(grant.kind, &grant.deny, DENY) else { return false };
    is_call(grant.kind, call.action)
        && !deny.iter().any(|deny| deny.covers_on(call.action, call.resource))
        && allow.iter().any(|statement| {
            statement.actions.iter().any(|action| action.covers(call.action))
                && statement.resources.iter().any(|resource| resource.covers(call.resource))
        })
}

/// A call names one action: its text is an action without wildcards, and at Vault without a path.
fn is_call(kind: Kind, action: &str) -> bool {
    let role = if kind == Kind::Vault { Role::Allow } else { Role::Guardrail };
    !action.contains(['*', '?']) && Action::parse(kind, role, action).is_ok()
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
