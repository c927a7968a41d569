use std::convert::Infallible;
use std::sync::Mutex;

use axum::body::{Body, to_bytes};
use exeat_runtime::clock::ManualClock;
use http::{Method, Request, Response};
use jiff::SignedDuration;
use prometheus::Registry;
use serde_json::{Value, json};

use super::*;

const HOST: &str = "exeat-webhook.exeat-system.svc";

/// One Secret, with the API server's rule that a write must name the version that it changes.
#[derive(Clone)]
struct ApiServer {
    secret: Arc<Mutex<Value>>,
}

impl ApiServer {
    fn new() -> Self {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "exeat-webhook-root", "resourceVersion": "1"}});
        Self { secret: Arc::new(Mutex::new(secret)) }
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move {
                assert_eq!(request.uri().path(), "/api/v1/namespaces/exeat-system/secrets/exeat-webhook-root");
                let method = request.method().clone();
                let body = to_bytes(Body::new(request.into_body()), usize::MAX).await.unwrap();
                let (status, answer) = server.answer(&method, &body);
                let body = kube::client::Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        Client::new(service, "exeat-system")
    }

    fn answer(&self, method: &Method, body: &[u8]) -> (u16, Value) {
        let mut stored = self.secret.lock().unwrap();
        if method == Method::PUT {
            let mut new: Value = serde_json::from_slice(body).unwrap();
            if new["metadata"]["resourceVersion"] != stored["metadata"]["resourceVersion"] {
                return (
                    409,
                    json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": "modified"}),
                );
            }
            let version: u32 = stored["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            new["metadata"]["resourceVersion"] = json!((version + 1).to_string());
            *stored = new;
        }
        (200, stored.clone())
    }
}

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
    server.secret.lock().unwrap()["data"] = json!({});
    replica.step().await;
    assert_eq!(replica.bundle(), before);
    assert!(server.secret.lock().unwrap()["data"]["ca.key"].is_string());
}

#[tokio::test]
async fn a_new_root_is_trusted_for_a_while_before_it_is_served() {
    let server = ApiServer::new();
    let clock = clock();
    let mut replica = Replica::new(&server, &clock);
    replica.step().await;
    let former = replica.bundle();
    server.secret.lock().unwrap()["data"] = json!({});
    let mut other = Replica::new(&server, &clock);
    other.step().await;
    let served = |replica: &Replica| replica.current.leaf.as_ref().map(|leaf| leaf.chain_pem.clone());
    let old_leaf = served(&replica);
    assert!(old_leaf.is_some());
    replica.step().await;
    assert_ne!(replica.bundle(), former, "the other replica's root is published");
    assert_eq!(served(&replica), None, "and the leaf is to be issued by the next step");
    replica.step().await;
    assert_ne!(served(&replica), old_leaf);
}

#[tokio::test]
async fn what_is_wrong_with_the_secret_is_said_with_the_fix() {
    let server = ApiServer::new();
    server.secret.lock().unwrap()["data"] = json!({"ca.crt": "bm9uc2Vuc2U="});
    let mut replica = Replica::new(&server, &clock());
    let error = replica.own.step(&mut replica.current).await.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.code(), "RootUnusable");
    assert!(message.contains("Secret exeat-webhook-root") && message.contains("empty ca.crt and ca.key"), "{message}");
    assert!(!replica.own.resolver.is_set());
}
