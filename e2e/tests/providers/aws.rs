//! The AWS provider against MiniStack (STS, IAM and S3 with roles, trust and session policies) and MinIO (a real data plane with
//! its own STS).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::s3::{self, Backend, call};
use crate::support::{Place, in_place, provider, request, until};
use exeat_crds::reason::Reason;
use exeat_crds::rules::{Grant, Kind};
use exeat_providers::{Minted, Provider, ProviderError};
use exeat_wire::Credential;
use jiff::SignedDuration;
use serde_json::{Value, json};

const TTL: SignedDuration = SignedDuration::from_mins(15);
const WRITER: &str = "arn:aws:iam::000000000000:role/agents/agents/report-writer";
const UNTRUSTING: &str = "arn:aws:iam::000000000000:role/agents/agents/untrusting";

fn read_reports(principal: &str) -> Grant {
    crate::support::grant(Kind::Aws, principal, &[(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])])
}

async fn keys(place: &Place, backend: &Backend) {
    place.put_secret("aws", &[("accessKeyID", &backend.key), ("secretAccessKey", &backend.secret)]).await;
}

fn spec(endpoint: &str, more: Value) -> Value {
    let mut aws =
        json!({"region": "us-east-1", "endpoint": endpoint, "source": "Secret", "secretRef": {"name": "aws"}});
    for (key, value) in more.as_object().unwrap() {
        aws[key] = value.clone();
    }
    json!({"aws": aws})
}

async fn built(place: &Place, endpoint: &str, more: Value) -> Arc<dyn Provider> {
    provider(spec(endpoint, more), &place.context).await.unwrap()
}

async fn mint(place: &Place, provider: &dyn Provider, grant: &Grant) -> Result<Minted, ProviderError> {
    provider.mint(&request(&place.session("report-0a1b2c3d-1"), grant, TTL)).await
}

/// The provider itself lets one object be read and nothing else.
async fn check_scope(endpoint: &str, minted: &Minted) {
    for (method, path, status) in [
        ("GET", "/reports/q3.txt", 200),
        ("PUT", "/reports/new.txt", 403),
        ("GET", "/payroll/salaries.txt", 403),
        ("GET", "/reports", 403),
        ("DELETE", "/reports/q3.txt", 403),
    ] {
        assert_eq!(call(endpoint, &s3::keys(&minted.credential), method, path).await, status, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_enforces_the_grant() {
    in_place("aws", async |place| {
        let backend = Backend::read("ministack");
        keys(&place, &backend).await;
        // By name: the look-up goes through our own resolver.
        let provider = built(&place, "http://ministack.test:4577", json!({})).await;
        let identity = provider.probe_identity().await.unwrap();
        assert_eq!(identity.identity.as_deref(), Some("arn:aws:iam::000000000000:user/exeat-issuer"));
        assert!(!identity.chained);

        let (session, grant) = (place.session("report-0a1b2c3d-1"), read_reports(WRITER));
        provider.probe_grant(&request(&session, &grant, TTL)).await.unwrap();
        let (asked, started) = (request(&session, &grant, TTL), Instant::now());
        let minted = provider.mint(&asked).await.unwrap();
        println!("mint at MiniStack: {:?}", started.elapsed());
        let Credential::Aws(credential) = &minted.credential else { panic!("{minted:?}") };
        assert!(minted.credential_id.starts_with("ASIA") && minted.credential_id == credential.access_key_id);
        assert_eq!((credential.account_id.as_deref(), &minted.handle), (Some("000000000000"), &None));
        assert!(minted.expires_at <= asked.now + TTL + SignedDuration::from_secs(60), "{}", minted.expires_at);
        assert!(minted.expires_at > asked.now + TTL - SignedDuration::from_secs(60), "{}", minted.expires_at);
        assert!(!format!("{minted:?}").contains(credential.secret_access_key.expose()));
        check_scope(&backend.endpoint, &minted).await;
        provider.revoke(&session, None).await.unwrap();
        provider.revoke(&session, None).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_compatible_server_enforces_the_grant() {
    in_place("minio", async |place| {
        let backend = Backend::read("minio");
        keys(&place, &backend).await;
        let provider = built(&place, "http://minio.test:9010", json!({"dialect": "S3Compatible"})).await;
        assert_eq!(provider.probe_identity().await.unwrap().identity, None);
        let (session, grant) = (place.session("report-0a1b2c3d-1"), read_reports(WRITER));
        provider.probe_grant(&request(&session, &grant, TTL)).await.unwrap();
        let started = Instant::now();
        let minted = provider.mint(&request(&session, &grant, TTL)).await.unwrap();
        println!("mint at MinIO: {:?}", started.elapsed());
        check_scope(&backend.endpoint, &minted).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_and_source_identity_are_accepted_where_the_trust_allows_them() {
    in_place("tags", async |place| {
        let backend = Backend::read("ministack");
        keys(&place, &backend).await;
        let provider = built(&place, &backend.endpoint, json!({"sessionTags": true, "sourceIdentity": true})).await;
        let minted = mint(&place, &*provider, &read_reports(WRITER)).await.unwrap();
        check_scope(&backend.endpoint, &minted).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_does_not_trust_the_issuer_is_named_with_the_fix() {
    in_place("trust", async |place| {
        let backend = Backend::read("ministack");
        keys(&place, &backend).await;
        let provider = built(&place, &backend.endpoint, json!({"sessionTags": true})).await;
        let (session, grant) = (place.session("report-0a1b2c3d-1"), read_reports(UNTRUSTING));
        let error = provider.probe_grant(&request(&session, &grant, TTL)).await.unwrap_err();
        assert_eq!((error.reason, error.retryable), (Reason::AssumeRoleDenied, false), "{error}");
        for part in [UNTRUSTING, "trust policy", "sts:AssumeRole, sts:TagSession"] {
            assert!(error.message.contains(part), "{part}: {error}");
        }
        println!("{error}");
        let nobody = read_reports("arn:aws:iam::000000000000:role/agents/agents/no-such-role");
        assert_eq!(mint(&place, &*provider, &nobody).await.unwrap_err().reason, Reason::AssumeRoleDenied);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_told_and_right_ones_are_taken_up() {
    in_place("keys", async |place| {
        for (name, more) in [("ministack", json!({})), ("minio", json!({"dialect": "S3Compatible"}))] {
            let backend = Backend::read(name);
            place.put_secret("aws", &[("accessKeyID", &backend.key), ("secretAccessKey", "wrong")]).await;
            let provider = built(&place, &backend.endpoint, more.clone()).await;
            let error = mint(&place, &*provider, &read_reports(WRITER)).await.unwrap_err();
            assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{name}: {error}");
            assert!(error.message.contains("spec.aws.secretRef") && !error.message.contains("wrong"), "{error}");
            place.put_secret("aws", &[("accessKeyID", "NOSUCHKEYATALL"), ("secretAccessKey", "wrong")]).await;
            let unknown = built(&place, &backend.endpoint, more).await;
            let error = mint(&place, &*unknown, &read_reports(WRITER)).await.unwrap_err();
            assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{name}: {error}");
            keys(&place, &backend).await;
            let took = until("the new keys", Duration::from_secs(10), || async {
                mint(&place, &*provider, &read_reports(WRITER)).await.is_ok()
            })
            .await;
            println!("{name}: rotated keys were taken up after {took:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_missing_or_out_of_reach_is_named() {
    in_place("secret", async |place| {
        let spec = spec("http://ministack.test:4577", json!({}));
        let error = provider(spec.clone(), &place.context).await.map(drop).unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid);
        assert!(error.message.contains("no Secret aws") && error.message.contains(&place.system()), "{error}");
        let mut context = place.context.clone();
        context.namespace = place.other();
        let error = provider(spec, &context).await.map(drop).unwrap_err();
        assert_eq!(error.reason, Reason::IssuerForbidden, "{error}");
        assert!(
            error.message.contains("spec.aws.secretRef.name") && error.message.contains("issuer.providerSecrets"),
            "{error}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_the_server_does_not_know_is_its_refusal() {
    in_place("document", async |place| {
        let backend = Backend::read("minio");
        keys(&place, &backend).await;
        let provider = built(&place, &backend.endpoint, json!({"dialect": "AWS"})).await;
        let error = mint(&place, &*provider, &read_reports(WRITER)).await.unwrap_err();
        assert_eq!((error.reason, error.retryable), (Reason::ProviderRejected, false), "{error}");
        assert!(error.message.contains("dialect: S3Compatible"), "{error}");
        assert_eq!(provider.probe_identity().await.unwrap_err().reason, Reason::ProviderRejected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_does_not_answer_is_unreachable_and_then_left_alone() {
    in_place("down", async |place| {
        let backend = Backend::read("ministack");
        keys(&place, &backend).await;
        for endpoint in ["http://198.18.0.1:1", "http://nowhere.test:4577"] {
            let provider = built(&place, endpoint, json!({})).await;
            let started = Instant::now();
            let error = mint(&place, &*provider, &read_reports(WRITER)).await.unwrap_err();
            assert_eq!((error.reason, error.retryable), (Reason::ProviderUnreachable, true), "{error}");
            assert!(error.message.contains(endpoint) && error.message.contains("egress"), "{error}");
            assert!(started.elapsed() < Duration::from_secs(11), "{:?}", started.elapsed());
            println!("{:?}: {error}", started.elapsed());
            for _ in 0..5 {
                let _ = mint(&place, &*provider, &read_reports(WRITER)).await;
            }
            let error = mint(&place, &*provider, &read_reports(WRITER)).await.unwrap_err();
            assert!(error.message.contains("rest after several failures") && error.retry_after.is_some(), "{error}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_certificate_nobody_vouches_for_gets_nothing() {
    in_place("tls", async |place| {
        keys(&place, &Backend::read("ministack")).await;
        let provider = built(&place, "https://198.18.0.1:6443", json!({})).await;
        let error = mint(&place, &*provider, &read_reports(WRITER)).await.unwrap_err();
        assert_eq!(error.reason, Reason::ProviderUnreachable, "{error}");
        assert!(error.message.contains("certificate"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_itself_an_assumed_role_gives_an_hour_at_most() {
    in_place("chained", async |place| {
        let backend = Backend::read("ministack");
        keys(&place, &backend).await;
        let user = built(&place, &backend.endpoint, json!({})).await;
        let minted = mint(&place, &*user, &read_reports(WRITER)).await.unwrap();
        let Credential::Aws(role) = &minted.credential else { panic!("{minted:?}") };
        place
            .put_secret(
                "role",
                &[
                    ("accessKeyID", &role.access_key_id),
                    ("secretAccessKey", role.secret_access_key.expose()),
                    ("sessionToken", role.session_token.expose()),
                ],
            )
            .await;
        let provider = built(&place, &backend.endpoint, json!({"secretRef": {"name": "role"}})).await;
        let identity = provider.probe_identity().await.unwrap();
        assert!(identity.chained && identity.identity.unwrap().contains("assumed-role/report-writer"));
        let (session, grant) = (place.session("report-0a1b2c3d-2"), read_reports(WRITER));
        let error = provider.probe_grant(&request(&session, &grant, SignedDuration::from_hours(2))).await.unwrap_err();
        assert_eq!(error.reason, Reason::RoleChainingLimit);
        assert!(error.message.contains("credentialTTL") && error.message.contains("1h"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_own_token_must_be_there_and_trusted() {
    in_place("token", async |place| {
        let web = json!({"source": "WebIdentity", "secretRef": null, "roleARN": "arn:aws:iam::000000000000:role/base"});
        let backend = Backend::read("minio");
        let provider = built(&place, &backend.endpoint, web.clone()).await;
        let error = mint(&place, &*provider, &read_reports(WRITER)).await.unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{error}");
        assert!(error.message.contains("/nonexistent"), "{error}");

        let file = std::env::temp_dir().join(format!("{}-token", place.name));
        std::fs::write(&file, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.").unwrap();
        let mut context = place.context.clone();
        context.web_identity_token_file = file.clone();
        let provider = crate::support::provider(spec(&backend.endpoint, web), &context).await.unwrap();
        let error = mint(&place, &*provider, &read_reports(WRITER)).await.unwrap_err();
        std::fs::remove_file(&file).unwrap();
        println!("{error}");
        assert!(!error.message.contains("eyJ"), "{error}");
        assert!(matches!(error.reason, Reason::BaseIdentityInvalid | Reason::ProviderRejected), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_without_any_identity_says_so() {
    in_place("ambient", async |place| {
        let ambient = json!({"source": "Ambient", "secretRef": null});
        let provider = built(&place, "http://ministack.test:4577", ambient).await;
        let started = Instant::now();
        let error = provider.probe_identity().await.unwrap_err();
        println!("{:?}: {error}", started.elapsed());
        assert_eq!(error.reason, Reason::BaseIdentityInvalid, "{error}");
        assert!(error.message.contains("spec.aws.source"), "{error}");
    })
    .await;
}
