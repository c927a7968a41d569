//! Answers, one module per protocol. Pure: every body is rendered when something changes, never per request.

pub mod aws;
pub mod azure;
pub mod json;
pub mod kubernetes;
pub mod vault;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use exeat_wire::Refusal;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::guard::Rejection;

/// Seconds to wait where a refusal that may pass names none.
const DEFAULT_RETRY_AFTER: u64 = 1;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A finished answer: status and body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status of the answer.
    pub status: StatusCode,
    /// Seconds of the `Retry-After` header.
    pub retry_after: Option<u64>,
    /// Whether the body is text for people instead of JSON.
    pub text: bool,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// `status` with the JSON text `body`.
    pub fn json(status: StatusCode, retry_after: Option<u64>, body: impl Into<Bytes>) -> Self {
        Self { status, retry_after, text: false, body: body.into() }
    }

    /// 200 with the JSON text `body`.
    pub fn ok(body: Bytes) -> Self {
        Self::json(StatusCode::OK, None, body)
    }

    /// The answer as HTTP. The content type of JSON is exactly `application/json`: AWS's Go SDK reads no other.
    pub fn to_response(&self) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, if self.text { TEXT } else { JSON });
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Status and `Retry-After` of a refusal: 503 where waiting may help, else 403 so that SDKs stop at once.
fn manner(refusal: &Refusal) -> (StatusCode, Option<u64>) {
    if refusal.retryable {
        (StatusCode::SERVICE_UNAVAILABLE, Some(refusal.retry_after_seconds.unwrap_or(DEFAULT_RETRY_AFTER)))
    } else {
        (StatusCode::FORBIDDEN, None)
    }
}

/// An error in the words of every SDK: Go, Java and Rust read `code` and `message`, JavaScript `Code` and `Message`.
pub fn error(status: StatusCode, retry_after: Option<u64>, code: &str, message: &str) -> Answer {
    let body = serde_json::json!({ "code": code, "Code": code, "message": message, "Message": message });
    Answer::json(status, retry_after, body.to_string())
}

/// The answer to a request that the guard refused.
pub fn rejected(rejection: Rejection) -> Answer {
    error(rejection.status(), None, rejection.code(), &rejection.to_string())
}

/// JSON of `value` in memory that is zeroized when the last answer with it is gone.
fn secret_json(value: &impl Serialize, capacity: usize) -> Result<Bytes, serde_json::Error> {
    // Room for all, so that growing leaves no copy behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer(&mut *buffer, value)?;
    Ok(Bytes::from_owner(buffer))
}
