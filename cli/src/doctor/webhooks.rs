//! Both webhook configurations: there, closed on failure, and with a root that lasts.

use super::{Check, certificates};
use crate::client::Cluster;
use crate::clock;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::Api;

/// Name of both configurations.
const NAME: &str = "exeat";
/// Webhooks that must not be passed by. Templates are only warned about, and records are guarded by admission policies.
const CLOSED: [&str; 3] = ["pods.", "objects.", "kinds."];

/// One webhook of a configuration.
#[derive(Clone, Debug, Default)]
struct Hook {
    name: String,
    fails_closed: bool,
    bundle: Option<ByteString>,
}

pub(super) async fn checks(cluster: &Cluster) -> Vec<Check> {
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let mutating = mutating.get_opt(NAME).await.map(|found| {
        found.map(|found| {
            let hooks = found.webhooks.into_iter().flatten();
            hooks
                .map(|h| Hook {
                    name: h.name,
                    fails_closed: h.failure_policy.as_deref() != Some("Ignore"),
                    bundle: h.client_config.ca_bundle,
                })
                .collect()
        })
    });
    let validating = validating.get_opt(NAME).await.map(|found| {
        found.map(|found| {
            let hooks = found.webhooks.into_iter().flatten();
            hooks
                .map(|h| Hook {
                    name: h.name,
                    fails_closed: h.failure_policy.as_deref() != Some("Ignore"),
                    bundle: h.client_config.ca_bundle,
                })
                .collect()
        })
    });
    let now = clock::now();
    vec![judge("mutating webhook", mutating, now), judge("validating webhook", validating, now)]
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
        hooks.iter().find(|hook| !hook.fails_closed && CLOSED.iter().any(|name| hook.name.starts_with(name)))
    {
        return Check::fail(
            check,
            format!("{} lets everything pass while the webhook is away", open.name),
            "set failurePolicy: Fail, as the chart does",
        );
    }
    let bundles: Vec<&ByteString> =
        hooks.iter().filter_map(|hook| hook.bundle.as_ref()).filter(|bundle| !bundle.0.is_empty()).collect();
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
        let hook = |closed, bundle| Hook { name: "pods.exeat.dev".into(), fails_closed: closed, bundle };
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
