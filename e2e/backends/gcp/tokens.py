"""JSON Web Tokens by RS256, with nothing but the standard library and openssl."""

import base64
import hashlib
import json
import subprocess
import time

# DigestInfo of SHA-256 (RFC 8017, 9.2).
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


class Refused(Exception):
    """Why a token is not taken, in Google's words as far as they are known."""


def unpadded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Key:
    """A key pair of our own, made by openssl."""

    def __init__(self, path, kid):
        self.path, self.kid = path, kid
        subprocess.run(["openssl", "genrsa", "-out", path, "2048"], check=True, capture_output=True)
        shown = subprocess.run(["openssl", "rsa", "-in", path, "-noout", "-modulus"], check=True, capture_output=True, text=True)
        self.modulus = int(shown.stdout.strip().removeprefix("Modulus="), 16)
        pkcs8 = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", path]
        self.pem = subprocess.run(pkcs8, check=True, capture_output=True, text=True).stdout

    def keys(self):
        return {self.kid: (self.modulus, 65537)}

    def jwks(self):
        size = (self.modulus.bit_length() + 7) // 8
        number = unpadded(self.modulus.to_bytes(size, "big"))
        return {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid, "n": number, "e": "AQAB"}]}

    def signed(self, claims):
        head = {"alg": "RS256", "kid": self.kid, "typ": "JWT"}
        text = ".".join(unpadded(json.dumps(part).encode()) for part in (head, claims))
        sign = ["openssl", "dgst", "-sha256", "-sign", self.path]
        return text + "." + unpadded(subprocess.run(sign, input=text.encode(), check=True, capture_output=True).stdout)


def keys_of(jwks):
    """The RSA keys of a key set, by their names."""
    number = lambda text: int.from_bytes(decoded(text), "big")
    return {key["kid"]: (number(key["n"]), number(key["e"])) for key in jwks["keys"] if key["kty"] == "RSA"}


def verified(token, keys, issuer, audiences, leeway=0):
    """The claims of a token that one of these keys has signed, for one of these audiences and for now."""
    try:
        head, claims, signature = token.split(".")
        header, body = json.loads(decoded(head)), json.loads(decoded(claims))
        given = int.from_bytes(decoded(signature), "big")
    except (ValueError, TypeError) as error:
        raise Refused("Unable to parse the ID Token.") from error
    if header.get("alg") != "RS256":
        raise Refused(f"The algorithm {header.get('alg')} is not supported.")
    if header.get("kid") not in keys:
        raise Refused("Error connecting to the given credential's issuer: no key with this kid.")
    modulus, exponent = keys[header["kid"]]
    size = (modulus.bit_length() + 7) // 8
    digest = DIGEST_INFO + hashlib.sha256(f"{head}.{claims}".encode()).digest()
    padded = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
    if pow(given, exponent, modulus) != int.from_bytes(padded, "big"):
        raise Refused("Invalid JWT Signature.")
    if body.get("iss") != issuer:
        raise Refused(f"The issuer in ID Token {body.get('iss')} does not match the expected ones: {issuer}.")
    named = body.get("aud")
    if not set([named] if isinstance(named, str) else named or []) & set(audiences):
        raise Refused(f"The audience in ID Token {named} does not match the expected audience {audiences[0]}.")
    now = time.time()
    if body.get("exp", 0) <= now - leeway:
        raise Refused("ID Token is expired.")
    if body.get("iat", now + 1e9) > now + leeway + 60 or body["iat"] < now - 24 * 3600:
        raise Refused("The iat of the ID Token is not in a reasonable timeframe.")
    return body
