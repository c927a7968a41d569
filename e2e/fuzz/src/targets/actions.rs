//! The grammar of actions and resources, and the three questions about them, against the naive judges.

use exeat_crds::rules::action::{Action, Resource, Role};
use exeat_crds::rules::{Kind, Statement, overlaps, subset};
use serde::Deserialize;

use super::must;
use crate::engine::Target;
use crate::naive;
use crate::random::Random;

/// Calls and resources that are drawn from each pattern.
const DRAWN: usize = 3;

pub(super) struct Actions;

/// The input's shape.
#[derive(Deserialize)]
struct Case {
    kind: Kind,
    guardrail: bool,
    actions: Vec<String>,
    resources: Vec<String>,
    calls: Vec<(String, String)>,
}

impl Target for Actions {
    fn name(&self) -> &'static str {
        "actions"
    }

    fn tokens(&self) -> &'static [&'static str] {
        &[
            "aws",
            "kubernetes",
            "*",
            "?",
            "**",
            "*?*?*",
            ":",
            "s3:Get*",
            "s3:GetObject",
            "S3:getobject",
            "*:Delete*",
            "sts:AssumeRole",
            "dynamodb:*",
            "s3:${aws:username}",
            "arn:aws:s3:::a/*",
            "arn:aws:s3:::a",
            "arn:aws:dynamodb:eu-*-1:1:table/t*",
            "arn:aws:dynamodb:*:*:table/?",
            "arn:aws:s3:*:*:*",
            "arn:aws-cn:s3:::b",
            "get pods",
            "* *",
            "* *.apps",
            "get */status",
            "list deployments.apps",
            "get pods/log",
            "create  pods",
            "get\tpods",
            "delete pods.*/*",
            "agents/*",
            "agents/x",
            "agents/",
            "*/x",
            "watch",
            "deletecollection secrets",
            "vault",
            "read",
            "write",
            "read secret/data/*",
            "* secret/+/prod/*",
            "secret/data/reports/*",
            "secret/+/reports",
            "secret/data/re*",
            "sys/mounts",
            "secret/../x",
            "azure",
            "Microsoft.Storage/storageAccounts/read",
            "microsoft.storage/*",
            "*/read",
            "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            "https://storage.azure.com",
            "api://reports",
            "https://storage.azure.com/.default",
        ]
    }

    fn judge(&mut self, input: &[u8]) -> Result<String, String> {
        let Ok(mut case) = serde_json::from_slice::<Case>(input) else { return Ok("no case".to_owned()) };
        for list in [&mut case.actions, &mut case.resources] {
            list.truncate(6);
        }
        case.calls.truncate(6);
        let mut random = Random::of(input);
        let actions = read_actions(&case)?;
        let resources = read_resources(&case)?;
        let calls = calls(&case, &mut random);
        let covered = check_actions(case.kind, &actions, &calls)? + check_resources(case.kind, &resources, &calls)?;
        let lists = check_lists(&case, &calls)?;
        let inside =
            actions.iter().flat_map(|a| actions.iter().map(move |b| a != b && a.subset(b))).any(|inside| inside);
        let role = if case.guardrail { "guardrail" } else { "allow" };
        let (a, r, covered) = (actions.len().min(3), resources.len().min(3), covered.min(8));
        Ok(format!("{} {role} actions={a} resources={r} covered={covered} inside={inside} {lists}", case.kind))
    }
}

/// The actions that can be read; each is written so that it reads the same.
fn read_actions(case: &Case) -> Result<Vec<Action>, String> {
    let role = if case.guardrail { Role::Guardrail } else { Role::Allow };
    let mut read = Vec::new();
    for text in &case.actions {
        let Ok(action) = Action::parse(case.kind, role, text) else { continue };
        let written = action.text();
        let again =
            Action::parse(case.kind, role, &written).map_err(|error| format!("{written:?} from {text:?}: {error}"))?;
        must(again.text() == written && again.key() == action.key(), || {
            format!("{text:?}, {written:?}, {:?}", again.text())
        })?;
        must(again.subset(&action) && action.subset(&again), || format!("{text:?} and {written:?} differ in meaning"))?;
        // What may be allowed may also stand in a guardrail, and means the same there.
        let wide = Action::parse(case.kind, Role::Guardrail, text)
            .map_err(|error| format!("as a guardrail {text:?}: {error}"))?;
        must(wide == action, || format!("{text:?} means something else as a guardrail"))?;
        read.push(action);
    }
    Ok(read)
}

fn read_resources(case: &Case) -> Result<Vec<Resource>, String> {
    let mut read = Vec::new();
    for text in &case.resources {
        let Ok(resource) = Resource::parse(case.kind, text) else { continue };
        let written = resource.text();
        let again = Resource::parse(case.kind, &written).map_err(|error| format!("{written:?}: {error}"))?;
        must(again == resource, || format!("{text:?} and {written:?} differ"))?;
        read.push(resource);
    }
    Ok(read)
}

/// The given calls, and some that the patterns themselves name.
fn calls(case: &Case, random: &mut Random) -> Vec<(String, String)> {
    let mut calls = case.calls.clone();
    for _ in 0..DRAWN {
        for action in &case.actions {
            let resource = random.one(&case.resources).map(String::as_str).unwrap_or("*");
            let call = (filled(action, case.kind, random), filled(resource, case.kind, random));
            calls.push(call);
        }
    }
    calls
}

/// A text that a pattern probably matches: each wildcard filled in.
pub(super) fn filled(pattern: &str, kind: Kind, random: &mut Random) -> String {
    const RUNS: [&str; 8] = ["", "a", "Object", "x/y", "1", "Get", ":", "b:c"];
    const PATHS: [&str; 6] = ["", "a", "reports", "a/b", "read", "prod/x/"];
    const WORDS: [&str; 5] = ["pods", "get", "apps", "log", "status"];
    let mut text = String::new();
    for c in pattern.chars() {
        match (c, kind) {
            ('*', Kind::Aws | Kind::Azure) => text.push_str(random.one(&RUNS).copied().unwrap_or_default()),
            ('*', Kind::Vault) => text.push_str(random.one(&PATHS).copied().unwrap_or_default()),
            ('+', Kind::Vault) => text.push_str(random.one(&["a", "data"]).copied().unwrap_or_default()),
            ('*', Kind::Kubernetes) => text.push_str(random.one(&WORDS).copied().unwrap_or_default()),
            ('?', Kind::Aws) => text.push_str(random.one(&["a", "Z", "0", "/", ":"]).copied().unwrap_or_default()),
            (c, _) if random.once_in(64) => text.extend(c.to_uppercase()),
            (c, _) => text.push(c),
        }
    }
    text
}

fn naive_action(kind: Kind, pattern: &str, call: &str) -> bool {
    match kind {
        Kind::Aws => naive::aws_action(pattern, call),
        Kind::Azure => naive::azure_action(pattern, call),
        Kind::Kubernetes => naive::kubernetes_action(pattern, call),
        Kind::Vault => naive::vault_action(pattern, call),
    }
}

fn check_actions(kind: Kind, actions: &[Action], calls: &[(String, String)]) -> Result<usize, String> {
    let mut covered = 0;
    // Only what is itself an action without wildcards is a call.
    let calls = calls.iter().map(|(call, _)| call.as_str()).filter(|call| !call.contains(['*', '?']));
    let calls: Vec<(&str, Action)> =
        calls.filter_map(|call| Some((call, Action::parse(kind, Role::Guardrail, call).ok()?))).collect();
    for a in actions {
        for (text, call) in &calls {
            let covers = a.covers(text);
            covered += usize::from(covers);
            must(covers == naive_action(kind, &a.text(), text), || {
                format!("{:?} covers {text:?}: {covers}", a.text())
            })?;
            must(covers == call.subset(a) && (!covers || a.overlaps(call)), || {
                format!("{:?} and the call {text:?}", a.text())
            })?;
        }
        for b in actions {
            let (inside, beside) = (a.subset(b), !a.overlaps(b));
            let pair = || format!("{:?} and {:?}", a.text(), b.text());
            must(a.overlaps(b) == b.overlaps(a), || format!("overlap is one-sided: {}", pair()))?;
            must(!(inside && beside), || format!("inside and beside: {}", pair()))?;
            for (text, _) in &calls {
                must(!inside || !a.covers(text) || b.covers(text), || {
                    format!("{text:?} is in the first alone: {}", pair())
                })?;
                must(!beside || !a.covers(text) || !b.covers(text), || format!("{text:?} is in both: {}", pair()))?;
            }
        }
    }
    Ok(covered)
}

fn check_resources(kind: Kind, resources: &[Resource], calls: &[(String, String)]) -> Result<usize, String> {
    let mut covered = 0;
    for a in resources {
        for (_, text) in calls {
            let covers = a.covers(text);
            covered += usize::from(covers);
            let expected = match kind {
                Kind::Aws => naive::arn(&a.text(), text),
                Kind::Azure => a.text().eq_ignore_ascii_case(text),
                Kind::Kubernetes => naive_object(&a.text(), text),
                Kind::Vault => naive::vault_path(&a.text(), text),
            };
            must(covers == expected, || format!("{:?} covers {text:?}: {covers}", a.text()))?;
            for b in resources {
                let broken = a.subset(b) && covers && !b.covers(text);
                must(!broken, || format!("{text:?} is in {:?} but not in {:?}", a.text(), b.text()))?;
            }
        }
        must(a.subset(a), || format!("{:?} is not inside itself", a.text()))?;
    }
    Ok(covered)
}

/// `namespace/name` by its words.
fn naive_object(pattern: &str, call: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(namespace) => call.split_once('/').is_some_and(|(called, _)| called == namespace),
        None => pattern == call,
    }
}

/// Two statements made of the halves of the lists.
fn check_lists(case: &Case, calls: &[(String, String)]) -> Result<String, String> {
    let kind = case.kind;
    let halves = |list: &[String]| (list[..list.len() / 2].to_vec(), list[list.len() / 2..].to_vec());
    let ((a, b), (r, s)) = (halves(&case.actions), halves(&case.resources));
    let narrow = vec![Statement { actions: a, resources: r }];
    let wide = vec![Statement { actions: b, resources: s }];
    let names = |list: &[Statement], (action, resource): &(String, String)| {
        list.iter().any(|statement| {
            let lies = |pattern: &String| match kind {
                Kind::Aws => naive::arn(pattern, resource),
                Kind::Azure => pattern.eq_ignore_ascii_case(resource),
                Kind::Kubernetes => naive_object(pattern, resource),
                Kind::Vault => naive::vault_path(pattern, resource),
            };
            statement.actions.iter().any(|pattern| naive_action(kind, pattern, action))
                && statement.resources.iter().any(lies)
        })
    };
    let (inside, beside) = (subset(kind, &narrow, &wide), !overlaps(kind, &narrow, &wide[0].actions));
    // At Vault a call's action is a verb alone.
    let odd: &[char] = if kind == Kind::Vault { &['*', '?', ' ', '\t'] } else { &['*', '?'] };
    for call in calls.iter().filter(|(action, _)| !action.contains(odd)) {
        let held = names(&narrow, call);
        must(!inside || !held || names(&wide, call), || format!("{call:?} is in {narrow:?} but not in {wide:?}"))?;
        let met = wide[0].actions.iter().any(|pattern| naive_action(kind, pattern, &call.0));
        must(!beside || !held || !met, || format!("{call:?} is in {narrow:?} and in {:?}", wide[0].actions))?;
    }
    Ok(format!("list: inside={inside} beside={beside}"))
}
