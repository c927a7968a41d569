use super::*;

#[test]
fn role_arns_are_read() {
    let role = RoleArn::parse("arn:aws:iam::123456789012:role/agents/team/report-writer").unwrap();
    assert_eq!(
        (role.account.as_str(), role.path.as_str(), role.name.as_str()),
        ("123456789012", "/agents/team/", "report-writer")
    );
    assert_eq!(role.session_arn("s-1"), "arn:aws:sts::123456789012:assumed-role/report-writer/s-1");
    assert_eq!(RoleArn::parse("arn:aws-cn:iam::123456789012:role/x").unwrap().path, "/");
}

#[test]
fn each_fault_of_a_principal_names_itself_and_the_fix() {
    for (text, problem) in [
        ("report-writer", "no ARN of a role"),
        ("arn:aws:s3:::b", "no ARN of a role"),
        ("arn:aws:iam::12:role/x", "no account"),
        ("arn:aws:iam::12345678901x:role/x", "no account"),
        ("arn:aws:iam::123456789012:user/x", "no role"),
        ("arn:aws:iam::123456789012:role/", "no name of a role"),
        ("arn:aws:iam::123456789012:role/*", "no name of a role"),
        ("arn:aws:iam::123456789012:role/a//b", "no path of a role"),
        ("arn:azure:iam::123456789012:role/x", "no partition"),
    ] {
        let message = validate_principal(Kind::Aws, text).unwrap_err().to_string();
        assert!(
            message.contains(problem) && message.contains("arn:aws:iam::<12 digits>:role/<name>"),
            "{text}: {message}"
        );
    }
    for text in ["exeat-grants", "system:serviceaccounts:", "system:serviceaccounts:a:b", "system:masters"] {
        let message = validate_principal(Kind::Kubernetes, text).unwrap_err().to_string();
        assert!(message.contains("system:serviceaccounts:exeat-grants"), "{message}");
    }
    assert!(validate_principal(Kind::Kubernetes, &kubernetes_principal("exeat-grants")).is_ok());
}

#[test]
fn a_pattern_serves_a_namespace_its_own_principals() {
    let pattern = "arn:aws:iam::123456789012:role/agents/${namespace}/*";
    let role = |path: &str| format!("arn:aws:iam::123456789012:role/agents/{path}");
    assert!(principal_matches(pattern, &role("team-a/writer"), "team-a", "bot"));
    assert!(principal_matches(pattern, &role("team-a/deep/writer"), "team-a", "bot"));
    assert!(!principal_matches(pattern, &role("team-b/writer"), "team-a", "bot"));
    assert!(!principal_matches(pattern, &role("team-ab/writer"), "team-a", "bot"));
    let both = "arn:aws:iam::123456789012:role/agents/${namespace}/${serviceAccount}";
    assert!(principal_matches(both, &role("team-a/bot"), "team-a", "bot"));
    assert!(!principal_matches(both, &role("team-a/boot"), "team-a", "bot"));
}

#[test]
fn what_is_put_in_for_a_variable_is_never_a_wildcard_or_a_variable() {
    assert!(!principal_matches("role/${namespace}", "role/team-b", "*", "x"));
    assert!(!principal_matches("role/${namespace}", "role/team-b", "team-?", "x"));
    assert!(!principal_matches("role/${namespace}", "role/x", "${serviceAccount}", "x"));
    assert!(!principal_matches("role/${namespace}", "role/", "", "x"));
    assert!(!principal_matches("role/${aws:username}", "role/${aws:username}", "n", "x"));
}

#[test]
fn variables_that_touch_wildcards_are_refused() {
    for text in
        ["role/${namespace}*", "role/*${namespace}", "role/${serviceAccount}?", "role/*${namespace}${serviceAccount}/x"]
    {
        let message = validate_principal_pattern(text).unwrap_err().to_string();
        assert!(message.contains("touches") && message.contains("put a / between"), "{text}: {message}");
    }
    assert!(
        validate_principal_pattern("role/${ns}")
            .unwrap_err()
            .to_string()
            .contains("${namespace} and ${serviceAccount}")
    );
    assert!(validate_principal_pattern("role/${namespace}/*").is_ok() && validate_principal_pattern("role/x").is_ok());
}

#[test]
fn session_names_and_tags_fit_what_sts_takes() {
    assert_eq!(role_session_name("report-agent-7f9c-1").unwrap(), "report-agent-7f9c-1");
    for bad in ["a", "with blank", &"x".repeat(65)] {
        assert!(role_session_name(bad).unwrap_err().to_string().contains("2 to 64"), "{bad}");
    }
    let input = TagInput { cluster: "prod", namespace: "agents", service_account: "bot", policy: "p", session: "s-1" };
    let tags = session_tags(input).unwrap();
    assert_eq!(tags.len(), 5);
    assert!(tags.iter().all(|(key, value)| key.starts_with("exeat:") && !value.is_empty()));
    assert_eq!(session_tags(TagInput { cluster: "", ..input }).unwrap().len(), 4);
    for bad in ["a\"b", &"x".repeat(257)] {
        let error = session_tags(TagInput { cluster: bad, ..input }).unwrap_err().to_string();
        assert!(error.contains("exeat:cluster") && error.contains("256"), "{error}");
    }
}

#[test]
fn source_identities_fit_and_stay_apart() {
    assert_eq!(source_identity("agents", "bot"), "agents.bot");
    let (a, b) = (source_identity(&"n".repeat(63), "bot-a"), source_identity(&"n".repeat(63), "bot-b"));
    assert_eq!((a.len(), b.len()), (64, 64));
    assert!(a != b && a.chars().all(is_session_char));
}
