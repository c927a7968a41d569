//! The Google Cloud provider against a stand-in that checks what Google checks, by Google's own discovery documents. The accounts there may do
//! more than any policy gives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::gcp::{ADDRESS, credential, key_file, status, token};
use crate::support::{Place, in_place, provider, request, until};
use exeat_crds::reason::Reason;
use exeat_crds::rules::{Grant, Kind};
use exeat_providers::{Minted, Provider, ProviderError};
use jiff::SignedDuration;
use serde_json::{Value, json};

const TTL: SignedDuration = SignedDuration::from_mins(15);
const READER: &str = "agents-reader@example.iam.gserviceaccount.com";
const BEHIND: &str = "agents-behind@example.iam.gserviceaccount.com";
const ISSUER: &str = "exeat-issuer@example.iam.gserviceaccount.com";
const POOL: &str = "projects/1234567890/locations/global/workloadIdentityPools/exeat/providers/cluster";
const VIEW: (&[&str], &[&str]) =
    (&["storage.objects.get", "storage.objects.list"], &["projects/_/buckets/reports/objects/2026/*"]);
const Q3: &str = "/storage/v1/b/reports/o/2026%2Fq3.txt?alt=media";

fn grant(principal: &str, allow: &[(&[&str], &[&str])]) -> Grant {
    crate::support::grant(Kind::Gcp, principal, allow)
}

fn spec(more: Value) -> Value {
    let mut gcp = json!({
        "project": "example",
        "endpoints": {"iamCredentials": ADDRESS, "sts": ADDRESS, "oauth2": ADDRESS, "metadata": ADDRESS},
    });
    for (key, value) in more.as_object().unwrap() {
        gcp[key] = value.clone();
    }
    json!({"gcp": gcp})
}

fn by_key() -> Value {
    json!({"source": "Secret", "secretRef": {"name": "gcp"}})
}

async fn built(place: &Place, more: Value) -> Arc<dyn Provider> {
    place.put_secret("gcp", &[("key.json", &key_file())]).await;
    provider(spec(more), &place.context).await.unwrap()
}

async fn mint(place: &Place, provider: &dyn Provider, grant: &Grant) -> Result<Minted, ProviderError> {
    provider.mint(&request(&place.session("gcp-1"), grant, TTL)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_held_to_its_boundary_whatever_its_account_may() {
    in_place("gcp", async |place| {
        let provider = built(&place, by_key()).await;
        assert_eq!(provider.probe_identity().await.unwrap().identity.as_deref(), Some(ISSUER));
        let (session, allow) = (place.session("gcp-1"), grant(READER, &[VIEW]));
        let probe = provider.probe_grant(&request(&session, &allow, SignedDuration::from_mins(1))).await.unwrap();
        assert!(probe.packed_policy_percent.is_some_and(|share| (5..50).contains(&share)), "{probe:?}");
        let (asked, started) = (request(&session, &allow, TTL), Instant::now());
        let minted = provider.mint(&asked).await.unwrap();
        println!("mint at the stand-in: {:?}", started.elapsed());
        assert!(minted.expires_at <= asked.now + TTL + SignedDuration::from_secs(2), "{}", minted.expires_at);
        assert!(minted.expires_at > asked.now + TTL - SignedDuration::from_secs(5), "{}", minted.expires_at);
        assert!(!format!("{minted:?}").contains(token(&minted)));
        let held = credential(&minted);
        assert_eq!(
            (held.email.as_str(), held.project.as_str(), held.universe_domain.as_str()),
            (READER, "example", "googleapis.com")
        );
        for (method, path, expected) in [
            ("GET", Q3, 200),
            ("GET", "/storage/v1/b/reports/o?prefix=2026/", 200),
            ("GET", "/storage/v1/b/reports/o?prefix=2026/q", 200),
            ("GET", "/storage/v1/b/reports/o?prefix=2025/", 403),
            ("GET", "/storage/v1/b/reports/o", 403),
            ("GET", "/storage/v1/b/reports/o/2025%2Fq3.txt?alt=media", 403),
            ("GET", "/storage/v1/b/payroll/o/salaries.txt?alt=media", 403),
            ("DELETE", "/storage/v1/b/reports/o/2026%2Fq3.txt", 403),
            ("GET", "/storage/v1/b/reports", 403),
        ] {
            assert_eq!(status(token(&minted), method, path).await, expected, "{method} {path}");
        }
        // Statements stand alone: what one allows is not allowed where another one is.
        let apart = grant(
            READER,
            &[VIEW, (&["inRole:projects/example/roles/remover"], &["projects/_/buckets/reports/objects/tmp/*"])],
        );
        let minted = mint(&place, provider.as_ref(), &apart).await.unwrap();
        for (path, expected) in [("tmp%2Fx", 204), ("2026%2Fq3.txt", 403)] {
            assert_eq!(
                status(token(&minted), "DELETE", &format!("/storage/v1/b/reports/o/{path}")).await,
                expected,
                "{path}"
            );
        }
        provider.revoke(&session, None).await.unwrap();
        assert_eq!(status(token(&minted), "GET", Q3).await, 200, "Google can't take a token back, and we say so");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_when_it_says() {
    in_place("gcpends", async |place| {
        let provider = built(&place, by_key()).await;
        let (session, allow) = (place.session("gcp-1"), grant(READER, &[VIEW]));
        let minted = provider.mint(&request(&session, &allow, SignedDuration::from_secs(3))).await.unwrap();
        assert_eq!(status(token(&minted), "GET", Q3).await, 200);
        until("the token ends", Duration::from_secs(8), async || status(token(&minted), "GET", Q3).await == 401).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_tokens_are_for_the_granted_audiences() {
    in_place("gcpidentity", async |place| {
        let provider = built(&place, by_key()).await;
        let tokens: (&[&str], &[&str]) = (
            &["iam.serviceAccounts.getOpenIdToken"],
            &["audience/https://reports.example", "audience/https://other.example"],
        );
        let minted = mint(&place, provider.as_ref(), &grant(READER, &[tokens])).await.unwrap();
        assert!(credential(&minted).access_token.is_none(), "nothing but identity tokens is granted");
        let of = |audience: &str| {
            let found = credential(&minted).identity_tokens.iter().find(|t| t.audience == audience);
            found.expect(audience).token.expose().to_owned()
        };
        assert_eq!(status(&of("https://reports.example"), "GET", "/whoami").await, 200);
        assert_eq!(status(&of("https://other.example"), "GET", "/whoami").await, 400, "it is for another service");
        let both = mint(&place, provider.as_ref(), &grant(READER, &[tokens, VIEW])).await.unwrap();
        assert_eq!(status(token(&both), "GET", Q3).await, 200);
        assert_eq!(credential(&both).identity_tokens.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_of_the_issuers_identity_works() {
    in_place("gcpsource", async |place| {
        let account = k8s_openapi::api::core::v1::ServiceAccount {
            metadata: crate::support::named("exeat-issuer"),
            ..Default::default()
        };
        place.make(&place.system(), &account).await;
        let folder = std::env::temp_dir().join(&place.name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut context = place.context.clone();
        context.gcp_token_file = folder.join("token");
        let federated = json!({"source": "WorkloadIdentity", "workloadIdentityProvider": POOL});
        let allow = grant(READER, &[VIEW]);
        for (account, audience, problem) in [
            ("exeat-issuer", "gcp", None),
            ("exeat-issuer", "elsewhere", Some("allowed audiences")),
            ("issuer", "gcp", Some("attribute condition")),
        ] {
            let token = place.token(&place.system(), account, vec![audience.to_owned()]).await;
            std::fs::write(&context.gcp_token_file, format!("{token}\n")).unwrap();
            let provider = provider(spec(federated.clone()), &context).await.unwrap();
            match (provider.probe_identity().await, problem) {
                (Ok(identity), None) => {
                    assert_eq!(identity.identity.as_deref(), Some(POOL));
                    mint(&place, provider.as_ref(), &allow).await.unwrap();
                }
                (Err(error), Some(part)) => {
                    assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{error}");
                    assert!(error.message.contains(part) && !error.message.contains("eyJ"), "{error}");
                }
                (got, _) => panic!("{account} {audience}: {got:?}"),
            }
        }
        let other = json!({"source": "WorkloadIdentity", "workloadIdentityProvider": POOL.replace("cluster", "none")});
        let error = provider(spec(other), &context).await.unwrap().probe_identity().await.unwrap_err();
        assert!(error.message.contains("invalid_target"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();

        let ambient = provider(spec(json!({})), &place.context).await.unwrap();
        assert_eq!(ambient.probe_identity().await.unwrap().identity.as_deref(), Some(ISSUER));
        mint(&place, ambient.as_ref(), &allow).await.unwrap();
        let behind = grant(BEHIND, &[VIEW]);
        assert_eq!(mint(&place, ambient.as_ref(), &behind).await.unwrap_err().reason, Reason::AssumeRoleDenied);
        let hop = json!({"delegates": ["hop@example.iam.gserviceaccount.com"]});
        let through = provider(spec(hop), &place.context).await.unwrap();
        mint(&place, through.as_ref(), &behind).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_google_refuses_has_its_reason_and_its_fix() {
    in_place("gcprefuse", async |place| {
        let ambient = provider(spec(json!({})), &place.context).await.unwrap();
        let account = |name: &str| format!("agents-{name}@example.iam.gserviceaccount.com");
        for (name, reason, retryable, part) in [
            ("nobody", Reason::AssumeRoleDenied, false, "roles/iam.serviceAccountTokenCreator"),
            ("throttled", Reason::ProviderThrottled, true, "slow down"),
            ("broken", Reason::ProviderUnreachable, true, "503"),
            ("disabled", Reason::ProviderRejected, false, "enable iamcredentials.googleapis.com"),
        ] {
            // Each by a provider of its own: one that fails is let alone for a while.
            let fresh = provider(spec(json!({})), &place.context).await.unwrap();
            let error = mint(&place, fresh.as_ref(), &grant(&account(name), &[VIEW])).await.unwrap_err();
            assert_eq!((error.reason, error.retryable), (reason, retryable), "{name}: {error}");
            assert!(error.message.contains(part), "{name}: {error}");
            assert!(name != "throttled" || error.retry_after == Some(Duration::from_secs(7)), "{error:?}");
        }
        let unknown = grant(READER, &[(&["inRole:projects/example/roles/unknown"], VIEW.1)]);
        let error = mint(&place, ambient.as_ref(), &unknown).await.unwrap_err();
        assert_eq!(error.reason, Reason::ProviderRejected, "{error}");
        assert!(error.message.contains("custom roles"), "{error}");

        let mut key: Value = serde_json::from_str(&key_file()).unwrap();
        key["client_email"] = "another@example.iam.gserviceaccount.com".into();
        for (file, part) in [
            (key.to_string(), "key file"),
            ("{\"client_email\": \"x\"}".to_owned(), "no key file"),
            ("{\"client_email\": \"x\", \"private_key\": \"none\"}".to_owned(), "no RSA key"),
        ] {
            place.put_secret("gcp", &[("key.json", &file)]).await;
            let wrong = provider(spec(by_key()), &place.context).await.unwrap();
            let error = wrong.probe_identity().await.unwrap_err();
            assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{error}");
            assert!(error.message.contains(part), "{error}");
        }
        let nowhere = json!({"endpoints": {"metadata": "http://198.18.0.1:1"}});
        let error = provider(spec(nowhere), &place.context).await.unwrap().probe_identity().await.unwrap_err();
        assert_eq!((error.reason, error.retryable), (Reason::ProviderUnreachable, true), "{error}");
        let unmounted = json!({"source": "WorkloadIdentity", "workloadIdentityProvider": POOL});
        let error = provider(spec(unmounted), &place.context).await.unwrap().probe_identity().await.unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{error}");
    })
    .await;
}
