//! Kubernetes clients read a kubeconfig and a token file; while nothing is served the kubeconfig leads back here, so that
//! `kubectl` prints the reason.

use bytes::Bytes;
use exeat_wire::{KubernetesCredential, Refusal};
use http::StatusCode;
use serde_json::json;

use super::{Answer, manner};

/// Path that the kubeconfig names while nothing is served; everything below it is answered alike.
pub const PATH: &str = "/kubernetes/denied";

/// Where a Kubernetes client finds its files.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    /// The bundle of roots.
    pub certificate_authority: &'a str,
    /// The token.
    pub token: &'a str,
}

/// The kubeconfig while a credential is held.
pub fn kubeconfig(credential: &KubernetesCredential, paths: Paths<'_>) -> String {
    let mut cluster = json!({ "server": credential.server });
    if !credential.certificate_authority.is_empty() {
        cluster["certificate-authority"] = paths.certificate_authority.into();
    }
    config(&cluster, &json!({ "tokenFile": paths.token }), &credential.namespace)
}

/// The kubeconfig while nothing is served: it holds no secret.
pub fn denied_kubeconfig(port: u16) -> String {
    config(&json!({ "server": format!("http://127.0.0.1:{port}{PATH}") }), &json!({}), "default")
}

fn config(cluster: &serde_json::Value, user: &serde_json::Value, namespace: &str) -> String {
    // JSON is YAML, and quotes every value without a thought.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "exeat",
        "clusters": [{ "name": "exeat", "cluster": cluster }],
        "users": [{ "name": "exeat", "user": user }],
        "contexts": [{ "name": "exeat", "context": { "cluster": "exeat", "user": "exeat", "namespace": namespace } }],
    });
    format!("{config:#}\n")
}

/// The answer while nothing is served: a `Status`. It names no `Retry-After`, since `kubectl` would wait in silence for a
/// server that never turns into the real one.
pub fn refused(refusal: &Refusal) -> Answer {
    let (status, retry_after) = manner(refusal);
    let mut details = json!({ "group": "exeat.dev", "kind": "credentialsessions" });
    if let Some(session) = &refusal.session {
        details["name"] = session.as_str().into();
    }
    if let Some(seconds) = retry_after {
        details["retryAfterSeconds"] = seconds.into();
    }
    let body = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "reason": refusal.code,
        "message": refusal.message,
        "details": details,
        "code": status.as_u16(),
    });
    Answer::json(status, None, body.to_string())
}

/// Whether `path` belongs to an API server: old clients drop the path of the kubeconfig's server in some calls.
pub fn is_api(path: &str) -> bool {
    matches!(path.split('/').nth(1), Some("api" | "apis" | "version" | "openapi"))
}

/// Whether `path` is one that client-go asks for the server's kinds or version, before any object.
pub fn is_discovery(path: &str) -> bool {
    let below = path.strip_prefix(PATH).unwrap_or(path).trim_end_matches('/');
    matches!(below, "/api" | "/apis" | "/version") || below.starts_with("/openapi/")
}

/// The answer to discovery while nothing is served. client-go reads no `Status` there (it takes the raw body), but of a 403, and of no
/// 5xx, it repeats a text as it is: `Error from server (Forbidden): ApprovalPending: …`. Calls behind discovery are told by
/// [`refused`] whether waiting may help.
pub fn discovery_refused(refusal: &Refusal) -> Answer {
    let body = Bytes::from(format!("{}: {}\n", refusal.code, refusal.message));
    Answer { status: StatusCode::FORBIDDEN, retry_after: None, text: true, body }
}

/// What a client is told that still reads the kubeconfig of a time without credential.
pub fn stale() -> Refusal {
    Refusal {
        code: "KubeconfigStale".into(),
        message: "the credential is held now; read the file that KUBECONFIG names again".into(),
        retryable: true,
        retry_after_seconds: None,
        session: None,
    }
}

#[cfg(test)]
mod tests {
    use exeat_wire::Secret;
    use serde_json::Value;

    use super::*;

    const PATHS: Paths<'_> = Paths { certificate_authority: "/run/ca.crt", token: "/run/token" };

    fn credential(certificate_authority: &str) -> KubernetesCredential {
        KubernetesCredential {
            server: "https://kubernetes.default.svc".into(),
            certificate_authority: certificate_authority.into(),
            namespace: "agents".into(),
            token: Secret::new("very-secret"),
        }
    }

    #[test]
    fn the_kubeconfig_names_files_and_holds_no_token() {
        let text = kubeconfig(&credential("PEM"), PATHS);
        assert!(!text.contains("very-secret"));
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://kubernetes.default.svc");
        assert_eq!(config["clusters"][0]["cluster"]["certificate-authority"], "/run/ca.crt");
        assert_eq!(config["users"][0]["user"]["tokenFile"], "/run/token");
        assert_eq!(config["contexts"][0]["context"]["namespace"], "agents");
        assert_eq!(config["current-context"], config["contexts"][0]["name"]);
    }

    #[test]
    fn without_own_roots_the_clients_are_used() {
        let config: Value = serde_json::from_str(&kubeconfig(&credential(""), PATHS)).unwrap();
        assert!(config["clusters"][0]["cluster"].get("certificate-authority").is_none());
    }

    #[test]
    fn denied_leads_back_here_with_the_reason_in_a_status() {
        let config: Value = serde_json::from_str(&denied_kubeconfig(9911)).unwrap();
        assert_eq!(config["clusters"][0]["cluster"]["server"], "http://127.0.0.1:9911/kubernetes/denied");
        let answer = refused(&Refusal {
            code: "SessionRevoked".into(),
            message: "revoked".into(),
            retryable: false,
            retry_after_seconds: None,
            session: Some("s-1".into()),
        });
        let status: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status.as_u16(), 403);
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(403)));
        assert_eq!((&status["reason"], &status["message"]), (&json!("SessionRevoked"), &json!("revoked")));
    }

    #[test]
    fn a_wait_is_503_without_the_header_that_kubectl_waits_for() {
        let answer = refused(&stale());
        assert_eq!((answer.status.as_u16(), answer.retry_after), (503, None));
    }

    #[test]
    fn discovery_is_refused_in_a_text_that_kubectl_repeats() {
        for path in ["/api", "/apis", "/apis/", "/version", "/openapi/v3"] {
            assert!(is_discovery(&format!("{PATH}{path}")), "{path}");
        }
        for path in ["", "/", "/api/v1", "/apis/apps/v1", "/api/v1/namespaces/a/pods/api"] {
            assert!(!is_discovery(&format!("{PATH}{path}")), "{path}");
        }
        assert!(is_discovery("/openapi/v3") && is_api("/openapi/v3") && is_api("/api/v1/pods"));
        assert!(!is_api("/aws/credentials") && !is_api("/apiary") && !is_api("/"));
        for retryable in [false, true] {
            let answer = discovery_refused(&Refusal { retryable, ..stale() });
            assert_eq!((answer.status.as_u16(), answer.text, answer.retry_after), (403, true, None));
            assert!(answer.body.starts_with(b"KubeconfigStale: "));
        }
    }
}
