//! The admission policies against what was installed: the ConfigMap that the controller compares with.

use super::Check;
use crate::client::Cluster;
use crate::error::api_message;
use crate::explain::facts::Look;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject};
use kube::discovery::ApiResource;
use kube::{Client, Resource};
use serde_json::Value;
use std::collections::BTreeMap;

/// ConfigMap with the manifests as they were installed.
const INSTALLED: &str = "exeat-admission-policies";

/// Name of the condition by which the controller says which images are the sidecar's.
const OWN_CONDITION: &str = "another-image";

/// An object's kind and name, and its spec.
type Specs = BTreeMap<(String, String), Value>;

/// What is missing or changed.
pub async fn fallen(client: &Client, system: &str) -> Look<Vec<String>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), system);
    let installed = match api.get_opt(INSTALLED).await {
        Ok(Some(found)) => found,
        Ok(None) => return Look::Missing,
        Err(error) => return Look::Unreadable(api_message(&error)),
    };
    let wanted = match manifests(&installed) {
        Ok(wanted) => wanted,
        Err(why) => return Look::Unreadable(why),
    };
    match standing(client, &wanted).await {
        Ok(standing) => Look::Found(compare(&wanted, &standing)),
        Err(error) => Look::Unreadable(api_message(&error)),
    }
}

fn manifests(installed: &ConfigMap) -> Result<Specs, String> {
    let mut wanted = Specs::new();
    for (file, text) in installed.data.iter().flatten() {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).map_err(|error| format!("{INSTALLED}, {file}: {error}"))?;
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            let text = |path: &str| document.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            wanted.insert((text("/kind"), text("/metadata/name")), document.get("spec").cloned().unwrap_or_default());
        }
    }
    Ok(wanted)
}

/// As the API server writes them, whatever fields this version's types know. Each by its name: other products' are nobody's business here.
async fn standing(client: &Client, wanted: &Specs) -> Result<Specs, kube::Error> {
    let mut all = of_kind::<ValidatingAdmissionPolicy>(client, wanted).await?;
    all.extend(of_kind::<ValidatingAdmissionPolicyBinding>(client, wanted).await?);
    Ok(all)
}

async fn of_kind<K: Resource<DynamicType = ()>>(client: &Client, wanted: &Specs) -> Result<Specs, kube::Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<K>(&()));
    let keys: Vec<_> = wanted.keys().filter(|(kind, _)| *kind == K::kind(&())).collect();
    let found = futures::future::try_join_all(keys.iter().map(|key| api.get_opt(&key.1))).await?;
    let standing = keys.into_iter().zip(found).filter_map(|(key, object)| {
        let mut spec = object?.data.get("spec").cloned().unwrap_or_default();
        without_own(&mut spec);
        Some((key.clone(), spec))
    });
    Ok(standing.collect())
}

/// The controller adds a condition of its own, which no manifest can know.
fn without_own(spec: &mut Value) {
    let Some(Value::Array(conditions)) = spec.get_mut("matchConditions") else { return };
    conditions.retain(|condition| condition["name"] != OWN_CONDITION);
    if conditions.is_empty()
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove("matchConditions");
    }
}

fn compare(wanted: &Specs, standing: &Specs) -> Vec<String> {
    let differs = |key: &(String, String), spec: &Value| match standing.get(key) {
        None => Some(format!("{} {} is missing", key.0, key.1)),
        Some(found) if found != spec => Some(format!("{} {} was changed", key.0, key.1)),
        Some(_) => None,
    };
    wanted.iter().filter_map(|(key, spec)| differs(key, spec)).collect()
}

pub(super) async fn checks(cluster: &Cluster) -> Vec<Check> {
    const CHECK: &str = "admission policies";
    let fix = "the controller puts them back within a minute; where it does not, install the chart again";
    vec![match fallen(&cluster.client, &cluster.system).await {
        Look::Found(fallen) if fallen.is_empty() => Check::ok(CHECK, "they stand as installed"),
        Look::Found(fallen) => Check::fail(CHECK, fallen.join("; "), fix),
        Look::Unreadable(why) => {
            Check::warn(CHECK, format!("they can't be compared: {why}"), "ask somebody who may read them to run doctor")
        }
        _ => Check::fail(
            CHECK,
            format!("ConfigMap {INSTALLED} is not in namespace {}", cluster.system),
            "install the chart (is --system-namespace right?)",
        ),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn missing_and_changed_are_told_apart() {
        let text = "# Generated\nkind: ValidatingAdmissionPolicy\nmetadata: {name: a}\nspec: {failurePolicy: Fail}\n---\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: a}\nspec: {policyName: a}\n";
        let map = ConfigMap { data: Some(BTreeMap::from([("a.yaml".into(), text.into())])), ..ConfigMap::default() };
        let wanted = manifests(&map).unwrap();
        assert_eq!(wanted.len(), 2);
        assert_eq!(compare(&wanted, &wanted), Vec::<String>::new());
        let mut own = json!({"failurePolicy": "Fail", "matchConditions": [{"name": "another-image"}]});
        without_own(&mut own);
        assert_eq!(own, json!({"failurePolicy": "Fail"}));
        let key = ("ValidatingAdmissionPolicy".to_owned(), "a".to_owned());
        let standing = Specs::from([(key, json!({"failurePolicy": "Ignore"}))]);
        assert_eq!(
            compare(&wanted, &standing),
            ["ValidatingAdmissionPolicy a was changed", "ValidatingAdmissionPolicyBinding a is missing"]
        );
    }
}
