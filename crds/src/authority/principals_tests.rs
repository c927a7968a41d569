use super::*;
use crate::authority::resolve;
use crate::v1alpha1::{AgentCredentialPolicy, CredentialProvider};
use proptest::prelude::*;
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/agents/";

fn spec(principal: &str, accounts: &[&str], mappings: Value) -> AgentCredentialPolicySpec {
    serde_json::from_value(json!({
        "providerRef": {"name": "aws"}, "principal": principal, "principalMappings": mappings,
        "subjects": {"serviceAccounts": accounts},
        "allow": [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::reports/*"]}]
    }))
    .unwrap()
}

fn policy(principal: &str, accounts: &[&str], mappings: Value) -> AgentCredentialPolicy {
    let mut policy = AgentCredentialPolicy::new("p", spec(principal, accounts, mappings));
    policy.metadata.namespace = Some("team".to_owned());
    policy
}

fn provider(bindings: &[&[&str]]) -> CredentialProvider {
    let bindings: Vec<Value> = bindings
        .iter()
        .enumerate()
        .map(|(i, principals)| {
            json!({"name": format!("b{i}"), "namespaces": ["team"], "principals": principals, "maxActions": ["s3:*"]})
        })
        .collect();
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "aws", "uid": "u"},
        "spec": {"aws": {"region": "eu-west-1"}, "bindings": bindings}
    }))
    .unwrap()
}

#[test]
fn each_service_account_has_its_own_principal_and_no_other() {
    let template = format!("{ROLE}${{namespace}}/${{serviceAccount}}");
    let mapped = json!([{"serviceAccount": "auditor", "principal": format!("{ROLE}${{namespace}}/audit")}]);
    let policy = policy(&template, &["reader", "auditor", "writer"], mapped);
    let authority = resolve(&policy, Some(&provider(&[&[&format!("{ROLE}${{namespace}}/*")]]))).unwrap();
    for (account, role) in [("reader", "team/reader"), ("auditor", "team/audit"), ("writer", "team/writer")] {
        assert_eq!(authority.grant(account, None).unwrap().principal, format!("{ROLE}{role}"));
    }
    let digest = |account| authority.grant(account, None).unwrap().digest();
    assert_ne!(digest("reader"), digest("writer"), "people approve one account's principal");
    assert_eq!(authority.grant("other", None).unwrap_err().reason, Reason::PodNotCovered);
}

#[test]
fn each_principal_must_be_within_one_binding_and_the_account_is_told() {
    let mapped = json!([{"serviceAccount": "auditor", "principal": format!("{ROLE}other/audit")}]);
    let asked = policy(&format!("{ROLE}team/reader"), &["reader", "auditor"], mapped);
    let own = format!("{ROLE}${{namespace}}/*");
    let refused = resolve(&asked, Some(&provider(&[&[&own]]))).unwrap_err();
    assert_eq!(refused.reason, Reason::PrincipalNotAllowed);
    for part in ["spec.principalMappings[serviceAccount=auditor].principal", "other/audit", "\"auditor\""] {
        assert!(refused.message.contains(part), "{part}: {refused}");
    }
    let apart = resolve(&asked, Some(&provider(&[&[&own], &[&format!("{ROLE}other/*")]]))).unwrap_err();
    assert!(apart.message.contains("no one binding allows them all"), "{apart}");
    // A binding that gives each account its own role does not give it another's.
    let by_account = format!("{ROLE}${{namespace}}/${{serviceAccount}}");
    let swapped = json!([{"serviceAccount": "auditor", "principal": format!("{ROLE}team/reader")}]);
    let swapped = policy(&by_account, &["reader", "auditor"], swapped);
    let refused = resolve(&swapped, Some(&provider(&[&[&by_account]]))).unwrap_err();
    assert!(refused.message.contains("serviceAccount=auditor"), "{refused}");
}

#[test]
fn what_can_not_be_read_is_told_by_its_field() {
    let mapping = |account: &str, principal: &str| json!([{"serviceAccount": account, "principal": principal}]);
    for (principal, mappings, part) in [
        ("role/${aws:username}", json!([]), "spec.principal: \"role/${aws:username}\" holds an unknown variable"),
        ("r", mapping("reader", "${pod}"), "spec.principalMappings[serviceAccount=reader].principal: "),
        ("r", mapping("stranger", "r"), "spec.principalMappings[serviceAccount=stranger]: the policy does not cover"),
    ] {
        let refused = Principals::read(&spec(principal, &["reader"], mappings), "team").unwrap_err();
        assert_eq!(refused.reason, Reason::PrincipalInvalid);
        assert!(refused.message.starts_with(part), "{refused}");
    }
    let long = "x".repeat(65);
    let read =
        Principals::read(&spec(&format!("{ROLE}${{serviceAccount}}"), &["ok", &long], json!([])), "team").unwrap();
    assert!(read.validate(Kind::Aws).unwrap_err().message.contains(&long), "the account whose role can't be is told");
}

#[test]
fn a_policy_without_mappings_keeps_its_hash_over_an_upgrade() {
    let written = serde_json::to_value(spec("r", &["a"], json!([]))).unwrap();
    assert!(written.get("principalMappings").is_none(), "{written}");
}

#[test]
fn a_service_account_is_named_as_a_dns_subdomain_or_stands_for_nothing() {
    for name in ["*", "a*", "?", "a/b", "../x", "${namespace}", "a:b", "A", "", "a..b", ".a", "a.", "-a", "a b", "a\n"]
    {
        let read = Principals::read(&spec("role/${serviceAccount}", &[name], json!([])), "team");
        assert!(read.is_err(), "{name:?} is no name that Kubernetes takes, and it was put in: {read:?}");
    }
}

/// Names that Kubernetes takes, and some that it does not.
fn account() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?(\\.[a-z0-9]{1,5})?", 1 => "[a-z*?/$\\{\\}:. A-Z]{0,8}"]
}

proptest! {
    /// What is put in is the account's name and nothing else: the pieces around it stand as they were written.
    #[test]
    fn a_template_is_filled_with_the_agents_own_names(account in account(), before in "[a-z/:]{0,6}", after in "[a-z/:]{0,6}") {
        let read = fill_principal(&format!("{before}${{serviceAccount}}/${{namespace}}{after}"), "team", &account);
        let named = !account.is_empty() && account.split('.').all(|label| {
            !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        });
        prop_assert_eq!(read.ok(), named.then(|| format!("{before}{account}/team{after}")));
    }

    /// A binding that names `${serviceAccount}` serves each account its own principal, whatever accounts there are: where the policy's
    /// principal is resolved for one and allowed, it is not what the binding allows for another of them.
    #[test]
    fn no_account_reaches_what_belongs_to_another(one in account(), other in account()) {
        let pattern = format!("{ROLE}${{namespace}}/${{serviceAccount}}");
        if let Ok(principal) = fill_principal(&pattern, "team", &one) {
            prop_assert!(principal_matches(&pattern, &principal, "team", &one));
            prop_assert_eq!(principal_matches(&pattern, &principal, "team", &other), one == other);
            prop_assert!(!principal_matches(&pattern, &principal, "team-b", &one));
        }
    }

    /// Whatever resolves is inside the binding, for each account by itself.
    #[test]
    fn what_resolves_is_within_its_binding(accounts in prop::collection::vec(account(), 1..5), mapped in "[a-z/*]{1,6}", which in 0_usize..5) {
        let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
        let mappings = json!([{"serviceAccount": accounts[which % accounts.len()], "principal": format!("{ROLE}{mapped}")}]);
        let asked = policy(&format!("{ROLE}team/${{serviceAccount}}"), &accounts, mappings);
        let pattern = format!("{ROLE}${{namespace}}/*");
        if let Ok(authority) = resolve(&asked, Some(&provider(&[&[&pattern]]))) {
            for account in accounts {
                let grant = authority.grant(account, None).unwrap();
                prop_assert!(grant.principal.starts_with(&format!("{ROLE}team/")), "{}", grant.principal);
                prop_assert!(!grant.principal.contains(['*', '?', '$']), "{}", grant.principal);
            }
        }
    }

    /// Each principal is tried once, and none is left out.
    #[test]
    fn each_principal_is_tried_once(accounts in prop::collection::btree_set("[a-c]{1,2}", 1..8), template in any::<bool>()) {
        let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
        let read = Principals::read(&spec(if template { "r-${serviceAccount}" } else { "r" }, &accounts, json!([])), "team").unwrap();
        prop_assert_eq!(read.distinct().len(), if template { accounts.len() } else { 1 });
        for account in accounts {
            prop_assert!(read.distinct().iter().any(|(_, principal)| read.of(account).as_ref() == Ok(principal)));
        }
    }
}
