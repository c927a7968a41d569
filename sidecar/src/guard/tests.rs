use proptest::prelude::*;

use super::*;

const GOOD: (&str, &str, &[(&str, &str)]) = ("GET", "/aws/credentials", &[("host", "127.0.0.1:9911")]);

fn judge(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), Rejection> {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
    Guard::new(9911).judge(&method.parse().unwrap(), &uri.parse().unwrap(), &headers)
}

fn with(name: &'static str, value: &'static str) -> Result<(), Rejection> {
    judge(GOOD.0, GOOD.1, &[GOOD.2[0], (name, value)])
}

#[test]
fn what_sdks_send_passes() {
    assert_eq!(judge(GOOD.0, GOOD.1, GOOD.2), Ok(()));
    for host in ["localhost:9911", "LOCALHOST:9911", "[::1]:9911"] {
        assert_eq!(judge("GET", "/a?b=c", &[("host", host)]), Ok(()), "{host}");
    }
    for (name, value) in [("user-agent", "aws-sdk"), ("content-length", "0"), ("accept", "*/*")] {
        assert_eq!(with(name, value), Ok(()));
    }
}

#[test]
fn on_port_80_it_is_googles_metadata_server_by_name_and_nobody_elses() {
    let on = |port: u16, host: &str| {
        let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        Guard::new(port).judge(&Method::GET, &Uri::from_static("/computeMetadata/v1/"), &headers)
    };
    for host in ["metadata.google.internal", "metadata.google.internal:80", "metadata", "127.0.0.1", "localhost:80"] {
        assert_eq!(on(80, host), Ok(()), "{host}");
        assert!(host.ends_with(":9911") || on(9911, host) == Err(Rejection::HostNotAllowed), "{host}");
    }
    for host in
        ["metadata.google.internal.evil.example", "evil.example", "metadata.google.internal:9911", "169.254.169.254"]
    {
        assert_eq!(on(80, host), Err(Rejection::HostNotAllowed), "{host}");
    }
}

#[test]
fn each_mark_is_refused() {
    use Rejection::*;
    let host = GOOD.2;
    let table = [
        (judge("CONNECT", "127.0.0.1:9911", host), Connect),
        (judge("GET", "http://127.0.0.1:9911/aws/credentials", host), NotAPath),
        (judge("GET", "http://evil.example/", host), NotAPath),
        (judge("OPTIONS", "*", host), NotAPath),
        (judge("GET", "/", &[]), HostMissing),
        (judge("GET", "/", &[host[0], host[0]]), HostMissing),
        (with("x-forwarded-for", "10.0.0.1"), Forwarded("x-forwarded-for")),
        (with("forwarded", "for=10.0.0.1"), Forwarded("forwarded")),
        (with("x-forwarded-host", "a"), Forwarded("x-forwarded-host")),
        (with("x-forwarded-for", ""), Forwarded("x-forwarded-for")),
        (with("origin", "null"), Browser("origin")),
        (with("sec-fetch-site", "none"), Browser("sec-fetch-site")),
        (with("sec-fetch-mode", "navigate"), Browser("sec-fetch-mode")),
        (with("content-length", "65537"), BodyTooLarge),
        (with("content-length", "-1"), BodyTooLarge),
        (with("content-length", "99999999999999999999"), BodyTooLarge),
    ];
    for (judged, expected) in table {
        assert_eq!(judged, Err(expected));
    }
}

#[test]
fn other_hosts_are_refused() {
    for host in [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:9912",
        "127.0.0.1:9911.",
        "127.0.0.1:09911",
        "127.0.0.1:9911, evil.example",
        "localhost.evil.example:9911",
        "user@127.0.0.1:9911",
        "0.0.0.0:9911",
        "169.254.169.254",
        "",
    ] {
        assert_eq!(judge("GET", "/", &[("host", host)]), Err(Rejection::HostNotAllowed), "{host}");
    }
}

#[test]
fn every_rejection_is_4xx_with_its_own_code_and_a_message() {
    let codes: std::collections::BTreeSet<_> = Rejection::ALL.iter().map(|rejection| rejection.code()).collect();
    assert_eq!(codes.len(), Rejection::ALL.len());
    for rejection in Rejection::ALL {
        assert!(rejection.status().is_client_error(), "{rejection:?}");
        assert!(rejection.to_string().len() > 20, "{rejection:?}");
    }
}

proptest! {
    #[test]
    fn no_host_but_the_three_passes(host in "[ -~]{0,40}") {
        let allowed = ["127.0.0.1:9911", "localhost:9911", "[::1]:9911"].contains(&host.to_lowercase().as_str());
        prop_assert_eq!(judge("GET", "/", &[("host", &host)]).is_ok(), allowed);
    }
}
