use super::super::law;
use super::*;
use proptest::prelude::*;

const READ: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read";

fn guardrail(text: &str) -> Action {
    Action::parse(Role::Guardrail, text).unwrap()
}

#[test]
fn an_operation_is_what_azures_roles_name() {
    for text in [
        READ,
        "Microsoft.KeyVault/vaults/secrets/getSecret/action",
        "microsoft.support/operations/READ",
        "Microsoft.Storage/storageAccounts/fileServices/writeFileBackupSemantics/action",
    ] {
        let action = Action::parse(Role::Allow, text).unwrap();
        assert!(action.covers(&text.to_uppercase()) && action.text() == text);
        assert!(!action.covers(&format!("{text}/read")) && !action.covers("Microsoft.Storage"));
    }
    for (role, text, problem) in [
        (Role::Allow, "*", "holds a *"),
        (Role::Allow, "Microsoft.Storage/storageAccounts/*", "holds a *"),
        (Role::Allow, "", "no operation"),
        (Role::Allow, "read", "no operation"),
        (Role::Allow, "Microsoft.Storage/read", "no operation"),
        (Role::Allow, "Storage/storageAccounts/read", "no operation"),
        (Role::Allow, "Microsoft.Storage//storageAccounts/read", "no operation"),
        (Role::Allow, "Microsoft.Storage/storageAccounts/list", "ends in \"list\""),
        (Role::Allow, "Microsoft.Storage/storage accounts/read", "no operation"),
        (Role::Allow, "s3:GetObject", "no operation"),
        (Role::Guardrail, "Microsoft.Storage/?/read", "no operation"),
        (Role::Guardrail, "Microsoft.Storage", "no operation"),
        (Role::Guardrail, "Microsoft.Storage/storageAccounts/reed", "ends in \"reed\""),
    ] {
        let error = Action::parse(role, text).unwrap_err();
        assert!(error.problem.contains(problem) && !error.fix.is_empty(), "{text}: {error}");
        assert_eq!(error.reason().as_str(), "ActionInvalid");
    }
}

#[test]
fn a_star_of_a_guardrail_crosses_slashes_as_in_azures_roles() {
    for (pattern, covered, not) in [
        ("*", &[READ, "Microsoft.KeyVault/vaults/read"][..], &[][..]),
        ("*/read", &[READ], &["Microsoft.KeyVault/vaults/write", "Microsoft.X/readers/write"]),
        ("microsoft.storage/*", &[READ], &["Microsoft.StorageSync/storageSyncServices/read"]),
        ("Microsoft.Storage/*/blobs/*", &[READ], &["Microsoft.Storage/storageAccounts/read"]),
    ] {
        let pattern = guardrail(pattern);
        covered.iter().for_each(|call| assert!(pattern.covers(call), "{} {call}", pattern.text()));
        not.iter().for_each(|call| assert!(!pattern.covers(call), "{} {call}", pattern.text()));
    }
}

#[test]
fn a_resource_is_one_audience_and_its_case_has_no_meaning() {
    for text in [
        "https://storage.azure.com",
        "https://management.core.windows.net:443",
        "api://11111111-2222-3333-4444-555555555555",
        "api://reports/v1",
        "11111111-2222-3333-4444-55555555555f",
    ] {
        let resource = Resource::parse(text).unwrap();
        assert!(resource.covers(&text.to_uppercase()) && resource.subset(&Resource::parse(text).unwrap()));
        assert!(!resource.covers(&format!("{text}/")) && !resource.covers(&format!("{text}/x")));
    }
    for (text, problem) in [
        ("https://storage.azure.com/.default", "is a scope"),
        ("*", "is a pattern"),
        ("https://*.azure.com", "is a pattern"),
        ("https://storage.azure.com/", "no resource"),
        ("https://", "no resource"),
        ("https:///x", "no resource"),
        ("http://storage.azure.com", "no resource"),
        ("https://a b", "no resource"),
        ("https://a/x?y=z", "is a pattern"),
        ("https://user@host", "no resource"),
        ("storage.azure.com", "no resource"),
        ("11111111-2222-3333-4444-5555555555", "no resource"),
        ("", "no resource"),
    ] {
        let error = Resource::parse(text).unwrap_err();
        assert!(error.problem.contains(problem) && !error.fix.is_empty(), "{text}: {error}");
        assert_eq!(error.reason().as_str(), "ResourceInvalid");
    }
}

fn segments(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(words), 1..4).prop_map(|parts| parts.join("/"))
}

fn pattern() -> impl Strategy<Value = String> {
    segments(&["A.b", "c", "*", "c*", "*d"]).prop_filter("a pattern", |text| text.contains('*'))
}

fn operation() -> impl Strategy<Value = String> {
    (segments(&["c", "cd", "C", "d"]), prop::sample::select(&VERBS[..]))
        .prop_map(|(middle, verb)| format!("A.b/{middle}/{verb}"))
}

proptest! {
    #[test]
    fn the_three_questions_agree(a in pattern(), b in pattern(), calls in prop::collection::vec(operation(), 1..24)) {
        let (x, y) = (guardrail(&a), guardrail(&b));
        prop_assert_eq!(&guardrail(x.text()), &x);
        law::check((&x, &y), &calls, Action::covers, Action::subset, Action::overlaps)?;
        for call in &calls {
            // What is allowed is one operation: a guardrail holds all of it or nothing.
            let one = Action::parse(Role::Allow, call).unwrap();
            prop_assert_eq!(one.subset(&x), x.covers(call), "{} {}", a, call);
            prop_assert_eq!(one.overlaps(&x), x.covers(call), "{} {}", a, call);
        }
    }
}
