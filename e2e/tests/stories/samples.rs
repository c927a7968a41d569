//! config/samples as they are shipped. Those of the quick start's first part are in `newcomer.rs`, which runs the README's own lines where nothing
//! is installed.

use crate::quickstart;
use exeat_crds::v1alpha1::CredentialProvider;
use exeat_crds::{AgentCredentialPolicy, condition};
use exeat_e2e::azure::{AZURE, SERVICES, app};
use exeat_e2e::{Output, ROOT, Result, Scope, connect, ensure, provider, shell, wait_for};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

const NAMESPACE: &str = "agents";
const APP: &str = "11111111-2222-3333-4444-555555555555";

/// Everything of a sample file, for clients that take objects.
fn read<T: serde::de::DeserializeOwned>(file: &str) -> Result<T> {
    let text = std::fs::read_to_string(format!("{ROOT}/config/samples/{file}"))?;
    Ok(serde_saphyr::from_str(&text.replace(APP, &app(1)))?)
}

async fn policy_is_ready(client: &Client, name: &str) -> Result {
    let policies: Api<AgentCredentialPolicy> = Api::namespaced(client.clone(), NAMESPACE);
    wait_for(&format!("sample policy {name} is Ready"), 60, async || {
        let conditions = policies.get(name).await?.status.unwrap_or_default().conditions;
        ensure!(condition::is_true(&conditions, "Ready"), "{:?}", condition::get(&conditions, "Ready"));
        Ok(())
    })
    .await
}

async fn remove(client: &Client) -> Result {
    const SAMPLES: &str =
        "rbac-approvals rbac-team provider-approvals provider-aws provider-azure provider-vault rbac-kubernetes";
    shell("kubectl get credentialholds -o name | grep /cleanup-agent- | xargs -r kubectl delete").await?;
    for sample in SAMPLES.split(' ') {
        let _ =
            shell(&format!("kubectl delete --ignore-not-found --wait=false -f config/samples/{sample}.yaml")).await?;
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    wait_for("namespace agents is gone", 120, async || {
        ensure!(namespaces.get_opt(NAMESPACE).await?.is_none(), "it is there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn samples_do_what_they_say() -> Result {
    let client = connect().await?;
    remove(&client).await?;
    shell("kubectl apply -f config/samples/rbac-kubernetes.yaml").await?.ok()?;
    let ns = Scope { client: client.clone(), name: NAMESPACE.to_owned() };
    let outcome = async {
        quickstart::aws(&ns).await?;
        quickstart::vault(&ns).await?;
        azure_sample(&client).await?;
        approvals_samples(&client).await
    };
    let outcome = outcome.await;
    remove(&client).await?;
    outcome
}

/// A line of shell that must succeed, within a minute: rights that were just bound take a moment.
async fn done(line: &str) -> Result<Output> {
    wait_for(line, 60, async || {
        let output = shell(line).await?;
        output.clone().ok()?;
        Ok(output)
    })
    .await
}

/// A line of shell that must be refused in these words, within a minute.
async fn refused(line: &str, words: &str) -> Result {
    wait_for(line, 60, async || {
        let said = shell(line).await?.failed()?;
        ensure!(said.contains(words), "{words:?} is not said: {said}");
        Ok(())
    })
    .await
}

/// alice of the team writes the policy, bob of security says yes, dave the officer stops it: each by what the samples bind to their groups.
async fn approvals_samples(client: &Client) -> Result {
    const ALICE: &str = "--as alice --as-group agents-team";
    const BOB: &str = "--as bob --as-group security";
    const DAVE: &str = "--as dave --as-group security-officers";
    for sample in ["rbac-team", "rbac-approvals", "provider-approvals"] {
        done(&format!("kubectl apply -f config/samples/{sample}.yaml")).await?;
    }
    refused("kubectl apply -f config/samples/policy-approvals.yaml --as eve --as-group others", "forbidden").await?;
    done(&format!("kubectl apply -f config/samples/policy-approvals.yaml {ALICE}")).await?;
    policy_is_ready(client, "pod-cleaner").await?;
    let warned = done(&format!("kubectl apply -f config/samples/deployment-approvals.yaml {ALICE}")).await?;
    assert!(warned.stderr.contains("people are asked"), "{warned}");
    done("kubectl -n agents rollout status deployment/cleanup-agent --timeout=60s").await?;

    let name = shell("kubectl -n agents get approvals -o jsonpath='{.items[*].metadata.name}'").await?.ok()?;
    let delete = "kubectl -n agents exec deploy/cleanup-agent -c agent -- kubectl delete pod no-such-pod";
    refused(delete, &format!("approval {name} waits for")).await?;
    let approve = format!("kubectl exeat approve {name} -n agents --yes -m INC-42");
    refused(&format!("{approve} --as frank --as-group agents-team"), "lack the verb approve").await?;
    refused(&format!("{approve} {ALICE} --as-group security"), "somebody else approves").await?;
    done(&format!("{approve} {BOB}")).await?;
    refused(delete, "pods \"no-such-pod\" not found").await?;

    let revoke = "kubectl exeat revoke --workload deployment/cleanup-agent -n agents --deny-new --yes -m 'wrong pods'";
    let told = done(&format!("{revoke} {DAVE}")).await?;
    assert!(told.stdout.contains("Immediate: access ends by"), "{told}");
    refused(delete, "SessionRevoked").await?;
    let holds = shell(&format!("kubectl exeat holds {DAVE}")).await?.ok()?;
    let hold = holds.split_whitespace().find(|word| word.starts_with("cleanup-agent-")).unwrap_or_default();
    assert!(holds.contains("dave"), "{holds}");
    shell("kubectl -n agents delete pod --selector app=cleanup-agent --wait=false").await?.ok()?;
    refused("kubectl exeat explain deployment cleanup-agent -n agents", &format!("kubectl exeat release {hold}"))
        .await?;
    done(&format!("kubectl exeat release {hold} {DAVE}")).await?;
    // The yes is good for ten sessions: nobody is asked again.
    refused(delete, "pods \"no-such-pod\" not found").await
}

async fn azure_sample(client: &Client) -> Result {
    let ns = Scope { client: client.clone(), name: NAMESPACE.to_owned() };
    let mut sample: CredentialProvider = read("provider-azure.yaml")?;
    assert_eq!(sample.spec.azure.as_ref().map(|azure| azure.tenant_id.as_str()), Some("contoso.onmicrosoft.com"));
    sample.spec.azure = provider("x", AZURE, &[], &[]).spec.azure;
    Api::all(client.clone()).create(&PostParams::default(), &sample).await?;
    ns.create(&read::<AgentCredentialPolicy>("policy-azure.yaml")?).await?;
    policy_is_ready(client, "blob-reader").await?;
    let mut pod: Pod = read("pod-azure.yaml")?;
    let name = pod.name_any();
    for variable in pod.spec.iter_mut().flat_map(|s| &mut s.containers).flat_map(|c| c.env.iter_mut().flatten()) {
        variable.value = Some(format!("{SERVICES}/blobs/q3.txt"));
    }
    ns.start(pod).await?;
    let (code, log) = ns.finished(&name, 180).await?;
    assert_eq!((code, log.trim()), (0, "200"));
    Ok(())
}
