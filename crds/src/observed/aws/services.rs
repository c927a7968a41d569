//! The prefix that IAM knows a service by.

/// Services whose prefix is not their id in lower case without blanks.
const OTHERS: [(&str, &str); 70] = [
    ("amp", "aps"),
    ("apigatewaymanagementapi", "execute-api"),
    ("apigatewayv2", "apigateway"),
    ("appconfigdata", "appconfig"),
    ("applicationautoscaling", "application-autoscaling"),
    ("bedrockagent", "bedrock"),
    ("bedrockagentruntime", "bedrock"),
    ("bedrockruntime", "bedrock"),
    ("cloudhsmv2", "cloudhsm"),
    ("cloudsearchdomain", "cloudsearch"),
    ("cloudtraildata", "cloudtrail-data"),
    ("cloudwatchevents", "events"),
    ("cloudwatchlogs", "logs"),
    ("codegurureviewer", "codeguru-reviewer"),
    ("codestarconnections", "codestar-connections"),
    ("codestarnotifications", "codestar-notifications"),
    ("cognitoidentity", "cognito-identity"),
    ("cognitoidentityprovider", "cognito-idp"),
    ("cognitosync", "cognito-sync"),
    ("configservice", "config"),
    ("costandusagereportservice", "cur"),
    ("costexplorer", "ce"),
    ("databasemigrationservice", "dms"),
    ("directoryservice", "ds"),
    ("docdb", "rds"),
    ("dynamodbstreams", "dynamodb"),
    ("ec2instanceconnect", "ec2-instance-connect"),
    ("ecrpublic", "ecr-public"),
    ("efs", "elasticfilesystem"),
    ("elasticloadbalancingv2", "elasticloadbalancing"),
    ("elasticsearchservice", "es"),
    ("emr", "elasticmapreduce"),
    ("emrcontainers", "emr-containers"),
    ("emrserverless", "emr-serverless"),
    ("eventbridge", "events"),
    ("iotdataplane", "iot"),
    ("iotjobsdataplane", "iotjobsdata"),
    ("keyspaces", "cassandra"),
    ("kinesisanalyticsv2", "kinesisanalytics"),
    ("lexmodelbuildingservice", "lex"),
    ("lexmodelsv2", "lex"),
    ("lexruntimeservice", "lex"),
    ("lexruntimev2", "lex"),
    ("location", "geo"),
    ("marketplacecatalog", "aws-marketplace"),
    ("marketplacemetering", "aws-marketplace"),
    ("mturk", "mechanicalturk"),
    ("neptune", "rds"),
    ("neptunedata", "neptune-db"),
    ("opensearch", "es"),
    ("opensearchserverless", "aoss"),
    ("pinpoint", "mobiletargeting"),
    ("rdsdata", "rds-data"),
    ("redshiftdata", "redshift-data"),
    ("redshiftserverless", "redshift-serverless"),
    ("resourceexplorer2", "resource-explorer-2"),
    ("resourcegroups", "resource-groups"),
    ("resourcegroupstaggingapi", "tag"),
    ("route53recoverycluster", "route53-recovery-cluster"),
    ("s3control", "s3"),
    ("s3outposts", "s3-outposts"),
    ("sagemakerfeaturestoreruntime", "sagemaker"),
    ("sagemakerruntime", "sagemaker"),
    ("sesv2", "ses"),
    ("sfn", "states"),
    ("ssoadmin", "sso"),
    ("ssooidc", "sso-oauth"),
    ("timestreamquery", "timestream"),
    ("timestreamwrite", "timestream"),
    ("transcribestreaming", "transcribe"),
];

/// Services whose prefix is their id in lower case without blanks.
#[rustfmt::skip]
const SAME: [&str; 102] = [
    "accessanalyzer", "acm", "amplify", "apigateway", "appconfig", "appflow", "applicationinsights", "appmesh",
    "apprunner", "appsync", "athena", "autoscaling", "backup", "batch", "bedrock", "budgets", "chatbot",
    "cloudformation", "cloudfront", "cloudtrail", "cloudwatch", "codeartifact", "codebuild", "codecommit",
    "codedeploy", "codepipeline", "comprehend", "connect", "databrew", "dataexchange", "datapipeline", "datasync",
    "dax", "directconnect", "dlm", "dynamodb", "ec2", "ecr", "ecs", "eks", "elasticache", "elasticbeanstalk",
    "elasticloadbalancing", "firehose", "fis", "forecast", "fsx", "glacier", "glue", "guardduty", "health", "iam",
    "imagebuilder", "inspector2", "iot", "kafka", "kendra", "kinesis", "kinesisvideo", "kms", "lakeformation",
    "lambda", "lightsail", "macie2", "mediaconvert", "memorydb", "mq", "organizations", "personalize", "pipes",
    "polly", "quicksight", "ram", "rds", "redshift", "rekognition", "route53", "s3", "s3tables", "sagemaker",
    "scheduler", "secretsmanager", "securityhub", "servicecatalog", "servicediscovery", "servicequotas", "ses",
    "shield", "sns", "sqs", "ssm", "sso", "sts", "textract", "transcribe", "transfer", "translate", "waf", "wafv2",
    "wellarchitected", "workspaces", "xray",
];

/// The prefix of a service, and whether it is known to be so.
pub(super) fn prefix(service: &str) -> (String, bool) {
    let id: String = service.chars().filter(|c| *c != ' ').map(|c| c.to_ascii_lowercase()).collect();
    if let Some((_, prefix)) = OTHERS.iter().find(|(other, _)| *other == id) {
        return ((*prefix).to_owned(), true);
    }
    let known = SAME.contains(&id.as_str());
    (id, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_is_listed_once() {
        let all: Vec<&str> = OTHERS.iter().map(|(id, _)| *id).chain(SAME).collect();
        for (i, id) in all.iter().enumerate() {
            assert!(!all[..i].contains(id), "{id} twice");
            assert!(id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{id}");
        }
        assert_eq!(prefix("Elastic Load Balancing v2"), ("elasticloadbalancing".to_owned(), true));
        assert_eq!(prefix("Brand New"), ("brandnew".to_owned(), false));
    }
}
