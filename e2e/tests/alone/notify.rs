//! People are told by HTTP what waits for them: once, whoever leads.

use std::sync::{Arc, Mutex};

use exeat_crds::{Approval, condition};
use exeat_e2e::approvals::Actor;
use exeat_e2e::{Failure, Result, Scope, ensure, exeat, in_namespace, shell, system, system_namespace, wait_for};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An address of the node: pods reach what listens there.
const NODE: &str = "198.18.0.1";
const SECRET: &str = "e2e-notify";
const UPGRADE: &str = "helm upgrade exeat charts/exeat --namespace exeat-system --reuse-values --wait --timeout 3m";

/// A receiver of messages, and all that it was sent.
struct Receiver {
    url: String,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((NODE, 0)).await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let messages: Arc<Mutex<Vec<Value>>> = Arc::default();
        let all = Arc::clone(&messages);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let all = Arc::clone(&all);
                tokio::spawn(async move {
                    // Who is cut off sends again.
                    let told = take(connection).await.ok();
                    all.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(told);
                });
            }
        });
        Ok(Self { url, messages })
    }

    /// What it was told of this approval while it waits: the command that says yes, of each item and of each line for Slack.
    fn told(&self, ns: &Scope, name: &str) -> Vec<String> {
        let messages = self.messages.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let line = format!("\n• *waits* for people: `{}/{name}` for ", ns.name);
        let mut told = Vec::new();
        for message in messages.iter() {
            let ours = |i: &&Value| i["event"] == "pending" && i["namespace"] == ns.name && i["name"] == name;
            let items = message["items"].as_array().into_iter().flatten().filter(ours);
            told.extend(items.filter_map(|item| item["decide"]["approve"].as_str()).map(str::to_owned));
            let texts = message["text"].as_str().into_iter().flat_map(|text| text.split(&line).skip(1));
            told.extend(
                texts.filter_map(|text| text.split('`').find(|s| s.starts_with("kubectl exeat "))).map(str::to_owned),
            );
        }
        told
    }
}

/// Reads one request, answers it, and gives its body.
async fn take(mut connection: TcpStream) -> Result<Value> {
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
    Ok(serde_json::from_slice(&read[head..])?)
}

/// Gives the command that says yes, as people are told it.
async fn waits_and_is_told(ns: &Scope, receiver: &Receiver, name: &str) -> Result<String> {
    ns.asked(name, json!([])).await?;
    wait_for(&format!("people are told of {name}"), 60, async || {
        let mut told = receiver.told(ns, name);
        ensure!(told.len() == 1, "{told:?}");
        let approval = ns.api::<Approval>().get(name).await?;
        let conditions = approval.status.unwrap_or_default().conditions;
        ensure!(condition::is_true(&conditions, "Notified"), "{conditions:?}");
        told.pop().ok_or_else(|| Failure::new("nothing"))
    })
    .await
}

/// Does what people are told to do, as they do: by copying the line, with a reason of their own.
async fn copied(ns: &Scope, ann: &Actor, name: &str, line: &str) -> Result {
    let words = line.strip_prefix("kubectl exeat ").unwrap_or_default();
    let words: Vec<&str> = words.split(' ').map(|word| if word == "WHY" { "because" } else { word }).collect();
    let me = format!("--as={}", ann.user);
    let said = exeat(&[&words[..], &[&me, "--as-group=security", "--yes"]].concat()).await?.ok()?;
    ensure!(said.contains("approved by ann"), "{line}: {said}");
    let decisions = ns.api::<Approval>().get(name).await?.spec.decisions;
    let why: Vec<_> = decisions.iter().map(|d| (d.approver.as_str(), d.comment.as_deref())).collect();
    assert_eq!(why, [("ann", Some("because"))]);
    Ok(())
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
            let ann = ns.approver("ann", &["security"]).await?;
            let line = waits_and_is_told(&ns, &receiver, "first").await?;
            copied(&ns, &ann, "first", &line).await?;
            // Other replicas take over, and tell it as Slack reads it.
            shell(&format!("{UPGRADE} --set approvals.notify.format=slack")).await?.ok()?;
            let line = waits_and_is_told(&ns, &receiver, "second").await?;
            copied(&ns, &ann, "second", &line).await?;
            assert_eq!(receiver.told(&ns, "first").len(), 1, "the next leader does not tell it again");
            let by_text = |message: &Value| message.as_object().is_some_and(|m| m.len() == 1 && m["text"].is_string());
            let messages = receiver.messages.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            ensure!(messages.last().is_some_and(by_text), "Slack takes a text and nothing else: {messages:?}");
            let log = system::log(&ns.client, "controller").await?;
            ensure!(!log.contains("/hook"), "the address's path is a secret and stands in the log");
            Ok(())
        }
        .await;
        shell(&format!("{UPGRADE} --set approvals.notify.enabled=false --set approvals.notify.format=generic")).await?.ok()?;
        outcome
    })
    .await
}
