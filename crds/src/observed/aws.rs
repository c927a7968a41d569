//! Calls of AWS SDKs as actions of IAM. SDKs name an operation of a service's API; a policy names what IAM checks for it, by the Service
//! Authorization Reference. Mostly both are the same word; the tables hold where they are not.
//!
//! What no table knows is kept as `service:Operation`, and marked as unsure.

mod services;

use services::prefix;

/// Longest name of a service or operation.
const MAX_NAME: usize = 96;

/// What IAM checks for one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// `service:Name`; none for a call that needs no right.
    pub actions: Vec<String>,
    /// Whether this is but assumed.
    pub unsure: bool,
}

/// Operations that IAM knows by other words: of a service, by its prefix.
const OTHER_WORDS: [(&str, &str, &[&str]); 81] = [
    ("s3", "CompleteMultipartUpload", &["s3:PutObject"]),
    ("s3", "CopyObject", &["s3:GetObject", "s3:PutObject"]),
    ("s3", "CreateMultipartUpload", &["s3:PutObject"]),
    ("s3", "CreateSession", &["s3express:CreateSession"]),
    ("s3", "DeleteBucketAnalyticsConfiguration", &["s3:PutAnalyticsConfiguration"]),
    ("s3", "DeleteBucketCors", &["s3:PutBucketCORS"]),
    ("s3", "DeleteBucketEncryption", &["s3:PutEncryptionConfiguration"]),
    ("s3", "DeleteBucketIntelligentTieringConfiguration", &["s3:PutIntelligentTieringConfiguration"]),
    ("s3", "DeleteBucketInventoryConfiguration", &["s3:PutInventoryConfiguration"]),
    ("s3", "DeleteBucketLifecycle", &["s3:PutLifecycleConfiguration"]),
    ("s3", "DeleteBucketMetricsConfiguration", &["s3:PutMetricsConfiguration"]),
    ("s3", "DeleteBucketOwnershipControls", &["s3:PutBucketOwnershipControls"]),
    ("s3", "DeleteBucketReplication", &["s3:PutReplicationConfiguration"]),
    ("s3", "DeleteBucketTagging", &["s3:PutBucketTagging"]),
    ("s3", "DeleteObjects", &["s3:DeleteObject"]),
    ("s3", "DeletePublicAccessBlock", &["s3:PutBucketPublicAccessBlock"]),
    ("s3", "GetBucketAccelerateConfiguration", &["s3:GetAccelerateConfiguration"]),
    ("s3", "GetBucketAnalyticsConfiguration", &["s3:GetAnalyticsConfiguration"]),
    ("s3", "GetBucketCors", &["s3:GetBucketCORS"]),
    ("s3", "GetBucketEncryption", &["s3:GetEncryptionConfiguration"]),
    ("s3", "GetBucketIntelligentTieringConfiguration", &["s3:GetIntelligentTieringConfiguration"]),
    ("s3", "GetBucketInventoryConfiguration", &["s3:GetInventoryConfiguration"]),
    ("s3", "GetBucketLifecycle", &["s3:GetLifecycleConfiguration"]),
    ("s3", "GetBucketLifecycleConfiguration", &["s3:GetLifecycleConfiguration"]),
    ("s3", "GetBucketMetricsConfiguration", &["s3:GetMetricsConfiguration"]),
    ("s3", "GetBucketNotificationConfiguration", &["s3:GetBucketNotification"]),
    ("s3", "GetBucketReplication", &["s3:GetReplicationConfiguration"]),
    ("s3", "GetObjectAttributes", &["s3:GetObject", "s3:GetObjectAttributes"]),
    ("s3", "GetObjectLockConfiguration", &["s3:GetBucketObjectLockConfiguration"]),
    ("s3", "GetPublicAccessBlock", &["s3:GetBucketPublicAccessBlock"]),
    ("s3", "HeadBucket", &["s3:ListBucket"]),
    ("s3", "HeadObject", &["s3:GetObject"]),
    ("s3", "ListBucketAnalyticsConfigurations", &["s3:GetAnalyticsConfiguration"]),
    ("s3", "ListBucketIntelligentTieringConfigurations", &["s3:GetIntelligentTieringConfiguration"]),
    ("s3", "ListBucketInventoryConfigurations", &["s3:GetInventoryConfiguration"]),
    ("s3", "ListBucketMetricsConfigurations", &["s3:GetMetricsConfiguration"]),
    ("s3", "ListBuckets", &["s3:ListAllMyBuckets"]),
    ("s3", "ListMultipartUploads", &["s3:ListBucketMultipartUploads"]),
    ("s3", "ListObjectVersions", &["s3:ListBucketVersions"]),
    ("s3", "ListObjects", &["s3:ListBucket"]),
    ("s3", "ListObjectsV2", &["s3:ListBucket"]),
    ("s3", "ListParts", &["s3:ListMultipartUploadParts"]),
    ("s3", "PutBucketAccelerateConfiguration", &["s3:PutAccelerateConfiguration"]),
    ("s3", "PutBucketAnalyticsConfiguration", &["s3:PutAnalyticsConfiguration"]),
    ("s3", "PutBucketCors", &["s3:PutBucketCORS"]),
    ("s3", "PutBucketEncryption", &["s3:PutEncryptionConfiguration"]),
    ("s3", "PutBucketIntelligentTieringConfiguration", &["s3:PutIntelligentTieringConfiguration"]),
    ("s3", "PutBucketInventoryConfiguration", &["s3:PutInventoryConfiguration"]),
    ("s3", "PutBucketLifecycle", &["s3:PutLifecycleConfiguration"]),
    ("s3", "PutBucketLifecycleConfiguration", &["s3:PutLifecycleConfiguration"]),
    ("s3", "PutBucketMetricsConfiguration", &["s3:PutMetricsConfiguration"]),
    ("s3", "PutBucketNotificationConfiguration", &["s3:PutBucketNotification"]),
    ("s3", "PutBucketReplication", &["s3:PutReplicationConfiguration"]),
    ("s3", "PutObjectLockConfiguration", &["s3:PutBucketObjectLockConfiguration"]),
    ("s3", "PutPublicAccessBlock", &["s3:PutBucketPublicAccessBlock"]),
    ("s3", "SelectObjectContent", &["s3:GetObject"]),
    ("s3", "UploadPart", &["s3:PutObject"]),
    ("s3", "UploadPartCopy", &["s3:GetObject", "s3:PutObject"]),
    ("s3", "WriteGetObjectResponse", &["s3-object-lambda:WriteGetObjectResponse"]),
    ("bedrock", "Converse", &["bedrock:InvokeModel"]),
    ("bedrock", "ConverseStream", &["bedrock:InvokeModelWithResponseStream"]),
    ("bedrock", "InvokeModelWithBidirectionalStream", &["bedrock:InvokeModelWithResponseStream"]),
    ("dynamodb", "TransactGetItems", &["dynamodb:GetItem"]),
    ("kms", "ReEncrypt", &["kms:ReEncryptFrom", "kms:ReEncryptTo"]),
    ("lambda", "Invoke", &["lambda:InvokeFunction"]),
    ("lambda", "InvokeAsync", &["lambda:InvokeFunction"]),
    ("lambda", "InvokeWithResponseStream", &["lambda:InvokeFunction"]),
    ("secretsmanager", "BatchGetSecretValue", &["secretsmanager:BatchGetSecretValue", "secretsmanager:GetSecretValue"]),
    ("sns", "PublishBatch", &["sns:Publish"]),
    ("sqs", "ChangeMessageVisibilityBatch", &["sqs:ChangeMessageVisibility"]),
    ("sqs", "DeleteMessageBatch", &["sqs:DeleteMessage"]),
    ("sqs", "SendMessageBatch", &["sqs:SendMessage"]),
    // Whoever has a credential may.
    ("sts", "GetCallerIdentity", &[]),
    ("sts", "GetSessionToken", &[]),
    ("cognito-identity", "GetId", &[]),
    ("cognito-identity", "GetCredentialsForIdentity", &[]),
    ("cognito-identity", "GetOpenIdToken", &[]),
    ("sso", "GetRoleCredentials", &[]),
    ("sso", "ListAccountRoles", &[]),
    ("sso", "ListAccounts", &[]),
    ("sso", "Logout", &[]),
];

/// Operations whose rights depend on what is in the call: all that they may need.
const BY_CONTENT: [(&str, &str, &[&str]); 5] = [
    (
        "dynamodb",
        "TransactWriteItems",
        &["dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
    ),
    ("dynamodb", "BatchExecuteStatement", PARTIQL),
    ("dynamodb", "ExecuteStatement", PARTIQL),
    ("dynamodb", "ExecuteTransaction", PARTIQL),
    ("timestream", "Query", &["timestream:Select"]),
];
const PARTIQL: &[&str] =
    &["dynamodb:PartiQLDelete", "dynamodb:PartiQLInsert", "dynamodb:PartiQLSelect", "dynamodb:PartiQLUpdate"];

/// Services whose operations are not named by their actions at all: IAM checks a verb of HTTP, or less than an operation.
const UNLIKE: [&str; 4] = ["apigateway", "budgets", "iot", "execute-api"];

/// What IAM checks for an operation. `service` is the service's id as SDKs name it (`S3`, `CloudWatch Logs`), `operation` the API's name.
/// `None` where they are no names.
pub fn needed(service: &str, operation: &str) -> Option<Needed> {
    if !is_name(service, " -") || !is_name(operation, "") {
        return None;
    }
    let (prefix, known) = prefix(service);
    let listed = |table: &[(&str, &str, &[&str])]| {
        let own = table.iter().find(|(of, name, _)| *of == prefix && *name == operation)?;
        Some(own.2.iter().map(|action| (*action).to_owned()).collect())
    };
    if let Some(actions) = listed(&OTHER_WORDS) {
        return Some(Needed { actions, unsure: false });
    }
    if let Some(actions) = listed(&BY_CONTENT) {
        return Some(Needed { actions, unsure: true });
    }
    let unsure = !known || UNLIKE.contains(&prefix.as_str());
    Some(Needed { actions: vec![format!("{prefix}:{operation}")], unsure })
}

fn is_name(text: &str, also: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    starts && text.len() <= MAX_NAME && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::action::{Action, Kind, Role};
    use proptest::prelude::*;

    #[test]
    fn operations_become_what_iam_checks() {
        for (service, operation, actions, unsure) in [
            ("S3", "GetObject", &["s3:GetObject"][..], false),
            ("S3", "ListObjectsV2", &["s3:ListBucket"], false),
            ("S3", "HeadObject", &["s3:GetObject"], false),
            ("S3", "UploadPart", &["s3:PutObject"], false),
            ("S3", "CopyObject", &["s3:GetObject", "s3:PutObject"], false),
            ("S3", "ListBuckets", &["s3:ListAllMyBuckets"], false),
            ("DynamoDB", "Query", &["dynamodb:Query"], false),
            ("DynamoDB", "BatchWriteItem", &["dynamodb:BatchWriteItem"], false),
            ("CloudWatch Logs", "PutLogEvents", &["logs:PutLogEvents"], false),
            ("EventBridge", "PutEvents", &["events:PutEvents"], false),
            ("SFN", "StartExecution", &["states:StartExecution"], false),
            ("Lambda", "Invoke", &["lambda:InvokeFunction"], false),
            ("Bedrock Runtime", "Converse", &["bedrock:InvokeModel"], false),
            ("Secrets Manager", "GetSecretValue", &["secretsmanager:GetSecretValue"], false),
            ("STS", "GetCallerIdentity", &[], false),
            ("API Gateway", "GetRestApis", &["apigateway:GetRestApis"], true),
            ("Brand New Thing", "DoIt", &["brandnewthing:DoIt"], true),
        ] {
            let needed = needed(service, operation).unwrap();
            assert_eq!(
                (needed.actions, needed.unsure),
                (actions.iter().map(|a| (*a).to_owned()).collect(), unsure),
                "{service} {operation}"
            );
        }
        let written = needed("DynamoDB", "TransactWriteItems").unwrap();
        assert!(written.unsure && written.actions.len() == 4);
    }

    #[test]
    fn what_is_no_name_is_nothing() {
        for (service, operation) in [
            ("", "Get"),
            ("S3", ""),
            ("S3:*", "Get"),
            ("S3", "Get*"),
            ("S3", "Get Object"),
            ("S3\n", "Get"),
            ("3S", "Get"),
            ("S3", "Gét"),
        ] {
            assert_eq!(needed(service, operation), None, "{service:?} {operation:?}");
        }
        assert_eq!(needed(&"a".repeat(MAX_NAME + 1), "Get"), None);
    }

    #[test]
    fn tables_hold_each_operation_once_and_actions_that_can_be_written() {
        let all: Vec<_> = OTHER_WORDS.iter().chain(&BY_CONTENT).collect();
        for (i, (prefix, operation, actions)) in all.iter().enumerate() {
            assert!(!all[..i].iter().any(|(p, o, _)| p == prefix && o == operation), "{prefix} {operation} twice");
            for action in *actions {
                Action::parse(Kind::Aws, Role::Allow, action).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    proptest! {
        /// Whatever a pod sends as names: nothing that is no single action comes of it.
        #[test]
        fn only_actions_come_of_names(service in "\\PC{0,20}", operation in "[A-Za-z0-9:*?${} \\n]{0,20}") {
            for action in needed(&service, &operation).into_iter().flat_map(|n| n.actions) {
                prop_assert!(Action::parse(Kind::Aws, Role::Guardrail, &action).is_ok(), "{}", action);
                prop_assert!(!action.contains(['*', '?']));
            }
        }
    }
}
