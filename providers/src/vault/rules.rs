//! The grant as the sidecar judges calls by it, and what Vault's own capabilities must say.

use exeat_crds::reason::Reason;
use exeat_crds::rules::action::{Action, Role};
use exeat_crds::rules::{Grant, Kind, Statement};
use exeat_wire::VaultRule;

use crate::ProviderError;

const LIST: &str = "list";

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

/// The paths that Vault is asked about for a statement. It reads the path of a list with a slash at its end, so that a policy may name
/// either.
pub(super) fn asked(statement: &Statement) -> Vec<String> {
    let lists = statement.actions.iter().any(|verb| verb == LIST);
    let folders = statement.resources.iter().filter(|_| lists).map(|path| folder(path));
    statement.resources.iter().cloned().chain(folders).collect()
}

/// A verb and a path of the statement that the token does not have by what Vault said of the paths asked about, and what it has there.
pub(super) fn lacking<'a>(
    statement: &'a Statement,
    told: &'a [(String, Vec<String>)],
) -> Option<(&'a str, &'a str, &'a [String])> {
    let of = |path: &str| told.iter().find(|(p, _)| p == path).map_or(&[][..], |(_, all)| all.as_slice());
    let has = |verb: &str, path: &str| suffices(verb, of(path)) || (verb == LIST && suffices(verb, of(&folder(path))));
    let mut pairs = statement.resources.iter().flat_map(|path| statement.actions.iter().map(move |verb| (verb, path)));
    let (verb, path) = pairs.find(|(verb, path)| !has(verb, path))?;
    Some((verb, path, of(path)))
}

fn folder(path: &str) -> String {
    if path.ends_with(['/', '*']) { path.to_owned() } else { format!("{path}/") }
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

    #[test]
    fn a_list_may_be_given_by_the_path_or_by_what_is_below() {
        let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let statement =
            |verbs: &[&str]| Statement { actions: texts(verbs), resources: texts(&["kv/metadata/a", "kv/b/*"]) };
        let lists = statement(&["list"]);
        assert_eq!(asked(&lists), ["kv/metadata/a", "kv/b/*", "kv/metadata/a/", "kv/b/*"]);
        assert_eq!(asked(&statement(&["read"])), ["kv/metadata/a", "kv/b/*"]);
        let told = |path: &str, folder: &str, below: &str| {
            [("kv/metadata/a", path), ("kv/metadata/a/", folder), ("kv/b/*", below)]
                .map(|(path, has)| (path.to_owned(), texts(&[has])))
        };
        assert_eq!(lacking(&lists, &told("deny", "list", "list")), None);
        assert_eq!(lacking(&lists, &told("list", "deny", "list")), None);
        let denied = told("read", "deny", "list");
        assert_eq!(lacking(&lists, &denied), Some(("list", "kv/metadata/a", &texts(&["read"])[..])));
        let both = statement(&["list", "read"]);
        let only_below = told("list", "read", "list");
        assert_eq!(
            lacking(&both, &only_below).map(|l| (l.0, l.1)),
            Some(("read", "kv/metadata/a")),
            "a read is no list"
        );
        assert_eq!(lacking(&lists, &[]).map(|l| l.1), Some("kv/metadata/a"), "what Vault did not speak of");
    }

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
