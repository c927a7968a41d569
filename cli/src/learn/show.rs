//! What was learnt, for people. Pure.

use super::Learnt;
use crate::error::Error;
use crate::output::{Cell, Paint, Table, Tone, time};
use crate::sessions::show::Lines;
use exeat_crds::v1alpha1::Suggested;
use exeat_crds::{AgentCredentialPolicy, names, text};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What was seen, what to know, and the policy.
pub(super) fn describe(
    policy: &AgentCredentialPolicy,
    suggested: &Suggested,
    learnt: &Learnt,
    now: Timestamp,
    paint: Paint,
) -> Result<String, Error> {
    let mut lines = Lines::default();
    let ago = |at: &str| at.parse().map_or_else(|_| "?".to_owned(), |at| time::age(at, now));
    let namespace = policy.namespace().unwrap_or_default();
    lines.field("Policy", format!("{} in namespace {namespace}, mode {:?}", policy.name_any(), policy.spec.mode));
    lines.field("Principal", &suggested.principal);
    lines.field("Observed", format!("since {}, for {}", suggested.since, observed_for(suggested)));
    lines.field("Last told", format!("{} ago", ago(&suggested.last_seen)));
    lines.field("By", format!("{} sessions", suggested.sessions));
    lines.list("Workloads", suggested.workloads.iter().cloned());
    let mut table = Table::new(&["ACTION", "RESOURCE", "CALLS", "DENIED", "PODS", "LAST SEEN", "SURE"], &[]);
    for used in &suggested.actions {
        let sure = if used.unsure { Cell::new("no").tone(Tone::Warn) } else { "yes".into() };
        table.row(vec![
            used.action.as_str().into(),
            used.resource.as_deref().unwrap_or("not seen").into(),
            used.calls.to_string().into(),
            used.denied.to_string().into(),
            used.pods.to_string().into(),
            ago(&used.last_seen).into(),
            sure,
        ]);
    }
    let yaml = serde_saphyr::to_string(&object(&learnt.policy)).map_err(|error| Error::Format(error.to_string()))?;
    // Names in it were read by the API server; texts of pods could hold anything.
    let yaml: String = yaml.lines().map(|line| format!("{}\n", text::strip_hidden(line))).collect();
    let notes = notes(&learnt.notes);
    let notes = if notes.is_empty() { notes } else { format!("\n{notes}") };
    Ok(format!("{}\n{}{notes}\nThe smallest policy for it:\n{yaml}", lines.finish(), table.render(false, paint)))
}

fn observed_for(suggested: &Suggested) -> String {
    match (suggested.since.parse(), suggested.last_seen.parse()) {
        (Ok(since), Ok(last)) => time::age(since, last),
        _ => "?".to_owned(),
    }
}

/// A line for each.
pub(super) fn notes(notes: &[String]) -> String {
    notes.iter().map(|note| format!("! {}\n", text::strip_hidden(note))).collect()
}

/// What is left to say.
pub(super) fn last_words(policy: &AgentCredentialPolicy) -> String {
    format!(
        "\nThis is what processes of the pods said that they use, and only as far as their SDKs say so: rare work may be missing, and an agent can \
         lie. Read it, then: kubectl exeat learn {} -n {} -o yaml | kubectl apply -f -\n",
        policy.name_any(),
        policy.namespace().unwrap_or_default()
    )
}

/// The policy as its author would write it.
pub(super) fn object(policy: &AgentCredentialPolicy) -> Value {
    let mut metadata = json!({"name": policy.name_any(), "namespace": policy.namespace()});
    let kept = |all: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let own = |key: &&String| !key.starts_with(names::ANNOTATION_PREFIX) && *key != LAST_APPLIED;
        all.keys().filter(own).filter_map(|key| Some((key.clone(), all.get(key)?.clone()))).collect()
    };
    for (field, all) in [("labels", policy.labels()), ("annotations", policy.annotations())] {
        let kept = kept(all);
        if !kept.is_empty() {
            metadata[field] = json!(kept);
        }
    }
    json!({
        "apiVersion": "exeat.dev/v1alpha1",
        "kind": "AgentCredentialPolicy",
        "metadata": metadata,
        "spec": policy.spec,
    })
}
