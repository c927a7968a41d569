//! azure_identity. Its chain for developers knows no managed identity: ManagedIdentityCredential is what programs at Azure name.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_core::error::{Error, ErrorKind};
use azure_identity::ManagedIdentityCredential;
use exeat_conformance::{PAUSE, call, key_of, say};

const GRANTED: &str = "https://storage.azure.com/.default";
const OTHER: &str = "https://vault.azure.net/.default";

async fn token(credential: &Arc<ManagedIdentityCredential>, scope: &str) -> Result<String, Error> {
    Ok(credential.get_token(&[scope], None).await?.token.secret().to_owned())
}

async fn first() -> Result<String, Error> {
    Ok(key_of(&token(&ManagedIdentityCredential::new(None)?, GRANTED).await?))
}

async fn read(
    credential: &Arc<ManagedIdentityCredential>,
    http: &reqwest::Client,
    url: &str,
) -> Result<String, String> {
    let token = token(credential, GRANTED).await.map_err(|e| e.to_string())?;
    call(http, url, &token).await.map_err(|(_, text)| text)?;
    Ok(key_of(&token))
}

#[expect(clippy::disallowed_methods, reason = "an agent's program has no flags of ours")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Its HTTP client wants one, though no call here is over TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = std::env::var("SERVICES")? + "/blobs/q3";
    let http = reqwest::Client::new();
    let credential = ManagedIdentityCredential::new(None)?;
    loop {
        say("fetch", first().await.map_err(|e| e.to_string()), None);
        say("use", read(&credential, &http, &url).await, None);
        let refused = token(&credential, OTHER).await;
        let denied = matches!(&refused, Err(error) if matches!(error.kind(), ErrorKind::Credential));
        say("denied", refused.map(|_| String::new()).map_err(|e| e.to_string()), Some(denied));
        tokio::time::sleep(PAUSE).await;
    }
}
