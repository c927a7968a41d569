//! `approvals`, `approve` and `deny`.

use super::on_terminal;
use super::server::{Said, Server};
use serde_json::{Value, json};

fn approval(name: &str) -> Value {
    let mut object: exeat_crds::Approval = serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "Approval",
        "metadata": {"name": name, "namespace": "agents", "resourceVersion": "7", "creationTimestamp": "2026-01-01T12:00:00Z"},
        "spec": {"request": {
            "policyRef": {"name": "writer", "uid": "pol"}, "providerRef": {"name": "aws"}, "authorityHash": "h", "serviceAccount": "agent",
            "workload": {"kind": "Deployment", "name": "reports", "uid": "w"}, "rules": ["provider/deletes"], "principal": "arn:aws:iam::123456789012:role/r",
            "allow": [{"actions": ["s3:DeleteObject"], "resources": ["arn:aws:s3:::a/*"]}], "duration": "1h", "deadline": "2199-01-01T16:00:00Z",
            "validFor": "1h", "uses": 2, "coolDown": "30m", "required": [{"group": "security", "count": 2}], "minimum": 2, "excluded": ["carol"], "digest": ""
        }},
        "status": {"phase": "Pending"}
    }))
    .unwrap();
    object.spec.request.digest = exeat_crds::approval::digest(&object.spec.request);
    let mut object = serde_json::to_value(object).unwrap();
    object["spec"]["decisions"] = json!([]);
    object
}

fn decisions(server: &Server, name: &str) -> Vec<String> {
    let approval = server.object("approvals", name);
    let all = approval["spec"]["decisions"].as_array().unwrap();
    all.iter()
        .map(|one| format!("{} {}", one["approver"].as_str().unwrap(), one["decision"].as_str().unwrap()))
        .collect()
}

#[test]
fn each_name_is_decided_whatever_became_of_the_others() {
    let server = Server::new("approve-several", vec![approval("a"), approval("c")]);
    let (code, out, err) = server.said(&["approve", "a", "b", "c", "-m", "planned", "--yes"]);
    assert_eq!(
        (code, decisions(&server, "a"), decisions(&server, "c")),
        (1, vec!["ann Approve".into()], vec!["ann Approve".into()])
    );
    assert_eq!(out.lines().count(), 2, "{out}");
    assert!(out.starts_with("a: approved by ann; still missing: ") && out.contains("\nc: approved by ann"), "{out}");
    assert!(
        err.contains(
            "error: there is no approval \"b\" in namespace agents; `kubectl exeat approvals --all -n agents`"
        ),
        "{err}"
    );

    let (code, out, _) = server.said(&["deny", "b", "c", "-m", "no", "--yes", "-o", "json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told[0]["written"], &told[1]["written"]), (1, &false.into(), &true.into()), "{told}");
    assert_eq!((&told[1]["decision"], &told[1]["by"]), (&json!("Deny"), &json!("ann")));
    let (code, out, err) = server.said(&["approve", "a", "-m", "again", "--yes", "-o", "yaml"]);
    let told: Value = serde_saphyr::from_str(&out).unwrap();
    assert_eq!((code, told[0]["message"].as_str()), (3, Some("you have said so already")), "{err}");
}

#[test]
fn a_word_that_is_written_stands_though_it_can_not_be_read_again() {
    let mut written = false;
    let server = Server::with("approve-reread", vec![approval("a")], move |_, asked| {
        let read = asked.method == "GET" && written;
        written |= asked.method == "PATCH";
        if read { Said::No(500, "no more reading") } else { Said::Usual }
    });
    let (code, out, err) = server.said(&["approve", "a", "-m", "planned", "--yes"]);
    assert!(code == 0 && out.starts_with("a: approved by ann"), "{code}: {out}{err}");
}

#[test]
fn what_an_approval_let_in_can_be_taken_back_after_its_time() {
    let mut used = approval("a");
    used["status"] = json!({"phase": "Expired", "used": 1});
    let mut unused = approval("b");
    unused["status"] = json!({"phase": "Expired", "used": 0});
    let server = Server::new("deny-expired", vec![used, unused]);
    let (code, out, err) = server.said(&["deny", "a", "-m", "it was wrong", "--yes"]);
    assert!(code == 0 && out.starts_with("a: denied by ann; a no wins"), "{code}: {out}{err}");
    let (code, _, err) = server.said(&["deny", "b", "-m", "it was wrong", "--yes"]);
    assert!(code == 3 && err.contains("b: not denied: it is Expired already"), "{code}: {err}");
    assert_eq!(server.patched(), ["a"]);
}

#[test]
fn somebody_at_a_terminal_is_asked() {
    let server = Server::new("approve-asks", vec![approval("a")]);
    let approve = ["approve", "a", "-m", "planned"];
    let (code, _, err) = server.said(&approve);
    assert!(code == 2 && err.contains("this is no terminal to ask on: add --yes"), "{code}: {err}");
    let (code, text) = on_terminal(&server.arguments(&approve), "n\n");
    assert!(
        code == 3 && text.contains("Approve this? [y/N]") && text.contains("nothing was written"),
        "{code}: {text}"
    );
    assert!(text.contains("s3:DeleteObject on arn:aws:s3:::a/*"), "what is asked is shown before: {text}");
    assert!(decisions(&server, "a").is_empty());
    let (code, text) = on_terminal(&server.arguments(&approve), "y\n");
    assert!(code == 0 && text.contains("a: approved by ann"), "{code}: {text}");
    assert_eq!(decisions(&server, "a"), ["ann Approve"]);
}

#[test]
fn an_empty_queue_says_whose_it_is() {
    let server = Server::new("approvals-none", Vec::new());
    for (arguments, told) in [
        (&[][..], "Nothing waits for approval in namespace agents.\n"),
        (&["-A"], "Nothing waits for approval in any namespace.\n"),
        (&["-n", "b", "--policy", "p"], "Nothing waits for approval under policy \"p\" in namespace b.\n"),
        (&["--all"], "There is no approval in namespace agents.\n"),
    ] {
        let (code, out, err) = server.said(&[&["approvals"], arguments].concat());
        assert_eq!((code, out.as_str(), err.as_str()), (0, "", told), "{arguments:?}");
    }
}
