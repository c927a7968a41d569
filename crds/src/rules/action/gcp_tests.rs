use super::super::law;
use super::*;
use proptest::prelude::*;

fn allow(text: &str) -> Action {
    Action::parse(Role::Allow, text).unwrap()
}

fn guardrail(text: &str) -> Action {
    Action::parse(Role::Guardrail, text).unwrap()
}

fn resource(text: &str) -> Resource {
    Resource::parse(text).unwrap()
}

#[test]
fn permissions_are_written_as_iam_writes_them() {
    for text in ["storage.objects.get", "storage.objects.*", "bigquery.tables.get*", IDENTITY_TOKEN] {
        assert_eq!(allow(text).text(), text);
    }
    for text in ["*", "storage.*", "*.objects.*", "storage.objects.get", "inRole:projects/p/roles/agent*", "inRole:*"] {
        assert_eq!(guardrail(text).text(), text);
    }
    for (role, text, problem) in [
        (Role::Allow, "*", "no permission"),
        (Role::Allow, "storage.*", "no permission"),
        (Role::Allow, "storage.*.get", "wider than"),
        (Role::Allow, "storage.objects", "no permission"),
        (Role::Allow, "storage.objects.g*t", "wider than"),
        (Role::Allow, "storage..get", "no permission"),
        (Role::Allow, "s3:GetObject", "no permission"),
        (Role::Allow, "inRole:roles/storage.objectViewer", "no custom role"),
        (Role::Allow, "inRole:projects/p/roles/*", "no custom role"),
        (Role::Allow, "inRole:projects//roles/x", "no custom role"),
        (Role::Allow, "iam.serviceAccounts.getAccessToken", "beyond its session"),
        (Role::Allow, "iam.serviceAccounts.*", "beyond its session"),
        (Role::Allow, "iam.serviceAccountKeys.c*", "beyond its session"),
        (Role::Guardrail, "storage.objects. get*", "no pattern"),
        (Role::Guardrail, "storage", "no permission"),
        (Role::Guardrail, "inRole:", "no custom role"),
    ] {
        let error = Action::parse(role, text).unwrap_err();
        assert!(error.problem.contains(problem) && !error.fix.is_empty(), "{text}: {error}");
        assert_eq!(error.reason().as_str(), "ActionInvalid");
    }
    let predefined = Action::parse(Role::Allow, "inRole:roles/storage.objectViewer").unwrap_err();
    assert!(predefined.fix.contains("write the permissions"), "{predefined}");
}

#[test]
fn a_custom_role_may_hold_any_permission_and_is_held_by_none() {
    let role = allow("inRole:projects/p/roles/agentReader");
    assert!(role.subset(&guardrail("*")) && role.subset(&guardrail("inRole:projects/p/roles/agent*")));
    assert!(!role.subset(&guardrail("storage.*")) && !role.subset(&guardrail("inRole:projects/q/roles/*")));
    assert!(role.overlaps(&guardrail("storage.objects.delete")) && role.meets(&guardrail("storage.objects.delete")));
    let get = allow("storage.objects.get");
    assert!(!get.meets(&guardrail("inRole:*")) && get.meets(&guardrail("*.get")));
    assert!(!get.covers("storage.objects.Get"), "case has a meaning");
    assert!(
        !guardrail("storage.*").covers("inRole:projects/p/roles/x")
            && guardrail("*").covers("inRole:projects/p/roles/x")
    );
}

#[test]
fn resources_name_objects_audiences_or_something_elsewhere() {
    let objects = resource("projects/_/buckets/reports/objects/2026/*");
    assert_eq!(objects.target(), &Target::Objects { bucket: "reports".into(), name: "2026/".into(), open: true });
    assert!(objects.covers("projects/_/buckets/reports/objects/2026/q3.txt"));
    assert!(!objects.covers("projects/_/buckets/reports/objects/2025/q3.txt"));
    assert_eq!(resource("projects/_/buckets/reports").target(), &Target::Bucket("reports".into()));
    assert_eq!(resource("audience/https://a.test/x").target(), &Target::Audience("https://a.test/x".into()));
    for text in ["*", "projects/p/datasets/d/*", "folders/1", "organizations/2*"] {
        assert_eq!(resource(text).target(), &Target::Other, "{text}");
    }
    for (text, problem) in [
        ("projects/_/buckets/*", "no single bucket"),
        ("projects/_/buckets/rep*", "no single bucket"),
        ("projects/_/buckets/reports/*", "no single bucket"),
        ("projects/_/buckets/reports/objects/", "no single bucket"),
        ("projects/_/buckets/Reports/objects/*", "no single bucket"),
        ("projects/_/b*", "no resource"),
        ("projects/*", "no resource"),
        ("projects/_/buckets/reports/objects/a*b*", "before its end"),
        ("projects/_/buckets/reports/objects/a'b", "character"),
        ("projects/_/buckets/reports/objects/a\\b", "character"),
        ("projects/_/buckets/reports/objects/a\nb", "character"),
        ("audience/https://*", "no single audience"),
        ("audience/", "no single audience"),
        ("arn:aws:s3:::reports", "no resource"),
        ("", "no resource"),
    ] {
        let error = Resource::parse(text).unwrap_err();
        assert!(error.problem.contains(problem) && !error.fix.is_empty(), "{text}: {error}");
        assert_eq!(error.reason().as_str(), "ResourceInvalid");
    }
}

#[test]
fn an_action_goes_with_the_resources_that_it_can_be_judged_on() {
    let fits = |action: &str, on: &str| check_pair(&allow(action), &resource(on));
    const OBJECTS: &str = "projects/_/buckets/reports/objects/*";
    for (action, on) in [
        ("storage.objects.get", OBJECTS),
        ("storage.objects.list", OBJECTS),
        ("storage.buckets.get", "projects/_/buckets/reports"),
        ("storage.buckets.list", "projects/p"),
        ("inRole:projects/p/roles/x", OBJECTS),
        ("inRole:projects/p/roles/x", "projects/_/buckets/reports"),
        ("bigquery.tables.getData", "*"),
        (IDENTITY_TOKEN, "audience/https://a.test"),
    ] {
        fits(action, on).unwrap();
    }
    for (action, on) in [
        ("storage.objects.get", "projects/_/buckets/reports"),
        ("storage.buckets.get", OBJECTS),
        ("storage.objects.list", "projects/_/buckets/reports/objects/q3.txt"),
        ("storage.objects.*", "projects/_/buckets/reports/objects/q3.txt"),
        ("bigquery.tables.get", OBJECTS),
        ("bigquery.tables.get", "audience/https://a.test"),
        (IDENTITY_TOKEN, "*"),
        ("inRole:projects/p/roles/x", "projects/p"),
    ] {
        let error = fits(action, on).unwrap_err();
        assert!(error.problem.contains("does not go with") && !error.fix.is_empty(), "{action} {on}: {error}");
    }
}

fn permission() -> impl Strategy<Value = String> {
    let part =
        || prop_oneof![Just("storage"), Just("s"), Just("objects"), Just("get"), Just("getX"), Just("*"), Just("g*")];
    prop_oneof![
        4 => (part(), part(), part()).prop_map(|(a, b, c)| format!("{a}.{b}.{c}")),
        1 => Just("*".to_owned()),
        1 => prop_oneof![Just("inRole:projects/p/roles/x"), Just("inRole:projects/*"), Just("inRole:*")].prop_map(str::to_owned),
    ]
}

fn call() -> impl Strategy<Value = String> {
    let part = || prop_oneof![Just("storage"), Just("s"), Just("objects"), Just("get"), Just("getX")];
    prop_oneof![
        4 => (part(), part(), part()).prop_map(|(a, b, c)| format!("{a}.{b}.{c}")),
        1 => Just("inRole:projects/p/roles/x".to_owned()),
    ]
}

fn place() -> impl Strategy<Value = String> {
    (prop_oneof![Just("a"), Just("ab"), Just("a/b"), Just("a/"), Just("")], any::<bool>())
        .prop_filter("no object is named so", |(name, open)| *open || !name.is_empty())
        .prop_map(|(name, open)| format!("projects/_/buckets/reports/objects/{name}{}", if open { "*" } else { "" }))
}

proptest! {
    #[test]
    fn the_three_questions_agree(a in permission(), b in permission(), calls in prop::collection::vec(call(), 1..24)) {
        let (x, y) = (guardrail(&a), guardrail(&b));
        law::check((&x, &y), &calls, Action::covers, Action::subset, Action::overlaps)?;
        for call in &calls {
            prop_assert_eq!(guardrail(call).subset(&x), x.covers(call));
        }
    }

    #[test]
    fn a_resource_inside_another_names_no_more(a in place(), b in place(), c in place()) {
        let (x, y) = (resource(&a), resource(&b));
        let call = c.trim_end_matches('*').to_owned();
        prop_assert_eq!(&resource(&x.text()), &x);
        law::check((&x, &y), &[call], Resource::covers, Resource::subset, Resource::overlaps)?;
    }
}
