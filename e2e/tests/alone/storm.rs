//! Many agents at once.

use exeat_crds::CredentialSession;
use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{
    AgentPod, MINISTACK, Result, S3_MINISTACK, aws_policy, ensure, in_namespace, kubernetes_policy, now, phase, script,
    statement, wait_for,
};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

const AGENTS: usize = 30;

/// One call, which is not tried again, as the first thing that the agent does.
const FIRST_CALL: &str = r#"
import boto3
from botocore.config import Config
s3 = boto3.client("s3", config=Config(retries={"total_max_attempts": 1}))
print(s3.get_object(Bucket="reports", Key="q3.txt")["Body"].read().decode().strip())
"#;

#[tokio::test]
async fn thirty_pods_at_once_and_every_first_call_succeeds() -> Result {
    let _alone = crate::ALONE.lock().await;
    in_namespace("storm", async |ns| {
        ns.ready(aws_policy("reports", MINISTACK, vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])]))
            .await?;
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let nodes = Api::<Node>::all(ns.client.clone()).list(&ListParams::default()).await?;
        // The scheduler would spread the storm over seconds.
        let node = nodes.items[0].name_any();
        let began = now();
        let create = (0..AGENTS).map(|i| {
            let name = format!("agent-{i}");
            let pod = if i % 3 == 0 {
                script(&name, "pods", "exec kubectl get pods -o name")
            } else {
                let command = ["python3", "-c", FIRST_CALL].map(str::to_owned).to_vec();
                let pod = script(&name, "reports", "").with_env("AWS_ENDPOINT_URL", S3_MINISTACK);
                pod.with_env("AWS_MAX_ATTEMPTS", "1").with_agent(|c| c.command = Some(command))
            };
            let pod = pod.with(|s| s.node_name = Some(node.clone()));
            let ns = &ns;
            async move { ns.create::<Pod>(&pod).await }
        });
        try_join_all(create).await?;
        for i in 0..AGENTS {
            let (code, log) = ns.finished(&format!("agent-{i}"), 300).await?;
            let expected = if i % 3 == 0 { "pod/agent-0" } else { "contents of reports/q3.txt" };
            assert!(code == 0 && log.contains(expected), "agent-{i}: exit code {code}: {log}");
        }
        println!("{AGENTS} agents done in {:.0} s", now().duration_since(began).as_secs_f64());
        wait_for("every session is Completed", 60, async || {
            let sessions = ns.api::<CredentialSession>().list(&ListParams::default()).await?.items;
            let completed = sessions.iter().filter(|s| phase(s) == Some(Phase::Completed)).count();
            ensure!(sessions.len() == AGENTS && completed == AGENTS, "{completed} of {}", sessions.len());
            Ok(())
        })
        .await
    })
    .await
}
