//! The controller is away: nobody has noticed that a question's time is over.

use exeat_crds::Approval;
use exeat_crds::v1alpha1::{ApprovalPhase, Verdict};
use exeat_e2e::approvals::approval_phase;
use exeat_e2e::{Result, Scope, ensure, now, wait_for};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::json;

/// The deadline is compared when a word is written, whatever the phase says. To be called while no controller runs.
pub(crate) async fn the_deadline_is_compared_when_a_word_is_written(ns: &Scope) -> Result {
    let ann = ns.approver("ann", &["security"]).await?;
    let approval = ns.asked_for("late", json!([]), SignedDuration::from_secs(2)).await?;
    let deadline: Timestamp = approval.spec.request.deadline.parse()?;
    wait_for("the deadline is over", 10, async || {
        ensure!(now() > deadline, "until {deadline}");
        Ok(())
    })
    .await?;
    for word in [Verdict::Approve, Verdict::Deny] {
        let said = ann.says(ns, &approval, word, "late").await?.failed()?;
        ensure!(said.contains("people could decide until"), "{word:?}: {said}");
    }
    let seen = ns.api::<Approval>().get(&approval.name_any()).await?;
    assert_eq!((approval_phase(&seen), seen.spec.decisions), (ApprovalPhase::Pending, vec![]));
    Ok(())
}
