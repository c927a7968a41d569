use exeat_runtime::ca::{ROOT_OVERLAP, certificates};
use exeat_runtime::clock::ManualClock;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use prometheus::Registry;
use serde_json::json;

use super::*;
use crate::certs::fake::{ApiServer, SECRET};

mod rotation;

const HOST: &str = "exeat-webhook.exeat-system.svc";

struct Replica {
    own: OwnCertificate<ManualClock>,
    bundle: watch::Receiver<Option<String>>,
    registry: Registry,
    current: Current,
}

impl Replica {
    fn new(server: &ApiServer, clock: &ManualClock) -> Self {
        let (sender, bundle) = watch::channel(None);
        let registry = Registry::new();
        let own = OwnCertificate {
            client: server.client(),
            namespace: "exeat-system".to_owned(),
            host: HOST.to_owned(),
            configuration: "exeat".to_owned(),
            overlap: ROOT_OVERLAP,
            resolver: CertResolver::empty(),
            bundle: sender,
            clock: clock.clone(),
            metrics: Metrics::new(&registry).unwrap(),
        };
        Self { own, bundle, registry, current: Current::default() }
    }

    async fn step(&mut self) {
        self.own.step(&mut self.current).await.unwrap();
    }

    /// Puts both configurations right, as the healing tasks do.
    async fn heal(&self) {
        let (client, clock) = (self.own.client.clone(), Arc::new(self.own.clock.clone()));
        let secret = Bundles { client: client.clone(), namespace: "exeat-system".to_owned(), clock };
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(client);
        let known = self.bundle();
        bundle::correct(&mutating, &mutating.get("exeat").await.unwrap(), &known, &secret).await.unwrap();
        bundle::correct(&validating, &validating.get("exeat").await.unwrap(), &known, &secret).await.unwrap();
    }

    fn bundle(&self) -> String {
        self.bundle.borrow().clone().unwrap()
    }

    fn expires(&self) -> f64 {
        let families = self.registry.gather();
        let gauge = families.iter().find(|family| family.name().contains("certificate_expiry")).unwrap();
        gauge.get_metric()[0].get_gauge().get_value()
    }
}

fn clock() -> ManualClock {
    ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap())
}

#[tokio::test]
async fn replicas_that_start_together_share_one_root() {
    let server = ApiServer::new();
    let clock = clock();
    let mut replicas = [Replica::new(&server, &clock), Replica::new(&server, &clock), Replica::new(&server, &clock)];
    let [one, two, three] = &mut replicas;
    tokio::join!(one.step(), two.step(), three.step());
    assert_eq!(one.bundle(), two.bundle());
    assert_eq!(one.bundle(), three.bundle());
    assert!(replicas.iter().all(|replica| replica.own.resolver.is_set()));
}

#[tokio::test]
async fn a_leaf_is_renewed_before_it_expires_and_not_sooner() {
    let clock = clock();
    let mut replica = Replica::new(&ApiServer::new(), &clock);
    replica.step().await;
    let first = replica.expires();
    clock.advance(SignedDuration::from_hours(4 * 24));
    replica.step().await;
    assert_eq!(replica.expires(), first);
    clock.advance(SignedDuration::from_hours(24));
    replica.step().await;
    assert_eq!(replica.expires() - first, 5.0 * 24.0 * 3600.0);
}

#[tokio::test]
async fn an_emptied_secret_is_filled_again_with_the_same_root() {
    let server = ApiServer::new();
    let mut replica = Replica::new(&server, &clock());
    replica.step().await;
    let before = replica.bundle();
    server.change(SECRET, |secret| secret["data"] = json!({}));
    replica.step().await;
    assert_eq!(replica.bundle(), before);
    assert!(server.get(SECRET).unwrap()["data"]["ca.key"].is_string());
}

#[tokio::test]
async fn a_restarted_replica_serves_from_the_same_root() {
    let (server, clock) = (ApiServer::new(), clock());
    let mut replica = Replica::new(&server, &clock);
    replica.step().await;
    let stored = server.get(SECRET);
    clock.advance(SignedDuration::from_hours(6 * 24));
    let mut restarted = Replica::new(&server, &clock);
    restarted.step().await;
    assert_eq!(server.get(SECRET), stored, "nothing is written");
    assert_eq!(restarted.bundle(), replica.bundle());
    assert_eq!(restarted.expires() - replica.expires(), 6.0 * 24.0 * 3600.0, "with a leaf of its own");
}

#[tokio::test]
async fn a_leaf_from_a_clock_that_was_ahead_is_replaced_when_the_clock_is_right_again() {
    let clock = clock();
    let mut replica = Replica::new(&ApiServer::new(), &clock);
    replica.step().await;
    clock.advance(SignedDuration::from_hours(5 * 24));
    replica.step().await;
    let ahead = replica.expires();
    clock.advance(-SignedDuration::from_hours(2 * 24));
    replica.step().await;
    assert_eq!(ahead - replica.expires(), 2.0 * 24.0 * 3600.0);
}

#[tokio::test]
async fn a_leaf_is_renewed_even_while_the_secret_can_not_be_read() {
    let (server, clock) = (ApiServer::new(), clock());
    let mut replica = Replica::new(&server, &clock);
    replica.step().await;
    let first = replica.expires();
    server.remove(SECRET);
    clock.advance(SignedDuration::from_hours(5 * 24));
    let error = replica.own.step(&mut replica.current).await.unwrap_err();
    assert_eq!(error.code(), "RootSecretUnreachable");
    assert_eq!(replica.expires() - first, 5.0 * 24.0 * 3600.0);
}

#[tokio::test]
async fn a_root_is_promoted_once_the_configurations_have_held_it_for_a_while() {
    let (server, clock) = (ApiServer::new(), clock());
    let mut replica = Replica::new(&server, &clock);
    replica.step().await;
    let leaf = |replica: &Replica| replica.current.leaf.as_ref().unwrap().chain_pem.clone();
    let (old, old_bundle) = (leaf(&replica), replica.bundle());
    server.ask("now");
    for _ in 0..3 {
        clock.advance(SETTLE);
        replica.step().await;
    }
    let both = replica.bundle();
    assert_eq!(certificates(&both).count(), 2);
    assert!(both.ends_with(&old_bundle));
    assert_eq!(leaf(&replica), old, "nobody holds the bundle yet");

    replica.heal().await;
    assert!(server.trusted().iter().all(|trusted| *trusted == both));
    replica.step().await;
    assert_eq!(leaf(&replica), old, "seen for the first time");
    clock.advance(SETTLE);
    replica.step().await;
    assert_ne!(leaf(&replica), old);
    assert_eq!(replica.bundle(), both, "a promotion changes nothing of what is trusted");

    clock.advance(SignedDuration::try_from(ROOT_OVERLAP).unwrap());
    replica.step().await;
    assert_eq!(certificates(&replica.bundle()).count(), 1);
    assert!(both.starts_with(&replica.bundle()));
    let stored = server.get(SECRET).unwrap();
    let keys: Vec<_> = stored["data"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["ca.crt", "ca.key"], "no former key, no former certificate");
    assert_eq!(stored["metadata"]["annotations"]["exeat.dev/rotated"], "now");
}

#[tokio::test]
async fn a_configuration_that_loses_the_new_root_starts_the_wait_again() {
    let (server, clock) = (ApiServer::new(), clock());
    let mut replica = Replica::new(&server, &clock);
    replica.step().await;
    server.ask("now");
    replica.step().await;
    replica.heal().await;
    replica.step().await;
    let path = format!("{}/exeat", crate::certs::fake::VALIDATING);
    server.change(&path, |found| found["webhooks"][1]["clientConfig"]["caBundle"] = json!(null));
    clock.advance(SETTLE);
    replica.step().await;
    assert!(replica.current.state.as_ref().unwrap().is_prepared(), "one webhook does not hold it");
    replica.heal().await;
    replica.step().await;
    assert!(replica.current.state.as_ref().unwrap().is_prepared(), "held, but not for long enough");
    clock.advance(SETTLE);
    replica.step().await;
    assert!(!replica.current.state.as_ref().unwrap().is_prepared());
}

#[tokio::test]
async fn what_is_wrong_with_the_secret_is_said_with_the_fix() {
    let server = ApiServer::new();
    server.change(SECRET, |secret| secret["data"] = json!({"ca.crt": "bm9uc2Vuc2U="}));
    let mut replica = Replica::new(&server, &clock());
    let error = replica.own.step(&mut replica.current).await.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.code(), "RootUnusable");
    assert!(message.contains("Secret exeat-webhook-root") && message.contains("empty ca.crt and ca.key"), "{message}");
    assert!(!replica.own.resolver.is_set());
}
