//! A cluster's token signer, for tests.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub(crate) const FAR: i64 = 4_102_444_800;

/// One key of the API server's.
pub(crate) struct Signer {
    kid: &'static str,
    key: KeyPair,
}

impl Signer {
    pub(crate) fn new(kid: &'static str) -> Self {
        Self { kid, key: KeyPair::generate().unwrap() }
    }

    pub(crate) fn jwk(&self) -> Value {
        let point = self.key.der_bytes().to_vec();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "alg": "ES256", "use": "sig", "x": x, "y": y})
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(self.kid, claims)
    }

    /// Signs, and names a key that may be another one.
    pub(crate) fn sign_as(&self, kid: &str, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(kid.into());
        encode(&header, claims, &EncodingKey::from_ec_der(&self.key.serialize_der())).unwrap()
    }
}

/// What the API server writes into the token of a pod, for us.
pub(crate) fn claims(namespace: &str, pod: &str, uid: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": ["exeat.dev"], "exp": FAR, "iat": 1, "nbf": 1, "sub": format!("system:serviceaccount:{namespace}:sa"),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": "sa", "uid": "sa-uid"}, "pod": {"name": pod, "uid": uid}},
    })
}
