//! What the sidecar counted: its metrics are on the pod's loopback, which a port-forward reaches.

use super::facts::{Counts, Look};
use exeat_crds::names;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::{Client, ResourceExt};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Longest wait for the counters.
const LIMIT: Duration = Duration::from_secs(5);
/// Most that is read.
const MOST: u64 = 256 * 1024;

/// Reads the counters of a policy and the kind of its provider.
pub(super) async fn counts(client: &Client, namespace: &str, pod: &Pod, of: (&str, &str)) -> Look<Counts> {
    let port =
        pod.annotations().get(names::PORT).and_then(|port| port.trim().parse().ok()).unwrap_or(names::DEFAULT_PORT);
    match timeout(LIMIT, metrics(client, namespace, &pod.name_any(), port)).await {
        Ok(Ok(text)) => parse(&text, of)
            .map_or_else(|| Look::Unreadable("the sidecar answered something else".to_owned()), Look::Found),
        Ok(Err(why)) => Look::Unreadable(why),
        Err(_) => Look::Unreadable("no answer through a port-forward".to_owned()),
    }
}

async fn metrics(client: &Client, namespace: &str, pod: &str, port: u16) -> Result<String, String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut forward = api.portforward(pod, &[port]).await.map_err(|error| crate::error::api_message(&error))?;
    let mut stream = forward.take_stream(port).ok_or("no stream")?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Adds up the counters; `None` where the text holds none. Of several policies each counts by itself, under its provider's kind, and by its name
/// where several are of one kind.
pub(super) fn parse(text: &str, (policy, kind): (&str, &str)) -> Option<Counts> {
    let mut counts = Counts::default();
    let mut any = false;
    for line in text.lines().filter(|line| line.starts_with("exeat_sidecar_")) {
        any = true;
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let value: u64 = value.parse().unwrap_or(0);
        let labelled = |label: &str| name.contains(label);
        // A kind that is not known tells nothing apart.
        let of_another = |label: &str, own: &str| labelled(label) && !labelled(&format!("{label}\"{own}\""));
        if of_another("policy=", policy) || (!kind.is_empty() && of_another("provider=", kind)) {
            continue;
        }
        if name.starts_with("exeat_sidecar_requests_total") {
            let counter = if labelled("outcome=\"served\"") { &mut counts.served } else { &mut counts.unserved };
            *counter += value;
        } else if name.starts_with("exeat_sidecar_rejected_requests_total") {
            let counter = if labelled("SecretMissing\"") {
                &mut counts.without_secret
            } else if labelled("SecretWrong\"") {
                &mut counts.wrong_secret
            } else {
                &mut counts.rejected
            };
            *counter += value;
        }
    }
    any.then_some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_added_up() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# HELP x\nexeat_sidecar_requests_total{outcome=\"served\",protocol=\"aws\"} 3\n\
            exeat_sidecar_requests_total{outcome=\"served\",protocol=\"json\"} 2\nexeat_sidecar_requests_total{outcome=\"denied\",protocol=\"aws\"} 9\n\
            exeat_sidecar_rejected_requests_total{reason=\"LoopbackSecretMissing\"} 4\nexeat_sidecar_rejected_requests_total{reason=\"RequestForwarded\"} 1\n";
        let counts = Counts { served: 5, unserved: 9, without_secret: 4, wrong_secret: 0, rejected: 1 };
        assert_eq!(parse(text, ("reports", "aws")), Some(counts));
        assert_eq!(parse("HTTP/1.1 404 Not Found", ("reports", "aws")), None);
    }

    #[test]
    fn what_another_policy_of_the_pod_served_is_not_counted() {
        let line = |labels: &str, n: u32| format!("exeat_sidecar_requests_total{{outcome=\"served\",{labels}}} {n}\n");
        let text = line("provider=\"vault\",protocol=\"vault\"", 5)
            + &line("policy=\"cleaner\",protocol=\"aws\",provider=\"aws\"", 7)
            + &line("policy=\"reports\",protocol=\"aws\",provider=\"aws\"", 2);
        for (policy, kind, served) in
            [("reports", "aws", 2), ("cleaner", "aws", 7), ("secrets", "vault", 5), ("x", "gcp", 0)]
        {
            assert_eq!(parse(&text, (policy, kind)).unwrap().served, served, "{policy}");
        }
    }
}
