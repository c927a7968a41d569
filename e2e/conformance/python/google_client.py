import hashlib
import os

import google.auth
from google.api_core.exceptions import Forbidden
from google.auth.transport.requests import Request
from google.cloud import storage

client = storage.Client(client_options={"api_endpoint": os.environ["STORAGE"]})


def key_of(credentials):
    return hashlib.sha256(credentials.token.encode()).hexdigest()[:12]


def fetch():
    credentials, _ = google.auth.default()
    credentials.refresh(Request())
    return key_of(credentials)


def use():
    client.bucket("reports").blob("2026/q3.txt").download_as_bytes()
    return key_of(client._credentials)


def denied():
    client.bucket("payroll").blob("salaries.txt").download_as_bytes()


loop(("fetch", fetch, None), ("use", use, None), ("denied", denied, lambda error: isinstance(error, Forbidden)))
