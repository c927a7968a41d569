//! Who wrote what: the stamps, through the HTTP side. What is decided is tabled beside `exeat_crds::approval::decide`.

use exeat_webhook::http::{MUTATE_OBJECTS, MUTATE_PODS, VALIDATE, VALIDATE_WORKLOADS};
use serde_json::{Value, json};

use crate::common::{ISSUER_CA, pod};
use crate::router::{NOW, POLICY, create_pod, patched, policy_object, request, webhook};

const APPROVAL: (&str, &str, &str) = ("exeat.dev", "v1alpha1", "Approval");
const HOLD: (&str, &str, &str) = ("exeat.dev", "v1alpha1", "CredentialHold");

fn approval(decisions: Value) -> Value {
    json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "Approval", "metadata": {"name": "a", "namespace": "agents"},
        "spec": {
            "request": {
                "policyRef": {"name": "p", "uid": "u"}, "providerRef": {"name": "aws-prod"}, "authorityHash": "h",
                "serviceAccount": "agent", "rules": ["provider/deletes"], "principal": "p", "duration": "1h", "validFor": "1h",
                "allow": [{"actions": ["s3:*"], "resources": ["*"]}], "coolDown": "1h", "uses": 1, "minimum": 1, "digest": "d",
                "deadline": "2026-01-01T16:00:00Z", "required": [{"group": "security", "count": 1}], "excluded": ["carol"],
            },
            "decisions": decisions,
        },
    })
}

fn says(who: &str, decision: &str) -> Value {
    json!({"approver": who, "decision": decision, "digest": "d"})
}

fn decides(user: &str, old: Value, new: Value) -> Value {
    let mut request = request(APPROVAL, "UPDATE", user, new, old);
    request["userInfo"]["groups"] = json!(["security", "system:authenticated"]);
    request["userInfo"]["uid"] = json!("u-7");
    request
}

#[tokio::test]
async fn a_decision_is_stamped_and_the_stamped_one_passes_the_check() {
    let webhook = webhook(Some(ISSUER_CA));
    let old = approval(json!([says("bob", "Approve")]));
    let mut new = approval(json!([says("bob", "Approve"), says("alice", "Approve")]));
    new["spec"]["decisions"][1]["groups"] = json!(["security", "everybody"]);
    let response = webhook.review(MUTATE_OBJECTS, decides("alice", old.clone(), new.clone())).await;
    let stored = patched(&new, &response);
    let mut expected = new.clone();
    expected["spec"]["decisions"][1] = json!({
        "approver": "alice", "uid": "u-7", "groups": ["security"], "decision": "Approve", "digest": "d", "time": NOW,
    });
    assert_eq!(stored, expected);
    let again = webhook.review(MUTATE_OBJECTS, decides("alice", old.clone(), stored.clone())).await;
    assert_eq!((&again["allowed"], &again["patch"]), (&json!(true), &Value::Null));
    assert_eq!(webhook.review(VALIDATE, decides("alice", old.clone(), stored)).await["allowed"], true);
    let refused = webhook.review(VALIDATE, decides("alice", old, new)).await;
    assert_eq!(refused["status"]["code"], 422, "not as stamped: {refused}");
}

#[tokio::test]
async fn who_may_not_decide_gets_403_with_the_reason_at_both_paths() {
    let webhook = webhook(Some(ISSUER_CA));
    for (user, new, reason) in [
        ("carol", says("carol", "Approve"), "ApproverNotEligible: spec.decisions[].approver: \"carol\" asked for this"),
        ("mallory", says("alice", "Approve"), "you are \"mallory\""),
        ("system:serviceaccount:agents:agent", says("system:serviceaccount:agents:agent", "Deny"), "is no person"),
    ] {
        let (old, new) = (approval(json!([])), approval(json!([new])));
        let refused = webhook.review(MUTATE_OBJECTS, decides(user, old.clone(), new.clone())).await;
        assert_eq!((&refused["allowed"], &refused["status"]["code"]), (&json!(false), &json!(403)), "{refused}");
        assert!(refused["status"]["message"].as_str().unwrap().contains(reason), "{refused}");
        let refused = webhook.review(VALIDATE, decides(user, old, new)).await;
        assert!(refused["status"]["message"].as_str().unwrap().contains(reason), "{refused}");
    }
}

#[tokio::test]
async fn what_decides_nothing_passes_untouched() {
    let webhook = webhook(Some(ISSUER_CA));
    let decided = approval(json!([says("bob", "Approve")]));
    let mut status = decides("mallory", decided.clone(), approval(json!([says("mallory", "Approve")])));
    status["subResource"] = json!("status");
    let mut unheld = decided.clone();
    unheld["metadata"]["finalizers"] = json!(["x"]);
    let controller = "system:serviceaccount:exeat-system:exeat-controller";
    for request in [
        decides("alice", decided.clone(), decided.clone()),
        decides(controller, unheld, decided.clone()),
        request(APPROVAL, "CREATE", controller, decided.clone(), Value::Null),
        request(APPROVAL, "DELETE", "alice", Value::Null, decided),
        // The admission policy's to refuse.
        status,
    ] {
        let response = webhook.review(MUTATE_OBJECTS, request).await;
        assert_eq!((&response["allowed"], &response["patch"]), (&json!(true), &Value::Null), "{response}");
    }
    let other = webhook.review(MUTATE_OBJECTS, create_pod(pod())).await;
    assert_eq!(other["status"]["code"], 400, "{other}");
}

#[tokio::test]
async fn policies_and_holds_name_who_wrote_them() {
    let webhook = webhook(Some(ISSUER_CA));
    let created =
        webhook.review(MUTATE_OBJECTS, request(POLICY, "CREATE", "alice", policy_object(), Value::Null)).await;
    let stored = patched(&policy_object(), &created);
    assert_eq!(stored["metadata"]["annotations"], json!({"exeat.dev/last-editor": "alice"}));
    let mut edited = stored.clone();
    edited["spec"]["session"]["duration"] = json!("1h");
    let gitops = "system:serviceaccount:argocd:argocd-application-controller";
    let response = webhook.review(MUTATE_OBJECTS, request(POLICY, "UPDATE", gitops, edited.clone(), stored)).await;
    assert_eq!(patched(&edited, &response)["metadata"]["annotations"], json!({"exeat.dev/last-editor": gitops}));
    let hold = json!({"apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialHold", "metadata": {"name": "h"},
        "spec": {"namespace": "agents", "reason": "odd"}});
    let response = webhook.review(MUTATE_OBJECTS, request(HOLD, "CREATE", "olga", hold.clone(), Value::Null)).await;
    assert_eq!(patched(&hold, &response)["metadata"]["annotations"], json!({"exeat.dev/requester": "olga"}));
}

#[tokio::test]
async fn a_pod_names_the_person_who_created_it_and_nobody_else() {
    let webhook = webhook(Some(ISSUER_CA));
    let mut forged = pod();
    forged["metadata"]["annotations"]["exeat.dev/requester"] = json!("bob");
    for (user, expected) in [
        ("alice", json!("alice")),
        ("system:serviceaccount:kube-system:replicaset-controller", Value::Null),
        ("system:node:n", Value::Null),
    ] {
        let mut request = create_pod(forged.clone());
        request["userInfo"]["username"] = json!(user);
        let stored = patched(&forged, &webhook.review(MUTATE_PODS, request.clone()).await);
        assert_eq!(stored["metadata"]["annotations"]["exeat.dev/requester"], expected, "{user}");
        request["object"] = stored;
        assert_eq!(webhook.review(MUTATE_PODS, request).await["patch"], Value::Null, "{user}: a second call");
    }
}

#[tokio::test]
async fn authors_are_told_that_people_will_be_asked() {
    let webhook = webhook(Some(ISSUER_CA));
    let under = |policy: &str, allow: Option<&str>| {
        let mut pod = pod();
        pod["metadata"]["annotations"] = json!({"exeat.dev/policy": policy, "exeat.dev/allow": allow});
        if allow.is_none() {
            pod["metadata"]["annotations"].as_object_mut().unwrap().remove("exeat.dev/allow");
        }
        pod
    };
    let told = "people are asked before this pod gets credentials (2 of data, 1 of security; rules policy/deletes)";
    let response = webhook.review(MUTATE_PODS, create_pod(under("report-cleaner", None))).await;
    assert!(response["warnings"][0].as_str().unwrap().starts_with(told), "{response}");
    let narrowed = under("report-cleaner", Some("s3:GetObject on arn:aws:s3:::reports/*"));
    for pod in [narrowed, under("report-writer", None)] {
        let response = webhook.review(MUTATE_PODS, create_pod(pod)).await;
        assert_eq!((&response["allowed"], &response["warnings"]), (&json!(true), &Value::Null), "{response}");
    }
    let pod = under("report-cleaner", None);
    let template = json!({"template": {"metadata": pod["metadata"], "spec": pod["spec"]}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": template});
    let asked = request(("batch", "v1", "Job"), "CREATE", "alice", job, Value::Null);
    let response = webhook.review(VALIDATE_WORKLOADS, asked).await;
    assert!(response["warnings"][0].as_str().unwrap().contains("before a pod of this template gets"), "{response}");
}
