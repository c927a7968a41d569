//! The dialect of S3-compatible servers, held against MinIO (its `policy` package): only actions of S3 that the server knows, in their
//! own case; no `NotAction`; and a call on a bucket is judged as `bucket/`, where AWS judges `bucket`. Without `NotAction`,
//! other actions are not denied in words, only not allowed: these servers have no resource policies that name a session.
//!
//! MinIO judges a read of an object's version as `s3:GetObject`; that it is no action of its own there can't be helped by a document.
//!
//! Where the servers would read a pattern wider or narrower than AWS does, it is rewritten, or refused with the reason.

use super::DocumentError;
use crate::reason::Reason;
use crate::rules::action::aws::{Action, Resource};
use crate::rules::glob::{self, Case};

/// Every bucket and object.
pub(super) const EVERYTHING: &str = "arn:aws:s3:::*";
const PREFIX: &str = "arn:aws:s3:::";

/// MinIO reads this action as one that allows and denies `GetObject` too, but only where it is written out.
const VERSION: &str = "GetObjectVersion";
const VERSION_PATTERN: &str = "GetObjectVersio?";

/// Names of the S3 actions that S3-compatible servers know, in their case.
pub const ACTIONS: [&str; 59] = [
    "AbortMultipartUpload",
    "BypassGovernanceRetention",
    "CreateBucket",
    "DeleteBucket",
    "DeleteBucketCors",
    "DeleteBucketPolicy",
    "DeleteObject",
    "DeleteObjectTagging",
    "DeleteObjectVersion",
    "DeleteObjectVersionTagging",
    "ForceDeleteBucket",
    "GetBucketCors",
    "GetBucketLocation",
    "GetBucketNotification",
    "GetBucketObjectLockConfiguration",
    "GetBucketPolicy",
    "GetBucketPolicyStatus",
    "GetBucketTagging",
    "GetBucketVersioning",
    "GetEncryptionConfiguration",
    "GetLifecycleConfiguration",
    "GetObject",
    "GetObjectAttributes",
    "GetObjectLegalHold",
    "GetObjectRetention",
    "GetObjectTagging",
    "GetObjectVersion",
    "GetObjectVersionAttributes",
    "GetObjectVersionForReplication",
    "GetObjectVersionTagging",
    "GetReplicationConfiguration",
    "HeadBucket",
    "ListAllMyBuckets",
    "ListBucket",
    "ListBucketMultipartUploads",
    "ListBucketVersions",
    "ListMultipartUploadParts",
    "ListenBucketNotification",
    "ListenNotification",
    "PutBucketCors",
    "PutBucketNotification",
    "PutBucketObjectLockConfiguration",
    "PutBucketPolicy",
    "PutBucketTagging",
    "PutBucketVersioning",
    "PutEncryptionConfiguration",
    "PutLifecycleConfiguration",
    "PutObject",
    "PutObjectFanOut",
    "PutObjectLegalHold",
    "PutObjectRetention",
    "PutObjectTagging",
    "PutObjectVersionTagging",
    "PutReplicationConfiguration",
    "ReplicateDelete",
    "ReplicateObject",
    "ReplicateTags",
    "ResetBucketReplicationState",
    "RestoreObject",
];

/// The known actions.
pub(super) fn known() -> impl Iterator<Item = Action> {
    ACTIONS.into_iter().map(exact)
}

fn exact(name: &str) -> Action {
    Action::new("s3", name)
}

/// An action as it stands in the document. Only there: to the rules the pattern is another one, which no `Get*ion` contains.
pub(super) fn written(action: &Action) -> String {
    if action.name() == VERSION { format!("s3:{VERSION_PATTERN}") } else { action.text() }
}

/// What the servers call this action.
pub(super) fn actions(action: &Action) -> Result<Vec<Action>, DocumentError> {
    if action.service() != "s3" {
        return Err(DocumentError::new(
            Reason::ActionInvalid,
            format!("{:?} is no action of S3, and the provider's dialect is S3Compatible", action.text()),
            "use actions of s3, or a provider with dialect AWS",
        ));
    }
    let named = named(action);
    if named.is_empty() {
        return Err(DocumentError::new(
            Reason::ActionInvalid,
            format!("{:?} names no action that S3-compatible servers know", action.text()),
            "use one that they know, for instance s3:GetObject, s3:PutObject or s3:ListBucket",
        ));
    }
    Ok(named)
}

/// What the servers call an action that is denied. A pattern that meets S3 only through a wildcard service may name nothing there.
pub(super) fn denied(action: &Action, written_for_s3: bool) -> Result<Vec<Action>, DocumentError> {
    if written_for_s3 { actions(action) } else { Ok(named(action)) }
}

fn named(action: &Action) -> Vec<Action> {
    let named: Vec<&str> = ACTIONS.into_iter().filter(|name| action.covers(&format!("s3:{name}"))).collect();
    let as_written = |name: &&str| glob::matches(action.name(), name, Case::Sensitive);
    if !named.is_empty() && !action.is_literal() && named.iter().all(as_written) {
        return vec![Action::new("s3", action.name())];
    }
    named.into_iter().map(exact).collect()
}

/// Length of a document as MinIO counts it: after writing it again, where a list of one stays a list and `&`, `<` and `>` are escaped.
pub(super) fn size(document: &str) -> usize {
    const ESCAPED: usize = r"\u0026".len();
    document.chars().map(|c| if matches!(c, '&' | '<' | '>') { ESCAPED } else { 1 }).sum()
}

/// What the servers call this resource.
pub(super) fn resources(resource: &Resource) -> Result<Vec<Resource>, DocumentError> {
    let text = resource.text();
    if text == "*" {
        return Ok(vec![Resource::parse(EVERYTHING)?]);
    }
    let Some(path) = text.strip_prefix(PREFIX) else {
        return Err(refused(text, "names no bucket or object", "write arn:aws:s3:::bucket or arn:aws:s3:::bucket/key"));
    };
    let mut path = path.to_owned();
    while path.contains("**") {
        path = path.replace("**", "*");
    }
    let rewritten = match path.split_once('/') {
        Some((_, "")) => {
            return Err(refused(text, "ends with a slash", "write the bucket without it, or /* for its objects"));
        }
        Some((bucket, "*")) => vec![format!("{bucket}/?*")],
        Some(_) => vec![path],
        None => bucket(text, path)?,
    };
    rewritten.into_iter().map(|path| Resource::parse(&format!("{PREFIX}{path}")).map_err(DocumentError::from)).collect()
}

/// A pattern without a slash. The slash that the servers put behind a bucket's name must be matched by nothing but a `*` at the end, or
/// by a slash of its own.
fn bucket(text: &str, path: String) -> Result<Vec<String>, DocumentError> {
    let literal_before = |tail: &str| path.strip_suffix(tail).is_some_and(|head| !head.ends_with('?'));
    if path == "*" || !path.contains(['*', '?']) || literal_before("*") {
        return Ok(vec![path]);
    }
    if path.contains('*') || path.ends_with('?') {
        return Err(refused(
            text,
            "holds a wildcard that S3-compatible servers would read differently from AWS for the bucket itself",
            "let a pattern of buckets end with letters and *, or write the buckets out",
        ));
    }
    Ok(vec![path.clone(), format!("{path}/")])
}

fn refused(text: &str, problem: &str, fix: &str) -> DocumentError {
    DocumentError::new(
        Reason::ResourceInvalid,
        format!("{text:?} {problem}, and the provider's dialect is S3Compatible"),
        fix,
    )
}
