//! An API server in memory with conditional writes, a provider beside it, and changes that come between two requests.

mod provider;

use crate::audit::Audit;
use crate::audit::chain::{Chain, Origin};
use crate::audit::key::Key;
use crate::audit::metrics::AuditMetrics;
use crate::audit::sink::{Sink, SinkError};
use crate::audit::spool::{Entry, Limits};
use crate::events::Events;
use crate::issuer::admit::{Rates, Shares};
use crate::issuer::authn::signer::{ISSUER, Signer};
use crate::issuer::authn::{Authenticator, PodIdentity};
pub(super) use crate::issuer::fixtures::{NOW, POD_UID, session, session_name};
use crate::issuer::fixtures::{policy, provider};
use crate::issuer::hold::Caller;
use crate::issuer::learn::Learning;
use crate::issuer::mint::Desk;
use crate::issuer::providers::Providers;
use crate::issuer::sessions::View;
use crate::issuer::streams::Streams;
use crate::metrics::IssuerMetrics;
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_crds::names;
use exeat_providers::{Context, Made};
use exeat_runtime::clock::ManualClock;
use exeat_runtime::dns::Resolver;
use http::{Request, Response};
use kube::{Client, client::Body, runtime::watcher::Event};
use prometheus::Registry;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use tower::service_fn;

pub(super) const POLICY: &str = "policy";
pub(super) const PROVIDER: &str = "provider";
pub(super) const POD: &str = "pod";
/// Less than usual: each call of a flood costs a test a signature.
pub(super) const NAMESPACE_RATE: u32 = 2;

/// A change by somebody else.
pub(super) type Change = fn(&mut Objects);

/// What is stored, by name: sessions by theirs, the rest by [`POLICY`], [`PROVIDER`], [`POD`].
#[derive(Default)]
pub(super) struct Objects {
    pub(super) all: BTreeMap<String, Value>,
    version: u64,
}

impl Objects {
    /// Changes an object, if it is there.
    pub(super) fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Value)) {
        self.version += 1;
        if let Some(object) = self.all.get_mut(name) {
            edit(object);
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
    }

    pub(super) fn put(&mut self, name: &str, object: Value) {
        self.all.insert(name.to_owned(), object);
        self.edit(name, |_| {});
    }
}

/// All of it. Clones share it.
#[derive(Clone)]
pub(super) struct World {
    pub(super) objects: Arc<Mutex<Objects>>,
    /// What happened, in order: `GET name`, `PATCH name`, `intent`, `mint`, `revoke`, `change`, …
    pub(super) log: Arc<Mutex<Vec<String>>>,
    changes: Arc<Mutex<Vec<(usize, Change)>>>,
    points: Arc<Mutex<usize>>,
    /// The keys that the API server signs tokens with and tells of.
    pub(super) signers: Arc<Mutex<Vec<Signer>>>,
    pub(super) clock: ManualClock,
    /// What the provider has on record.
    pub(super) made: Arc<Mutex<Vec<Made>>>,
}

pub(super) fn caller(key: &str) -> Caller {
    let pod = PodIdentity {
        namespace: "agents".into(),
        service_account: "sa".into(),
        pod: "agent".into(),
        pod_uid: POD_UID.into(),
    };
    Caller { pod, key: key.into(), held: None, policies: Vec::new() }
}

/// What kubelet says of the sidecar.
pub(super) fn pod(restarts: i32, container: &str) -> Value {
    let status = json!({"name": names::SIDECAR, "image": "i", "imageID": "", "ready": true, "restartCount": restarts, "containerID": container});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "namespace": "agents", "uid": POD_UID},
        "status": {"phase": "Running", "initContainerStatuses": [status]},
    })
}

impl World {
    /// A pod with as many active sessions, its policy and provider.
    pub(super) fn new(sessions: i32) -> Self {
        let mut objects = Objects::default();
        for number in 1..=sessions {
            objects.put(&session_name(number), session(number));
        }
        objects.put(POLICY, policy());
        objects.put(PROVIDER, provider());
        objects.put(POD, pod(0, "c0"));
        Self {
            objects: Arc::new(Mutex::new(objects)),
            log: Arc::default(),
            changes: Arc::default(),
            points: Arc::default(),
            signers: Arc::new(Mutex::new(vec![Signer::new("k1")])),
            clock: ManualClock::new(NOW.parse().unwrap()),
            made: Arc::default(),
        }
    }

    /// Lets a change come right before the request (or mint) with this number.
    pub(super) fn change_before(&self, point: usize, change: Change) {
        self.changes.lock().unwrap().push((point, change));
    }

    pub(super) fn object(&self, name: &str) -> Value {
        self.objects.lock().unwrap().all.get(name).cloned().unwrap_or_default()
    }

    /// How many requests and mints there were.
    pub(super) fn points(&self) -> usize {
        *self.points.lock().unwrap()
    }

    /// Where something happened last.
    pub(super) fn last(&self, what: &str) -> Option<usize> {
        self.log.lock().unwrap().iter().rposition(|l| l == what)
    }

    /// How often something happened.
    pub(super) fn count(&self, what: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|l| *l == what).count()
    }

    fn say(&self, what: &str) {
        self.log.lock().unwrap().push(what.to_owned());
    }

    fn point(&self) {
        let mut points = self.points.lock().unwrap();
        for (_, change) in self.changes.lock().unwrap().extract_if(.., |(at, _)| *at == *points) {
            self.say("change");
            change(&mut self.objects.lock().unwrap());
        }
        *points += 1;
    }

    fn answer(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.point();
        let last = path.trim_end_matches("/status").rsplit('/').next().unwrap_or_default();
        let name = match path {
            p if p.contains("/agentcredentialpolicies/") => POLICY,
            p if p.contains("/credentialproviders/") => PROVIDER,
            p if p.contains("/pods/")
                && !p.contains("/exeat-system/")
                && !self.objects.lock().unwrap().all.contains_key(last) =>
            {
                POD
            }
            _ => last,
        };
        self.say(&format!("{method} {name}"));
        if let Some(answer) = self.answer_about_tokens(last, body) {
            return answer;
        }
        let mut objects = self.objects.lock().unwrap();
        if path.ends_with("/events") {
            self.say(body["reason"].as_str().unwrap_or_default());
            return (201, body.clone());
        }
        let Some(found) = objects.all.get(name).cloned() else { return (404, failure(404, "NotFound")) };
        if method == "GET" {
            return (200, found);
        }
        let sent = &body["metadata"];
        let stale = |key: &str| !sent[key].is_null() && sent[key] != found["metadata"][key];
        if stale("resourceVersion") || stale("uid") {
            return (409, failure(409, "Conflict"));
        }
        // Each is written apart, under a field manager of its own.
        let field = if body["status"]["suggested"].is_null() { "issuance" } else { "suggested" };
        objects.edit(name, |object| object["status"][field] = body["status"][field].clone());
        (200, objects.all[name].clone())
    }

    /// Discovery, keys, and TokenReview: a token is good while the pod that it names is there under its UID.
    fn answer_about_tokens(&self, what: &str, body: &Value) -> Option<(u16, Value)> {
        match what {
            "openid-configuration" => Some((200, json!({"issuer": ISSUER}))),
            "jwks" => {
                let keys: Vec<_> = self.signers.lock().unwrap().iter().map(Signer::jwk).collect();
                Some((200, json!({"keys": keys})))
            }
            "tokenreviews" => {
                let payload = body["spec"]["token"].as_str().and_then(|t| t.split('.').nth(1)).unwrap_or_default();
                let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
                let pod = &claims["kubernetes.io"]["pod"];
                let alive = self.objects.lock().unwrap().all.values().any(|o| {
                    o["kind"] == "Pod" && o["metadata"]["name"] == pod["name"] && o["metadata"]["uid"] == pod["uid"]
                });
                let extra = json!({
                    "authentication.kubernetes.io/pod-name": [pod["name"]], "authentication.kubernetes.io/pod-uid": [pod["uid"]]});
                let status = match alive {
                    true => {
                        json!({"authenticated": true, "audiences": claims["aud"], "user": {"username": claims["sub"], "extra": extra}})
                    }
                    false => json!({"authenticated": false, "error": "the pod is gone"}),
                };
                let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {}, "status": status});
                Some((201, review))
            }
            _ => None,
        }
    }

    fn client(&self, turns: Option<Arc<Semaphore>>) -> Client {
        let world = self.clone();
        let serve = service_fn(move |request: Request<Body>| {
            let (world, turns) = (world.clone(), turns.clone());
            async move {
                if let Some(turns) = turns {
                    turns.acquire().await.unwrap().forget();
                }
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (status, answer) = world.answer(head.method.as_str(), head.uri.path(), &body);
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, Infallible>(Response::builder().status(status).body(answer).unwrap())
            }
        });
        Client::new(serve, "default")
    }

    fn audit(&self) -> Audit {
        let origin = Origin { program: "issuer".into(), writer: "issuer-0".into(), boot: "boot".into() };
        let metrics = AuditMetrics::register(&Registry::new()).unwrap();
        let limits = Limits { records: 1000, bytes: 1 << 20 };
        Audit::start(Chain::new(Key::generate(), origin, "test"), limits, Box::new(self.clone()), metrics)
    }

    /// What there is of policies and providers, as a replica sees it; of sessions it has seen none.
    fn view(&self) -> Arc<View> {
        let (view, mut writers) = View::empty();
        let provider = Event::Apply(serde_json::from_value(self.object(PROVIDER)).unwrap());
        writers.providers.apply_watcher_event(&provider);
        view.on_provider(&provider);
        // Whatever policy is asked for is the same one.
        for name in ["reader", "writer"] {
            let mut policy = self.object(POLICY);
            policy["metadata"]["name"] = json!(name);
            let policy = Event::Apply(serde_json::from_value(policy).unwrap());
            writers.policies.apply_watcher_event(&policy);
            view.on_policy(&policy);
        }
        view
    }

    /// Lets a replica see the sessions as they are.
    pub(super) fn see(&self, desk: &Desk) {
        let objects = self.objects.lock().unwrap();
        for session in objects.all.values().filter(|o| o["kind"] == "CredentialSession") {
            desk.view.on_session(&Event::Apply(serde_json::from_value(session.clone()).unwrap()));
        }
    }

    /// A replica. With `turns` each of its requests waits for one.
    pub(super) fn desk(&self, turns: Option<Arc<Semaphore>>) -> Desk {
        let client = self.client(turns);
        let context = Context {
            client: client.clone(),
            namespace: "exeat-system".into(),
            grants_namespace: "exeat-grants".into(),
            cluster: "test".into(),
            resolver: Resolver::system(),
            web_identity_token_file: "/nowhere".into(),
            vault_token_file: "/nowhere".into(),
            azure_token_file: "/nowhere".into(),
            gcp_token_file: "/nowhere".into(),
            cluster_ca_pem: None,
            cluster_server: "https://kubernetes.default.svc".into(),
        };
        let provider = serde_json::from_value(self.object(PROVIDER)).unwrap();
        Desk {
            authenticator: Authenticator::new(client.clone(), "exeat.dev"),
            view: self.view(),
            providers: Providers::with_built(context, &provider, Arc::new(self.clone())),
            audit: self.audit(),
            events: Events::new(client.clone(), "issuer", "issuer-0"),
            client,
            clock: Arc::new(self.clock.clone()),
            metrics: IssuerMetrics::register(&Registry::new()).unwrap(),
            shares: Shares::new(Rates { calls: NAMESPACE_RATE, mints: NAMESPACE_RATE }),
            flights: Mutex::default(),
            reports: Mutex::default(),
            streams: Streams::new("issuer-0"),
            learning: Learning::default(),
        }
    }
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason, "reason": reason, "code": code})
}

/// The audit log.
#[async_trait]
impl Sink for World {
    fn is_local(&self) -> bool {
        true
    }

    async fn deliver(&mut self, batch: Vec<Entry>) -> Result<(), SinkError> {
        for entry in batch {
            let line: Value = serde_json::from_slice(&entry.line).unwrap();
            self.say(line["event"].as_str().unwrap_or_default());
        }
        Ok(())
    }
}
