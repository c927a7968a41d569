//! The variables by which AWS SDKs tell the sidecar which calls they make, in mode Observe.

use k8s_openapi::api::core::v1::EnvVar;

use super::agent::{literal, set};

/// Tells our injection from settings of the author's own.
const CLIENT_ID: (&str, &str) = ("AWS_CSM_CLIENT_ID", "exeat");
const OTHERS: [&str; 3] = ["AWS_CSM_ENABLED", "AWS_CSM_HOST", "AWS_CSM_PORT"];

/// Puts them in for this port, in place of the author's; or takes an earlier injection back.
pub(super) fn place(env: &mut Vec<EnvVar>, port: Option<u16>) {
    if let Some(port) = port {
        let values = ["true".to_owned(), "127.0.0.1".to_owned(), port.to_string()];
        for (name, value) in OTHERS.into_iter().zip(values) {
            set(env, literal(name, &value));
        }
        set(env, literal(CLIENT_ID.0, CLIENT_ID.1));
    } else if env.iter().any(|e| e.name == CLIENT_ID.0 && e.value.as_deref() == Some(CLIENT_ID.1)) {
        env.retain(|e| e.name != CLIENT_ID.0 && !OTHERS.contains(&e.name.as_str()));
    }
}
