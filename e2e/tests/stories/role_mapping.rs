//! One policy, several service accounts, a role for each.

use exeat_crds::rules::Statement;
use exeat_crds::v1alpha1::{Phase, PrincipalMapping};
use exeat_crds::{AgentCredentialPolicy, CredentialSession};
use exeat_e2e::{
    AgentPod, MINISTACK, REPORT_WRITER, Result, S3_MINISTACK, Scope, agent, ensure, in_namespace, policy, statement,
};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};

/// The roles at MiniStack, by service account.
const BY_ACCOUNT: &str = "arn:aws:iam::000000000000:role/agents/agents/${serviceAccount}";
const PAYROLL_READER: &str = "arn:aws:iam::000000000000:role/agents/agents/payroll-reader";
/// A role that does not trust the issuer.
const UNTRUSTING: &str = "arn:aws:iam::000000000000:role/agents/agents/untrusting";

fn read_reports() -> Vec<Statement> {
    vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])]
}

/// `payroll-reader` acts as the role of its own name, `agent` as the one that a mapping names.
fn mapped(name: &str, agents_role: &str) -> AgentCredentialPolicy {
    let mut policy = policy(name, MINISTACK, BY_ACCOUNT, read_reports());
    policy.spec.subjects.service_accounts = vec!["payroll-reader".to_owned(), "agent".to_owned()];
    let mapping = PrincipalMapping { service_account: "agent".to_owned(), principal: agents_role.to_owned() };
    policy.spec.principal_mappings = vec![mapping];
    policy
}

async fn account(ns: &Scope, name: &str) -> Result {
    let mut account = ServiceAccount::default();
    account.metadata.name = Some(name.to_owned());
    ns.create(&account).await.map(drop)
}

fn running_as(account: &str) -> Pod {
    let pod = agent(account, "reports").with_env("AWS_ENDPOINT_URL", S3_MINISTACK);
    pod.with(|spec| spec.service_account_name = Some(account.to_owned()))
}

fn principal(session: &CredentialSession) -> Option<String> {
    Some(session.status.as_ref()?.grant.as_ref()?.principal.clone())
}

#[tokio::test]
async fn two_service_accounts_of_one_policy_act_as_two_roles_and_neither_as_the_others() -> Result {
    in_namespace("mapping", async |ns| {
        account(&ns, "payroll-reader").await?;
        account(&ns, "stranger").await?;
        ns.ready(mapped("reports", REPORT_WRITER)).await?;
        for (account, own, other) in
            [("agent", REPORT_WRITER, PAYROLL_READER), ("payroll-reader", PAYROLL_READER, REPORT_WRITER)]
        {
            ns.start(running_as(account)).await?;
            let session = ns.session(account, 1, Phase::Active, 30).await?;
            assert_eq!(principal(&session).as_deref(), Some(own), "{account}");
            let identity = ns.sh(account, "aws sts get-caller-identity --query Arn --output text").await?.ok()?;
            let role = own.rsplit('/').next().unwrap_or_default();
            assert!(identity.contains(&format!("assumed-role/{role}/")), "{account}: {identity}");
            ns.sh(account, "aws s3 cp s3://reports/q3.txt -").await?.ok()?;
            let assume = format!("aws sts assume-role --role-arn {other} --role-session-name stolen");
            let refused = ns.sh(account, &assume).await?.failed()?;
            assert!(refused.contains("AccessDenied"), "{account}: {refused}");
        }
        let refused = ns.expect_refused(&running_as("stranger")).await?;
        assert!(refused.contains("PodNotCovered") && refused.contains("stranger"), "{refused}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn each_accounts_role_is_tried_and_a_mapping_of_a_stranger_is_not_taken() -> Result {
    in_namespace("mapped", async |ns| {
        let refusal = ns.not_ready(mapped("untrusted", UNTRUSTING), "AssumeRoleDenied").await?.message;
        assert!(refusal.starts_with("service account agent: ") && refusal.contains(UNTRUSTING), "{refusal}");
        let mut stray = mapped("stray", REPORT_WRITER);
        stray.spec.principal_mappings[0].service_account = "stranger".to_owned();
        let Err(refused) = ns.create(&stray).await else {
            ensure!(false, "a mapping of an account that the policy does not cover was taken");
            return Ok(());
        };
        assert!(refused.to_string().contains("spec.principalMappings"), "{refused}");
        Ok(())
    })
    .await
}
