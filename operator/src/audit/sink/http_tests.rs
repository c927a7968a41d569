use super::*;
use crate::https::receiver::{Receiver, resolver};

fn settings(receiver: &Receiver) -> HttpSettings {
    HttpSettings {
        url: format!("https://localhost:{}/audit?token=hush", receiver.port).parse().unwrap(),
        token_file: Some(receiver.file("token", "first\n")),
        ca_file: Some(receiver.ca_file()),
    }
}

fn batch(text: &str) -> Vec<Entry> {
    text.split_inclusive('\n').map(|line| Entry { sequence: 0, line: line.as_bytes().to_vec().into() }).collect()
}

#[tokio::test]
async fn a_batch_is_one_post_with_the_token_of_that_moment() {
    let receiver = Receiver::start("audit-token").await;
    let mut sink = HttpSink::new(settings(&receiver), resolver()).unwrap();
    sink.deliver(batch("a\nb\n")).await.unwrap();
    receiver.file("token", "second");
    sink.deliver(batch("c\n")).await.unwrap();
    let got: Vec<_> = receiver.got().into_iter().map(|c| (c.path, c.authorization, c.content_type, c.body)).collect();
    let expected = [("Bearer first", "a\nb\n"), ("Bearer second", "c\n")];
    let call = |(token, body): (&str, &str)| {
        ("/audit?token=hush".to_owned(), token.to_owned(), "application/x-ndjson".to_owned(), body.to_owned())
    };
    assert_eq!(got, expected.map(call));
}

#[tokio::test]
async fn only_2xx_takes_a_batch_and_errors_never_hold_the_token() {
    let receiver = Receiver::start("audit-refused").await;
    let mut sink = HttpSink::new(settings(&receiver), resolver()).unwrap();
    for status in [StatusCode::MOVED_PERMANENTLY, StatusCode::UNAUTHORIZED, StatusCode::INTERNAL_SERVER_ERROR] {
        receiver.answer(status);
        let error = sink.deliver(batch("a\n")).await.unwrap_err();
        assert!(error.to_string().contains(status.as_str()) && !format!("{error:?}").contains("first"), "{error:?}");
        assert!(!format!("{error:?}").contains("token=hush"), "{error:?}");
    }
    receiver.file("token", "se\ncret");
    let error = sink.deliver(batch("a\n")).await.unwrap_err();
    assert!(error.to_string().contains("--audit-token-file") && !format!("{error:?}").contains("cret"), "{error:?}");
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let (receiver, other) = (Receiver::start("audit-trust").await, Receiver::start("audit-other").await);
    let settings = HttpSettings { ca_file: Some(other.ca_file()), ..settings(&receiver) };
    let error = HttpSink::new(settings, resolver()).unwrap().deliver(batch("a\n")).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(receiver.got().is_empty());
}

#[test]
fn settings_that_would_leak_or_trust_nobody_are_refused_by_name() {
    let settings = |url: &str, ca_file: Option<&str>| HttpSettings {
        url: url.parse().unwrap(),
        token_file: None,
        ca_file: ca_file.map(PathBuf::from),
    };
    for url in ["http://audit.example.com/", "/audit", "audit.example.com", "https://me:hush@a.example.com/"] {
        let error = HttpSink::new(settings(url, None), resolver()).err().unwrap().to_string();
        assert!(error.contains("--audit-url") && !error.contains("hush"), "{error}");
    }
    let error = HttpSink::new(settings("https://a.example.com/", Some("/dev/null")), resolver()).err().unwrap();
    assert!(error.to_string().contains("--audit-ca"), "{error}");
}
