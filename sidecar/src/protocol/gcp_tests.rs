use exeat_wire::{GcpIdentityToken, Secret};

use super::*;

const EMAIL: &str = "agents@example.iam.gserviceaccount.com";
const ROOT: &str = "https://www.googleapis.com/auth/cloud-platform";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn metadata(access: bool, audiences: &[&str]) -> Metadata {
    let credential = GcpCredential {
        email: EMAIL.into(),
        project: "example".into(),
        project_number: Some("1234567890".into()),
        universe_domain: "googleapis.com".into(),
        scopes: vec![ROOT.into()],
        access_token: access.then(|| Secret::new("ya29.\"secret")),
        identity_tokens: audiences
            .iter()
            .map(|audience| GcpIdentityToken { audience: (*audience).into(), token: Secret::new("e.y.J") })
            .collect(),
    };
    Metadata::new(credential, at("2026-01-01T00:30:00Z"))
}

fn ask(metadata: &Metadata, path: &str) -> (u16, String) {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let reply = metadata.answer(path, query, at("2026-01-01T00:00:00Z"));
    (reply.answer.status.as_u16(), String::from_utf8(reply.answer.body.to_vec()).unwrap())
}

#[test]
fn every_path_that_clients_know_is_there() {
    let metadata = metadata(true, &[]);
    let accounts = "instance/service-accounts";
    for (path, expected) in [
        ("", "instance/\nproject/\nuniverse/\n"),
        ("instance/", "service-accounts/\n"),
        (&format!("{accounts}/"), "agents@example.iam.gserviceaccount.com/\ndefault/\n"),
        (&format!("{accounts}/default/"), "aliases\nemail\nidentity\nscopes\ntoken\n"),
        (&format!("{accounts}/default/email"), EMAIL),
        (&format!("{accounts}/{EMAIL}/email"), EMAIL),
        (&format!("{accounts}/default/aliases"), "default\n"),
        (&format!("{accounts}/default/scopes"), "https://www.googleapis.com/auth/cloud-platform\n"),
        ("project/", "numeric-project-id\nproject-id\n"),
        ("project/project-id", "example"),
        ("project/numeric-project-id", "1234567890"),
        ("universe/universe-domain", "googleapis.com"),
        ("universe/universe_domain", "googleapis.com"),
    ] {
        assert_eq!(ask(&metadata, path), (200, expected.to_owned()), "{path}");
    }
    for path in [
        "instance/zone",
        "instance/service-accounts/other@x.test/token",
        "project/project-id/",
        "v2/",
        "instance/service-accounts/default/token/x",
    ] {
        assert_eq!(ask(&metadata, path).0, 404, "{path}");
    }
    for path in ["instance", "instance/service-accounts", "instance/service-accounts/default"] {
        let reply = metadata.answer(path, None, at("2026-01-01T00:00:00Z"));
        assert_eq!(reply.answer.status.as_u16(), 301, "{path}");
        assert_eq!(reply.location.unwrap(), format!("/computeMetadata/v1/{path}/"));
    }
}

#[test]
fn recursive_answers_are_json_in_camel_case() {
    let metadata = metadata(true, &[]);
    let json = |path: &str| -> Value { serde_json::from_str(&ask(&metadata, path).1).unwrap() };
    let account = json!({"aliases": ["default"], "email": EMAIL, "scopes": [ROOT]});
    assert_eq!(json("instance/service-accounts/default/?recursive=true"), account);
    assert_eq!(json("project/?recursive=True"), json!({"projectId": "example", "numericProjectId": 1_234_567_890_u64}));
    let all = json("?recursive=true");
    assert_eq!(all["instance"]["serviceAccounts"][EMAIL], account);
    assert_eq!(all["universe"], json!({"universeDomain": "googleapis.com"}));
    assert!(!all.to_string().contains("secret"), "{all}");
}

#[test]
fn a_token_tells_how_long_it_is_served_and_the_scopes_asked_for_mean_nothing() {
    let metadata = metadata(true, &[]);
    for path in ["instance/service-accounts/default/token", "instance/service-accounts/default/token?scopes=a%2Cb&x"] {
        let (status, body) = ask(&metadata, path);
        assert_eq!(status, 200);
        assert_eq!(body, r#"{"access_token":"ya29.\"secret","expires_in":1800,"token_type":"Bearer"}"#);
    }
    let late = metadata.answer("instance/service-accounts/default/token", None, at("2026-01-01T00:30:00Z"));
    assert!(String::from_utf8_lossy(&late.answer.body).contains("\"expires_in\":1,"), "Go takes no 0");
    assert_eq!(ask(&metadata, "instance/service-accounts/default/identity?audience=https://a.test").0, 404);
}

#[test]
fn identity_tokens_are_given_for_the_policys_audiences_alone() {
    let metadata = metadata(false, &["https://a.test/x y"]);
    let identity = "instance/service-accounts/default/identity";
    for query in ["audience=https://a.test/x%20y", "format=full&audience=https%3A%2F%2Fa.test%2Fx+y&licenses=TRUE"] {
        assert_eq!(ask(&metadata, &format!("{identity}?{query}")), (200, "e.y.J".to_owned()), "{query}");
    }
    for (query, status, part) in [
        ("", 400, "non-empty audience"),
        ("audience=", 400, "non-empty audience"),
        ("audience=https://b.test&audience=https://a.test/x+y", 403, "ActionNotAllowed"),
        ("audience=https://A.test/x+y", 403, "ActionNotAllowed"),
        ("audience=%zz", 403, "ActionNotAllowed"),
    ] {
        let (told, body) = ask(&metadata, &format!("{identity}?{query}"));
        assert_eq!(told, status, "{query}");
        assert!(body.contains(part), "{body}");
    }
    let (status, body) = ask(&metadata, "instance/service-accounts/default/token");
    assert!(status == 403 && body.contains("identity tokens only"), "{body}");
}

#[test]
fn the_header_is_demanded_and_sent_everywhere_but_at_the_root() {
    let mut flavored = HeaderMap::new();
    flavored.insert(FLAVOR, HeaderValue::from_static("google"));
    let read_as = |method: &Method, path: &str, headers: &HeaderMap| match read(method, path, headers) {
        Asked::Path(path) => (0, path),
        Asked::Answer(reply) => {
            let response = reply.to_response();
            assert_eq!(response.headers()[&FLAVOR], "Google");
            assert!(response.headers().contains_key(CONTENT_TYPE), "Python reads it always");
            (reply.answer.status.as_u16(), String::from_utf8(reply.answer.body.to_vec()).unwrap())
        }
    };
    let bare = HeaderMap::new();
    assert_eq!(read_as(&Method::GET, "/", &bare), (200, "computeMetadata/\n".to_owned()));
    for headers in [&bare, &HeaderMap::from_iter([(FLAVOR, HeaderValue::from_static("Amazon"))])] {
        let (status, body) = read_as(&Method::GET, "/computeMetadata/v1/project/project-id", headers);
        assert!(status == 403 && body.contains("Metadata-Flavor: Google"), "{body}");
    }
    for (path, status) in [
        ("/computeMetadata", 301),
        ("/computeMetadata/", 200),
        ("/computeMetadata/v1", 301),
        ("/computeMetadata/v2/x", 404),
    ] {
        assert_eq!(read_as(&Method::GET, path, &flavored).0, status, "{path}");
    }
    assert_eq!(read_as(&Method::GET, "/computeMetadata/v1/", &flavored), (0, String::new()));
    assert_eq!(read_as(&Method::POST, "/computeMetadata/v1/instance/service-accounts/default/token", &flavored).0, 405);
    assert!(
        is_metadata("/")
            && is_metadata("/computeMetadata")
            && !is_metadata("/computeMetadataX")
            && !is_metadata("/v1/x")
    );
}

#[test]
fn a_refusal_is_a_text_that_clients_repeat() {
    let refusal = Refusal {
        code: "SessionRevoked".into(),
        message: "looks odd".into(),
        retryable: false,
        retry_after_seconds: None,
        session: None,
    };
    let reply = refused(&refusal);
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (403, &b"exeat: SessionRevoked: looks odd\n"[..]));
    let later = marked(refused(&Refusal { retryable: true, ..refusal }).to_response());
    assert_eq!((&later.headers()[&FLAVOR], &later.headers()[CONTENT_TYPE]), (&GOOGLE, &TEXT));
    assert_eq!((later.status().as_u16(), later.headers()["retry-after"].to_str().unwrap()), (503, "1"));
}
