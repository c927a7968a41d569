import hashlib
import os
import urllib.request

from azure.core.exceptions import ClientAuthenticationError
from azure.identity import DefaultAzureCredential

credential = DefaultAzureCredential()


def token(credential, resource):
    return credential.get_token(resource + "/.default").token


def key_of(bearer):
    return hashlib.sha256(bearer.encode()).hexdigest()[:12]


def fetch():
    return key_of(token(DefaultAzureCredential(), "https://storage.azure.com"))


def use():
    bearer = token(credential, "https://storage.azure.com")
    request = urllib.request.Request(os.environ["SERVICES"] + "/blobs/q3", headers={"Authorization": f"Bearer {bearer}"})
    urllib.request.urlopen(request, timeout=10).read()
    return key_of(bearer)


def denied():
    token(credential, "https://vault.azure.net")


loop(("fetch", fetch, None), ("use", use, None), ("denied", denied, lambda error: isinstance(error, ClientAuthenticationError)))
