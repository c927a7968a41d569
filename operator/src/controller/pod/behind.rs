//! A pod may be seen before the policy or the provider that was applied with it, and before it: each kind has a watch of its own. A session that is
//! opened without them can only be denied.

use crate::controller::caches::Caches;
use crate::controller::error::Error;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use kube::{Api, Client, ResourceExt};

/// Whether the caches lack the pod's policy, or its provider, while the API server has it. What is on neither side comes with an event of its own.
/// A name that is none could lead elsewhere: what is found must have it.
///
/// # Errors
/// What the API server refused.
pub(super) async fn lacks(caches: &Caches, client: &Client, namespace: &str, policy: &str) -> Result<bool, Error> {
    let Some(known) = caches.policy(namespace, policy) else {
        let policies: Api<AgentCredentialPolicy> = Api::namespaced(client.clone(), namespace);
        return Ok(policies.get_opt(policy).await?.is_some_and(|found| found.name_any() == policy));
    };
    let provider = &known.spec.provider_ref.name;
    if caches.provider(provider).is_some() {
        return Ok(false);
    }
    let providers: Api<CredentialProvider> = Api::all(client.clone());
    Ok(providers.get_opt(provider).await?.is_some_and(|found| found.name_any() == *provider))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::there::{by_name, server};
    use kube::runtime::reflector::store;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};
    use std::sync::atomic::Ordering;

    fn policy() -> Value {
        json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy", "metadata": {"name": "reader", "namespace": "agents"},
            "spec": {"providerRef": {"name": "here"}, "principal": "p", "subjects": {"serviceAccounts": ["sa"]},
                "allow": [{"actions": ["get pods"], "resources": ["agents/*"]}]},
        })
    }

    fn provider() -> Value {
        json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "here"},
            "spec": {"kubernetes": {}, "bindings": []},
        })
    }

    /// What is said where the caches have `cached` and the API server has `there`, and how often it was asked.
    async fn said(cached: &[Value], there: &[Value]) -> (bool, usize) {
        let (policies, mut policy_writer) = store();
        let (providers, mut provider_writer) = store();
        for object in cached {
            match object["kind"].as_str() {
                Some("CredentialProvider") => {
                    provider_writer.apply_watcher_event(&Event::Apply(serde_json::from_value(object.clone()).unwrap()));
                }
                _ => policy_writer.apply_watcher_event(&Event::Apply(serde_json::from_value(object.clone()).unwrap())),
            }
        }
        let caches = Caches::new(providers, policies, store().0, store().0, store().0, store().0);
        let (client, asked) = server(&by_name(there));
        let lacks = lacks(&caches, &client, "agents", "reader").await.unwrap();
        (lacks, asked.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn no_session_is_opened_without_what_was_applied_before_the_pod() {
        let both = [policy(), provider()];
        assert_eq!(said(&[], &both).await, (true, 1), "the policy's event is on its way");
        assert_eq!(said(&both[..1], &both).await, (true, 1), "the provider's is");
        assert_eq!(said(&both, &both).await, (false, 0), "as always: nobody is asked");
        assert_eq!(said(&[], &both[1..]).await, (false, 1), "there is none: the session says so");
        assert_eq!(said(&both[..1], &both[..1]).await, (false, 1));
    }
}
