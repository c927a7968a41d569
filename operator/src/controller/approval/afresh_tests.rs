use super::*;
use crate::controller::there::{by_name, server};
use exeat_crds::v1alpha1::{ApprovalSpec, NameRef, ObjectRef, Workload};
use kube::runtime::reflector::store;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

fn policy(uid: &str, actions: &str) -> Value {
    json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
        "metadata": {"name": "reader", "namespace": "agents", "uid": uid},
        "spec": {"providerRef": {"name": "here"}, "principal": "system:serviceaccounts:exeat-grants",
            "subjects": {"serviceAccounts": ["sa"]}, "allow": [{"actions": [actions], "resources": ["agents/*"]}]},
    })
}

fn provider() -> Value {
    json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "here", "uid": "prov"},
        "spec": {"kubernetes": {}, "bindings": [{"name": "b", "namespaces": ["agents"],
            "principals": ["system:serviceaccounts:exeat-grants"], "maxActions": ["get *"]}]},
    })
}

fn typed<K: serde::de::DeserializeOwned>(value: &Value) -> K {
    serde_json::from_value(value.clone()).unwrap()
}

/// Hash of what a policy gives.
fn gives(policy: &Value) -> Option<String> {
    authority::resolve(&typed(policy), Some(&typed(&provider()))).ok().map(|a| a.hash)
}

fn asked(under: &Value) -> Approval {
    let request = ApprovalRequest {
        policy_ref: ObjectRef { name: "reader".into(), uid: "pol".into() },
        authority_hash: gives(under).unwrap(),
        ..ApprovalRequest::default()
    };
    let mut approval = Approval::new("a", ApprovalSpec { request, decisions: vec![] });
    approval.metadata.namespace = Some("agents".into());
    approval
}

/// What is said of a question where the caches have this policy and the API server has `there`, and how often it was asked.
async fn said(approval: &Approval, cached: Option<&Value>, there: &[Value]) -> (Policy, usize) {
    let (policies, mut policy_writer) = store();
    let (providers, mut provider_writer) = store();
    provider_writer.apply_watcher_event(&Event::Apply(typed(&provider())));
    if let Some(cached) = cached {
        policy_writer.apply_watcher_event(&Event::Apply(typed(cached)));
    }
    let caches = Caches::new(providers, policies, store().0, store().0, store().0, store().0);
    let (client, count) = server(&by_name(there));
    let policy = super::policy(approval, &caches, &client).await.unwrap();
    let count = count.load(Ordering::Relaxed);
    (policy, count)
}

#[tokio::test]
async fn no_question_ends_for_a_cache_that_is_behind() {
    let (old, new, again) = (policy("pol", "get pods"), policy("pol", "get services"), policy("pol2", "get services"));
    let question = asked(&new);
    let stands = Policy { gone: false, authority: gives(&new) };
    let gone = Policy { gone: true, authority: None };
    assert_eq!(said(&question, Some(&new), &[]).await, (stands.clone(), 0), "as always: nobody is asked");
    assert_eq!(said(&question, None, &[new.clone(), provider()]).await, (stands.clone(), 2), "the watch is behind");
    assert_eq!(said(&question, Some(&old), &[new.clone(), provider()]).await, (stands, 2), "it shows what was before");
    assert_eq!(said(&question, None, &[provider()]).await, (gone.clone(), 1));
    assert_eq!(said(&question, None, &[again, provider()]).await, (gone.clone(), 1), "another one of the name");
    let changed = Policy { gone: false, authority: gives(&old) };
    assert_eq!(said(&question, Some(&old), &[old.clone(), provider()]).await, (changed, 2), "it was changed back");
    let unserved = Policy { gone: false, authority: None };
    assert_eq!(said(&question, None, &[new]).await, (unserved, 2), "what can't be told ends nothing");
    let settled = Approval { status: Some(typed(&json!({"phase": "Denied"}))), ..question };
    assert_eq!(said(&settled, None, &[]).await, (gone, 0), "nothing hangs on it any more");
}

#[tokio::test]
async fn a_cron_job_that_is_gone_does_not_come_back() {
    let cron_job = |uid: &str| json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "nightly", "uid": uid}});
    let mut question = asked(&policy("pol", "get pods"));
    let workload = |kind: &str| Some(Workload { kind: kind.into(), name: "nightly".into(), uid: "c".into() });
    question.spec.request.workload = workload("CronJob");
    let told = async |question: &Approval, there: &[Value]| {
        let (client, count) = server(&by_name(there));
        let recurs = recurs(question, &client).await.unwrap();
        let count = count.load(Ordering::Relaxed);
        (recurs, count)
    };
    assert_eq!(told(&question, &[cron_job("c")]).await, (true, 1));
    assert_eq!(told(&question, &[cron_job("made again")]).await, (false, 1));
    assert_eq!(told(&question, &[]).await, (false, 1));
    let mut of_one_run = question.clone();
    of_one_run.spec.request.session_ref = Some(NameRef { name: "nightly-1".into() });
    assert_eq!(told(&of_one_run, &[cron_job("c")]).await, (false, 0), "its session does not come again");
    question.spec.request.workload = workload("Job");
    assert_eq!(told(&question, &[cron_job("c")]).await, (false, 0));
}
