"""A stand-in for Google's IAM Credentials, Security Token Service, token endpoint, metadata server and Cloud Storage: server.py HOST PORT FOLDER API

Written from the public contract: requests and answers of the first two are held to Google's discovery documents in the folder API. What is
checked: the subject token's signature (by the cluster's own keys, FOLDER/gcp-jwks.json), issuer, audience and times; who may act as whom;
lifetime and scopes; the boundary's rules, at the exchange and at every call to the storage. FOLDER/gcp-key.json is made: the issuer's key file.
"""

import json
import os
import re
import secrets
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boundary
import contract
import tokens

PROJECT, NUMBER = "example", "1234567890"
POOL = f"projects/{NUMBER}/locations/global/workloadIdentityPools/exeat/providers/cluster"
FEDERATED = f"principalSet://iam.googleapis.com/projects/{NUMBER}/locations/global/workloadIdentityPools/exeat/*"
ISSUER = f"exeat-issuer@{PROJECT}.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
READER, BEHIND = f"agents-reader@{PROJECT}.iam.gserviceaccount.com", f"agents-behind@{PROJECT}.iam.gserviceaccount.com"
HOP = f"hop@{PROJECT}.iam.gserviceaccount.com"
# Who may act as whom, and what each may do in which bucket: all of them more than any policy gives.
MAY_ACT = {READER: {ISSUER, FEDERATED}, HOP: {ISSUER, FEDERATED}, BEHIND: {HOP}}
ADMIN = boundary.ROLES["roles/storage.objectAdmin"] | boundary.ROLES["roles/storage.bucketViewer"]
HOLDS = {READER: {"reports": ADMIN, "payroll": ADMIN}, BEHIND: {"reports": ADMIN}}
ILL = {
    f"agents-throttled@{PROJECT}.iam.gserviceaccount.com": (429, "RESOURCE_EXHAUSTED", "Quota exceeded", None),
    f"agents-broken@{PROJECT}.iam.gserviceaccount.com": (503, "UNAVAILABLE", "The service is currently unavailable.", None),
    f"agents-disabled@{PROJECT}.iam.gserviceaccount.com": (403, "PERMISSION_DENIED", "The API is disabled.", "SERVICE_DISABLED"),
}
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
SNAKE = {
    "grant_type": "grantType", "requested_token_type": "requestedTokenType", "subject_token_type": "subjectTokenType",
    "subject_token": "subjectToken", "audience": "audience", "scope": "scope", "options": "options",
}


class Problem(Exception):
    """An error as Google's APIs answer it."""

    def __init__(self, status, code, message, reason=None):
        super().__init__(message)
        error = {"code": status, "message": message, "status": code, "errors": [{"message": message, "reason": "forbidden"}]}
        if reason:
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]
        self.status, self.body = status, {"error": error}


class OauthProblem(Problem):
    """An error as OAuth's endpoints answer it."""

    def __init__(self, error, description):
        super().__init__(400, error, description)
        self.body = {"error": error, "error_description": description}


class Google:
    """What is known: tokens that were given, objects, keys."""

    def __init__(self, folder, api):
        self.iam, self.sts = contract.Api(api, "iamcredentials"), contract.Api(api, "sts")
        self.own = tokens.Key(os.path.join(folder, "gcp-own.pem"), "google-1")
        self.issuer_key = tokens.Key(os.path.join(folder, "gcp-issuer.pem"), "issuer-1")
        with open(os.path.join(folder, "gcp-jwks.json")) as source:
            self.cluster_keys = tokens.keys_of(json.load(source))
        with open(os.path.join(folder, "gcp-oidc.json")) as source:
            self.cluster_issuer = json.load(source)["issuer"]
        self.given = {}
        self.objects = {
            ("reports", "2026/q3.txt"): b"contents of q3", ("reports", "2026/q4.txt"): b"contents of q4",
            ("reports", "2025/q3.txt"): b"contents of last year", ("payroll", "salaries.txt"): b"nobody's",
        }
        key = {
            "type": "service_account", "project_id": PROJECT, "private_key_id": "issuer-1", "private_key": self.issuer_key.pem,
            "client_email": ISSUER, "client_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
        }
        with open(os.open(os.path.join(folder, "gcp-key.json"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(key, out)

    def give(self, who, seconds, scopes, rules=None):
        token = "ya29." + secrets.token_urlsafe(32)
        self.given[token] = {"who": who, "until": time.time() + seconds, "scopes": scopes, "rules": rules}
        return token

    def bearer(self, header):
        """What is known of the token that a call shows."""
        scheme, _, token = (header or "").partition(" ")
        known = self.given.get(token)
        if scheme.lower() != "bearer" or known is None or known["until"] <= time.time():
            message = "Request had invalid authentication credentials. Expected OAuth 2 access token."
            raise Problem(401, "UNAUTHENTICATED", message, "ACCESS_TOKEN_EXPIRED" if known else None)
        return known

    def may_act(self, caller, email, delegates):
        """Whether a chain of impersonations leads to the account."""
        permission = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
        if caller["rules"] is not None or SCOPE not in caller["scopes"]:
            raise Problem(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
        if email in ILL:
            raise Problem(*ILL[email])
        chain = [caller["who"], *[name.removeprefix("projects/-/serviceAccounts/") for name in delegates], email]
        if any(before not in MAY_ACT.get(after, ()) for before, after in zip(chain, chain[1:])):
            raise Problem(403, "PERMISSION_DENIED", permission, "IAM_PERMISSION_DENIED")

    def access_token(self, caller, email, body):
        lifetime = body.get("lifetime", "3600s")
        if not 1 <= float(lifetime[:-1]) <= 3600:
            message = "The requested token lifetime exceeds the maximum allowed, see constraints/iam.allowServiceAccountCredentialLifetimeExtension."
            raise Problem(400, "INVALID_ARGUMENT", message)
        scopes = body.get("scope", [])
        if not scopes or any(not scope.startswith("https://www.googleapis.com/auth/") for scope in scopes):
            raise Problem(400, "INVALID_ARGUMENT", "Scope is required and must be known.")
        self.may_act(caller, email, body.get("delegates", []))
        seconds = int(float(lifetime[:-1]))
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        return {"accessToken": self.give(email, seconds, scopes), "expireTime": end}

    def identity_token(self, caller, email, body):
        if not body.get("audience"):
            raise Problem(400, "INVALID_ARGUMENT", "Audience is required.")
        self.may_act(caller, email, body.get("delegates", []))
        now = int(time.time())
        claims = {"iss": "https://accounts.google.com", "aud": body["audience"], "sub": "107517467455664443765", "iat": now, "exp": now + 3600}
        if body.get("includeEmail"):
            claims.update(email=email, email_verified=True)
        return {"token": self.own.signed(claims)}

    def exchange(self, form):
        body = {SNAKE.get(name, name): value for name, value in form.items()}
        self.sts.check_request("sts.token", body)
        if body.get("grantType") != EXCHANGE or body.get("requestedTokenType") != ACCESS_TOKEN:
            raise OauthProblem("invalid_request", "Invalid grant_type or requested_token_type.")
        answer = {"issued_token_type": ACCESS_TOKEN, "token_type": "Bearer"}
        kind, subject = body.get("subjectTokenType"), body.get("subjectToken", "")
        if kind == ACCESS_TOKEN:
            wide = self.given.get(subject)
            if wide is None or wide["until"] <= time.time() or wide["rules"] is not None:
                raise OauthProblem("invalid_grant", "The subject token is invalid or expired.")
            rules = boundary.read(body.get("options", ""), self.sts)
            left = int(wide["until"] - time.time())
            return {**answer, "access_token": self.give(wide["who"], left, wide["scopes"], rules), "expires_in": left}
        if kind != "urn:ietf:params:oauth:token-type:jwt":
            raise OauthProblem("invalid_request", "Invalid subject_token_type.")
        if body.get("audience") != f"//iam.googleapis.com/{POOL}":
            raise OauthProblem("invalid_target", "The target service indicated by the \"audience\" parameters is invalid.")
        claims = tokens.verified(subject, self.cluster_keys, self.cluster_issuer, ["gcp"])
        if not claims["sub"].endswith(":exeat-issuer"):
            raise OauthProblem("unauthorized_client", "The given credential is rejected by the attribute condition.")
        return {**answer, "access_token": self.give(FEDERATED, 3600, body.get("scope", "").split()), "expires_in": 3600}

    def key_grant(self, form):
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            raise OauthProblem("unsupported_grant_type", "Invalid grant_type.")
        claims = tokens.verified(form.get("assertion", ""), self.issuer_key.keys(), ISSUER, AUDIENCES)
        return {"access_token": self.give(ISSUER, 3600, claims["scope"].split()), "expires_in": 3600, "token_type": "Bearer"}

    def permit(self, header, permission, bucket, name=None, prefix=""):
        """Whether the account of a token may, and the token's boundary lets it."""
        known = self.bearer(header)
        scoped = any(scope in (SCOPE, "https://www.googleapis.com/auth/devstorage.full_control") for scope in known["scopes"])
        holds = permission in HOLDS.get(known["who"], {}).get(bucket, ())
        bounded = known["rules"] is None or boundary.allows(known["rules"], permission, bucket, name, prefix)
        if not (scoped and holds and bounded):
            raise Problem(403, "PERMISSION_DENIED", f"{known['who']} does not have {permission} access to the Google Cloud Storage object.")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def log_message(self, *_):
        print(time.strftime("%H:%M:%S"), self.command, self.path.split("?")[0], flush=True)

    def send(self, status, body, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(data)

    def route(self):
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            for method, pattern, serve in ROUTES:
                found = re.fullmatch(pattern, url.path)
                if found and method == self.command:
                    return serve(self, *map(urllib.parse.unquote, found.groups()))
            raise Problem(404, "NOT_FOUND", f"no such path: {url.path}")
        except Problem as problem:
            self.send(problem.status, problem.body)
        except tokens.Refused as refused:
            self.send(400, {"error": "invalid_grant", "error_description": str(refused)})
        except boundary.Invalid as invalid:
            self.send(400, {"error": "invalid_request", "error_description": str(invalid)})
        except contract.Broken as broken:
            self.send(400, Problem(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. {broken}").body)

    do_GET = do_POST = do_DELETE = route

    def form(self):
        return dict(urllib.parse.parse_qsl(self.body.decode(), strict_parsing=True))

    def impersonate(self, path):
        method = {"generateAccessToken": GOOGLE.access_token, "generateIdToken": GOOGLE.identity_token}[path.rsplit(":", 1)[1]]
        name = f"iamcredentials.projects.serviceAccounts.{path.rsplit(':', 1)[1]}"
        found = GOOGLE.iam.path(name).match(path)
        if not found:
            raise Problem(404, "NOT_FOUND", "Not found.")
        body = json.loads(self.body)
        GOOGLE.iam.check_request(name, body)
        answer = method(GOOGLE.bearer(self.headers["Authorization"]), found.group(1).rsplit("/", 1)[1], body)
        GOOGLE.iam.check_response(name, answer)
        self.send(200, answer)

    def exchange(self):
        answer = GOOGLE.exchange(self.form())
        GOOGLE.sts.check_response("sts.token", answer)
        self.send(200, answer)

    def key_grant(self):
        self.send(200, GOOGLE.key_grant(self.form()))

    def metadata(self, leaf):
        if self.headers["Metadata-Flavor"] != "Google":
            raise Problem(403, "PERMISSION_DENIED", "Missing Metadata-Flavor:Google header.")
        if leaf == "email":
            return self.send(200, ISSUER.encode(), "application/text")
        self.send(200, {"access_token": GOOGLE.give(ISSUER, 3600, [SCOPE]), "expires_in": 3600, "token_type": "Bearer"})

    def whoami(self):
        """A service that takes identity tokens for one audience: its own."""
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        claims = tokens.verified(token, GOOGLE.own.keys(), "https://accounts.google.com", ["https://reports.example"])
        self.send(200, {"email": claims.get("email")})

    def bucket(self, bucket):
        GOOGLE.permit(self.headers["Authorization"], "storage.buckets.get", bucket)
        self.send(200, {"kind": "storage#bucket", "name": bucket, "id": bucket})

    def list(self, bucket):
        prefix = self.query.get("prefix", "")
        GOOGLE.permit(self.headers["Authorization"], "storage.objects.list", bucket, None, prefix)
        names = sorted(name for of, name in GOOGLE.objects if of == bucket and name.startswith(prefix))
        self.send(200, {"kind": "storage#objects", "items": [{"name": name, "bucket": bucket} for name in names]})

    def read(self, bucket, name):
        GOOGLE.permit(self.headers["Authorization"], "storage.objects.get", bucket, name)
        if (bucket, name) not in GOOGLE.objects:
            raise Problem(404, "NOT_FOUND", f"No such object: {bucket}/{name}")
        if self.query.get("alt") == "media":
            return self.send(200, GOOGLE.objects[bucket, name], "text/plain")
        self.send(200, {"kind": "storage#object", "name": name, "bucket": bucket})

    def write(self, bucket):
        # Metadata and content, parted by the boundary of the multipart body.
        parts = self.body.split(b"--" + re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1].encode())
        payloads = [part.split(b"\r\n\r\n", 1)[1].rstrip(b"\r\n") for part in parts if b"\r\n\r\n" in part]
        name = json.loads(payloads[0])["name"]
        GOOGLE.permit(self.headers["Authorization"], "storage.objects.create", bucket, name)
        GOOGLE.objects[bucket, name] = payloads[1]
        self.send(200, {"kind": "storage#object", "name": name, "bucket": bucket})

    def remove(self, bucket, name):
        GOOGLE.permit(self.headers["Authorization"], "storage.objects.delete", bucket, name)
        GOOGLE.objects.pop((bucket, name), None)
        self.send(204, b"")


ROUTES = [
    ("POST", r"(/v1/projects/-/serviceAccounts/[^/]+:(?:generateAccessToken|generateIdToken))", Handler.impersonate),
    ("POST", r"/v1/token", Handler.exchange),
    ("POST", r"/token", Handler.key_grant),
    ("GET", r"/computeMetadata/v1/instance/service-accounts/default/(email|token)", Handler.metadata),
    ("GET", r"/whoami", Handler.whoami),
    ("GET", r"/storage/v1/b/([^/]+)", Handler.bucket),
    ("GET", r"/storage/v1/b/([^/]+)/o", Handler.list),
    ("GET", r"(?:/download)?/storage/v1/b/([^/]+)/o/(.+)", Handler.read),
    ("POST", r"/upload/storage/v1/b/([^/]+)/o", Handler.write),
    ("DELETE", r"/storage/v1/b/([^/]+)/o/(.+)", Handler.remove),
]

if __name__ == "__main__":
    HOST, PORT, FOLDER, API = sys.argv[1:]
    # A key file's signature is for the token endpoint: the real one, or this one.
    AUDIENCES = [f"http://{HOST}:{PORT}/token", "https://oauth2.googleapis.com/token"]
    GOOGLE = Google(FOLDER, API)
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer((HOST, int(PORT)), Handler).serve_forever()
