//! The API server's clock against ours, by the Date of an answer.

use super::Check;
use crate::clock;
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;

/// The API server's time, to the second.
///
/// # Errors
/// No answer, or one without a readable date.
pub async fn server_time(client: &Client) -> Result<Timestamp, String> {
    let request = http::Request::get("/version").body(Body::empty()).map_err(|error| error.to_string())?;
    let answer = client.send(request).await.map_err(|error| crate::error::api_message(&error))?;
    let date =
        answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok()).ok_or("the answer has no Date")?;
    parse(date).ok_or_else(|| format!("{date:?} is no date"))
}

fn parse(date: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}

pub(super) async fn check(client: &Client) -> Check {
    let before = clock::now();
    match server_time(client).await {
        Ok(server) => judge(server, before, clock::now()),
        Err(why) => Check::warn("clock", why, "compare the clocks of this machine and of the control plane by hand"),
    }
}

/// The Date is cut to the second, and was written between the two looks at our own clock.
fn judge(server: Timestamp, before: Timestamp, after: Timestamp) -> Check {
    let second = SignedDuration::from_secs(1);
    let ahead = before.duration_since(server) - second;
    let behind = server.duration_since(after);
    let off = ahead.max(behind).max(SignedDuration::ZERO).as_secs();
    match off {
        0..=2 => Check::ok("clock", "this machine and the API server agree"),
        3..=30 => Check::warn(
            "clock",
            format!("this machine and the API server are {off} s apart"),
            "let both keep time (NTP)",
        ),
        _ => Check::fail(
            "clock",
            format!(
                "this machine and the API server are {off} s apart: tokens and signatures fail where clocks differ"
            ),
            "let both keep time (NTP)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn only_what_a_date_can_show_is_told() {
        let server = parse("Thu, 01 Jan 2026 00:00:10 GMT").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let level = |before: &str, after: &str| judge(server, at(before), at(after)).level;
        assert_eq!(level("2026-01-01T00:00:10.9Z", "2026-01-01T00:00:11Z"), Level::Ok);
        assert_eq!(level("2026-01-01T00:00:05Z", "2026-01-01T00:00:20Z"), Level::Ok, "a slow answer is no skew");
        assert_eq!(level("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"), Level::Warn);
        assert_eq!(level("2026-01-01T00:02:00Z", "2026-01-01T00:02:01Z"), Level::Fail);
        assert!(parse("soon").is_none());
    }
}
