//! Grants and the session policies made of them, against an evaluator of our own.

use exeat_crds::rules::aws_document::{Dialect, MAX_PLAIN, S3_ACTIONS, document};
use exeat_crds::rules::{Call, Grant, GrantInput, Kind, Statement, grant};
use serde::Deserialize;
use serde_json::Value;

use super::actions::filled;
use super::must;
use crate::engine::Target;
use crate::naive::{self, Verdict};
use crate::random::Random;

const ROLE: &str = "arn:aws:iam::123456789012:role/agents/agents/report-writer";
/// Calls that are drawn from each pair of an action and a resource.
const DRAWN: usize = 2;
/// Calls that no grant here is likely to hold.
const FOREIGN: [(&str, &str); 6] = [
    ("s3:GetObject", "arn:aws:s3:::b/k1"),
    ("s3:DeleteObject", "arn:aws:s3:::a/k1"),
    ("s3:ListBucket", "arn:aws:s3:::ab"),
    ("dynamodb:PutItem", "arn:aws:dynamodb:eu-west-1:123456789012:table/t"),
    ("sts:AssumeRole", "arn:aws:iam::123456789012:role/other"),
    ("ec2:RunInstances", "*"),
];

pub(super) struct Documents;

/// The input's shape.
#[derive(Deserialize)]
struct Case {
    s3: bool,
    allow: Vec<Statement>,
    max: Vec<String>,
    deny: Vec<String>,
    narrowing: Option<Vec<Statement>>,
}

impl Target for Documents {
    fn name(&self) -> &'static str {
        "document"
    }

    fn tokens(&self) -> &'static [&'static str] {
        &[
            "actions",
            "resources",
            "allow",
            "deny",
            "max",
            "narrowing",
            "s3",
            "*",
            "s3:*",
            "s3:GetObject",
            "s3:Get*",
            "s3:*Object",
            "s3:*Tagging",
            "s3:?etObject",
            "s3:get*ion",
            "s3:GetObjectVersion",
            "s3:PutObject",
            "S3:LISTBUCKET",
            "s3:GetO*",
            "dynamodb:*",
            "dynamodb:GetItem",
            "dynamodb:*Item",
            "sqs:SendMessage",
            "iam:PassRole",
            "sts:GetCallerIdentity",
            "sts:TagSession",
            "*:Delete*",
            "*:*Tagging",
            "*:ListB?cket",
            "arn:aws:s3:::*",
            "arn:aws:s3:::a",
            "arn:aws:s3:::a/*",
            "arn:aws:s3:::a/k?",
            "arn:aws:s3:::a*",
            "arn:aws:s3:::a*/x*",
            "arn:aws:s3:::*/k1",
            "arn:aws:s3:::?b",
            "arn:aws:s3:::*/*",
            "arn:aws:s3:::a/x*y",
            "arn:aws:s3:eu-*:1:a",
            "arn:aws:dynamodb:eu-*-1:123456789012:table/t*",
            "arn:aws:dynamodb:*:*:table/t",
            "arn:aws:sqs:eu-west-1:1?:q",
            "arn:aws-cn:s3:::a/*",
        ]
    }

    fn judge(&mut self, input: &[u8]) -> Result<String, String> {
        let Ok(case) = serde_json::from_slice::<Case>(input) else { return Ok("no case".to_owned()) };
        let asked = GrantInput {
            kind: Kind::Aws,
            principal: ROLE,
            policy_allow: &case.allow,
            max_actions: &case.max,
            deny: &case.deny,
            narrowing: case.narrowing.as_deref(),
        };
        let grant = match grant(asked) {
            Ok(grant) => grant,
            Err(error) => return Ok(format!("{} {}", error.code(), error.field.split('[').next().unwrap_or_default())),
        };
        let calls = calls(&grant, &case, &mut Random::of(input));
        let allowed = within(&case, &grant, &calls)?;
        let dialect = if case.s3 { Dialect::S3Compatible } else { Dialect::Aws };
        let document = match document(&grant, dialect) {
            Ok(document) => document,
            Err(error) => return Ok(format!("{dialect:?} {}", error.code())),
        };
        must(document.as_str().chars().count() <= MAX_PLAIN, || format!("{} characters", document.plain_len()))?;
        let parsed: Value = serde_json::from_str(document.as_str()).map_err(|error| error.to_string())?;
        for (action, resource) in &calls {
            let covered = grant.covers(Call { action, resource });
            match dialect {
                Dialect::Aws => aws(&parsed, action, resource, covered)?,
                Dialect::S3Compatible => s3_compatible(&parsed, action, resource, covered)?,
            }
        }
        let statements = parsed["Statement"].as_array().map_or(0, Vec::len).min(12);
        Ok(format!("{dialect:?} statements={statements} allowed={} deny={}", allowed.min(4), grant.deny.len().min(2)))
    }
}

/// On AWS what is not covered is denied in words: a bucket's own policy could name the session.
fn aws(document: &Value, action: &str, resource: &str, covered: bool) -> Result<(), String> {
    let expected = if covered { Verdict::Allowed } else { Verdict::Denied };
    let verdict = naive::judge_aws(document, action, resource)?;
    must(verdict == expected, || format!("{action} on {resource}: {verdict:?} instead of {expected:?} by {document}"))
}

/// S3-compatible servers know no other actions than theirs, and no policies of resources that name a session.
fn s3_compatible(document: &Value, action: &str, resource: &str, covered: bool) -> Result<(), String> {
    let known = action.strip_prefix("s3:").is_some_and(|name| S3_ACTIONS.contains(&name));
    // A bucket has a name, and so has an object.
    let real = resource
        .strip_prefix("arn:aws:s3:::")
        .is_some_and(|path| path.split('/').next().is_some_and(|b| !b.is_empty()));
    if !known || !real || resource.ends_with('/') {
        return Ok(());
    }
    let verdict = naive::judge_minio(document, action, resource)?;
    let agrees = (verdict == Verdict::Allowed) == covered;
    must(agrees, || format!("{action} on {resource}: {verdict:?}, covered {covered}, by {document}"))
}

/// Calls that the grant's patterns name, with each other and with foreign ones.
fn calls(grant: &Grant, case: &Case, random: &mut Random) -> Vec<(String, String)> {
    let mut calls: Vec<(String, String)> =
        FOREIGN.iter().map(|(action, resource)| ((*action).to_owned(), (*resource).to_owned())).collect();
    let actions: Vec<&String> = grant.allow.iter().flat_map(|s| &s.actions).chain(&case.deny).collect();
    let resources: Vec<&String> = grant.allow.iter().flat_map(|s| &s.resources).collect();
    for action in actions.iter().take(12) {
        for _ in 0..DRAWN {
            let resource = random.one(&resources).map_or("*", |resource| resource.as_str());
            calls.push((filled(action, Kind::Aws, random), filled(resource, Kind::Aws, random)));
        }
        let named = S3_ACTIONS.iter().filter(|name| naive::aws_action(action, &format!("s3:{name}"))).take(3);
        for name in named {
            let resource = random.one(&resources).map_or("*", |resource| resource.as_str());
            calls.push((format!("s3:{name}"), filled(resource, Kind::Aws, random)));
        }
    }
    calls.retain(|(action, resource)| is_call(action) && is_object(resource));
    calls
}

fn is_call(action: &str) -> bool {
    let parts = action.split_once(':');
    parts.is_some_and(|(service, name)| {
        let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
        word(&service.replace('-', "")) && word(name)
    })
}

/// `*`, or an ARN whose first parts are as a provider writes them.
fn is_object(resource: &str) -> bool {
    let parts: Vec<&str> = resource.splitn(6, ':').collect();
    resource == "*" || (parts.len() == 6 && parts[0] == "arn" && !parts[5].is_empty() && !resource.contains(['*', '?']))
}

/// The grant allows nothing outside of the policy, the ceiling and the narrowing, and nothing that is denied.
fn within(case: &Case, grant: &Grant, calls: &[(String, String)]) -> Result<usize, String> {
    let mut allowed = 0;
    let names = |list: &[Statement], action: &str, resource: &str| {
        list.iter().any(|statement| {
            statement.actions.iter().any(|pattern| naive::aws_action(pattern, action))
                && statement.resources.iter().any(|pattern| naive::arn(pattern, resource))
        })
    };
    for (action, resource) in calls {
        let covered = grant.covers(Call { action, resource });
        allowed += usize::from(covered);
        let denied = case.deny.iter().any(|pattern| naive::aws_action(pattern, action));
        let asked = case.narrowing.as_ref().unwrap_or(&case.allow);
        must(covered == (names(asked, action, resource) && !denied), || {
            format!("{action} on {resource}: covered {covered}, denied {denied}, asked for {asked:?}")
        })?;
        let capped = case.max.iter().any(|pattern| naive::aws_action(pattern, action));
        must(!covered || (capped && names(&case.allow, action, resource)), || {
            format!("{action} on {resource} is too wide")
        })?;
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oracle_sees_a_hole_and_a_loss() {
        let (action, resource) = ("s3:GetObject", "arn:aws:s3:::a/k");
        let allow = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*"});
        let deny = json!({"Effect": "Deny", "NotAction": "s3:GetObject", "Resource": "*"});
        let whole = json!({"Statement": [allow, deny]});
        aws(&whole, action, resource, true).unwrap();
        aws(&whole, "s3:PutObject", resource, false).unwrap();
        assert!(aws(&whole, action, resource, false).is_err(), "allowed, and not covered");
        assert!(aws(&whole, "s3:PutObject", resource, true).is_err(), "covered, and denied");
        let open = json!({"Statement": [allow]});
        assert!(aws(&open, "s3:PutObject", resource, false).unwrap_err().contains("Unspoken"), "not denied in words");
        assert!(s3_compatible(&open, action, resource, false).is_err());
    }
}
