//! Refusals in the words of Vault: its clients show `errors` as they are.

use exeat_wire::Refusal;
use http::StatusCode;

use super::{Answer, manner};
use crate::vault::judge::Denial;

/// The answer while nothing is held.
pub fn refused(refusal: &Refusal) -> Answer {
    let (status, retry_after) = manner(refusal);
    error(status, retry_after, &refusal.code, &refusal.message)
}

/// The answer to a call that is not made.
pub fn denied(denial: &Denial) -> Answer {
    error(denial.status(), None, denial.code(), &denial.to_string())
}

/// An error as Vault writes it.
pub fn error(status: StatusCode, retry_after: Option<u64>, code: &str, message: &str) -> Answer {
    let body = serde_json::json!({ "errors": [format!("exeat: {code}: {message}")] });
    Answer::json(status, retry_after, body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_of_vault_with_code_and_message() {
        let refusal = Refusal {
            code: "SessionRevoked".into(),
            message: "looks odd".into(),
            retryable: false,
            retry_after_seconds: None,
            session: None,
        };
        let answer = refused(&refusal);
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(&answer.body[..], br#"{"errors":["exeat: SessionRevoked: looks odd"]}"#);
        let later = refused(&Refusal { retryable: true, ..refusal });
        assert_eq!((later.status.as_u16(), later.retry_after), (503, Some(1)));
    }
}
