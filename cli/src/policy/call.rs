//! Whether a grant covers one call, which line decides it, and the smallest change that would help. Pure.

use exeat_crds::authority::Authority;
use exeat_crds::reason::Refused;
use exeat_crds::rules::action::{Action, Role};
use exeat_crds::rules::{Call, Grant, Kind, Statement};
use serde::Serialize;

/// What is decided of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallVerdict {
    /// Whether the grant covers it.
    pub allowed: bool,
    /// The line that decides.
    pub because: String,
    /// The smallest change that would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Rules by which people must approve the grant first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<String>,
}

impl CallVerdict {
    fn no(because: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { allowed: false, because: because.into(), fix: Some(fix.into()), approvals: Vec::new() }
    }
}

/// Checks that a text names one call of a kind of provider.
///
/// # Errors
/// What is wrong with it, and the fix.
pub fn check_action(kind: Kind, action: &str) -> Result<(), String> {
    Action::parse(kind, Role::Allow, action).map_err(|error| format!("--action: {error}"))?;
    if action.contains(['*', '?']) {
        return Err(format!(
            "--action: {action:?} is a pattern; name one call, for instance s3:GetObject, storage.objects.get, \"get pods\" or read"
        ));
    }
    Ok(())
}

/// Judges one call of a pod that runs as `account` and asks for `narrowing`, or for all that the policy allows.
///
/// # Errors
/// Why the policy grants nothing at all.
pub fn judge(
    authority: &Authority,
    account: &str,
    narrowing: Option<&[Statement]>,
    call: Call<'_>,
) -> Result<CallVerdict, Refused> {
    let grant = authority.grant(account, narrowing)?;
    let kind = authority.kind;
    if let Some(pattern) = authority.deny.iter().find(|pattern| names(kind, pattern, call)) {
        return Ok(CallVerdict::no(
            format!(
                "{:?} in deny of binding {:?} of the provider names {:?}, and a denial always wins",
                pattern, authority.binding, call.action
            ),
            format!(
                "a platform admin narrows spec.bindings[name={}].deny of CredentialProvider {:?}",
                authority.binding, authority.provider
            ),
        ));
    }
    if authority.observe {
        return Ok(observed(authority, &grant, call));
    }
    if grant.covers(call) {
        let (source, list) = match narrowing {
            Some(list) => ("annotation exeat.dev/allow, statement", list),
            None => ("spec.allow of the policy, statement", authority.allow.as_slice()),
        };
        let at =
            position(&grant, list, call).map_or_else(String::new, |i| format!("{source} {i}: {}", words(&list[i])));
        let approvals = approvals(authority, &grant);
        return Ok(CallVerdict { allowed: true, because: at, fix: None, approvals });
    }
    let narrowed = narrowing.is_some() && authority.grant(account, None).is_ok_and(|whole| whole.covers(call));
    Ok(uncovered(authority, narrowed, call))
}

/// In mode Observe the binding alone decides.
fn observed(authority: &Authority, grant: &Grant, call: Call<'_>) -> CallVerdict {
    let binding = &authority.binding;
    if grant.covers(call) {
        let because = format!("mode Observe: all within maxActions of binding {binding:?} that its deny does not name");
        return CallVerdict { allowed: true, because, fix: None, approvals: approvals(authority, grant) };
    }
    if authority.max_actions.iter().any(|max| names(authority.kind, max, call)) {
        let because = format!("{:?} on {:?} is closed to every session", call.action, call.resource);
        return CallVerdict::no(because, "name another call: what could widen or outlive a session is never granted");
    }
    CallVerdict::no(
        format!("mode Observe: {:?} is outside of maxActions of binding {binding:?}", call.action),
        format!(
            "a platform admin adds {:?} to spec.bindings[name={binding}].maxActions of CredentialProvider {:?}",
            call.action, authority.provider
        ),
    )
}

fn uncovered(authority: &Authority, narrowed: bool, call: Call<'_>) -> CallVerdict {
    let kind = authority.kind;
    if narrowed {
        return CallVerdict::no(
            "the policy allows it, but the pod's annotation exeat.dev/allow asks for less",
            format!("add \"{} on {}\" to the annotation, or remove it", call.action, call.resource),
        );
    }
    let with_action = authority.allow.iter().position(|s| s.actions.iter().any(|a| allows(kind, a, call.action)));
    if let Some(i) = with_action {
        return CallVerdict::no(
            format!(
                "spec.allow[{i}] allows {:?}, but on {} only",
                call.action,
                authority.allow[i].resources.join(", ")
            ),
            format!("add {:?} to spec.allow[{i}].resources of the policy", call.resource),
        );
    }
    let because = format!("no statement of the policy names {:?}", call.action);
    let add =
        format!("add {{actions: [{:?}], resources: [{:?}]}} to spec.allow of the policy", call.action, call.resource);
    if authority.max_actions.iter().any(|max| names(kind, max, call)) {
        return CallVerdict::no(because, add);
    }
    CallVerdict::no(
        format!("{because}, and it is outside of maxActions of binding {:?}", authority.binding),
        format!(
            "a platform admin adds {:?} to spec.bindings[name={}].maxActions of CredentialProvider {:?}; then {add}",
            call.action, authority.binding, authority.provider
        ),
    )
}

/// Rules by which people must approve the grant that the call would be made under.
pub fn approvals(authority: &Authority, grant: &Grant) -> Vec<String> {
    let needed = authority.approval.needed(grant);
    let hit = needed.map(|needed| needed.rules).unwrap_or_default();
    let rules = authority.approval.rules.iter().filter(|rule| hit.contains(&rule.name));
    rules
        .map(|rule| {
            let who: Vec<String> = rule.demand.required.iter().map(|r| format!("{} of {}", r.count, r.group)).collect();
            format!("rule {}: {}", rule.name, who.join(" and "))
        })
        .collect()
}

fn names(kind: Kind, pattern: &str, call: Call<'_>) -> bool {
    Action::parse(kind, Role::Guardrail, pattern).is_ok_and(|pattern| pattern.covers_on(call.action, call.resource))
}

fn allows(kind: Kind, pattern: &str, action: &str) -> bool {
    Action::parse(kind, Role::Allow, pattern).is_ok_and(|pattern| pattern.covers(action))
}

fn position(grant: &Grant, list: &[Statement], call: Call<'_>) -> Option<usize> {
    list.iter().position(|statement| {
        let (kind, observe) = (grant.kind, grant.observe);
        Grant { kind, principal: String::new(), allow: vec![statement.clone()], deny: Vec::new(), observe }.covers(call)
    })
}

fn words(statement: &Statement) -> String {
    format!("{} on {}", statement.actions.join(", "), statement.resources.join(", "))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use exeat_crds::{AgentCredentialPolicy, CredentialProvider, authority};
    use serde_json::json;

    pub(crate) fn provider() -> CredentialProvider {
        serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "aws-prod", "uid": "prov"},
            "spec": {"aws": {"region": "eu-west-1"}, "bindings": [{
                "name": "agents", "namespaces": ["agents"], "principals": ["arn:aws:iam::123456789012:role/agents/${namespace}/*"],
                "maxActions": ["s3:*"], "deny": ["s3:PutBucket*"]
            }]}
        }))
        .unwrap()
    }

    pub(crate) fn policy() -> AgentCredentialPolicy {
        serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
            "metadata": {"name": "report-writer", "namespace": "agents", "uid": "pol"},
            "spec": {
                "providerRef": {"name": "aws-prod"}, "principal": "arn:aws:iam::123456789012:role/agents/agents/report-writer",
                "subjects": {"serviceAccounts": ["report-agent"]},
                "allow": [
                    {"actions": ["s3:ListBucket"], "resources": ["arn:aws:s3:::reports"]},
                    {"actions": ["s3:Get*"], "resources": ["arn:aws:s3:::reports/*"]}
                ]
            }
        }))
        .unwrap()
    }

    fn judged(action: &str, resource: &str, narrowing: Option<&[Statement]>) -> CallVerdict {
        let authority = authority::resolve(&policy(), Some(&provider())).unwrap();
        judge(&authority, "report-agent", narrowing, Call { action, resource }).unwrap()
    }

    #[test]
    fn the_line_that_decides_and_the_smallest_change_are_told() {
        let yes = judged("s3:GetObject", "arn:aws:s3:::reports/a", None);
        assert!(yes.allowed && yes.because.contains("statement 1: s3:Get* on"), "{yes:?}");
        for (action, resource, because, fix) in [
            (
                "s3:GetObject",
                "arn:aws:s3:::other/a",
                "spec.allow[1] allows",
                "add \"arn:aws:s3:::other/a\" to spec.allow[1].resources",
            ),
            ("s3:PutObject", "arn:aws:s3:::reports/a", "no statement", "to spec.allow of the policy"),
            ("ec2:RunInstances", "*", "outside of maxActions", "platform admin adds \"ec2:RunInstances\""),
            ("s3:PutBucketPolicy", "arn:aws:s3:::reports", "denial always wins", "spec.bindings[name=agents].deny"),
        ] {
            let no = judged(action, resource, None);
            let told = no.fix.clone().unwrap_or_default();
            assert!(!no.allowed && no.because.contains(because) && told.contains(fix), "{action}: {no:?}");
        }
    }

    #[test]
    fn guardrails_that_hold_at_a_place_are_blamed_there_alone() {
        let mut object = serde_json::to_value(provider()).unwrap();
        object["spec"].as_object_mut().unwrap().remove("aws");
        object["spec"]["vault"] = json!({"address": "http://v", "auth": {"token": {"secretRef": {"name": "s"}}}});
        let binding = &mut object["spec"]["bindings"][0];
        binding["principals"] = json!(["agents-*"]);
        binding["maxActions"] = json!(["read secret/*"]);
        binding["deny"] = json!(["* secret/data/prod/*"]);
        let mut asks = policy();
        asks.spec.principal = "agents-reader".to_owned();
        asks.spec.allow = vec![Statement { actions: vec!["read".into()], resources: vec!["secret/data/*".into()] }];
        let authority = authority::resolve(&asks, Some(&serde_json::from_value(object).unwrap())).unwrap();
        for (action, resource, because) in [
            ("read", "secret/data/x", None),
            ("read", "secret/data/prod/x", Some("denial always wins")),
            ("read", "secret/metadata/x", Some("on secret/data/* only")),
            ("write", "secret/data/x", Some("outside of maxActions")),
        ] {
            let verdict = judge(&authority, "report-agent", None, Call { action, resource }).unwrap();
            assert_eq!(verdict.allowed, because.is_none(), "{action} {resource}: {verdict:?}");
            assert!(verdict.because.contains(because.unwrap_or_default()), "{verdict:?}");
        }
    }

    #[test]
    fn a_narrowing_is_blamed_where_it_decides() {
        let narrow =
            [Statement { actions: vec!["s3:GetObject".into()], resources: vec!["arn:aws:s3:::reports/2026/*".into()] }];
        assert!(
            judged("s3:GetObject", "arn:aws:s3:::reports/2026/a", Some(&narrow)).because.contains("exeat.dev/allow")
        );
        let no = judged("s3:GetObject", "arn:aws:s3:::reports/2025/a", Some(&narrow));
        assert!(!no.allowed && no.because.contains("asks for less"), "{no:?}");
    }

    #[test]
    fn a_pattern_is_no_call_and_a_grant_trips_rules() {
        assert!(check_action(Kind::Aws, "s3:Get*").unwrap_err().contains("pattern"));
        assert!(check_action(Kind::Aws, "GetObject").is_err());
        assert!(check_action(Kind::Kubernetes, "get pods").is_ok());
        let mut asks = policy();
        asks.spec.approval_rules = serde_json::from_value(
            json!([{"name": "reads", "actions": ["s3:Get*"], "required": [{"group": "security", "count": 2}]}]),
        )
        .unwrap();
        let authority = authority::resolve(&asks, Some(&provider())).unwrap();
        assert_eq!(
            approvals(&authority, &authority.grant("report-agent", None).unwrap()),
            ["rule policy/reads: 2 of security"]
        );
        let lists =
            [Statement { actions: vec!["s3:ListBucket".into()], resources: vec!["arn:aws:s3:::reports".into()] }];
        assert!(
            approvals(&authority, &authority.grant("report-agent", Some(&lists)).unwrap()).is_empty(),
            "less asked for trips fewer rules"
        );
    }
}
