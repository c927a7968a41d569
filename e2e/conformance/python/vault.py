import hvac
from hvac.exceptions import Forbidden

client = hvac.Client()


def read(client, path):
    client.secrets.kv.v2.read_secret_version(path=path, raise_on_deleted_version=True)


loop(
    ("fetch", lambda: read(hvac.Client(), "reports/q3"), None),
    ("use", lambda: read(client, "reports/q3"), None),
    ("denied", lambda: read(client, "reports/salaries"), lambda error: isinstance(error, Forbidden)),
)
