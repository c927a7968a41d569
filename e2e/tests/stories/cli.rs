//! `kubectl exeat` on a cluster: what it shows is so, what it stops is stopped, and what it says is wrong is what is wrong.

use exeat_crds::CredentialSession;
use exeat_crds::names::GRANTS_NAMESPACE;
use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{
    Output, Result, Scope, agent, deployment, ensure, exeat, exeat_program, in_namespace, kubernetes_policy, script,
    shell, system_namespace, wait_for,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use k8s_openapi::api::rbac::v1::Role;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Exit code of a command by which a gate says no.
pub(crate) const DENIED: i32 = 3;

pub(crate) async fn within(ns: &Scope, arguments: &[&str]) -> Result<Output> {
    exeat(&[&["-n", &ns.name], arguments].concat()).await
}

pub(crate) fn ends(output: &Output, code: i32, words: &[&str]) -> Result {
    let said = format!("{}{}", output.stdout, output.stderr);
    ensure!(output.code == code, "it should end with {code}: {output}");
    let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
    ensure!(missing.is_empty(), "{missing:?} is not said: {output}");
    Ok(())
}

/// `watch` as a program reads it.
struct Watch {
    program: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn begin(ns: &Scope) -> Result<Self> {
        let mut program = Command::new(exeat_program()?)
            .args(["watch", "-o", "json", "-n", &ns.name])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = program.stdout.take().ok_or_else(|| exeat_e2e::Failure::new("watch has no output"))?;
        Ok(Self { program, lines: BufReader::new(stdout).lines() })
    }

    /// Reads on until the pod's session is in this phase.
    async fn sees(&mut self, session: &str, phase: &str) -> Result {
        let read = async {
            while let Some(line) = self.lines.next_line().await? {
                let change: Value = serde_json::from_str(&line)?;
                if change["kind"] == "session" && change["name"] == session && change["phase"] == phase {
                    return Ok(());
                }
            }
            Err(exeat_e2e::Failure::new("watch has ended"))
        };
        let late = |_| exeat_e2e::Failure::new(format!("watch does not tell that {session} is {phase}"));
        tokio::time::timeout(Duration::from_secs(30), read).await.map_err(late)?
    }

    /// Ends it as Ctrl-C does.
    async fn end(mut self) -> Result {
        let id = self.program.id().ok_or_else(|| exeat_e2e::Failure::new("watch has ended by itself"))?;
        shell(&format!("kill -INT {id}")).await?.ok()?;
        let status = tokio::time::timeout(Duration::from_secs(10), self.program.wait())
            .await
            .map_err(|_| exeat_e2e::Failure::new("watch does not end"))??;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

#[tokio::test]
async fn sessions_are_listed_shown_and_revoked() -> Result {
    in_namespace("cli-sessions", async |ns| {
        let mut watch = Watch::begin(&ns)?;
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        let session = ns.session("agent", 1, Phase::Active, 20).await?;
        let name = session.name_any();
        watch.sees(&name, "Active").await?;

        ends(&within(&ns, &["sessions"]).await?, 0, &[&name, "pods", "Active", "e2e-kubernetes"])?;
        let list: Value =
            serde_json::from_str(&within(&ns, &["sessions", "--pod", "agent", "-o", "json"]).await?.ok()?)?;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
        ends(&within(&ns, &["sessions", "--phase", "Revoked"]).await?, 0, &["No sessions"])?;
        ends(
            &within(&ns, &["session", &name]).await?,
            0,
            &["list pods on", "Events:", "CredentialsIssued", "Access ends by:"],
        )?;
        ends(&within(&ns, &["session", "nobody"]).await?, 1, &["there is no session \"nobody\""])?;

        ends(&within(&ns, &["revoke", "--pod", "agent"]).await?, 2, &["add --yes"])?;
        let stopped = within(&ns, &["revoke", &name, "-m", "looks odd"]).await?;
        let session = ns.session("agent", 1, Phase::Revoked, 5).await?;
        let by = session.status.and_then(|s| s.revocation).map(|r| r.effective_by).unwrap_or_default();
        let ends_by = format!("e2e-kubernetes: 1 sessions; Immediate: access ends by {by}");
        ends(&stopped, 0, &["1 sessions revoked", &ends_by])?;
        watch.sees(&name, "Revoked").await?;
        watch.end().await?;
        assert_eq!(session.spec.revoke.map(|revoke| revoke.reason).as_deref(), Some("looks odd"));
        ends(&within(&ns, &["revoke", &name]).await?, 0, &["nothing to revoke"])?;
        ends(
            &within(&ns, &["revoke", "--pod", "agnet", "--yes"]).await?,
            1,
            &["is on record", "did you mean pod agent?"],
        )?;
        ends(
            &within(&ns, &["explain", "pod", "agent"]).await?,
            DENIED,
            &["SessionRevoked", "a revocation is final for the pod"],
        )
    })
    .await
}

pub(crate) fn fleet(replicas: i32, command: &str) -> Result<Deployment> {
    deployment("fleet", &script("x", "pods", command), replicas)
}

async fn of_phase(ns: &Scope, phase: Phase) -> Result<Vec<CredentialSession>> {
    let all = ns.api::<CredentialSession>().list(&Default::default()).await?.items;
    Ok(all.into_iter().filter(|session| exeat_e2e::phase(session) == Some(phase)).collect())
}

#[tokio::test]
async fn a_workload_is_revoked_and_a_hold_keeps_its_next_pods_off() -> Result {
    in_namespace("cli-hold", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.create(&fleet(2, "trap 'exit 143' TERM; sleep 86400 & wait")?).await?;
        wait_for("both pods have a session", 120, async || {
            ensure!(of_phase(&ns, Phase::Active).await?.len() == 2, "not yet");
            Ok(())
        })
        .await?;
        let plan = within(&ns, &["revoke", "--workload", "deploy/fleet", "--dry-run"]).await?;
        ends(&plan, 0, &["2 open sessions match"])?;
        let stopped =
            within(&ns, &["revoke", "--workload", "deploy/fleet", "--deny-new", "--yes", "-m", "drill"]).await?;
        ends(&stopped, 0, &["keeps new sessions off", "2 sessions revoked"])?;
        assert_eq!(of_phase(&ns, Phase::Revoked).await?.len(), 2);

        ns.api::<Pod>().delete_collection(&DeleteParams::default(), &Default::default()).await?;
        wait_for("the next pods are held off", 120, async || {
            let waiting = of_phase(&ns, Phase::Pending).await?;
            let held =
                waiting.iter().filter(|s| s.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("Held")).count();
            ensure!(held == 2, "{held} are");
            Ok(())
        })
        .await?;
        ends(
            &within(&ns, &["explain", "deployment", "fleet"]).await?,
            DENIED,
            &["hold", "drill", "kubectl exeat release"],
        )?;
        let holds: Value = serde_json::from_str(&within(&ns, &["holds", "-o", "json"]).await?.ok()?)?;
        let ours = holds["items"]
            .as_array()
            .and_then(|all| all.iter().find(|hold| hold["spec"]["namespace"] == ns.name.as_str()).cloned());
        let name = ours.as_ref().and_then(|hold| hold["metadata"]["name"].as_str()).unwrap_or_default().to_owned();
        ends(&within(&ns, &["release", &name]).await?, 0, &["is released"])?;
        wait_for("they may go on", 60, async || {
            ensure!(of_phase(&ns, Phase::Active).await?.len() == 2, "not yet");
            Ok(())
        })
        .await
    })
    .await
}

/// What `lint` says of a file without a cluster, the cluster says too; what only the cluster knows, it says with `--server`.
#[tokio::test]
async fn lint_agrees_with_the_cluster() -> Result {
    in_namespace("cli-lint", async |ns| {
        let sound = ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let mut file = serde_json::to_value(kubernetes_policy("pods", &ns.name, &["list pods"]))?;
        let lint = async |file: &Value, more: &str| {
            let lint = format!("kubectl exeat -n {} policy lint - {more} <<'E'\n{file}\nE", ns.name);
            shell(&lint).await
        };
        let apply = async |file: &Value| {
            shell(&format!(
                "kubectl -n {} apply --server-side --force-conflicts --dry-run=server -f - <<'E'\n{file}\nE",
                ns.name
            ))
            .await
        };
        ends(&lint(&file, "--server").await?, 0, &["ok  AgentCredentialPolicy/pods"])?;
        for (pointer, value, word) in [
            ("/spec/session", json!({"duration": "200h"}), "spec.session.duration"),
            ("/spec/session", json!({"onExpiry": "Never"}), "spec.session.onExpiry"),
            ("/spec/session", json!({"offlineGrace": "soon"}), "spec.session.offlineGrace"),
            ("/spec/allow", json!([]), "spec.allow"),
            (
                "/spec/allow",
                json!([{"actions": ["list pods"], "resources": ["a/*"], "effect": "Deny"}]),
                "spec.allow[0].effect",
            ),
            ("/spec/subjects", json!("all"), "spec.subjects"),
            ("/spec/principal", json!(""), "spec.principal"),
            ("/metadata/name", json!("a".repeat(64)), "metadata.name"),
            ("/apiVersion", json!("exeat.dev/v2"), "apiVersion"),
        ] {
            let mut bad = file.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap_or_default();
            bad.pointer_mut(parent).ok_or_else(|| exeat_e2e::Failure::new(pointer))?[field] = value;
            ends(&lint(&bad, "").await?, 1, &["fail", word])?;
            apply(&bad).await?.failed()?;
        }
        let account = json!({"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "none"},
            "spec": {"hard": {"count/agentcredentialpolicies.exeat.dev": "1"}}});
        ns.create(&serde_json::from_value::<ResourceQuota>(account)?).await?;
        file["metadata"]["name"] = json!("another");
        ends(&lint(&file, "").await?, 0, &["ok"])?;
        wait_for("the cluster knows more", 60, async || {
            ends(&lint(&file, "--server").await?, 1, &["Server: ", "exceeded quota: none"])
        })
        .await?;
        let api = ns.api::<exeat_crds::AgentCredentialPolicy>();
        assert_eq!(api.list(&Default::default()).await?.items.len(), 1, "a dry run stores nothing");
        assert_eq!(api.get("pods").await?.spec, sound.spec);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn doctor_looks_at_every_part() -> Result {
    in_namespace("cli-doctor", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        // A right on one object, by a binding of this namespace alone.
        let mint = json!({"metadata": {"name": "mint"}, "rules": [
            {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["agent"], "verbs": ["create"]},
        ]});
        ns.create(&serde_json::from_value::<Role>(mint)?).await?;
        ns.bind("mia", "Role", "mint").await?;
        ns.bind("ed", "ClusterRole", "edit").await?;
        let output = within(&ns, &["doctor", "-o", "json", "--probe-pod", "agent"]).await?;
        let checks: Vec<Value> =
            serde_json::from_str(&output.stdout).map_err(|e| exeat_e2e::Failure::new(format!("{e}: {output}")))?;
        let level = |name: &str| checks.iter().find(|check| check["check"] == name).map(|check| check["level"].clone());
        for check in [
            "Kubernetes",
            "clock",
            "definitions",
            "controller",
            "issuer",
            "webhook",
            "mutating webhook",
            "validating webhook",
            "issuer's root",
            "webhook's certificate",
            "issuer's certificate",
            "admission policies",
            "provider e2e-kubernetes",
        ] {
            assert_eq!(level(check), Some(json!("ok")), "{check}: {output}");
        }
        let says = |name: &str, level: &str, words: &str| -> Result {
            let check = checks.iter().find(|check| check["check"] == name).cloned().unwrap_or_default();
            let message = check["message"].as_str().unwrap_or_default();
            ensure!(check["level"] == level && message.contains(words), "{name}: {check} in {output}");
            Ok(())
        };
        says("node metadata", "ok", "does not answer from inside the pod")?;
        says(&format!("may mint tokens in {}", ns.name), "ok", "User mia")?;
        for right in ["may create pods", "may exec into pods", "may impersonate accounts"] {
            says(&format!("{right} in {}", ns.name), "ok", "User ed")?;
        }
        ensure!(level("may impersonate").is_some(), "{output}");
        for (right, namespace) in [("may mint tokens", GRANTS_NAMESPACE), ("may create pods", system_namespace())] {
            says(&format!("{right} in {namespace}"), "ok", "nobody but the cluster itself")?;
        }
        let elsewhere = exeat(&["doctor", "--system-namespace", "default"]).await?;
        ends(&elsewhere, 1, &["FAIL  controller", "there is no Deployment exeat-controller in namespace default"])
    })
    .await
}

#[tokio::test]
async fn what_happened_is_told_and_a_log_that_was_changed_is_found() -> Result {
    in_namespace("cli-audit", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        let session = ns.session("agent", 1, Phase::Active, 20).await?.name_any();
        wait_for("what happened is told", 30, async || {
            ends(&within(&ns, &["audit", "recent", "--since", "10m"]).await?, 0, &["SessionCreated", "CredentialsIssued", "issuer", &session])
        })
        .await?;
        ends(&within(&ns, &["audit", "show", &session]).await?, 0, &["SessionActivated", "CredentialsIntended"])?;
        ends(&within(&ns, &["audit", "show", "nobody"]).await?, 1, &["nothing is recorded"])?;

        let program = exeat_program()?;
        let script = format!(
            r#"
            folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
            for program in controller issuer; do
              kubectl -n {system} get secret exeat-audit-key-$program --output=jsonpath='{{.data.key}}' | base64 -d >$program.key
              kubectl -n {system} logs --tail=-1 --max-log-requests=20 -l app.kubernetes.io/component=$program >$program.log
            done
            verify() {{ {exeat} audit verify --partial --key-file controller=controller.key --key-file issuer=issuer.key "$@"; }}
            verify controller.log issuer.log || exit 10
            {exeat} audit export -o csv issuer.log | grep -q {session} || exit 11
            sed 's/"session":"{session}"/"session":"another"/' issuer.log >forged.log
            verify forged.log && exit 12
            verify forged.log | grep -q '^Changed'
            "#,
            system = system_namespace(),
            exeat = program.display(),
        );
        shell(&script).await?.ok()?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn people_decide_by_the_command_line() -> Result {
    in_namespace("cli-people", async |ns| {
        let mut policy = kubernetes_policy("pods", &ns.name, &["list pods"]);
        let rules =
            json!([{"name": "lists", "actions": ["list pods"], "required": [{"group": "security", "count": 1}]}]);
        policy.spec.approval_rules = serde_json::from_value(rules)?;
        policy.spec.owners = serde_json::from_value(json!([{"user": "olga"}]))?;
        ns.ready(policy).await?;
        ns.create(&fleet(1, "sleep 86400")?).await?;
        let name = wait_for("people are asked", 60, async || {
            let list: Value = serde_json::from_str(&within(&ns, &["approvals", "-o", "json"]).await?.ok()?)?;
            let name = list["items"][0]["metadata"]["name"].as_str().map(str::to_owned);
            name.ok_or_else(|| exeat_e2e::Failure::new("nothing waits"))
        })
        .await?;
        ends(&within(&ns, &["approvals"]).await?, 0, &[&name, "Deployment/fleet", "1 of security", "first"])?;
        let explain = ["explain", "deployment", "fleet"];
        ends(
            &within(&ns, &explain).await?,
            DENIED,
            &["NobodyCanApprove", "--clusterrole=exeat-approver --group=security"],
        )?;

        let decide = async |user: &str, group: &str, verb: &str| {
            within(&ns, &["--as", user, "--as-group", group, verb, &name, "-m", "as planned", "--yes"]).await
        };
        ns.bind("ann", "ClusterRole", "exeat-approver").await?;
        ns.bind("olga", "ClusterRole", "exeat-approver").await?;
        ns.bind("vera", "ClusterRole", "view").await?;
        wait_for("a viewer is told which verb is missing", 30, async || {
            ends(&decide("vera", "security", "approve").await?, DENIED, &["lack the verb approve"])
        })
        .await?;
        ends(&decide("ann", "team", "approve").await?, DENIED, &["in none of the groups that are asked: security"])?;
        ends(&decide("olga", "security", "approve").await?, DENIED, &["somebody else approves"])?;
        let yes = decide("ann", "security", "approve").await?;
        ends(&yes, 0, &["list pods on", "approved by ann"])?;
        wait_for("the session opens", 60, async || {
            ensure!(of_phase(&ns, Phase::Active).await?.len() == 1, "not yet");
            Ok(())
        })
        .await?;
        ends(&decide("ann", "security", "approve").await?, DENIED, &["you have said so already"])?;
        ends(&decide("ann", "security", "deny").await?, 0, &["denied by ann"])?;
        wait_for("what rests on it ends", 60, async || {
            ensure!(of_phase(&ns, Phase::Active).await?.is_empty(), "it is active");
            ends(&within(&ns, &["approvals", "--all"]).await?, 0, &[&name, "Withdrawn"])
        })
        .await
    })
    .await
}
