//! A place of its own in the real cluster for one test: namespaces, an issuer with exactly the rights of the chart, and its client.
pub(crate) mod gcp;
pub(crate) mod s3;
pub(crate) mod vault;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use exeat_crds::rules::{Grant, Kind, Statement};
use exeat_providers::{Context, MintRequest, Provider, SessionId};
use exeat_runtime::clock::{Clock, SystemClock};
use exeat_runtime::dns::Resolver;
use futures::FutureExt;
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, Config};

pub(crate) const ISSUER: &str = "issuer";
const RBAC: &str = "rbac.authorization.k8s.io";

/// One test's namespaces and clients.
pub(crate) struct Place {
    pub(crate) admin: Client,
    pub(crate) config: Config,
    pub(crate) name: String,
    pub(crate) context: Context,
}

/// Runs a test in a place of its own and removes the place, whether the test succeeded or not.
pub(crate) async fn in_place<F: Future<Output = ()>>(name: &str, test: impl FnOnce(std::sync::Arc<Place>) -> F) {
    #[expect(clippy::disallowed_methods, reason = "tests have no flags")]
    let wanted = std::env::var("EXEAT_E2E").is_ok_and(|value| value == "1");
    assert!(wanted, "this test needs the cluster: EXEAT_E2E=1 e2e/cluster/enter.sh <this binary>");
    let place = std::sync::Arc::new(Place::new(name).await);
    let outcome = AssertUnwindSafe(test(place.clone())).catch_unwind().await;
    place.remove().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

impl Place {
    async fn new(name: &str) -> Self {
        let config = Config::infer().await.expect("KUBECONFIG");
        let admin = Client::try_from(config.clone()).unwrap();
        let name = format!("exeat-t-{name}-{:08x}", rand::random::<u32>());
        let context = Context {
            client: admin.clone(),
            namespace: format!("{name}-system"),
            grants_namespace: format!("{name}-grants"),
            cluster: "test".to_owned(),
            resolver: Resolver::system(),
            web_identity_token_file: "/nonexistent".into(),
            vault_token_file: "/nonexistent".into(),
            azure_token_file: "/nonexistent".into(),
            gcp_token_file: "/nonexistent".into(),
            cluster_ca_pem: Some(pem(&config)),
            cluster_server: "https://kubernetes.default.svc".to_owned(),
        };
        let mut place = Self { admin, config, name, context };
        for namespace in [place.system(), place.grants(), place.agents(), place.other()] {
            let namespace = Namespace { metadata: named(&namespace), ..Namespace::default() };
            place.make_global(&namespace).await;
        }
        place.make_issuer().await;
        place.context.client = place.client_of(&place.system(), ISSUER).await;
        place
    }

    pub(crate) fn system(&self) -> String {
        self.context.namespace.clone()
    }

    pub(crate) fn grants(&self) -> String {
        self.context.grants_namespace.clone()
    }

    /// Here the issuer may make Roles, up to a ceiling.
    pub(crate) fn agents(&self) -> String {
        format!("{}-agents", self.name)
    }

    /// Here the issuer may do nothing.
    pub(crate) fn other(&self) -> String {
        format!("{}-other", self.name)
    }

    /// The rights that the chart gives the issuer, and a ceiling over ConfigMaps.
    async fn make_issuer(&self) {
        let account = ServiceAccount { metadata: named(ISSUER), ..ServiceAccount::default() };
        self.make(&self.system(), &account).await;
        let (accounts, roles) = (["create", "delete", "get", "patch"], ["create", "delete", "get", "patch"]);
        self.allow(
            &self.grants(),
            "accounts",
            vec![
                rule("", &["serviceaccounts", "secrets"], &accounts),
                rule("", &["serviceaccounts"], &["list"]),
                rule("", &["serviceaccounts/token"], &["create"]),
            ],
        )
        .await;
        self.allow(&self.system(), "secrets", vec![rule("", &["secrets"], &["get"])]).await;
        self.allow(&self.agents(), "grants", vec![rule(RBAC, &["roles", "rolebindings"], &roles)]).await;
        let ceiling = ["get", "list", "watch", "create", "update", "delete"];
        self.allow(&self.agents(), "ceiling", vec![rule("", &["configmaps"], &ceiling)]).await;
        let reviews = rule("authorization.k8s.io", &["subjectaccessreviews"], &["create"]);
        let role = ClusterRole { metadata: named(&self.name), rules: Some(vec![reviews]), ..ClusterRole::default() };
        self.make_global(&role).await;
        self.make_global(&ClusterRoleBinding {
            metadata: named(&self.name),
            role_ref: role_ref("ClusterRole", &self.name),
            subjects: Some(vec![self.issuer()]),
        })
        .await;
    }

    fn issuer(&self) -> Subject {
        Subject {
            kind: "ServiceAccount".into(),
            name: ISSUER.into(),
            namespace: Some(self.system()),
            ..Subject::default()
        }
    }

    /// Gives the issuer a Role.
    pub(crate) async fn allow(&self, namespace: &str, name: &str, rules: Vec<PolicyRule>) {
        let name = format!("issuer-{name}");
        self.make(namespace, &Role { metadata: named(&name), rules: Some(rules) }).await;
        let (role_ref, subjects) = (role_ref("Role", &name), Some(vec![self.issuer()]));
        self.make(namespace, &RoleBinding { metadata: named(&name), role_ref, subjects }).await;
    }

    pub(crate) async fn make<K>(&self, namespace: &str, object: &K)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.admin.clone(), namespace);
        api.create(&PostParams::default(), object).await.unwrap();
    }

    async fn make_global<K>(&self, object: &K)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::all(self.admin.clone());
        api.create(&PostParams::default(), object).await.unwrap();
    }

    /// A Secret in the issuer's namespace, made or replaced.
    pub(crate) async fn put_secret(&self, name: &str, entries: &[(&str, &str)]) {
        let data: BTreeMap<String, ByteString> =
            entries.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect();
        let secret = Secret { metadata: named(name), data: Some(data), ..Secret::default() };
        let api: Api<Secret> = Api::namespaced(self.admin.clone(), &self.system());
        if api.get_opt(name).await.unwrap().is_some() {
            api.delete(name, &DeleteParams::default()).await.unwrap();
        }
        api.create(&PostParams::default(), &secret).await.unwrap();
    }

    fn discovery(&self) -> String {
        format!("{}-oidc", self.name)
    }

    /// Lets everybody read the cluster's OpenID Connect discovery, as a cloud that trusts it must.
    pub(crate) async fn publish_issuer(&self) {
        let anyone = Subject {
            kind: "Group".into(),
            name: "system:unauthenticated".into(),
            api_group: Some(RBAC.into()),
            ..Subject::default()
        };
        self.make_global(&ClusterRoleBinding {
            metadata: named(&self.discovery()),
            role_ref: role_ref("ClusterRole", "system:service-account-issuer-discovery"),
            subjects: Some(vec![anyone]),
        })
        .await;
    }

    /// A client with a token of this account.
    async fn client_of(&self, namespace: &str, account: &str) -> Client {
        self.client_with(&self.token(namespace, account, Vec::new()).await)
    }

    /// A token of this account for these audiences.
    pub(crate) async fn token(&self, namespace: &str, account: &str, audiences: Vec<String>) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), namespace);
        let spec = TokenRequestSpec { audiences, expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        answer.status.unwrap().token
    }

    /// A client that has nothing but this token.
    pub(crate) fn client_with(&self, token: &str) -> Client {
        let mut config = Config::new(self.config.cluster_url.clone());
        config.root_cert = self.config.root_cert.clone();
        config.auth_info.token = Some(token.to_owned().into());
        Client::try_from(config).unwrap()
    }

    pub(crate) fn session(&self, name: &str) -> SessionId {
        SessionId {
            name: name.to_owned(),
            uid: format!("uid-of-{name}"),
            namespace: self.agents(),
            service_account: "agent".to_owned(),
            policy: "policy".to_owned(),
        }
    }

    async fn remove(&self) {
        let namespaces: Api<Namespace> = Api::all(self.admin.clone());
        for namespace in [self.system(), self.grants(), self.agents(), self.other()] {
            let _ = namespaces.delete(&namespace, &DeleteParams::default()).await;
        }
        let _ = Api::<ClusterRole>::all(self.admin.clone()).delete(&self.name, &DeleteParams::default()).await;
        for name in [self.name.clone(), self.discovery()] {
            let _ = Api::<ClusterRoleBinding>::all(self.admin.clone()).delete(&name, &DeleteParams::default()).await;
        }
    }
}

pub(crate) fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

pub(crate) fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(texts(resources)),
        verbs: texts(verbs),
        ..PolicyRule::default()
    }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: RBAC.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
}

fn pem(config: &Config) -> String {
    use base64::Engine as _;
    let encode = |der: &Vec<u8>| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    config.root_cert.iter().flatten().map(encode).collect()
}

pub(crate) fn grant(kind: Kind, principal: &str, allow: &[(&[&str], &[&str])]) -> Grant {
    let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Grant {
        kind,
        principal: principal.to_owned(),
        allow: allow.iter().map(|(a, r)| Statement { actions: texts(a), resources: texts(r) }).collect(),
        deny: Vec::new(),
        observe: false,
    }
}

pub(crate) fn request<'a>(session: &'a SessionId, grant: &'a Grant, ttl: SignedDuration) -> MintRequest<'a> {
    MintRequest { session, cluster: "test", grant, ttl, now: SystemClock.now(), handle: None, held: None }
}

/// Asks again and again until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(
    what: &str,
    limit: Duration,
    mut so: impl FnMut() -> F,
) -> Duration {
    let start = std::time::Instant::now();
    while !so().await {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    start.elapsed()
}

/// Builds through the crate's front door.
pub(crate) async fn provider(
    spec: serde_json::Value,
    context: &Context,
) -> Result<std::sync::Arc<dyn Provider>, exeat_providers::ProviderError> {
    let mut spec = spec;
    spec["bindings"] = serde_json::json!([]);
    exeat_providers::build(&serde_json::from_value(spec).unwrap(), context).await
}
