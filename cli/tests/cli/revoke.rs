//! `revoke` and `release`: pace, progress, waiting, and going on after being cut off.

use super::server::{Said, Server, end_the_revoked, session, session_in};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;

fn sessions(count: usize) -> Vec<Value> {
    (1..=count).map(|i| session(&format!("s-{i:02}"), "Active")).collect()
}

/// Revoked sessions end at the look that follows so many others.
fn ends_at_look(number: usize, name: &str, objects: Vec<Value>) -> Server {
    let mut looks = 0;
    Server::with(name, objects, move |objects, asked| {
        if asked.lists_sessions() && !objects.values().all(|object| object["spec"]["revoke"].is_null()) {
            looks += 1;
            if looks >= number {
                end_the_revoked(objects);
            }
        }
        Said::Usual
    })
}

const ALL: [&str; 6] = ["revoke", "--all-in-namespace", "--yes", "-m", "drill", "--rate=500"];

#[test]
fn each_session_is_told_and_the_end_is_waited_for() {
    let history = [session("old", "Completed"), session_in("others", "elsewhere", "Active")];
    let server = ends_at_look(2, "revoke-told", [sessions(2), history.to_vec()].concat());
    let (code, out, err) = server.said(&ALL);
    assert_eq!(code, 0, "{out}{err}");
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(
        lines,
        ["1/2  revoked  s-01", "2/2  revoked  s-02", "waiting: 2 of 2 sessions have not ended yet"],
        "{err}"
    );
    assert!(
        out.starts_with("2 sessions revoked\n  aws-prod: 2 sessions; ExpiryOnly: access ends by 2199-01-01"),
        "{out}"
    );
    assert_eq!(server.object("credentialsessions", "s-01")["spec"]["revoke"]["reason"], "drill");
    let looks: Vec<_> = server.asked("GET").into_iter().filter(|asked| asked.lists_sessions()).collect();
    let selector = |look: usize| looks[look].query.get("fieldSelector").cloned().unwrap_or_default();
    assert!(selector(1).contains("status.phase!=Completed"), "history is not read at each look: {}", selector(1));
    assert!(looks.iter().all(|look| look.path.contains("/namespaces/agents/")));
}

/// The pass takes longer than `--timeout` by its pace alone; the sessions end a second after it.
#[test]
fn the_time_to_wait_begins_when_all_are_revoked() {
    let server = ends_at_look(2, "revoke-pace", sessions(6));
    let (code, out, err) =
        server.said(&["revoke", "--policy", "reader", "--yes", "--rate", "2", "--timeout", "2", "-m", "drill"]);
    assert!(code == 0 && out.starts_with("6 sessions revoked\n"), "{code}: {out}{err}");
    let patches = server.asked("PATCH");
    let took = patches[5].at - patches[0].at;
    assert!(took > Duration::from_secs(2), "two a second were asked for: {took:?}");
}

#[test]
fn what_has_not_ended_in_time_is_told_and_not_waiting_is_a_choice() {
    let server = Server::new("revoke-timeout", sessions(2));
    let (code, out, err) = server.said(&[&ALL[..], &["--timeout=1"]].concat());
    assert!(code == 4 && out.starts_with("2 sessions revoked, 2 have not ended yet\n"), "{code}: {out}{err}");
    assert!(err.ends_with("run the same command again to go on waiting.\n"), "{err}");
    let (code, out, _) = server.said(&[&ALL[..], &["--timeout=0", "-o", "json"]].concat());
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &summary["revoked"], &summary["notEnded"]), (4, &2.into(), &2.into()), "{summary}");

    let server = Server::new("revoke-no-wait", sessions(2));
    let (code, _, err) = server.said(&[&ALL[..], &["--no-wait"]].concat());
    assert!(code == 0 && !err.contains("waiting"), "{code}: {err}");
    let lists = server.asked("GET").iter().filter(|asked| asked.lists_sessions()).count();
    assert_eq!((lists, server.patched().len()), (1, 2));
}

#[test]
fn a_run_that_was_cut_off_is_gone_on_with_and_its_ends_are_told() {
    let mut patches = 0;
    let server = Server::with("revoke-cut", sessions(4), move |objects, asked| {
        patches += usize::from(asked.method == "PATCH");
        if asked.lists_sessions() {
            end_the_revoked(objects);
        }
        if patches == 3 && asked.method == "PATCH" { Said::Silence } else { Said::Usual }
    });
    let mut first = Command::new(env!("CARGO_BIN_EXE_kubectl-exeat"))
        .args(server.arguments(&ALL))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    server.wait_for_patches(3);
    first.kill().unwrap();
    first.wait().unwrap();

    let (code, out, err) = server.said(&ALL);
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.starts_with("1/2  revoked  s-03\n2/2  revoked  s-04\n"), "what is revoked is let be: {err}");
    assert_eq!(server.patched(), ["s-01", "s-02", "s-03", "s-03", "s-04"]);
    assert!(
        out.starts_with(
            "2 sessions revoked, 2 more had ended so before\n  aws-prod: 4 sessions; ExpiryOnly: access ends by 2199"
        ),
        "access that lasts is told whoever revoked it: {out}"
    );

    let (code, out, err) = server.said(&[&ALL[..], &["-o", "json"]].concat());
    assert!(code == 0 && err == "No session in namespace agents is open: nothing to revoke.\n", "{err}");
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&summary["revoked"], &summary["revokedBefore"]), (&0.into(), &4.into()), "{summary}");
    assert_eq!(summary["providers"]["aws-prod"]["effectiveBy"], "2199-01-01T00:00:00Z");
    assert_eq!(server.patched().len(), 5);
}

#[test]
fn refusals_that_repeat_themselves_end_the_pass() {
    let objects = [sessions(20), vec![session_in("zone", "z", "Active")]].concat();
    let server = Server::with("revoke-refused", objects, |_, asked| {
        let refused = asked.method == "PATCH" && asked.path.contains("/namespaces/agents/");
        if refused { Said::No(403, "User \"u\" cannot patch") } else { Said::Usual }
    });
    let (code, out, err) = server.said(&["revoke", "--policy=reader", "-A", "--yes", "--rate=500", "--no-wait"]);
    assert_eq!((code, server.patched()), (1, ["s-01", "s-02", "s-03", "z"].map(str::to_owned).to_vec()), "{err}");
    assert!(
        err.contains("1/21  FAILED   agents/s-01: User \"u\" cannot patch; you need the verbs patch and revoke"),
        "{err}"
    );
    assert!(err.contains("3 in a row fail for the same reason: the rest of namespace agents is not tried\n"), "{err}");
    assert!(out.starts_with("1 sessions revoked, 1 have not ended yet, 3 FAILED, 17 NOT TRIED\n"), "{out}");
    assert!(out.ends_with("  not tried: 17 more in namespace agents\n"), "{out}");
}

#[test]
fn a_name_that_nothing_ever_had_is_no_success() {
    let server = Server::new("revoke-nothing", vec![session("agent", "Revoked")]);
    for (arguments, words) in [
        (
            &["--pod", "agent-prod"][..],
            ["no session of pod \"agent-prod\" in namespace agents", "did you mean pod agent-pod?"],
        ),
        (
            &["--policy=reader", "-n", "agent"],
            ["under policy \"reader\" in namespace agent is on record", "(-n)? `kubectl exeat sessions -A`"],
        ),
        (&["agnet"], ["no session named \"agnet\"", "did you mean session agent?"]),
        (
            &["--all-in-namespace", "-n", "none", "--dry-run"],
            ["no session in namespace none is on record", "is it the right one"],
        ),
        (
            &["--provider=aws", "-A", "--dry-run"],
            ["of provider \"aws\" in any namespace", "did you mean provider aws-prod?"],
        ),
    ] {
        let (code, out, err) = server.said(&[&["revoke", "--yes"], arguments].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}: {err}");
        assert!(words.iter().all(|word| err.contains(word)), "{words:?}: {err}");
    }
    let (code, _, err) = server.said(&["revoke", "--pod=agent-pod", "--yes"]);
    assert!(
        code == 0 && err == "No session of pod \"agent-pod\" in namespace agents is open: nothing to revoke.\n",
        "{err}"
    );
    assert!(server.patched().is_empty());
}

/// The hold comes before the first revocation, and a name that nothing has had yet is told, since it may be a slip.
#[test]
fn new_sessions_are_held_off_first() {
    let server = ends_at_look(2, "revoke-hold", sessions(1));
    let held = ["revoke", "--policy=reader", "--yes", "--deny-new", "-m", "drill"];
    let (code, out, err) = server.said(&held);
    assert!(code == 0 && out.starts_with("1 sessions revoked\n"), "{code}: {out}{err}");
    let (holds, patches) = (server.asked("POST"), server.asked("PATCH"));
    assert_eq!((holds.len(), holds[0].name(), patches.len()), (1, "credentialholds", 1));
    assert!(holds[0].at < patches[0].at && holds[0].body["spec"]["policy"] == "reader", "{:?}", holds[0].body);
    assert!(!err.contains("note:"), "{err}");
    let (code, out, err) = server.said(&["revoke", "--policy=raeder", "--yes", "--deny-new", "-m", "drill"]);
    assert!(code == 0 && out.starts_with("0 sessions revoked\n"), "{code}: {out}{err}");
    assert!(
        err.starts_with(
            "note: no session under policy \"raeder\" in namespace agents is on record, open or ended; did you mean"
        ),
        "{err}"
    );
    assert_eq!(server.asked("POST").len(), 2);
}

#[test]
fn a_plan_is_for_programs_too() {
    let server = Server::new("revoke-plan", sessions(2));
    let (code, out, _) = server.said(&["revoke", "--policy=reader", "--dry-run"]);
    assert!(
        code == 0 && out.starts_with("2 open sessions match under policy \"reader\" in namespace agents:\n"),
        "{out}"
    );
    let (code, out, _) = server.said(&["revoke", "--policy=reader", "--dry-run", "--deny-new", "-o", "json"]);
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &plan["dryRun"], &plan["denyNew"]), (0, &true.into(), &true.into()), "{plan}");
    assert_eq!(plan["sessions"][1]["pod"], "s-02-pod");
    let (_, out, _) = server.said(&["revoke", "--policy=reader", "--dry-run", "-o", "yaml"]);
    let plan: Value = serde_saphyr::from_str(&out).unwrap();
    assert_eq!(plan["sessions"].as_array().map(Vec::len), Some(2), "{plan}");
    assert!(server.patched().is_empty());
}

#[test]
fn holds_are_released_whatever_became_of_those_before() {
    let hold = |name: &str| {
        serde_json::json!({"apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialHold", "metadata": {"name": name},
            "spec": {"namespace": "agents", "reason": "r"}})
    };
    let server = Server::new("release", vec![hold("a"), hold("c")]);
    let (code, out, err) = server.said(&["release", "a", "b", "c", "-o", "json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    let released: Vec<_> = told.as_array().unwrap().iter().map(|one| one["released"].as_bool().unwrap()).collect();
    assert_eq!((code, released), (1, vec![true, false, true]), "{told}");
    assert!(err.contains("there is no hold \"b\""), "{err}");
    let (code, _, err) = server.said(&["holds"]);
    assert!(code == 0 && err == "Nothing is held.\n", "{err}");
}
