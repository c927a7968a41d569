//! `policy lint`: what the webhook would say, without a cluster.

use super::LintArgs;
use crate::error::{Error, Exit};
use crate::files::{self, Found, Object};
use crate::output::{Out, Tone};
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, authority};
use exeat_webhook::validate::{self, Findings};
use kube::ResourceExt;
use serde::Serialize;

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

/// Judges everything in `found`. Policies are resolved against `providers`; with none given, whether theirs exists is left open.
pub fn judge(found: &[Found], providers: Option<&[CredentialProvider]>) -> Vec<Report> {
    let in_files = found.iter().filter_map(|f| match &f.object {
        Object::Provider(provider) => Some(provider.as_ref()),
        _ => None,
    });
    let known: Vec<&CredentialProvider> = providers.unwrap_or_default().iter().chain(in_files).collect();
    let complete = providers.is_some();
    let reports = found.iter().filter_map(|f| {
        let (object, mut findings) = match &f.object {
            Object::Policy(p) => (format!("AgentCredentialPolicy/{}", p.name_any()), policy(p, &known, complete)),
            Object::Provider(p) => (format!("CredentialProvider/{}", p.name_any()), validate::provider(p)),
            Object::Other(_) => return None,
        };
        findings.errors.extend(f.unknown.iter().map(|path| {
            Refused::new(
                Reason::ProviderRejected,
                format!("{path}: there is no such field; `kubectl explain` lists those that there are"),
            )
        }));
        let texts = |refused: &[Refused], unknown: usize| {
            let split = refused.len() - unknown;
            let told = refused[..split].iter().map(ToString::to_string);
            told.chain(refused[split..].iter().map(|r| format!("FieldUnknown: {}", r.message))).collect()
        };
        Some(Report {
            place: f.place.clone(),
            object,
            errors: texts(&findings.errors, f.unknown.len()),
            warnings: texts(&findings.warnings, 0),
        })
    });
    reports.collect()
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
/// A file that can't be read.
pub fn run(args: &LintArgs, namespace: Option<&str>, out: &mut Out<'_>) -> Result<Exit, Error> {
    let mut found = Vec::new();
    for file in &args.files {
        found.extend(files::read(file)?);
    }
    for one in &mut found {
        if let Object::Policy(policy) = &mut one.object
            && policy.metadata.namespace.is_none()
        {
            policy.metadata.namespace = namespace.map(str::to_owned);
        }
    }
    let providers = args.provider.as_deref().map(files::providers).transpose()?;
    let reports = judge(&found, providers.as_deref());
    if reports.is_empty() {
        return Err(Error::Usage(
            "there is no AgentCredentialPolicy and no CredentialProvider in these files".to_owned(),
        ));
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

    fn found(policy: AgentCredentialPolicy) -> Found {
        Found { place: "p.yaml".into(), object: Object::Policy(Box::new(policy)), unknown: Vec::new() }
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
    fn all_faults_are_told_at_once() {
        let mut bad = policy();
        bad.spec.allow[0].actions = vec!["ListBucket".into(), "*".into()];
        bad.spec.session.duration = Some("1m".into());
        let mut found = found(bad);
        found.unknown = vec!["spec.sesion".into()];
        let errors = &judge(&[found], None)[0].errors;
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(errors[3].starts_with("FieldUnknown: spec.sesion"), "{errors:?}");
    }
}
