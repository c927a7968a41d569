//! A sidecar that no issuer hears of any more.

use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{Failure, Result, agent, ensure, in_namespace, kubernetes_policy, now, system, wait_for};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

/// Long enough for the silence to show before it is over.
const GRACE: &str = "2m";
/// A heartbeat comes every eight seconds.
const LAST_HEARTBEAT: SignedDuration = SignedDuration::from_secs(10);
/// For a look at the pod on a busy machine.
const LOOK: SignedDuration = SignedDuration::from_secs(15);

#[tokio::test]
async fn a_sidecar_that_is_cut_off_shows_serves_until_its_grace_and_comes_back() -> Result {
    in_namespace("silent", async |ns| {
        let mut policy = kubernetes_policy("pods", &ns.name, &["list pods"]);
        policy.spec.session.offline_grace = Some(GRACE.to_owned());
        let grace = SignedDuration::from_mins(2);
        ns.ready(policy).await?;
        for pod in ["agent", "other"] {
            ns.start(agent(pod, "pods")).await?;
            ns.session(pod, 1, Phase::Active, 10).await?;
            ensure!(ns.stream(pod, 1).await?.lost_at.is_none(), "the stream of {pod} was lost");
        }
        ns.cut_off("agent").await?;
        let cut = now();

        let silent = ns.silent("agent", "True", 100).await?;
        ns.sh("agent", "kubectl get pods").await?.ok()?;
        let lost: Timestamp = ns.stream("agent", 1).await?.lost_at.unwrap_or_default().parse()?;
        assert!(silent.message.contains(&format!("since {lost}")), "{}", silent.message);
        let until = lost.checked_add(grace)?;
        assert!(silent.message.contains(&format!("until {until} at the latest")), "{}", silent.message);
        let session = ns.session("agent", 1, Phase::Active, 5).await?;
        ns.event(&session.uid().unwrap_or_default(), "SidecarSilent").await?;
        let records = system::audit(&ns.client, "controller", &session.name_any()).await?;
        assert!(records.iter().any(|r| r["event"] == "SidecarSilent"), "{records:?}");

        let said = wait_for("the sidecar stops by itself", 150, async || {
            let said = ns.sh("agent", "kubectl get pods").await?.failed()?;
            if said.contains("IssuerUnreachable") { Ok(said) } else { Err(Failure::new(said)) }
        })
        .await?;
        let stopped = now();
        assert!(stopped.duration_since(cut) >= grace - LAST_HEARTBEAT, "it stopped before its grace was over: {said}");
        assert!(stopped <= until + LOOK, "it served past {until}, until {stopped}");
        println!("cut off, the sidecar served for {:.0} s", stopped.duration_since(cut).as_secs_f64());

        ns.reconnect("agent").await?;
        let back = ns.silent("agent", "False", 60).await?;
        assert_eq!(back.reason, "Connected");
        wait_for("the agent works again", 60, async || ns.sh("agent", "kubectl get pods").await?.ok()).await?;
        let other = ns.session("other", 1, Phase::Active, 5).await?;
        let conditions = other.status.unwrap_or_default().conditions;
        assert!(conditions.iter().all(|c| c.type_ != "SidecarSilent"), "the other was never silent: {conditions:?}");
        Ok(())
    })
    .await
}
