use super::*;
use crate::rules::{GrantInput, Statement, grant};

fn statement(actions: &[&str], resources: &[&str]) -> Statement {
    let own = |items: &[&str]| items.iter().map(|s| (*s).to_owned()).collect();
    Statement { actions: own(actions), resources: own(resources) }
}

fn granted(allow: &[Statement], deny: &[&str]) -> Grant {
    grant(GrantInput {
        kind: Kind::Aws,
        principal: "arn:aws:iam::123456789012:role/agents/agents/report-writer",
        policy_allow: allow,
        max_actions: &["*".to_owned()],
        deny: &deny.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(),
        narrowing: None,
    })
    .unwrap()
}

fn text(grant: &Grant, dialect: Dialect) -> String {
    document(grant, dialect).unwrap().into_string()
}

fn error(grant: &Grant, dialect: Dialect) -> (&'static str, String) {
    let error = document(grant, dialect).unwrap_err();
    (error.code(), error.to_string())
}

fn sample() -> Grant {
    granted(
        &[statement(&["s3:GetObject", "s3:ListBucket"], &["arn:aws:s3:::reports", "arn:aws:s3:::reports/*"])],
        &["s3:PutBucketPolicy"],
    )
}

#[test]
fn the_sample_policy_denies_the_rest_in_words() {
    let expected = concat!(
        r#"{"Version":"2012-10-17","Statement":["#,
        r#"{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::reports","arn:aws:s3:::reports/*"]},"#,
        r#"{"Effect":"Deny","NotAction":["s3:GetObject","s3:ListBucket"],"Resource":"*"},"#,
        r#"{"Effect":"Deny","Action":["s3:GetObject","s3:ListBucket"],"NotResource":["arn:aws:s3:::reports","arn:aws:s3:::reports/*"]},"#,
        r#"{"Effect":"Deny","Action":"sts:Assume*","Resource":"*"}]}"#,
    );
    assert_eq!(text(&sample(), Dialect::Aws), expected);
}

#[test]
fn s3_compatible_servers_get_no_not_action_and_no_bucket_by_its_objects() {
    let expected = concat!(
        r#"{"Version":"2012-10-17","Statement":["#,
        r#"{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::reports","arn:aws:s3:::reports/?*"]},"#,
        r#"{"Effect":"Deny","Action":["s3:GetObject","s3:ListBucket"],"NotResource":["arn:aws:s3:::reports","arn:aws:s3:::reports/?*"]}]}"#,
    );
    assert_eq!(text(&sample(), Dialect::S3Compatible), expected);
}

#[test]
fn an_action_in_two_statements_is_denied_outside_both() {
    let grant = granted(
        &[statement(&["s3:Get*"], &["arn:aws:s3:::a/*"]), statement(&["s3:GetObject"], &["arn:aws:s3:::b/*"])],
        &[],
    );
    let expected = concat!(
        r#"{"Version":"2012-10-17","Statement":["#,
        r#"{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::a/*"},"#,
        r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"},"#,
        r#"{"Effect":"Deny","NotAction":"s3:Get*","Resource":"*"},"#,
        r#"{"Effect":"Deny","Action":"s3:Get*","NotResource":["arn:aws:s3:::a/*","arn:aws:s3:::b/*"]},"#,
        r#"{"Effect":"Deny","NotAction":"s3:GetObject","NotResource":"arn:aws:s3:::a/*"},"#,
        r#"{"Effect":"Deny","Action":"sts:Assume*","Resource":"*"}]}"#,
    );
    assert_eq!(text(&grant, Dialect::Aws), expected);
}

#[test]
fn a_wildcard_service_of_a_guardrail_is_written_out() {
    let grant = granted(&[statement(&["s3:*", "dynamodb:Get*"], &["*"])], &["*:Delete*", "ec2:*"]);
    assert_eq!(grant.deny, ["*:Delete*"]);
    let document = text(&grant, Dialect::Aws);
    assert!(
        document.contains(r#"{"Effect":"Deny","Action":["s3:Delete*","sts:Assume*"],"Resource":"*"}"#),
        "{document}"
    );
    assert!(!document.contains("dynamodb:Delete*") && !document.contains("NotResource"), "{document}");
}

#[test]
fn case_is_made_what_s3_compatible_servers_know() {
    let grant =
        granted(&[statement(&["S3:getobject", "s3:put*tagging", "s3:GetObjectVersion"], &["*"])], &["*:PutBucket*"]);
    let document = text(&grant, Dialect::S3Compatible);
    let allow = r#""Action":["s3:GetObject","s3:GetObjectVersio?","s3:PutBucketTagging","s3:PutObjectTagging","s3:PutObjectVersionTagging"],"Resource":["arn:aws:s3:::*"]"#;
    assert!(document.contains(allow), "{document}");
    assert!(document.contains(r#""Effect":"Deny","Action":["s3:PutBucket*"]"#), "{document}");
}

#[test]
fn a_read_of_versions_is_what_every_pattern_that_names_it_allows() {
    let versions = ["s3:GetObje*on", "s3:GetObjectVersion"];
    for (one, other) in [(versions[0], "s3:*"), (versions[1], versions[0])] {
        let allow = [statement(&[one], &["arn:aws:s3:::*"]), statement(&[other], &["arn:aws:s3:::b"])];
        let document = text(&granted(&allow, &[]), Dialect::S3Compatible);
        let denied = document.split(r#""Effect":"Deny""#).skip(1).any(|entry| entry.contains("GetObjectVersio?"));
        assert!(!denied, "allowed on everything, and denied somewhere: {document}");
    }
}

#[test]
fn what_the_dialect_has_no_words_for_is_refused_with_the_fix() {
    let objects = "arn:aws:s3:::b/*";
    for (actions, resource, code, problem, fix) in [
        ("dynamodb:GetItem", "*", "ActionInvalid", "no action of S3", "dialect AWS"),
        ("s3:GetAccessPoint", objects, "ActionInvalid", "names no action", "use one that they know"),
        (
            "s3:GetObject",
            "arn:aws:dynamodb:eu-west-1:1:table/t",
            "ResourceInvalid",
            "no bucket or object",
            "bucket/key",
        ),
        ("s3:GetObject", "arn:aws:s3:::b/", "ResourceInvalid", "ends with a slash", "/*"),
        ("s3:GetObject", "arn:aws:s3:::*-logs", "ResourceInvalid", "read differently", "end with letters and *"),
        ("s3:GetObject", "arn:aws:s3:::log?", "ResourceInvalid", "read differently", "write the buckets out"),
    ] {
        let (found, message) = error(&granted(&[statement(&[actions], &[resource])], &[]), Dialect::S3Compatible);
        assert!(
            found == code && message.contains(problem) && message.contains(fix),
            "{actions} {resource}: {found} {message}"
        );
    }
    let denied = granted(&[statement(&["s3:*"], &[objects])], &["s3:GetAccessPoint"]);
    assert!(error(&denied, Dialect::S3Compatible).1.contains("names no action"), "a denial is never dropped");
}

#[test]
fn a_document_beyond_the_limit_is_refused_and_names_its_size() {
    let many: Vec<String> = (0..40).map(|i| format!("arn:aws:s3:::bucket-{i:02}/*")).collect();
    let resources: Vec<&str> = many.iter().map(String::as_str).collect();
    let (code, message) = error(&granted(&[statement(&["s3:GetObject"], &resources)], &[]), Dialect::Aws);
    assert_eq!(code, "PolicyTooLarge");
    assert!(message.contains(" characters long, STS takes 2048; use fewer"), "{message}");
    let endless: Vec<String> = (0..60).map(|i| format!("arn:aws:s3:::{}/{i}", "x".repeat(80))).collect();
    let resources_endless: Vec<&str> = endless.iter().map(String::as_str).collect();
    let (code, message) = error(&granted(&[statement(&["s3:GetObject"], &resources_endless)], &[]), Dialect::Aws);
    assert!(code == "PolicyTooLarge" && message.contains("would be more than"), "{message}");
    assert!(
        document(&granted(&[statement(&["s3:GetObject"], &resources[..20])], &[]), Dialect::Aws).unwrap().plain_len()
            <= MAX_PLAIN
    );
}

#[test]
fn too_many_overlapping_patterns_are_refused() {
    let allow: Vec<Statement> = (0..12)
        .map(|i| statement(&[&format!("s3:*{}*", char::from(b'a' + i))], &[&format!("arn:aws:s3:::{i}/*")]))
        .collect();
    let (code, message) = error(&granted(&allow, &[]), Dialect::Aws);
    assert!(code == "PolicyTooLarge" && message.contains("overlap"), "{code} {message}");
}

#[test]
fn a_grant_of_another_kind_has_no_document() {
    let grant = Grant { kind: Kind::Kubernetes, ..sample() };
    assert_eq!(error(&grant, Dialect::Aws).0, "ProviderRejected");
}
