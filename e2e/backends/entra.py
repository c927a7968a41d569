"""Stands in for Entra ID and for services that take its tokens: entra.py ADDRESS TOKEN_PORT SERVICE_PORT FOLDER

Written from the public contract (the client credentials flow of the v2.0 endpoint, workload identity federation, the list of AADSTS codes); it
checks what Entra checks. By https, with the certificate in FOLDER/entra-tls.*:

    GET  /TENANT/v2.0/.well-known/openid-configuration
    POST /TENANT/oauth2/v2.0/token

By http, on SERVICE_PORT, what is of this stand-in alone:

    GET  /SERVICE/…            200 with a good token for that service, 401 without, 403 where the app has no role there
    GET  /signins              the sign-in log: whose token for what, and the correlation id that came with the request
    POST /federated            {"client_id", "subject"}: one more federated credential

An assertion is checked against the cluster's own keys (`/openid/v1/jwks`), as Entra fetches them from the issuer's discovery document.
"""

import base64
import hmac
import json
import os
import re
import secrets
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pkcs1_15

TENANT = "5a1e0f2c-8d1b-4b7e-9f11-0c9a3f6b7d21"
AUDIENCE = "api://AzureADTokenExchange"
ISSUER_ACCOUNT = "system:serviceaccount:exeat-system:exeat-issuer"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SKEW = 300
SERVICES = {"blobs": "https://storage.azure.com", "vault": "https://vault.azure.net", "reports": "api://reports"}


def app(number):
    return f"11111111-1111-4111-8111-{number:012}"


def federated(number, **more):
    return app(number), {"federated": {ISSUER_ACCOUNT}, "roles": {"blobs", "reports"}, **more}


# What makes each app of interest. Without "life" a token lives 60 to 90 minutes, as Entra's do.
APPS = dict([
    federated(1),                                          # a reader
    federated(2, life=60),                                 # its tokens are short
    federated(3, life=24 * 3600),                          # its tokens are long
    federated(4, federated=set()),                         # trusts nobody
    federated(5, throttled=7),                             # is asked to slow down
    federated(6, federated=set(), secret=secrets.token_urlsafe(24)),  # has a client secret
    federated(7, roles=set()),                             # may nothing
    federated(8, ahead=2 * 3600),                          # is served by a clock that is ahead
])


def decode(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encode(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def cluster(path):
    return json.loads(subprocess.run(["kubectl", "get", "--raw", path], check=True, capture_output=True, text=True).stdout)


class Refusal(Exception):
    """An answer of the token endpoint that is none: the HTTP status, OAuth's error, the code and its text."""

    def __init__(self, status, error, code, text, wait=None):
        super().__init__(text)
        self.status, self.error, self.code, self.text, self.wait = status, error, code, text, wait


class Signed:
    """A token in compact form, taken apart, with its signature checked by a key of this name."""

    def __init__(self, text, key_of):
        head, body, signature = text.split(".")
        header, self.claims = json.loads(decode(head)), json.loads(decode(body))
        if header.get("alg") != "RS256" or not isinstance(self.claims, dict):
            raise ValueError("not signed by RS256")
        pkcs1_15.new(key_of(header.get("kid"))).verify(SHA256.new(f"{head}.{body}".encode()), decode(signature))


class Entra:
    def __init__(self):
        self.key, self.kid = RSA.generate(2048), secrets.token_hex(8)
        self.issuer = cluster("/.well-known/openid-configuration")["issuer"]
        self.keys, self.lock, self.signins = {}, threading.Lock(), []

    def cluster_key(self, kid):
        with self.lock:
            if kid not in self.keys:
                found = cluster("/openid/v1/jwks")["keys"]
                number = lambda text: int.from_bytes(decode(text), "big")  # noqa: E731
                self.keys = {k["kid"]: RSA.construct((number(k["n"]), number(k["e"]))) for k in found}
            return self.keys[kid]

    def token(self, tenant, form, correlation):
        if tenant != TENANT:
            raise Refusal(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
        if form.get("grant_type") != "client_credentials":
            raise Refusal(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        client = form.get("client_id", "")
        known = APPS.get(client)
        if known is None:
            raise Refusal(400, "unauthorized_client", 700016, f"Application with identifier '{client}' was not found in the directory.")
        if "throttled" in known:
            raise Refusal(429, "temporarily_unavailable", 90055, "The tenant exceeded its rate of requests.", known["throttled"])
        self.prove(known, form)
        scope = form.get("scope", "")
        if not scope.endswith("/.default") or " " in scope.strip():
            raise Refusal(400, "invalid_scope", 1002012, f"The provided value for scope {scope} is not valid: it must be one resource's /.default.")
        resource = scope[: -len("/.default")]
        if resource.lower() not in SERVICES.values():
            raise Refusal(400, "invalid_resource", 500011, f"The resource principal named {resource} was not found in the tenant.")
        now = int(time.time())
        life = known.get("life", 3600 + secrets.randbelow(1800))
        claims = {
            "aud": resource.lower(), "iss": f"https://sts.windows.net/{TENANT}/", "iat": now, "nbf": now, "exp": now + life, "appid": client,
            "appidacr": "2" if "client_assertion" in form else "1", "idtyp": "app", "tid": TENANT, "ver": "1.0",
            "uti": secrets.token_urlsafe(16),
        }
        self.signins.append({"appid": client, "resource": resource, "correlation": correlation, "uti": claims["uti"]})
        return {"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": self.sign(claims)}

    def prove(self, known, form):
        if "client_secret" in form:
            if not hmac.compare_digest(form["client_secret"].encode(), known.get("secret", "").encode() or secrets.token_bytes()):
                raise Refusal(401, "invalid_client", 7000215, "Invalid client secret provided.")
            return
        if form.get("client_assertion_type") != ASSERTION or "client_assertion" not in form:
            raise Refusal(401, "invalid_client", 7000218, "The request body must contain 'client_assertion' or 'client_secret'.")
        try:
            claims = Signed(form["client_assertion"], self.cluster_key).claims
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(401, "invalid_client", 700027, f"The certificate with identifier used to sign the client assertion is not registered: {error!r}.")
        if claims.get("iss") != self.issuer:
            raise Refusal(401, "invalid_client", 700211, f"No matching federated identity record found for presented assertion issuer '{claims.get('iss')}'.")
        audience = claims.get("aud")
        if audience not in (AUDIENCE, [AUDIENCE]):
            raise Refusal(401, "invalid_client", 700212, f"No matching federated identity record found for presented assertion audience '{audience}'.")
        if claims.get("sub") not in known["federated"]:
            raise Refusal(401, "invalid_client", 700213, f"No matching federated identity record found for presented assertion subject '{claims.get('sub')}'.")
        now = time.time() + known.get("ahead", 0)
        if not claims.get("nbf", 0) - SKEW <= now < claims.get("exp", 0) + SKEW:
            raise Refusal(401, "invalid_client", 700024, "Client assertion is not within its valid time range.")

    def sign(self, claims):
        parts = [encode(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "RS256", "kid": self.kid}, claims)]
        signature = pkcs1_15.new(self.key).sign(SHA256.new(".".join(parts).encode()))
        return ".".join([*parts, encode(signature)])

    def serves(self, service, bearer):
        """The status that a service answers a bearer with."""
        try:
            claims = Signed(bearer, {self.kid: self.key.public_key()}.__getitem__).claims
        except (ValueError, KeyError):
            return 401
        good = claims["aud"] == SERVICES[service] and claims["iss"] == f"https://sts.windows.net/{TENANT}/"
        if not good or not claims["nbf"] <= time.time() < claims["exp"]:
            return 401
        return 200 if service in APPS[claims["appid"]]["roles"] else 403


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    entra = None

    def answer(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in [("Content-Type", "application/json"), ("Content-Length", str(len(data))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, refusal):
        correlation = self.headers.get("client-request-id", "")
        now = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        trace = secrets.token_hex(16)
        description = f"AADSTS{refusal.code}: {refusal.text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}"
        body = {"error": refusal.error, "error_description": description, "error_codes": [refusal.code], "timestamp": now, "trace_id": trace,
                "correlation_id": correlation}
        self.answer(refusal.status, body, [("Retry-After", str(refusal.wait))] if refusal.wait else [])

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()

    def log_message(self, format, *args):
        """The request line alone: no query, no body."""
        sys.stderr.write(f"{self.command} {urlsplit(self.path).path} {args[1] if len(args) > 1 else ''}\n")


class Tokens(Handler):
    def do_GET(self):
        match = re.fullmatch(r"/([^/]+)/v2\.0/\.well-known/openid-configuration", self.path)
        if not match:
            return self.answer(404, {})
        if match[1] != TENANT:
            return self.refuse(Refusal(400, "invalid_tenant", 90002, f"Tenant '{match[1]}' not found."))
        base = f"https://{self.headers['Host']}/{TENANT}"
        return self.answer(200, {"issuer": f"{base}/v2.0", "token_endpoint": f"{base}/oauth2/v2.0/token"})

    def do_POST(self):
        text = self.body()
        match = re.fullmatch(r"/([^/]+)/oauth2/v2\.0/token", self.path)
        if not match:
            return self.answer(404, {})
        try:
            if self.headers.get_content_type() != "application/x-www-form-urlencoded":
                raise Refusal(400, "invalid_request", 900144, "The request body must be a form.")
            form = parse_qs(text, keep_blank_values=True)
            if any(len(values) > 1 for values in form.values()):
                raise Refusal(400, "invalid_request", 900144, "A parameter of the request body is repeated.")
            form = {key: values[0] for key, values in form.items()}
            given = self.entra.token(match[1], form, self.headers.get("client-request-id", ""))
        except Refusal as refusal:
            return self.refuse(refusal)
        return self.answer(200, given, [("Cache-Control", "no-store")])


class Services(Handler):
    def do_GET(self):
        if self.path == "/signins":
            return self.answer(200, self.entra.signins)
        service = self.path.split("/")[1]
        if service not in SERVICES:
            return self.answer(404, {})
        scheme, _, bearer = self.headers.get("Authorization", "").partition(" ")
        status = self.entra.serves(service, bearer) if scheme == "Bearer" else 401
        return self.answer(status, {"path": self.path})

    def do_POST(self):
        asked = json.loads(self.body())
        if self.path != "/federated":
            return self.answer(404, {})
        APPS[asked["client_id"]]["federated"].add(asked["subject"])
        return self.answer(200, {})


def main(address, token_port, service_port, folder):
    Handler.entra = Entra()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(os.path.join(folder, "entra-tls.crt"), os.path.join(folder, "entra-tls.key"))
    tokens = ThreadingHTTPServer((address, int(token_port)), Tokens)
    tokens.socket = tls.wrap_socket(tokens.socket, server_side=True, do_handshake_on_connect=False)
    services = ThreadingHTTPServer((address, int(service_port)), Services)
    secret = next((name, known["secret"]) for name, known in APPS.items() if "secret" in known)
    path = os.path.join(folder, "entra.env")
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(f"clientID={secret[0]}\nclientSecret={secret[1]}\n")
    os.rename(path + ".new", path)
    threading.Thread(target=services.serve_forever, daemon=True).start()
    tokens.serve_forever()


main(*sys.argv[1:])
