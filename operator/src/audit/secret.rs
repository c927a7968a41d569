//! The key's Secret: it comes empty with the chart, and the replica whose write passes first fills it.

use super::key::{Key, KeyError};
use exeat_crds::names;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use std::time::Duration;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The entry that holds the key.
const ENTRY: &str = "key";
/// Longest time for all of it.
const LOAD: Duration = Duration::from_secs(30);

/// Why there is no key, so that nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The API server refused or did not answer.
    #[error("Secret {name} can't be read or written: {source}")]
    Kube {
        /// The Secret.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// The API server took too long.
    #[error("Secret {name} could not be read within {} s", LOAD.as_secs())]
    Slow {
        /// The Secret.
        name: String,
    },
    /// There is something else in it.
    #[error(
        "Secret {name}: {source}; empty that entry to have a new key made (keep the old one to verify old records)"
    )]
    Key {
        /// The Secret.
        name: String,
        /// What is wrong.
        source: KeyError,
    },
}

/// Reads the key of `program` (`controller` or `issuer`), or makes it.
///
/// # Errors
/// When the Secret can't be read, filled or understood.
pub async fn load(client: Client, namespace: &str, program: &str) -> Result<Key, SecretError> {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let name = names::audit_key_secret(program);
    timeout(LOAD, read_or_make(&api, &name)).await.unwrap_or(Err(SecretError::Slow { name }))
}

async fn read_or_make(api: &Api<Secret>, name: &str) -> Result<Key, SecretError> {
    let kube = |source| SecretError::Kube { name: name.to_owned(), source };
    loop {
        let mut secret = api.get(name).await.map_err(kube)?;
        if let Some(found) = found(&secret) {
            return found.map_err(|source| SecretError::Key { name: name.to_owned(), source });
        }
        let key = Key::generate();
        let value = ByteString(key.to_text().as_bytes().to_vec());
        secret.data.get_or_insert_default().insert(ENTRY.to_owned(), value);
        match api.replace(&secret.name_any(), &PostParams::default(), &secret).await {
            Ok(_) => return Ok(key),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(kube(error)),
        }
    }
}

/// The key in the Secret; nothing where it is empty.
fn found(secret: &Secret) -> Option<Result<Key, KeyError>> {
    let bytes = secret.data.as_ref()?.get(ENTRY)?;
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes.0).into_owned());
    (!text.trim().is_empty()).then(|| Key::parse(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: Option<&[u8]>) -> Secret {
        let data = value.map(|v| [(ENTRY.to_owned(), ByteString(v.to_vec()))].into());
        Secret { data, ..Secret::default() }
    }

    #[test]
    fn an_empty_secret_is_filled_and_any_other_is_left_alone() {
        let key = Key::generate();
        assert!(found(&secret(None)).is_none() && found(&secret(Some(b" \n"))).is_none());
        assert_eq!(found(&secret(Some(key.to_text().as_bytes()))).unwrap().unwrap().id(), key.id());
        for other in [&b"password"[..], b"\xff\xfe", b"00"] {
            assert_eq!(found(&secret(Some(other))).unwrap().unwrap_err(), KeyError);
        }
    }
}
