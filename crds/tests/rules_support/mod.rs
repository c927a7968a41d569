//! Random grants and calls, and judges of documents that share no code with what they judge.
#![allow(dead_code, reason = "each test program uses a part of this")]

use exeat_crds::rules::{Call, Grant, GrantInput, Kind, Statement, grant};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::Value;

/// Calls that each case is held against.
const CALLS: usize = 60;

pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/agents/agents/report-writer";

const ACTIONS: &[&str] = &[
    "s3:GetObject",
    "s3:GetObjectTagging",
    "s3:GetObjectVersion",
    "s3:PutObject",
    "s3:PutObjectTagging",
    "s3:DeleteObject",
    "s3:ListBucket",
    "s3:GetBucketLocation",
    "S3:getobject",
    "s3:Get*",
    "s3:*Object",
    "s3:*Tagging",
    "s3:?etObject",
    "s3:GetO*",
    "s3:get*ion",
    "s3:*",
];
const OTHER_ACTIONS: &[&str] = &["dynamodb:GetItem", "dynamodb:*", "dynamodb:Get*", "sqs:SendMessage"];
const RESOURCES: &[&str] = &[
    "*",
    "arn:aws:s3:::*",
    "arn:aws:s3:::a",
    "arn:aws:s3:::a/*",
    "arn:aws:s3:::a/k?",
    "arn:aws:s3:::a/x/*",
    "arn:aws:s3:::a*",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::b",
    "arn:aws:s3:::?b",
    "arn:aws:s3:::*/k1",
    "arn:aws:s3:::a*/x*",
];
const OTHER_RESOURCES: &[&str] = &[
    "arn:aws:dynamodb:eu-*-1:123456789012:table/t*",
    "arn:aws:dynamodb:*:123456789012:table/t",
    "arn:aws:sqs:eu-west-1:1?:q",
];
const GUARDRAILS: &[&str] =
    &["*:Delete*", "s3:PutObject", "*:*Tagging", "s3:Get*Version", "dynamodb:*", "*:ListB?cket"];

const CALLED_ACTIONS: &[&str] = &[
    "s3:GetObject",
    "s3:GetObjectTagging",
    "s3:GetObjectVersion",
    "s3:PutObject",
    "s3:PutObjectTagging",
    "s3:DeleteObject",
    "s3:ListBucket",
    "s3:GetBucketLocation",
    "s3:GetLifecycleConfiguration",
    "s3:RestoreObject",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "sqs:SendMessage",
    "ec2:RunInstances",
    "sts:AssumeRole",
];
const CALLED_RESOURCES: &[&str] = &[
    "*",
    "arn:aws:s3:::a",
    "arn:aws:s3:::ab",
    "arn:aws:s3:::b",
    "arn:aws:s3:::a/k1",
    "arn:aws:s3:::a/k22",
    "arn:aws:s3:::a/x/y:z",
    "arn:aws:s3:::ab/x/k1",
    "arn:aws:s3:::b/k1",
    "arn:aws:dynamodb:eu-west-1:123456789012:table/t",
    "arn:aws:dynamodb:eu-west-1:123456789012:table/t2",
    "arn:aws:dynamodb:us-east-1:123456789012:table/t",
    "arn:aws:dynamodb:eu-a:9:123456789012:table/t",
    "arn:aws:sqs:eu-west-1:12:q",
];

/// Which statements and calls are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum World {
    /// Several services.
    Aws,
    /// S3 alone.
    S3,
}

impl World {
    fn pick(self, s3: &[&'static str], other: &[&'static str]) -> Vec<&'static str> {
        match self {
            Self::Aws => s3.iter().chain(other).copied().collect(),
            Self::S3 => s3.to_vec(),
        }
    }
}

fn own(items: Vec<&'static str>) -> Vec<String> {
    items.into_iter().map(str::to_owned).collect()
}

pub(crate) fn statements(world: World) -> impl Strategy<Value = Vec<Statement>> {
    let actions = subsequence(world.pick(ACTIONS, OTHER_ACTIONS), 1..=3);
    let resources = subsequence(world.pick(RESOURCES, OTHER_RESOURCES), 1..=3);
    let statement = (actions, resources).prop_map(|(a, r)| Statement { actions: own(a), resources: own(r) });
    prop::collection::vec(statement, 1..=4)
}

pub(crate) fn guardrails() -> impl Strategy<Value = Vec<String>> {
    subsequence(GUARDRAILS.to_vec(), 0..=2).prop_map(own)
}

pub(crate) fn ceilings() -> impl Strategy<Value = Vec<String>> {
    subsequence(vec!["*", "s3:*", "dynamodb:*", "s3:Get*", "*:*Object", "s3:*t*"], 1..=3).prop_map(own)
}

/// A sample of all pairs of a called action and a resource.
pub(crate) fn calls() -> impl Strategy<Value = Vec<Call<'static>>> {
    let call =
        (select(CALLED_ACTIONS), select(CALLED_RESOURCES)).prop_map(|(action, resource)| Call { action, resource });
    prop::collection::vec(call, CALLS)
}

pub(crate) fn all_calls() -> impl Iterator<Item = Call<'static>> {
    CALLED_ACTIONS.iter().flat_map(|action| CALLED_RESOURCES.iter().map(move |resource| Call { action, resource }))
}

pub(crate) fn decide(
    allow: &[Statement],
    max_actions: &[String],
    deny: &[String],
    narrowing: Option<&[Statement]>,
) -> Option<Grant> {
    grant(GrantInput { kind: Kind::Aws, principal: ROLE, policy_allow: allow, max_actions, deny, narrowing }).ok()
}

/// The plain reading of a pattern, by trying every split.
pub(crate) fn plain(pattern: &str, text: &str) -> bool {
    let mut pattern_chars = pattern.chars();
    match pattern_chars.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = pattern_chars.as_str();
            text.char_indices().map(|(i, _)| i).chain([text.len()]).any(|i| plain(rest, &text[i..]))
        }
        Some(c) => {
            let mut text_chars = text.chars();
            text_chars
                .next()
                .is_some_and(|t| (c == '?' || c == t) && plain(pattern_chars.as_str(), text_chars.as_str()))
        }
    }
}

/// The law of ARNs by its words: each of the first five parts for itself, unless a `*` ends it.
fn arn(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    fn parts(pattern: &[&str], text: &[&str]) -> bool {
        match pattern {
            [last] => plain(last, &text.join(":")),
            [first, rest @ ..] => {
                let most = if first.ends_with('*') { text.len() } else { 1 };
                (1..=most.min(text.len()))
                    .any(|n| plain(first, &text[..n].join(":")) && !text[n..].is_empty() && parts(rest, &text[n..]))
            }
            [] => false,
        }
    }
    parts(&pattern.splitn(6, ':').collect::<Vec<_>>(), &text.split(':').collect::<Vec<_>>())
}

fn items(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many.iter().map(|v| v.as_str().unwrap().to_owned()).collect(),
        other => panic!("neither a text nor a list: {other}"),
    }
}

/// What a document says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// No statement speaks of it: a resource policy that names the session could still allow it.
    Unspoken,
    Denied,
}

fn judge(document: &Value, action: impl Fn(&str) -> bool, resource: impl Fn(&str) -> bool) -> Verdict {
    let applies = |statement: &&Value| {
        let acts = match (statement.get("Action"), statement.get("NotAction")) {
            (Some(list), None) => items(list).iter().any(|p| action(p)),
            (None, Some(list)) => !items(list).iter().any(|p| action(p)),
            other => panic!("one of Action and NotAction: {other:?}"),
        };
        let lies = match (statement.get("Resource"), statement.get("NotResource")) {
            (Some(list), None) => items(list).iter().any(|p| resource(p)),
            (None, Some(list)) => !items(list).iter().any(|p| resource(p)),
            other => panic!("one of Resource and NotResource: {other:?}"),
        };
        acts && lies
    };
    let hits: Vec<&Value> = document["Statement"].as_array().unwrap().iter().filter(applies).collect();
    if hits.iter().any(|s| s["Effect"] == "Deny") {
        Verdict::Denied
    } else if hits.is_empty() {
        Verdict::Unspoken
    } else {
        Verdict::Allowed
    }
}

/// IAM's evaluation: an explicit denial wins.
pub(crate) fn judge_aws(document: &Value, call: Call<'_>) -> Verdict {
    let called = call.action.to_ascii_lowercase();
    judge(document, |pattern| plain(&pattern.to_ascii_lowercase(), &called), |pattern| arn(pattern, call.resource))
}

/// MinIO's evaluation (its `policy` package, `Statement.IsAllowed`): case-sensitive, a bucket is judged as `bucket/` or, where the pattern
/// has no wildcard, by its clean name; `s3:GetObjectVersion` written out stands for `s3:GetObject` too.
pub(crate) fn judge_minio(document: &Value, call: Call<'_>) -> Verdict {
    let path = call.resource.strip_prefix("arn:aws:s3:::").unwrap();
    let judged = if path.contains('/') { path.to_owned() } else { format!("{path}/") };
    judge(
        document,
        |pattern| plain(pattern, call.action) || (pattern == "s3:GetObjectVersion" && call.action == "s3:GetObject"),
        |pattern| {
            let pattern = pattern.strip_prefix("arn:aws:s3:::").unwrap();
            plain(pattern, &judged) || pattern == path
        },
    )
}
