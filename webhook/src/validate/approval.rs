use exeat_crds::Approval;
use exeat_crds::reason::Reason;

use super::Findings;
use crate::message::refused;

/// Judges an approval's fields. Who may decide is the admission policy's question, not this one's.
pub fn approval(approval: &Approval) -> Findings {
    let mut findings = Findings::default();
    let request = &approval.spec.request;
    findings.duration("spec.request.duration", Some(&request.duration));
    findings.duration("spec.request.validFor", Some(&request.valid_for));
    findings.duration("spec.request.coolDown", Some(&request.cool_down));
    findings.time("spec.request.deadline", &request.deadline);
    for (i, decision) in approval.spec.decisions.iter().enumerate() {
        let path = format!("spec.decisions[{i}]");
        if let Some(time) = &decision.time {
            findings.time(&format!("{path}.time"), time);
        }
        if decision.digest != request.digest {
            findings.errors.push(refused(
                Reason::GrantChanged,
                format_args!("{path}.digest"),
                "it is not the digest of this request",
                "read spec.request again and decide with its digest",
            ));
        }
    }
    findings
}
