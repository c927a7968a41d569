use super::*;
use crate::rules::{GrantInput, grant};
use proptest::prelude::*;
use serde_json::{Value, json};

const PRINCIPAL: &str = "agents@example.iam.gserviceaccount.com";
const REPORTS: &str = "projects/_/buckets/reports/objects/";

fn statement(actions: &[&str], resources: &[&str]) -> Statement {
    let own = |items: &[&str]| items.iter().map(|s| (*s).to_owned()).collect();
    Statement { actions: own(actions), resources: own(resources) }
}

fn granted(allow: &[Statement], deny: &[&str]) -> Grant {
    let deny: Vec<String> = deny.iter().map(|s| (*s).to_owned()).collect();
    grant(GrantInput {
        kind: Kind::Gcp,
        principal: PRINCIPAL,
        policy_allow: allow,
        max_actions: &["*".to_owned()],
        deny: &deny,
        narrowing: None,
    })
    .unwrap()
}

fn ordered(allow: &[Statement], deny: &[&str]) -> Result<Order, GrantError> {
    let all: Vec<String> = deny.iter().map(|s| (*s).to_owned()).collect();
    order(&granted(allow, deny), &all)
}

fn rules(allow: &[Statement]) -> Value {
    let boundary = ordered(allow, &[]).unwrap().boundary.unwrap();
    let mut value: Value = serde_json::from_str(&boundary).unwrap();
    value["accessBoundary"]["accessBoundaryRules"].take()
}

#[test]
fn what_a_role_is_for_becomes_that_role_at_its_places() {
    let read = statement(&["storage.objects.get", "storage.objects.list"], &[&format!("{REPORTS}2026/*")]);
    assert_eq!(
        rules(&[read]),
        json!([{
            "availableResource": "//storage.googleapis.com/projects/_/buckets/reports",
            "availablePermissions": ["inRole:roles/storage.objectViewer"],
            "availabilityCondition": {"expression":
                "resource.name.startsWith('projects/_/buckets/reports/objects/2026/') || \
                 api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('2026/')"},
        }])
    );
    for (actions, role) in [
        (&["storage.objects.get"][..], "legacyObjectReader"),
        (&["storage.objects.create"], "objectCreator"),
        (&["storage.objects.create", "storage.multipartUploads.create"], "objectCreator"),
        (&["storage.objects.*"], "objectAdmin"),
        (
            &[
                "storage.objects.create",
                "storage.objects.delete",
                "storage.objects.get",
                "storage.objects.list",
                "storage.objects.update",
            ],
            "objectUser",
        ),
    ] {
        let rules = rules(&[statement(actions, &[&format!("{REPORTS}*")])]);
        assert_eq!(rules[0]["availablePermissions"], json!([format!("inRole:roles/storage.{role}")]), "{actions:?}");
        assert!(rules[0].get("availabilityCondition").is_none(), "the whole bucket needs no condition: {rules}");
    }
}

#[test]
fn places_of_one_role_in_one_bucket_are_one_rule_and_statements_stand_alone() {
    let all = [
        statement(&["storage.objects.get"], &[&format!("{REPORTS}a/*"), &format!("{REPORTS}q3.txt")]),
        statement(&["storage.objects.create"], &[&format!("{REPORTS}out/*")]),
        statement(&["storage.buckets.get"], &["projects/_/buckets/reports"]),
        statement(&["inRole:projects/p/roles/own"], &["projects/_/buckets/other/objects/*"]),
    ];
    let rules = rules(&all);
    let seen: Vec<(String, String, String)> = rules
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let bucket = text(&rule["availableResource"]).rsplit('/').next().unwrap().to_owned();
            (bucket, text(&rule["availablePermissions"][0]), text(&rule["availabilityCondition"]["expression"]))
        })
        .collect();
    let expected = [
        ("other", "inRole:projects/p/roles/own", "resource.name.startsWith('projects/_/buckets/other/objects/')"),
        ("reports", "inRole:roles/storage.bucketViewer", "resource.name == 'projects/_/buckets/reports'"),
        (
            "reports",
            "inRole:roles/storage.legacyObjectReader",
            "resource.name.startsWith('projects/_/buckets/reports/objects/a/') || \
             resource.name == 'projects/_/buckets/reports/objects/q3.txt'",
        ),
        (
            "reports",
            "inRole:roles/storage.objectCreator",
            "resource.name.startsWith('projects/_/buckets/reports/objects/out/')",
        ),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(seen, expected);
}

#[test]
fn what_equals_no_role_or_is_too_large_is_refused_with_the_fix() {
    let many: Vec<Statement> = (0..11)
        .map(|i| statement(&["storage.objects.get"], &[&format!("projects/_/buckets/bucket-{i}/objects/*")]))
        .collect();
    let long: Vec<String> = (0..40).map(|i| format!("{REPORTS}a-rather-long-prefix-{i:03}/*")).collect();
    let long = statement(&["storage.objects.get"], &long.iter().map(String::as_str).collect::<Vec<_>>());
    let audiences: Vec<String> = (0..5).map(|i| format!("audience/https://{i}.test")).collect();
    let audiences = statement(&[IDENTITY_TOKEN], &audiences.iter().map(String::as_str).collect::<Vec<_>>());
    let everything = format!("{REPORTS}*");
    for (allow, reason, part) in [
        (
            vec![statement(&["storage.objects.delete"], &[&everything])],
            Reason::ActionInvalid,
            "exactly storage.objects.delete",
        ),
        (
            vec![statement(&["storage.objects.get", "storage.objects.update"], &[&everything])],
            Reason::ActionInvalid,
            "inRole:",
        ),
        (vec![statement(&["storage.objects.unheardOf"], &[&everything])], Reason::ActionInvalid, "unheardOf"),
        (many, Reason::PolicyTooLarge, "11 rules"),
        (vec![long], Reason::PolicyTooLarge, "2048"),
        (vec![audiences], Reason::PolicyTooLarge, "5 audiences"),
    ] {
        let error = ordered(&allow, &[]).unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_denial_wins_over_all_that_comes_with_a_role() {
    let all = statement(&["storage.objects.*"], &[&format!("{REPORTS}*")]);
    let denied = [
        "storage.objects.getIamPolicy",
        "storage.objects.setIamPolicy",
        "storage.objects.overrideUnlockedRetention",
        "storage.objects.setRetention",
    ];
    let order = ordered(std::slice::from_ref(&all), &denied).unwrap();
    assert!(order.boundary.unwrap().contains("roles/storage.objectUser"), "what is left is what a smaller role is for");
    assert_eq!(ordered(&[all], &["storage.objects.delete"]).unwrap_err().reason(), Reason::ActionInvalid);
    let viewer = statement(&["storage.objects.get", "storage.objects.list"], &[&format!("{REPORTS}*")]);
    let error = ordered(std::slice::from_ref(&viewer), &["storage.folders.*"]).unwrap_err();
    assert_eq!(error.reason(), Reason::DeniedByGuardrail);
    assert!(error.to_string().contains("storage.folders.get"), "{error}");
    assert!(ordered(&[viewer], &["storage.objects.delete"]).is_ok());
    let custom = statement(&["inRole:projects/p/roles/own"], &[&format!("{REPORTS}*")]);
    assert_eq!(ordered(&[custom], &["storage.objects.delete"]).unwrap_err().reason(), Reason::DeniedByGuardrail);
}

#[test]
fn what_no_boundary_holds_is_as_wide_as_its_principal_and_says_so() {
    let tables = statement(&["bigquery.tables.*"], &["*"]);
    let objects = statement(&["storage.objects.get"], &[&format!("{REPORTS}*")]);
    let tokens = statement(&[IDENTITY_TOKEN], &["audience/https://a.test", "audience/https://b.test"]);
    for (allow, enforced, access, bounded) in [
        (vec![objects.clone()], Enforcement::Provider, true, true),
        (vec![objects.clone(), tokens.clone()], Enforcement::Provider, true, true),
        (vec![tokens.clone()], Enforcement::Provider, false, false),
        (vec![tables.clone()], Enforcement::PrincipalOnly, true, false),
        (vec![tables.clone(), objects], Enforcement::PrincipalOnly, true, false),
        (vec![statement(&["storage.objects.get"], &["*"])], Enforcement::PrincipalOnly, true, false),
    ] {
        let order = ordered(&allow, &[]).unwrap();
        assert_eq!(enforcement(&allow), enforced, "{allow:?}");
        assert_eq!((order.access, order.boundary.is_some()), (access, bounded), "{allow:?}");
        let audiences = if gives_identity_tokens(&allow) { 2 } else { 0 };
        assert_eq!(order.audiences.len(), audiences, "{allow:?}");
    }
    let error = ordered(&[tables], &["bigquery.tables.delete"]).unwrap_err();
    assert_eq!(error.reason(), Reason::EnforcementTooWeak, "{error}");
}

#[test]
fn what_goes_along_with_a_role_is_told() {
    let viewer =
        statement(&["storage.objects.get", "storage.objects.list", "storage.folders.get"], &[&format!("{REPORTS}*")]);
    let told = company(&granted(&[viewer], &[]));
    assert_eq!(told[0].0, "roles/storage.objectViewer");
    assert_eq!(told[0].1, ["storage.folders.list", "storage.managedFolders.get", "storage.managedFolders.list"]);
    assert!(company(&granted(&[statement(&["storage.objects.get"], &[&format!("{REPORTS}*")])], &[])).is_empty());
}

proptest! {
    /// Whatever is chosen of the permissions of objects: a role is named only if it is for all of it, and it gives nothing unknown.
    #[test]
    fn a_role_gives_what_is_allowed_and_no_more_than_is_told(chosen in prop::collection::btree_set(0_usize..7, 1..5)) {
        const OF: [&str; 7] = ["storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.getIamPolicy",
            "storage.objects.list", "storage.objects.setIamPolicy", "storage.objects.update"];
        let allow = [statement(&chosen.iter().map(|i| OF[*i]).collect::<Vec<_>>(), &[&format!("{REPORTS}x/*")])];
        let Ok(order) = ordered(&allow, &[]) else { return Ok(()) };
        let boundary = order.boundary.unwrap();
        let role = ROLES.iter().find(|role| boundary.contains(&format!("inRole:{}\"", role.name))).unwrap();
        let told: Vec<&str> = company(&granted(&allow, &[])).into_iter().flat_map(|(_, more)| more).collect();
        for (i, permission) in OF.iter().enumerate() {
            prop_assert_eq!(role.holds(permission), chosen.contains(&i), "{} {}", role.name, permission);
        }
        for given in role.core.iter().chain(role.also) {
            prop_assert!(told.contains(given) || allow[0].actions.iter().any(|a| a == given), "{}", given);
        }
    }
}
