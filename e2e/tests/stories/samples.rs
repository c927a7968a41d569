//! config/samples as they are shipped; only what belongs to a real account is replaced by MiniStack's.

use exeat_crds::v1alpha1::{CredentialProvider, Phase};
use exeat_crds::{AgentCredentialPolicy, condition};
use exeat_e2e::{
    AWS_ACCOUNT, AgentPod, Failure, MINISTACK, ROOT, Result, S3_MINISTACK, Scope, connect, ensure, provider, shell,
    wait_for,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt};

const NAMESPACE: &str = "agents";

/// Everything of a sample file, for clients that take objects.
fn read<T: serde::de::DeserializeOwned>(file: &str) -> Result<T> {
    let text = std::fs::read_to_string(format!("{ROOT}/config/samples/{file}"))?;
    Ok(serde_saphyr::from_str(&text.replace("123456789012", AWS_ACCOUNT))?)
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
    for provider in ["in-cluster", "aws-prod"] {
        let _ = Api::<CredentialProvider>::all(client.clone()).delete(provider, &DeleteParams::default()).await;
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let _ = namespaces.delete(NAMESPACE, &DeleteParams::default()).await;
    wait_for("namespace agents is gone", 60, async || {
        ensure!(namespaces.get_opt(NAMESPACE).await?.is_none(), "it is there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn samples_do_what_they_say() -> Result {
    let client = connect().await?;
    remove(&client).await?;
    let outcome = quick_start().await;
    let outcome = match outcome {
        Ok(()) => aws_sample(&client).await,
        failed => failed,
    };
    remove(&client).await?;
    outcome
}

/// The copy-paste blocks of a section of the README.
fn blocks(section: &str) -> Result<Vec<String>> {
    let readme = std::fs::read_to_string(format!("{ROOT}/README.md"))?;
    let section = readme.split("\n## ").find(|s| s.starts_with(section)).unwrap_or_default();
    Ok(section.split("```bash\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect())
}

/// The README's own lines, but for the installation, which e2e/install.sh has done.
async fn quick_start() -> Result {
    let blocks = blocks("Quick start on a cluster of yours")?;
    let [start, look, stop, ..] = &blocks[..] else {
        return Err(Failure::new(format!("{} blocks in the quick start", blocks.len())));
    };
    let start: Vec<&str> = start.lines().filter(|line| !line.starts_with("helm install ")).collect();
    assert!(start.len() >= 5, "{start:?}");
    shell(&format!("set -e\n{}", start.join("\n"))).await?.ok()?;
    let seen = shell(look).await?;
    for (text, expected) in
        [(&seen.stdout, "pod-agent"), (&seen.stderr, "secrets is forbidden"), (&seen.stdout, "Active")]
    {
        assert!(text.contains(expected), "{expected:?} is not in {seen}");
    }
    shell(stop).await?;
    let last = stop.trim_end().lines().last().unwrap_or_default();
    wait_for("kubectl tells why", 15, async || {
        let said = shell(last).await?.failed()?;
        ensure!(said.contains("SessionRevoked") && said.contains("looks odd"), "{said}");
        Ok(())
    })
    .await
}

async fn aws_sample(client: &Client) -> Result {
    let ns = Scope { client: client.clone(), name: NAMESPACE.to_owned() };
    let mut sample: CredentialProvider = read("provider-aws.yaml")?;
    let region = sample.spec.aws.as_ref().map(|aws| aws.region.clone());
    assert_eq!(region.as_deref(), Some("eu-west-1"));
    sample.spec.aws = provider("x", MINISTACK, &[], &[]).spec.aws;
    Api::all(client.clone()).create(&PostParams::default(), &sample).await?;
    ns.create(&read::<AgentCredentialPolicy>("policy-aws.yaml")?).await?;
    policy_is_ready(client, "report-reader").await?;
    let pod: Pod = read("pod-aws.yaml")?;
    let name = pod.name_any();
    ns.start(pod.with_env("AWS_ENDPOINT_URL", S3_MINISTACK)).await?;
    let (code, log) = ns.finished(&name, 180).await?;
    assert_eq!(code, 0, "{log}");
    assert!(log.starts_with("q3.txt "), "{log}");
    let session = ns.session(&name, 1, Phase::Completed, 30).await?;
    assert_eq!(session.spec.request.justification.as_deref(), Some("Quarterly report"));
    Ok(())
}
