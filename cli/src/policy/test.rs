//! `policy test`: would this call be allowed?

use super::{TestArgs, call};
use crate::error::{Error, Exit};
use crate::files;
use crate::output::{Out, Paint, Tone};
use call::CallVerdict;
use exeat_crds::rules::{self, Call};
use exeat_crds::text::strip_hidden;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, authority};
use kube::ResourceExt;
use std::collections::BTreeMap;

/// What is said of the pod that would make the call.
#[derive(Clone, Debug, Default)]
pub struct Caller<'a> {
    /// Its service account; without one it is not asked whether the policy covers the pod.
    pub service_account: Option<&'a str>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it asks for.
    pub narrowing: Option<&'a str>,
}

/// Judges a call.
///
/// # Errors
/// A call or a narrowing that can't be read.
pub fn judge(
    policy: &AgentCredentialPolicy,
    provider: Option<&CredentialProvider>,
    caller: &Caller<'_>,
    wanted: Call<'_>,
) -> Result<CallVerdict, Error> {
    let refused = |problem: exeat_crds::reason::Refused| CallVerdict {
        allowed: false,
        because: problem.to_string(),
        fix: None,
        approvals: Vec::new(),
    };
    let authority = match authority::resolve(policy, provider) {
        Ok(authority) => authority,
        Err(problem) => return Ok(refused(problem)),
    };
    call::check_action(authority.kind, wanted.action).map_err(Error::Usage)?;
    if let Some(account) = caller.service_account
        && let Err(problem) = authority::covers_pod(policy, account, &caller.labels)
    {
        let by_labels = caller.labels.is_empty() && policy.spec.subjects.service_accounts.iter().any(|a| a == account);
        let fix = by_labels.then(|| "say which labels the pod has: --labels KEY=VALUE,…".to_owned());
        return Ok(CallVerdict { fix, ..refused(problem) });
    }
    let narrowing = caller
        .narrowing
        .map(rules::parse_narrowing)
        .transpose()
        .map_err(|error| Error::Usage(format!("--narrowing: {error}")))?;
    // Without an account it is what all have in common.
    let Some(account) =
        caller.service_account.or_else(|| authority.principals.distinct().first().map(|(account, _)| *account))
    else {
        return Err(Error::Usage("spec.subjects.serviceAccounts: it is empty".to_owned()));
    };
    Ok(call::judge(&authority, account, narrowing.as_deref(), wanted).unwrap_or_else(refused))
}

/// `policy test`.
///
/// # Errors
/// A file or a call that can't be read.
pub fn run(args: &TestArgs, namespace: Option<&str>, out: &mut Out<'_>) -> Result<Exit, Error> {
    let mut policy = files::policy(&args.file)?;
    if let Some(namespace) = namespace {
        policy.metadata.namespace.get_or_insert_with(|| namespace.to_owned());
    }
    if policy.metadata.namespace.is_none() {
        let file = args.file.display();
        return Err(Error::Usage(format!(
            "{file}: metadata.namespace is missing, and a provider serves namespaces; give --namespace"
        )));
    }
    let providers = files::providers(&args.provider)?;
    let provider = providers.iter().find(|p| p.name_any() == policy.spec.provider_ref.name);
    let wanted = Call { action: &args.call.action, resource: &args.call.resource };
    let caller = Caller {
        service_account: args.service_account.as_deref(),
        labels: args.labels.iter().cloned().collect(),
        narrowing: args.narrowing.as_deref(),
    };
    let verdict = judge(&policy, provider, &caller, wanted)?;
    if out.is_data() {
        out.data(&verdict)?;
    } else {
        out.text(&words(&verdict, out.paint))?;
    }
    Ok(if verdict.allowed { Exit::Done } else { Exit::Denied })
}

fn words(verdict: &CallVerdict, paint: Paint) -> String {
    let word = if verdict.allowed { paint.on(Tone::Good, "allowed") } else { paint.on(Tone::Bad, "not allowed") };
    let mut text = format!("{word}: {}\n", strip_hidden(&verdict.because));
    if let Some(fix) = &verdict.fix {
        text += &format!("  fix: {}\n", strip_hidden(fix));
    }
    for approval in &verdict.approvals {
        text += &format!("  people must approve the grant: {}\n", strip_hidden(approval));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::call::tests::{policy, provider};

    const GET: Call<'static> = Call { action: "s3:GetObject", resource: "arn:aws:s3:::reports/a" };

    #[test]
    fn what_a_file_says_forges_no_line() {
        let forged = || "r\n\u{1b}[32mallowed: everything".to_owned();
        let verdict =
            CallVerdict { allowed: false, because: forged(), fix: Some(forged()), approvals: vec![forged(), forged()] };
        let text = words(&verdict, Paint(false));
        assert!(text.lines().count() == 4 && !text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn account_provider_and_narrowing_are_judged_too() {
        let told = |provider: Option<&CredentialProvider>, service_account, narrowing| {
            let caller = Caller { service_account, narrowing, ..Caller::default() };
            judge(&policy(), provider, &caller, GET).unwrap()
        };
        assert!(told(Some(&provider()), Some("report-agent"), None).allowed);
        assert!(told(Some(&provider()), Some("other"), None).because.starts_with("PodNotCovered"));
        assert!(told(None, None, None).because.starts_with("ProviderNotFound"));
        let narrowed = told(Some(&provider()), None, Some("s3:GetObject on arn:aws:s3:::reports/b"));
        assert!(!narrowed.allowed && narrowed.because.contains("asks for less"), "{narrowed:?}");
        let wanted = Call { action: "GetObject", ..GET };
        let bad = judge(&policy(), Some(&provider()), &Caller::default(), wanted).unwrap_err();
        assert_eq!(bad.exit(), Exit::Usage);
    }
}
