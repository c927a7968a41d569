use super::*;

const ROLE: &str = "arn:aws:iam::123456789012:role/agents/agents/report-writer";

fn own(items: &[&str]) -> Vec<String> {
    items.iter().map(|s| (*s).to_owned()).collect()
}

fn statement(actions: &[&str], resources: &[&str]) -> Statement {
    Statement { actions: own(actions), resources: own(resources) }
}

fn reports() -> Vec<Statement> {
    vec![statement(&["s3:GetObject", "s3:ListBucket"], &["arn:aws:s3:::reports", "arn:aws:s3:::reports/*"])]
}

fn decide(
    allow: &[Statement],
    max: &[&str],
    deny: &[&str],
    narrowing: Option<&[Statement]>,
) -> Result<Grant, GrantError> {
    let (max, deny) = (own(max), own(deny));
    grant(GrantInput {
        kind: Kind::Aws,
        principal: ROLE,
        policy_allow: allow,
        max_actions: &max,
        deny: &deny,
        narrowing,
    })
}

fn refusal(result: Result<Grant, GrantError>) -> (&'static str, String) {
    let error = result.unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn a_policy_within_its_guardrails_is_granted_as_written() {
    let grant = decide(&reports(), &["s3:*", "dynamodb:*"], &["s3:PutBucketPolicy", "*:Get*Acl"], None).unwrap();
    assert_eq!(grant.allow, reports());
    assert!(grant.deny.is_empty(), "patterns that meet nothing are left out: {:?}", grant.deny);
    assert!(grant.covers(Call { action: "s3:GetObject", resource: "arn:aws:s3:::reports/a" }));
    assert!(!grant.covers(Call { action: "s3:PutObject", resource: "arn:aws:s3:::reports/a" }));
    assert!(!grant.covers(Call { action: "s3:GetObject", resource: "arn:aws:s3:::other/a" }));
    assert!(!grant.covers(Call { action: "s3:Get*", resource: "arn:aws:s3:::reports/a" }), "a pattern is no call");
}

#[test]
fn deny_travels_with_the_grant_and_wins() {
    let allow = [statement(&["s3:*"], &["*"])];
    let grant = decide(&allow, &["*"], &["*:Delete*", "ec2:*", "*:delete*"], None).unwrap();
    assert_eq!(grant.deny, ["*:Delete*"]);
    assert!(!grant.covers(Call { action: "s3:DeleteObject", resource: "arn:aws:s3:::b/k" }));
    assert!(grant.covers(Call { action: "s3:GetObject", resource: "arn:aws:s3:::b/k" }));
}

#[test]
fn each_refusal_names_the_field_and_the_fix() {
    let good = reports();
    let wide = [statement(&["s3:GetObject"], &["arn:aws:s3:::*"])];
    let cross =
        [statement(&["s3:GetObject"], &["arn:aws:s3:::a/*"]), statement(&["s3:PutObject"], &["arn:aws:s3:::b/*"])];
    let product = [statement(&["s3:GetObject", "s3:PutObject"], &["arn:aws:s3:::a/*"])];
    let bad_action = [good[0].clone(), statement(&["s3:GetObject", "*:Get*"], &["*"])];
    let bad_resource = [statement(&["s3:GetObject"], &["*", "reports/*"])];
    for (result, code, field, problem, fix) in [
        (
            decide(&good, &["dynamodb:*"], &[], None),
            "ActionNotAllowed",
            "spec.allow[0].actions[0]",
            "(dynamodb:*)",
            "platform admin",
        ),
        (
            decide(&good, &[], &[], None),
            "ActionNotAllowed",
            "spec.allow[0].actions[0]",
            "it is empty",
            "platform admin",
        ),
        (
            decide(&good, &["s3:*"], &["*:List*"], None),
            "DeniedByGuardrail",
            "spec.allow[0].actions[1]",
            "\"*:List*\"",
            "remove it",
        ),
        (
            decide(&good, &["s3"], &[], None),
            "ActionInvalid",
            "spec.bindings[].maxActions[0]",
            "names no service",
            "service:Name",
        ),
        (
            decide(&good, &["*"], &["s3:"], None),
            "ActionInvalid",
            "spec.bindings[].deny[0]",
            "no name",
            "after the colon",
        ),
        (
            decide(&bad_action, &["*"], &[], None),
            "ActionInvalid",
            "spec.allow[1].actions[1]",
            "wildcard in the service",
            "each service",
        ),
        (
            decide(&bad_resource, &["*"], &[], None),
            "ResourceInvalid",
            "spec.allow[0].resources[1]",
            "1 parts",
            "arn:aws:s3:::",
        ),
        (decide(&[], &["*"], &[], None), "ActionInvalid", "spec.allow", "lists nothing", "at least one statement"),
        (
            decide(&[statement(&[], &["*"])], &["*"], &[], None),
            "ActionInvalid",
            "spec.allow[0].actions",
            "is empty",
            "remove the statement",
        ),
        (
            decide(&[statement(&["s3:*"], &[])], &["*"], &[], None),
            "ResourceInvalid",
            "spec.allow[0].resources",
            "is empty",
            "remove the statement",
        ),
        (
            decide(&good, &["*"], &[], Some(&wide)),
            "NarrowingTooWide",
            "metadata.annotations[exeat.dev/allow][0]",
            "arn:aws:s3:::*",
            "ask for less",
        ),
        (
            decide(&cross, &["*"], &[], Some(&product)),
            "NarrowingTooWide",
            "metadata.annotations[exeat.dev/allow][0]",
            "s3:PutObject",
            "ask for less",
        ),
        (
            decide(&good, &["*"], &[], Some(&[])),
            "ActionInvalid",
            "metadata.annotations[exeat.dev/allow]",
            "lists nothing",
            "at least one",
        ),
    ] {
        let (found, message) = refusal(result);
        assert!(found == code && message.starts_with(&format!("{field}: ")), "{code} {field}: {found} {message}");
        assert!(message.contains(problem) && message.contains(fix), "{message}");
    }
}

#[test]
fn a_wrong_principal_is_refused() {
    let allow = reports();
    let max = own(&["*"]);
    let input = GrantInput {
        kind: Kind::Aws,
        principal: "role",
        policy_allow: &allow,
        max_actions: &max,
        deny: &[],
        narrowing: None,
    };
    let (code, message) = refusal(grant(input));
    assert!(
        code == "PrincipalInvalid" && message.contains("spec.principal") && message.contains("arn:aws:iam::"),
        "{message}"
    );
}

#[test]
fn lists_beyond_their_bounds_are_refused() {
    let long = "x".repeat(450);
    let resources: Vec<String> = (0..20).map(|i| format!("arn:aws:s3:::{long}/{i}")).collect();
    let big = [Statement { actions: own(&["s3:GetObject"]), resources }];
    let many = vec![reports()[0].clone(); 65];
    let items = [Statement { actions: vec!["s3:GetObject".into(); 65], resources: own(&["*"]) }];
    for allow in [&big[..], &many, &items] {
        assert_eq!(refusal(decide(allow, &["*"], &[], None)).0, "PolicyTooLarge");
    }
    let guardrail: Vec<String> = (0..100).map(|i| format!("s3:{i}{}", "a".repeat(200))).collect();
    let guardrail: Vec<&str> = guardrail.iter().map(String::as_str).collect();
    assert_eq!(refusal(decide(&reports(), &guardrail, &[], None)).0, "PolicyTooLarge");
}

#[test]
fn narrowing_replaces_what_the_policy_allows() {
    let asked = [statement(&["s3:GetObject"], &["arn:aws:s3:::reports/2026/*"])];
    let grant = decide(&reports(), &["s3:*"], &[], Some(&asked)).unwrap();
    assert_eq!(grant.allow, asked);
    assert!(!grant.covers(Call { action: "s3:GetObject", resource: "arn:aws:s3:::reports/2025/a" }));
    assert_ne!(grant.digest(), decide(&reports(), &["s3:*"], &[], None).unwrap().digest());
}

#[test]
fn the_digest_is_that_of_the_meaning() {
    let base = decide(&reports(), &["*"], &["s3:GetObjectAcl", "*:ListB*t*x"], None).unwrap();
    let other = [
        statement(
            &["S3:LISTBUCKET", "s3:GetObject", "s3:getobject"],
            &["arn:aws:s3:::reports/*", "arn:aws:s3:::reports"],
        ),
        statement(&["s3:GetObject", "s3:ListBucket"], &["arn:aws:s3:::reports", "arn:aws:s3:::reports/*"]),
    ];
    assert_eq!(base.digest(), decide(&other, &["s3:*"], &[], None).unwrap().digest());
    assert_eq!(base.digest().len(), 64);
    let changed = decide(&[statement(&["s3:GetObject"], &["arn:aws:s3:::Reports/*"])], &["*"], &[], None).unwrap();
    assert_ne!(base.digest(), changed.digest());
    let read: Grant = serde_json::from_str(&serde_json::to_string(&base).unwrap()).unwrap();
    assert_eq!((read.digest(), read), (base.digest(), base));
}

#[test]
fn kubernetes_grants_follow_the_same_law() {
    let allow =
        [statement(&["list  pods", "get pods"], &["agents/*"]), statement(&["get configmaps"], &["agents/settings"])];
    let input = |max: &'static [&'static str]| own(max);
    let decide = |max: &'static [&'static str], deny: &'static [&'static str]| {
        let (max, deny) = (input(max), own(deny));
        grant(GrantInput {
            kind: Kind::Kubernetes,
            principal: "system:serviceaccounts:exeat-grants",
            policy_allow: &allow,
            max_actions: &max,
            deny: &deny,
            narrowing: None,
        })
    };
    let grant = decide(&["get *", "list pods"], &["* secrets"]).unwrap();
    assert_eq!(grant.allow[1].actions, ["get pods", "list pods"]);
    assert!(grant.deny.is_empty());
    assert!(grant.covers(Call { action: "list pods", resource: "agents/" }));
    assert!(grant.covers(Call { action: "get configmaps", resource: "agents/settings" }));
    assert!(!grant.covers(Call { action: "get configmaps", resource: "agents/other" }));
    assert!(!grant.covers(Call { action: "get pods/log", resource: "agents/web" }));
    assert!(!grant.covers(Call { action: "get pods", resource: "kube-system/web" }));
    assert_eq!(refusal(decide(&["get *"], &[])).0, "ActionNotAllowed");
    assert_eq!(refusal(decide(&["*"], &["* pods"])).0, "DeniedByGuardrail");
}

#[test]
fn what_cannot_be_read_allows_nothing() {
    let grant = Grant {
        kind: Kind::Aws,
        principal: ROLE.into(),
        allow: vec![statement(&["s3:*"], &["*"])],
        deny: own(&["not a pattern"]),
        observe: false,
    };
    assert!(!grant.covers(Call { action: "s3:GetObject", resource: "*" }));
    assert!(!statement::subset(Kind::Aws, &[statement(&["*"], &["*"])], &[statement(&["s3:*"], &["*"])]));
    assert!(statement::overlaps(Kind::Aws, &reports(), &own(&["not a pattern"])));
}
