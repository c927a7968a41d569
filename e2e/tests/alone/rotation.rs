//! New roots under live agents and a live API server: nobody notices.

use exeat_crds::names;
use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{
    Failure, Result, Scope, agent, connect, ensure, in_namespace, kubectl, kubernetes_policy, now, script, system,
    system_namespace, wait_for,
};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::json;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Long against a busy machine's pauses, short against a test's patience; replicas then look every ten seconds.
const OVERLAP: &str = "EXEAT_ROOT_OVERLAP=40s";
const EACH_SECOND: &str = "while kubectl get pods -o name >/dev/null; do sleep 1; done; echo broken; sleep 86400";
const TOKEN: &str = "cat /var/run/exeat/kubernetes/token";
const END: &str = "-----END CERTIFICATE-----";
const ISSUER_PORT: u16 = 8443;
const BETWEEN_PODS: Duration = Duration::from_millis(100);

/// Runs with a short overlap of one program's roots, and puts the usual one back.
async fn with_short_overlap(program: &str, run: impl AsyncFnOnce(Client) -> Result) -> Result {
    let client = connect().await?;
    set_env(program, OVERLAP).await?;
    let outcome = run(client).await;
    let restored = set_env(program, "EXEAT_ROOT_OVERLAP-").await;
    outcome.and(restored)
}

async fn set_env(program: &str, variable: &str) -> Result {
    let deployment = format!("deployment/exeat-{program}");
    kubectl(&["-n", system_namespace(), "set", "env", &deployment, variable]).await?.ok()?;
    kubectl(&["-n", system_namespace(), "rollout", "status", &deployment, "--timeout=150s"]).await?.ok()?;
    Ok(())
}

async fn ask_for_a_new_root(client: &Client, secret: &str) -> Result {
    let body = json!({"metadata": {"annotations": {names::ROTATE: now().to_string()}}});
    let api: Api<Secret> = Api::namespaced(client.clone(), system_namespace());
    api.patch(secret, &PatchParams::default(), &Patch::Merge(&body)).await?;
    Ok(())
}

fn certificates(pem: &str) -> Vec<String> {
    pem.split_inclusive(END).filter(|part| part.ends_with(END)).map(|part| part.trim().to_owned()).collect()
}

/// What new pods are told to trust, newest first.
async fn published(client: &Client) -> Result<Vec<String>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), system_namespace());
    let data = api.get(names::ISSUER_ROOT_CONFIG_MAP).await?.data.unwrap_or_default();
    Ok(certificates(data.get("ca.crt").map(String::as_str).unwrap_or_default()))
}

/// What a pod was told to trust when it was admitted.
fn trusted(pod: &Pod) -> Vec<String> {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let variables = containers.flat_map(|container| container.env.iter().flatten());
    let found = variables.filter(|variable| variable.name == "EXEAT_ISSUER_CA").filter_map(|v| v.value.as_deref());
    found.flat_map(certificates).collect()
}

/// A TLS handshake with one issuer by a client that trusts nothing but `root`.
async fn handshake(address: SocketAddr, root: &str) -> Result {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(root.as_bytes()).map_err(|e| Failure::new(e.to_string()))?)?;
    let config = ClientConfig::builder().with_root_certificates(store).with_no_client_auth();
    let name = ServerName::try_from(format!("exeat-issuer.{}.svc", system_namespace()))?;
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    let talk = move || -> std::io::Result<()> {
        let limit = Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(talk).await??;
    Ok(())
}

/// Fails unless who trusts `root` alone can speak with every issuer.
async fn reaches_every_issuer(client: &Client, root: &str) -> Result {
    let issuers = system::pods(client, "issuer").await?;
    ensure!(issuers.len() == 2, "there are {} issuers", issuers.len());
    for pod in issuers {
        let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone()).unwrap_or_default();
        let ip = ip.parse().map_err(|_| Failure::new(format!("{} has the address {ip:?}", pod.name_any())))?;
        let spoken = handshake(SocketAddr::new(ip, ISSUER_PORT), root).await;
        spoken.map_err(|e| Failure::new(format!("{}: {e}", pod.name_any())))?;
    }
    Ok(())
}

/// Asks for a new root of the issuer and follows the rotation to its end. A pod is started in the midst of it.
async fn rotate_issuer(ns: &Scope, oldest: &str, midway: &str) -> Result<String> {
    let before = published(&ns.client).await?;
    ask_for_a_new_root(&ns.client, names::ISSUER_ROOT_SECRET).await?;
    let newest = wait_for("the new root is published beside the former", 60, async || {
        let bundle = published(&ns.client).await?;
        ensure!(bundle.len() == 2 && bundle[1] == before[0] && bundle[0] != before[0], "{} roots", bundle.len());
        Ok(bundle[0].clone())
    })
    .await?;
    let pod = ns.start(agent(midway, "pods")).await?;
    ensure!(trusted(&pod).contains(&before[0]), "{midway} was admitted after the overlap");
    wait_for("every issuer serves by the new root", 60, async || reaches_every_issuer(&ns.client, &newest).await)
        .await?;
    reaches_every_issuer(&ns.client, oldest).await?;
    wait_for("the former root is published no more", 120, async || {
        let bundle = published(&ns.client).await?;
        ensure!(bundle == [newest.clone()], "{} roots", bundle.len());
        Ok(())
    })
    .await?;
    Ok(newest)
}

#[tokio::test]
async fn agents_of_every_age_reach_the_issuer_after_two_rotations_of_its_root() -> Result {
    let _alone = crate::ALONE.lock().await;
    with_short_overlap("issuer", async |_| {
        in_namespace("rotation", async |ns| {
            let mut policy = kubernetes_policy("pods", &ns.name, &["list pods"]);
            policy.spec.session.credential_ttl = Some("1m".to_owned());
            ns.ready(policy).await?;
            ns.start(script("agent", "pods", EACH_SECOND)).await?;
            let roots = trusted(&ns.start(agent("old", "pods")).await?);
            ensure!(roots.len() == 1, "the pods trust {} roots: an overlap is still on", roots.len());
            rotate_issuer(&ns, &roots[0], "midway-1").await?;
            let newest = rotate_issuer(&ns, &roots[0], "midway-2").await?;
            ensure!(newest != roots[0], "the root is still the first");

            // A sidecar that starts takes the former token away, so the calls of this pod's agent fail for a moment.
            let token = ns.sh("old", TOKEN).await?.ok()?;
            ns.crash_sidecar("old").await?;
            wait_for("the restarted sidecar has fetched by the first root alone", 60, async || {
                ensure!(ns.sh("old", TOKEN).await?.ok()? != token, "the token is that from before");
                Ok(())
            })
            .await?;
            let pod = ns.start(agent("newest", "pods")).await?;
            ensure!(trusted(&pod) == [newest.clone()], "it was given {} roots", trusted(&pod).len());
            for name in ["agent", "old", "midway-1", "midway-2", "newest"] {
                ns.session(name, 1, Phase::Active, 30).await?;
                ns.sh(name, "kubectl get pods -o name").await?.ok()?;
            }
            let log = ns.log("agent", "agent").await?;
            ensure!(!log.contains("broken"), "a call failed: {log}");
            Ok(())
        })
        .await
    })
    .await
}

/// What the API server trusts of each webhook.
async fn told(client: &Client) -> Result<Vec<Vec<String>>> {
    let mutating = Api::<MutatingWebhookConfiguration>::all(client.clone()).get("exeat").await?;
    let validating = Api::<ValidatingWebhookConfiguration>::all(client.clone()).get("exeat").await?;
    let mutating = mutating.webhooks.into_iter().flatten().map(|w| w.client_config.ca_bundle);
    let validating = validating.webhooks.into_iter().flatten().map(|w| w.client_config.ca_bundle);
    let bundles = mutating.chain(validating).map(|b| b.map(|b| b.0).unwrap_or_default());
    Ok(bundles.map(|bundle| certificates(&String::from_utf8_lossy(&bundle))).collect())
}

async fn rotate_webhook(client: &Client) -> Result {
    let before = told(client).await?.swap_remove(0);
    ask_for_a_new_root(client, names::WEBHOOK_ROOT_SECRET).await?;
    let both = wait_for("all webhooks are told of both roots", 60, async || {
        let told = told(client).await?;
        ensure!(told.iter().all(|one| one.len() == 2 && one[1] == before[0]), "{told:?}");
        Ok(told[0].clone())
    })
    .await?;
    wait_for("all webhooks are told of the new root alone", 180, async || {
        let told = told(client).await?;
        ensure!(told.iter().all(|one| *one == both[..1]), "{told:?}");
        Ok(())
    })
    .await
}

/// Has pods admitted, one after the other, for good; they come to nothing.
async fn admit(ns: &Scope, admitted: &mut u32) -> Result {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    loop {
        let pod = ns.api::<Pod>().create(&dry, &agent("passing", "pods")).await?;
        ensure!(pod.labels().contains_key(names::INJECTED_LABEL), "it was not injected");
        *admitted += 1;
        tokio::time::sleep(BETWEEN_PODS).await;
    }
}

#[tokio::test]
async fn no_pod_is_refused_while_the_webhooks_root_is_rotated() -> Result {
    let _alone = crate::ALONE.lock().await;
    with_short_overlap("webhook", async |_| {
        in_namespace("hookroot", async |ns| {
            ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
            let mut admitted = 0;
            tokio::select! {
                rotated = rotate_webhook(&ns.client) => rotated?,
                refused = admit(&ns, &mut admitted) => refused?,
            }
            println!("{admitted} pods admitted during the rotation");
            ensure!(admitted > 100, "only {admitted} pods were admitted");
            Ok(())
        })
        .await
    })
    .await
}
