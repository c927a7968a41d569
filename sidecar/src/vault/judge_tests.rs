use super::*;
use http::HeaderValue;

fn rule(verbs: &[&str], paths: &[&str]) -> VaultRule {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    VaultRule { verbs: own(verbs), paths: own(paths) }
}

fn rules() -> Rules {
    Rules {
        allow: vec![
            rule(&["read", "list"], &["secret/data/reports/*", "secret/metadata/reports"]),
            rule(&["write"], &["secret/data/out"]),
        ],
        deny: vec![rule(&["*"], &["secret/data/reports/prod/*"])],
        require_request_header: true,
    }
}

fn headers(extra: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(REQUEST_HEADER, HeaderValue::from_static("true"));
    for (name, value) in extra {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn judge(method: &str, target: &str) -> Result<(), Denial> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    rules().judge(&method.parse().unwrap(), path, query, &headers(&[])).map(drop)
}

#[test]
fn calls_within_the_grant_pass() {
    for (method, target) in [
        ("GET", "/v1/secret/data/reports/q1"),
        ("GET", "/v1/secret/data/reports/q1?version=2"),
        ("LIST", "/v1/secret/metadata/reports"),
        ("LIST", "/v1/secret/metadata/reports/"),
        ("GET", "/v1/secret/metadata/reports/?list=true"),
        ("GET", "/v1/secret/metadata/reports?list=true"),
        ("POST", "/v1/secret/data/out"),
        ("PUT", "/v1/secret/data/out"),
        ("GET", "/v1/sys/internal/ui/mounts/secret/data/reports/q1"),
    ] {
        assert_eq!(judge(method, target), Ok(()), "{method} {target}");
    }
}

#[test]
fn calls_outside_the_grant_are_refused_by_verb_and_path() {
    for (method, target) in [
        ("GET", "/v1/secret/data/reports"),
        ("GET", "/v1/secret/data/other"),
        ("POST", "/v1/secret/data/reports/q1"),
        ("DELETE", "/v1/secret/data/reports/q1"),
        ("PATCH", "/v1/secret/data/out"),
        ("GET", "/v1/secret/data/out"),
        ("GET", "/v1/secret/data/reports/prod/db"),
        ("GET", "/v1/auth/token/lookup-self"),
        ("POST", "/v1/auth/token/create"),
        ("GET", "/v1/sys/internal/ui/mounts/other/x"),
        ("LIST", "/v1/sys/internal/ui/mounts/secret"),
        ("GET", "/v1/sys/internal/ui/mounts"),
    ] {
        assert!(matches!(judge(method, target), Err(Denial::NotGranted { .. })), "{method} {target}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for target in [
        "/v1/secret/data/reports/../other",
        "/v1/secret/data/reports/./q1",
        "/v1/secret/data/reports//q1",
        "/v1//secret/data/reports/q1",
        "/v1/secret/data/reports/%2e%2e/other",
        "/v1/secret/data/reports%2fq1",
        "/v1/secret/data/reports/q1/",
        "/v1/secret/data/reports/q1;x",
        "/v1/secret/data/reports/a+b",
        "/v1/secret/data/reports/a\\b",
        "/v2/secret/data/reports/q1",
        "/v1/",
    ] {
        assert_eq!(judge("GET", target), Err(Denial::Path), "{target}");
    }
    for query in [
        "list=1",
        "list=false",
        "list",
        "List=true",
        "list=true&list=true",
        "help=1",
        "scan=true",
        "a=%20",
        "&",
        "=x",
        "a=b;c",
    ] {
        assert_eq!(judge("GET", &format!("/v1/secret/data/reports/q1?{query}")), Err(Denial::Query), "{query}");
    }
    assert_eq!(judge("POST", "/v1/secret/data/out?list=true"), Err(Denial::Query));
    for method in ["HEAD", "OPTIONS", "SCAN", "list", "TRACE"] {
        assert!(matches!(judge(method, "/v1/secret/data/reports/q1"), Err(Denial::Method(_))), "{method}");
    }
}

#[test]
fn vaults_own_mark_is_demanded_once_and_wrapping_refused() {
    let judge = |rules: &Rules, headers: &HeaderMap| {
        rules.judge(&Method::GET, "/v1/secret/data/reports/q1", None, headers).map(drop)
    };
    let (strict, lenient) = (rules(), Rules { require_request_header: false, ..rules() });
    let none = HeaderMap::new();
    assert_eq!(judge(&strict, &none), Err(Denial::RequestHeader));
    assert_eq!(judge(&lenient, &none), Ok(()));
    assert_eq!(judge(&strict, &headers(&[(REQUEST_HEADER, "true")])), Err(Denial::RequestHeader), "twice");
    assert_eq!(judge(&strict, &headers(&[(WRAP_HEADER, "60")])), Err(Denial::Wrapped));
    assert_eq!(
        judge(&strict, &headers(&[("x-vault-token", "hvs.x"), ("x-vault-namespace", "root")])),
        Ok(()),
        "stripped, not judged"
    );
}

#[test]
fn what_was_judged_is_told_as_it_was_sent() {
    let judged = |method: &str, path: &str| rules().judge(&method.parse().unwrap(), path, None, &headers(&[])).unwrap();
    let read = judged("GET", "/v1/secret/data/reports/q1");
    assert_eq!((read.verb, read.path.as_str(), read.look_up), ("read", "secret/data/reports/q1", false));
    assert!(judged("GET", "/v1/sys/internal/ui/mounts/secret").look_up);
}

#[test]
fn a_grant_of_everything_asks_for_the_kind_of_any_engine_and_for_nothing_else_of_vaults_own() {
    let rules = Rules {
        allow: vec![rule(&["read", "write"], &["*"])],
        deny: vec![rule(&["*"], &["sys"]), rule(&["*"], &["sys/*"]), rule(&["*"], &["auth/*"])],
        require_request_header: false,
    };
    let judge = |method: &Method, path: &str| rules.judge(method, path, None, &HeaderMap::new()).map(drop);
    assert_eq!(judge(&Method::GET, "/v1/kv/x"), Ok(()));
    assert_eq!(judge(&Method::GET, "/v1/sys/internal/ui/mounts/kv/x"), Ok(()));
    for (method, path) in [
        (Method::POST, "/v1/auth/token/create"),
        (Method::GET, "/v1/sys/mounts"),
        (Method::POST, "/v1/sys/internal/ui/mounts/kv"),
    ] {
        assert!(judge(&method, path).is_err(), "{method} {path}");
    }
}
