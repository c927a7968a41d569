//! What the API server's refusals mean, and what to do about them.

use std::time::Duration;

use exeat_crds::reason::Reason;
use kube::core::Status;

use crate::ProviderError;

const CEILING_MARK: &str = "not currently held:";
const ACCOUNT_MARK: &str = "system:serviceaccount:";

/// What was being done when a call failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing<'a> {
    /// For people: `create the Role`.
    pub(super) what: &'a str,
    /// In which namespace.
    pub(super) namespace: &'a str,
    /// Whether that is the namespace of grants.
    pub(super) ours: bool,
}

/// Turns a failed call into its reason.
pub(super) fn failure(error: kube::Error, doing: Doing<'_>) -> ProviderError {
    match error {
        kube::Error::Api(status) => answer(&status, doing),
        kube::Error::Auth(error) => ProviderError::lasting(
            Reason::BaseIdentityInvalid,
            format!("the issuer has no identity at the API server: {error}; check its service account token"),
        ),
        error => {
            let message = format!(
                "the API server did not answer to {} in namespace {}: {}",
                doing.what,
                doing.namespace,
                causes(&error)
            );
            ProviderError::passing(Reason::ProviderUnreachable, message)
        }
    }
}

fn answer(status: &Status, doing: Doing<'_>) -> ProviderError {
    let Doing { what, namespace, .. } = doing;
    let said = &status.message;
    let wait = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    match status.code {
        401 => ProviderError::lasting(
            Reason::BaseIdentityInvalid,
            format!(
                "the API server does not accept the issuer's own token: {said}; check the issuer's service account"
            ),
        ),
        403 if said.contains("is being terminated") => {
            ProviderError::passing(Reason::ProviderRejected, format!("namespace {namespace} is being deleted"))
        }
        403 if said.contains(CEILING_MARK) => above_ceiling(said, namespace),
        403 => forbidden(said, doing),
        404 if said.contains("namespaces") => ProviderError::lasting(
            Reason::ProviderRejected,
            format!("can't {what}: namespace {namespace} does not exist; create it, or name another in spec.allow"),
        ),
        409 => {
            ProviderError::passing(Reason::InternalError, format!("can't {what} in namespace {namespace} yet: {said}"))
        }
        429 => ProviderError::passing(
            Reason::ProviderThrottled,
            format!("the API server asks the issuer to slow down: {said}"),
        )
        .after(Duration::from_secs(u64::from(wait.max(1)))),
        code if code >= 500 => ProviderError::passing(
            Reason::ProviderUnreachable,
            format!("the API server could not {what} in namespace {namespace}: {said}"),
        ),
        code => ProviderError::lasting(
            Reason::ProviderRejected,
            format!("the API server refused to {what} in namespace {namespace} ({code}): {said}"),
        ),
    }
}

/// The API server lets nobody hand out what he does not hold himself.
fn above_ceiling(said: &str, namespace: &str) -> ProviderError {
    let missing = said.split_once(CEILING_MARK).map_or("", |(_, missing)| missing.trim());
    let message = format!(
        "spec.allow asks for rights in namespace {namespace} that the issuer does not hold there and so can't hand out: {missing}; \
         remove them, or bind a role with them to the issuer: kubectl -n {namespace} create rolebinding exeat-ceiling \
         --clusterrole=<a role with these rights> --serviceaccount={}",
        account_in(said)
    );
    ProviderError::lasting(Reason::IssuerForbidden, message)
}

fn forbidden(said: &str, doing: Doing<'_>) -> ProviderError {
    let Doing { what, namespace, ours } = doing;
    ProviderError::lasting(
        Reason::IssuerForbidden,
        format!("the issuer may not {what}: {said}; {}", fix(namespace, ours, &account_in(said))),
    )
}

/// How the issuer gets the rights that it needs in a namespace.
pub(super) fn fix(namespace: &str, ours: bool, account: &str) -> String {
    if ours {
        format!("install the Role exeat-issuer of the chart in namespace {namespace} and bind it to {account}")
    } else {
        format!(
            "kubectl -n {namespace} create rolebinding exeat-kubernetes-grants --clusterrole=exeat-kubernetes-grants \
             --serviceaccount={account}"
        )
    }
}

/// `namespace:name` of the account that a refusal names.
fn account_in(said: &str) -> String {
    let account = said.split_once(ACCOUNT_MARK).map(|(_, rest)| {
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':')).collect::<String>()
    });
    account
        .filter(|account| account.contains(':'))
        .unwrap_or_else(|| "<namespace>:<issuer's service account>".to_owned())
}

/// An error with its causes, innermost last. `kube::Error` shows some of them itself.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::StatusDetails;

    const DOING: Doing<'static> = Doing { what: "create the Role", namespace: "agents", ours: false };

    fn status(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, message: message.to_owned(), ..Status::default() }))
    }

    #[test]
    fn rights_above_the_ceiling_are_named_with_the_fix() {
        let said = "roles.rbac.authorization.k8s.io \"exeat-x\" is forbidden: user \"system:serviceaccount:exeat-system:exeat-issuer\" \
                    (groups=[\"system:serviceaccounts\"]) is attempting to grant RBAC permissions not currently held:\n\
                    {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}";
        let error = failure(status(403, said), DOING);
        assert_eq!((error.reason, error.retryable), (Reason::IssuerForbidden, false));
        for part in [
            "in namespace agents",
            "Resources:[\"secrets\"]",
            "--serviceaccount=exeat-system:exeat-issuer",
            "rolebinding",
        ] {
            assert!(error.message.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_missing_right_of_the_issuer_is_named_with_the_fix_of_that_namespace() {
        let said = "roles.rbac.authorization.k8s.io is forbidden: User \"system:serviceaccount:exeat-system:exeat-issuer\" cannot create \
                    resource \"roles\" in API group \"rbac.authorization.k8s.io\" in the namespace \"agents\"";
        let error = failure(status(403, said), DOING);
        assert_eq!(error.reason, Reason::IssuerForbidden);
        assert!(error.message.contains("--clusterrole=exeat-kubernetes-grants"), "{error}");
        let error = failure(status(403, said), Doing { ours: true, namespace: "exeat-grants", ..DOING });
        assert!(error.message.contains("Role exeat-issuer of the chart in namespace exeat-grants"), "{error}");
        assert!(failure(status(403, "no"), DOING).message.contains("<issuer's service account>"));
    }

    #[test]
    fn each_answer_has_its_reason() {
        for (code, message, reason, retryable) in [
            (401, "Unauthorized", Reason::BaseIdentityInvalid, false),
            (
                403,
                "unable to create new content in namespace agents because it is being terminated",
                Reason::ProviderRejected,
                true,
            ),
            (404, "namespaces \"agents\" not found", Reason::ProviderRejected, false),
            (409, "the object has been modified", Reason::InternalError, true),
            (422, "Role is invalid", Reason::ProviderRejected, false),
            (429, "too many requests", Reason::ProviderThrottled, true),
            (500, "etcdserver: request timed out", Reason::ProviderUnreachable, true),
            (503, "not ready", Reason::ProviderUnreachable, true),
        ] {
            let error = failure(status(code, message), DOING);
            assert_eq!((error.reason, error.retryable), (reason, retryable), "{code} {error}");
        }
    }

    #[test]
    fn the_api_servers_wait_is_passed_on() {
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 7,
        };
        let slow = Status { code: 429, details: Some(details), ..Status::default() };
        let error = failure(kube::Error::Api(Box::new(slow)), DOING);
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn no_answer_is_unreachable() {
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let error = failure(kube::Error::Service(Box::new(io)), DOING);
        assert_eq!((error.reason, error.retryable), (Reason::ProviderUnreachable, true));
        assert!(error.message.contains("connection refused"), "{error}");
    }
}
