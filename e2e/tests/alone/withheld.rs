//! A policy or provider changes, or people take their yes back, while the controller is away: nobody ends the sessions, and yet nothing is served
//! under what no longer holds.

use exeat_crds::v1alpha1::Phase;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use exeat_e2e::approvals::{lists, told};
use exeat_e2e::{
    Failure, GRANTS, KUBERNETES, Result, Scope, agent, connect, ensure, in_namespace, kubernetes_policy, phase,
    provider, statement, system, wait_for,
};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

/// The agent's calls from now on, until one is refused with this code; the session stands all the while.
async fn refused(ns: &Scope, what: &str, code: &str) -> Result {
    let since = Instant::now();
    wait_for(&format!("{what}: the agent is refused"), 15, async || {
        let said = ns.sh("agent", "kubectl get pods").await?.failed()?;
        ensure!(said.contains(code), "{said}");
        Ok(())
    })
    .await?;
    println!("{what}: refused {:.1} s after the write", since.elapsed().as_secs_f64());
    let session = ns.sessions("agent").await?.pop().ok_or_else(|| Failure::new("no session"))?;
    ensure!(phase(&session) == Some(Phase::Active), "somebody has ended it: {:?}", session.status);
    Ok(())
}

async fn goes_on(ns: &Scope) -> Result {
    wait_for("it was taken back: the agent goes on", 15, async || ns.sh("agent", "kubectl get pods").await?.ok())
        .await?;
    Ok(())
}

async fn change_policy(ns: &Scope, actions: &[&str]) -> Result {
    let spec = json!({"spec": {"allow": [statement(actions, &[&format!("{}/*", ns.name)])]}});
    ns.api::<AgentCredentialPolicy>().patch("pods", &PatchParams::default(), &Patch::Merge(&spec)).await?;
    Ok(())
}

async fn change_ceiling(ns: &Scope, provider: &str, actions: &[&str]) -> Result {
    let providers: Api<CredentialProvider> = Api::all(ns.client.clone());
    let mut bindings = providers.get(provider).await?.spec.bindings;
    for binding in &mut bindings {
        binding.max_actions = actions.iter().map(|a| (*a).to_owned()).collect();
    }
    let spec = json!({"spec": {"bindings": bindings}});
    providers.patch(provider, &PatchParams::default(), &Patch::Merge(&spec)).await?;
    Ok(())
}

#[tokio::test]
async fn a_tightened_policy_is_felt_before_its_sessions_end() -> Result {
    let _alone = crate::ALONE.lock().await;
    let client = connect().await?;
    let outcome = in_namespace("withheld", async |ns| {
        let own = ns.create_provider(provider("own", KUBERNETES, &[GRANTS], &["get *", "list *"])).await?.name_any();
        let mut policy = kubernetes_policy("pods", &ns.name, &["get pods", "list pods"]);
        policy.spec.provider_ref.name.clone_from(&own);
        ns.ready(policy).await?;
        ns.start(agent("agent", "pods")).await?;
        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        ns.sh("agent", "kubectl get pods").await?.ok()?;
        system::scale(&ns.client, "controller", 0).await?;

        change_policy(&ns, &["get pods"]).await?;
        refused(&ns, "a tightened policy", "AuthorityChanged").await?;
        change_policy(&ns, &["get pods", "list pods"]).await?;
        goes_on(&ns).await?;
        change_ceiling(&ns, &own, &["list *"]).await?;
        refused(&ns, "a lowered ceiling", "ActionNotAllowed").await?;
        change_ceiling(&ns, &own, &["get *", "list *"]).await?;
        goes_on(&ns).await?;
        ns.api::<AgentCredentialPolicy>().delete("pods", &DeleteParams::default()).await?;
        refused(&ns, "a deleted policy", "PolicyDeleted").await?;

        system::scale(&ns.client, "controller", 2).await?;
        let ended = ns.session("agent", 1, Phase::Revoked, 60).await?;
        assert_eq!(ended.uid(), session.uid());
        assert_eq!(ended.status.and_then(|s| s.reason).as_deref(), Some("PolicyDeleted"), "and then it is ended");
        Ok(())
    })
    .await;
    system::scale(&client, "controller", 2).await?;
    outcome
}

#[tokio::test]
async fn a_yes_that_is_taken_back_is_felt_before_its_session_ends() -> Result {
    let _alone = crate::ALONE.lock().await;
    let client = connect().await?;
    let outcome = in_namespace("unapproved", async |ns| {
        ns.guarded(vec![lists()?]).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        ns.create(&agent("agent", "pods")).await?;
        let approval = ns.question().await?;
        ann.approves(&ns, &approval).await?;
        let session = ns.session("agent", 1, Phase::Active, 30).await?;
        ns.started("agent").await?;
        ns.lists_pods("agent").await?;
        system::scale(&ns.client, "controller", 0).await?;

        // By plain kubectl, so that nobody but the API server has a hand in it.
        let no = json!([{"op": "replace", "path": "/spec/decisions/0/decision", "value": "Deny"}]).to_string();
        let patch = ["patch", "approval", &approval.name_any(), "--type=json", "-p", &no];
        ann.kubectl(&ns, &patch).await?.ok()?;
        refused(&ns, "a yes that was taken back", "ApprovalWithdrawn").await?;

        system::scale(&ns.client, "controller", 2).await?;
        let ended = ns.session("agent", 1, Phase::Revoked, 60).await?;
        assert_eq!(
            (ended.uid(), told(&ended).0.as_str()),
            (session.uid(), "ApprovalWithdrawn"),
            "and then it is ended"
        );
        Ok(())
    })
    .await;
    system::scale(&client, "controller", 2).await?;
    outcome
}
