//! A grant as rules of Roles. RBAC only ever allows: what a grant denies can't be written, so a grant whose denials meet what it
//! allows is refused.

use std::collections::{BTreeMap, BTreeSet};

use exeat_crds::reason::Reason;
use exeat_crds::rules::action::{Action, Resource, Role};
use exeat_crds::rules::{Grant, Kind};
use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::ProviderError;

/// Most namespaces in one grant: their names must fit into the handle of a session.
pub const MAX_NAMESPACES: usize = 12;
/// Largest Role, bytes of JSON: a third of what etcd takes by default.
const MAX_ROLE: usize = 512 * 1024;

/// Group and resource as rules write them, and the one name or none.
type Object = (String, String, Option<String>);

/// The rules that allow exactly what the grant allows, by namespace. Equal for equal grants.
///
/// # Errors
/// What can't be read, can't be said in RBAC, or is too large for one session.
pub fn rules_of(grant: &Grant) -> Result<BTreeMap<String, Vec<PolicyRule>>, ProviderError> {
    if grant.kind != Kind::Kubernetes {
        let message = format!("a grant of the kind {} has no rules in RBAC", grant.kind);
        return Err(ProviderError::lasting(Reason::InternalError, message));
    }
    let deny = read_deny(grant)?;
    let mut namespaces: BTreeMap<String, BTreeMap<Object, BTreeSet<String>>> = BTreeMap::new();
    for (s, statement) in grant.allow.iter().enumerate() {
        let actions = read(&statement.actions, |text| Action::parse(Kind::Kubernetes, Role::Allow, text))?;
        let resources = read(&statement.resources, |text| Resource::parse(Kind::Kubernetes, text))?;
        for action in &actions {
            check_denied(action, &deny, s)?;
            for resource in &resources {
                let (Action::Kubernetes(action), Resource::Kubernetes(resource)) = (action, resource) else { continue };
                let name = resource.name().map(str::to_owned);
                let object = (action.group().to_owned(), action.rule_resource(), name);
                let verbs = namespaces.entry(resource.namespace().to_owned()).or_default().entry(object).or_default();
                verbs.insert(action.verb().to_owned());
            }
        }
    }
    if namespaces.len() > MAX_NAMESPACES {
        let message = format!(
            "spec.allow names {} namespaces, one session reaches {MAX_NAMESPACES} at most; write several policies",
            namespaces.len()
        );
        return Err(ProviderError::lasting(Reason::PolicyTooLarge, message));
    }
    namespaces.into_iter().map(|(namespace, objects)| Ok((namespace, sized(merge(objects))?))).collect()
}

fn read<T, E: Into<ReadError>>(
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, ProviderError> {
    texts.iter().map(|text| parse(text).map_err(|e| e.into().0)).collect()
}

struct ReadError(ProviderError);

impl From<exeat_crds::rules::action::PatternError> for ReadError {
    fn from(error: exeat_crds::rules::action::PatternError) -> Self {
        Self(ProviderError::lasting(error.reason(), format!("spec.allow: {error}")))
    }
}

fn read_deny(grant: &Grant) -> Result<Vec<Action>, ProviderError> {
    read(&grant.deny, |text| Action::parse(Kind::Kubernetes, Role::Guardrail, text))
}

fn check_denied(action: &Action, deny: &[Action], statement: usize) -> Result<(), ProviderError> {
    let Some(hit) = deny.iter().find(|deny| action.overlaps(deny)) else { return Ok(()) };
    let message = format!(
        "spec.allow[{statement}]: {:?} meets {:?} in deny of the provider's binding, and RBAC can't take a part of a right away; remove \
         the action, or ask a platform admin to lift the denial",
        action.text(),
        hit.text()
    );
    Err(ProviderError::lasting(Reason::DeniedByGuardrail, message))
}

/// One rule for each set of objects that differ in their names alone.
fn merge(objects: BTreeMap<Object, BTreeSet<String>>) -> Vec<PolicyRule> {
    let mut rules: BTreeMap<(String, String, bool, Vec<String>), Vec<String>> = BTreeMap::new();
    for ((group, resource, name), verbs) in &objects {
        let of_all = name.as_ref().and_then(|_| objects.get(&(group.clone(), resource.clone(), None)));
        let verbs: Vec<String> =
            verbs.iter().filter(|verb| of_all.is_none_or(|of_all| !of_all.contains(*verb))).cloned().collect();
        if !verbs.is_empty() {
            let names = rules.entry((group.clone(), resource.clone(), name.is_some(), verbs)).or_default();
            names.extend(name.clone());
        }
    }
    rules
        .into_iter()
        .map(|((group, resource, named, verbs), names)| PolicyRule {
            api_groups: Some(vec![group]),
            resources: Some(vec![resource]),
            resource_names: named.then_some(names),
            verbs,
            ..PolicyRule::default()
        })
        .collect()
}

fn sized(rules: Vec<PolicyRule>) -> Result<Vec<PolicyRule>, ProviderError> {
    let size = serde_json::to_vec(&rules).map_or(usize::MAX, |json| json.len());
    if size <= MAX_ROLE {
        return Ok(rules);
    }
    let message = "spec.allow makes a Role of more than 512 KiB; name fewer objects, or write several policies";
    Err(ProviderError::lasting(Reason::PolicyTooLarge, message))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
