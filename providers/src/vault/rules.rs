//! The grant as the sidecar judges calls by it, and what Vault's own capabilities must say.

use exeat_crds::reason::Reason;
use exeat_crds::rules::action::{Action, Role};
use exeat_crds::rules::{Grant, Kind};
use exeat_wire::VaultRule;

use crate::ProviderError;

/// What is allowed, and what is denied.
pub(super) fn of(grant: &Grant) -> Result<(Vec<VaultRule>, Vec<VaultRule>), ProviderError> {
    if grant.kind != Kind::Vault {
        return Err(ProviderError::lasting(Reason::InternalError, "the grant is for another kind of provider"));
    }
    let allow =
        grant.allow.iter().map(|s| VaultRule { verbs: s.actions.clone(), paths: s.resources.clone() }).collect();
    let deny = grant.deny.iter().map(|text| {
        let pattern = Action::parse(Kind::Vault, Role::Guardrail, text)
            .map_err(|e| ProviderError::lasting(e.reason(), format!("spec.bindings[].deny: {e}")))?;
        let Action::Vault(pattern) = pattern else { return Ok(None) };
        let path = pattern.path().map_or_else(|| "*".to_owned(), |path| path.text());
        Ok(Some(VaultRule { verbs: vec![pattern.verb().unwrap_or("*").to_owned()], paths: vec![path] }))
    });
    let deny: Result<Vec<Option<VaultRule>>, ProviderError> = deny.collect();
    Ok((allow, deny?.into_iter().flatten().collect()))
}

/// Whether what Vault says of a token and a path is enough for a verb.
pub(super) fn suffices(verb: &str, capabilities: &[String]) -> bool {
    let has = |name: &str| capabilities.iter().any(|c| c == name);
    has("root")
        || match verb {
            "write" => has("create") || has("update"),
            verb => has(verb),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeat_crds::rules::Statement;

    #[test]
    fn a_grant_becomes_rules_without_loss() {
        let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let allow = vec![Statement { actions: texts(&["list", "read"]), resources: texts(&["kv/data/a/*", "kv/+/b"]) }];
        let deny = texts(&["delete", "read kv/data/a/prod/*"]);
        let grant = Grant { kind: Kind::Vault, principal: "agents".into(), allow, deny, observe: false };
        let (allow, deny) = of(&grant).unwrap();
        assert_eq!(allow, [VaultRule { verbs: texts(&["list", "read"]), paths: texts(&["kv/data/a/*", "kv/+/b"]) }]);
        let rule = |verb: &str, path: &str| VaultRule { verbs: texts(&[verb]), paths: texts(&[path]) };
        assert_eq!(deny, [rule("delete", "*"), rule("read", "kv/data/a/prod/*")]);
        assert!(of(&Grant { kind: Kind::Aws, ..grant }).is_err());
    }

    #[test]
    fn a_write_is_a_create_or_an_update() {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert!(suffices("write", &own(&["update"])) && suffices("read", &own(&["root"])));
        assert!(!suffices("read", &own(&["deny"])) && !suffices("delete", &own(&["read", "update"])));
    }
}
