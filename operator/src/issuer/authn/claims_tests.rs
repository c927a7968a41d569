use super::*;
use crate::issuer::authn::signer::{self, FAR, ISSUER, Signer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// What is wrong with a token, and how it gets there.
type Wrong = (&'static str, fn(&mut Value));

struct Cluster {
    signer: Signer,
    keys: JwkSet,
}

impl Cluster {
    fn new() -> Self {
        let signer = Signer::new("k1");
        let keys = serde_json::from_value(json!({"keys": [signer.jwk()]})).unwrap();
        Self { signer, keys }
    }

    fn sign(&self, kid: &str, claims: &Value) -> String {
        self.signer.sign_as(kid, claims)
    }

    fn check(&self, token: &str) -> Result<PodIdentity, ClaimError> {
        check(token, &self.keys, ISSUER, "exeat.dev")
    }
}

fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = signer::claims("agents", "pod", "poduid");
    change(&mut claims);
    claims
}

#[test]
fn a_pods_own_token_for_us_names_its_pod() {
    let cluster = Cluster::new();
    let identity = cluster.check(&cluster.sign("k1", &claims(|_| {}))).unwrap();
    let expected = PodIdentity {
        namespace: "agents".into(),
        service_account: "sa".into(),
        pod: "pod".into(),
        pod_uid: "poduid".into(),
    };
    assert_eq!(identity, expected);
}

#[test]
fn what_is_not_for_us_now_from_this_cluster_and_of_a_pod_is_refused() {
    let cluster = Cluster::new();
    let changes: [Wrong; 9] = [
        ("expired", |c| c["exp"] = json!(1000)),
        ("without an end", |c| drop(c.as_object_mut().unwrap().remove("exp"))),
        ("not valid yet", |c| c["nbf"] = json!(FAR - 1)),
        ("another audience", |c| c["aud"] = json!(["https://kubernetes.default.svc"])),
        ("another installation's", |c| c["aud"] = json!(["exeat.dev.example"])),
        ("no audience", |c| drop(c.as_object_mut().unwrap().remove("aud"))),
        ("another cluster's", |c| c["iss"] = json!("https://elsewhere")),
        ("bound to no pod", |c| drop(c["kubernetes.io"].as_object_mut().unwrap().remove("pod"))),
        ("no token of Kubernetes", |c| drop(c.as_object_mut().unwrap().remove("kubernetes.io"))),
    ];
    for (what, change) in changes {
        let refused = cluster.check(&cluster.sign("k1", &claims(change)));
        assert!(matches!(refused, Err(ClaimError::Invalid(_))), "{what}: {refused:?}");
    }
}

#[test]
fn another_signature_is_refused_and_an_unknown_key_is_told_apart() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let token = cluster.sign("k1", &claims(|_| {}));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let foreign = other.sign("k1", &claims(|_| {}));
    let (_, signature) = foreign.rsplit_once('.').unwrap();
    for forged in [foreign.clone(), format!("{signed}.{signature}"), format!("{signed}."), signed.to_owned()] {
        assert!(matches!(cluster.check(&forged), Err(ClaimError::Invalid(_))), "{forged}");
    }
    assert_eq!(cluster.check(&cluster.sign("k2", &claims(|_| {}))), Err(ClaimError::UnknownKey));
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "kid": "k1"}).to_string());
    let unsigned = format!("{header}.{}.", URL_SAFE_NO_PAD.encode(claims(|_| {}).to_string()));
    assert!(matches!(cluster.check(&unsigned), Err(ClaimError::Invalid(_))));
}
