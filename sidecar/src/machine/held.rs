//! A credential as the sidecar holds it.

use std::sync::Arc;

use bytes::Bytes;
use exeat_wire::{Credential, CredentialResponse, KubernetesCredential};
use jiff::{SignedDuration, Timestamp};

use crate::args::Provider;
use crate::protocol::{aws, azure, gcp, json};
use crate::vault::Token;

/// The least grace without contact: shorter ones would stop between two heartbeats.
const MIN_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// A credential with the times that bound it.
#[derive(Clone, Debug)]
pub struct Held {
    /// Name of the session.
    pub session: String,
    /// Digest of the grant, empty where the issuer did not tell.
    pub digest: String,
    /// End of the credential.
    pub expires_at: Timestamp,
    /// End of the session.
    pub session_expires_at: Timestamp,
    /// How long it is served without contact to an issuer.
    pub offline_grace: SignedDuration,
    /// Whether what is used is told to the issuer.
    pub observe: bool,
    /// What is served.
    pub payload: Arc<Payload>,
}

/// A credential in each form that is served. The bodies are zeroized when the last answer with them is gone.
#[derive(Default)]
pub struct Payload {
    /// Body for AWS SDKs.
    pub aws: Option<Bytes>,
    /// Bodies for Azure's SDKs.
    pub azure: Option<azure::Tokens>,
    /// Body for plain JSON.
    pub json: Bytes,
    /// What goes into kubeconfig and token file.
    pub kubernetes: Option<KubernetesCredential>,
    /// What calls to Vault are made with.
    pub vault: Option<Arc<Token>>,
    /// What the metadata server tells.
    pub gcp: Option<Arc<gcp::Metadata>>,
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Payload(hidden)")
    }
}

/// Why an issuer's answer can't be served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A time that is no RFC 3339, or a body that can't be written.
    #[error("the issuer's answer has no usable {field}: {error}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What is wrong with it.
        error: String,
    },
    /// A credential of another kind than the pod was injected for.
    #[error(
        "the credential is of kind {brought}, but this pod was injected for {expected}: its policy now names another kind \
         of provider; create the pod again"
    )]
    Kind {
        /// Kind of the issuer's credential.
        brought: &'static str,
        /// Kind that this sidecar serves.
        expected: &'static str,
    },
}

impl Held {
    /// Reads an issuer's answer for a sidecar that serves `provider`.
    ///
    /// # Errors
    /// When a time can't be read or the credential is of another kind.
    pub fn read(mut response: CredentialResponse, provider: Provider) -> Result<Self, Unusable> {
        let brought = kind(&response.credential);
        if brought != provider.as_str() {
            return Err(Unusable::Kind { brought, expected: provider.as_str() });
        }
        let expires_at = time("expiresAt", &response.expires_at)?;
        let session_expires_at = time("sessionExpiresAt", &response.session_expires_at)?;
        let grace = i64::try_from(response.offline_grace_seconds).unwrap_or(i64::MAX);
        let unwritable = |error: serde_json::Error| Unusable::Field { field: "credential", error: error.to_string() };
        let vault = take_vault(&mut response)?;
        let json = json::body(&response, expires_at, session_expires_at).map_err(unwritable)?;
        let mut payload = Payload { json, vault, ..Payload::default() };
        match response.credential {
            Credential::Aws(keys) => {
                payload.aws = Some(aws::body(&keys, expires_at.min(session_expires_at)).map_err(unwritable)?);
            }
            Credential::Azure(credential) => {
                let ends = expires_at.min(session_expires_at);
                payload.azure = Some(azure::Tokens::read(&credential, ends).map_err(unwritable)?);
            }
            Credential::Kubernetes(token) => payload.kubernetes = Some(token),
            Credential::Gcp(tokens) => {
                let until = expires_at.min(session_expires_at);
                payload.gcp = Some(Arc::new(gcp::Metadata::new(tokens, until)));
            }
            _ => {}
        }
        Ok(Self {
            session: response.session,
            observe: response.observe,
            digest: response.digest,
            expires_at,
            session_expires_at,
            offline_grace: SignedDuration::from_secs(grace).max(MIN_GRACE),
            payload: Arc::new(payload),
        })
    }

    /// The earlier of the credential's and the session's end.
    pub fn ends_at(&self) -> Timestamp {
        self.expires_at.min(self.session_expires_at)
    }

    /// Whether it was minted for `session` under the grant with `digest`.
    pub fn is_of(&self, session: &str, digest: &str) -> bool {
        self.session == session && self.digest == digest
    }
}

/// The token of Vault stays here: what is left of the credential may be shown to the agent.
fn take_vault(response: &mut CredentialResponse) -> Result<Option<Arc<Token>>, Unusable> {
    let Credential::Vault(credential) = &mut response.credential else { return Ok(None) };
    let token = Token::read(credential.clone());
    credential.token = None;
    let missing =
        || Unusable::Field { field: "token", error: "the token that is to live on is not held here".to_owned() };
    token.map(|token| Some(Arc::new(token))).ok_or_else(missing)
}

/// Puts the token that is held into an answer that says it lives on.
pub fn complete(mut response: CredentialResponse, held: Option<&Token>) -> CredentialResponse {
    if let (Credential::Vault(credential), Some(held)) = (&mut response.credential, held)
        && credential.token.is_none()
        && credential.accessor == held.accessor
    {
        credential.token = Some(held.token.clone());
    }
    response
}

fn time(field: &'static str, text: &str) -> Result<Timestamp, Unusable> {
    text.parse().map_err(|error: jiff::Error| Unusable::Field { field, error: error.to_string() })
}

fn kind(credential: &Credential) -> &'static str {
    match credential {
        Credential::Aws(_) => Provider::Aws.as_str(),
        Credential::Azure(_) => Provider::Azure.as_str(),
        Credential::Kubernetes(_) => Provider::Kubernetes.as_str(),
        Credential::Vault(_) => Provider::Vault.as_str(),
        Credential::Gcp(_) => Provider::Gcp.as_str(),
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use exeat_wire::{AwsCredential, Secret, VaultCredential, VaultRule};

    use super::*;

    fn response(expires_at: &str) -> CredentialResponse {
        CredentialResponse {
            session: "s-1".into(),
            policy: "p".into(),
            digest: "d-1".into(),
            expires_at: expires_at.into(),
            session_expires_at: "2026-01-01T08:00:00Z".into(),
            offline_grace_seconds: 0,
            observe: false,
            credential: Credential::Aws(AwsCredential {
                access_key_id: "AKID".into(),
                secret_access_key: Secret::new("very-secret"),
                session_token: Secret::new("very-token"),
                account_id: None,
            }),
        }
    }

    #[test]
    fn reads_times_and_keeps_a_grace_longer_than_a_heartbeat() {
        let held = Held::read(response("2026-01-01T00:30:00Z"), Provider::Aws).unwrap();
        assert_eq!(held.expires_at.to_string(), "2026-01-01T00:30:00Z");
        assert_eq!(held.offline_grace, SignedDuration::from_secs(30));
        assert!(held.payload.aws.is_some() && held.payload.kubernetes.is_none());
        let shown = format!("{held:?}");
        assert!(!shown.contains("very-"), "{shown}");
    }

    #[test]
    fn a_token_of_vault_stays_here_and_lives_on_where_its_answer_says_so() {
        let answer = |token: Option<&str>, accessor: &str| CredentialResponse {
            credential: Credential::Vault(VaultCredential {
                address: "https://vault:8200/".into(),
                certificate_authority: None,
                namespace: None,
                accessor: accessor.into(),
                token: token.map(Secret::new),
                allow: vec![VaultRule { verbs: vec!["read".into()], paths: vec!["kv/a".into()] }],
                deny: Vec::new(),
                require_request_header: true,
            }),
            ..response("2026-01-01T00:30:00Z")
        };
        let held = Held::read(answer(Some("very-secret"), "one"), Provider::Vault).unwrap();
        let shown = String::from_utf8_lossy(&held.payload.json).into_owned();
        assert!(shown.contains("kv/a") && !shown.contains("very-secret"), "{shown}");
        let token = held.payload.vault.clone().unwrap();
        for (accessor, known, lives) in
            [("one", Some(&*token), true), ("two", Some(&*token), false), ("one", None, false)]
        {
            let renewed = Held::read(complete(answer(None, accessor), known), Provider::Vault);
            assert_eq!(renewed.is_ok(), lives, "{accessor}");
            if let Ok(renewed) = renewed {
                assert_eq!(renewed.payload.vault.as_ref().unwrap().token.expose(), "very-secret");
            }
        }
    }

    #[test]
    fn an_unreadable_time_is_named() {
        let error = Held::read(response("tomorrow"), Provider::Aws).unwrap_err().to_string();
        assert!(error.contains("expiresAt"), "{error}");
    }

    #[test]
    fn another_kind_than_injected_for_is_refused_with_the_fix() {
        let error = Held::read(response("2026-01-01T00:30:00Z"), Provider::Kubernetes).unwrap_err();
        assert_eq!(error, Unusable::Kind { brought: "aws", expected: "kubernetes" });
        assert!(error.to_string().contains("create the pod again"), "{error}");
    }
}
