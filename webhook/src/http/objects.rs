//! `POST /validate`: our own kinds.

use exeat_crds::reason::{Reason, Refused};
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialProvider, CredentialSession, GROUP};
use kube::core::DynamicObject;
use kube::core::admission::Operation;

use super::App;
use super::review::{Answer, Request, object};
use crate::{access, message, stamp, validate};

pub(super) async fn validate(app: &App, request: &Request) -> Answer {
    if !matches!(request.operation, Operation::Create | Operation::Update) || request.sub_resource.is_some() {
        return Answer::Allow(Vec::new());
    }
    // Who takes a finalizer off an object must not be held up by what its spec says.
    if spec(request.object.as_ref()).is_some() && spec(request.object.as_ref()) == spec(request.old_object.as_ref()) {
        return Answer::Allow(Vec::new());
    }
    judge(app, request).await.unwrap_or_else(|answer| answer)
}

fn spec(object: Option<&DynamicObject>) -> Option<&serde_json::Value> {
    object?.data.get("spec")
}

async fn judge(app: &App, request: &Request) -> Result<Answer, Answer> {
    let new = request.object.as_ref();
    let kind = &request.kind;
    let findings = match (kind.group.as_str(), kind.kind.as_str()) {
        (GROUP, "CredentialProvider") => validate::provider(&object::<CredentialProvider>(new)?),
        (GROUP, "AgentCredentialPolicy") => policy(app, request).await?,
        (GROUP, "CredentialSession") => validate::session(&object::<CredentialSession>(new)?),
        (GROUP, "Approval") => approval(app, request)?,
        (group, kind) => {
            return Err(Answer::Unexpected(format!(
                "kind {kind:?} of group {group:?} is not judged here; mend the webhook configuration"
            )));
        }
    };
    if !findings.errors.is_empty() {
        return Err(Answer::Refuse(findings.errors));
    }
    Ok(Answer::Allow(findings.warnings.iter().map(|warning| message::header(&warning.to_string())).collect()))
}

/// The fields, and once more who may decide: by the very function that stamped the decision.
fn approval(app: &App, request: &Request) -> Result<validate::Findings, Answer> {
    let approval: Approval = object(request.object.as_ref())?;
    let mut findings = validate::approval(&approval);
    if findings.errors.is_empty() && request.operation == Operation::Update {
        let old: Approval = object(request.old_object.as_ref())?;
        let writer = stamp::writer(&request.user_info);
        findings.errors.extend(stamp::unstamped(&old, &approval, writer, app.clock.now()));
    }
    Ok(findings)
}

async fn policy(app: &App, request: &Request) -> Result<validate::Findings, Answer> {
    let policy: AgentCredentialPolicy = object(request.object.as_ref())?;
    let name = &policy.spec.provider_ref.name;
    let client = app.objects.client();
    let allowed = access::may_use(client, &request.user_info, name).await.map_err(|error| {
        Answer::Unavailable(format!(
            "whether you may use CredentialProvider {name:?} can't be found out ({error}); try again"
        ))
    })?;
    if !allowed {
        return Err(Answer::Forbid(vec![missing_right(request, name)]));
    }
    let provider = app.objects.provider(name).await.map_err(|error| Answer::Unavailable(error.to_string()))?;
    Ok(validate::policy(&policy, provider.as_ref()))
}

fn missing_right(request: &Request, provider: &str) -> Refused {
    let user = request.user_info.username.as_deref().unwrap_or_default();
    message::refused(
        Reason::ProviderUseForbidden,
        "spec.providerRef.name",
        format_args!(
            "{user:?} lacks the verb \"use\" on CredentialProvider {provider:?}, which writing a policy for it needs"
        ),
        format_args!(
            "a platform admin grants it by a ClusterRole with verbs [use], resources [credentialproviders], apiGroups [{GROUP}], resourceNames [{provider}]"
        ),
    )
}
