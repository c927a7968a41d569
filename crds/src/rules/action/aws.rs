//! AWS. An action is `service:Name`, as the Service Authorization Reference writes it, and its case has no meaning; `*` and
//! `?` are wildcards in the name. In guardrails the service may hold wildcards too, and `*` alone means every action. A
//! document sent to AWS never holds a wildcard service, so what is allowed can't either.
//!
//! A resource is `*`, or an ARN of six parts (`arn:partition:service:region:account:resource`). Partition and service
//! are literal; [`crate::rules::glob`] says how wildcards match in the others. Case has a meaning.
//!
//! Policy variables (`${aws:…}`) are refused everywhere: what they stand for is known to AWS only, so nothing here could be
//! compared with anything.

use super::{MAX_ACTION, MAX_RESOURCE, PatternError, Role};
use crate::rules::glob::{Case, Pattern};

/// Chaining out of a session (AssumeRole, its variants, AssumeRoot): what is assumed would outlive it and escape its document.
const CHAINING: &str = "sts:Assume*";

/// `service:Name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    service: String,
    name: String,
    service_pattern: Pattern,
    name_pattern: Pattern,
}

impl Action {
    /// Reads an action.
    ///
    /// # Errors
    /// What is wrong with it in this role, and the fix.
    pub fn parse(role: Role, text: &str) -> Result<Self, PatternError> {
        check_text(text, MAX_ACTION, PatternError::action)?;
        if text == "*" && role == Role::Guardrail {
            return Ok(Self::new("*", "*"));
        }
        let Some((service, name)) = text.split_once(':') else {
            let fix = match (role, text) {
                (Role::Allow, "*") => "name each service, for instance s3:*",
                _ => "write service:Name, for instance s3:GetObject",
            };
            return Err(PatternError::action(format!("{text:?} names no service"), fix));
        };
        check_service(role, text, service)?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || is_wildcard(c)) {
            return Err(PatternError::action(
                format!("{name:?} in {text:?} is no name of an action"),
                "use letters, digits, * and ? after the colon, for instance s3:GetObject",
            ));
        }
        let action = Self::new(service, name);
        if role == Role::Allow && action.overlaps(&chaining()) {
            return Err(PatternError::action(
                format!("{text:?} lets the agent assume another role, which would outlive and escape its session"),
                "name other actions of sts one by one, for instance sts:GetCallerIdentity; for another role, write another policy",
            ));
        }
        Ok(action)
    }

    pub(crate) fn new(service: &str, name: &str) -> Self {
        let service = service.to_ascii_lowercase();
        Self {
            service_pattern: Pattern::glob(&service, Case::Insensitive),
            name_pattern: Pattern::glob(name, Case::Insensitive),
            service,
            name: name.to_owned(),
        }
    }

    /// The service, in lower case; with wildcards in guardrails only.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The name or its pattern, as written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `service:Name`, the service in lower case; `*` for every action of every service.
    pub fn text(&self) -> String {
        if self.is_everything() {
            return "*".to_owned();
        }
        format!("{}:{}", self.service, self.name)
    }

    /// Whether every action of every service is named.
    pub(crate) fn is_everything(&self) -> bool {
        self.service == "*" && self.name == "*"
    }

    /// Whether its service is written out.
    pub(crate) fn names_service(&self) -> bool {
        self.service_pattern.is_literal()
    }

    /// Whether no wildcard is in it.
    pub fn is_literal(&self) -> bool {
        self.service_pattern.is_literal() && self.name_pattern.is_literal()
    }

    /// Whether this call, for instance `s3:GetObject`, is named.
    pub fn covers(&self, call: &str) -> bool {
        call.split_once(':')
            .is_some_and(|(service, name)| self.service_pattern.matches(service) && self.name_pattern.matches(name))
    }

    /// Whether all that this names is named by `wide` too. Never `true` wrongly.
    pub fn subset(&self, wide: &Self) -> bool {
        self.service_pattern.subset(&wide.service_pattern) && self.name_pattern.subset(&wide.name_pattern)
    }

    /// Whether something is named by both. Never `false` wrongly.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.service_pattern.overlaps(&other.service_pattern) && self.name_pattern.overlaps(&other.name_pattern)
    }

    /// Whether this guardrail names actions of a service.
    pub(crate) fn reaches(&self, service: &str) -> bool {
        self.service_pattern.matches(service)
    }
}

/// The pattern of what no session may do.
pub(crate) fn chaining() -> Action {
    let (service, name) = CHAINING.split_once(':').unwrap_or((CHAINING, "*"));
    Action::new(service, name)
}

fn check_service(role: Role, text: &str, service: &str) -> Result<(), PatternError> {
    let wild = service.chars().any(is_wildcard);
    if wild && role == Role::Allow {
        return Err(PatternError::action(
            format!("{text:?} holds a wildcard in the service, which AWS takes in no document of ours"),
            "write one action for each service, for instance s3:Get*",
        ));
    }
    let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || is_wildcard(c);
    if service.is_empty() || !service.chars().all(known) {
        return Err(PatternError::action(
            format!("{service:?} in {text:?} is no service"),
            "use the service's prefix of letters, digits and hyphens, for instance s3 or execute-api",
        ));
    }
    Ok(())
}

/// An ARN, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    text: String,
    pattern: Pattern,
}

impl Resource {
    /// Reads a resource.
    ///
    /// # Errors
    /// What is wrong with it, and the fix.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_text(text, MAX_RESOURCE, PatternError::resource)?;
        if text != "*" {
            check_arn(text)?;
        }
        Ok(Self { text: text.to_owned(), pattern: Pattern::arn(text) })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the ARN of a call (`*` for a call that has no resource) is named.
    pub fn covers(&self, call: &str) -> bool {
        self.pattern.matches(call)
    }

    /// Whether all that this names is named by `wide` too. Never `true` wrongly.
    pub fn subset(&self, wide: &Self) -> bool {
        self.pattern.subset(&wide.pattern)
    }

    /// Whether something is named by both. Never `false` wrongly.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.pattern.overlaps(&other.pattern)
    }
}

fn check_arn(text: &str) -> Result<(), PatternError> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, region, account, resource] = parts.as_slice() else {
        return Err(PatternError::resource(
            format!("{text:?} has {} parts, an ARN has six", parts.len()),
            "write arn:partition:service:region:account:resource, for instance arn:aws:s3:::reports/*",
        ));
    };
    if *arn != "arn" {
        return Err(PatternError::resource(
            format!("{text:?} is no ARN"),
            "write arn:partition:service:region:account:resource, or * alone for every resource",
        ));
    }
    let literal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    for (name, part) in [("partition", partition), ("service", service)] {
        if part.is_empty() || !part.chars().all(literal) {
            return Err(PatternError::resource(
                format!("the {name} {part:?} of {text:?} is not literal"),
                format!(
                    "write the {name} with lower-case letters, digits and hyphens, without wildcards, for instance arn:aws:s3:…"
                ),
            ));
        }
    }
    for (name, part) in [("region", region), ("account", account)] {
        if !part.chars().all(|c| literal(c) || is_wildcard(c)) {
            return Err(PatternError::resource(
                format!("the {name} {part:?} of {text:?} holds a character that no {name} has"),
                "use lower-case letters, digits, hyphens, * and ?, or leave it empty",
            ));
        }
    }
    if resource.is_empty() {
        return Err(PatternError::resource(
            format!("{text:?} names no resource after the fifth colon"),
            "write the resource, or * for all of them",
        ));
    }
    Ok(())
}

fn check_text(text: &str, max: usize, error: impl Fn(String, String) -> PatternError) -> Result<(), PatternError> {
    if text.is_empty() {
        return Err(error("it is empty".into(), "write it or remove the item".into()));
    }
    let length = text.chars().count();
    if length > max {
        return Err(error(format!("it is {length} characters long"), format!("use at most {max}")));
    }
    if text.contains("${") {
        return Err(error(
            format!("{text:?} holds a policy variable, whose value only AWS would know"),
            "write the value itself, or a wildcard".into(),
        ));
    }
    if let Some(c) = text.chars().find(|c| !(c.is_ascii_graphic() || *c == ' ') || matches!(c, '"' | '\\')) {
        return Err(error(
            format!("{text:?} holds the character {c:?}"),
            "use printable ASCII without quotes and backslashes; ? stands for any one character".into(),
        ));
    }
    if text != text.trim() {
        return Err(error(format!("{text:?} begins or ends with a blank"), "remove it".into()));
    }
    Ok(())
}

fn is_wildcard(c: char) -> bool {
    matches!(c, '*' | '?')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(text: &str) -> Result<Action, PatternError> {
        Action::parse(Role::Allow, text)
    }

    fn guardrail(text: &str) -> Action {
        Action::parse(Role::Guardrail, text).unwrap()
    }

    #[test]
    fn case_of_actions_has_no_meaning() {
        let action = allow("S3:getObj*").unwrap();
        assert_eq!(action.text(), "s3:getObj*");
        assert!(action.covers("s3:GetObject") && action.covers("S3:GETOBJECTTAGGING"));
        assert!(!action.covers("s3:PutObject") && !action.covers("GetObject"));
        assert!(action.subset(&allow("s3:Get*").unwrap()));
    }

    #[test]
    fn each_fault_of_an_action_names_itself_and_the_fix() {
        for (text, problem, fix) in [
            ("", "empty", "remove the item"),
            ("*", "names no service", "s3:*"),
            ("GetObject", "names no service", "service:Name"),
            ("*:Get*", "wildcard in the service", "one action for each service"),
            ("s?:Get*", "wildcard in the service", "one action for each service"),
            (":Get", "is no service", "prefix"),
            ("s3:", "is no name", "after the colon"),
            ("s3:Get:Object", "is no name", "after the colon"),
            ("s3:${aws:username}", "policy variable", "value itself"),
            ("s3:Gét", "character 'é'", "printable ASCII"),
            (" s3:Get", "blank", "remove it"),
            ("sts:AssumeRole", "outlive", "one by one"),
            ("sts:*", "outlive", "one by one"),
        ] {
            let error = allow(text).unwrap_err();
            assert_eq!(error.reason(), crate::reason::Reason::ActionInvalid, "{text}");
            let message = error.to_string();
            assert!(message.contains(problem) && message.contains(fix), "{text}: {message}");
        }
        assert!(allow(&format!("s3:{}", "a".repeat(300))).unwrap_err().to_string().contains("at most 256"));
        assert!(allow("sts:GetCallerIdentity").is_ok());
    }

    #[test]
    fn guardrails_may_be_wider() {
        assert!(guardrail("*:Delete*").covers("dynamodb:DeleteItem"));
        assert!(guardrail("*").covers("ec2:RunInstances"));
        assert!(allow("s3:*").unwrap().overlaps(&guardrail("*:Delete*")));
        assert!(!allow("s3:Get*").unwrap().overlaps(&guardrail("*:Delete*")));
        assert!(allow("s3:DeleteObject").unwrap().subset(&guardrail("*:Delete*")));
    }

    #[test]
    fn each_fault_of_a_resource_names_itself_and_the_fix() {
        for (text, problem, fix) in [
            ("reports/*", "1 parts", "arn:aws:s3:::reports/*"),
            ("arn:aws:s3:*", "4 parts", "arn:partition:service"),
            ("urn:aws:s3:::b", "no ARN", "* alone"),
            ("arn:*:s3:::b", "the partition", "without wildcards"),
            ("arn:aws:s*:::b", "the service", "without wildcards"),
            ("arn:aws:s3:EU::b", "the region", "lower-case"),
            ("arn:aws:s3:::", "names no resource", "* for all"),
            ("arn:aws:s3:::home/${aws:username}", "policy variable", "value itself"),
            ("arn:aws:s3:::a\"b", "character '\"'", "printable ASCII"),
        ] {
            let error = Resource::parse(text).unwrap_err();
            assert_eq!(error.reason(), crate::reason::Reason::ResourceInvalid, "{text}");
            let message = error.to_string();
            assert!(message.contains(problem) && message.contains(fix), "{text}: {message}");
        }
    }

    #[test]
    fn resources_match_by_the_law_of_arns() {
        let objects = Resource::parse("arn:aws:s3:::reports/*").unwrap();
        assert!(objects.covers("arn:aws:s3:::reports/2026/a:b") && !objects.covers("arn:aws:s3:::reports"));
        assert!(!objects.covers("*") && Resource::parse("*").unwrap().covers("*"));
        assert!(Resource::parse("arn:aws:s3:::reports/2026/*").unwrap().subset(&objects));
        assert!(!Resource::parse("arn:aws:s3:::*").unwrap().subset(&objects));
    }
}
