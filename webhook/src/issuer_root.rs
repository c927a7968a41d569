//! The issuer's public root, which every sidecar is given: followed in a ConfigMap of our namespace.

use exeat_crds::names;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::sync::watch;

use crate::follow::follow as follow_object;

/// Key of the certificates in the ConfigMap.
const CERTIFICATE: &str = "ca.crt";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The certificates in the ConfigMap, if there are any.
fn certificates(config_map: &ConfigMap) -> Option<String> {
    let text = config_map.data.as_ref()?.get(CERTIFICATE)?;
    text.contains(BEGIN).then(|| text.trim().to_owned() + "\n")
}

/// Follows the ConfigMap for as long as it is polled. A root that is taken away stays known: sidecars that trust it
/// are about, and a new one replaces it.
pub async fn follow(client: Client, namespace: &str, root: watch::Sender<Option<String>>) {
    let seen = |found: &ConfigMap| match certificates(found) {
        Some(certificates) => drop(root.send_replace(Some(certificates))),
        None => tracing::warn!(config_map = names::ISSUER_ROOT_CONFIG_MAP, "no certificate under ca.crt yet"),
    };
    follow_object(Api::namespaced(client, namespace), names::ISSUER_ROOT_CONFIG_MAP, seen).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_count() {
        let with = |key: &str, text: &str| ConfigMap {
            data: Some([(key.to_owned(), text.to_owned())].into()),
            ..ConfigMap::default()
        };
        let pem = format!("{BEGIN}\nAA==\n-----END CERTIFICATE-----\n\n");
        assert_eq!(certificates(&with(CERTIFICATE, &pem)).unwrap(), pem.trim().to_owned() + "\n");
        assert_eq!(certificates(&with(CERTIFICATE, "")), None);
        assert_eq!(certificates(&with("other", &pem)), None);
        assert_eq!(certificates(&ConfigMap::default()), None);
    }
}
