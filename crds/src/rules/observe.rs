//! The grant of a policy in mode Observe. What the policy allows narrows nothing: granted is the binding's whole ceiling on everything,
//! without what the binding denies and what no session may do. So an admin's guardrails hold whatever is observed, and the provider
//! holds the credential to the principal's own rights within them.
//!
//! What is granted is written as guardrails are ([`Role::Guardrail`]): `*`, or a path of Vault below any mount.

use super::action::vault::{RESERVED, VERBS};
use super::action::{Action, Kind, Role};
use super::grant::{CEILING, DENY, Grant, GrantInput, POLICY, normalise};
use super::names;
use super::statement::{self, GrantError, MAX_ITEMS, Statement};
use crate::reason::Reason;
use std::collections::BTreeMap;

/// Decides what is handed out while a policy only looks on.
///
/// # Errors
/// The first thing that can't be read, with the field and the fix; a narrowing, since nothing is narrowed.
pub fn grant(input: GrantInput<'_>) -> Result<Grant, GrantError> {
    let GrantInput { kind, principal, .. } = input;
    if input.narrowing.is_some() {
        return Err(GrantError::new(
            Reason::AnnotationInvalid,
            "metadata.annotations[exeat.dev/allow]",
            "the policy is in mode Observe, which narrows nothing",
            "remove the annotation, or name a policy in mode Enforce",
        ));
    }
    names::validate_principal(kind, principal)
        .map_err(|e| GrantError::new(Reason::PrincipalInvalid, "spec.principal", e.problem, e.fix))?;
    let ceiling = statement::read_guardrail(kind, input.max_actions, CEILING)?;
    let mut deny = statement::read_guardrail(kind, input.deny, DENY)?;
    if !input.policy_allow.is_empty() {
        statement::read(kind, input.policy_allow, POLICY)?;
    }
    if kind == Kind::Vault {
        let own = RESERVED.iter().flat_map(|mount| [format!("* {mount}"), format!("* {mount}/*")]).collect::<Vec<_>>();
        deny.extend(statement::read_guardrail(kind, &own, DENY)?);
    }
    let allow = statement::read_as(kind, Role::Guardrail, &everything(&ceiling), CEILING)?;
    Ok(Grant { observe: true, ..normalise(kind, principal, &allow, &deny) })
}

/// The ceiling as statements.
fn everything(ceiling: &[Action]) -> Vec<Statement> {
    let mut by_actions: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    let mut actions = Vec::new();
    for pattern in ceiling {
        match pattern {
            Action::Vault(pattern) => {
                let verbs =
                    pattern.verb().map_or_else(|| VERBS.map(str::to_owned).to_vec(), |verb| vec![verb.to_owned()]);
                let path = pattern.path().map_or_else(|| "*".to_owned(), |path| path.text());
                by_actions.entry(verbs).or_default().push(path);
            }
            _ => actions.push(pattern.text()),
        }
    }
    for some in actions.chunks(MAX_ITEMS) {
        by_actions.insert(some.to_vec(), vec!["*".to_owned()]);
    }
    let chunked = by_actions.into_iter().flat_map(|(actions, resources)| {
        let chunks: Vec<Vec<String>> = resources.chunks(MAX_ITEMS).map(<[String]>::to_vec).collect();
        chunks.into_iter().map(move |resources| Statement { actions: actions.clone(), resources })
    });
    chunked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::aws_document::{Dialect, document};
    use crate::rules::grant::Call;
    use serde_json::Value;

    fn own(items: &[&str]) -> Vec<String> {
        items.iter().map(|s| (*s).to_owned()).collect()
    }

    fn observed(kind: Kind, max: &[&str], deny: &[&str]) -> Result<Grant, GrantError> {
        let principal = if kind == Kind::Aws { "arn:aws:iam::123456789012:role/agents/a" } else { "agents-reader" };
        let (max_actions, deny) = (&own(max)[..], &own(deny)[..]);
        grant(GrantInput { kind, principal, policy_allow: &[], max_actions, deny, narrowing: None })
    }

    fn covers(grant: &Grant, action: &str, resource: &str) -> bool {
        grant.covers(Call { action, resource })
    }

    #[test]
    fn the_ceiling_is_granted_on_everything_and_denials_win() {
        let grant = observed(Kind::Aws, &["s3:*", "dynamodb:Get*"], &["*:Delete*"]).unwrap();
        assert!(covers(&grant, "s3:PutObject", "arn:aws:s3:::any/thing") && covers(&grant, "dynamodb:GetItem", "*"));
        for action in ["s3:DeleteObject", "dynamodb:PutItem", "ec2:RunInstances"] {
            assert!(!covers(&grant, action, "*"), "{action}");
        }
        let words: Value = serde_json::from_str(document(&grant, Dialect::Aws).unwrap().as_str()).unwrap();
        let [allow, others, denied] = words["Statement"].as_array().unwrap().as_slice() else { panic!("{words}") };
        assert_eq!(allow["Action"], others["NotAction"], "{words}");
        assert_eq!(denied["Action"], serde_json::json!(["s3:Delete*", "sts:Assume*"]), "{words}");
    }

    #[test]
    fn a_ceiling_of_everything_still_lets_nobody_assume_a_role() {
        let grant = observed(Kind::Aws, &["*"], &["s3:PutBucketPolicy"]).unwrap();
        let words: Value = serde_json::from_str(document(&grant, Dialect::Aws).unwrap().as_str()).unwrap();
        assert_eq!(
            words["Statement"],
            serde_json::json!([
                {"Effect": "Allow", "Action": "*", "Resource": "*"},
                {"Effect": "Deny", "Action": ["s3:PutBucketPolicy", "sts:Assume*"], "Resource": "*"}
            ])
        );
        for (max, deny, field) in [(&["*"][..], &["*:Delete*"][..], "deny"), (&["*:Get*"], &[], "maxActions")] {
            let error = document(&observed(Kind::Aws, max, deny).unwrap(), Dialect::Aws).unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("each service"), "{error}");
        }
        let s3 = document(&observed(Kind::Aws, &["*:Get*", "ec2:*"], &[]).unwrap(), Dialect::S3Compatible).unwrap();
        assert!(s3.as_str().contains("s3:Get") && !s3.as_str().contains("ec2"), "{}", s3.as_str());
        assert!(document(&observed(Kind::Aws, &["ec2:*"], &[]).unwrap(), Dialect::S3Compatible).is_err());
    }

    #[test]
    fn what_is_vaults_own_stays_closed_under_any_ceiling() {
        let grant = observed(Kind::Vault, &["*"], &["* secret/data/prod/*"]).unwrap();
        assert!(covers(&grant, "read", "secret/data/x") && covers(&grant, "delete", "kv/anything"));
        for path in ["auth/token/create", "sys/policies/acl/x", "identity/entity", "cubbyhole/x", "secret/data/prod/x"]
        {
            assert!(!covers(&grant, "write", path), "{path}");
        }
        let some = observed(Kind::Vault, &["read secret/*", "list"], &[]).unwrap();
        assert!(covers(&some, "read", "secret/x") && covers(&some, "list", "kv/x") && !covers(&some, "read", "kv/x"));
    }

    #[test]
    fn the_grant_is_another_one_than_of_the_same_words_and_takes_no_narrowing() {
        let grant = observed(Kind::Aws, &["s3:*"], &[]).unwrap();
        assert_ne!(grant.digest(), Grant { observe: false, ..grant.clone() }.digest());
        assert!(grant.meets(&own(&["*:Delete*"])) && !grant.meets(&own(&["ec2:*"])));
        let max = own(&["s3:*"]);
        let narrowing = [Statement { actions: own(&["s3:GetObject"]), resources: own(&["*"]) }];
        let input = GrantInput {
            kind: Kind::Aws,
            principal: &grant.principal,
            policy_allow: &[],
            max_actions: &max,
            deny: &[],
            narrowing: Some(&narrowing),
        };
        assert!(super::grant(input).unwrap_err().to_string().contains("remove the annotation"));
    }
}
