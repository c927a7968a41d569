//! What a cluster says of an object, by a dry run: its definitions, its webhooks and its admission policies, and nothing is stored.

use crate::client::Cluster;
use crate::error::{Error, api_message};
use crate::files::Document;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use kube::Resource;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::request::Request;
use serde_json::Value;

/// Why the cluster would refuse the document; `None`: it would not.
///
/// # Errors
/// When no answer comes.
pub(super) async fn refusal(cluster: &Cluster, document: &Document) -> Result<Option<String>, Error> {
    if document.is::<CredentialProvider>() {
        return ask(cluster, ApiResource::erase::<CredentialProvider>(&()), None, document).await;
    }
    let namespace = document.value["metadata"]["namespace"].as_str().unwrap_or(&cluster.namespace);
    ask(cluster, ApiResource::erase::<AgentCredentialPolicy>(&()), Some(namespace), document).await
}

/// What is there already is replaced, what is not is created, as `kubectl apply` would leave it.
async fn ask(
    cluster: &Cluster,
    kind: ApiResource,
    namespace: Option<&str>,
    document: &Document,
) -> Result<Option<String>, Error> {
    let api: kube::Api<DynamicObject> = match namespace {
        Some(namespace) => kube::Api::namespaced_with(cluster.client.clone(), namespace, &kind),
        None => kube::Api::all_with(cluster.client.clone(), &kind),
    };
    let mut object = document.value.clone();
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let present = if name.is_empty() { Ok(None) } else { api.get_metadata_opt(&name).await };
    let outcome = match present {
        Ok(Some(present)) => {
            object["metadata"]["resourceVersion"] = present.metadata.resource_version.into();
            send(cluster, &kind, namespace, Some(&name), &object).await
        }
        Ok(None) => send(cluster, &kind, namespace, None, &object).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => Ok(None),
        Err(error @ kube::Error::Api(_)) => Ok(Some(api_message(&error))),
        Err(error) => Err(Error::api(format!("{}: the dry run", document.place))(error)),
    }
}

/// The client's own calls let unknown fields pass; this one does not.
async fn send(
    cluster: &Cluster,
    kind: &ApiResource,
    namespace: Option<&str>,
    replaced: Option<&str>,
    object: &Value,
) -> Result<(), kube::Error> {
    let request = Request::new(DynamicObject::url_path(kind, namespace));
    let params = PostParams { dry_run: true, field_manager: Some("kubectl-exeat".to_owned()) };
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let built = match replaced {
        Some(name) => request.replace(name, &params, body),
        None => request.create(&params, body),
    };
    let (mut head, body) = built.map_err(kube::Error::BuildRequest)?.into_parts();
    let strict = format!("{}&fieldValidation=Strict", head.uri);
    head.uri = strict.parse().map_err(|error: http::uri::InvalidUri| {
        kube::Error::BuildRequest(kube::core::request::Error::BuildRequest(error.into()))
    })?;
    cluster.client.request::<Value>(http::Request::from_parts(head, body)).await.map(drop)
}
