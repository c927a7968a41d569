//! The end, in a binary of its own that runs last: after this story Exeat is gone from the cluster.

use exeat_crds::v1alpha1::Phase;
use exeat_crds::{CredentialProvider, names};
use exeat_e2e::{Result, agent, connect_with_token, ensure, in_namespace, kubectl, kubernetes_policy, shell, wait_for};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};

#[tokio::test]
async fn uninstall_ends_what_is_alive_and_leaves_nothing() -> Result {
    in_namespace("uninstall", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        let token = ns.sh("agent", "cat /var/run/exeat/kubernetes/token").await?.ok()?;
        let thief = connect_with_token(token.trim()).await?;
        let pods: Api<Pod> = Api::namespaced(thief, &ns.name);
        pods.list(&ListParams::default()).await?;

        shell("helm uninstall exeat --namespace exeat-system --wait --timeout 4m").await?.ok()?;
        let session = ns.session("agent", 1, Phase::Revoked, 1).await?;
        assert!(session.finalizers().is_empty(), "{:?}", session.finalizers());
        wait_for("the credential is refused", 40, async || {
            ensure!(pods.list(&ListParams::default()).await.is_err(), "it still works");
            Ok(())
        })
        .await?;

        let kinds = "deployments,pods,services,secrets,configmaps,leases,roles,rolebindings,serviceaccounts,poddisruptionbudgets,\
                     clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations,\
                     validatingadmissionpolicies,validatingadmissionpolicybindings,namespaces";
        wait_for("nothing of ours is left", 60, async || {
            let ours = kubectl(&["get", kinds, "-A", "-l", "app.kubernetes.io/name=exeat", "-o", "name", "--ignore-not-found"]).await?;
            let left = ours.ok()?;
            ensure!(left.trim().is_empty(), "{left}");
            let grants = Api::<Namespace>::all(ns.client.clone()).get_opt(names::GRANTS_NAMESPACE).await?;
            ensure!(grants.is_none(), "namespace {} is there", names::GRANTS_NAMESPACE);
            Ok(())
        })
        .await?;
        let definitions: Api<CustomResourceDefinition> = Api::all(ns.client.clone());
        definitions.get("credentialsessions.exeat.dev").await?;
        // Annotated pods are pods like any other again, and what is left can be removed by hand.
        ns.create(&agent("later", "pods")).await?;
        for provider in Api::<CredentialProvider>::all(ns.client.clone()).list(&ListParams::default()).await? {
            Api::<CredentialProvider>::all(ns.client.clone()).delete(&provider.name_any(), &DeleteParams::default()).await?;
        }
        Ok(())
    })
    .await
}
