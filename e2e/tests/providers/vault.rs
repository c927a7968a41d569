//! The Vault provider against a real OpenBao with a real PostgreSQL behind its database engine. The issuer has the rights that docs/vault.md
//! gives it and no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::vault::{ADDRESS, ADDRESS_TLS, DatabaseLogin, authority, call, credential, env, status, token};
use crate::support::{Place, in_place, provider, request, until};
use exeat_crds::reason::Reason;
use exeat_crds::rules::{Grant, Kind};
use exeat_providers::{MintRequest, Minted, Provider, ProviderError};
use jiff::SignedDuration;
use serde_json::{Value, json};

const TTL: SignedDuration = SignedDuration::from_mins(15);
/// Vault ends leases of a token that is gone one after the other, in the background.
const LOGIN_ENDS: Duration = Duration::from_secs(10);

fn grant(role: &str) -> Grant {
    crate::support::grant(
        Kind::Vault,
        role,
        &[(&["read"], &["secret/data/reports/*", "database/creds/reader"]), (&["list"], &["secret/metadata/reports"])],
    )
}

fn spec(more: Value) -> Value {
    let mut vault = json!({"address": ADDRESS, "auth": {"appRole": {"secretRef": {"name": "openbao"}}}});
    for (key, value) in more.as_object().unwrap() {
        vault[key] = value.clone();
    }
    json!({"vault": vault})
}

async fn built(place: &Place, more: Value) -> Arc<dyn Provider> {
    let keys = env("openbao");
    place.put_secret("openbao", &[("roleID", &keys["roleID"]), ("secretID", &keys["secretID"])]).await;
    provider(spec(more), &place.context).await.unwrap()
}

async fn mint(place: &Place, provider: &dyn Provider, role: &str) -> Result<Minted, ProviderError> {
    provider.mint(&request(&place.session("vault-1"), &grant(role), TTL)).await
}

fn admin() -> String {
    env("openbao-admin")["VAULT_TOKEN"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_an_orphan_of_its_role_and_says_whose_it_is() {
    in_place("vault", async |place| {
        let provider = built(&place, json!({})).await;
        let identity = provider.probe_identity().await.unwrap();
        assert_eq!(identity.identity.as_deref(), Some("approle"));
        let grant = grant("agents-reader");
        let session = place.session("vault-1");
        provider.probe_grant(&request(&session, &grant, SignedDuration::from_mins(1))).await.unwrap();
        let (asked, started) = (request(&session, &grant, TTL), Instant::now());
        let minted = provider.mint(&asked).await.unwrap();
        println!("mint at OpenBao: {:?}", started.elapsed());
        assert!(
            minted.expires_at <= asked.now + TTL && minted.expires_at > asked.now + TTL - SignedDuration::from_secs(5)
        );
        assert!(minted.further && minted.credential_id == credential(&minted).accessor);
        assert!(!format!("{minted:?}").contains(token(&minted)));
        let (code, told) =
            call(&admin(), "POST", "auth/token/lookup-accessor", Some(&json!({"accessor": minted.credential_id})))
                .await;
        assert_eq!(code, 200, "{told}");
        let told = &told["data"];
        assert_eq!(
            (&told["orphan"], &told["role"], &told["num_uses"]),
            (&json!(true), &json!("agents-reader"), &json!(0))
        );
        assert_eq!(told["meta"]["exeat_session"], "vault-1");
        assert_eq!(told["meta"]["exeat_namespace"], place.agents());
        for (method, path, expected) in [
            ("GET", "secret/data/reports/q3", 200),
            ("LIST", "secret/metadata/reports", 200),
            ("GET", "secret/data/payroll", 403),
            ("GET", "sys/mounts", 403),
        ] {
            assert_eq!(status(token(&minted), method, path).await, expected, "{method} {path}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_at_once_and_so_is_the_database_login_that_it_took() {
    in_place("vaultrevoke", async |place| {
        let provider = built(&place, json!({})).await;
        let minted = mint(&place, provider.as_ref(), "agents-reader").await.unwrap();
        let bystander = mint(&place, provider.as_ref(), "agents-reader").await.unwrap();
        let (login, other) = (DatabaseLogin::take(token(&minted)).await, DatabaseLogin::take(token(&bystander)).await);
        assert!(login.works().await && other.works().await);
        let (session, started) = (place.session("vault-1"), Instant::now());
        provider.revoke(&session, minted.handle.as_deref()).await.unwrap();
        println!("revoke at OpenBao: {:?}", started.elapsed());
        assert_eq!(status(token(&minted), "GET", "secret/data/reports/q3").await, 403);
        let ended = until("PostgreSQL refuses the login", LOGIN_ENDS, async || !login.works().await).await;
        println!("the database login ended {ended:?} after the revocation");
        assert!(other.works().await && status(token(&bystander), "GET", "secret/data/reports/q3").await == 200);
        provider.revoke(&session, minted.handle.as_deref()).await.unwrap();
        provider.revoke(&session, None).await.unwrap();
        let both = bystander.recorded(minted.handle.as_deref());
        provider.revoke(&session, both.as_deref()).await.unwrap();
        assert_eq!(status(token(&bystander), "GET", "secret/data/reports/q3").await, 403, "the second on record");
        until("the other login ends", LOGIN_ENDS, async || !other.works().await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_on_record_is_prolonged_and_any_other_is_not() {
    in_place("vaultrenew", async |place| {
        let provider = built(&place, json!({})).await;
        let first = mint(&place, provider.as_ref(), "agents-reader").await.unwrap();
        let login = DatabaseLogin::take(token(&first)).await;
        let (session, grant) = (place.session("vault-1"), grant("agents-reader"));
        let again = |handle: Option<&'static str>, held: Option<&'static str>, ttl| MintRequest {
            handle,
            held,
            ..request(&session, &grant, ttl)
        };
        let handle: &'static str = Box::leak(first.handle.clone().unwrap().into_boxed_str());
        let held: &'static str = Box::leak(first.credential_id.clone().into_boxed_str());
        let hour = SignedDuration::from_hours(1);
        let asked = again(Some(handle), Some(held), hour);
        let renewed = provider.mint(&asked).await.unwrap();
        assert!(credential(&renewed).token.is_none() && renewed.credential_id == first.credential_id);
        assert!(renewed.handle.is_none() && !renewed.further, "a renewal that is not handed out takes nothing away");
        assert!(renewed.expires_at > asked.now + SignedDuration::from_mins(59), "{}", renewed.expires_at);
        for (handle, held) in [(None, Some(held)), (Some(handle), None), (Some(handle), Some("another"))] {
            let minted = provider.mint(&again(handle, held, TTL)).await.unwrap();
            assert!(
                credential(&minted).token.is_some() && minted.credential_id != first.credential_id && minted.further
            );
        }
        provider.revoke(&session, Some(handle)).await.unwrap();
        let anew = provider.mint(&again(Some(handle), Some(held), TTL)).await.unwrap();
        assert!(anew.further, "one that is gone is replaced");
        until("the login of the first ends", LOGIN_ENDS, async || !login.works().await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_agent_loses_access_with_the_issuers_own_token() {
    in_place("vaultrollout", async |place| {
        let (code, told) = call(
            &admin(),
            "POST",
            "auth/token/create",
            Some(&json!({"policies": ["exeat-issuer"], "ttl": "1h", "renewable": true})),
        )
        .await;
        assert_eq!(code, 200, "{told}");
        let own = told["auth"]["client_token"].as_str().unwrap();
        place.put_secret("token", &[("token", own)]).await;
        let auth = json!({"auth": {"token": {"secretRef": {"name": "token"}}}});
        let provider = provider(spec(auth), &place.context).await.unwrap();
        assert_eq!(provider.probe_identity().await.unwrap().identity.as_deref(), Some("token"));
        let minted = mint(&place, provider.as_ref(), "agents-reader").await.unwrap();
        assert_eq!(call(own, "POST", "auth/token/revoke-self", Some(&json!({}))).await.0, 204);
        assert_eq!(status(token(&minted), "GET", "secret/data/reports/q3").await, 200);
        let error = mint(&place, provider.as_ref(), "agents-reader").await.unwrap_err();
        assert!(matches!(error.reason, Reason::AssumeRoleDenied | Reason::BaseIdentityInvalid), "{error}");
        let keys = env("openbao");
        place.put_secret("openbao", &[("roleID", &keys["roleID"]), ("secretID", &keys["secretID"])]).await;
        let next = crate::support::provider(spec(json!({})), &place.context).await.unwrap();
        next.revoke(&place.session("vault-1"), minted.handle.as_deref()).await.unwrap();
        assert_eq!(
            status(token(&minted), "GET", "secret/data/reports/q3").await,
            403,
            "another identity revokes as well"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_own_service_account_logs_in() {
    in_place("vaultlogin", async |place| {
        let account = k8s_openapi::api::core::v1::ServiceAccount {
            metadata: crate::support::named("exeat-issuer"),
            ..Default::default()
        };
        place.make(&place.system(), &account).await;
        let folder = std::env::temp_dir().join(&place.name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut context = place.context.clone();
        context.vault_token_file = folder.join("token");
        let auth = json!({"auth": {"kubernetes": {"role": "exeat-issuer"}}});
        for (audience, fine) in [("vault", true), ("elsewhere", false)] {
            let token = place.token(&place.system(), "exeat-issuer", vec![audience.to_owned()]).await;
            std::fs::write(&context.vault_token_file, token).unwrap();
            let provider = provider(spec(auth.clone()), &context).await.unwrap();
            match provider.probe_identity().await {
                Ok(_) => assert!(fine, "a token for another audience logs in"),
                Err(error) => {
                    assert!(!fine, "{error}");
                    assert_eq!(error.reason, Reason::BaseIdentityInvalid);
                    assert!(error.message.contains("auth/kubernetes") && !error.message.contains("eyJ"), "{error}");
                }
            }
        }
        std::fs::remove_dir_all(&folder).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_honoured_is_refused_with_the_fix() {
    in_place("vaultrefuse", async |place| {
        let provider = built(&place, json!({})).await;
        let session = place.session("vault-1");
        for (role, reason, part) in [
            ("agents-child", Reason::ProviderRejected, "orphan=true"),
            ("agents-period", Reason::ProviderRejected, "token_period"),
            ("agents-none", Reason::AssumeRoleDenied, "agents-none"),
            ("others", Reason::AssumeRoleDenied, "auth/token/create/others"),
        ] {
            let error = mint(&place, provider.as_ref(), role).await.unwrap_err();
            assert_eq!(error.reason, reason, "{role}: {error}");
            assert!(error.message.contains(part) && !error.retryable, "{role}: {error}");
        }
        let wide = crate::support::grant(Kind::Vault, "agents-reader", &[(&["read"], &["secret/data/payroll"])]);
        let error = provider.probe_grant(&request(&session, &wide, SignedDuration::from_mins(1))).await.unwrap_err();
        assert_eq!(error.reason, Reason::AssumeRoleDenied, "{error}");
        assert!(error.message.contains("read secret/data/payroll"), "{error}");
        // Its tokens may not ask what they may do: nothing is known, and nothing is claimed.
        let mute = grant("agents-mute");
        provider.probe_grant(&request(&session, &mute, SignedDuration::from_mins(1))).await.unwrap();

        let few = built(&place, json!({"tokenUses": 2})).await;
        let minted = mint(&place, few.as_ref(), "agents-reader").await.unwrap();
        for expected in [200, 200, 403] {
            assert_eq!(status(token(&minted), "GET", "secret/data/reports/q3").await, expected);
        }
        place.put_secret("openbao", &[("roleID", "nobody"), ("secretID", "nothing")]).await;
        let wrong = crate::support::provider(spec(json!({})), &place.context).await.unwrap();
        let error = wrong.probe_identity().await.unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{error}");
        assert!(error.message.contains("auth/approle"), "{error}");
        let away = crate::support::provider(
            spec(json!({"address": "http://198.18.0.1:1", "auth": {"kubernetes": {"role": "x"}}})),
            &place.context,
        )
        .await;
        let error = away.unwrap().probe_identity().await.unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid, "no token to log in with: {error}");
        place.put_secret("token", &[("token", "hvs.nothing")]).await;
        let away = json!({"address": "http://198.18.0.1:1", "auth": {"token": {"secretRef": {"name": "token"}}}});
        let error =
            crate::support::provider(spec(away), &place.context).await.unwrap().probe_identity().await.unwrap_err();
        assert_eq!((error.reason, error.retryable), (Reason::ProviderUnreachable, true), "{error}");
    })
    .await;
}

/// A namespace of Vault as its admin sets it up, with an issuer and agents of its own. The Secret of its AppRole.
async fn team(place: &Place) -> String {
    let name = place.name.clone();
    let path = |path: &str| format!("{name}/{path}");
    let admin = admin();
    let done = async |path: &str, body: Value| {
        let (code, told) = call(&admin, "POST", path, Some(&body)).await;
        assert!((200..300).contains(&code), "{path}: {code} {told}");
        told
    };
    done(&format!("sys/namespaces/{name}"), json!({})).await;
    for (policy, rules) in [
        ("agents", "path \"secret/data/reports/*\" { capabilities = [\"read\"] }"),
        (
            "exeat-issuer",
            "path \"auth/token/create/agents-*\" { capabilities = [\"update\"] }\n\
             path \"auth/token/renew-accessor\" { capabilities = [\"update\"] }\n\
             path \"auth/token/revoke-accessor\" { capabilities = [\"update\"] }",
        ),
    ] {
        done(&path(&format!("sys/policies/acl/{policy}")), json!({"policy": rules})).await;
    }
    let role = json!({"allowed_policies": "agents", "orphan": true, "renewable": true, "token_type": "service"});
    done(&path("auth/token/roles/agents-reader"), role).await;
    done(&path("sys/mounts/secret"), json!({"type": "kv", "options": {"version": "2"}})).await;
    done(&path("secret/data/reports/q3"), json!({"data": {"text": "the team's"}})).await;
    done(&path("sys/auth/approle"), json!({"type": "approle"})).await;
    done(&path("auth/approle/role/exeat-issuer"), json!({"token_policies": "exeat-issuer", "token_ttl": "10m"})).await;
    let (_, told) = call(&admin, "GET", &path("auth/approle/role/exeat-issuer/role-id"), None).await;
    let secret = done(&path("auth/approle/role/exeat-issuer/secret-id"), json!({})).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = (text(&told["data"]["role_id"]), text(&secret["data"]["secret_id"]));
    place.put_secret("team", &[("roleID", &keys.0), ("secretID", &keys.1)]).await;
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_namespace_over_tls_all_goes_on_there_and_nothing_beside_it() {
    in_place("vaultteam", async |place| {
        let team = team(&place).await;
        let secure = |more: Value| {
            let mut all = json!({
                "address": ADDRESS_TLS, "caCert": authority(), "namespace": team, "auth": {"appRole": {"secretRef": {"name": "team"}}},
            });
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec(all)
        };
        let provider = provider(secure(json!({})), &place.context).await.unwrap();
        let identity = provider.probe_identity().await.unwrap().identity;
        assert!(identity.as_deref().is_some_and(|name| name.ends_with("approle")), "{identity:?}");
        let grant = crate::support::grant(Kind::Vault, "agents-reader", &[(&["read"], &["secret/data/reports/*"])]);
        let session = place.session("vault-1");
        provider.probe_grant(&request(&session, &grant, TTL)).await.unwrap();
        let minted = provider.mint(&request(&session, &grant, TTL)).await.unwrap();
        let given = credential(&minted);
        assert_eq!((given.namespace.as_deref(), given.address.as_str()), (Some(team.as_str()), ADDRESS_TLS));
        assert!(given.certificate_authority.as_deref().is_some_and(|pem| pem == authority()), "the sidecar needs it too");
        let (theirs, ours) = (format!("{team}/secret/data/reports/q3"), "secret/data/reports/q3");
        assert_eq!(status(token(&minted), "GET", &theirs).await, 200);
        assert_eq!(status(token(&minted), "GET", ours).await, 403, "another namespace's");

        let (handle, held) = (minted.handle.clone(), minted.credential_id.clone());
        let again = MintRequest {
            handle: handle.as_deref(),
            held: Some(&held),
            ..request(&session, &grant, SignedDuration::from_hours(1))
        };
        let renewed = provider.mint(&again).await.unwrap();
        assert!(credential(&renewed).token.is_none(), "prolonged in place");
        let elsewhere = built(&place, json!({})).await;
        assert_eq!(elsewhere.revoke(&session, handle.as_deref()).await.unwrap_err().reason, Reason::ProviderRejected);
        provider.revoke(&session, handle.as_deref()).await.unwrap();
        assert_eq!(status(token(&minted), "GET", &theirs).await, 403);

        let unknown = crate::support::provider(secure(json!({"caCert": null})), &place.context).await.unwrap();
        let error = unknown.probe_identity().await.unwrap_err();
        assert_eq!(error.reason, Reason::ProviderUnreachable);
        assert!(error.message.contains("certificate") && error.message.contains("caCert"), "{error}");
    })
    .await;
}
