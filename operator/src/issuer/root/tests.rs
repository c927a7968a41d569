//! Replicas, pods of every age and a Secret, in any order of events.

use super::*;
use exeat_runtime::ca::ROOT_OVERLAP;
use exeat_runtime::clock::ManualClock;
use http::{Method, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use proptest::prelude::*;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Mutex;

const HOST: &str = "exeat-issuer.exeat-system.svc";
const SECRET: &str = "/api/v1/namespaces/exeat-system/secrets/exeat-issuer-root";
const CONFIG_MAP: &str = "/api/v1/namespaces/exeat-system/configmaps/exeat-issuer-root";

/// The two objects, with the API server's rule that a write must name the version that it changes.
#[derive(Clone)]
struct ApiServer {
    objects: Arc<Mutex<BTreeMap<&'static str, Value>>>,
    down: Arc<Mutex<bool>>,
}

impl ApiServer {
    fn new() -> Self {
        let empty = || json!({"metadata": {"name": "exeat-issuer-root", "resourceVersion": "1"}});
        let objects = [(SECRET, empty()), (CONFIG_MAP, empty())].into();
        Self { objects: Arc::new(Mutex::new(objects)), down: Arc::default() }
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                // Replicas meet here.
                tokio::task::yield_now().await;
                let (status, answer) = server.answer(&head.method, head.uri.path(), &body);
                let body = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        Client::new(service, "exeat-system")
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let failure = |code: u16| {
            let status =
                json!({"kind": "Status", "status": "Failure", "code": code, "reason": "Conflict", "message": "no"});
            (StatusCode::from_u16(code).unwrap(), status)
        };
        if *self.down.lock().unwrap() {
            return failure(503);
        }
        let mut objects = self.objects.lock().unwrap();
        let stored = objects.get_mut(path).unwrap();
        if method == Method::PUT {
            let mut new: Value = serde_json::from_slice(body).unwrap();
            if new["metadata"]["resourceVersion"] != stored["metadata"]["resourceVersion"] {
                return failure(409);
            }
            let version: u32 = stored["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            new["metadata"]["resourceVersion"] = json!((version + 1).to_string());
            *stored = new;
        }
        (StatusCode::OK, stored.clone())
    }

    fn ask(&self, value: &str) {
        self.objects.lock().unwrap().get_mut(SECRET).unwrap()["metadata"]["annotations"]["exeat.dev/rotate"] =
            json!(value);
    }

    /// What a pod that is admitted now is given.
    fn published(&self) -> String {
        self.objects.lock().unwrap()[CONFIG_MAP]["data"]["ca.crt"].as_str().unwrap().to_owned()
    }
}

struct Replica {
    certificates: Certificates,
    serving: Serving,
    looked: Timestamp,
}

impl Replica {
    async fn start(server: &ApiServer, clock: &ManualClock) -> Self {
        let certificates = Certificates {
            client: server.client(),
            namespace: "exeat-system".to_owned(),
            service: "exeat-issuer".to_owned(),
            overlap: ROOT_OVERLAP,
            clock: Arc::new(clock.clone()),
            resolver: CertResolver::empty(),
        };
        let serving = certificates.start().await.unwrap();
        Self { certificates, serving, looked: clock.now() }
    }

    async fn step(&mut self) {
        self.certificates.step(&mut self.serving).await;
        self.looked = self.certificates.clock.now();
    }

    fn chain(&self) -> &str {
        &self.serving.leaf.chain_pem
    }
}

/// What a sidecar that was given `trusted` says to a replica.
fn verdict(trusted: &str, chain: &str, now: Timestamp) -> Result<(), rustls::Error> {
    let read = |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let mut roots = RootCertStore::empty();
    read(trusted).into_iter().for_each(|root| roots.add(root).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let chain = read(chain);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap()));
    let host = ServerName::try_from(HOST).unwrap();
    verifier.verify_server_cert(&chain[0], &chain[1..], &host, &[], now).map(|_| ())
}

fn clock() -> ManualClock {
    ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap())
}

#[tokio::test]
async fn replicas_that_start_or_rotate_at_once_end_with_one_root() {
    let (server, clock) = (ApiServer::new(), clock());
    let (mut one, mut two) = tokio::join!(Replica::start(&server, &clock), Replica::start(&server, &clock));
    assert!(one.serving.state.serves_as(&two.serving.state));
    let first = server.published();
    server.ask("now");
    tokio::join!(one.step(), two.step());
    assert!(one.serving.state.serves_as(&two.serving.state));
    assert_eq!(one.serving.state.crosses.len(), 1, "rotated once");
    assert_eq!(server.published().matches("BEGIN CERTIFICATE").count(), 2);
    assert!(server.published().ends_with(&first));
}

#[tokio::test]
async fn a_pod_older_than_two_roots_and_a_restarted_replica_find_each_other() {
    let (server, clock) = (ApiServer::new(), clock());
    let mut replica = Replica::start(&server, &clock).await;
    let oldest = server.published();
    for round in ["one", "two"] {
        server.ask(round);
        replica.step().await;
        clock.advance(SignedDuration::from_hours(1));
        replica.step().await;
    }
    let newest = server.published();
    assert_eq!(newest.matches("BEGIN CERTIFICATE").count(), 1, "the overlap is over");
    let restarted = Replica::start(&server, &clock).await;
    for trusted in [&oldest, &newest] {
        assert_eq!(verdict(trusted, restarted.chain(), clock.now()), Ok(()));
    }
    assert_eq!(server.published(), newest, "a restart makes no new root");
}

#[tokio::test]
async fn an_emptied_secret_gets_the_root_back_that_pods_trust() {
    let (server, clock) = (ApiServer::new(), clock());
    let mut replica = Replica::start(&server, &clock).await;
    let oldest = server.published();
    server.ask("one");
    replica.step().await;
    server.objects.lock().unwrap().get_mut(SECRET).unwrap()["data"] = json!({});
    replica.step().await;
    let other = Replica::start(&server, &clock).await;
    assert_eq!(verdict(&oldest, other.chain(), clock.now()), Ok(()));
}

#[tokio::test]
async fn a_leaf_is_renewed_in_time_even_while_the_api_server_is_away() {
    let (server, clock) = (ApiServer::new(), clock());
    let mut replica = Replica::start(&server, &clock).await;
    let first = replica.chain().to_owned();
    clock.advance(SignedDuration::from_hours(4 * 24));
    replica.step().await;
    assert_eq!(replica.chain(), first);
    *server.down.lock().unwrap() = true;
    clock.advance(SignedDuration::from_hours(24));
    replica.step().await;
    assert_ne!(replica.chain(), first);
    clock.advance(-SignedDuration::from_hours(48));
    let ahead = replica.chain().to_owned();
    replica.step().await;
    assert_ne!(replica.chain(), ahead, "the clock was ahead when it was made");
    assert_eq!(verdict(replica.serving.state.root.cert_pem(), replica.chain(), clock.now()), Ok(()));
}

#[derive(Clone, Debug)]
enum Event {
    Look(usize),
    Restart(usize),
    Pod,
    Ask,
    Minutes(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3usize).prop_map(Event::Look),
        1 => (0..3usize).prop_map(Event::Restart),
        2 => Just(Event::Pod),
        2 => Just(Event::Ask),
        3 => (1..25i64).prop_map(Event::Minutes),
    ]
}

/// Time passes; no replica stays without a look for the whole of the overlap.
async fn pass(minutes: i64, clock: &ManualClock, replicas: &mut [Replica]) {
    let overlap = SignedDuration::try_from(ROOT_OVERLAP).unwrap();
    let step = SignedDuration::from_mins(minutes);
    for replica in replicas {
        if clock.now() + step >= replica.looked + overlap {
            replica.step().await;
        }
    }
    clock.advance(step);
}

async fn run(events: Vec<Event>) {
    let (server, clock) = (ApiServer::new(), clock());
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::start(&server, &clock).await);
    }
    let mut pods = vec![server.published()];
    let (mut asked, mut accepted) = (0, BTreeSet::new());
    for event in events {
        match event {
            Event::Look(index) => replicas[index].step().await,
            Event::Restart(index) => replicas[index] = Replica::start(&server, &clock).await,
            Event::Pod => pods.push(server.published()),
            // The oldest pod would be lost after more.
            Event::Ask if asked < 4 => {
                asked += 1;
                server.ask(&asked.to_string());
            }
            Event::Ask => {}
            Event::Minutes(minutes) => pass(minutes, &clock, &mut replicas).await,
        }
        pods.dedup();
        for (pod, trusted) in pods.iter().enumerate() {
            for (index, replica) in replicas.iter().enumerate() {
                if accepted.insert((trusted.clone(), replica.chain().to_owned())) {
                    let verdict = verdict(trusted, replica.chain(), clock.now());
                    assert_eq!(verdict, Ok(()), "pod {pod} of {} and replica {index} after {event:?}", pods.len());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_pod_trusts_every_replica_whatever_happens_in_whatever_order(events in proptest::collection::vec(event(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(events));
    }
}
