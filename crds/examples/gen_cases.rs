//! Prints random grants with their documents, and our verdict on random calls, one JSON object a line:
//!
//! ```text
//! cargo run -p exeat-crds --example gen_cases -- AWS|S3Compatible CASES SEED
//! ```
//!
//! `e2e/differential` holds them against servers that evaluate the documents themselves.

use exeat_crds::rules::aws_document::{Dialect, document};
use exeat_crds::rules::{Call, Grant, GrantInput, Kind, Statement, grant};
use serde_json::json;
use std::process::ExitCode;

const ROLE: &str = "arn:aws:iam::000000000000:role/differential";
const CALLS_PER_CASE: usize = 8;

const S3_ACTIONS: &[&str] = &[
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:ListBucket",
    "s3:GetObjectTagging",
    "s3:PutObjectTagging",
    "s3:GetBucketLocation",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetObjectVersion",
    "s3:getobject",
    "S3:LISTBUCKET",
    "s3:Get*",
    "s3:Put*",
    "s3:*Object",
    "s3:*Tagging",
    "s3:?etObject",
    "s3:GetO*",
    "s3:get*ion",
    "s3:List*",
    "s3:*Bucket*",
    "s3:*",
];
const S3_RESOURCES: &[&str] = &[
    "*",
    "arn:aws:s3:::*",
    "arn:aws:s3:::data",
    "arn:aws:s3:::data/*",
    "arn:aws:s3:::data/k?",
    "arn:aws:s3:::data/x/*",
    "arn:aws:s3:::data*",
    "arn:aws:s3:::data-*",
    "arn:aws:s3:::logs",
    "arn:aws:s3:::logs/*",
    "arn:aws:s3:::l?gs",
    "arn:aws:s3:::*/k1",
    "arn:aws:s3:::data*/x*",
    "arn:aws:s3:::data/k1",
    "arn:aws:s3:::d*a/k*",
    "arn:aws:s3:::data-raw/x/y",
    "arn:aws:s3:::*/*",
];
const DYNAMODB_ACTIONS: &[&str] = &["dynamodb:GetItem", "dynamodb:*Item", "dynamodb:Put*", "dynamodb:*"];
const DYNAMODB_RESOURCES: &[&str] = &[
    "arn:aws:dynamodb:us-east-1:000000000000:table/orders",
    "arn:aws:dynamodb:us-*-1:000000000000:table/o*",
    "arn:aws:dynamodb:*:*:table/*",
    "arn:aws:dynamodb:eu-*:000000000000:table/orders",
    "arn:aws:dynamodb:us-east-?:*:table/carts",
];
const DENY: &[&str] =
    &["*:Delete*", "s3:PutObject", "*:*Tagging", "*:Put*", "s3:Get*Version", "*:GetI*", "s3:ListBucket"];
const CEILING: &[&str] = &["*", "s3:*", "dynamodb:*", "s3:Get*", "*:*Object*"];

const BUCKETS: &[&str] = &["data", "data-raw", "logs"];
const KEYS: &[&str] = &["k1", "k22", "x/y", "x/k1"];
const TABLES: &[&str] = &["orders", "carts"];
const BUCKET_CALLS: &[&str] =
    &["s3:ListBucket", "s3:GetBucketLocation", "s3:GetBucketTagging", "s3:GetBucketVersioning"];
const OBJECT_CALLS: &[&str] = &[
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:GetObjectTagging",
    "s3:PutObjectTagging",
    "s3:GetObjectVersion",
];
const TABLE_CALLS: &[&str] = &["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"];

/// SplitMix64: the same cases for the same seed on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap_or(0)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn some(&mut self, of: &[&str], least: usize, most: usize) -> Vec<String> {
        (0..least + self.below(most - least + 1)).map(|_| self.one(of).to_owned()).collect()
    }
}

fn statements(random: &mut Random, dialect: Dialect) -> Vec<Statement> {
    (0..=random.below(3))
        .map(|_| match (dialect, random.below(4)) {
            (Dialect::Aws, 0) => Statement {
                actions: random.some(DYNAMODB_ACTIONS, 1, 2),
                resources: random.some(DYNAMODB_RESOURCES, 1, 2),
            },
            _ => Statement { actions: random.some(S3_ACTIONS, 1, 3), resources: random.some(S3_RESOURCES, 1, 3) },
        })
        .collect()
}

/// A grant as random as its inputs; `None` where they contradict each other.
fn draw(random: &mut Random, dialect: Dialect) -> Option<Grant> {
    let policy_allow = statements(random, dialect);
    let max_actions = if random.below(3) == 0 { random.some(CEILING, 1, 2) } else { vec!["*".to_owned()] };
    let deny = if random.below(3) == 0 { random.some(DENY, 1, 2) } else { Vec::new() };
    let narrowing = (random.below(4) == 0)
        .then(|| if random.below(2) == 0 { policy_allow[..1].to_vec() } else { statements(random, dialect) });
    let input = GrantInput {
        kind: Kind::Aws,
        principal: ROLE,
        policy_allow: &policy_allow,
        max_actions: &max_actions,
        deny: &deny,
        narrowing: narrowing.as_deref(),
    };
    grant(input).ok()
}

fn call(random: &mut Random, dialect: Dialect) -> (String, String) {
    let (action, resource) = match (dialect, random.below(8)) {
        (Dialect::Aws, 0) => {
            let table = format!("arn:aws:dynamodb:us-east-1:000000000000:table/{}", random.one(TABLES));
            (random.one(TABLE_CALLS), table)
        }
        (_, 1..=2) => (random.one(BUCKET_CALLS), format!("arn:aws:s3:::{}", random.one(BUCKETS))),
        _ => (random.one(OBJECT_CALLS), format!("arn:aws:s3:::{}/{}", random.one(BUCKETS), random.one(KEYS))),
    };
    (action.to_owned(), resource)
}

/// Different calls; about half of them allowed, where the grant allows any.
fn calls(random: &mut Random, dialect: Dialect, grant: &Grant) -> Vec<(String, String, bool)> {
    let mut chosen: Vec<(String, String, bool)> = Vec::new();
    for _ in 0..CALLS_PER_CASE * 16 {
        let (action, resource) = call(random, dialect);
        let allowed = grant.covers(Call { action: &action, resource: &resource });
        let enough = chosen.iter().filter(|c| c.2 == allowed).count() >= CALLS_PER_CASE / 2;
        if !enough && !chosen.iter().any(|c| c.0 == action && c.1 == resource) {
            chosen.push((action, resource, allowed));
        }
    }
    chosen
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| arguments.get(i).and_then(|text| text.parse::<u64>().ok());
    let dialect = match arguments.first().map(String::as_str) {
        Some("AWS") => Dialect::Aws,
        Some("S3Compatible") => Dialect::S3Compatible,
        _ => return usage(),
    };
    let (Some(cases), Some(seed)) = (number(1), number(2)) else { return usage() };
    let mut random = Random(seed);
    let mut printed = 0;
    while printed < cases {
        let Some(grant) = draw(&mut random, dialect) else { continue };
        let Ok(document) = document(&grant, dialect) else { continue };
        let calls: Vec<_> = calls(&mut random, dialect, &grant)
            .into_iter()
            .map(|(action, resource, allowed)| json!({"action": action, "resource": resource, "allowed": allowed}))
            .collect();
        println!("{}", json!({"case": printed, "grant": grant, "document": document.as_str(), "calls": calls}));
        printed += 1;
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: gen_cases AWS|S3Compatible CASES SEED");
    ExitCode::from(2)
}
