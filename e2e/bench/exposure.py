"""How long a stolen credential works after its session was revoked, against `status.revocation.effectiveBy`:
exposure.py kubernetes|aws WORK RESULTS.

Fails if any credential worked, or by its own word would work, after effectiveBy. EXPOSURE_SAMPLES sets how many credentials of the
Kubernetes provider are stolen. Of each AWS backend three are: all ends are read off the credentials, and one is waited for.
"""

import base64
import http.client
import json
import os
import secrets
import socket
import ssl
import sys
import time

import api as benchmark
from api import Api, Issuers, in_parallel, kubernetes_allow, note, ours, quantiles, record, seconds_of, until

NAME = "exeat-issuer.exeat-system.svc"
REVOKE = {"spec": {"revoke": {"reason": "stolen by the benchmark"}}}
ROLE = "arn:aws:iam::000000000000:role/agents/agents/report-writer"
BACKENDS = {"ministack": ("http://198.18.0.1:4577", "AWS"), "minio": ("http://198.18.0.1:9010", "S3Compatible")}
# Refused for so long, a credential is over.
OVER_KUBERNETES, OVER_AWS = 5, 30
# Waiting goes on for so long after effectiveBy, to see a credential that outlives it.
BEYOND = 30


class Thief:
    """Fetches a credential as a sidecar does, and keeps it."""

    def __init__(self, work, namespace):
        self.api, self.namespace = Api(), namespace
        self.issuers = Issuers(self.api, work)
        self.tls = ssl.create_default_context(cafile=self.issuers.ca_file)
        benchmark.make_namespace(self.api, namespace)

    def ask(self, pod):
        raw = socket.create_connection((secrets.choice(self.issuers.addresses), 8443), 20)
        with self.tls.wrap_socket(raw, server_hostname=NAME) as stream:
            call = http.client.HTTPConnection(NAME)
            call.sock = stream
            heads = {"Authorization": f"Bearer {pod['token']}", "x-exeat-holder": pod["key"], "Content-Type": "application/json"}
            call.request("POST", "/v1/credential", "{}", heads)
            answer = call.getresponse()
            return answer.status, json.loads(answer.read())

    def steal(self, name):
        pod = benchmark.make_sidecar(self.api, self.namespace, name)

        def asked():
            status, body = self.ask(pod)
            return body if status == 200 else None

        return pod, until(f"a credential for {name}", 120, asked)

    def revoke(self, session):
        began = time.time()
        self.api.merge(ours(self.namespace, f"credentialsessions/{session}"), REVOKE)
        return began

    def promised(self, session):
        """What status says once the end is on record."""

        def ended():
            status = self.api.get(ours(self.namespace, f"credentialsessions/{session}"))["status"]
            return status if status.get("endedAt") else None

        return seconds_of(until(f"the end of {session}", 60, ended)["revocation"]["effectiveBy"])


def last_use(works, began, pause, over, until_at=None):
    """When it worked last; it is tried until it was refused for `over` seconds."""
    last = began
    while time.time() < (until_at or last + 600):
        if works():
            last = time.time()
        elif time.time() - last > over:
            return last
        time.sleep(pause)
    return last


def kubernetes(work, results):
    namespace = "bench-exposure"
    thief = Thief(work, namespace)
    benchmark.serve_namespaces(thief.api)
    benchmark.make_policy(thief.api, namespace, kubernetes_allow(namespace, "get pods", "list pods"))

    def sample(n):
        _, stolen = thief.steal(f"sample-{n}")
        token = stolen["credential"]["token"]
        call = http.client.HTTPSConnection(thief.api.host, context=thief.api.plain_tls, timeout=30)

        def works():
            call.request("GET", f"/api/v1/namespaces/{namespace}/pods?limit=1", headers={"Authorization": f"Bearer {token}"})
            answer = call.getresponse()
            answer.read()
            return answer.status == 200

        until("the stolen token works", 10, works)
        began = thief.revoke(stolen["session"])
        last = last_use(works, began, 0.05, OVER_KUBERNETES)
        return last - began, thief.promised(stolen["session"]) - last

    taken = in_parallel(sample, range(int(os.environ.get("EXPOSURE_SAMPLES", "20"))), 4)
    benchmark.remove_namespace(thief.api, namespace)
    return [report(results, "kubernetes", "used until refused", taken)]


def report(results, provider, how, taken):
    """Residual exposure and what was left to effectiveBy, in seconds; returns whether the promise held."""
    residual, left = [r for r, _ in taken], [left for _, left in taken]
    figures = {k: round(v, 2) for k, v in quantiles(residual).items()}
    record(results, part="exposure", provider=provider, how=how, least_left=round(min(left), 2), **figures)
    note(f"{provider}, {how}: works for {max(residual):.1f} s at most after revocation; least left to effectiveBy {min(left):.1f} s")
    if min(left) < 0:
        print(f"error: {provider}, {how}: a credential outlives effectiveBy by {-min(left):.1f} s", file=sys.stderr)
    return min(left) >= 0


def own_expiry(stolen):
    """The credential's own word where it holds one (MinIO's session token is a JWT), else what STS said of it."""
    parts = stolen["credential"]["sessionToken"].split(".")
    if len(parts) == 3:
        return json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))["exp"]
    return seconds_of(stolen["expiresAt"])


def aws(work, results):
    return [held for kept in in_parallel(lambda b: one_backend(b, work, results), BACKENDS, len(BACKENDS)) for held in kept]


def one_backend(backend, work, results):
    endpoint, dialect = BACKENDS[backend]
    namespace = f"bench-exposure-{backend}"
    thief = Thief(work, namespace)
    source = {"region": "us-east-1", "endpoint": endpoint, "source": "Secret", "secretRef": {"name": backend}, "dialect": dialect}
    binding = {"name": "bench", "namespaces": ["bench-*"], "principals": [ROLE], "maxActions": ["s3:*"]}
    body = {"apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": f"bench-{backend}"}}
    path = f"{benchmark.GROUP}/credentialproviders/bench-{backend}"
    thief.api.put(path, body | {"spec": {"aws": source, "bindings": [binding]}})
    allow = [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::reports/*"]}]
    # The shortest that AWS gives, in a session that is just long enough for it.
    session = {"duration": "16m", "credentialTTL": "15m", "onExpiry": "Stop"}
    benchmark.make_policy(thief.api, namespace, allow, f"bench-{backend}", ROLE, session)
    decoded, waited = [], []
    for n in range(3):
        pod, stolen = thief.steal(f"sample-{n}")
        works = reader(endpoint, stolen["credential"])
        until("the stolen keys work", 20, works)
        began = thief.revoke(stolen["session"])
        promised = thief.promised(stolen["session"])
        status, body = thief.ask(pod)
        if status != 403 or body["code"] != "SessionRevoked":
            sys.exit(f"error: {backend}: a revoked session was answered {status} {body.get('code')}")
        expiry = own_expiry(stolen)
        decoded.append((expiry - began, promised - expiry))
        if n == 2:
            last = last_use(works, began, 1, OVER_AWS, promised + BEYOND)
            waited.append((last - began, promised - last))
    kept = [report(results, backend, "own expiry, read off it", decoded), report(results, backend, "used until refused", waited)]
    benchmark.remove_namespace(thief.api, namespace)
    return kept


def reader(endpoint, credential):
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=credential["accessKeyId"],
        aws_secret_access_key=credential["secretAccessKey"],
        aws_session_token=credential["sessionToken"],
        config=Config(retries={"total_max_attempts": 1}),
    )

    def works():
        try:
            s3.get_object(Bucket="reports", Key="q3.txt")["Body"].read()
            return True
        except ClientError:
            return False

    return works


def main():
    kept = {"kubernetes": kubernetes, "aws": aws}[sys.argv[1]](*sys.argv[2:4])
    sys.exit(0 if all(kept) else "error: observed end of access is later than effectiveBy")


main()
