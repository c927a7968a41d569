//! The Kubernetes provider against a real API server, with the rights that the chart gives the issuer and no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Place, in_place, named, provider, request, rule, until};
use exeat_crds::names::SESSION_UID_LABEL;
use exeat_crds::reason::Reason;
use exeat_crds::rules::{Grant, Kind};
use exeat_providers::{Minted, Provider, SessionId};
use exeat_wire::Credential;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

const TTL: SignedDuration = SignedDuration::from_mins(15);
/// How long a token may be good for after its Secret is gone.
const REVOKED_WITHIN: Duration = Duration::from_secs(12);

async fn kubernetes(place: &Place) -> Arc<dyn Provider> {
    provider(json!({"kubernetes": {}}), &place.context).await.unwrap()
}

fn grant(place: &Place, allow: &[(&[&str], &[&str])]) -> Grant {
    crate::support::grant(Kind::Kubernetes, &format!("system:serviceaccounts:{}", place.grants()), allow)
}

fn list_configmaps(place: &Place) -> Grant {
    grant(place, &[(&["list configmaps"], &[&format!("{}/*", place.agents())])])
}

fn client(place: &Place, minted: &Minted) -> Client {
    let Credential::Kubernetes(credential) = &minted.credential else { panic!("{minted:?}") };
    place.client_with(credential.token.expose())
}

async fn code<T>(call: impl Future<Output = kube::Result<T>>) -> u16 {
    match call.await {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
    }
}

async fn list_code(client: &Client, namespace: &str) -> u16 {
    code(Api::<ConfigMap>::namespaced(client.clone(), namespace).list(&ListParams::default())).await
}

/// How many objects of the session there are.
async fn left(place: &Place, session: &SessionId) -> usize {
    let of = ListParams::default().labels(&format!("{SESSION_UID_LABEL}={}", session.uid));
    let (grants, agents) = (place.grants(), place.agents());
    Api::<ServiceAccount>::namespaced(place.admin.clone(), &grants).list(&of).await.unwrap().items.len()
        + Api::<Secret>::namespaced(place.admin.clone(), &grants).list(&of).await.unwrap().items.len()
        + Api::<Role>::namespaced(place.admin.clone(), &agents).list(&of).await.unwrap().items.len()
        + Api::<RoleBinding>::namespaced(place.admin.clone(), &agents).list(&of).await.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_can_do_what_is_granted_from_its_first_call_and_nothing_else() {
    in_place("scope", async |place| {
        let (provider, session) = (kubernetes(&place).await, place.session("scope-1"));
        let (grant, started) = (list_configmaps(&place), Instant::now());
        let asked = request(&session, &grant, TTL);
        let minted = provider.mint(&asked).await.unwrap();
        println!("first mint: {:?}", started.elapsed());
        let agent = client(&place, &minted);
        assert_eq!(list_code(&agent, &place.agents()).await, 200, "the first call");
        assert_eq!(list_code(&agent, &place.other()).await, 403);
        assert_eq!(list_code(&agent, &place.grants()).await, 403);
        let secrets: Api<Secret> = Api::namespaced(agent.clone(), &place.agents());
        assert_eq!(code(secrets.list(&ListParams::default())).await, 403);
        let maps: Api<ConfigMap> = Api::namespaced(agent, &place.agents());
        assert_eq!(code(maps.get("kube-root-ca.crt")).await, 403, "list is not get");
        let map = ConfigMap { metadata: named("x"), ..ConfigMap::default() };
        assert_eq!(code(maps.create(&PostParams::default(), &map)).await, 403);

        let Credential::Kubernetes(credential) = &minted.credential else { panic!("{minted:?}") };
        assert_eq!(credential.server, "https://kubernetes.default.svc");
        assert_eq!(credential.namespace, place.agents());
        assert!(credential.certificate_authority.contains("BEGIN CERTIFICATE"));
        assert!(
            minted.expires_at <= asked.now + TTL && minted.expires_at > asked.now + TTL - SignedDuration::from_secs(2)
        );
        assert!(!minted.credential_id.is_empty());
        assert!(!format!("{minted:?}").contains(credential.token.expose()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_the_grant_holds() {
    in_place("names", async |place| {
        let (provider, session) = (kubernetes(&place).await, place.session("names-1"));
        for name in ["a", "b"] {
            place.make(&place.agents(), &ConfigMap { metadata: named(name), ..ConfigMap::default() }).await;
        }
        let grant = grant(&place, &[(&["get configmaps", "delete configmaps"], &[&format!("{}/a", place.agents())])]);
        let minted = provider.mint(&request(&session, &grant, TTL)).await.unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(client(&place, &minted), &place.agents());
        assert_eq!(code(maps.get("a")).await, 200);
        assert_eq!(code(maps.get("b")).await, 403);
        assert_eq!(code(maps.delete("b", &Default::default())).await, 403);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_within_seconds_and_nothing_is_left() {
    in_place("revoke", async |place| {
        let (provider, session, other) = (kubernetes(&place).await, place.session("r-1"), place.session("r-2"));
        let grant = list_configmaps(&place);
        let first = provider.mint(&request(&session, &grant, TTL)).await.unwrap();
        let started = Instant::now();
        let second = provider.mint(&request(&session, &grant, TTL)).await.unwrap();
        println!("mint of a renewal: {:?}", started.elapsed());
        let bystander = provider.mint(&request(&other, &grant, TTL)).await.unwrap();
        assert_ne!(first.credential_id, second.credential_id);
        assert_eq!(left(&place, &session).await, 4, "a renewal makes nothing new");
        let agents: Vec<Client> = [&first, &second, &bystander].map(|minted| client(&place, minted)).into();
        for agent in &agents {
            assert_eq!(list_code(agent, &place.agents()).await, 200);
        }

        let started = Instant::now();
        provider.revoke(&session, None).await.unwrap();
        println!("revoke: {:?}", started.elapsed());
        for agent in &agents[..2] {
            let took = until("401", REVOKED_WITHIN, || async { list_code(agent, &place.agents()).await == 401 }).await;
            println!("refused after {took:?}");
        }
        assert_eq!(left(&place, &session).await, 0);
        assert_eq!(list_code(&agents[2], &place.agents()).await, 200, "another session goes on");
        provider.revoke(&session, first.handle.as_deref()).await.unwrap();
        provider.revoke(&place.session("never-minted"), None).await.unwrap();
        provider.revoke(&other, bystander.handle.as_deref()).await.unwrap();
        assert_eq!(left(&place, &other).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_is_found_and_revoked_without_its_sessions() {
    in_place("made", async |place| {
        let (provider, grant) = (kubernetes(&place).await, list_configmaps(&place));
        place.make(&place.grants(), &ServiceAccount { metadata: named("stranger"), ..ServiceAccount::default() }).await;
        let sessions = [place.session("g-1"), place.session("g-2")];
        let minted = provider.mint(&request(&sessions[0], &grant, TTL)).await.unwrap();
        provider.mint(&request(&sessions[1], &grant, TTL)).await.unwrap();
        let mut made = provider.made().await.unwrap();
        made.sort_by(|a, b| a.session.name.cmp(&b.session.name));
        let found: Vec<_> = made.iter().map(|m| (&m.session.name, &m.session.uid, &m.session.namespace)).collect();
        let wanted: Vec<_> = sessions.iter().map(|s| (&s.name, &s.uid, &s.namespace)).collect();
        assert_eq!(found, wanted);

        provider.revoke(&made[0].session, None).await.unwrap();
        assert_eq!((left(&place, &sessions[0]).await, left(&place, &sessions[1]).await), (0, 4));
        let agent = client(&place, &minted);
        until("401", REVOKED_WITHIN, || async { list_code(&agent, &place.agents()).await == 401 }).await;
        assert_eq!(provider.made().await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_holds_the_issuer_to_its_ceiling() {
    in_place("ceiling", async |place| {
        let (provider, session) = (kubernetes(&place).await, place.session("c-1"));
        let everything = format!("{}/*", place.agents());
        let wide = grant(&place, &[(&["list configmaps", "get secrets"], &[&everything])]);
        for error in [
            provider.probe_grant(&request(&session, &wide, TTL)).await.unwrap_err(),
            provider.mint(&request(&session, &wide, TTL)).await.unwrap_err(),
        ] {
            assert_eq!((error.reason, error.retryable), (Reason::IssuerForbidden, false), "{error}");
            let account = format!("--serviceaccount={}:issuer", place.system());
            for part in ["secrets", &place.agents(), &account, "create rolebinding"] {
                assert!(error.message.contains(part), "{part}: {error}");
            }
        }
        assert_eq!(left(&place, &session).await, 0, "a refused mint leaves nothing");

        assert!(provider.probe_grant(&request(&session, &list_configmaps(&place), TTL)).await.is_ok());
        assert_eq!(left(&place, &session).await, 0, "a probe leaves nothing");

        place.allow(&place.agents(), "more", vec![rule("", &["secrets"], &["get"])]).await;
        until("the wider ceiling", Duration::from_secs(10), || async {
            provider.probe_grant(&request(&session, &wide, TTL)).await.is_ok()
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_where_the_issuer_may_not_make_roles_is_named_with_the_fix() {
    in_place("unbound", async |place| {
        let (provider, session) = (kubernetes(&place).await, place.session("u-1"));
        let elsewhere = grant(&place, &[(&["list configmaps"], &[&format!("{}/*", place.other())])]);
        let error = provider.probe_grant(&request(&session, &elsewhere, TTL)).await.unwrap_err();
        assert_eq!(error.reason, Reason::IssuerForbidden);
        for part in ["create roles", "patch rolebindings", &place.other(), "--clusterrole=exeat-kubernetes-grants"] {
            assert!(error.message.contains(part), "{part}: {error}");
        }
        let error = provider.mint(&request(&session, &elsewhere, TTL)).await.unwrap_err();
        assert_eq!(error.reason, Reason::IssuerForbidden, "{error}");

        let nowhere = grant(&place, &[(&["list configmaps"], &["exeat-no-such-namespace/*"])]);
        let error = provider.probe_grant(&request(&session, &nowhere, TTL)).await.unwrap_err();
        assert_eq!(error.reason, Reason::IssuerForbidden, "{error}");

        let mut wrong = list_configmaps(&place);
        wrong.principal = "system:serviceaccounts:kube-system".into();
        let error = provider.mint(&request(&session, &wrong, TTL)).await.unwrap_err();
        assert_eq!(error.reason, Reason::PrincipalInvalid);
        assert!(error.message.contains(&place.grants()), "{error}");

        let inside = grant(&place, &[(&["list configmaps"], &[&format!("{}/*", place.grants())])]);
        let error = provider.mint(&request(&session, &inside, TTL)).await.unwrap_err();
        assert_eq!(error.reason, Reason::ResourceInvalid, "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_tells_who_the_issuer_is_and_what_it_lacks() {
    in_place("probe", async |place| {
        let identity = kubernetes(&place).await.probe_identity().await.unwrap();
        assert_eq!(identity.identity, Some(format!("system:serviceaccount:{}:issuer", place.system())));
        assert!(!identity.chained);

        let mut context = place.context.clone();
        context.grants_namespace = place.other();
        let poor = provider(json!({"kubernetes": {}}), &context).await.unwrap();
        let error = poor.probe_identity().await.unwrap_err();
        assert_eq!(error.reason, Reason::IssuerForbidden);
        for part in ["create serviceaccounts/token", "delete secrets", &place.other(), "Role exeat-issuer"] {
            assert!(error.message.contains(part), "{part}: {error}");
        }

        context = place.context.clone();
        context.client = place.client_with("not-a-token");
        let nobody = provider(json!({"kubernetes": {}}), &context).await.unwrap();
        let error = nobody.probe_identity().await.unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{error}");

        let mut config = kube::Config::new("https://127.0.0.1:1".parse().unwrap());
        config.root_cert = place.config.root_cert.clone();
        context.client = Client::try_from(config).unwrap();
        let down = provider(json!({"kubernetes": {}}), &context).await.unwrap();
        let error = down.probe_identity().await.unwrap_err();
        assert_eq!((error.reason, error.retryable), (Reason::ProviderUnreachable, true), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_others_are_neither_used_nor_removed() {
    in_place("foreign", async |place| {
        let (provider, session) = (kubernetes(&place).await, place.session("f-1"));
        place.make(&place.grants(), &ServiceAccount { metadata: named("f-1"), ..ServiceAccount::default() }).await;
        let grant = list_configmaps(&place);
        let error = provider.mint(&request(&session, &grant, TTL)).await.unwrap_err();
        assert_eq!(error.reason, Reason::ProviderRejected);
        assert!(error.message.contains("not made for this session"), "{error}");
        provider.revoke(&session, None).await.unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(place.admin.clone(), &place.grants());
        assert!(accounts.get_opt("f-1").await.unwrap().is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_somebody_widened_is_brought_back_at_the_next_mint() {
    in_place("heal", async |place| {
        let (provider, session, grant) = (kubernetes(&place).await, place.session("h-1"), list_configmaps(&place));
        provider.mint(&request(&session, &grant, TTL)).await.unwrap();
        let roles: Api<Role> = Api::namespaced(place.admin.clone(), &place.agents());
        let wide = json!({"rules": [rule("", &["*"], &["*"])]});
        roles.patch("exeat-h-1", &PatchParams::default(), &Patch::Merge(&wide)).await.unwrap();
        let bindings: Api<RoleBinding> = Api::namespaced(place.admin.clone(), &place.agents());
        bindings.delete("exeat-h-1", &Default::default()).await.unwrap();

        let minted = provider.mint(&request(&session, &grant, TTL)).await.unwrap();
        let rules = roles.get("exeat-h-1").await.unwrap().rules.unwrap();
        assert_eq!(rules, vec![rule("", &["configmaps"], &["list"])]);
        let agent = client(&place, &minted);
        until("the binding", Duration::from_secs(10), || async { list_code(&agent, &place.agents()).await == 200 })
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_at_once_get_their_tokens() {
    in_place("many", async |place| {
        let (provider, grant, started) = (kubernetes(&place).await, list_configmaps(&place), Instant::now());
        let sessions: Vec<SessionId> = (0..30).map(|n| place.session(&format!("m-{n}"))).collect();
        let minted = futures::future::try_join_all(
            sessions.iter().map(async |session| provider.mint(&request(session, &grant, TTL)).await),
        )
        .await
        .unwrap();
        println!("30 mints at once: {:?}", started.elapsed());
        for minted in &minted {
            assert_eq!(list_code(&client(&place, minted), &place.agents()).await, 200);
        }
        futures::future::try_join_all(sessions.iter().map(|session| provider.revoke(session, None))).await.unwrap();
    })
    .await;
}
