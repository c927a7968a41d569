#!/usr/bin/env python3
"""The table in docs/conformance.md: which client, of which version, was seen to do what.

  table.py RESULTS   writes it from the lines that tests/conformance has left there; fails if a client is short of a step
  table.py --check   fails if its rows are not the clients of tests/conformance/clients.rs, or its versions not the pinned ones
"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
E2E = ROOT / "e2e"
PAGE = ROOT / "docs/conformance.md"
BEGIN, END = "<!-- table.py writes from here -->\n", "<!-- to here -->\n"
STEPS = ["fetch", "use", "denied", "refresh", "revoked", "outage"]
HEAD = ["client", "version", "finds it", "uses it", "sees a denial", "takes the next", "sees a revocation", "outlives an outage"]


def found(path, pattern):
    match = re.search(pattern, (E2E / path).read_text(), re.MULTILINE)
    if not match:
        sys.exit(f"error: e2e/{path} pins nothing like {pattern}")
    return match.group(1)


def requirement(path, name):
    return found(path, rf"^{re.escape(name)}==(\S+)")


def module(name):
    return found("conformance/go/go.mod", rf"^\s*{re.escape(name)} v(\S+)")


def crate(name):
    return found("conformance/rust/Cargo.lock", rf'^name = "{re.escape(name)}"\nversion = "([^"]+)"')


def package(name):
    return json.loads((E2E / "conformance/node/package-lock.json").read_text())["packages"][f"node_modules/{name}"]["version"]


AGENT = "images/agent-requirements.txt"
# Row: version, and what the cells say instead of "yes".
CLIENTS = {
    "boto3": (requirement(AGENT, "boto3"), {}),
    "boto3, old (token in the environment)": ("Debian 12's", {}),
    "AWS CLI": (requirement(AGENT, "awscli"), {}),
    "AWS SDK for Go v2": (module("github.com/aws/aws-sdk-go-v2"), {}),
    "AWS SDK for Java v2": (found("conformance/java/pom.xml", r"<aws.version>([^<]+)"), {"revoked": "yes, but not why"}),
    "AWS SDK for JavaScript v3": (package("@aws-sdk/client-s3"), {"revoked": "yes, but not why"}),
    "AWS SDK for Rust": (f"aws-config {crate('aws-config')}", {"revoked": "yes, but not why"}),
    "azure-identity for Python": (requirement(AGENT, "azure-identity"), {}),
    "azidentity for Go": (module("github.com/Azure/azure-sdk-for-go/sdk/azidentity"), {}),
    "@azure/identity for JavaScript": (package("@azure/identity"), {}),
    "azure_identity for Rust": (crate("azure_identity"), {}),
    "google-auth for Python": (requirement(AGENT, "google-auth"), {}),
    "x/oauth2/google for Go": (module("golang.org/x/oauth2"), {}),
    "google-auth-library for JavaScript": (package("google-auth-library"), {}),
    "gcp_auth for Rust": (crate("gcp_auth"), {"revoked": "yes, but not why"}),
    "Vault API client for Go": (module("github.com/hashicorp/vault/api"), {"refresh": "holds none"}),
    "hvac": (requirement(AGENT, "hvac"), {"refresh": "holds none"}),
    "vaultrs": (crate("vaultrs"), {"refresh": "holds none"}),
    "kubectl": (found("cluster/build.sh", r"^kubernetes_version=(\S+)"), {}),
    "Kubernetes client for Python": (requirement("conformance/python/requirements.txt", "kubernetes"), {"refresh": "not by itself"}),
}


def row(cells):
    return "| " + " | ".join(cells) + " |\n"


def write(results):
    seen = {}
    for line in map(json.loads, pathlib.Path(results).read_text().splitlines()):
        cell = f"after {round(line['seconds'] / 60)} of {line['of'].removesuffix('m')} min" if "seconds" in line else "yes"
        seen.setdefault(line["client"], {})[line["step"]] = cell
    missing = [f"{name}: {step}" for name in CLIENTS for step in STEPS if step not in seen.get(name, {})]
    if missing:
        sys.exit("error: not seen:\n" + "\n".join(missing))
    table = row(HEAD) + row(["---"] * len(HEAD))
    for name, (version, words) in CLIENTS.items():
        table += row([name, version] + [words.get(step, seen[name][step]) for step in STEPS])
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1])
    print(table, end="")


def check():
    tested = re.findall(r'name: "([^"]+)"', (E2E / "tests/conformance/clients.rs").read_text())
    table = PAGE.read_text().split(BEGIN)[1].split(END)[0].splitlines()[2:]
    shown = {cells[1].strip(): cells[2].strip() for cells in (line.split("|") for line in table)}
    problems = [f"docs/conformance.md has no row for {name}" for name in tested if name not in shown]
    problems += [f"docs/conformance.md: {name} is not tested" for name in shown if name not in tested]
    problems += [
        f"docs/conformance.md says {name} {shown[name]}, pinned is {version}"
        for name, (version, _) in CLIENTS.items()
        if name in shown and shown[name] != version
    ]
    if problems:
        sys.exit("\n".join(f"error: {problem}" for problem in problems) + "\nrun make conformance")


if sys.argv[1:] == ["--check"]:
    check()
elif len(sys.argv) == 2:
    write(sys.argv[1])
else:
    sys.exit(__doc__)
