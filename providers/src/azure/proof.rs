//! How the issuer proves itself at Entra: by its own projected token, or by a client secret.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{AzureProvider, AzureSource};
use exeat_wire::Secret;
use serde_json::Value;

use crate::own_token::mounted;
use crate::{Context, ProviderError, secrets};

const CLIENT_ID: &str = "clientID";
const CLIENT_SECRET: &str = "clientSecret";
const FIELD: &str = "spec.azure.secretRef.name";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Where the proof comes from. It is read again for each call: kubelet renews the token, people the secret.
pub(super) enum Proof {
    Federated { token_file: PathBuf },
    Secret { client: kube::Client, namespace: String, name: String },
}

/// What proves the issuer in one call.
pub(super) struct Shown {
    /// The field of the form that it goes into.
    field: &'static str,
    value: Secret,
    /// The one principal that it is good for; `None`: every one that trusts it.
    pub(super) client_id: Option<String>,
}

impl Proof {
    /// # Errors
    /// `BaseIdentityInvalid` where a secret is to be used and none is named.
    pub(super) fn new(spec: &AzureProvider, context: &Context) -> Result<Self, ProviderError> {
        match (spec.source, &spec.secret_ref) {
            (AzureSource::Federated, _) => Ok(Self::Federated { token_file: context.azure_token_file.clone() }),
            (AzureSource::ClientSecret, Some(reference)) => Ok(Self::Secret {
                client: context.client.clone(),
                namespace: context.namespace.clone(),
                name: reference.name.clone(),
            }),
            (AzureSource::ClientSecret, None) => {
                Err(missing("spec.azure.secretRef: source ClientSecret needs it; name the Secret"))
            }
        }
    }

    /// # Errors
    /// `BaseIdentityInvalid` where there is none.
    pub(super) async fn show(&self) -> Result<Shown, ProviderError> {
        match self {
            Self::Federated { token_file } => {
                Ok(Shown { field: "client_assertion", value: mounted(token_file, "Entra")?, client_id: None })
            }
            Self::Secret { client, namespace, name } => {
                let [id, secret] = secrets::read(client, namespace, FIELD, name, [CLIENT_ID, CLIENT_SECRET]).await?;
                Ok(Shown { field: "client_secret", value: secret, client_id: Some(id.expose().to_owned()) })
            }
        }
    }
}

impl Shown {
    /// The fields of a form by which this principal is asked for a token for `scope`.
    ///
    /// # Errors
    /// `AssumeRoleDenied` where the proof is another principal's.
    pub(super) fn form<'a>(
        &'a self,
        principal: &'a str,
        scope: &'a str,
    ) -> Result<Vec<(&'a str, &'a str)>, ProviderError> {
        if let Some(own) = self.client_id.as_deref().filter(|own| !own.eq_ignore_ascii_case(principal)) {
            return Err(ProviderError::lasting(
                Reason::AssumeRoleDenied,
                format!(
                    "spec.principal: the provider's Secret holds the client secret of {own}; write that client id, or use a provider with \
                     source: Federated, which serves every principal that trusts it"
                ),
            ));
        }
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", principal),
            ("scope", scope),
            (self.field, self.value.expose()),
        ];
        if self.field == "client_assertion" {
            form.push(("client_assertion_type", ASSERTION_TYPE));
        }
        Ok(form)
    }

    /// Who the issuer is: what a federated credential must name, or the client id.
    pub(super) fn identity(&self) -> Option<String> {
        if self.client_id.is_some() {
            return self.client_id.clone();
        }
        let claims = claims(&self.value)?;
        Some(format!("{} of {}", claims["sub"].as_str()?, claims["iss"].as_str()?))
    }
}

/// What a token says, without any check: to show and record, never to decide by.
pub(super) fn claims(token: &Secret) -> Option<Value> {
    let payload = token.expose().split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn missing(problem: &str) -> ProviderError {
    ProviderError::lasting(Reason::BaseIdentityInvalid, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "11111111-2222-3333-4444-55555555555f";

    #[test]
    fn an_assertion_goes_with_its_type_and_says_who_the_issuer_is() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"iss":"https://issuer","sub":"system:serviceaccount:a:b"}"#);
        let shown = Shown { field: "client_assertion", value: Secret::new(format!("h.{payload}.s")), client_id: None };
        let form = shown.form(APP, "api://x/.default").unwrap();
        assert!(form.contains(&("client_assertion_type", ASSERTION_TYPE)) && form.contains(&("client_id", APP)));
        assert_eq!(shown.identity().unwrap(), "system:serviceaccount:a:b of https://issuer");
        let opaque = Shown { field: "client_assertion", value: Secret::new("opaque"), client_id: None };
        assert_eq!(opaque.identity(), None);
    }

    #[test]
    fn a_secret_serves_its_own_principal_alone() {
        let shown = Shown { field: "client_secret", value: Secret::new("s"), client_id: Some(APP.to_uppercase()) };
        let form = shown.form(APP, "api://x/.default").unwrap();
        assert!(
            form.contains(&("client_secret", "s")) && !form.iter().any(|(key, _)| key.starts_with("client_assertion"))
        );
        let error = shown.form("11111111-2222-3333-4444-555555555550", "api://x/.default").unwrap_err();
        assert_eq!(error.reason, Reason::AssumeRoleDenied);
        assert!(error.message.starts_with("spec.principal") && !error.retryable);
    }
}
