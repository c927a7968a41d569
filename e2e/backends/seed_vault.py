"""Fills a fresh OpenBao in development mode with what tests and demo use: seed_vault.py FOLDER

The issuer's AppRole (roleID and secretID) stands in FOLDER/openbao.env, the administrator's token in FOLDER/openbao-admin.env. The issuer may
do what docs/vault.md says and no more. Token roles: agents-reader is as it must be, agents-child makes children, agents-period never
ends, agents-mute leaves out the policy default.
"""

import base64
import json
import os
import subprocess
import sys
import urllib.request

ADDRESS = "http://198.18.0.1:8210"
POSTGRES = "198.18.0.1:5544"
REVIEWER = "vault-reviewer"

AGENTS = """
path "secret/data/reports/*"     { capabilities = ["read", "create", "update", "delete", "patch"] }
path "secret/metadata/reports/*" { capabilities = ["list", "read"] }
path "secret/metadata/reports"   { capabilities = ["list"] }
path "database/creds/reader"     { capabilities = ["read"] }
"""
ISSUER = """
path "auth/token/create/agents-*" { capabilities = ["update"] }
path "auth/token/renew-accessor"  { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
"""
CREATE = """
CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';
"""


def kubectl(*arguments, text=None):
    return subprocess.run(["kubectl", *arguments], input=text, text=True, check=True, capture_output=True).stdout.strip()


def read(folder, name):
    with open(os.path.join(folder, name)) as file:
        return file.read().strip()


def write_env(folder, name, lines):
    path = os.path.join(folder, f"{name}.env")
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.writelines(f"{k}={v}\n" for k, v in lines.items())
    os.rename(path + ".new", path)


def main(folder):
    token = read(folder, "openbao-root")

    def call(method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{ADDRESS}/v1/{path}", data, {"X-Vault-Token": token}, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    call("PUT", "sys/policies/acl/agents", {"policy": AGENTS})
    call("PUT", "sys/policies/acl/exeat-issuer", {"policy": ISSUER})
    role = {"allowed_policies": "agents", "orphan": True, "renewable": True, "token_type": "service"}
    call("POST", "auth/token/roles/agents-reader", role)
    call("POST", "auth/token/roles/agents-child", {**role, "orphan": False})
    call("POST", "auth/token/roles/agents-period", {**role, "token_period": "24h"})
    call("POST", "auth/token/roles/agents-mute", {**role, "token_no_default_policy": True})

    call("POST", "sys/auth/approle", {"type": "approle"})
    call("POST", "auth/approle/role/exeat-issuer", {"token_policies": "exeat-issuer", "token_ttl": "10m", "token_max_ttl": "1h"})
    role_id = call("GET", "auth/approle/role/exeat-issuer/role-id")["data"]["role_id"]
    secret_id = call("POST", "auth/approle/role/exeat-issuer/secret-id", {})["data"]["secret_id"]

    kubectl("apply", "-f", "-", text=json.dumps({
        "apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": REVIEWER, "namespace": "kube-system"}},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": REVIEWER},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
             "subjects": [{"kind": "ServiceAccount", "name": REVIEWER, "namespace": "kube-system"}]},
        ]}))
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    cluster = config["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    call("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
    call("POST", "auth/kubernetes/config", {
        "kubernetes_host": cluster["server"], "kubernetes_ca_cert": authority, "disable_local_ca_jwt": True,
        "token_reviewer_jwt": kubectl("create", "token", REVIEWER, "-n", "kube-system", "--duration=24h"),
    })
    call("POST", "auth/kubernetes/role/exeat-issuer", {
        "bound_service_account_names": "exeat-issuer", "bound_service_account_namespaces": "*", "audience": "vault",
        "token_policies": "exeat-issuer", "token_ttl": "10m",
    })

    call("POST", "sys/mounts/database", {"type": "database"})
    call("POST", "database/config/postgres", {
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "reader", "username": "exeat-root",
        "password": read(folder, "postgres-root"),
        "connection_url": "postgresql://{{username}}:{{password}}@" + POSTGRES + "/postgres?sslmode=disable",
    })
    call("POST", "database/roles/reader", {
        "db_name": "postgres", "default_ttl": "1h", "max_ttl": "24h", "creation_statements": [CREATE]})

    for name in ["q3", "salaries"]:
        call("POST", f"secret/data/reports/{name}", {"data": {"text": f"contents of {name}"}})
    call("POST", "secret/data/payroll", {"data": {"text": "nobody's"}})
    write_env(folder, "openbao-admin", {"VAULT_ADDR": ADDRESS, "VAULT_TOKEN": token})
    write_env(folder, "openbao", {"roleID": role_id, "secretID": secret_id})


main(sys.argv[1])
