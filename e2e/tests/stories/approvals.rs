//! An agent waits until people have said yes, and one yes serves its workload.

use exeat_crds::approval::digest;
use exeat_crds::names;
use exeat_crds::v1alpha1::{ApprovalPhase, ApprovalScope, Phase, Verdict};
use exeat_crds::{Approval, CredentialSession};
use exeat_e2e::approvals::{OWNER, lists, rule, told};
use exeat_e2e::{
    AgentPod, Failure, Result, Scope, agent, deployment, ensure, holds_for, in_namespace, kubectl, script, system,
    wait_for,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{EvictParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::approvals_record as record;

fn pod_of(session: &CredentialSession) -> &str {
    &session.spec.request.agent.pod.name
}

fn approval_of(session: &CredentialSession) -> Option<&str> {
    session.status.as_ref().and_then(|s| s.approval_ref.as_ref()).map(|r| r.name.as_str())
}

fn fleet(replicas: i32) -> Result<Deployment> {
    deployment("fleet", &agent("x", "pods"), replicas)
}

async fn one(ns: &Scope, phase: Phase, seconds: u64) -> Result<CredentialSession> {
    ns.in_phase(phase, 1, seconds).await?.pop().ok_or_else(|| Failure::new("there is none"))
}

#[tokio::test]
async fn an_agent_waits_until_two_kinds_of_people_have_said_yes() -> Result {
    in_namespace("two-kinds", async |ns| {
        ns.guarded(vec![rule("lists", &["list pods"], &[("security", 1), ("data", 1)])?]).await?;
        let (ann, ben) = (ns.approver("ann", &["security"]).await?, ns.approver("ben", &["data"]).await?);
        ns.create(&fleet(1)?).await?;
        let approval = ns.question().await?;
        let (name, request) = (approval.name_any(), &approval.spec.request);
        let workload = request.workload.as_ref().map(|w| (w.kind.as_str(), w.name.as_str()));
        assert_eq!(workload, Some(("Deployment", "fleet")));
        assert_eq!((request.rules.as_slice(), request.minimum), (&["provider/lists".to_owned()][..], 2));
        assert_eq!(request.excluded, ["kubernetes-admin", OWNER], "who changed the policy last, and who owns it");
        assert_eq!((&request.digest, &request.changes), (&digest(request), &None));

        let session = one(&ns, Phase::AwaitingApproval, 20).await?;
        assert_eq!(approval_of(&session), Some(name.as_str()));
        let pod = pod_of(&session);
        // By default the agent starts, and its SDK says for what it waits.
        ns.started(pod).await?;
        ns.sdk_says(pod, &["ApprovalPending", &name, "1 of security", "1 of data"]).await?;
        let said = ns.sh(pod, "kubectl get pods").await?.failed()?;
        let last = said.lines().last().unwrap_or_default();
        ensure!(last.starts_with("Error from server (Forbidden): ApprovalPending: session "), "{said}");

        ann.says(&ns, &approval, Verdict::Approve, "as planned").await?.ok()?;
        ns.sdk_says(pod, &["ApprovalPending", &name, "waits for 1 of data"]).await?;
        let said = ben.exeat(&ns, &["approve", &name, "-m", "fine with me", "--yes"]).await?.ok()?;
        ensure!(said.contains(&format!("{name}: approved by ben")), "{said}");
        ns.settled(&name, ApprovalPhase::Approved, 20).await?;
        one(&ns, Phase::Active, 20).await?;
        ns.lists_pods(pod).await
    })
    .await
}

async fn change(ns: &Scope, body: Value) -> Result {
    ns.api::<Deployment>().patch("fleet", &PatchParams::default(), &Patch::Merge(&body)).await?;
    Ok(())
}

async fn only(ns: &Scope, name: &str, used: i32) -> Result {
    let all = ns.approvals().await?;
    let seen: Vec<_> = all.iter().map(|a| (a.name_any(), a.status.clone().unwrap_or_default().used)).collect();
    ensure!(seen == [(name.to_owned(), used)], "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn one_yes_serves_the_replicas_of_a_deployment_its_rollout_and_what_replaces_a_pod() -> Result {
    in_namespace("one-yes", async |ns| {
        ns.guarded(vec![lists()?]).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        ns.create(&fleet(3)?).await?;
        ns.in_phase(Phase::AwaitingApproval, 3, 60).await?;
        let approval = ns.question().await?;
        let name = approval.name_any();
        ann.approves(&ns, &approval).await?;
        ns.in_phase(Phase::Active, 3, 30).await?;
        only(&ns, &name, 3).await?;

        let release = json!({"spec": {"replicas": 1, "template": {"metadata": {"annotations": {names::JUSTIFICATION: "second release"}}}}});
        change(&ns, release).await?;
        let second = |s: &CredentialSession| s.spec.request.justification.is_some();
        let session = wait_for("the new ReplicaSet's pod has its session, and no other has", 120, async || {
            let mut active = ns.in_phase(Phase::Active, 1, 0).await?;
            active.pop().filter(second).ok_or_else(|| Failure::new("an old one"))
        })
        .await?;
        let used = ns.api::<Approval>().get(&name).await?.status.unwrap_or_default().used;
        only(&ns, &name, used).await?;

        // As a drain of its node does.
        ns.api::<Pod>().evict(pod_of(&session), &EvictParams::default()).await?;
        let next = wait_for("what replaces the evicted pod has its session", 60, async || {
            let active = ns.in_phase(Phase::Active, 1, 0).await?.pop();
            active.filter(|s| s.uid() != session.uid()).ok_or_else(|| Failure::new("the old one"))
        })
        .await?;
        assert_eq!(approval_of(&next), Some(name.as_str()));
        only(&ns, &name, used + 1).await
    })
    .await
}

#[tokio::test]
async fn one_yes_serves_the_jobs_of_a_cron_job() -> Result {
    in_namespace("nightly", async |ns| {
        ns.guarded(vec![lists()?]).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        let waits = script("x", "pods", "until kubectl get pods; do sleep 1; done");
        let template = json!({"metadata": {"annotations": waits.metadata.annotations}, "spec": waits.spec});
        let job = json!({"spec": {"backoffLimit": 0, "template": template}});
        let spec = json!({"schedule": "0 3 * * *", "suspend": true, "jobTemplate": job});
        ns.create(&serde_json::from_value::<CronJob>(json!({"metadata": {"name": "nightly"}, "spec": spec}))?).await?;
        let run =
            async |name: &str| kubectl(&["-n", &ns.name, "create", "job", name, "--from=cronjob/nightly"]).await?.ok();
        run("first").await?;
        let approval = ns.question().await?;
        assert_eq!(approval.spec.request.workload.as_ref().map(|w| w.kind.as_str()), Some("CronJob"));
        ann.approves(&ns, &approval).await?;
        ns.in_phase(Phase::Completed, 1, 60).await?;
        run("second").await?;
        ns.in_phase(Phase::Completed, 2, 60).await?;
        only(&ns, &approval.name_any(), 2).await
    })
    .await
}

#[tokio::test]
async fn a_rule_for_each_session_asks_for_each_pod() -> Result {
    in_namespace("each", async |ns| {
        let mut each = lists()?;
        each.scope = ApprovalScope::Session;
        ns.guarded(vec![each]).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        ns.create(&fleet(2)?).await?;
        let open = ns.queue(2).await?;
        let for_one = |a: &Approval| a.spec.request.session_ref.is_some() && a.spec.request.uses == 1;
        assert!(open.iter().all(for_one), "{open:?}");
        ann.approves(&ns, &open[0]).await?;
        let active = one(&ns, Phase::Active, 30).await?;
        assert_eq!(approval_of(&active), Some(open[0].name_any().as_str()));
        let waiting = one(&ns, Phase::AwaitingApproval, 5).await?;
        assert_eq!(approval_of(&waiting), Some(open[1].name_any().as_str()));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_asked_owns_or_edited_does_not_approve() -> Result {
    in_namespace("excluded", async |ns| {
        ns.guarded(vec![lists()?]).await?;
        ns.bind("paula", "ClusterRole", "edit").await?;
        let [paula, owner, editor, ben] = ["paula", OWNER, "kubernetes-admin", "ben"];
        let mut people = Vec::new();
        for user in [paula, owner, editor, ben] {
            people.push(ns.approver(user, &["security"]).await?);
        }
        // A pod made by hand: who made it is who asks, and no workload's yes serves it.
        let pods = kube::api::Api::<Pod>::namespaced(people[0].client.clone(), &ns.name);
        wait_for("paula may create pods", 20, async || {
            Ok(pods.create(&Default::default(), &agent("by-hand", "pods")).await.map(|_| ())?)
        })
        .await?;
        let approval = ns.question().await?;
        let request = &approval.spec.request;
        assert_eq!(request.requester.as_ref().map(|r| r.username.as_str()), Some(paula));
        assert_eq!(request.excluded, [editor, owner, paula]);
        let workload = request.workload.as_ref().map(|w| (w.kind.as_str(), w.name.as_str()));
        assert!(request.session_ref.is_some() && workload == Some(("Pod", "by-hand")), "{request:?}");
        for actor in &people[..3] {
            let said = actor.says(&ns, &approval, Verdict::Approve, "mine").await?.failed()?;
            ensure!(said.contains("asked for this, owns policy"), "{}: {said}", actor.user);
            let said = actor.exeat(&ns, &["approve", &approval.name_any(), "-m", "mine", "--yes"]).await?.failed()?;
            ensure!(said.contains("somebody else approves (you may deny)"), "{}: {said}", actor.user);
        }
        people[3].approves(&ns, &approval).await?;
        ns.session("by-hand", 1, Phase::Active, 30).await?;

        // Taken back: neither the pod that lives on nor another one of hers has people asked again.
        people[3].exeat(&ns, &["deny", &approval.name_any(), "-m", "not after all", "--yes"]).await?.ok()?;
        ns.session("by-hand", 1, Phase::Revoked, 20).await?;
        let other = agent("another", "pods").annotated(names::DURATION, "10m");
        pods.create(&Default::default(), &other).await?;
        for (pod, number) in [("by-hand", 2), ("another", 1)] {
            let denied = ns.session(pod, number, Phase::Denied, 30).await?;
            let (reason, message) = told(&denied);
            ensure!(reason == "ApprovalDenied" && message.contains("not after all"), "{pod}: {reason}: {message}");
        }
        assert_eq!(ns.approvals().await?.len(), 1, "nobody is asked again");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn where_nobody_is_known_to_answer_for_a_workload_two_people_approve() -> Result {
    in_namespace("nobodys", async |ns| {
        ns.guarded_by(vec![lists()?], &[]).await?;
        let (ann, ben) = (ns.approver("ann", &["security"]).await?, ns.approver("ben", &["security"]).await?);
        ns.create(&fleet(1)?).await?;
        let approval = ns.question().await?;
        assert_eq!(approval.spec.request.minimum, 2);
        ann.approves(&ns, &approval).await?;
        wait_for("one is not enough", 20, async || {
            let missing = ns.api::<Approval>().get(&approval.name_any()).await?.status.unwrap_or_default().missing;
            ensure!(missing == ["1 more of any of these groups"], "{missing:?}");
            Ok(())
        })
        .await?;
        one(&ns, Phase::AwaitingApproval, 5).await?;
        ben.approves(&ns, &approval).await?;
        one(&ns, Phase::Active, 30).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn containers_start_once_people_have_decided_where_the_pod_asks_for_that() -> Result {
    in_namespace("start-up", async |ns| {
        ns.guarded(vec![lists()?]).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        let waits = agent("x", "pods").annotated(names::WAIT, "approval");
        ns.create(&deployment("fleet", &waits, 1)?).await?;
        let approval = ns.question().await?;
        let session = one(&ns, Phase::AwaitingApproval, 20).await?;
        wait_for("the sidecar runs", 60, async || {
            let sidecar = ns.sidecar(pod_of(&session)).await?;
            ensure!(sidecar.state.as_ref().is_some_and(|s| s.running.is_some()), "{sidecar:?}");
            Ok(())
        })
        .await?;
        holds_for("the agent has not started", 5, async || {
            let pod = ns.api::<Pod>().get(pod_of(&session)).await?;
            let statuses = pod.status.and_then(|s| s.container_statuses).unwrap_or_default();
            let started = statuses.iter().any(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()));
            ensure!(!started, "{statuses:?}");
            Ok(())
        })
        .await?;
        ann.approves(&ns, &approval).await?;
        ns.started(pod_of(&session)).await?;
        // It started with a credential: the first call passes.
        ns.sh(pod_of(&session), "kubectl get pods").await?.ok()?;
        let restarts = ns.sidecar(pod_of(&session)).await?.restart_count;
        assert_eq!(restarts, 0, "waiting for people is no failure of the sidecar");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_people_were_asked_and_said_is_on_record() -> Result {
    in_namespace("on-record", async |ns| {
        ns.guarded(vec![lists()?]).await?;
        let ann = ns.approver("ann", &["security"]).await?;
        ns.create(&fleet(1)?).await?;
        let approval = ns.question().await?;
        let before = record::waits_are_counted(&ns, &approval).await?;
        ann.says(&ns, &approval, Verdict::Approve, "ticket 4711").await?.ok()?;
        let session = one(&ns, Phase::Active, 30).await?;
        record::decisions_are_timed(&ns, &before).await?;
        record::the_auditor_is_shown(&ns, &session.name_any(), &approval.name_any()).await?;
        let uid = approval.uid().unwrap_or_default();
        for (reason, part) in [
            ("ApprovalRequested", "provider/lists"),
            ("ApprovalDecided", "ann approves: ticket 4711"),
            ("ApprovalSettled", "it may open 100 sessions"),
        ] {
            let note = ns.event(&uid, reason).await?;
            ensure!(note.contains(part), "{reason}: {note}");
        }
        wait_for("the audit log tells it", 20, async || {
            let log = system::log(&ns.client, "controller").await?;
            let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let of = |event: &str| {
                let ours = |l: &&Value| {
                    l["event"] == event && l["approval"] == approval.name_any() && l["namespace"] == ns.name
                };
                lines.iter().filter(ours).collect::<Vec<_>>()
            };
            for event in ["ApprovalRequested", "ApprovalDecided", "ApprovalSettled"] {
                ensure!(of(event).len() == 1, "{event}: {:?}", of(event));
            }
            ensure!(of("ApprovalDecided")[0]["approver"] == "ann", "{:?}", of("ApprovalDecided"));
            Ok(())
        })
        .await?;
        let sessions = ns.api::<CredentialSession>().list(&ListParams::default()).await?.items;
        assert_eq!(sessions.len(), 1);
        Ok(())
    })
    .await
}
