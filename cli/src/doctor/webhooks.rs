//! Both webhook configurations: there, closed on failure, and with a root that lasts.

use super::{Check, certificates};
use crate::client::Cluster;
use crate::clock;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, Resource};
use serde::Deserialize;

/// Name of both configurations.
const NAME: &str = "exeat";
/// Webhooks that must not be passed by. Templates are only warned about, and records are guarded by admission policies.
const CLOSED: [&str; 3] = ["pods.", "objects.", "kinds."];

/// One webhook of a configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hook {
    name: String,
    failure_policy: Option<String>,
    client_config: WebhookClientConfig,
}

impl Hook {
    fn fails_closed(&self) -> bool {
        self.failure_policy.as_deref() != Some("Ignore")
    }
}

pub(super) async fn checks(cluster: &Cluster) -> Vec<Check> {
    let now = clock::now();
    vec![
        judge("mutating webhook", hooks::<MutatingWebhookConfiguration>(&cluster.client).await, now),
        judge("validating webhook", hooks::<ValidatingWebhookConfiguration>(&cluster.client).await, now),
    ]
}

/// The webhooks of one configuration. Both kinds write what is judged in the same words.
async fn hooks<K: Resource<DynamicType = ()>>(client: &Client) -> Result<Option<Vec<Hook>>, kube::Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<K>(&()));
    let read = |found: DynamicObject| serde_json::from_value(found.data["webhooks"].clone());
    api.get_opt(NAME).await?.map(read).transpose().map_err(kube::Error::SerdeError)
}

/// The roots by which the API server knows the webhook; empty where there are none, or they may not be read.
pub(super) async fn roots(client: &Client) -> Vec<u8> {
    let hooks = hooks::<MutatingWebhookConfiguration>(client).await.ok().flatten().unwrap_or_default();
    hooks.into_iter().find_map(|hook| hook.client_config.ca_bundle).map(|bundle| bundle.0).unwrap_or_default()
}

fn judge(check: &str, found: Result<Option<Vec<Hook>>, kube::Error>, now: Timestamp) -> Check {
    let hooks = match found {
        Err(error) => return Check::unseen(check, &error),
        Ok(None) => {
            return Check::fail(
                check,
                format!("there is no configuration {NAME:?}: annotated pods are not injected"),
                "install the chart",
            );
        }
        Ok(Some(hooks)) => hooks,
    };
    if let Some(open) =
        hooks.iter().find(|hook| !hook.fails_closed() && CLOSED.iter().any(|name| hook.name.starts_with(name)))
    {
        return Check::fail(
            check,
            format!("{} lets everything pass while the webhook is away", open.name),
            "set failurePolicy: Fail, as the chart does",
        );
    }
    let bundles: Vec<&ByteString> = hooks
        .iter()
        .filter_map(|hook| hook.client_config.ca_bundle.as_ref())
        .filter(|bundle| !bundle.0.is_empty())
        .collect();
    match bundles.first() {
        None => Check::fail(
            check,
            "its caBundle is empty: annotated pods are refused",
            "the webhook writes it when it starts: look at its log (or cert-manager's, where that does)",
        ),
        Some(_) if bundles.len() < hooks.len() => Check::fail(
            check,
            "some of its webhooks have no caBundle",
            "the webhook writes it within a minute: look at its log",
        ),
        Some(bundle) => certificates::judge(check, &bundle.0, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_webhook_must_be_there_closed_and_trusted() {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let bundle = || Some(ByteString(certificates::tests::bundle().into_bytes()));
        let hook = |closed: bool, bundle| Hook {
            name: "pods.exeat.dev".into(),
            failure_policy: (!closed).then(|| "Ignore".to_owned()),
            client_config: WebhookClientConfig { ca_bundle: bundle, ..WebhookClientConfig::default() },
        };
        let level = |hooks| judge("webhook", Ok(hooks), now).level;
        assert_eq!(level(Some(vec![hook(true, bundle())])), Level::Ok);
        assert_eq!(level(None), Level::Fail);
        assert_eq!(level(Some(vec![hook(false, bundle())])), Level::Fail);
        assert_eq!(level(Some(vec![hook(true, None)])), Level::Fail);
        assert_eq!(level(Some(vec![hook(true, bundle()), hook(true, None)])), Level::Fail);
        let workloads = Hook { name: "workloads.exeat.dev".into(), ..hook(false, bundle()) };
        assert_eq!(level(Some(vec![hook(true, bundle()), workloads])), Level::Ok);
    }
}
