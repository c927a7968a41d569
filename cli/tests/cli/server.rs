//! An API server of a test's own: it keeps objects, answers as it is told, and notes what it was asked. It stands in where the real one can't be
//! made to fail at the right moment; what the real one does is shown on a cluster (`e2e/tests/stories`).

use super::{Folder, said};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(super) const GROUP: &str = "/apis/exeat.dev/v1alpha1";

/// Objects by their paths.
pub(super) type Objects = BTreeMap<String, Value>;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Value,
    pub(super) at: Instant,
}

impl Asked {
    /// The last part of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    /// Whether sessions are listed.
    pub(super) fn lists_sessions(&self) -> bool {
        self.method == "GET" && self.name() == "credentialsessions"
    }
}

/// What a rule says of a request before the server looks at it.
pub(super) enum Said {
    /// Answer as usual.
    Usual,
    /// This status with this message.
    No(u16, &'static str),
    /// This text, of a log.
    Text(String),
    /// Nothing, for ever.
    Silence,
}

type Rule = Box<dyn FnMut(&mut Objects, &Asked) -> Said + Send>;

struct State {
    objects: Objects,
    rule: Rule,
    asked: Vec<Asked>,
}

pub(super) struct Server {
    state: Arc<Mutex<State>>,
    kubeconfig: String,
    _folder: Folder,
}

impl Server {
    /// Serves these objects on a port of its own.
    pub(super) fn new(name: &str, objects: Vec<Value>) -> Self {
        Self::with(name, objects, |_, _| Said::Usual)
    }

    /// The same with a rule, which may change objects.
    pub(super) fn with(
        name: &str,
        objects: Vec<Value>,
        rule: impl FnMut(&mut Objects, &Asked) -> Said + Send + 'static,
    ) -> Self {
        let objects = objects.into_iter().map(|object| (path_of(&object), object)).collect();
        let state = Arc::new(Mutex::new(State { objects, rule: Box::new(rule), asked: Vec::new() }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = Folder::new(name);
        let server = format!("http://{}", listener.local_addr().unwrap());
        let kubeconfig = folder.file("kubeconfig", &kubeconfig(&[("here", &server), ("closed", &closed())]));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { state, kubeconfig, _folder: folder }
    }

    /// The options that lead to it.
    pub(super) fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--kubeconfig", &self.kubeconfig], arguments].concat()
    }

    /// What the program says of it.
    pub(super) fn said(&self, arguments: &[&str]) -> (i32, String, String) {
        said(&self.arguments(arguments))
    }

    /// What was asked so far, by method and last part of the path.
    pub(super) fn asked(&self, method: &str) -> Vec<Asked> {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| asked.method == method).cloned().collect()
    }

    /// Names of what was patched.
    pub(super) fn patched(&self) -> Vec<String> {
        self.asked("PATCH").iter().map(|asked| asked.name().to_owned()).collect()
    }

    pub(super) fn object(&self, kind: &str, name: &str) -> Value {
        self.state.lock().unwrap().objects[&format!("{GROUP}/namespaces/agents/{kind}/{name}")].clone()
    }

    /// Waits until so many patches have come.
    pub(super) fn wait_for_patches(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.asked("PATCH").len() < count {
            assert!(Instant::now() < deadline, "{:?}", self.patched());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Where nothing listens, and no other test binds.
pub(super) fn closed() -> String {
    "http://127.0.0.1:1".to_owned()
}

/// A kubeconfig with a context for each server; the first is the current one, and all are about namespace agents.
pub(super) fn kubeconfig(servers: &[(&str, &str)]) -> String {
    let clusters = servers.iter().map(|(name, server)| json!({"name": name, "cluster": {"server": server}}));
    let contexts = servers
        .iter()
        .map(|(name, _)| json!({"name": name, "context": {"cluster": name, "user": "u", "namespace": "agents"}}));
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": servers[0].0,
        "clusters": clusters.collect::<Vec<_>>(), "contexts": contexts.collect::<Vec<_>>(),
        "users": [{"name": "u", "user": {"token": "t"}}]
    })
    .to_string()
}

fn path_of(object: &Value) -> String {
    let kind = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
    let name = object["metadata"]["name"].as_str().unwrap();
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) if kind == "pods" => format!("/api/v1/namespaces/{namespace}/{kind}/{name}"),
        Some(namespace) => format!("{GROUP}/namespaces/{namespace}/{kind}/{name}"),
        None => format!("{GROUP}/{kind}/{name}"),
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(asked) = read(&stream) else { return };
    let answer = {
        let mut state = state.lock().unwrap();
        let State { objects, rule, asked: all } = &mut *state;
        all.push(asked.clone());
        match rule(objects, &asked) {
            Said::Usual => Some(usual(objects, &asked)),
            Said::No(code, message) => Some(no(code, message)),
            Said::Text(text) => Some((200, Value::String(text))),
            Said::Silence => None,
        }
    };
    let Some((code, body)) = answer else {
        // Until the other side goes.
        let _ = stream.read(&mut [0]);
        return;
    };
    let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    let head = format!(
        "HTTP/1.1 {code} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes());
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim().to_lowercase().split_once(':') {
            None => break,
            Some(("content-length", value)) => length = value.trim().parse().ok()?,
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(key, value)| (key.to_owned(), decoded(value))).collect();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Asked { method, path: path.to_owned(), query, body, at: Instant::now() })
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

fn no(code: u16, message: &str) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "" };
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}

fn usual(objects: &mut Objects, asked: &Asked) -> (u16, Value) {
    let mut created = asked.body.clone();
    match (asked.method.as_str(), asked.name()) {
        ("POST", "selfsubjectreviews") => {
            created["status"] = json!({"userInfo": {"username": "ann", "groups": ["security"]}});
            (201, created)
        }
        ("POST", "selfsubjectaccessreviews") => {
            created["status"] = json!({"allowed": true});
            (201, created)
        }
        ("POST", "credentialholds") => {
            let path = format!("{}/{}", asked.path, created["metadata"]["name"].as_str().unwrap());
            objects.insert(path, created.clone());
            (201, created)
        }
        ("GET", "credentialsessions" | "approvals" | "credentialholds" | "events" | "pods") => {
            (200, list(objects, asked))
        }
        ("GET", _) => objects.get(&asked.path).map_or_else(|| no(404, "not found"), |object| (200, object.clone())),
        ("DELETE", _) => objects
            .remove(&asked.path)
            .map_or_else(|| no(404, "not found"), |_| (200, json!({"kind": "Status", "status": "Success"}))),
        ("PATCH", _) => match objects.get_mut(&asked.path) {
            None => no(404, "not found"),
            Some(object) => patch(object, &asked.body),
        },
        _ => no(405, "not made for this"),
    }
}

fn list(objects: &Objects, asked: &Asked) -> Value {
    let within = match asked.path.strip_prefix(GROUP) {
        Some(below) if !below.starts_with("/namespaces/") => format!("{below}/"),
        _ => format!("{}/", asked.path),
    };
    let terms = asked.query.get("fieldSelector").map(String::as_str).unwrap_or_default();
    let meant = |object: &Value| {
        terms.split(',').filter(|term| !term.is_empty()).all(|term| {
            let (field, value) = term.split_once('=').unwrap();
            let (field, wanted) = field.strip_suffix('!').map_or((field, true), |field| (field, false));
            let actual = object.pointer(&format!("/{}", field.replace('.', "/"))).and_then(Value::as_str);
            (actual.unwrap_or_default() == value) == wanted
        })
    };
    let items: Vec<&Value> = objects
        .iter()
        .filter(|(path, object)| path.contains(&within) && meant(object))
        .map(|(_, object)| object)
        .collect();
    json!({"kind": "List", "apiVersion": "exeat.dev/v1alpha1", "metadata": {"resourceVersion": "1"}, "items": items})
}

/// A merge patch of `spec`, or the operations of a JSON patch that the program writes.
fn patch(object: &mut Value, body: &Value) -> (u16, Value) {
    let Some(operations) = body.as_array() else {
        for (field, value) in body["spec"].as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        return (200, object.clone());
    };
    for operation in operations {
        let path = operation["path"].as_str().unwrap();
        match (operation["op"].as_str().unwrap(), path.strip_suffix("/-")) {
            ("test", _) if object.pointer(path) == Some(&operation["value"]) => {}
            ("test", _) => return no(422, "it has changed"),
            ("add", Some(list)) => {
                object.pointer_mut(list).unwrap().as_array_mut().unwrap().push(operation["value"].clone())
            }
            _ => *object.pointer_mut(path).unwrap() = operation["value"].clone(),
        }
    }
    (200, object.clone())
}

/// A session of pod `NAME-pod`.
pub(super) fn session(name: &str, phase: &str) -> Value {
    session_in("agents", name, phase)
}

pub(super) fn session_in(namespace: &str, name: &str, phase: &str) -> Value {
    json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"request": {
            "policyRef": {"name": "reader", "uid": "pu"}, "providerRef": {"name": "aws-prod"}, "authorityHash": "h", "number": 1,
            "agent": {"serviceAccount": "sa", "pod": {"name": format!("{name}-pod"), "uid": "podu"},
                "workload": {"kind": "ReplicaSet", "name": "fleet-7d", "uid": "w"}}
        }},
        "status": {"phase": phase, "reason": phase, "startedAt": "2026-01-01T00:00:02Z", "expiresAt": "2026-01-01T08:00:00Z",
            "revocation": {"mode": "ExpiryOnly", "effectiveBy": "2199-01-01T00:00:00Z"}}
    })
}

/// What the controller does: revoked sessions end.
pub(super) fn end_the_revoked(objects: &mut Objects) {
    for session in objects.values_mut().filter(|object| object["spec"]["revoke"].is_object()) {
        session["status"]["phase"] = json!("Revoked");
    }
}
