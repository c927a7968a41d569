//! The webhook is gone: what it would have stamped can be forged nevertheless only in what CEL can't know, the time.

use exeat_crds::v1alpha1::CredentialHoldSpec;
use exeat_crds::{AgentCredentialPolicy, CredentialHold, names};
use exeat_e2e::approvals::{Actor, Part, forge_each_field, forge_stamps};
use exeat_e2e::{Result, Scope, connect, ensure, in_namespace, kubernetes_policy, refused, wait_for};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::attacks::remove;

/// Runs without both webhook configurations, and puts them back.
async fn without_webhook(client: &Client, run: impl AsyncFnOnce() -> Result) -> Result {
    let mutating = remove::<MutatingWebhookConfiguration>(client).await?;
    let validating = remove::<ValidatingWebhookConfiguration>(client).await?;
    let outcome = run().await;
    mutating.put_back().await?;
    validating.put_back().await?;
    outcome
}

fn dry() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

/// The API server drops a configuration a moment after it is gone: until then stamps are still written.
async fn out_of_the_way(ns: &Scope) -> Result {
    let policies: Api<AgentCredentialPolicy> = ns.api();
    wait_for("the webhook is out of the way", 20, async || {
        let created = policies.create(&dry(), &kubernetes_policy("probe", &ns.name, &["list pods"])).await;
        let refusal = refused("an unstamped policy", created)?.message;
        ensure!(refusal.contains("exeat.dev/last-editor is stamped by the webhook"), "{refusal}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_the_webhook_no_forged_decision_gets_in() -> Result {
    let _alone = crate::ALONE.lock().await;
    let client = connect().await?;
    in_namespace("undecided", async |ns| {
        let approval = ns.half_approved("asked").await?;
        let six = ns.six().await?;
        without_webhook(&client, async || {
            out_of_the_way(&ns).await?;
            let fields = forge_each_field(&ns, &six, &approval, Part::PolicyAlone).await?;
            let stamps = forge_stamps(&ns, &six, &approval).await?;
            println!("{fields} forged fields and {stamps} forged stamps were refused without the webhook");
            excluded(&ns).await?;
            decided(&ns).await
        })
        .await
    })
    .await
}

/// Who asked may not approve, a system user never; both complete as the webhook would write it.
async fn excluded(ns: &Scope) -> Result {
    let approval = ns.asked("excluded", json!([])).await?;
    let yes = |who: &str| {
        let digest = &approval.spec.request.digest;
        let time = "2026-01-01T00:00:00Z";
        let decision =
            json!({"approver": who, "decision": "Approve", "digest": digest, "groups": ["security"], "time": time});
        json!({"spec": {"decisions": [decision]}})
    };
    for (who, said) in [
        (exeat_e2e::approvals::EXCLUDED, "and may deny but not approve"),
        ("system:security-bot", "must be yourself, and a person"),
        ("ann", ""),
    ] {
        ns.bind(who, "ClusterRole", "exeat-approver").await?;
        let actor = Actor::new("approver", who, &["security"]).await?;
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        wait_for(&format!("{who} is judged by us, not by RBAC"), 20, async || {
            let patched = actor.approvals(ns).patch("excluded", &dry, &Patch::Merge(&yes(who))).await;
            let told = patched.err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(told.contains(said) && told.is_empty() == said.is_empty(), "{told}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// What is final takes no further word, but what has opened sessions can be withdrawn; what is approved takes a no alone.
async fn decided(ns: &Scope) -> Result {
    let ann = ns.approver("ann", &["security"]).await?;
    let last = "which is final";
    for (phase, used, decision, refusal) in [
        ("Denied", 0, "Deny", last),
        ("Withdrawn", 1, "Deny", last),
        ("Expired", 0, "Deny", last),
        ("Expired", 1, "Approve", last),
        ("Expired", 1, "Deny", ""),
        ("Approved", 0, "Approve", "everybody who is needed has approved"),
        ("Approved", 0, "Deny", ""),
    ] {
        let name = format!("{phase}-{used}-{decision}").to_lowercase();
        let approval = ns.asked(&name, json!([])).await?;
        ns.settle(&approval, json!({"phase": phase, "used": used})).await?;
        let digest = &approval.spec.request.digest;
        let word = json!({"approver": "ann", "decision": decision, "digest": digest, "groups": ["security"], "time": "2026-01-01T00:00:00Z"});
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let body = Patch::Merge(json!({"spec": {"decisions": [word]}}));
        let patched = ann.approvals(ns).patch(&name, &dry, &body).await;
        if refusal.is_empty() {
            patched?;
        } else {
            let said = refused(&name, patched)?.message;
            ensure!(said.contains(refusal), "{name}: {said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_the_webhook_nobody_edits_or_holds_in_anothers_name() -> Result {
    let _alone = crate::ALONE.lock().await;
    let client = connect().await?;
    in_namespace("unnamed", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        without_webhook(&client, async || {
            out_of_the_way(&ns).await?;
            policies(&ns).await?;
            holds(&ns).await
        })
        .await
    })
    .await
}

async fn policies(ns: &Scope) -> Result {
    let api: Api<AgentCredentialPolicy> = ns.api();
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let annotation = |value: Value| json!({"metadata": {"annotations": {names::LAST_EDITOR: value}}});
    let with = |value: Value| {
        let mut body = annotation(value);
        body["spec"] = json!({"session": {"duration": "2h"}});
        body
    };
    for (what, body, passes) in [
        ("edited by me, who else was last", json!({"spec": {"session": {"duration": "2h"}}}), true),
        ("edited in another's name", with(json!("bob")), false),
        ("edited, unnamed", with(Value::Null), false),
        ("the annotation alone", annotation(json!("bob")), false),
        ("the annotation removed", annotation(Value::Null), false),
        ("a label", json!({"metadata": {"labels": {"team": "blue"}}}), true),
    ] {
        let patched = api.patch("pods", &dry, &Patch::Merge(&body)).await;
        match passes {
            true => drop(patched?),
            false => {
                let said = refused(what, patched)?.message;
                ensure!(said.contains("exeat.dev/last-editor is stamped"), "{what}: {said}");
            }
        }
    }
    Ok(())
}

async fn holds(ns: &Scope) -> Result {
    let api: Api<CredentialHold> = Api::all(ns.client.clone());
    let hold = |requester: Option<&str>| {
        let spec = CredentialHoldSpec { namespace: Some(ns.name.clone()), reason: "odd".into(), ..Default::default() };
        let mut hold = CredentialHold::new(&ns.name, spec);
        hold.metadata.annotations = requester.map(|name| [(names::REQUESTER.to_owned(), name.to_owned())].into());
        hold
    };
    for requester in [None, Some("bob")] {
        let said = refused("a hold in another's name", api.create(&dry(), &hold(requester)).await)?.message;
        ensure!(said.contains("exeat.dev/requester is stamped"), "{said}");
    }
    api.create(&dry(), &hold(Some("kubernetes-admin"))).await?;
    Ok(())
}
