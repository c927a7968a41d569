//! A grant as Google enforces it: a Credential Access Boundary that a session's access token is held to, and the audiences of its identity
//! tokens.
//!
//! A boundary holds for Cloud Storage alone, and it takes roles: what is allowed on a bucket must be what a predefined role is for, or a
//! custom role. Anything else can't be narrowed below its principal. Each bucket and role is one rule; its places are one condition, which
//! names objects by the beginning of their names and a listing by the prefix that it asks for.

pub mod roles;

use super::action::gcp::{Action, IDENTITY_TOKEN, LIST, Target};
use super::action::{self, Resource, Role as Author};
use super::statement::{self, GrantError, Read};
use super::{Grant, Kind, Statement};
use crate::reason::Reason;
use crate::v1alpha1::Enforcement;
use roles::{ROLES, Role};
use serde::Serialize;
use std::collections::BTreeMap;

/// Most rules in a boundary (Security Token Service, AccessBoundary).
pub const MAX_RULES: usize = 10;
/// Most characters of a boundary (Security Token Service, Options).
pub const MAX_BOUNDARY: usize = 2048;
/// Most audiences: each costs a call at each renewal.
pub const MAX_AUDIENCES: usize = 4;

const FIELD: &str = "spec.allow";
const BUCKET: &str = "//storage.googleapis.com/projects/_/buckets/";

/// What is asked of Google for a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whether there is an access token at all: not where identity tokens are all that is allowed.
    pub access: bool,
    /// The boundary of the access token, as the token exchange takes it in `options`. `None`: it is as wide as its principal.
    pub boundary: Option<String>,
    /// Whom identity tokens are for.
    pub audiences: Vec<String>,
}

/// Who holds a list of statements to what it says.
pub fn enforcement(allow: &[Statement]) -> Enforcement {
    let narrow = statement::read(Kind::Gcp, allow, FIELD).is_ok_and(|all| all.iter().all(is_narrow));
    if narrow { Enforcement::Provider } else { Enforcement::PrincipalOnly }
}

/// Whether a list of statements gives identity tokens, which live for an hour whatever is asked for.
pub fn gives_identity_tokens(allow: &[Statement]) -> bool {
    allow.iter().any(|statement| statement.actions.iter().any(|action| action == IDENTITY_TOKEN))
}

/// What goes along with the roles of a boundary although it is not allowed: the role, and its further permissions.
pub fn company(grant: &Grant) -> Vec<(&'static str, Vec<&'static str>)> {
    let Ok(statements) = statement::read(Kind::Gcp, &grant.allow, FIELD) else { return Vec::new() };
    if !statements.iter().all(is_narrow) {
        return Vec::new();
    }
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for statement in &statements {
        let permissions = permissions(statement, &grant.deny);
        let Some(role) = role_of(&permissions) else { continue };
        let more: Vec<&str> = role.also.iter().copied().filter(|also| !permissions.iter().any(|p| p == also)).collect();
        if !more.is_empty() && !found.iter().any(|(name, _)| *name == role.name) {
            found.push((role.name, more));
        }
    }
    found
}

/// What to ask of Google. `deny` are all denials of the binding.
///
/// # Errors
/// What can't be held to, and the fix.
pub fn order(grant: &Grant, deny: &[String]) -> Result<Order, GrantError> {
    let statements = statement::read(Kind::Gcp, &grant.allow, FIELD)?;
    let audiences = audiences(&statements)?;
    let access = statements.iter().any(|s| !is_identity(s));
    if !access {
        return Ok(Order { access, boundary: None, audiences });
    }
    check_opaque(&statements, &grant.deny)?;
    if !statements.iter().all(is_narrow) {
        return match grant.deny.first() {
            None => Ok(Order { access, boundary: None, audiences }),
            Some(pattern) => Err(error(
                Reason::EnforcementTooWeak,
                format!(
                    "spec.bindings[].deny names {pattern:?}, which is part of what is allowed, and nothing narrower than the principal is enforced"
                ),
                "allow actions that are not denied one by one",
            )),
        };
    }
    check_company(grant, deny)?;
    boundary(&statements, &grant.deny).map(|boundary| Order { access, boundary: Some(boundary), audiences })
}

fn error(reason: Reason, problem: impl Into<String>, fix: impl Into<String>) -> GrantError {
    GrantError::new(reason, FIELD, problem, fix)
}

fn gcp_actions(statement: &Read) -> impl Iterator<Item = &Action> {
    statement.actions.iter().filter_map(|action| match action {
        action::Action::Gcp(action) => Some(action),
        _ => None,
    })
}

fn targets(statement: &Read) -> impl Iterator<Item = &Target> {
    statement.resources.iter().filter_map(|resource| match resource {
        Resource::Gcp(resource) => Some(resource.target()),
        _ => None,
    })
}

fn is_identity(statement: &Read) -> bool {
    gcp_actions(statement).all(|action| action.text() == IDENTITY_TOKEN)
}

/// Whether Google itself holds a token to this statement: its actions are those of Cloud Storage on buckets, or identity tokens.
fn is_narrow(statement: &Read) -> bool {
    is_identity(statement) || targets(statement).all(|t| matches!(t, Target::Bucket(_) | Target::Objects { .. }))
}

fn audiences(statements: &[Read]) -> Result<Vec<String>, GrantError> {
    let mut all: Vec<String> = statements
        .iter()
        .flat_map(targets)
        .filter_map(|target| match target {
            Target::Audience(audience) => Some(audience.clone()),
            _ => None,
        })
        .collect();
    all.sort();
    all.dedup();
    if all.len() <= MAX_AUDIENCES {
        return Ok(all);
    }
    let problem = format!("it names {} audiences, at most {MAX_AUDIENCES} are taken", all.len());
    Err(error(Reason::PolicyTooLarge, problem, "write several policies"))
}

/// A custom role may hold what is denied, and nobody here knows.
fn check_opaque(statements: &[Read], deny: &[String]) -> Result<(), GrantError> {
    let role = statements.iter().flat_map(gcp_actions).find_map(Action::custom_role);
    let (Some(role), Some(pattern)) = (role, deny.first()) else { return Ok(()) };
    Err(error(
        Reason::DeniedByGuardrail,
        format!("{role:?} may hold what {pattern:?} in spec.bindings[].deny of the provider denies"),
        "allow permissions instead, or ask a platform admin for a provider whose deny list is empty",
    ))
}

/// A denial always wins, also over what only goes along with a role.
fn check_company(grant: &Grant, deny: &[String]) -> Result<(), GrantError> {
    for (role, more) in company(grant) {
        for pattern in deny {
            let Ok(read) = action::Action::parse(Kind::Gcp, Author::Guardrail, pattern) else { continue };
            if let Some(permission) = more.iter().find(|permission| read.covers(permission)) {
                return Err(error(
                    Reason::DeniedByGuardrail,
                    format!(
                        "{role} gives {permission} too, which {pattern:?} in spec.bindings[].deny of the provider denies"
                    ),
                    "allow what a smaller role is for, or use a custom role under a provider without that denial",
                ));
            }
        }
    }
    Ok(())
}

/// The known permissions that a statement names and nothing denies, and those that are unknown here as they are written.
fn permissions(statement: &Read, deny: &[String]) -> Vec<String> {
    let denied: Vec<action::Action> =
        deny.iter().filter_map(|text| action::Action::parse(Kind::Gcp, Author::Guardrail, text).ok()).collect();
    let mut named = Vec::new();
    for action in gcp_actions(statement).filter(|action| action.custom_role().is_none()) {
        let before = named.len();
        named.extend(roles::known().filter(|known| action.covers(known)).map(str::to_owned));
        if named.len() == before {
            named.push(action.text());
        }
    }
    named.retain(|permission| !denied.iter().any(|deny| deny.covers(permission)));
    named.sort();
    named.dedup();
    named
}

/// The role that is for exactly this.
fn role_of(permissions: &[String]) -> Option<&'static Role> {
    ROLES.iter().find(|role| {
        role.core.iter().all(|core| permissions.iter().any(|p| p == core))
            && permissions.iter().all(|permission| role.holds(permission))
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    access_boundary: Boundary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Boundary {
    access_boundary_rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    available_resource: String,
    available_permissions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    availability_condition: Option<Condition>,
}

#[derive(Serialize)]
struct Condition {
    expression: String,
}

/// The conditions of one bucket and role: `None` where there is none.
type Places = BTreeMap<(String, String), Option<Vec<String>>>;

fn boundary(statements: &[Read], deny: &[String]) -> Result<String, GrantError> {
    let mut places = Places::new();
    for statement in statements.iter().filter(|statement| !is_identity(statement)) {
        let permissions = permissions(statement, deny);
        let mut held: Vec<(String, bool, bool)> =
            gcp_actions(statement).filter_map(Action::custom_role).map(|role| (role.to_owned(), true, true)).collect();
        if !permissions.is_empty() || held.is_empty() {
            let role = role_of(&permissions).ok_or_else(|| no_role(&permissions))?;
            held.push((format!("inRole:{}", role.name), role.holds(LIST), false));
        }
        for target in targets(statement) {
            for (role, lists, custom) in &held {
                add(&mut places, target, role, *lists, *custom);
            }
        }
    }
    let rules: Vec<Rule> = places
        .into_iter()
        .map(|((bucket, role), clauses)| Rule {
            available_resource: format!("{BUCKET}{bucket}"),
            available_permissions: vec![role],
            availability_condition: clauses.map(|clauses| Condition { expression: clauses.join(" || ") }),
        })
        .collect();
    written(rules)
}

/// Adds one place of a role. `custom`: its permissions are not known, so nothing of the bucket itself may slip in.
fn add(places: &mut Places, target: &Target, role: &str, lists: bool, custom: bool) {
    let (bucket, clauses) = match target {
        Target::Bucket(bucket) => (bucket, Some(vec![format!("resource.name == 'projects/_/buckets/{bucket}'")])),
        Target::Objects { bucket, name, open: false } => {
            (bucket, Some(vec![format!("resource.name == 'projects/_/buckets/{bucket}/objects/{name}'")]))
        }
        Target::Objects { bucket, name, .. } if name.is_empty() && !custom => (bucket, None),
        Target::Objects { bucket, name, .. } => {
            let mut clauses = vec![format!("resource.name.startsWith('projects/_/buckets/{bucket}/objects/{name}')")];
            if lists && !name.is_empty() {
                clauses.push(format!(
                    "api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('{name}')"
                ));
            }
            (bucket, Some(clauses))
        }
        Target::Audience(_) | Target::Other => return,
    };
    let known = places.entry((bucket.clone(), role.to_owned())).or_insert_with(|| Some(Vec::new()));
    match (known.as_mut(), clauses) {
        (Some(known), Some(clauses)) => {
            for clause in clauses {
                if !known.contains(&clause) {
                    known.push(clause);
                }
            }
        }
        _ => *known = None,
    }
}

fn no_role(permissions: &[String]) -> GrantError {
    let known: Vec<String> = ROLES.iter().map(|role| role.core.join(" + ")).collect();
    error(
        Reason::ActionInvalid,
        format!(
            "no role of Cloud Storage is for exactly {}, and Google narrows a token by roles only",
            if permissions.is_empty() { "nothing".to_owned() } else { permissions.join(" + ") }
        ),
        format!(
            "allow one of these together: {}; or a custom role: inRole:projects/<project>/roles/<name>",
            known.join("; ")
        ),
    )
}

fn written(rules: Vec<Rule>) -> Result<String, GrantError> {
    let fix = "use fewer buckets, or fewer or shorter prefixes, or several policies";
    if rules.len() > MAX_RULES {
        let problem = format!(
            "it needs {} rules of a boundary, one for each bucket and role, and Google takes {MAX_RULES}",
            rules.len()
        );
        return Err(error(Reason::PolicyTooLarge, problem, fix));
    }
    let options = Options { access_boundary: Boundary { access_boundary_rules: rules } };
    let text = serde_json::to_string(&options)
        .map_err(|e| error(Reason::InternalError, format!("the boundary can't be written: {e}"), "report it"))?;
    if text.len() > MAX_BOUNDARY {
        let problem = format!("its boundary is {} characters long, and Google takes {MAX_BOUNDARY}", text.len());
        return Err(error(Reason::PolicyTooLarge, problem, fix));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
