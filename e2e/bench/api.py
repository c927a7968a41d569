"""The API server and the issuers, as the benchmarks use them: run inside of the cluster, with the admin's kubeconfig."""

import base64
import concurrent.futures
import datetime
import http.client
import json
import os
import secrets
import ssl
import subprocess
import sys
import tempfile
import threading
import time

SYSTEM = "exeat-system"
AUDIENCE = "exeat.dev"
GRANTS = "system:serviceaccounts:exeat-grants"
GROUP = "/apis/exeat.dev/v1alpha1"
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
# Of all tokens and sessions here: longer than any part.
TOKEN_SECONDS = 7200


class Api:
    """The API server, by the admin's client certificate; a connection for each thread."""

    def __init__(self):
        view = ["kubectl", "config", "view", "--raw", "--minify", "-o", "json"]
        config = json.loads(subprocess.run(view, check=True, capture_output=True).stdout)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        with tempfile.TemporaryDirectory() as folder:
            files = [(cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key")]
            authority, certificate, key = [self.file(source, name, folder) for source, name in files]
            self.plain_tls = ssl.create_default_context(cafile=authority)
            self.tls = ssl.create_default_context(cafile=authority)
            self.tls.load_cert_chain(certificate, key)
        self.host = cluster["server"].removeprefix("https://")
        self.local = threading.local()

    @staticmethod
    def file(source, name, folder):
        if name in source:
            return source[name]
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(base64.b64decode(source[f"{name}-data"]))
        return path

    def call(self, method, path, body=None, kind="application/json", headers=()):
        payload = json.dumps(body) if body is not None else None
        for attempt in (1, 2):
            fresh = getattr(self.local, "connection", None) is None
            if fresh:
                self.local.connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=60)
            try:
                self.send(method, path, payload, [("Content-Type", kind), *headers])
                answer = self.local.connection.getresponse()
                return answer.status, answer.read().decode()
            except (http.client.HTTPException, OSError):
                # A kept connection that the server has closed meanwhile (OpenSSL reports that in several ways).
                self.local.connection = None
                if fresh or attempt == 2:
                    raise

    def send(self, method, path, payload, headers):
        """A header may stand there more than once: that of a group whom somebody impersonates."""
        connection = self.local.connection
        connection.putrequest(method, path)
        for name, value in headers:
            connection.putheader(name, value)
        body = payload.encode() if payload is not None else b""
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)

    def must(self, method, path, body=None, kind="application/json"):
        status, text = self.call(method, path, body, kind)
        if status >= 300:
            sys.exit(f"error: {method} {path}: {status} {text}")
        return text

    def get(self, path):
        return json.loads(self.must("GET", path))

    def put(self, path, body):
        """Creates an object, or brings it to this."""
        params = "?fieldManager=bench&force=true"
        return json.loads(self.must("PATCH", path + params, body, "application/apply-patch+yaml"))

    def merge(self, path, body):
        return self.must("PATCH", path, body, "application/merge-patch+json")


def until(what, seconds, condition):
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            sys.exit(f"error: {what}: not there after {seconds} s")
        time.sleep(0.2)
    return result


def in_parallel(work, items, threads=8):
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def seconds_of(stamp):
    """An RFC 3339 time, in seconds."""
    return datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def note(text):
    print(f"        {text}", file=sys.stderr, flush=True)


def record(results, **line):
    with open(results, "a", encoding="utf-8") as file:
        print(json.dumps(line), file=file)


def namespaced(namespace, kind):
    return f"/api/v1/namespaces/{namespace}/{kind}"


def ours(namespace, kind):
    return f"{GROUP}/namespaces/{namespace}/{kind}"


def serve_namespaces(api):
    """One provider of the cluster's own API for all namespaces of the benchmarks."""
    binding = {"name": "bench", "namespaces": ["bench-*"], "principals": [GRANTS], "maxActions": ["get *", "list *"]}
    body = {"apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "bench"}}
    api.put(f"{GROUP}/credentialproviders/bench", body | {"spec": {"kubernetes": {}, "bindings": [binding]}})


def make_namespace(api, name):
    """As config/samples/rbac-kubernetes.yaml."""
    api.put(f"/api/v1/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "agent"}}
    api.put(namespaced(name, "serviceaccounts/agent"), account)
    for binding, role in (("exeat-grants", "exeat-kubernetes-grants"), ("exeat-ceiling", "view")):
        body = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": binding},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "exeat-issuer", "namespace": SYSTEM}],
        }
        api.put(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/rolebindings/{binding}", body)


def remove_namespace(api, name):
    for kind in (ours(name, "agentcredentialpolicies"), namespaced(name, "pods")):
        api.call("DELETE", f"{kind}?gracePeriodSeconds=0")
    api.call("DELETE", f"/api/v1/namespaces/{name}")


def kubernetes_allow(namespace, *actions):
    return [{"actions": list(actions), "resources": [f"{namespace}/*"]}]


def make_policy(api, namespace, allow, provider="bench", principal=GRANTS, session=None, wait=True):
    path = ours(namespace, "agentcredentialpolicies/work")
    body = {
        "apiVersion": "exeat.dev/v1alpha1",
        "kind": "AgentCredentialPolicy",
        "metadata": {"name": "work"},
        "spec": {
            "providerRef": {"name": provider},
            "principal": principal,
            "subjects": {"serviceAccounts": ["agent"]},
            "allow": allow,
            "session": session or {"duration": "4h", "credentialTTL": "1h"},
        },
    }
    api.put(path, body)
    if wait:
        ready_policy(api, namespace)


def ready_policy(api, namespace):
    def ready():
        policy = api.get(ours(namespace, "agentcredentialpolicies/work"))
        conditions = policy.get("status", {}).get("conditions", [])
        current = policy.get("status", {}).get("observedGeneration") == policy["metadata"]["generation"]
        return current and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    until(f"policy work in {namespace}", 120, ready)


def make_pod(api, namespace, name, annotations=None):
    """A pod that no node ever runs, as a rule with the genuine injection: a gate keeps the scheduler off it."""
    container = {"name": "agent", "image": "exeat.test/agent:1", "command": ["sleep", "infinity"], "securityContext": RESTRICTED}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {"exeat.dev/policy": "work"} if annotations is None else annotations},
        "spec": {
            "serviceAccountName": "agent",
            "schedulingGates": [{"name": "bench.exeat.test/never"}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }
    return json.loads(api.must("POST", namespaced(namespace, "pods"), body))


def make_sidecar(api, namespace, name):
    """A pod, with what its sidecar would show: the token that kubelet would fetch, and a key."""
    pod = make_pod(api, namespace, name)
    bound = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod["metadata"]["uid"]}
    spec = {"audiences": [AUDIENCE], "expirationSeconds": TOKEN_SECONDS, "boundObjectRef": bound}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    token = json.loads(api.must("POST", namespaced(namespace, "serviceaccounts/agent/token"), body))["status"]["token"]
    return {"name": f"{namespace}/{name}", "token": token, "key": secrets.token_hex(32)}


def make_sidecars(api, namespace, count, prefix="pod"):
    return in_parallel(lambda n: make_sidecar(api, namespace, f"{prefix}-{n}"), range(count))


class Issuers:
    """The replicas that are ready, and the root that sidecars are given."""

    def __init__(self, api, work):
        selector = "labelSelector=app.kubernetes.io%2Fname%3Dexeat%2Capp.kubernetes.io%2Fcomponent%3Dissuer"
        pods = api.get(namespaced(SYSTEM, f"pods?{selector}"))["items"]
        ready = [p for p in pods if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))]
        self.addresses = [p["status"]["podIP"] for p in ready if "deletionTimestamp" not in p["metadata"]]
        if not self.addresses:
            sys.exit("error: no replica of the issuer is ready")
        self.ca_file = os.path.join(work, "issuer-ca.crt")
        with open(self.ca_file, "w", encoding="utf-8") as file:
            file.write(api.get(namespaced(SYSTEM, "configmaps/exeat-issuer-root"))["data"]["ca.crt"])

    def arguments(self, pods):
        flags = [f"--issuer={address}:8443" for address in self.addresses]
        return [*flags, "--ca-file", self.ca_file, "--pods", pods]


def write_pods(path, pods):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.writelines(json.dumps(pod) + "\n" for pod in pods)


class Sidecars:
    """A running `exeat-bench sidecars`, and what it has said so far."""

    def __init__(self, bench, issuers, work, pods, every=0):
        self.events_file = os.path.join(work, f"events-{secrets.token_hex(4)}")
        pods_file = self.events_file + ".pods"
        write_pods(pods_file, pods)
        open(self.events_file, "w", encoding="utf-8").close()
        command = [bench, "sidecars", *issuers.arguments(pods_file), "--events", self.events_file, "--every", str(every)]
        self.process = subprocess.Popen(command)
        self.reader = open(self.events_file, encoding="utf-8")
        self.rest = ""
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.reader.close()
        os.unlink(self.events_file + ".pods")

    def read(self):
        if self.process.poll() is not None:
            sys.exit(f"error: exeat-bench sidecars ended with status {self.process.returncode}")
        *lines, self.rest = (self.rest + self.reader.read()).split("\n")
        self.events += [json.loads(line) for line in lines]
        return self.events

    def since(self, at, event):
        return [e for e in self.read() if e["event"] == event and e["at"] >= at]

    def wait(self, what, event, count, since=0.0, seconds=900):
        """Until as many different pods have said it since then; the first such event of each."""

        def there():
            first = {}
            for said in self.since(since, event):
                first.setdefault(said["pod"], said)
            return first if len(first) >= count else None

        try:
            return until(what, seconds, there)
        except SystemExit:
            said = {}
            for e in self.events[-5000:]:
                key = f"{e['event']} {e.get('code', '')}"
                said[key] = said.get(key, 0) + 1
            note(f"the last events: {said}")
            raise


class Stage:
    """What a part that plays sidecars works with: BENCH WORK RESULTS of its command line."""

    def __init__(self, bench, work, results):
        self.bench, self.work, self.results = bench, work, results
        self.api = Api()
        self.issuers = Issuers(self.api, work)
        serve_namespaces(self.api)

    def make_place(self, namespace):
        """A namespace whose agents may read its pods."""
        make_namespace(self.api, namespace)
        make_policy(self.api, namespace, kubernetes_allow(namespace, "get pods", "list pods"))

    def play(self, pods, every=0):
        return Sidecars(self.bench, self.issuers, self.work, pods, every)

    def record(self, figures=None, **line):
        record(self.results, **line, **rounded(figures or {}))


def rounded(figures):
    return {key: round(value, 1) for key, value in figures.items()}


def quantiles(values):
    """In the unit that they come in."""
    ordered = sorted(values)

    def at(q):
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]

    return {"n": len(ordered), "p50": at(0.50), "p90": at(0.90), "p99": at(0.99), "max": ordered[-1]}
