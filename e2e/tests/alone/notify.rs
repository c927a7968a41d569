//! People are told by HTTP what waits for them: once, whoever leads.

use std::sync::{Arc, Mutex};

use exeat_crds::{Approval, condition};
use exeat_e2e::{Result, Scope, ensure, in_namespace, shell, system, system_namespace, wait_for};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An address of the node: pods reach what listens there.
const NODE: &str = "198.18.0.1";
const SECRET: &str = "e2e-notify";
const UPGRADE: &str = "helm upgrade exeat charts/exeat --namespace exeat-system --reuse-values --wait --timeout 3m";

/// A receiver of messages, and all items that it was sent.
struct Receiver {
    url: String,
    items: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((NODE, 0)).await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let items: Arc<Mutex<Vec<Value>>> = Arc::default();
        let all = Arc::clone(&items);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let all = Arc::clone(&all);
                tokio::spawn(async move {
                    // Who is cut off sends again.
                    let told = take(connection).await.unwrap_or_default();
                    all.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(told);
                });
            }
        });
        Ok(Self { url, items })
    }

    /// How often it was told that this approval waits.
    fn told(&self, ns: &Scope, name: &str) -> usize {
        let items = self.items.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        items.iter().filter(|i| i["event"] == "pending" && i["namespace"] == ns.name && i["name"] == name).count()
    }
}

/// Reads one request, answers it, and gives its items.
async fn take(mut connection: TcpStream) -> Result<Vec<Value>> {
    let mut read = Vec::new();
    let (head, length) = loop {
        ensure!(connection.read_buf(&mut read).await? > 0, "cut off in its head");
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.lines().find_map(|l| l.strip_prefix("content-length:")).unwrap_or("0");
            break (end + 4, length.trim().parse::<usize>()?);
        }
    };
    while read.len() < head + length {
        ensure!(connection.read_buf(&mut read).await? > 0, "cut off in its body");
    }
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await?;
    let body: Value = serde_json::from_slice(&read[head..])?;
    Ok(body["items"].as_array().cloned().unwrap_or_default())
}

async fn waits_and_is_told(ns: &Scope, receiver: &Receiver, name: &str) -> Result {
    ns.asked(name, json!([])).await?;
    wait_for(&format!("people are told of {name}"), 60, async || {
        let told = receiver.told(ns, name);
        ensure!(told == 1, "{told} times");
        let approval = ns.api::<Approval>().get(name).await?;
        let conditions = approval.status.unwrap_or_default().conditions;
        ensure!(condition::is_true(&conditions, "Notified"), "{conditions:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn people_are_told_once_what_waits_for_them_whoever_leads() -> Result {
    let _alone = crate::ALONE.lock().await;
    let receiver = Receiver::start().await?;
    in_namespace("notify", async |ns| {
        let secrets: Api<Secret> = Api::namespaced(ns.client.clone(), system_namespace());
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": {"url": receiver.url}});
        secrets.patch(SECRET, &PatchParams::apply("e2e").force(), &Patch::Apply(&secret)).await?;
        let on = format!(
            "{UPGRADE} --set approvals.notify.enabled=true --set approvals.notify.interval=1s \
             --set approvals.notify.allowHTTP=true --set approvals.notify.urlSecret.name={SECRET}"
        );
        shell(&on).await?.ok()?;
        let outcome = async {
            waits_and_is_told(&ns, &receiver, "first").await?;
            system::restart(&ns.client, "controller").await?;
            waits_and_is_told(&ns, &receiver, "second").await?;
            assert_eq!(receiver.told(&ns, "first"), 1, "the next leader does not tell it again");
            let log = system::log(&ns.client, "controller").await?;
            ensure!(!log.contains("/hook"), "the address's path is a secret and stands in the log");
            Ok(())
        }
        .await;
        shell(&format!("{UPGRADE} --set approvals.notify.enabled=false")).await?.ok()?;
        outcome
    })
    .await
}
