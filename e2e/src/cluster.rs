//! The cluster that the stories run on.

use exeat_crds::{CredentialProvider, condition};
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::config::AuthInfo;
use kube::{Client, Config, ResourceExt};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::build::suite_providers;
use crate::{Failure, Result, ensure, wait_for};

/// Set once a process has applied the providers that all stories share, or has failed at it.
static SUITE: OnceCell<std::result::Result<(), String>> = OnceCell::const_new();

/// Namespace that Exeat is installed in.
pub fn system_namespace() -> &'static str {
    "exeat-system"
}

/// The wall clock, for times that components have written.
#[expect(clippy::disallowed_methods, reason = "the stories compare what was promised with the clock on the wall")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A client with all rights. The first one of a process applies what all stories share.
///
/// # Errors
/// When this is no run of the stories, or the cluster does not answer.
pub async fn connect() -> Result<Client> {
    let client = Client::try_from(config().await?)?;
    let ready = SUITE.get_or_init(async || suite(&client).await.map_err(|e| e.to_string())).await;
    ready.clone().map_err(|e| Failure::new(format!("what all stories share can't be set up: {e}")))?;
    Ok(client)
}

/// A client that acts as a person.
///
/// # Errors
/// As [`connect`].
pub async fn connect_as(user: &str, groups: &[&str]) -> Result<Client> {
    let mut config = config().await?;
    config.auth_info.impersonate = Some(user.to_owned());
    config.auth_info.impersonate_groups = Some(groups.iter().map(|g| (*g).to_owned()).collect());
    Ok(Client::try_from(config)?)
}

/// A client with nothing but a token.
///
/// # Errors
/// As [`connect`].
pub async fn connect_with_token(token: &str) -> Result<Client> {
    let mut config = config().await?;
    config.auth_info = serde_json::from_value::<AuthInfo>(json!({"token": token}))?;
    Ok(Client::try_from(config)?)
}

/// That the cluster which `KUBECONFIG` names is one for tests.
///
/// # Errors
/// When nobody said so.
#[expect(clippy::disallowed_methods, reason = "tests have no command line of their own")]
pub fn is_for_tests() -> Result {
    ensure!(
        std::env::var("EXEAT_E2E").is_ok_and(|v| v == "1"),
        "these tests need a cluster with Exeat installed: run `make test-e2e`, or set EXEAT_E2E=1 inside of e2e/cluster/enter.sh"
    );
    Ok(())
}

async fn config() -> Result<Config> {
    is_for_tests()?;
    // Another one may be installed already: there is one for a process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Config::infer().await?)
}

async fn suite(client: &Client) -> Result {
    let providers: Api<CredentialProvider> = Api::all(client.clone());
    for provider in suite_providers() {
        let name = provider.name_any();
        wait_for(&format!("provider {name} is accepted"), 60, async || {
            Ok(providers
                .patch(&name, &PatchParams::apply("e2e").force(), &Patch::Apply(&provider))
                .await
                .map(|_| ())?)
        })
        .await?;
    }
    for provider in suite_providers() {
        let name = provider.name_any();
        wait_for(&format!("provider {name} is Ready"), 60, async || {
            let conditions = providers.get(&name).await?.status.unwrap_or_default().conditions;
            ensure!(condition::is_true(&conditions, "Ready"), "{:?}", condition::get(&conditions, "Ready"));
            Ok(())
        })
        .await?;
    }
    Ok(())
}
