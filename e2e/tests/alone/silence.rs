//! A sidecar goes silent, and the replica that served it goes with it.

use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{Result, agent, ensure, in_namespace, kubernetes_policy, now, system, system_namespace, wait_for};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};

const AGENTS: [&str; 4] = ["agent", "two", "three", "four"];

#[tokio::test]
async fn a_sidecar_that_goes_silent_together_with_its_replica_is_noticed() -> Result {
    let _alone = crate::ALONE.lock().await;
    in_namespace("orphan", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        for pod in AGENTS {
            ns.start(agent(pod, "pods")).await?;
            ns.session(pod, 1, Phase::Active, 10).await?;
        }
        let served = ns.stream("agent", 1).await?;
        ns.cut_off("agent").await?;
        let cut = now();
        let issuers: Api<Pod> = Api::namespaced(ns.client.clone(), system_namespace());
        issuers.delete(&served.replica, &DeleteParams::default().grace_period(0)).await?;

        let silent = ns.silent("agent", "True", 150).await?;
        let record = ns.stream("agent", 1).await?;
        let lost: Timestamp = record.lost_at.unwrap_or_default().parse()?;
        assert_eq!(record.replica, served.replica, "nobody has taken it over");
        assert!(lost.as_second() >= cut.as_second(), "lost at {lost}, before {cut}");
        assert!(silent.message.contains(&format!("since {lost}")), "{}", silent.message);
        println!("noticed {:.0} s after replica and sidecar were gone", now().duration_since(cut).as_secs_f64());

        // Those that were not cut off have found another replica, and nobody called them silent.
        system::available(&ns.client, "issuer").await?;
        let living: Vec<_> = system::pods(&ns.client, "issuer").await?.iter().map(ResourceExt::name_any).collect();
        for pod in &AGENTS[1..] {
            wait_for(&format!("the stream of {pod} is at a replica that lives"), 30, async || {
                let record = ns.stream(pod, 1).await?;
                ensure!(living.contains(&record.replica) && record.lost_at.is_none(), "{record:?}, of {living:?}");
                Ok(())
            })
            .await?;
            let session = ns.session(pod, 1, Phase::Active, 5).await?;
            let conditions = session.status.unwrap_or_default().conditions;
            assert!(conditions.iter().all(|c| c.type_ != "SidecarSilent"), "{pod}: {conditions:?}");
        }
        ns.reconnect("agent").await?;
        ns.silent("agent", "False", 60).await?;
        Ok(())
    })
    .await
}
