//! vaultrs as its environment configures it.

use exeat_conformance::{PAUSE, say};
use vaultrs::client::{VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;
use vaultrs::kv2;

fn connect() -> Result<VaultClient, ClientError> {
    let settings = VaultClientSettingsBuilder::default().build();
    VaultClient::new(settings.map_err(|_| ClientError::ResponseEmptyError)?)
}

async fn read(client: &VaultClient, path: &str) -> Result<String, ClientError> {
    kv2::read::<serde_json::Value>(client, "secret", path).await.map(|_| String::new())
}

async fn first() -> Result<String, ClientError> {
    read(&connect()?, "reports/q3").await
}

fn text(error: ClientError) -> String {
    match &error {
        ClientError::APIError { errors, .. } => format!("{error} {errors:?}"),
        _ => error.to_string(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    // Its HTTP client wants one, though no call here is over TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = connect()?;
    loop {
        say("fetch", first().await.map_err(text), None);
        say("use", read(&client, "reports/q3").await.map_err(text), None);
        let refused = read(&client, "reports/salaries").await;
        let denied = matches!(refused, Err(ClientError::APIError { code: 403, .. }));
        say("denied", refused.map_err(text), Some(denied));
        tokio::time::sleep(PAUSE).await;
    }
}
