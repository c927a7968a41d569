//! Several clouds in one pod: an unmodified client of each, one sidecar, a session for each policy.

use exeat_crds::CredentialSession;
use exeat_crds::names;
use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{
    AgentPod, Failure, MINISTACK, Result, S3_MINISTACK, Scope, VAULT, agent, aws_policy, ensure, exeat, in_namespace,
    kubernetes_policy, phase, policy, statement, wait_for,
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

const S3: &str = "aws s3 cp s3://reports/q3.txt -";
const KUBECTL: &str = "kubectl get pods -o name";
const VAULT_READ: &str = "python3 -c 'import hvac,os; print(hvac.Client(url=os.environ[\"VAULT_ADDR\"]).secrets.kv.v2.read_secret_version(path=\"reports/q3\", raise_on_deleted_version=True)[\"data\"][\"data\"][\"text\"])'";

async fn policies(ns: &Scope) -> Result {
    ns.ready(aws_policy("reports", MINISTACK, vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])])).await?;
    ns.ready(kubernetes_policy("pods", &ns.name, &["get pods", "list pods"])).await?;
    let secrets = vec![statement(&["read"], &["secret/data/reports/*"])];
    ns.ready(policy("secrets", VAULT, "agents-reader", secrets)).await?;
    Ok(())
}

fn of_all() -> Pod {
    agent("agent", "reports,pods,secrets").with_env("AWS_ENDPOINT_URL", S3_MINISTACK)
}

async fn session(ns: &Scope, policy: &str, wanted: Phase) -> Result<CredentialSession> {
    wait_for(&format!("the session of policy {policy} is {wanted:?}"), 30, async || {
        let all = ns.sessions("agent").await?;
        let found = all.into_iter().find(|s| s.spec.request.policy_ref.name == policy);
        let session = found.ok_or_else(|| Failure::new("there is none"))?;
        ensure!(phase(&session) == Some(wanted), "it is {:?}", session.status);
        Ok(session)
    })
    .await
}

#[tokio::test]
async fn three_clouds_in_one_pod_and_one_of_them_revoked_while_the_others_go_on() -> Result {
    in_namespace("several", async |ns| {
        policies(&ns).await?;
        let pod = ns.start(of_all()).await?;
        let init = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten());
        assert_eq!(init.filter(|c| c.name == names::SIDECAR).count(), 1, "one sidecar");
        for (command, said) in
            [(S3, "contents of reports/q3.txt"), (KUBECTL, "pod/agent"), (VAULT_READ, "contents of q3")]
        {
            let answer = ns.sh("agent", command).await?.ok()?;
            assert_eq!(answer.trim(), said, "{command}");
        }
        let mut holders = Vec::new();
        for policy in ["reports", "pods", "secrets"] {
            let session = session(&ns, policy, Phase::Active).await?;
            assert_eq!(session.spec.request.primary.as_deref(), Some("reports"));
            let issuance = session.status.and_then(|s| s.issuance).unwrap_or_default();
            holders.push(issuance.holder.map(|h| h.key));
        }
        wait_for("the stream is on record for each", 30, async || {
            for session in ns.sessions("agent").await? {
                let stream = session.status.and_then(|s| s.issuance).and_then(|i| i.stream);
                ensure!(
                    stream.as_ref().is_some_and(|s| s.lost_at.is_none()),
                    "{:?}: {stream:?}",
                    session.metadata.name
                );
            }
            Ok(())
        })
        .await?;
        assert!(holders.iter().all(|key| key.is_some() && *key == holders[0]), "one key: {holders:?}");

        ns.revoke(&session(&ns, "pods", Phase::Active).await?, "looks odd").await?;
        session(&ns, "pods", Phase::Revoked).await?;
        wait_for("kubectl is told", 30, async || {
            let said = ns.sh("agent", KUBECTL).await?.failed()?;
            ensure!(said.contains("SessionRevoked") && said.contains("looks odd"), "{said}");
            Ok(())
        })
        .await?;
        for command in [S3, VAULT_READ] {
            ns.sh("agent", command).await?.ok()?;
        }
        for policy in ["reports", "secrets"] {
            session(&ns, policy, Phase::Active).await?;
        }
        assert_eq!(ns.sessions("agent").await?.len(), 3, "a revocation is final for its policy, and opens nothing");

        let told = exeat(&["explain", "pod", "agent", "-n", &ns.name]).await?.failed()?;
        for part in ["Policy reports", "Policy pods", "Policy secrets", "SessionRevoked"] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn two_policies_of_one_kind_are_refused_and_a_missing_one_keeps_nothing_from_the_others() -> Result {
    in_namespace("twokinds", async |ns| {
        policies(&ns).await?;
        ns.ready(kubernetes_policy("more", &ns.name, &["watch pods"])).await?;
        let refused = ns.expect_refused(&agent("agent", "pods,more")).await?;
        for part in ["\"pods\" and \"more\"", "kind kubernetes", "a pod of its own"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        let narrowed = of_all().annotated(names::ALLOW, "get pods on x/*");
        let refused = ns.expect_refused(&narrowed).await?;
        assert!(refused.contains("exeat.dev/allow") && refused.contains("several policies"), "{refused}");

        // A policy that goes takes its own session along.
        ns.start(of_all()).await?;
        ns.sh("agent", KUBECTL).await?.ok()?;
        let pods = ns.api::<exeat_crds::AgentCredentialPolicy>();
        pods.delete("pods", &Default::default()).await?;
        session(&ns, "pods", Phase::Revoked).await?;
        let uid = session(&ns, "reports", Phase::Active).await?.uid();
        ns.sh("agent", S3).await?.ok()?;
        assert_eq!(session(&ns, "reports", Phase::Active).await?.uid(), uid, "the others' sessions stand");
        Ok(())
    })
    .await
}
