import hashlib

from kubernetes import client, config
from kubernetes.client import ApiException


def connect():
    # The namespace is the one that the kubeconfig names.
    return config.new_client_from_config(), config.list_kube_config_contexts()[1]["context"]["namespace"]


def key_of(api):
    token = api.configuration.get_api_key_with_prefix("BearerToken") or ""
    return hashlib.sha256(token.removeprefix("Bearer ").encode()).hexdigest()[:12]


held = connect()


def fetch():
    api, namespace = connect()
    client.CoreV1Api(api).list_namespaced_pod(namespace)
    return key_of(api)


def use():
    # It reads a token file once, with the kubeconfig: with the token over, the kubeconfig is to be loaded again.
    global held
    try:
        client.CoreV1Api(held[0]).list_namespaced_pod(held[1])
    except ApiException as error:
        if error.status != 401:
            raise
        held = connect()
        client.CoreV1Api(held[0]).list_namespaced_pod(held[1])
    return key_of(held[0])


def denied():
    client.CoreV1Api(held[0]).list_namespaced_secret(held[1])


loop(("fetch", fetch, None), ("use", use, None), ("denied", denied, lambda error: isinstance(error, ApiException) and error.status == 403))
