use super::super::args::{EventKind, Format};
use super::*;
use crate::https::receiver::{Call, Receiver, resolver};
use std::time::Duration;

const PATH: &str = "/services/T000/B000/hush";

fn sender(receiver: &Receiver, url: &str, plain: bool) -> Sender {
    let args = NotifyArgs {
        notify_url_file: Some(receiver.file("url", url)),
        notify_format: Format::Slack,
        notify_interval: Duration::from_secs(30),
        notify_events: vec![EventKind::Pending],
        notify_ca: Some(receiver.ca_file()),
        notify_allow_http: plain,
    };
    Sender::new(&args, resolver()).unwrap()
}

fn url(receiver: &Receiver) -> String {
    format!("https://localhost:{}{PATH}\n", receiver.port)
}

#[tokio::test]
async fn a_message_is_one_post_to_the_url_of_that_moment() {
    let receiver = Receiver::start("notify-url").await;
    let sender = sender(&receiver, &url(&receiver), false);
    assert_eq!(sender.post(b"{}".to_vec()).await.unwrap(), "localhost");
    receiver.file("url", &format!("https://localhost:{}/other", receiver.port));
    sender.post(b"[]".to_vec()).await.unwrap();
    let call = |path: &str, body: &str| Call {
        path: path.to_owned(),
        authorization: String::new(),
        content_type: "application/json".to_owned(),
        body: body.to_owned(),
    };
    assert_eq!(receiver.got(), [call(PATH, "{}"), call("/other", "[]")]);
}

#[tokio::test]
async fn only_2xx_takes_a_message_and_of_the_url_nothing_but_the_host_is_shown() {
    let (receiver, other) = (Receiver::start("notify-refused").await, Receiver::start("notify-other").await);
    let working = sender(&receiver, &url(&receiver), false);
    let mut errors = Vec::new();
    for status in [StatusCode::FOUND, StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS] {
        receiver.answer(status);
        let error = working.post(b"{}".to_vec()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("localhost answered {status}"));
        errors.push((error, "refused"));
    }
    // It is not followed to where it points, and nobody without our trust is told.
    assert_eq!(receiver.got().len(), 3);
    let distrusted = Sender { ca_file: Some(other.ca_file()), ..working.clone() };
    errors.push((distrusted.post(b"{}".to_vec()).await.unwrap_err(), "failed"));
    let unheard = sender(&other, &format!("https://localhost:1{PATH}"), false);
    errors.push((unheard.post(b"{}".to_vec()).await.unwrap_err(), "failed"));
    let rootless = Sender { ca_file: Some("/dev/null".into()), ..working.clone() };
    errors.push((rootless.post(b"{}".to_vec()).await.unwrap_err(), "unusable"));
    let target = target(&working.url_file, Plain::Refused).unwrap();
    assert_eq!(format!("{target:?}"), "Target(\"localhost\")");
    for (error, outcome) in errors {
        assert_eq!(error.outcome(), outcome, "{error}");
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
    assert!(!format!("{working:?}").contains("hush"));
    assert_eq!(receiver.got().len(), 3);
}

#[tokio::test]
async fn http_is_for_those_who_say_so() {
    let receiver = Receiver::start("notify-plain").await;
    let plain = format!("http://localhost:1{PATH}");
    let error = sender(&receiver, &plain, false).post(b"{}".to_vec()).await.unwrap_err();
    assert!(error.to_string().contains("--notify-allow-http"), "{error}");
    let error = sender(&receiver, &plain, true).post(b"{}".to_vec()).await.unwrap_err();
    assert_eq!(error.outcome(), "failed", "{error}");
}

#[tokio::test]
async fn a_url_that_can_not_be_used_is_named_and_not_repeated() {
    let receiver = Receiver::start("notify-wrong").await;
    let long = format!("https://localhost/hush{}", "x".repeat(MAX_URL));
    for wrong in
        ["", "hush", "/hush", "https://me:hush@localhost/", "ftp://localhost/hush", "https://a b/hush", long.as_str()]
    {
        let sender = sender(&receiver, wrong, true);
        let error = sender.post(b"{}".to_vec()).await.unwrap_err();
        assert!(error.to_string().contains("--notify-url-file") && error.outcome() == "unusable", "{error}");
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        std::fs::remove_file(&sender.url_file).unwrap();
        let error = sender.post(b"{}".to_vec()).await.unwrap_err();
        assert!(error.to_string().contains("--notify-url-file") && error.outcome() == "unusable", "{error}");
    }
}
