//! Datagrams of the SDKs' client-side monitoring: one JSON object each. Pure. Only an event of a whole call counts; events of its attempts
//! carry the agent's own keys and are passed over unread.

use exeat_wire::Operation;
use serde::Deserialize;

/// Largest datagram that is read: SDKs send at most 8 KiB.
pub const MAX_BYTES: usize = 8 * 1024;
/// Longest name of a service or operation.
const MAX_NAME: usize = 96;
/// What services answer to whom they do not let, where it is not status 403: those that speak JSON answer 400.
const REFUSALS: [&str; 6] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "NotAuthorized",
    "UnauthorizedException",
    "UnauthorizedOperation",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event<'a> {
    #[serde(borrow, rename = "Type")]
    kind: std::borrow::Cow<'a, str>,
    #[serde(default)]
    service: String,
    #[serde(default)]
    api: String,
    #[serde(default)]
    final_http_status_code: Option<u16>,
    #[serde(default)]
    final_aws_exception: Option<String>,
}

/// The call that a datagram tells of, and the status of its last answer (403 for a refusal, however it was said). `None` for all else, also
/// for a call that was never answered.
pub fn parse(bytes: &[u8]) -> Option<(Operation, u16)> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    let event: Event<'_> = serde_json::from_slice(bytes).ok()?;
    if event.kind != "ApiCall" || !is_name(&event.service, " -") || !is_name(&event.api, "") {
        return None;
    }
    let answered = event.final_http_status_code.filter(|status| (100..600).contains(status))?;
    let refused = event.final_aws_exception.is_some_and(|code| REFUSALS.contains(&code.as_str()));
    let status = if refused { 403 } else { answered };
    Some((Operation::Aws { service: event.service, operation: event.api }, status))
}

fn is_name(text: &str, also: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    starts && text.len() <= MAX_NAME && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As botocore writes it.
    const CALL: &str = r#"{"Version":1,"ClientId":"exeat","Type":"ApiCall","Service":"S3","Api":"ListObjectsV2","Timestamp":1530210932103,
        "AttemptCount":1,"Region":"us-west-2","UserAgent":"Boto3/1.40","FinalHttpStatusCode":200,"MaxRetriesExceeded":0,"Latency":70}"#;

    fn of(service: &str, operation: &str) -> Operation {
        Operation::Aws { service: service.into(), operation: operation.into() }
    }

    #[test]
    fn a_call_is_read_with_the_status_of_its_last_answer() {
        assert_eq!(parse(CALL.as_bytes()), Some((of("S3", "ListObjectsV2"), 200)));
        let refused = r#"{"Type":"ApiCall","Service":"DynamoDB","Api":"Query","FinalHttpStatusCode":400,"FinalAwsException":"AccessDeniedException"}"#;
        assert_eq!(parse(refused.as_bytes()), Some((of("DynamoDB", "Query"), 403)));
    }

    #[test]
    fn attempts_junk_and_calls_without_an_answer_are_passed_over() {
        let attempt = r#"{"Type":"ApiCallAttempt","Service":"S3","Api":"GetObject","AccessKey":"AKID","SessionToken":"t","HttpStatusCode":200,"FinalHttpStatusCode":200}"#;
        let long = CALL.replace("us-west-2", &"x".repeat(MAX_BYTES));
        for text in [
            attempt,
            &long,
            "",
            "{}",
            "[]",
            "\u{0}",
            r#"{"Type":"ApiCall","Service":"S3","Api":"GetObject"}"#,
            r#"{"Type":"ApiCall","Service":"S3","Api":"GetObject","FinalHttpStatusCode":7}"#,
            r#"{"Type":"ApiCall","Service":"S3","Api":"Get*","FinalHttpStatusCode":200}"#,
            r#"{"Type":"ApiCall","Service":"S3\u001b[2J","Api":"GetObject","FinalHttpStatusCode":200}"#,
            r#"{"Type":"ApiCall","Service":["S3"],"Api":"GetObject","FinalHttpStatusCode":200}"#,
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm_and_what_is_read_is_a_name(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..250, put in any::<u8>()) {
            let _ = parse(&bytes);
            let mut near = CALL.as_bytes().to_vec();
            let at = cut % near.len();
            near[at] = put;
            if let Some((Operation::Aws { service, operation }, status)) = parse(&near) {
                prop_assert!(is_name(&service, " -") && is_name(&operation, "") && (100..600).contains(&status));
            }
        }
    }
}
