//! `policy lint`: what the API server and the webhook would say, without a cluster; with one, its own word too.

use super::{LintArgs, schema, server};
use crate::args::Global;
use crate::client::Cluster;
use crate::error::{Error, Exit};
use crate::files::{self, Document};
use crate::output::{Out, Tone};
use exeat_crds::reason::Reason;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, authority};
use exeat_webhook::validate::{self, Findings};
use kube::{CustomResourceExt, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is found in one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// File, and place in it.
    pub place: String,
    /// Kind and name.
    pub object: String,
    /// Why it would be refused, or grant nothing.
    pub errors: Vec<String>,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Judges everything of ours in `documents`. Policies are resolved against `providers`; with none given, whether theirs exists is left
/// open.
pub fn judge(documents: &[Document], providers: Option<&[CredentialProvider]>) -> Vec<Report> {
    let in_files: Vec<CredentialProvider> = documents.iter().filter_map(|d| d.read().ok().flatten()).collect();
    let known: Vec<&CredentialProvider> = providers.unwrap_or_default().iter().chain(&in_files).collect();
    let complete = providers.is_some();
    let reports = documents.iter().filter_map(|document| {
        if document.is::<AgentCredentialPolicy>() {
            Some(report(document, |found| policy(found, &known, complete)))
        } else if document.is::<CredentialProvider>() {
            Some(report(document, validate::provider))
        } else {
            None
        }
    });
    reports.collect()
}

/// What the definition says of an object, and what `rules` do once it can be read. Of a field that both speak of, `rules` know more.
fn report<K>(document: &Document, rules: impl FnOnce(&K) -> Findings) -> Report
where
    K: Resource<DynamicType = ()> + CustomResourceExt + DeserializeOwned,
{
    let judged = schema::judge::<K>(&document.value);
    let (findings, unread) = match document.read::<K>() {
        Ok(found) => (found.as_ref().map(rules).unwrap_or_default(), None),
        Err(error) => (Findings::default(), Some(error.to_string()).filter(|_| judged.faults.is_empty())),
    };
    let told = |path: &str| findings.errors.iter().any(|error| error.message.starts_with(&format!("{path}: ")));
    let faults = judged.faults.iter().filter(|fault| !told(&fault.path));
    let faults = faults.map(|fault| format!("{}: {}: {}", fault.code, fault.path, fault.message));
    let name = document.value["metadata"]["name"].as_str().unwrap_or_default();
    Report {
        place: document.place.clone(),
        object: format!("{}/{name}", K::kind(&())),
        errors: faults.chain(unread).chain(findings.errors.iter().map(ToString::to_string)).collect(),
        warnings: findings.warnings.iter().map(ToString::to_string).chain(judged.untold).collect(),
    }
}

fn policy(policy: &AgentCredentialPolicy, providers: &[&CredentialProvider], complete: bool) -> Findings {
    let provider = providers.iter().find(|p| p.name_any() == policy.spec.provider_ref.name).copied();
    let mut findings = validate::policy(policy, provider);
    if provider.is_none() && !complete {
        findings.warnings.retain(|warning| warning.reason != Reason::ProviderNotFound);
        return findings;
    }
    if findings.errors.is_empty()
        && let Err(problem) = authority::resolve(policy, provider)
    {
        findings.warnings.retain(|warning| warning.reason != problem.reason);
        findings.errors.push(problem);
    }
    findings
}

/// `policy lint`.
///
/// # Errors
/// A file that can't be read; with `--server`, a cluster that does not answer.
pub async fn run(global: &Global, args: &LintArgs, out: &mut Out<'_>) -> Result<Exit, Error> {
    let mut documents = Vec::new();
    for file in &args.files {
        documents.extend(files::read(file)?);
    }
    documents.retain(|one| one.is::<AgentCredentialPolicy>() || one.is::<CredentialProvider>());
    if documents.is_empty() {
        return Err(Error::Usage(
            "there is no AgentCredentialPolicy and no CredentialProvider in these files".to_owned(),
        ));
    }
    if let Some(namespace) = &global.namespace {
        documents.iter_mut().for_each(|document| place_in(namespace, document));
    }
    let providers = args.provider.as_deref().map(files::providers).transpose()?;
    let mut reports = judge(&documents, providers.as_deref());
    if args.server {
        let cluster = Cluster::connect(global).await?;
        for (document, report) in documents.iter().zip(&mut reports) {
            report.errors.extend(server::refusal(&cluster, document).await?.map(|said| format!("Server: {said}")));
        }
    }
    let failed = reports.iter().any(|report| !report.errors.is_empty());
    if out.is_data() {
        out.data(&reports)?;
    } else {
        for report in &reports {
            show(report, out)?;
        }
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// A policy whose file names no namespace is meant for this one.
fn place_in(namespace: &str, document: &mut Document) {
    if document.is::<AgentCredentialPolicy>()
        && let Some(metadata) = document.value["metadata"].as_object_mut()
    {
        metadata.entry("namespace").or_insert_with(|| namespace.into());
    }
}

fn show(report: &Report, out: &mut Out<'_>) -> Result<(), Error> {
    let verdict =
        if report.errors.is_empty() { out.paint.on(Tone::Good, "ok") } else { out.paint.on(Tone::Bad, "fail") };
    out.text(&format!("{verdict}  {}  {}\n", report.object, report.place))?;
    for error in &report.errors {
        out.text(&format!("    {}  {error}\n", out.paint.on(Tone::Bad, "error")))?;
    }
    for warning in &report.warnings {
        out.text(&format!("    {}  {warning}\n", out.paint.on(Tone::Warn, "warning")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::call::tests::{policy, provider};

    fn found(policy: AgentCredentialPolicy) -> Document {
        Document { place: "p.yaml".into(), value: serde_json::to_value(policy).unwrap() }
    }

    #[test]
    fn without_a_provider_its_absence_is_no_fault_and_with_one_the_policy_must_resolve() {
        let mut wide = policy();
        wide.spec.allow[0].actions.push("ec2:RunInstances".into());
        assert_eq!(judge(&[found(wide.clone())], None)[0].errors, Vec::<String>::new());
        assert_eq!(judge(&[found(policy())], Some(&[provider()]))[0].errors, Vec::<String>::new());
        let errors = &judge(&[found(wide)], Some(&[provider()]))[0].errors;
        assert!(errors[0].starts_with("ActionNotAllowed: spec.allow[0].actions[1]"), "{errors:?}");
        let errors = &judge(&[found(policy())], Some(&[]))[0].errors;
        assert!(errors[0].starts_with("ProviderNotFound"), "{errors:?}");
    }

    #[test]
    fn all_faults_are_told_at_once_and_each_field_once() {
        let mut bad = policy();
        bad.spec.allow[0].actions = vec!["ListBucket".into(), "*".into()];
        bad.spec.session.duration = Some("1m".into());
        let mut found = found(bad);
        found.value["spec"]["sesion"] = serde_json::json!({});
        let errors = &judge(&[found], None)[0].errors;
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(errors[0].starts_with("FieldUnknown: spec.sesion: "), "{errors:?}");
        assert_eq!(errors.iter().filter(|error| error.contains("spec.session.duration")).count(), 1, "{errors:?}");
    }

    #[test]
    fn what_can_t_be_read_as_its_kind_is_told_by_its_fields() {
        let mut found = found(policy());
        found.value["spec"]["allow"] = serde_json::json!("all");
        found.value["spec"].as_object_mut().unwrap().remove("principal");
        let errors = &judge(&[found], None)[0].errors;
        assert!(errors.len() == 2 && errors[0].starts_with("FieldMissing: spec.principal: "), "{errors:?}");
    }
}
