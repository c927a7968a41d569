//! What ends a yes or a wait: a no, a deadline, the last use, another policy.

use exeat_crds::v1alpha1::{ApprovalCeiling, ApprovalPhase, ApprovalRule, Phase, Verdict};
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialProvider, CredentialSession, condition};
use exeat_e2e::approvals::{OWNER, lists, told};
use exeat_e2e::{Failure, Result, Scope, agent, deployment, ensure, holds_for, in_namespace, now, system, wait_for};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

async fn fleet(ns: &Scope) -> Result {
    ns.create(&deployment("fleet", &agent("x", "pods"), 1)?).await?;
    Ok(())
}

fn pod_of(session: &CredentialSession) -> &str {
    &session.spec.request.agent.pod.name
}

async fn one(ns: &Scope, phase: Phase, seconds: u64) -> Result<CredentialSession> {
    ns.in_phase(phase, 1, seconds).await?.pop().ok_or_else(|| Failure::new("there is none"))
}

/// The first session of the pod that takes the place of this one's, once it is in a phase.
async fn replaced(ns: &Scope, session: &CredentialSession, wanted: Phase) -> Result<CredentialSession> {
    // Listed before the pod goes: its successor's session may be there before the deletion is answered.
    let known: Vec<_> = ns.api::<CredentialSession>().list(&ListParams::default()).await?.items;
    ns.api::<Pod>().delete(pod_of(session), &DeleteParams::default()).await?;
    let is_new = |s: &CredentialSession| known.iter().all(|k| k.uid() != s.uid());
    wait_for(&format!("a new pod's session is {wanted:?}"), 60, async || {
        let all = ns.api::<CredentialSession>().list(&ListParams::default()).await?.items;
        let new = all.into_iter().find(is_new).ok_or_else(|| Failure::new("there is none"))?;
        ensure!(exeat_e2e::phase(&new) == Some(wanted), "{:?}", new.status);
        Ok(new)
    })
    .await
}

fn with(change: impl FnOnce(&mut ApprovalRule)) -> Result<Vec<ApprovalRule>> {
    let mut rule = lists()?;
    change(&mut rule);
    Ok(vec![rule])
}

#[tokio::test]
async fn a_no_is_told_sticks_and_wears_off() -> Result {
    in_namespace("no", async |ns| {
        ns.guarded(with(|r| r.cool_down = Some("45s".to_owned()))?).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        fleet(&ns).await?;
        let approval = ns.question().await?;
        let name = approval.name_any();
        ns.started(pod_of(&one(&ns, Phase::AwaitingApproval, 20).await?)).await?;
        ann.exeat(&ns, &["deny", &name, "-m", "not on a Friday", "--yes"]).await?.ok()?;
        let denied = one(&ns, Phase::Denied, 20).await?;
        let (reason, message) = told(&denied);
        ensure!(reason == "ApprovalDenied" && message.contains("not on a Friday"), "{reason}: {message}");
        ns.sdk_says(pod_of(&denied), &["ApprovalDenied", "ann denied", "not on a Friday"]).await?;

        // Another pod of the workload is denied at once, and nobody is asked.
        let again = replaced(&ns, &denied, Phase::Denied).await?;
        assert_eq!(told(&again).0, "ApprovalDenied");
        assert_eq!(ns.approvals().await?.len(), 1, "nobody is asked again");

        let until = ns.settled(&name, ApprovalPhase::Denied, 5).await?.status.unwrap_or_default().cool_down_until;
        let until: Timestamp = until.unwrap_or_default().parse()?;
        wait_for("the denial has worn off", 60, async || {
            ensure!(now() > until, "until {until}");
            Ok(())
        })
        .await?;
        replaced(&ns, &again, Phase::AwaitingApproval).await?;
        let next = ns.question().await?;
        assert_ne!(next.name_any(), name);
        assert_eq!(next.spec.request.changes, None, "nothing like it was approved before");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_yes_that_is_taken_back_ends_the_session_in_seconds() -> Result {
    in_namespace("taken-back", async |ns| {
        ns.guarded(vec![lists()?]).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        fleet(&ns).await?;
        let approval = ns.question().await?;
        let name = approval.name_any();
        ann.exeat(&ns, &["approve", &name, "-m", "go", "--yes"]).await?.ok()?;
        let active = one(&ns, Phase::Active, 30).await?;
        ns.started(pod_of(&active)).await?;
        ns.lists_pods(pod_of(&active)).await?;

        let asked = now();
        ann.exeat(&ns, &["deny", &name, "-m", "not after all", "--yes"]).await?.ok()?;
        wait_for("the agent is told", 20, async || {
            let said = ns.sh(pod_of(&active), "kubectl get pods").await?.failed()?;
            ensure!(said.contains("not after all"), "{said}");
            Ok(())
        })
        .await?;
        println!("the agent was told {:.1} s after the no", now().duration_since(asked).as_secs_f64());
        let revoked = one(&ns, Phase::Revoked, 20).await?;
        let (reason, message) = told(&revoked);
        ensure!(reason == "ApprovalWithdrawn" && message.contains("ann took approval"), "{reason}: {message}");
        ns.settled(&name, ApprovalPhase::Withdrawn, 10).await?;
        // The pod's next session is behind the same no.
        let next = one(&ns, Phase::Denied, 20).await?;
        assert_eq!(told(&next).0, "ApprovalDenied");
        let said = ann.says(&ns, &approval, Verdict::Approve, "again").await?.failed()?;
        ensure!(said.contains("can only change from Approve to Deny") || said.contains("Withdrawn"), "{said}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_nobody_decided_in_time_ends_the_wait() -> Result {
    in_namespace("deadline", async |ns| {
        ns.guarded(with(|r| r.deadline = Some("15s".to_owned()))?).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        fleet(&ns).await?;
        let approval = ns.question().await?;
        let name = approval.name_any();
        ns.settled(&name, ApprovalPhase::Expired, 40).await?;
        let denied = one(&ns, Phase::Denied, 20).await?;
        let (reason, message) = told(&denied);
        ensure!(reason == "ApprovalExpired" && message.contains("delete the pod"), "{reason}: {message}");
        ns.started(pod_of(&denied)).await?;
        ns.sdk_says(pod_of(&denied), &["ApprovalExpired", &name]).await?;
        let said = ann.says(&ns, &approval, Verdict::Approve, "late").await?.failed()?;
        ensure!(said.contains("its time is over; the next session that needs it asks again"), "{said}");
        let said = ann.exeat(&ns, &["approve", &name, "-m", "late", "--yes"]).await?.failed()?;
        ensure!(said.contains("a new pod asks again"), "{said}");

        replaced(&ns, &denied, Phase::AwaitingApproval).await?;
        assert_ne!(ns.question().await?.name_any(), name);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_yes_that_is_used_up_is_asked_for_anew_and_nothing_has_changed() -> Result {
    in_namespace("used-up", async |ns| {
        // The rule leaves both open, and the binding's ceiling lets a yes open one session at most.
        let ceiling = ApprovalCeiling { uses: Some(1), valid_for: Some("30m".to_owned()) };
        ns.guarded_under(vec![lists()?], &[OWNER], Some(ceiling)).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        ns.create(&deployment("fleet", &agent("x", "pods"), 3)?).await?;
        ns.in_phase(Phase::AwaitingApproval, 3, 60).await?;
        let mut asked: Vec<Approval> = Vec::new();
        // Each yes is for one of those that race for it.
        for opened in 1..=2 {
            let question = ns.question().await?;
            let request = &question.spec.request;
            assert_eq!((request.uses, request.valid_for.as_str()), (1, "30m"));
            assert!(asked.iter().all(|a| a.uid() != question.uid()), "asked anew");
            let nothing = Some(Vec::new()).filter(|_| opened > 1);
            assert_eq!(request.changes, nothing, "nothing has changed since the last yes");
            ann.approves(&ns, &question).await?;
            ns.in_phase(Phase::Active, opened, 30).await?;
            ns.in_phase(Phase::AwaitingApproval, 3 - opened, 30).await?;
            asked.push(question);
        }
        let last = ns.question().await?;
        holds_for("one session for each yes", 3, async || {
            ns.in_phase(Phase::Active, 2, 0).await?;
            let used: Vec<_> = ns.approvals().await?.into_iter().map(|a| a.status.unwrap_or_default().used).collect();
            ensure!(used == [1, 1, 0], "{used:?}");
            Ok(())
        })
        .await?;
        let waiting = one(&ns, Phase::AwaitingApproval, 5).await?;
        let named = waiting.status.and_then(|s| s.approval_ref).map(|r| r.name);
        assert_eq!(named, Some(last.name_any()));
        let (decided, until) = times(&ns.settled(&asked[0].name_any(), ApprovalPhase::Approved, 5).await?)?;
        assert_eq!(until.duration_since(decided).as_secs(), 30 * 60);
        beyond_the_ceiling(&ns).await
    })
    .await
}

/// When it was decided, and until when it may be used.
fn times(approval: &Approval) -> Result<(Timestamp, Timestamp)> {
    let status = approval.status.clone().unwrap_or_default();
    Ok((status.decided_at.unwrap_or_default().parse()?, status.valid_until.unwrap_or_default().parse()?))
}

/// A policy's own rule may not give more than the binding lets a rule give.
async fn beyond_the_ceiling(ns: &Scope) -> Result {
    let mut rule = lists()?;
    rule.uses = Some(2);
    let body = json!({"spec": {"approvalRules": [rule]}});
    let policies = ns.api::<AgentCredentialPolicy>();
    policies.patch("pods", &PatchParams::default(), &Patch::Merge(&body)).await?;
    wait_for("the policy is not Ready", 20, async || {
        let conditions = policies.get("pods").await?.status.unwrap_or_default().conditions;
        let ready = condition::get(&conditions, "Ready").ok_or_else(|| Failure::new("it says nothing"))?;
        ensure!(ready.status == "False" && ready.reason == "ApprovalTooBroad", "{ready:?}");
        ensure!(ready.message.contains("uses: 2 exceeds the 1 of the binding's approvalCeiling"), "{ready:?}");
        Ok(())
    })
    .await
}

/// The session that waits after a change, of the pod whose session ended by it.
async fn asked_anew(ns: &Scope, old: &CredentialSession) -> Result<CredentialSession> {
    let waiting = one(ns, Phase::AwaitingApproval, 40).await?;
    assert_eq!(pod_of(&waiting), pod_of(old), "the same pod");
    let revoked = ns.session(pod_of(old), old.spec.request.number, Phase::Revoked, 5).await?;
    assert_eq!(told(&revoked).0, "AuthorityChanged");
    let name =
        waiting.status.as_ref().and_then(|s| s.approval_ref.as_ref()).map(|r| r.name.clone()).unwrap_or_default();
    ns.sdk_says(pod_of(old), &["ApprovalPending", &name]).await?;
    let issued = system::audit(&ns.client, "issuer", &waiting.name_any()).await?;
    ensure!(issued.iter().all(|line| line["event"] != "CredentialsIntended"), "minted before the yes: {issued:?}");
    Ok(waiting)
}

#[tokio::test]
async fn a_policy_that_changed_after_the_yes_is_asked_for_anew() -> Result {
    in_namespace("changed", async |ns| {
        ns.guarded(vec![lists()?]).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        fleet(&ns).await?;
        ann.approves(&ns, &ns.question().await?).await?;
        let active = one(&ns, Phase::Active, 30).await?;
        ns.started(pod_of(&active)).await?;
        ns.lists_pods(pod_of(&active)).await?;
        let wider = json!({"spec": {"allow": [{"actions": ["get pods", "list pods", "get services"], "resources": [format!("{}/*", ns.name)]}]}});
        ns.api::<AgentCredentialPolicy>().patch("pods", &PatchParams::default(), &Patch::Merge(&wider)).await?;
        asked_anew(&ns, &active).await?;
        let second = ns.question().await?;
        assert_eq!(second.spec.request.changes, Some(vec![format!("+ allow get services on {}/*", ns.name)]));
        ann.approves(&ns, &second).await?;
        one(&ns, Phase::Active, 30).await?;
        ns.lists_pods(pod_of(&active)).await
    })
    .await
}

#[tokio::test]
async fn a_rule_that_a_provider_adds_stops_sessions_until_people_say_yes() -> Result {
    in_namespace("new-rule", async |ns| {
        let policy = ns.guarded(vec![]).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        fleet(&ns).await?;
        let active = one(&ns, Phase::Active, 60).await?;
        ns.started(pod_of(&active)).await?;
        ns.lists_pods(pod_of(&active)).await?;
        assert_eq!(ns.approvals().await?.len(), 0);

        let providers: Api<CredentialProvider> = Api::all(ns.client.clone());
        let provider = &policy.spec.provider_ref.name;
        let mut bindings: Value = serde_json::to_value(providers.get(provider).await?.spec.bindings)?;
        bindings[0]["approvalRules"] = json!([lists()?]);
        let body = json!({"spec": {"bindings": bindings}});
        providers.patch(provider, &PatchParams::default(), &Patch::Merge(&body)).await?;
        asked_anew(&ns, &active).await?;
        ann.approves(&ns, &ns.question().await?).await?;
        one(&ns, Phase::Active, 30).await?;
        ns.lists_pods(pod_of(&active)).await
    })
    .await
}
