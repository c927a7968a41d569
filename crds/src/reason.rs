//! Every reason code that a user can meet. The same code stands in the session's condition, the Event, the audit record, the
//! SDK's error and the metric, and its text never changes once released.

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A stable reason code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])+ $name,)+ }

        impl Reason {
            /// All of them, for metrics and documentation.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];

            /// As it is written everywhere.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name),)+ }
            }
        }
    };
}

reasons! {
    /// All is well.
    Ready,
    /// The session may be used.
    Active,
    /// Nothing was decided yet.
    Deciding,
    /// A field, annotation or kind that this version does not build.
    NotImplemented,
    /// The policy does not exist.
    PolicyNotFound,
    /// The policy is not Ready.
    PolicyNotReady,
    /// The policy was deleted while a session lived.
    PolicyDeleted,
    /// The provider does not exist.
    ProviderNotFound,
    /// The provider is not Ready.
    ProviderNotReady,
    /// Who writes the policy may not use the provider.
    ProviderUseForbidden,
    /// No binding of the provider serves the namespace.
    NamespaceNotServed,
    /// No binding of the provider lets the namespace use the principal.
    PrincipalNotAllowed,
    /// The principal is not written as its provider writes principals.
    PrincipalInvalid,
    /// The policy does not cover the pod.
    PodNotCovered,
    /// The pod is not injected as it must be.
    NotInjected,
    /// Something in the pod would let more than its agent reach the credential, or is in the sidecar's place.
    PodUnsuitable,
    /// The agent's SDK would find other credentials before ours.
    CredentialsShadowed,
    /// An annotation of the pod can't be read.
    AnnotationInvalid,
    /// An action can't be read.
    ActionInvalid,
    /// A resource can't be read.
    ResourceInvalid,
    /// An action is outside the binding's ceiling.
    ActionNotAllowed,
    /// Everything asked for is denied by the binding.
    DeniedByGuardrail,
    /// The pod asks for more than the policy allows.
    NarrowingTooWide,
    /// A duration can't be read or is out of bounds.
    DurationInvalid,
    /// A duration exceeds the binding's ceiling.
    DurationTooLong,
    /// The credential's time to live is below the provider's floor.
    CredentialTTLTooShort,
    /// The credential's time to live exceeds what the provider gives.
    CredentialTTLTooLong,
    /// The session policy is larger than the provider takes.
    PolicyTooLarge,
    /// What would enforce the grant is less than is asked for.
    EnforcementTooWeak,
    /// The binding lets no policy only look on.
    ObserveNotAllowed,
    /// What an agent used is not gathered: its policy is in mode Enforce, or gone.
    NotObserving,
    /// The issuer has not tried yet.
    ProbePending,
    /// The provider refused to let the issuer assume the principal.
    AssumeRoleDenied,
    /// The issuer's own identity at the provider is missing or wrong.
    BaseIdentityInvalid,
    /// The provider can't be reached.
    ProviderUnreachable,
    /// The provider asks us to slow down.
    ProviderThrottled,
    /// The provider refuses the document or a parameter.
    ProviderRejected,
    /// The issuer itself may not do what the provider needs.
    IssuerForbidden,
    /// An assumed role can hand out one hour at most.
    RoleChainingLimit,
    /// The grant has changed since it was decided.
    GrantChanged,
    /// An admission policy of ours is missing or changed: until it stands again nothing is opened.
    BackstopMissing,
    /// An approval rule can't be read, or can't be met.
    ApprovalRuleInvalid,
    /// An approval rule gives more than the binding's ceiling.
    ApprovalTooBroad,
    /// People are asked; the session opens once they have approved.
    ApprovalPending,
    /// People can't be asked: the API server refuses the approval.
    ApprovalNotCreated,
    /// Somebody said no.
    ApprovalDenied,
    /// Nobody decided in time.
    ApprovalExpired,
    /// Nobody waits for the approval any more.
    ApprovalUnneeded,
    /// Who approved said no after all, or the approval is not what the session rests on any more.
    ApprovalWithdrawn,
    /// Who decides may not, or not like this.
    ApproverNotEligible,
    /// A hold keeps new sessions off.
    Held,
    /// The session's time is up.
    SessionExpired,
    /// Somebody revoked the session.
    SessionRevoked,
    /// The policy or its provider changed: the next session is decided afresh.
    AuthorityChanged,
    /// The agent finished.
    AgentCompleted,
    /// The agent failed.
    AgentFailed,
    /// The pod was deleted while it ran.
    PodDeleted,
    /// The pod ended and nobody saw how.
    ExitUnknown,
    /// There is no session for the pod yet.
    SessionNotFound,
    /// The session is not active.
    SessionNotActive,
    /// Too little of the session is left for a credential.
    SessionEnding,
    /// The token does not prove a pod.
    TokenInvalid,
    /// The pod is gone, ended or another one.
    PodGone,
    /// Another sidecar of the same pod is alive.
    HolderConflict,
    /// The caller shows no holder key, or one that is not written as a sidecar writes it.
    HolderKeyInvalid,
    /// The sidecar has no stream to any issuer.
    SidecarSilent,
    /// Too many requests.
    RateLimited,
    /// The issuer can't be reached by the sidecar.
    IssuerUnreachable,
    /// The audit log takes no record, so nothing is minted.
    AuditUnavailable,
    /// Something of ours failed.
    InternalError,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason with the sentence that names the field and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Refused {
    /// The code.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Refused {
    /// Puts both together.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
