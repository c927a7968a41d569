//! The AWS SDK for Rust with its default chain.

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::ProvideCredentials;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata};
use exeat_conformance::{PAUSE, say};

/// Without TLS, which nothing here needs; all else is what the SDK does when it is told nothing.
async fn load() -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new().build_http();
    aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await
}

async fn held(config: &SdkConfig) -> Result<String, String> {
    let provider = config.credentials_provider().ok_or("no credentials provider")?;
    let credentials = provider.provide_credentials().await.map_err(|e| DisplayErrorContext(e).to_string())?;
    Ok(credentials.access_key_id().to_owned())
}

/// The key that the call was signed with, or the error's code and text.
async fn get(client: &Client, bucket: &str, key: &str) -> Result<String, (Option<String>, String)> {
    let signed = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let seen = std::sync::Arc::clone(&signed);
    let request = client.get_object().bucket(bucket).key(key).customize();
    let request = request.interceptor(Seen(seen));
    let object = request
        .send()
        .await
        .map_err(|e| (e.code().map(str::to_owned), DisplayErrorContext(e).to_string()))?;
    object.body.collect().await.map_err(|e| (None, e.to_string()))?;
    Ok(signed.lock().map(|key| key.clone()).unwrap_or_default())
}

/// Reads the key's id from the signature.
#[derive(Debug)]
struct Seen(std::sync::Arc<std::sync::Mutex<String>>);

impl aws_sdk_s3::config::Intercept for Seen {
    fn name(&self) -> &'static str {
        "Seen"
    }

    fn read_before_transmit(
        &self,
        context: &aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef<'_>,
        _: &aws_sdk_s3::config::RuntimeComponents,
        _: &mut aws_sdk_s3::config::ConfigBag,
    ) -> Result<(), aws_sdk_s3::error::BoxError> {
        let header = context.request().headers().get("authorization").unwrap_or_default();
        let id = header.split("Credential=").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        if let Ok(mut seen) = self.0.lock() {
            id.clone_into(&mut seen);
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let client = Client::new(&load().await);
    loop {
        say("fetch", held(&load().await).await, None);
        say("use", get(&client, "reports", "q3.txt").await.map_err(|(_, text)| text), None);
        let refused = get(&client, "payroll", "salaries.txt").await;
        let denied = matches!(&refused, Err((Some(code), _)) if code == "AccessDenied");
        say("denied", refused.map_err(|(_, text)| text), Some(denied));
        tokio::time::sleep(PAUSE).await;
    }
}
