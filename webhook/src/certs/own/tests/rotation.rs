//! Replicas that look, heal by what they saw long ago, and are restarted, in any order: whatever certificate one of them
//! serves, the API server was told of its root.

use std::collections::BTreeSet;

use exeat_runtime::ca::LEAF_VALIDITY;
use proptest::prelude::*;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;

#[derive(Clone, Debug)]
enum Event {
    Look(usize),
    See(usize),
    Heal(usize),
    Restart(usize),
    Ask,
    Seconds(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3usize).prop_map(Event::Look),
        2 => (0..3usize).prop_map(Event::See),
        3 => (0..3usize).prop_map(Event::Heal),
        1 => (0..3usize).prop_map(Event::Restart),
        2 => Just(Event::Ask),
        3 => (1..40i64).prop_map(Event::Seconds),
        1 => (1..2000i64).prop_map(Event::Seconds),
    ]
}

/// A replica, and the configurations as it saw them last.
struct Running {
    replica: Replica,
    seen: (MutatingWebhookConfiguration, ValidatingWebhookConfiguration),
    looked: Timestamp,
}

impl Running {
    /// Started and ready.
    async fn start(server: &ApiServer, clock: &ManualClock) -> Self {
        let mut replica = Replica::new(server, clock);
        replica.step().await;
        replica.heal().await;
        let seen = see(&replica).await;
        Self { replica, seen, looked: clock.now() }
    }

    async fn look(&mut self) {
        self.replica.step().await;
        self.looked = self.replica.own.clock.now();
    }

    async fn heal(&self) {
        let (client, clock) = (self.replica.own.client.clone(), Arc::new(self.replica.own.clock.clone()));
        let secret = Bundles { client: client.clone(), namespace: "exeat-system".to_owned(), clock };
        let known = self.replica.bundle();
        // A write that comes too late fails, and is then left to what is seen next.
        let _ = bundle::correct(&Api::all(client.clone()), &self.seen.0, &known, &secret).await;
        let _ = bundle::correct(&Api::all(client), &self.seen.1, &known, &secret).await;
    }
}

async fn see(replica: &Replica) -> (MutatingWebhookConfiguration, ValidatingWebhookConfiguration) {
    let client = &replica.own.client;
    let mutating = Api::all(client.clone()).get("exeat").await.unwrap();
    (mutating, Api::all(client.clone()).get("exeat").await.unwrap())
}

/// What an API server that trusts `bundle` says to a replica.
fn verdict(bundle: &str, chain: &str, now: Timestamp) -> Result<(), rustls::Error> {
    let read = |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let mut roots = RootCertStore::empty();
    read(bundle).into_iter().for_each(|root| roots.add(root).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap()));
    let chain = read(chain);
    verifier.verify_server_cert(&chain[0], &chain[1..], &ServerName::try_from(HOST).unwrap(), &[], now).map(|_| ())
}

/// The bundles and chains that have been tried together.
type Accepted = BTreeSet<(String, String)>;

fn check(server: &ApiServer, replicas: &[Running], accepted: &mut Accepted, after: &Event) {
    for (index, running) in replicas.iter().enumerate() {
        let chain = &running.replica.current.leaf.as_ref().unwrap().chain_pem;
        for bundle in server.trusted() {
            if accepted.insert((bundle.clone(), chain.clone())) {
                let now = running.replica.own.clock.now();
                assert_eq!(verdict(&bundle, chain, now), Ok(()), "replica {index} after {after:?}");
            }
        }
    }
}

/// Time passes; no replica stays without a look for the whole of the overlap.
async fn pass(seconds: i64, clock: &ManualClock, replicas: &mut [Running]) {
    let overlap = SignedDuration::try_from(ROOT_OVERLAP).unwrap();
    let step = SignedDuration::from_secs(seconds);
    for running in replicas {
        if clock.now() + step >= running.looked + overlap {
            running.look().await;
        }
    }
    clock.advance(step);
}

async fn run(events: Vec<Event>) {
    let (server, clock) = (ApiServer::new(), clock());
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Running::start(&server, &clock).await);
    }
    let (mut asked, mut accepted) = (0, Accepted::new());
    for event in events {
        match event {
            Event::Look(index) => replicas[index].look().await,
            Event::See(index) => replicas[index].seen = see(&replicas[index].replica).await,
            Event::Heal(index) => replicas[index].heal().await,
            Event::Restart(index) => replicas[index] = Running::start(&server, &clock).await,
            Event::Ask => {
                asked += 1;
                server.ask(&asked.to_string());
            }
            Event::Seconds(seconds) => pass(seconds, &clock, &mut replicas).await,
        }
        check(&server, &replicas, &mut accepted, &event);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_certificate_is_served_whose_root_the_api_server_was_not_told(events in proptest::collection::vec(event(), 1..60)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(events));
    }
}

/// The order that a person sees: three rotations, with every replica looking and healing as it does, twice a minute.
#[tokio::test]
async fn rotations_come_to_their_end_by_themselves() {
    let (server, clock) = (ApiServer::new(), clock());
    let mut replicas = [Running::start(&server, &clock).await, Running::start(&server, &clock).await];
    let (mut roots, mut accepted) = (Vec::new(), Accepted::new());
    for round in ["one", "two", "three"] {
        server.ask(round);
        // A leaf's life is not what drives it.
        for _ in 0..125 {
            for running in &mut replicas {
                running.look().await;
                running.seen = see(&running.replica).await;
                running.heal().await;
            }
            clock.advance(SignedDuration::from_secs(30));
            check(&server, &replicas, &mut accepted, &Event::Seconds(30));
        }
        let bundles = server.trusted();
        assert!(
            bundles.iter().all(|bundle| *bundle == bundles[0] && certificates(bundle).count() == 1),
            "after {round}"
        );
        assert!(!roots.contains(&bundles[0]), "{round} gave a new root");
        roots.push(bundles[0].clone());
    }
    assert!(clock.now() < self::clock().now() + SignedDuration::try_from(LEAF_VALIDITY / 3).unwrap());
}
