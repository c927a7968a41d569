//! The cluster, the definitions, the programs and the providers.

use super::Check;
use crate::client::Cluster;
use crate::error::Error;
use exeat_crds::rules::glob::{Case, matches};
use exeat_crds::{CredentialProvider, all_crds, condition};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

/// The oldest minor version that has all that Exeat needs.
const OLDEST: u32 = 32;

pub(super) async fn cluster(client: &Client) -> Result<Vec<Check>, Error> {
    let version = client.apiserver_version().await.map_err(Error::api("the API server's version can't be read"))?;
    Ok(vec![judge_version(&version.major, &version.minor)])
}

fn judge_version(major: &str, minor: &str) -> Check {
    const CHECK: &str = "Kubernetes";
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    match (number(major), number(minor)) {
        (Some(major), Some(minor)) if (major, minor) >= (1, OLDEST) => Check::ok(CHECK, format!("{major}.{minor}")),
        _ => Check::fail(
            CHECK,
            format!("{major}.{minor} is older than 1.{OLDEST}"),
            "upgrade: admission policies and native sidecars are needed as of 1.32",
        ),
    }
}

pub(super) async fn definitions(client: &Client) -> Vec<Check> {
    const CHECK: &str = "definitions";
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut missing = Vec::new();
    let mut wrong = Vec::new();
    for wanted in all_crds() {
        let name = wanted.name_any();
        match api.get_opt(&name).await {
            Ok(None) => missing.push(name),
            Ok(Some(found)) if !is_established(&found) => wrong.push(name),
            Ok(Some(_)) => {}
            Err(error) => return vec![Check::unseen(CHECK, &error)],
        }
    }
    let fix = "kubectl apply --server-side -k config/crd, or install the chart with crds.install: true";
    vec![if !missing.is_empty() {
        Check::fail(CHECK, format!("missing: {}", missing.join(", ")), fix)
    } else if !wrong.is_empty() {
        Check::fail(CHECK, format!("not established: {}", wrong.join(", ")), fix)
    } else {
        Check::ok(CHECK, format!("all {} are established", all_crds().len()))
    }]
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.clone().any(|c| c.type_ == "Established" && c.status == "True")
}

pub(super) async fn deployments(cluster: &Cluster) -> Vec<Check> {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.system);
    let mut checks = Vec::new();
    for program in ["controller", "issuer", "webhook"] {
        let name = format!("exeat-{program}");
        checks.push(match api.get_opt(&name).await {
            Err(error) => Check::unseen(program, &error),
            Ok(None) => Check::fail(
                program,
                format!("there is no Deployment {name} in namespace {}", cluster.system),
                "install the chart (is --system-namespace right?)",
            ),
            Ok(Some(found)) => judge_deployment(program, &found, &cluster.system),
        });
    }
    checks
}

fn judge_deployment(program: &str, found: &Deployment, system: &str) -> Check {
    let wanted = found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = found.status.clone().unwrap_or_default();
    let available = status.available_replicas.unwrap_or(0);
    let look = format!("kubectl -n {system} describe pods -l app.kubernetes.io/component={program}; then their logs");
    if available == 0 {
        return Check::fail(program, format!("none of {wanted} replicas is available"), look);
    }
    if available < wanted || status.updated_replicas.unwrap_or(0) < wanted {
        return Check::warn(
            program,
            format!(
                "{available} of {wanted} replicas are available, {} are of the newest version",
                status.updated_replicas.unwrap_or(0)
            ),
            look,
        );
    }
    if wanted < 2 {
        return Check::warn(program, "it has one replica: each restart is an outage", "give it two or more");
    }
    Check::ok(program, format!("all {wanted} replicas are available"))
}

/// The providers' checks, and the namespaces that they serve.
pub(super) async fn providers(cluster: &Cluster) -> (Vec<Check>, Vec<String>) {
    const CHECK: &str = "providers";
    let api: Api<CredentialProvider> = Api::all(cluster.client.clone());
    let found = match api.list(&ListParams::default()).await {
        Ok(found) => found.items,
        Err(error) => return (vec![Check::unseen(CHECK, &error)], Vec::new()),
    };
    if found.is_empty() {
        return (
            vec![Check::warn(
                CHECK,
                "there is none",
                "kubectl apply -f config/samples/provider-kubernetes.yaml is one that needs no cloud",
            )],
            Vec::new(),
        );
    }
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let all = namespaces
        .list(&ListParams::default())
        .await
        .map(|list| list.items.iter().map(ResourceExt::name_any).collect())
        .unwrap_or_default();
    (found.iter().map(judge_provider).collect(), served(&found, all))
}

fn judge_provider(provider: &CredentialProvider) -> Check {
    let check = format!("provider {}", provider.name_any());
    let status = provider.status.clone().unwrap_or_default();
    match condition::get(&status.conditions, "Ready") {
        Some(ready) if ready.status == "True" => {
            let identity = status
                .probe
                .and_then(|probe| probe.identity)
                .map(|identity| format!(" as {identity}"))
                .unwrap_or_default();
            Check::ok(check, format!("Ready{identity}"))
        }
        Some(ready) => Check::fail(
            check,
            format!("{}: {}", ready.reason, ready.message),
            "mend what the message names; docs/aws.md, docs/gcp.md, docs/kubernetes.md and docs/vault.md tell how",
        ),
        None => Check::fail(check, "nobody has looked at it", "look at the controller and the issuer above"),
    }
}

/// Namespaces that a binding names; where they may not be listed, those that are written without wildcards.
fn served(providers: &[CredentialProvider], all: Vec<String>) -> Vec<String> {
    let patterns: Vec<&String> = providers.iter().flat_map(|p| &p.spec.bindings).flat_map(|b| &b.namespaces).collect();
    let mut served: Vec<String> = if all.is_empty() {
        patterns.iter().filter(|pattern| !pattern.contains(['*', '?'])).map(|pattern| (*pattern).clone()).collect()
    } else {
        all.into_iter()
            .filter(|namespace| patterns.iter().any(|pattern| matches(pattern, namespace, Case::Sensitive)))
            .collect()
    };
    served.sort();
    served.dedup();
    served
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::policy::call::tests::provider;
    use serde_json::json;

    #[test]
    fn versions_programs_and_providers_are_judged() {
        assert_eq!(judge_version("1", "34+").level, Level::Ok);
        assert_eq!(judge_version("1", "31").level, Level::Fail);
        let deployment = |wanted: i32, available: i32| {
            let found = json!({"spec": {"replicas": wanted, "selector": {}, "template": {}}, "status": {"availableReplicas": available, "updatedReplicas": available}});
            judge_deployment("issuer", &serde_json::from_value(found).unwrap(), "exeat-system").level
        };
        assert_eq!(
            (deployment(2, 2), deployment(2, 1), deployment(2, 0), deployment(1, 1)),
            (Level::Ok, Level::Warn, Level::Fail, Level::Warn)
        );
        assert_eq!(judge_provider(&provider()).level, Level::Fail);
    }

    #[test]
    fn served_namespaces_are_those_that_bindings_name() {
        let mut one = provider();
        one.spec.bindings[0].namespaces = vec!["team-*".into(), "agents".into()];
        let all = ["agents", "team-a", "kube-system"].map(str::to_owned).to_vec();
        assert_eq!(served(&[one.clone()], all), ["agents", "team-a"]);
        assert_eq!(served(&[one], Vec::new()), ["agents"]);
    }
}
