//! What is measured and recorded of what people are asked.

use exeat_crds::Approval;
use exeat_e2e::{Failure, Result, Scope, ensure, exeat, now, system, wait_for};
use kube::ResourceExt;
use serde_json::Value;

const PENDING: &str = "exeat_approvals_pending";
const OLDEST: &str = "exeat_approvals_oldest_pending_seconds";
const DECIDED: &str = "exeat_approval_decision_seconds";

/// Questions that were answered with yes, and how long people took for all of them.
pub(crate) struct Decided {
    count: f64,
    sum: f64,
    asked: jiff::Timestamp,
}

/// A series over the replicas: only the leader has seen anything.
fn total(metrics: &[String], series: &str) -> f64 {
    let value = |text: &String| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok())
    };
    metrics.iter().filter_map(value).sum()
}

async fn metrics(ns: &Scope) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for pod in system::pods(&ns.client, "controller").await? {
        all.push(system::get(&ns.client, &pod.name_any(), "/metrics").await?);
    }
    Ok(all)
}

fn decided(metrics: &[String], asked: jiff::Timestamp) -> Decided {
    let of = |part: &str| total(metrics, &format!("{DECIDED}_{part}{{phase=\"Approved\"}}"));
    Decided { count: of("count"), sum: of("sum"), asked }
}

/// While a question waits. Other stories ask, too: what waits is at least this one, and the oldest is at least as old.
pub(crate) async fn waits_are_counted(ns: &Scope, approval: &Approval) -> Result<Decided> {
    let asked = approval.creation_timestamp().ok_or_else(|| Failure::new("it was never made"))?.0;
    wait_for("the question is counted", 20, async || {
        let metrics = metrics(ns).await?;
        let (pending, oldest) = (total(&metrics, PENDING), total(&metrics, OLDEST));
        // The gauge is set every five seconds, and the API server's times are whole seconds.
        let age = now().duration_since(asked).as_secs_f64() - 7.0;
        ensure!(pending >= 1.0 && oldest > 0.0 && oldest >= age, "{pending} wait, the oldest for {oldest} s of {age}");
        Ok(decided(&metrics, asked))
    })
    .await
}

/// Once it is approved: one more, and the time that people took for it.
pub(crate) async fn decisions_are_timed(ns: &Scope, before: &Decided) -> Result {
    let took = now().duration_since(before.asked).as_secs_f64();
    let after = decided(&metrics(ns).await?, before.asked);
    let (more, seconds) = (after.count - before.count, after.sum - before.sum);
    // Of other stories' questions some may be among them.
    ensure!(more >= 1.0 && seconds > 0.0 && (more > 1.0 || seconds <= took), "{more} more in {seconds} s of {took}");
    Ok(())
}

/// Who approved, under which approval, and which credential: to who reads with the right to see our logs.
pub(crate) async fn the_auditor_is_shown(ns: &Scope, session: &str, approval: &str) -> Result {
    wait_for("the auditor is shown who approved, and the credential", 30, async || {
        let shown = exeat(&["audit", "show", session, "-n", &ns.name, "-o", "json"]).await?.ok()?;
        let all: Vec<Value> = serde_json::from_str(&shown)?;
        let has = |event: &str, field: &str, value: Option<&str>| {
            let meant = |one: &&Value| one["event"] == event && one["source"] != "event";
            all.iter().filter(meant).any(|one| match value {
                Some(value) => one[field] == value,
                None => one[field].as_str().is_some_and(|id| !id.is_empty()),
            })
        };
        ensure!(has("ApprovalRequested", "approval", Some(approval)), "what was asked: {shown}");
        ensure!(has("ApprovalDecided", "approver", Some("ann")), "who approved: {shown}");
        ensure!(has("SessionActivated", "approval", Some(approval)), "what it rests on: {shown}");
        ensure!(has("CredentialsIssued", "credentialID", None), "which credential: {shown}");
        Ok(())
    })
    .await?;
    let table = exeat(&["audit", "show", session, "-n", &ns.name]).await?.ok()?;
    ensure!(table.contains("APPROVER") && table.contains("ann approves: ticket 4711"), "{table}");
    Ok(())
}
