use super::*;

const ASSUME: Doing<'static> = Doing {
    endpoint: "https://sts.eu-west-1.amazonaws.com",
    step: Step::Assume {
        principal: "arn:aws:iam::123456789012:role/r",
        action: "sts:AssumeRole",
        also: &["sts:TagSession"],
    },
};
const BASE: Doing<'static> = Doing { step: Step::Base("arn:aws:iam::123456789012:role/base"), ..ASSUME };
const IDENTITY: Doing<'static> = Doing { step: Step::Identity, ..ASSUME };

fn said(status: u16, code: &str, message: &str) -> Failure {
    Failure::Answer { status, code: code.to_owned(), message: message.to_owned(), wait: None }
}

#[test]
fn each_answer_of_sts_has_its_reason() {
    let policy_length = "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to 2048";
    for (status, code, message, reason, retryable) in [
        (403, "AccessDenied", "not authorized to perform: sts:AssumeRole", Reason::AssumeRoleDenied, false),
        (404, "NoSuchEntity", "Role not found", Reason::AssumeRoleDenied, false),
        (403, "InvalidClientTokenId", "invalid", Reason::BaseIdentityInvalid, false),
        (403, "SignatureDoesNotMatch", "does not match", Reason::BaseIdentityInvalid, false),
        (400, "ExpiredTokenException", "expired", Reason::BaseIdentityInvalid, false),
        (403, "ExpiredToken", "expired", Reason::BaseIdentityInvalid, false),
        (
            403,
            "AccessDenied",
            "The request signature we calculated does not match the signature you provided.",
            Reason::BaseIdentityInvalid,
            false,
        ),
        (
            403,
            "AccessDenied",
            "The Access Key Id you provided does not exist in our records.",
            Reason::BaseIdentityInvalid,
            false,
        ),
        (400, "InvalidParameterValue", "STS JWT Token has `azp` claim invalid", Reason::BaseIdentityInvalid, false),
        (400, "MalformedPolicyDocument", "bad", Reason::ProviderRejected, false),
        (400, "PackedPolicyTooLarge", "104 %", Reason::PolicyTooLarge, false),
        (400, "ValidationError", policy_length, Reason::PolicyTooLarge, false),
        (
            400,
            "ValidationError",
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
            Reason::RoleChainingLimit,
            false,
        ),
        (
            400,
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role",
            Reason::CredentialTTLTooLong,
            false,
        ),
        (400, "ValidationError", "something else", Reason::ProviderRejected, false),
        (403, "RegionDisabledException", "off", Reason::ProviderRejected, false),
        (400, "Throttling", "Rate exceeded", Reason::ProviderThrottled, true),
        (429, "", "", Reason::ProviderThrottled, true),
        (400, "IDPCommunicationError", "timeout", Reason::ProviderUnreachable, true),
        (500, "InternalFailure", "oops", Reason::ProviderUnreachable, true),
        (503, "ServiceUnavailable", "", Reason::ProviderUnreachable, true),
    ] {
        let error = explain(said(status, code, message), ASSUME);
        assert_eq!((error.reason, error.retryable), (reason, retryable), "{code}: {error}");
    }
}

#[test]
fn a_refused_trust_names_the_role_and_every_action_that_it_must_allow() {
    let error = explain(said(403, "AccessDenied", "no"), ASSUME);
    for part in ["role/r", "sts:AssumeRole, sts:TagSession", "trust policy", "AccessDenied: no"] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_refusal_on_the_way_to_the_issuers_own_role_is_about_its_identity() {
    let error = explain(said(403, "AccessDenied", "no"), BASE);
    assert_eq!(error.reason, Reason::BaseIdentityInvalid);
    assert!(error.message.contains("spec.aws.roleARN") && error.message.contains("role/base"), "{error}");
    assert_eq!(explain(said(403, "AccessDenied", "no"), IDENTITY).reason, Reason::BaseIdentityInvalid);
    let error = explain(said(400, "InvalidIdentityToken", "Incorrect token audience"), BASE);
    assert!(error.message.contains("audience"), "{error}");
    let direct = Doing { step: Step::Assume { principal: "role/r", action: WITH_WEB_IDENTITY, also: &[] }, ..ASSUME };
    let error = explain(said(400, "InvalidIdentityToken", "Incorrect token audience"), direct);
    assert!(error.message.contains("audience") && !error.message.contains("secretRef"), "{error}");
}

#[test]
fn a_wrong_clock_is_told_from_a_wrong_key() {
    let error = explain(
        said(403, "SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than …"),
        ASSUME,
    );
    assert!(error.message.contains("clock"), "{error}");
    let error = explain(said(403, "SignatureDoesNotMatch", "does not match"), ASSUME);
    assert!(error.message.contains("spec.aws.secretRef"), "{error}");
}

#[test]
fn nothing_that_sts_quotes_of_a_request_gets_out() {
    let token = "x".repeat(300);
    let canonical = format!("The Canonical String should have been 'POST / x-amz-security-token:{token} host:sts'");
    for code in ["SignatureDoesNotMatch", "AccessDenied", "ValidationError", "SomethingNew", "Throttling"] {
        let error = explain(said(403, code, &canonical), ASSUME);
        assert!(!error.message.contains("xxx"), "{code}: {error}");
    }
    let error = explain(said(400, "AccessDenied", "token eyJhbGciOi.eyJzdWIi.sig is not trusted"), BASE);
    assert!(!error.message.contains("eyJ") && error.message.contains("is not trusted"), "{error}");
}

#[test]
fn waits_come_from_the_answer_or_are_our_own() {
    let named = Failure::Answer {
        status: 429,
        code: "TooManyRequestsException".into(),
        message: String::new(),
        wait: Some(Duration::from_secs(9)),
    };
    assert_eq!(explain(named, ASSUME).retry_after, Some(Duration::from_secs(9)));
    assert_eq!(explain(said(400, "Throttling", ""), ASSUME).retry_after, Some(THROTTLE_WAIT));
}

#[test]
fn our_own_errors_pass_through_the_sdk() {
    let ours = ProviderError::lasting(Reason::IssuerForbidden, "the Secret may not be read");
    let wrapped = CredentialsError::provider_error(ours.clone());
    let error: SdkError<aws_sdk_sts::operation::assume_role::AssumeRoleError, HttpResponse> =
        SdkError::construction_failure(wrapped);
    assert_eq!(failure(&error), Failure::Ours(ours));
}

#[test]
fn no_identity_is_told_from_no_answer() {
    type Error = SdkError<aws_sdk_sts::operation::assume_role::AssumeRoleError, HttpResponse>;
    let missing: Error = SdkError::construction_failure(CredentialsError::not_loaded("no providers in chain"));
    let error = explain(failure(&missing), ASSUME);
    assert_eq!((error.reason, error.retryable), (Reason::BaseIdentityInvalid, false));
    assert!(error.message.contains("IRSA"), "{error}");
    let slow: Error = SdkError::construction_failure(CredentialsError::provider_timed_out(Duration::from_secs(5)));
    assert!(explain(failure(&slow), ASSUME).retryable);
    let silent: Error = SdkError::timeout_error("no answer in 10 s");
    let error = explain(failure(&silent), ASSUME);
    assert_eq!((error.reason, error.retryable), (Reason::ProviderUnreachable, true));
    assert!(
        error.message.contains("https://sts.eu-west-1.amazonaws.com") && error.message.contains("egress"),
        "{error}"
    );
}
