//! `AdmissionReview` v1 in and out (admission.k8s.io/v1).

use exeat_crds::reason::Refused;
use json_patch::Patch;
use k8s_openapi::ByteString;
use kube::core::admission::{
    AdmissionRequest, AdmissionResponse, AdmissionReview, META_API_VERSION_V1, META_KIND, PatchType,
};
use kube::core::{DynamicObject, response::StatusSummary};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::message;

/// What the API server asks.
pub(super) type Request = AdmissionRequest<DynamicObject>;

/// A body that is no admission review.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadReview {
    #[error("the body is no AdmissionReview of {META_API_VERSION_V1}: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the body is a {kind:?} of {api_version:?}; this path takes an {META_KIND:?} of {META_API_VERSION_V1:?}")]
    Kind { kind: String, api_version: String },
    #[error("the AdmissionReview holds no request")]
    NoRequest,
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// As it is, with advice.
    Allow(Vec<String>),
    /// Changed, with advice.
    Patch(Patch, Vec<String>),
    /// Refused for what the object says.
    Refuse(Vec<Refused>),
    /// Refused for what the cluster's rules say, or for what the user may not do.
    Forbid(Vec<Refused>),
    /// Refused for now.
    Unavailable(String),
    /// The object is not of a kind that this path judges.
    Unexpected(String),
}

impl Answer {
    /// Label of the metric.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Allow(warnings) if warnings.is_empty() => "allowed",
            Self::Allow(_) => "warned",
            Self::Patch(..) => "patched",
            Self::Refuse(_) | Self::Forbid(_) => "refused",
            Self::Unavailable(_) => "unavailable",
            Self::Unexpected(_) => "unexpected",
        }
    }
}

/// Reads a request.
pub(super) fn decode(body: &[u8]) -> Result<Request, BadReview> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body)?;
    if review.types.kind != META_KIND || review.types.api_version != META_API_VERSION_V1 {
        return Err(BadReview::Kind { kind: review.types.kind, api_version: review.types.api_version });
    }
    review.try_into().map_err(|_| BadReview::NoRequest)
}

/// The answer as the API server takes it. Codes below 400 would be turned into 400.
pub(super) fn encode(request: &Request, answer: Answer) -> Value {
    let mut response = AdmissionResponse::from(request);
    let mut patch = None;
    match answer {
        Answer::Allow(warnings) => response.warnings = some(warnings),
        Answer::Patch(operations, warnings) => {
            patch = Some(ByteString(json!(operations).to_string().into_bytes()));
            response.warnings = some(warnings);
        }
        Answer::Refuse(problems) => deny(&mut response, 422, "Invalid", message::all(&problems)),
        Answer::Forbid(problems) => deny(&mut response, 403, "Forbidden", message::all(&problems)),
        Answer::Unavailable(message) => deny(&mut response, 503, "ServiceUnavailable", message),
        Answer::Unexpected(message) => deny(&mut response, 400, "BadRequest", message),
    }
    let mut review = json!(response.into_review());
    // kube would write the patch as a list of numbers, four times as long.
    if let Some(patch) = patch {
        review["response"]["patch"] = json!(patch);
        review["response"]["patchType"] = json!(PatchType::JsonPatch);
    }
    review
}

fn some(warnings: Vec<String>) -> Option<Vec<String>> {
    Some(warnings).filter(|warnings| !warnings.is_empty())
}

fn deny(response: &mut AdmissionResponse, code: u16, reason: &str, message: String) {
    response.allowed = false;
    response.result.status = Some(StatusSummary::Failure);
    response.result.code = code;
    response.result.reason = reason.to_owned();
    response.result.message = message;
}

/// The object of a request as its type.
pub(super) fn object<K: DeserializeOwned>(object: Option<&DynamicObject>) -> Result<K, Answer> {
    let object = object.ok_or_else(|| Answer::Unexpected("the request holds no object".to_owned()))?;
    serde_json::to_value(object)
        .and_then(serde_json::from_value)
        .map_err(|error| Answer::Unexpected(format!("the object can't be read: {error}")))
}

/// The object's name, or the start of the one that it will be given.
pub(super) fn display_name(request: &Request) -> String {
    let generated = || request.object.as_ref().and_then(|object| object.metadata.generate_name.clone());
    Some(request.name.clone()).filter(|name| !name.is_empty()).or_else(generated).unwrap_or_default()
}
