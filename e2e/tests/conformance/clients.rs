//! The clients: a row each.

use exeat_crds::names;
use exeat_e2e::Result;

use crate::client::Refresh::{EachCall, NearTheEnd, Unseen};
use crate::client::{Client, Cloud};
use crate::life;

const AGENT: &str = "exeat.test/agent:1";
const AGENT_OLD: &str = "exeat.test/agent-old:1";
const GO: &str = "exeat.test/conformance-go:1";
const JAVA: &str = "exeat.test/conformance-java:1";
const NODE: &str = "exeat.test/conformance-node:1";
const PYTHON: &str = "exeat.test/conformance-python:1";
const RUST: &str = "exeat.test/conformance-rust:1";

macro_rules! python {
    ($program:literal) => {
        &[
            "python3",
            "-c",
            concat!(
                include_str!("../../conformance/python/steps.py"),
                include_str!(concat!("../../conformance/python/", $program))
            ),
        ]
    };
}
macro_rules! shell {
    ($program:literal) => {
        &[
            "sh",
            "-c",
            concat!(
                include_str!(concat!("../../conformance/shell/", $program)),
                include_str!("../../conformance/shell/steps.sh")
            ),
        ]
    };
}

const AWS: Client = Client {
    name: "",
    cloud: Cloud::Aws,
    image: AGENT,
    command: &[],
    annotations: &[],
    refresh: EachCall,
    denial: "AccessDenied",
    revoked: &["SessionRevoked", life::WHY],
};
const AZURE: Client = Client { cloud: Cloud::Azure, refresh: NearTheEnd, denial: "ResourceNotGranted", ..AWS };
const GOOGLE: Client = Client { cloud: Cloud::Google, refresh: NearTheEnd, denial: "403", ..AWS };
const KUBERNETES: Client = Client { cloud: Cloud::Kubernetes, denial: "cannot list resource", ..AWS };
const VAULT: Client = Client { cloud: Cloud::Vault, refresh: Unseen, denial: "ActionNotAllowed", ..AWS };

/// A test for each row, and all rows.
macro_rules! clients {
    ($($(#[$attribute:meta])* $test:ident: $row:expr;)*) => {
        /// Every row of the table.
        pub(crate) const ALL: &[Client] = &[$($row),*];

        $(
            $(#[$attribute])*
            #[tokio::test]
            async fn $test() -> Result {
                life::of($row).await
            }
        )*
    };
}

clients! {
    boto3: Client { name: "boto3", command: python!("aws.py"), ..AWS };
    #[ignore = "a part of make conformance"]
    boto3_old: Client {
        name: "boto3, old (token in the environment)", image: AGENT_OLD, command: python!("aws.py"),
        annotations: &[(names::AWS_TOKEN, "Env")], ..AWS
    };
    #[ignore = "a part of make conformance"]
    aws_cli: Client { name: "AWS CLI", command: shell!("aws.sh"), ..AWS };
    aws_go: Client { name: "AWS SDK for Go v2", image: GO, command: &["/aws"], refresh: NearTheEnd, ..AWS };
    #[ignore = "a part of make conformance"]
    aws_java: Client {
        name: "AWS SDK for Java v2", image: JAVA, command: &["java", "-Xmx64m", "-cp", "/app:/app/*", "Aws"],
        refresh: NearTheEnd,
        // Its chain drops the reason too.
        revoked: &["Unable to load credentials from any of the providers", life::WHY], ..AWS
    };
    #[ignore = "a part of make conformance"]
    aws_node: Client {
        name: "AWS SDK for JavaScript v3", image: NODE, command: &["node", "/app/aws.mjs"], refresh: NearTheEnd,
        // Its chain drops the reason; a provider that is named, fromHttp, gives it.
        revoked: &["Could not load credentials from any providers", "fromHttp: SessionRevoked", life::WHY], ..AWS
    };
    #[ignore = "a part of make conformance"]
    aws_rust: Client {
        name: "AWS SDK for Rust", image: RUST, command: &["/aws"], refresh: NearTheEnd,
        // It reads no body but that of a 200.
        revoked: &["Non-success status from HTTP credential provider: StatusCode(403)"], ..AWS
    };
    #[ignore = "a part of make conformance"]
    azure_python: Client { name: "azure-identity for Python", command: python!("azure.py"), ..AZURE };
    #[ignore = "a part of make conformance"]
    azure_go: Client { name: "azidentity for Go", image: GO, command: &["/azure"], ..AZURE };
    #[ignore = "a part of make conformance"]
    azure_node: Client {
        name: "@azure/identity for JavaScript", image: NODE, command: &["node", "/app/azure.mjs"], ..AZURE
    };
    #[ignore = "a part of make conformance"]
    azure_rust: Client { name: "azure_identity for Rust", image: RUST, command: &["/azure"], ..AZURE };
    #[ignore = "a part of make conformance"]
    google_python: Client { name: "google-auth for Python", command: python!("google_client.py"), ..GOOGLE };
    #[ignore = "a part of make conformance"]
    google_go: Client { name: "x/oauth2/google for Go", image: GO, command: &["/google"], ..GOOGLE };
    #[ignore = "a part of make conformance"]
    google_node: Client {
        name: "google-auth-library for JavaScript", image: NODE, command: &["node", "/app/google.mjs"], ..GOOGLE
    };
    #[ignore = "a part of make conformance"]
    google_rust: Client {
        name: "gcp_auth for Rust", image: RUST, command: &["/google"],
        // It knows no other address than the metadata server's own name.
        annotations: &[(names::GCP_METADATA_HOST, "true")],
        // Its error drops the reason, which its log has.
        revoked: &["no available authentication method found", "SessionRevoked", life::WHY], ..GOOGLE
    };
    #[ignore = "a part of make conformance"]
    vault_go: Client { name: "Vault API client for Go", image: GO, command: &["/vault"], ..VAULT };
    hvac: Client { name: "hvac", command: python!("vault.py"), ..VAULT };
    #[ignore = "a part of make conformance"]
    vaultrs: Client { name: "vaultrs", image: RUST, command: &["/vault"], ..VAULT };
    kubectl: Client { name: "kubectl", command: shell!("kubectl.sh"), ..KUBERNETES };
    #[ignore = "a part of make conformance"]
    kubernetes_python: Client {
        name: "Kubernetes client for Python", image: PYTHON, command: python!("kubernetes_client.py"),
        refresh: NearTheEnd, ..KUBERNETES
    };
}
