//! Grants at AWS STS, and at servers that speak its protocol: AssumeRole with the grant as session policy. What is minted can't be
//! taken back one by one; it ends when it expires.

mod ask;
mod error;
mod http;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sts::Client;
use aws_sdk_sts::config::{Builder, IdentityCache};
use aws_sdk_sts::types::Credentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use exeat_crds::reason::Reason;
use exeat_crds::rules::Grant;
use exeat_crds::rules::names::RoleArn;
use exeat_crds::v1alpha1::{AwsDialect, AwsProvider, AwsSource};
use exeat_wire::{AwsCredential, Credential, Secret};
use jiff::Timestamp;

use crate::{Context, GrantProbe, Identity, MintRequest, Minted, Provider, ProviderError, SessionId};
use ask::{Ask, CHAINED_CEILING};
use error::{Doing, Step, WITH_WEB_IDENTITY, chaining_limit, explain, failure};
use source::{BaseRole, SecretSource, SharedSecret, web_identity_token};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 2;

/// The provider.
pub struct Aws {
    spec: AwsProvider,
    endpoint: String,
    sts: Client,
    /// A client that signs nothing, for the issuer's own token.
    unsigned: Client,
    base: Base,
    token_file: PathBuf,
    chained: AtomicBool,
}

enum Base {
    Secret(Arc<SecretSource>),
    Other(SharedCredentialsProvider),
}

/// What STS gave.
struct Given {
    credentials: Credentials,
    packed: Option<i32>,
}

impl Aws {
    /// Reads the settings and finds the issuer's identity. Calls nobody but, for `source: Secret`, the API server.
    ///
    /// # Errors
    /// `BaseIdentityInvalid` where the Secret can't be used.
    pub async fn new(spec: &AwsProvider, context: &Context) -> Result<Self, ProviderError> {
        let http = http::client(context.resolver.clone());
        let unsigned = Client::from_conf(settings(spec, http.clone()).allow_no_auth().build());
        let endpoint = endpoint(spec);
        let (base, cache) = match spec.source {
            AwsSource::Ambient => (Base::Other(ambient(spec, http.clone()).await?), true),
            AwsSource::Secret => {
                let name = spec.secret_ref.as_ref().map(|secret| secret.name.as_str()).unwrap_or_default();
                let source = Arc::new(SecretSource::new(context.client.clone(), &context.namespace, name));
                source.keys().await?;
                // It keeps the keys itself, and must be able to replace them at once.
                (Base::Secret(source), false)
            }
            AwsSource::WebIdentity => {
                let role = BaseRole {
                    sts: unsigned.clone(),
                    endpoint: endpoint.clone(),
                    role_arn: spec.role_arn.clone().unwrap_or_default(),
                    token_file: context.web_identity_token_file.clone(),
                };
                (Base::Other(SharedCredentialsProvider::new(role)), true)
            }
        };
        let signed = settings(spec, http).credentials_provider(base.shared());
        let signed = if cache { signed } else { signed.identity_cache(IdentityCache::no_cache()) };
        Ok(Self {
            spec: spec.clone(),
            endpoint,
            sts: Client::from_conf(signed.build()),
            unsigned,
            base,
            token_file: context.web_identity_token_file.clone(),
            chained: AtomicBool::new(spec.source == AwsSource::WebIdentity),
        })
    }

    fn doing<'a>(&'a self, step: Step<'a>) -> Doing<'a> {
        Doing { endpoint: &self.endpoint, step }
    }

    fn is_chained(&self, ask: &Ask) -> bool {
        !ask.direct && self.chained.load(Ordering::Relaxed)
    }

    /// Asks once more where the keys in the Secret have changed since they were read.
    async fn assume(&self, ask: &Ask) -> Result<Given, ProviderError> {
        let given = self.assume_once(ask).await;
        let (Err(error), Base::Secret(source)) = (&given, &self.base) else { return given };
        if error.reason == Reason::BaseIdentityInvalid && source.refused().await? {
            return self.assume_once(ask).await;
        }
        given
    }

    async fn assume_once(&self, ask: &Ask) -> Result<Given, ProviderError> {
        let given = if ask.direct { self.by_web_identity(ask).await } else { self.by_role(ask).await }?;
        let (Some(credentials), packed) = given else {
            return Err(ProviderError::passing(Reason::ProviderRejected, "STS answered without credentials"));
        };
        Ok(Given { credentials, packed })
    }

    async fn by_role(&self, ask: &Ask) -> Result<(Option<Credentials>, Option<i32>), ProviderError> {
        let also: Vec<&str> =
            [(!ask.tags.is_empty(), "sts:TagSession"), (ask.source_identity.is_some(), "sts:SetSourceIdentity")]
                .into_iter()
                .filter_map(|(sent, action)| sent.then_some(action))
                .collect();
        let step = Step::Assume { principal: &ask.role_arn, action: "sts:AssumeRole", also: &also };
        let mut call = self
            .sts
            .assume_role()
            .role_arn(&ask.role_arn)
            .role_session_name(&ask.session_name)
            .policy(&ask.document)
            .duration_seconds(duration(ask))
            .set_external_id(self.spec.external_id.clone())
            .set_source_identity(ask.source_identity.clone());
        if !ask.tags.is_empty() {
            call = call.set_tags(Some(ask.tags.clone()));
        }
        let answer = call.send().await.map_err(|e| explain(failure(&e), self.doing(step)))?;
        #[expect(deprecated, reason = "servers of the older protocol send nothing else")]
        let packed = answer.packed_policy_size().or(answer.session_token_utilization());
        Ok((answer.credentials, packed))
    }

    async fn by_web_identity(&self, ask: &Ask) -> Result<(Option<Credentials>, Option<i32>), ProviderError> {
        let step = Step::Assume { principal: &ask.role_arn, action: WITH_WEB_IDENTITY, also: &[] };
        let answer = self
            .unsigned
            .assume_role_with_web_identity()
            .role_arn(&ask.role_arn)
            .role_session_name(&ask.session_name)
            .web_identity_token(web_identity_token(&self.token_file)?)
            .policy(&ask.document)
            .duration_seconds(duration(ask))
            .send()
            .await
            .map_err(|e| explain(failure(&e), self.doing(step)))?;
        #[expect(deprecated, reason = "servers of the older protocol send nothing else")]
        let packed = answer.packed_policy_size().or(answer.session_token_utilization());
        Ok((answer.credentials, packed))
    }

    async fn caller(&self) -> Result<Identity, ProviderError> {
        let once = || async {
            let answer = self.sts.get_caller_identity().send().await;
            answer.map_err(|e| explain(failure(&e), self.doing(Step::Identity)))
        };
        let answer = match (once().await, &self.base) {
            (Err(error), Base::Secret(source))
                if error.reason == Reason::BaseIdentityInvalid && source.refused().await? =>
            {
                once().await
            }
            (answer, _) => answer,
        }?;
        let arn = answer.arn().unwrap_or_default();
        let chained = is_assumed_role(arn);
        self.chained.store(chained, Ordering::Relaxed);
        Ok(Identity { identity: (!arn.is_empty()).then(|| arn.to_owned()), chained })
    }
}

#[async_trait]
impl Provider for Aws {
    /// Asks STS who the issuer is. A server of the dialect S3Compatible can't say: there its keys are looked for only.
    async fn probe_identity(&self) -> Result<Identity, ProviderError> {
        if self.spec.dialect == AwsDialect::Aws {
            return self.caller().await;
        }
        let found = self.base.shared().provide_credentials().await;
        match found {
            Ok(_) => Ok(Identity { identity: None, chained: self.chained.load(Ordering::Relaxed) }),
            Err(error) => {
                let error: aws_sdk_sts::error::SdkError<aws_sdk_sts::operation::assume_role::AssumeRoleError> =
                    aws_sdk_sts::error::SdkError::construction_failure(error);
                Err(explain(failure(&error), self.doing(Step::Identity)))
            }
        }
    }

    async fn probe_grant(&self, request: &MintRequest<'_>) -> Result<GrantProbe, ProviderError> {
        ask::check(&self.spec, request.grant)?;
        let ask = Ask::new(&self.spec, request)?;
        if self.is_chained(&ask) && ask.seconds > CHAINED_CEILING {
            return Err(chaining_limit());
        }
        let given = self.assume(&ask).await?;
        Ok(GrantProbe { packed_policy_percent: given.packed })
    }

    /// A chained role's credential lives for an hour at most: where more is asked for, an hour is given.
    async fn mint(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        let mut ask = Ask::new(&self.spec, request)?;
        if self.is_chained(&ask) {
            ask = ask.chained();
        }
        let given = match self.assume(&ask).await {
            Err(error) if error.reason == Reason::RoleChainingLimit && ask.seconds > CHAINED_CEILING => {
                self.chained.store(true, Ordering::Relaxed);
                ask = ask.chained();
                self.assume(&ask).await?
            }
            given => given?,
        };
        minted(&ask, given, request.now)
    }

    /// Nothing to do: STS can't take a credential back.
    async fn revoke(&self, _: &SessionId, _: Option<&str>) -> Result<(), ProviderError> {
        Ok(())
    }
}

impl Base {
    fn shared(&self) -> SharedCredentialsProvider {
        match self {
            Self::Secret(source) => SharedCredentialsProvider::new(SharedSecret(source.clone())),
            Self::Other(provider) => provider.clone(),
        }
    }
}

/// What can be known of a grant without asking STS.
///
/// # Errors
/// What STS would refuse, and the fix.
pub fn validate(spec: &AwsProvider, grant: &Grant) -> Result<(), ProviderError> {
    ask::check(spec, grant)
}

fn minted(ask: &Ask, given: Given, now: Timestamp) -> Result<Minted, ProviderError> {
    let end = given.credentials.expiration;
    let said = Timestamp::new(end.secs(), i32::try_from(end.subsec_nanos()).unwrap_or(0)).map_err(|e| {
        ProviderError::lasting(Reason::ProviderRejected, format!("STS named no time as the credential's end: {e}"))
    })?;
    let expires_at = ask.expires_at(now, said)?;
    let Credentials { access_key_id, secret_access_key, session_token, .. } = given.credentials;
    Ok(Minted {
        credential_id: access_key_id.clone(),
        credential: Credential::Aws(AwsCredential {
            access_key_id,
            secret_access_key: Secret::new(secret_access_key),
            session_token: Secret::new(session_token),
            account_id: RoleArn::parse(&ask.role_arn).ok().map(|arn| arn.account),
        }),
        expires_at,
        handle: None,
        further: false,
        serve_until: None,
        packed_policy_percent: given.packed,
    })
}

fn duration(ask: &Ask) -> i32 {
    i32::try_from(ask.seconds).unwrap_or(i32::MAX)
}

fn endpoint(spec: &AwsProvider) -> String {
    spec.endpoint.clone().unwrap_or_else(|| format!("https://sts.{}.amazonaws.com", spec.region))
}

/// Roles of EC2 instances (their sessions are named by the instance) do not count as assumed by a role.
fn is_assumed_role(arn: &str) -> bool {
    let Some(session) = arn.split(':').nth(5).and_then(|resource| resource.strip_prefix("assumed-role/")) else {
        return false;
    };
    let instance = session.rsplit('/').next().and_then(|name| name.strip_prefix("i-"));
    !instance.is_some_and(|id| matches!(id.len(), 8 | 17) && id.chars().all(|c| c.is_ascii_hexdigit()))
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(TOTAL_TIMEOUT)
        .build()
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(Duration::from_millis(200))
}

fn settings(spec: &AwsProvider, http: SharedHttpClient) -> Builder {
    let mut settings = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(spec.region.clone()))
        .http_client(http)
        .timeout_config(timeouts())
        .retry_config(retries());
    settings.set_endpoint_url(spec.endpoint.clone());
    settings
}

async fn ambient(spec: &AwsProvider, http: SharedHttpClient) -> Result<SharedCredentialsProvider, ProviderError> {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(spec.region.clone()))
        .http_client(http)
        .timeout_config(timeouts())
        .retry_config(retries())
        .load()
        .await;
    config.credentials_provider().ok_or_else(|| {
        ProviderError::lasting(
            Reason::BaseIdentityInvalid,
            "the AWS SDK has no source for the issuer's identity; set spec.aws.source",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chaining_is_read_off_the_issuers_own_identity() {
        for (arn, chained) in [
            ("arn:aws:sts::123456789012:assumed-role/exeat-issuer/1700000000", true),
            ("arn:aws:sts::123456789012:assumed-role/node/i-0123456789abcdef0", false),
            ("arn:aws:sts::123456789012:assumed-role/node/i-robot", true),
            ("arn:aws:iam::123456789012:user/exeat-issuer", false),
            ("", false),
        ] {
            assert_eq!(is_assumed_role(arn), chained, "{arn}");
        }
    }

    #[test]
    fn the_endpoint_is_the_regions_unless_another_is_named() {
        let spec = AwsProvider { region: "eu-west-1".into(), ..AwsProvider::default() };
        assert_eq!(endpoint(&spec), "https://sts.eu-west-1.amazonaws.com");
        let spec = AwsProvider { endpoint: Some("http://minio.test:9010".into()), ..spec };
        assert_eq!(endpoint(&spec), "http://minio.test:9010");
    }
}
