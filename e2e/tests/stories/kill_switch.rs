//! The kill switch, by the program that people run: what it stops, what it tells, and what a hold keeps off.

use exeat_crds::v1alpha1::{CredentialHoldSpec, Phase};
use exeat_crds::{AgentCredentialPolicy, CredentialHold, CredentialSession};
use exeat_e2e::approvals::told;
use exeat_e2e::{
    Failure, KUBERNETES, Output, Result, Scope, agent, ensure, exeat, in_namespace, kubernetes_policy, now, wait_for,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

async fn within(ns: &Scope, arguments: &[&str]) -> Result<Output> {
    exeat(&[&["-n", &ns.name], arguments].concat()).await
}

fn says(output: &Output, words: &[&str]) -> Result {
    let said = format!("{}{}", output.stdout, output.stderr);
    let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
    ensure!(output.code == 0 && missing.is_empty(), "{missing:?} is not said: {output}");
    Ok(())
}

async fn revoked(ns: &Scope) -> Result<Vec<String>> {
    let all = ns.api::<CredentialSession>().list(&ListParams::default()).await?.items;
    let mut pods: Vec<_> = all
        .into_iter()
        .filter(|s| exeat_e2e::phase(s) == Some(Phase::Revoked))
        .map(|s| s.spec.request.agent.pod.name)
        .collect();
    pods.sort();
    Ok(pods)
}

#[tokio::test]
async fn each_selector_stops_what_it_names_and_nothing_else() -> Result {
    in_namespace("selectors", async |ns| {
        let own = exeat_e2e::provider("own", KUBERNETES, &[exeat_e2e::GRANTS], &["get *", "list *"]);
        let own = ns.create_provider(own).await?.name_any();
        for (name, provider) in [("pods", KUBERNETES), ("others", KUBERNETES), ("elsewhere", own.as_str())] {
            let mut policy = kubernetes_policy(name, &ns.name, &["list pods"]);
            policy.spec.provider_ref.name = provider.to_owned();
            ns.ready(policy).await?;
        }
        let pods = [("a", "pods"), ("b", "pods"), ("c", "others"), ("d", "elsewhere"), ("e", "pods")];
        for (name, policy) in pods {
            ns.create(&agent(name, policy)).await?;
        }
        ns.in_phase(Phase::Active, pods.len(), 60).await?;
        let mut gone: Vec<&str> = Vec::new();
        for (arguments, next) in [
            (vec!["--pod", "a"], vec!["a"]),
            (vec!["--policy", "others"], vec!["c"]),
            (vec!["--provider", &own, "-A"], vec!["d"]),
            (vec!["--all-in-namespace"], vec!["b", "e"]),
        ] {
            let arguments = [&["revoke", "--yes", "-m", "drill"], &arguments[..]].concat();
            let output =
                if arguments.contains(&"-A") { exeat(&arguments).await? } else { within(&ns, &arguments).await? };
            says(&output, &[&format!("{} sessions revoked", next.len()), "Immediate: access ends by"])?;
            gone.extend(next);
            gone.sort_unstable();
            assert_eq!(revoked(&ns).await?, gone, "{arguments:?}");
            // Again: nothing is left to do, and nothing is done.
            let again =
                if arguments.contains(&"-A") { exeat(&arguments).await? } else { within(&ns, &arguments).await? };
            says(&again, &["nothing to revoke"])?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_summary_promises_what_is_kept() -> Result {
    in_namespace("promise", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        ns.session("agent", 1, Phase::Active, 20).await?;
        let summary = within(&ns, &["revoke", "--pod", "agent", "--yes", "-m", "drill", "-o", "json"]).await?.ok()?;
        let summary: Value = serde_json::from_str(&summary)?;
        let ending = &summary["providers"][KUBERNETES];
        assert_eq!((&ending["sessions"], &ending["mode"]), (&json!(1), &json!("Immediate")), "{summary}");
        let by: Timestamp = ending["effectiveBy"].as_str().unwrap_or_default().parse()?;
        let session = ns.session("agent", 1, Phase::Revoked, 5).await?;
        let recorded = session.status.and_then(|s| s.revocation).map(|r| r.effective_by);
        assert_eq!(Some(by.to_string()), recorded, "it is what is on record once the session has ended");
        ensure!(by <= now() + SignedDuration::from_secs(30), "{by} is when the session would have ended by itself");
        Ok(())
    })
    .await
}

/// The Event by which kubelet tells why a pod does not start.
async fn start_up_says(ns: &Scope, pod: &str, words: &[&str]) -> Result {
    wait_for(&format!("kubelet tells that {pod} waits for {words:?}"), 60, async || {
        let events = ns.api::<Event>().list(&ListParams::default()).await?.items;
        let of_pod = |e: &&Event| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(pod);
        let notes: Vec<_> = events.iter().filter(of_pod).filter_map(|e| e.note.clone()).collect();
        ensure!(notes.iter().any(|n| words.iter().all(|word| n.contains(word))), "{notes:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_hold_of_the_namespace_keeps_pods_waiting_until_it_is_released() -> Result {
    in_namespace("held", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("old", "pods")).await?;
        ns.session("old", 1, Phase::Active, 20).await?;
        let stop = ["revoke", "--all-in-namespace", "--deny-new", "--yes", "-m", "incident 12"];
        says(&within(&ns, &stop).await?, &["keeps new sessions off", "1 sessions revoked"])?;
        says(&within(&ns, &stop).await?, &["stands already", "0 sessions revoked"])?;

        ns.create(&agent("new", "pods")).await?;
        let held = ns.session("new", 1, Phase::Pending, 20).await?;
        let (reason, message) = wait_for("it is held", 20, async || {
            let session = ns.api::<CredentialSession>().get(&held.name_any()).await?;
            let (reason, message) = told(&session);
            ensure!(reason == "Held", "{reason}: {message}");
            Ok((reason, message))
        })
        .await?;
        ensure!(message.contains("incident 12"), "{reason}: {message}");
        start_up_says(&ns, "new", &["Held", "incident 12"]).await?;

        let holds: Api<CredentialHold> = Api::all(ns.client.clone());
        let ours = holds.list(&ListParams::default()).await?.items;
        let ours = ours.iter().find(|h| h.spec.namespace.as_deref() == Some(&ns.name));
        let name = ours.map(ResourceExt::name_any).ok_or_else(|| Failure::new("there is no hold"))?;
        says(&within(&ns, &["release", &name]).await?, &["is released"])?;
        ns.session("new", 1, Phase::Active, 20).await?;
        ns.started("new").await?;
        ns.lists_pods("new").await?;
        let again = within(&ns, &["release", &name]).await?;
        ensure!(again.code == 1 && again.stderr.contains("there is no hold"), "{again}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_that_runs_is_told_that_its_next_session_is_held() -> Result {
    in_namespace("held-next", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        ns.session("agent", 1, Phase::Active, 20).await?;
        let holds: Api<CredentialHold> = Api::all(ns.client.clone());
        let spec = CredentialHoldSpec {
            namespace: Some(ns.name.clone()),
            policy: Some("pods".to_owned()),
            reason: "incident 13".to_owned(),
            ..CredentialHoldSpec::default()
        };
        holds.create(&PostParams::default(), &CredentialHold::new(&ns.name, spec)).await?;
        // What is open stays open under a hold; what comes next does not open.
        ns.lists_pods("agent").await?;
        let wider = json!({"spec": {"session": {"duration": "2h"}}});
        ns.api::<AgentCredentialPolicy>().patch("pods", &PatchParams::default(), &Patch::Merge(&wider)).await?;
        let told = ns.sdk_says("agent", &["Held", "incident 13"]).await;
        holds.delete(&ns.name, &DeleteParams::default()).await?;
        told?;
        ns.session("agent", 2, Phase::Active, 20).await?;
        ns.lists_pods("agent").await?;
        assert!(ns.api::<Pod>().get("agent").await?.metadata.deletion_timestamp.is_none());
        Ok(())
    })
    .await
}
