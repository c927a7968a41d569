//! Validate, mint, probe and revoke at each provider: the only place with cloud SDKs.
//!
//! A [`Provider`] turns a grant into a credential. It decides nothing: the caller computes the grant, its time to live
//! and whether the session may have it at all.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use exeat_crds::reason::Reason;
use exeat_crds::rules::Grant;
use exeat_crds::v1alpha1::CredentialProviderSpec;
use exeat_runtime::dns::Resolver;

pub mod aws;
pub mod azure;
mod error;
mod form;
pub mod gcp;
pub mod guard;
mod http;
pub mod kubernetes;
mod own_token;
mod record;
mod secrets;
pub mod vault;

pub use error::ProviderError;
pub use record::Record;

/// The session that a credential is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// Name of the CredentialSession.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The agent's namespace.
    pub namespace: String,
    /// The agent's service account.
    pub service_account: String,
    /// Name of the policy.
    pub policy: String,
}

/// What to mint.
#[derive(Clone, Copy, Debug)]
pub struct MintRequest<'a> {
    /// For which session.
    pub session: &'a SessionId,
    /// Name of this installation, for tags.
    pub cluster: &'a str,
    /// What the credential may do.
    pub grant: &'a Grant,
    /// How long it should live.
    pub ttl: jiff::SignedDuration,
    /// The time of the request.
    pub now: jiff::Timestamp,
    /// What is on record of earlier mints for the session ([`Minted::handle`], joined).
    pub handle: Option<&'a str>,
    /// The credential that the caller says it holds ([`Minted::credential_id`]): it may be prolonged in place of another one.
    pub held: Option<&'a str>,
}

/// A minted credential.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The credential. Its secrets are hidden in `Debug`.
    pub credential: exeat_wire::Credential,
    /// Identifies it at its provider (access key id, token id); no secret. Empty where the provider gives none.
    pub credential_id: String,
    /// When it ends: never later than the provider said.
    pub expires_at: jiff::Timestamp,
    /// Until when it is handed on, where its provider alone decides when it ends and that may be later than was asked for.
    pub serve_until: Option<jiff::Timestamp>,
    /// What is needed to revoke it; `None` where the provider can't.
    pub handle: Option<String>,
    /// Whether the handle is needed besides those of earlier mints: it must be on record ([`Minted::recorded`]) before the credential leaves.
    pub further: bool,
    /// Share of the provider's packed policy size in use, percent, where the provider says.
    pub packed_policy_percent: Option<i32>,
}

/// Who the issuer is at the provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The identity, where the provider says.
    pub identity: Option<String>,
    /// Whether it is itself an assumed role: sessions then last 1 h at most.
    pub chained: bool,
}

/// What a probe of a grant showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantProbe {
    /// Share of the provider's packed policy size in use, percent, where the provider says.
    pub packed_policy_percent: Option<i32>,
}

/// What a provider has made for one session and still keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The session, as far as the provider has it on record: at least its name and UID.
    pub session: SessionId,
    /// Since when it is there.
    pub since: jiff::Timestamp,
}

/// One way to mint credentials.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Finds out who the issuer is at the provider and whether it can work at all.
    async fn probe_identity(&self) -> Result<Identity, ProviderError>;

    /// Assumes the principal once with this very grant and throws the credential away (revokes it where possible).
    async fn probe_grant(&self, request: &MintRequest<'_>) -> Result<GrantProbe, ProviderError>;

    /// Mints a credential for the grant.
    async fn mint(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError>;

    /// Ends access by what was minted for the session and leaves the rest to [`Provider::revoke`], so that access of many can end before
    /// anything is tidied up. Nothing, where one step does all. Idempotent.
    async fn cut_off(&self, _: &SessionId) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Ends what was minted for the session. Idempotent: what is already gone is success. Needs nothing but the session;
    /// a handle helps where it is known.
    async fn revoke(&self, session: &SessionId, handle: Option<&str>) -> Result<(), ProviderError>;

    /// All that was made for sessions and is still there, by the provider's own record, so that [`Provider::revoke`] can end access of
    /// sessions whose object is gone. Nothing, where there is no such record: [`needs_session`] says so of the kind.
    async fn made(&self) -> Result<Vec<Made>, ProviderError> {
        Ok(Vec::new())
    }
}

/// What providers are built with.
#[derive(Clone)]
pub struct Context {
    /// Client of the cluster that Exeat runs on, with the issuer's own identity.
    pub client: kube::Client,
    /// Our own namespace, where root secrets are.
    pub namespace: String,
    /// Namespace of the accounts that the Kubernetes provider makes.
    pub grants_namespace: String,
    /// Name of this installation.
    pub cluster: String,
    /// Looks names up: static binaries have no `getaddrinfo`.
    pub resolver: Resolver,
    /// File with the issuer's own token for AssumeRoleWithWebIdentity.
    pub web_identity_token_file: PathBuf,
    /// File with the issuer's own token for Vault's auth method `kubernetes`.
    pub vault_token_file: PathBuf,
    /// File with the issuer's own token for Entra's federated credentials.
    pub azure_token_file: PathBuf,
    /// File with the issuer's own token for Google's workload identity federation.
    pub gcp_token_file: PathBuf,
    /// PEM bundle that agents check the API server's certificate against.
    pub cluster_ca_pem: Option<String>,
    /// Where agents reach the API server, `https://host[:port]`.
    pub cluster_server: String,
}

/// Builds the provider that a spec asks for, guarded by [`guard::Guarded`].
///
/// # Errors
/// `NotImplemented` for kinds that this version does not build, `BaseIdentityInvalid` where the Secret of `aws.secretRef` can't be
/// used.
pub async fn build(spec: &CredentialProviderSpec, context: &Context) -> Result<Arc<dyn Provider>, ProviderError> {
    let inner: Arc<dyn Provider> = if let Some(aws) = &spec.aws {
        Arc::new(aws::Aws::new(aws, context).await?)
    } else if let Some(azure) = &spec.azure {
        Arc::new(azure::Azure::new(azure, context)?)
    } else if let Some(gcp) = &spec.gcp {
        Arc::new(gcp::Gcp::new(gcp, context)?)
    } else if let Some(kubernetes) = &spec.kubernetes {
        Arc::new(kubernetes::Kubernetes::new(kubernetes, context))
    } else if let Some(vault) = &spec.vault {
        Arc::new(vault::Vault::new(vault, context)?)
    } else {
        return Err(not_implemented());
    };
    Ok(Arc::new(guard::Guarded::new(inner, guard::GuardSettings::default())))
}

/// Checks what can be known of a grant without asking the provider: the size of its document, what its rules can say.
///
/// # Errors
/// Why the provider would refuse it, and the fix.
pub fn validate(spec: &CredentialProviderSpec, grant: &Grant) -> Result<(), ProviderError> {
    if let Some(aws) = &spec.aws {
        aws::validate(aws, grant)
    } else if spec.azure.is_some() {
        azure::validate(grant)
    } else if spec.gcp.is_some() {
        gcp::validate(grant)
    } else if spec.kubernetes.is_some() {
        kubernetes::rules_of(grant).map(drop)
    } else if spec.vault.is_some() {
        vault::validate(grant)
    } else {
        Err(not_implemented())
    }
}

/// Whether access can be ended at the provider before it expires.
pub fn can_revoke(spec: &CredentialProviderSpec) -> bool {
    spec.kubernetes.is_some() || spec.vault.is_some()
}

/// Whether access can be ended only as long as the session's object says what was minted, so that the object must not go before. Not so
/// where [`Provider::made`] finds it.
pub fn needs_session(spec: &CredentialProviderSpec) -> bool {
    spec.kubernetes.is_none()
}

fn not_implemented() -> ProviderError {
    ProviderError::lasting(
        Reason::NotImplemented,
        "this kind of provider is not implemented in this version; use spec.aws, spec.azure, spec.gcp, spec.kubernetes or spec.vault",
    )
}

/// A call's answer, or that none came within `deadline`. `who` did not give it.
async fn within<T>(
    who: &str,
    deadline: std::time::Duration,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    tokio::time::timeout(deadline, call).await.unwrap_or_else(|_| {
        let message = format!("{who} did not answer within {} s", deadline.as_secs());
        Err(ProviderError::passing(Reason::ProviderUnreachable, message))
    })
}
