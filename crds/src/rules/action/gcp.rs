//! Google Cloud. An action is a permission, `service.resource.verb`, as IAM writes it; its case has a meaning. What is allowed may end in a
//! pattern of verbs (`storage.objects.*`); in guardrails `*` is a wildcard anywhere, and alone means every action.
//!
//! `inRole:projects/<project>/roles/<name>` (or `organizations/<number>/roles/<name>`) is a custom role, whose permissions are not known here:
//! it is inside of no permission, and may hold any.
//!
//! A resource of what is allowed is one of
//!
//! - `projects/_/buckets/<bucket>`, a bucket itself, or `projects/_/buckets/<bucket>/objects/<name>`, objects in it: names as IAM's conditions
//!   write them;
//! - `audience/<audience>`, for `iam.serviceAccounts.getOpenIdToken`: whom an identity token may be for;
//! - `*`, or a name below `projects/`, `folders/` or `organizations/`, for all other services. Nothing there is narrower than the principal.
//!
//! A `*` at the end begins whatever follows, slashes too. Buckets and audiences are literal.

use super::{MAX_ACTION, MAX_RESOURCE, PatternError, Role};
use crate::rules::glob::{Case, Pattern};

/// The action by which identity tokens are made.
pub const IDENTITY_TOKEN: &str = "iam.serviceAccounts.getOpenIdToken";
/// The action by which objects are listed: it is judged by the prefix that is asked for.
pub const LIST: &str = "storage.objects.list";
const ROLE: &str = "inRole:";
const BUCKETS: &str = "projects/_/buckets/";
const OBJECTS: &str = "/objects/";
const AUDIENCE: &str = "audience/";
/// What would outlive a session, or escape it.
const CHAINING: [&str; 6] = [
    "iam.serviceAccounts.getAccessToken",
    "iam.serviceAccounts.implicitDelegation",
    "iam.serviceAccounts.signBlob",
    "iam.serviceAccounts.signJwt",
    "iam.serviceAccounts.actAs",
    "iam.serviceAccountKeys.create",
];

/// A permission or a custom role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    text: String,
    /// Of the permission, or of the role's name.
    pattern: Pattern,
    is_role: bool,
}

impl Action {
    /// Reads an action.
    ///
    /// # Errors
    /// What is wrong with it in this role, and the fix.
    pub fn parse(role: Role, text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_ACTION {
            return Err(PatternError::action("it is too long", format!("use at most {MAX_ACTION} characters")));
        }
        match text.strip_prefix(ROLE) {
            Some(name) => Self::parse_role(role, text, name),
            None => Self::parse_permission(role, text),
        }
    }

    fn parse_role(role: Role, text: &str, name: &str) -> Result<Self, PatternError> {
        const FIX: &str = "write inRole:projects/<project>/roles/<name> or inRole:organizations/<number>/roles/<name>";
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
        let valid = match role {
            Role::Guardrail => !name.is_empty() && name.chars().all(|c| plain(c) || c == '*'),
            Role::Allow => {
                let parts: Vec<&str> = name.split('/').collect();
                matches!(parts.as_slice(), ["projects" | "organizations", owner, "roles", own] if !owner.is_empty() && !own.is_empty())
                    && name.chars().all(plain)
            }
        };
        if valid {
            return Ok(Self { text: text.to_owned(), pattern: Pattern::glob(name, Case::Sensitive), is_role: true });
        }
        let fix = if name.starts_with("roles/") {
            "write the permissions of a predefined role: storage.objects.get, storage.objects.list"
        } else {
            FIX
        };
        Err(PatternError::action(format!("{name:?} is no custom role"), fix))
    }

    fn parse_permission(role: Role, text: &str) -> Result<Self, PatternError> {
        let own = Self { text: text.to_owned(), pattern: Pattern::glob(text, Case::Sensitive), is_role: false };
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if role == Role::Guardrail && text.contains('*') {
            if text.chars().all(|c| word(c) || matches!(c, '.' | '*')) {
                return Ok(own);
            }
            return Err(PatternError::action(
                format!("{text:?} is no pattern of permissions"),
                "write service.resource.verb with * as wildcard: storage.objects.*",
            ));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [service, resource, verb] = parts.as_slice() else {
            return Err(PatternError::action(
                format!("{text:?} is no permission"),
                "write service.resource.verb as IAM does: storage.objects.get",
            ));
        };
        let literal = |part: &str| !part.is_empty() && part.chars().all(word);
        let stem = if role == Role::Allow { verb.strip_suffix('*').unwrap_or(verb) } else { verb };
        let open = stem.len() < verb.len();
        if !literal(service) || !literal(resource) || !(literal(stem) || open && stem.is_empty()) {
            return Err(PatternError::action(
                format!("{text:?} is no permission, or a pattern wider than one kind of resource"),
                "write service.resource.verb, with * at the end of the verb at most: storage.objects.*",
            ));
        }
        if role == Role::Allow && CHAINING.iter().any(|chain| own.pattern.matches(chain)) {
            return Err(PatternError::action(
                format!("{text:?} lets the agent act as a service account beyond its session"),
                "remove it; for another service account, write another policy",
            ));
        }
        Ok(own)
    }

    /// As written.
    pub fn text(&self) -> String {
        self.text.clone()
    }

    /// The custom role as a boundary names it.
    pub fn custom_role(&self) -> Option<&str> {
        self.is_role.then_some(self.text.as_str())
    }

    /// The service of a permission.
    pub fn service(&self) -> Option<&str> {
        if self.is_role { None } else { self.text.split('.').next() }
    }

    /// Whether this call, a permission or a custom role, is named.
    pub fn covers(&self, call: &str) -> bool {
        match call.strip_prefix(ROLE) {
            Some(name) if self.is_role => self.pattern.matches(name),
            Some(_) => self.is_all(),
            None => !self.is_role && self.pattern.matches(call),
        }
    }

    /// Whether all that this names is named by `wide` too. Never `true` wrongly.
    pub fn subset(&self, wide: &Self) -> bool {
        if wide.is_all() {
            return true;
        }
        self.is_role == wide.is_role && self.pattern.subset(&wide.pattern)
    }

    /// Whether something is named by both. Never `false` wrongly: a custom role may hold any permission.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.is_role != other.is_role || self.pattern.overlaps(&other.pattern)
    }

    /// Whether the guardrail names something of this. One that names roles says nothing of permissions.
    pub(super) fn meets(&self, guardrail: &Self) -> bool {
        let apart = guardrail.is_role && !self.is_role;
        !apart && self.overlaps(guardrail)
    }

    fn is_all(&self) -> bool {
        !self.is_role && !self.text.is_empty() && self.text.chars().all(|c| c == '*')
    }
}

/// What a resource is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A bucket itself.
    Bucket(String),
    /// Objects of a bucket: those of this name or, where it is open, all whose name begins so.
    Objects {
        /// The bucket.
        bucket: String,
        /// The name or its beginning.
        name: String,
        /// Whether it is but the beginning.
        open: bool,
    },
    /// Whom an identity token is for.
    Audience(String),
    /// Anything else.
    Other,
}

/// A resource, or the beginning of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    stem: String,
    open: bool,
    target: Target,
}

impl Resource {
    /// Reads a resource.
    ///
    /// # Errors
    /// What is wrong with it, and the fix.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let wrong = |problem: String, fix: &str| Err(PatternError::resource(problem, fix));
        if text.len() > MAX_RESOURCE {
            return wrong("it is too long".into(), "use at most 1024 characters");
        }
        let (stem, open) = text.strip_suffix('*').map_or((text, false), |stem| (stem, true));
        if stem.contains('*') {
            return wrong(format!("{text:?} holds a * before its end"), "write * at the end only");
        }
        // A quote or a backslash would end the text of a boundary's condition.
        if !stem.chars().all(|c| matches!(c, ' '..='~') && !matches!(c, '\'' | '"' | '\\' | '`')) {
            return wrong(
                format!("{text:?} holds a character that is not taken"),
                "use printable ASCII without quotes and backslashes",
            );
        }
        let target = if let Some(audience) = stem.strip_prefix(AUDIENCE) {
            audience_of(text, audience, open)?
        } else if let Some(rest) = stem.strip_prefix(BUCKETS) {
            bucket_of(text, rest, open)?
        } else if stem.is_empty() && open || is_named_elsewhere(stem) {
            Target::Other
        } else {
            return wrong(
                format!("{text:?} is no resource of Google Cloud"),
                "write projects/_/buckets/<bucket>/objects/<prefix>*, audience/<audience>, or a name that begins with projects/, folders/ or organizations/",
            );
        };
        Ok(Self { stem: stem.to_owned(), open, target })
    }

    /// As written.
    pub fn text(&self) -> String {
        format!("{}{}", self.stem, if self.open { "*" } else { "" })
    }

    /// What it is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether the resource of a call is named.
    pub fn covers(&self, call: &str) -> bool {
        if self.open { call.starts_with(&self.stem) } else { call == self.stem }
    }

    /// Whether all that this names is named by `wide` too.
    pub fn subset(&self, wide: &Self) -> bool {
        if self.open && !wide.open { false } else { wide.covers(&self.stem) }
    }

    /// Whether something is named by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.subset(other) || other.subset(self) || self.covers(&other.stem) || other.covers(&self.stem)
    }
}

fn audience_of(text: &str, audience: &str, open: bool) -> Result<Target, PatternError> {
    if open || audience.is_empty() || audience.contains(' ') {
        return Err(PatternError::resource(
            format!("{text:?} names no single audience"),
            "write it out: audience/https://service.example.com",
        ));
    }
    Ok(Target::Audience(audience.to_owned()))
}

fn bucket_of(text: &str, rest: &str, open: bool) -> Result<Target, PatternError> {
    let (bucket, name) = match rest.split_once('/') {
        None => (rest, None),
        Some((bucket, _)) => (bucket, rest[bucket.len()..].strip_prefix(OBJECTS)),
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let named = bucket.len() >= 3 && bucket.chars().all(plain);
    match name {
        Some(name) if named && (open || !name.is_empty()) => {
            Ok(Target::Objects { bucket: bucket.to_owned(), name: name.to_owned(), open })
        }
        None if named && !open && rest == bucket => Ok(Target::Bucket(bucket.to_owned())),
        _ => Err(PatternError::resource(
            format!("{text:?} names no single bucket, or neither it nor its objects"),
            "write the bucket out: projects/_/buckets/reports/objects/2026/*, or projects/_/buckets/reports for the bucket itself",
        )),
    }
}

fn is_named_elsewhere(stem: &str) -> bool {
    let below = ["projects/", "folders/", "organizations/"].iter().find_map(|start| stem.strip_prefix(start));
    below.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.starts_with("_/"))
}

/// Whether the action can be meant on the resource.
pub(super) fn check_pair(action: &Action, resource: &Resource) -> Result<(), PatternError> {
    let wrong = |fix: &str| {
        let problem = format!("{:?} does not go with {:?}", action.text(), resource.text());
        Err(PatternError::resource(problem, fix))
    };
    let is_identity = action.text == IDENTITY_TOKEN;
    let stem = |start: &str| action.is_role || action.text.starts_with(start);
    match &resource.target {
        Target::Audience(_) if !is_identity => wrong("an audience goes with iam.serviceAccounts.getOpenIdToken alone"),
        Target::Audience(_) => Ok(()),
        _ if is_identity => wrong("write whom the identity token is for: audience/https://service.example.com"),
        Target::Bucket(_) if !stem("storage.buckets.") => {
            wrong("for objects write projects/_/buckets/<bucket>/objects/<prefix>*")
        }
        Target::Objects { .. } if action.is_role || action.service() != Some("storage") => match action.is_role {
            true => Ok(()),
            false => wrong("actions of other services go with projects/<project>/… or *"),
        },
        Target::Objects { .. } if stem("storage.buckets.") => {
            wrong("for the bucket itself write projects/_/buckets/<bucket>")
        }
        Target::Objects { open: false, .. } if action.covers(LIST) => {
            wrong("objects are listed by the beginning of their names: end the resource in *")
        }
        Target::Other if action.is_role => wrong("a custom role narrows a token on buckets and their objects only"),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "gcp_tests.rs"]
mod tests;
