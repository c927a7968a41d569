//! Secrets of our own namespace, read by name.

use exeat_crds::reason::Reason;
use exeat_wire::Secret;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use zeroize::Zeroize;

use crate::ProviderError;

/// The texts under these keys of a Secret. `field` is where the provider names it.
///
/// # Errors
/// `BaseIdentityInvalid` where it or a key is missing, `IssuerForbidden` where the issuer may not read it.
pub(crate) async fn read<const N: usize>(
    client: &kube::Client,
    namespace: &str,
    field: &str,
    name: &str,
    keys: [&str; N],
) -> Result<[Secret; N], ProviderError> {
    let api: kube::Api<SecretObject> = kube::Api::namespaced(client.clone(), namespace);
    let wrong = |problem: String| ProviderError::lasting(Reason::BaseIdentityInvalid, format!("{field}: {problem}"));
    let mut found = match api.get_opt(name).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let needed = keys.join(" and ");
            return Err(wrong(format!("there is no Secret {name} in namespace {namespace}; create it with {needed}")));
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return Err(ProviderError::lasting(
                Reason::IssuerForbidden,
                format!(
                    "{field}: the issuer may not read the Secret {name} in namespace {namespace}; name it in issuer.providerSecrets of \
                     the chart's values (without Helm: in the Role exeat-issuer)"
                ),
            ));
        }
        Err(error) => {
            let message = format!("the Secret {name} in namespace {namespace} can't be read: {error}");
            return Err(ProviderError::passing(Reason::ProviderUnreachable, message));
        }
    };
    let text = |key: &str| {
        let bytes = found.data.as_ref().and_then(|data| data.get(key))?;
        let text = std::str::from_utf8(&bytes.0).ok().map(str::trim).filter(|text| !text.is_empty())?;
        Some(Secret::new(text))
    };
    let values = keys.map(text);
    found.data.iter_mut().flat_map(|data| data.values_mut()).for_each(|bytes| bytes.0.zeroize());
    if let Some(missing) = keys.iter().zip(&values).find_map(|(key, value)| value.is_none().then_some(key)) {
        return Err(wrong(format!("the Secret {name} in namespace {namespace} has no text under the key {missing}")));
    }
    Ok(values.map(|value| value.unwrap_or_else(|| Secret::new(""))))
}
