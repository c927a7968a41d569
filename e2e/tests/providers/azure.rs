//! The Azure provider against a stand-in for Entra ID that checks what Entra checks: e2e/backends/entra.py.

use std::sync::Arc;

use crate::support::vault::env;
use crate::support::{Place, in_place, provider, request};
use exeat_crds::reason::Reason;
use exeat_crds::rules::{Grant, Kind};
use exeat_e2e::azure::{AUTHORITY, READ, REPORTS, SERVICES, STORAGE, TENANT, app};
use exeat_e2e::shell;
use exeat_providers::{Context, Minted, Provider, ProviderError};
use exeat_wire::{AzureCredential, Credential};
use jiff::SignedDuration;
use serde_json::{Value, json};

const TTL: SignedDuration = SignedDuration::from_mins(15);
const AUDIENCE: &str = "api://AzureADTokenExchange";

fn grant(number: u32, resources: &[&str]) -> Grant {
    crate::support::grant(Kind::Azure, &app(number), &[(&[READ], resources)])
}

fn spec(more: &Value) -> Value {
    #[expect(clippy::disallowed_methods, reason = "tests have no flags")]
    let run = std::env::var("EXEAT_RUN_DIR").expect("EXEAT_RUN_DIR: run this inside e2e/cluster/enter.sh");
    let root = std::fs::read_to_string(format!("{run}/backends/entra-ca.crt")).expect("e2e/backends/up.sh makes it");
    let mut azure = json!({"tenantID": TENANT, "authority": AUTHORITY, "caCert": root});
    for (key, value) in more.as_object().unwrap() {
        azure[key] = value.clone();
    }
    json!({"azure": azure})
}

/// A context whose issuer has a token of its own for this audience, and an app that trusts its account.
async fn trusted(place: &Place, audience: &str, number: u32) -> Context {
    let subject = format!("system:serviceaccount:{}:{}", place.system(), crate::support::ISSUER);
    let body = json!({"client_id": app(number), "subject": subject});
    shell(&format!("curl -sf -d '{body}' {SERVICES}/federated")).await.unwrap().ok().unwrap();
    let folder = std::env::temp_dir().join(&place.name);
    std::fs::create_dir_all(&folder).unwrap();
    let mut context = place.context.clone();
    context.azure_token_file = folder.join("azure");
    let token = place.token(&place.system(), crate::support::ISSUER, vec![audience.to_owned()]).await;
    std::fs::write(&context.azure_token_file, token).unwrap();
    context
}

async fn mint(place: &Place, provider: &dyn Provider, grant: &Grant) -> Result<Minted, ProviderError> {
    provider.mint(&request(&place.session("azure-1"), grant, TTL)).await
}

fn credential(minted: &Minted) -> &AzureCredential {
    let Credential::Azure(credential) = &minted.credential else { panic!("{minted:?}") };
    credential
}

async fn shown(service: &str, token: &str) -> String {
    let line =
        format!("curl -s -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {token}' {SERVICES}/{service}/q3");
    shell(&line).await.unwrap().ok().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_resource_has_a_token_of_its_own_and_the_end_is_told_as_it_is() {
    in_place("azure", async |place| {
        let context = trusted(&place, AUDIENCE, 1).await;
        let provider = provider(spec(&json!({})), &context).await.unwrap();
        let identity = provider.probe_identity().await.unwrap().identity.unwrap();
        assert!(identity.contains(&format!("{}:{}", place.system(), crate::support::ISSUER)), "{identity}");
        let grant = grant(1, &[STORAGE, REPORTS]);
        let session = place.session("azure-1");
        provider.probe_grant(&request(&session, &grant, SignedDuration::from_mins(1))).await.unwrap();
        let asked = request(&session, &grant, TTL);
        let minted = provider.mint(&asked).await.unwrap();
        assert_eq!(minted.serve_until, Some(asked.now + TTL), "no longer than was asked for");
        let life = minted.expires_at.duration_since(asked.now);
        assert!(life >= SignedDuration::from_mins(60) && life <= SignedDuration::from_mins(90), "{life:?}");
        assert!(minted.handle.is_none() && minted.credential_id.split(',').count() == 2, "{}", minted.credential_id);
        let credential = credential(&minted);
        assert_eq!((credential.client_id.as_str(), credential.tokens.len()), (app(1).as_str(), 2));
        let [blobs, reports] = [STORAGE, REPORTS]
            .map(|wanted| credential.tokens.iter().find(|t| t.resource == wanted).unwrap().token.expose());
        for (service, token, expected) in
            [("blobs", blobs, "200"), ("reports", reports, "200"), ("blobs", reports, "401"), ("vault", blobs, "401")]
        {
            assert_eq!(shown(service, token).await, expected, "{service}");
        }
        assert!(!format!("{minted:?}").contains(blobs));
        provider.revoke(&session, None).await.unwrap();
        let log: Vec<Value> =
            serde_json::from_str(&shell(&format!("curl -sf {SERVICES}/signins")).await.unwrap().ok().unwrap()).unwrap();
        let ours = log.iter().filter(|entry| entry["correlation"] == session.uid);
        let names: Vec<&str> = ours.filter_map(|entry| entry["uti"].as_str()).collect();
        assert!(minted.credential_id.split(',').all(|id| names.contains(&id)), "{names:?} {}", minted.credential_id);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_serves_its_own_app_alone() {
    in_place("azuresecret", async |place| {
        let keys = env("entra");
        place.put_secret("entra", &[("clientID", &keys["clientID"]), ("clientSecret", &keys["clientSecret"])]).await;
        let by_secret = spec(&json!({"source": "ClientSecret", "secretRef": {"name": "entra"}}));
        let provider = provider(by_secret.clone(), &place.context).await.unwrap();
        assert_eq!(provider.probe_identity().await.unwrap().identity, Some(app(6)));
        let minted = mint(&place, provider.as_ref(), &grant(6, &[STORAGE])).await.unwrap();
        assert_eq!(shown("blobs", credential(&minted).tokens[0].token.expose()).await, "200");
        let error = mint(&place, provider.as_ref(), &grant(1, &[STORAGE])).await.unwrap_err();
        assert_eq!(error.reason, Reason::AssumeRoleDenied, "{error}");
        place.put_secret("entra", &[("clientID", &keys["clientID"]), ("clientSecret", "wrong&secret=")]).await;
        let error = mint(&place, provider.as_ref(), &grant(6, &[STORAGE])).await.unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{error}");
        assert!(error.message.contains("AADSTS7000215") && !error.message.contains("wrong&"), "{error}");
        place.put_secret("entra", &[("clientID", &keys["clientID"])]).await;
        let error = mint(&place, provider.as_ref(), &grant(6, &[STORAGE])).await.unwrap_err();
        assert!(error.message.contains("clientSecret"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_entra_refuses_has_a_reason_of_its_own() {
    in_place("azurerefuse", async |place| {
        let context = trusted(&place, AUDIENCE, 3).await;
        for number in [5, 8] {
            trusted(&place, AUDIENCE, number).await;
        }
        let provider = provider(spec(&json!({})), &context).await.unwrap();
        for (number, resources, reason, part) in [
            (99, &[STORAGE][..], Reason::AssumeRoleDenied, "AADSTS700016"),
            (4, &[STORAGE], Reason::AssumeRoleDenied, "AADSTS700213"),
            (5, &[STORAGE], Reason::ProviderThrottled, "slow down"),
            (8, &[STORAGE], Reason::BaseIdentityInvalid, "clocks"),
            (3, &[STORAGE], Reason::ProviderRejected, "maxTokenLifetime"),
            (3, &[STORAGE, "api://nowhere"], Reason::ResourceInvalid, "api://nowhere"),
        ] {
            let error = mint(&place, provider.as_ref(), &grant(number, resources)).await.unwrap_err();
            // Of two calls at once either may be told.
            let either = resources.len() == 2 && error.reason == Reason::ProviderRejected;
            assert!(error.reason == reason || either, "{number}: {error}");
            assert!(error.message.contains(part) || either, "{number}: {error}");
            assert_eq!(error.retry_after.is_some(), reason == Reason::ProviderThrottled, "{error}");
        }
        let long = built(&json!({"maxTokenLifetime": "24h"}), &context).await;
        let minted = mint(&place, long.as_ref(), &grant(3, &[STORAGE])).await.unwrap();
        assert!(minted.serve_until.unwrap() < minted.expires_at, "it lives on after it is handed on no more");

        let context = trusted(&place, "elsewhere", 3).await;
        let elsewhere = built(&json!({}), &context).await;
        let error = mint(&place, elsewhere.as_ref(), &grant(3, &[STORAGE])).await.unwrap_err();
        assert_eq!(error.reason, Reason::AssumeRoleDenied, "{error}");
        assert!(error.message.contains("AADSTS700212") && !error.message.contains("eyJ"), "{error}");
        for (more, reason, part) in [
            (json!({"tenantID": "other.example"}), Reason::ProviderRejected, "spec.azure.tenantID"),
            (json!({"authority": "https://198.18.0.1:1"}), Reason::ProviderUnreachable, "does not answer"),
            (json!({"caCert": null}), Reason::ProviderUnreachable, "certificate"),
        ] {
            let error = built(&more, &context).await.probe_identity().await.unwrap_err();
            assert_eq!(error.reason, reason, "{more}: {error}");
            assert!(error.message.contains(part), "{more}: {error}");
        }
        std::fs::write(&context.azure_token_file, "no.token.atall").unwrap();
        let error = mint(&place, elsewhere.as_ref(), &grant(3, &[STORAGE])).await.unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{error}");
        std::fs::remove_file(&context.azure_token_file).unwrap();
        let error = mint(&place, elsewhere.as_ref(), &grant(3, &[STORAGE])).await.unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{error}");
        std::fs::remove_dir_all(context.azure_token_file.parent().unwrap()).unwrap();
    })
    .await;
}

async fn built(more: &Value, context: &Context) -> Arc<dyn Provider> {
    provider(spec(more), context).await.unwrap()
}
