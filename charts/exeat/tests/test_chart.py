"""What the rendered chart must be, for every file of values in ci/ and for a namespace other than the usual one.

Run by scripts/test-chart.sh, which sets HELM and KUBECTL.
"""

import functools
import json
import os
import pathlib
import re
import subprocess
import unittest

CHART = pathlib.Path(__file__).parent.parent
ROOT = CHART.parent.parent
HELM, KUBECTL = os.environ["HELM"], os.environ["KUBECTL"]
NAMESPACES = ["exeat-system", "platform-security"]
VALUES = [None, *sorted(p.name for p in (CHART / "ci").glob("*.yaml"))]
WORKLOADS = {"Deployment", "Job"}
PEOPLE = ("exeat-view", "exeat-edit", "exeat-admin", "exeat-approver", "exeat-cluster-view", "exeat-node-clocks", "exeat-officer")
POLICIES = {"exeat-approvals", "exeat-authors", "exeat-exec", "exeat-objects", "exeat-pods", "exeat-sessions", "exeat-sidecar"}
SECRETS_OF_OURS = {"exeat-issuer-root", "exeat-webhook-root", "exeat-webhook-tls", "exeat-webhook-ca", "exeat-audit-key-controller", "exeat-audit-key-issuer"}


def helm(*arguments):
    return subprocess.run([HELM, *arguments], cwd=CHART, capture_output=True, text=True)


@functools.cache
def rendered(values=None, namespace="exeat-system", *more):
    arguments = ["-f", f"ci/{values}"] if values else []
    result = helm("template", "exeat", ".", "-n", namespace, "--kube-version", "1.34.0", *arguments, *more)
    if result.returncode:
        raise AssertionError(result.stderr)
    return result.stdout


def parse(text):
    """YAML documents as objects; kubectl reads them, so that the test needs nothing but Python itself."""
    command = [KUBECTL, "annotate", "--local", "-f", "-", "test=", "-o", "json"]
    out = subprocess.run(command, input=text, capture_output=True, text=True, env={"KUBECONFIG": "/dev/null", "HOME": "/"})
    if out.returncode:
        raise AssertionError(out.stderr)
    objects, decoder, at = [], json.JSONDecoder(), 0
    while at < len(out.stdout.rstrip()):
        one, at = decoder.raw_decode(out.stdout, at)
        at = len(out.stdout) - len(out.stdout[at:].lstrip())
        del one["metadata"]["annotations"]["test"]
        objects.append(one)
    return objects


@functools.cache
def objects(values=None, namespace="exeat-system", *more):
    return parse(rendered(values, namespace, *more))


def of_kind(kind, *arguments):
    return {o["metadata"]["name"]: o for o in objects(*arguments) if o["kind"] == kind}


def roles(*arguments):
    return [o for o in objects(*arguments) if o["kind"] in ("Role", "ClusterRole")]


def rules(role):
    for rule in role["rules"]:
        for resource in rule.get("resources", []):
            yield resource, rule["verbs"], rule


def every_rendering(test):
    @functools.wraps(test)
    def run(self):
        for values in VALUES:
            for namespace in NAMESPACES:
                with self.subTest(values=values, namespace=namespace):
                    test(self, values, namespace)

    return run


class Template(unittest.TestCase):
    def test_lint(self):
        for values in VALUES:
            result = helm("lint", "--strict", "--kube-version", "1.34.0", ".", *(["-f", f"ci/{values}"] if values else []))
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    @every_rendering
    def test_renders_the_same_twice(self, values, namespace):
        self.assertEqual(rendered(values, namespace), rendered.__wrapped__(values, namespace))

    def test_nothing_random_and_nothing_looked_up(self):
        banned = re.compile(r"\b(lookup|rand\w+|gen\w+(Cert|CA|Key)\w*|genCA|uuidv4|now|htpasswd|bcrypt|derivePassword|getHostByName)\b")
        for path in (CHART / "templates").rglob("*"):
            if path.is_file() and path.parent.name != "crds":
                for action in re.findall(r"\{\{.*?\}\}", path.read_text(), re.S):
                    self.assertIsNone(banned.search(action), f"{path.name}: {action}")

    def test_an_old_cluster_is_refused(self):
        result = helm("template", ".", "--kube-version", "1.31.9")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("kubeVersion", result.stderr)

    def test_no_namespace_or_account_is_written_out(self):
        for values in VALUES:
            self.assertNotIn("exeat-system", rendered(values, "platform-security"), values)

    def test_the_grants_namespace_is_named_once(self):
        self.assertNotIn("exeat-grants", rendered(None, "exeat-system", "--set", "kubernetesProvider.grantsNamespace=elsewhere"))
        self.assertNotIn("exeat-grants", rendered("least.yaml"))

    def test_definitions_are_kept_and_can_be_left_out(self):
        definitions = of_kind("CustomResourceDefinition")
        self.assertEqual(len(definitions), 5)
        for one in definitions.values():
            self.assertEqual(one["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
        self.assertEqual(of_kind("CustomResourceDefinition", "least.yaml"), {})

    def test_config_is_generated_from_the_chart(self):
        script = subprocess.run([ROOT / "scripts/generate-config.sh", "--check"], capture_output=True, text=True)
        self.assertEqual(script.returncode, 0, script.stdout + script.stderr)

    def test_config_builds(self):
        for folder in ("default", "uninstall"):
            built = subprocess.run([KUBECTL, "kustomize", ROOT / "config" / folder], capture_output=True, text=True)
            self.assertEqual(built.returncode, 0, built.stderr)
            parse(built.stdout)

    def test_samples_are_whole(self):
        samples = {p.name: parse(p.read_text()) for p in (ROOT / "config/samples").glob("*.yaml")}
        names = {(o["kind"], o["metadata"]["name"]) for s in samples.values() for o in s}
        for name, agent in (("aws", "pod"), ("kubernetes", "pod"), ("vault", "pod"), ("approvals", "deployment")):
            [policy], [pod] = samples[f"policy-{name}.yaml"], samples[f"{agent}-{name}.yaml"]
            if agent == "deployment":
                pod = {"metadata": {**pod["metadata"], **pod["spec"]["template"]["metadata"]}, "spec": pod["spec"]["template"]["spec"]}
            self.assertIn(("CredentialProvider", policy["spec"]["providerRef"]["name"]), names)
            self.assertEqual(pod["metadata"]["annotations"]["exeat.dev/policy"], policy["metadata"]["name"])
            self.assertIn(pod["spec"]["serviceAccountName"], policy["spec"]["subjects"]["serviceAccounts"])
            self.assertEqual(pod["metadata"]["namespace"], policy["metadata"]["namespace"])


class Values(unittest.TestCase):
    REFUSED = {
        "sidecar.iud=1": "additional properties 'iud' not allowed",
        "replicas=2": "additional properties 'replicas' not allowed",
        "issuer.serviceAccount.anotations.a=b": "additional properties 'anotations' not allowed",
        "controller.replicas=0": "minimum",
        "sidecar.uid=0": "minimum",
        "sidecar.image.digest=sha256:12": "does not match pattern",
        "image.pullPolicy=Sometimes": "must be one of",
        "sessions.retentionAge=7d": "does not match pattern",
        "kubernetesProvider.grantsNamespace=Not_A_Name": "does not match pattern",
        "audience=it's": "does not match pattern",
        "webhook.timeoutSeconds=31": "maximum",
        "audit.sink=syslog": "must be one of",
        "audit.sink=http": "minLength",
        "audit.http.url=http://audit.example.com": "does not match pattern",
        "audit.http.url=https://me:password@audit.example.com": "does not match pattern",
        "audit.spool.records=3": "minimum",
        "approvals.notify.enabled=true": "minLength",
        "approvals.notify.format=teams": "must be one of",
        "approvals.notify.interval=soon": "does not match pattern",
        "approvals.notify.events={all}": "must be one of",
        "approvals.notify.url=https://hooks.slack.com/services/T0": "additional properties 'url' not allowed",
        "crds.install=maybe": "got string, want boolean",
        "webhook.certManager.issuer.name=corporate": "additional properties 'issuer' not allowed",
        "webhook.certManager.issuerRef.kind=ClusterIssuer": "'name' required",
        "webhook.certManager.duration=90d": "does not match pattern",
        "issuer.providerSecrets={*}": "does not match pattern",
        "issuer.providerSecrets={exeat-audit-key-controller}": "'not' failed",
        "issuer.providerSecrets={exeat-webhook-root}": "'not' failed",
        "sidecar.namespaces.team-a.iud=1": "additional properties 'iud' not allowed",
        "sidecar.namespaces.team-a.uid=0": "minimum",
        "sidecar.namespaces.Team_A.uid=7": "does not match pattern",
    }

    def test_mistakes_are_named(self):
        for setting, message in self.REFUSED.items():
            with self.subTest(setting):
                result = helm("template", ".", "--kube-version", "1.34.0", "--set", setting)
                self.assertNotEqual(result.returncode, 0)
                self.assertIn(message, result.stderr)

    def test_every_value_is_in_the_schema_and_described(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        text = (CHART / "values.yaml").read_text()
        top = set(re.findall(r"^([a-zA-Z]+):", text, re.M))
        self.assertEqual(top, set(schema["properties"]) - {"global"})
        for key in top:
            self.assertRegex(text, rf"(?m)^# .*\n(?:[a-z].*\n)*{key}:", f"no comment above {key}")


class Access(unittest.TestCase):
    @every_rendering
    def test_no_wildcards_and_no_escalation(self, values, namespace):
        for role in roles(values, namespace):
            for rule in role["rules"]:
                words = [w for key in ("apiGroups", "resources", "verbs", "resourceNames", "nonResourceURLs") for w in rule.get(key, [])]
                self.assertFalse([w for w in words if "*" in w], role["metadata"]["name"])
                self.assertFalse({"escalate", "bind", "impersonate"} & set(rule["verbs"]), role["metadata"]["name"])

    @every_rendering
    def test_people_never_write_status_or_finalizers(self, values, namespace):
        for name in PEOPLE:
            for resource, _, _ in rules(of_kind("ClusterRole", values, namespace)[name]):
                self.assertNotIn("/", resource, name)

    @every_rendering
    def test_who_may_write_what(self, values, namespace):
        def written(name):
            reading = {"get", "list", "watch"}
            every = rules(of_kind("ClusterRole", values, namespace)[name])
            return {resource: set(verbs) - reading for resource, verbs, _ in every if set(verbs) - reading}

        self.assertEqual(written("exeat-view") | written("exeat-cluster-view") | written("exeat-node-clocks"), {})
        self.assertNotIn("approvals", written("exeat-edit") | written("exeat-admin"))
        self.assertEqual(written("exeat-approver"), {"approvals": {"update", "patch"}, "agentcredentialpolicies": {"approve"}})
        self.assertEqual(written("exeat-officer"), {"credentialsessions": {"update", "patch", "revoke"}, "credentialholds": {"create", "delete"}})
        controller = written("exeat-controller")
        self.assertEqual(controller["approvals"], {"create", "patch", "delete"})
        self.assertEqual(controller["approvals/status"], {"patch"})
        self.assertNotIn("credentialholds", controller)
        for name in ("exeat-issuer", "exeat-webhook"):
            self.assertFalse({"approvals", "approvals/status", "credentialholds"} & set(written(name)), name)

    @every_rendering
    def test_teams_see_no_more_of_the_cluster_than_is_ours(self, values, namespace):
        roles = of_kind("ClusterRole", values, namespace)
        read = {resource: (verbs, set(rule.get("resourceNames", []))) for resource, verbs, rule in rules(roles["exeat-cluster-view"])}
        self.assertEqual(read, {
            "credentialproviders": (["get", "list", "watch"], set()),
            "validatingadmissionpolicies": (["get"], POLICIES),
            "validatingadmissionpolicybindings": (["get"], POLICIES),
            "configmaps": (["get"], {"exeat-admission-policies"}),
            "nodes": (["get"], set()),
        })
        self.assertEqual([(resource, verbs) for resource, verbs, _ in rules(roles["exeat-node-clocks"])], [("leases", ["get"])])

    def test_no_builtin_role_includes_deciding_or_holding(self):
        for name in ("exeat-approver", "exeat-officer"):
            self.assertFalse([k for k in of_kind("ClusterRole")[name]["metadata"]["labels"] if "aggregate" in k], name)

    @every_rendering
    def test_secrets_are_read_by_name_or_in_our_namespaces_alone(self, values, namespace):
        for role in roles(values, namespace):
            name, kind = role["metadata"]["name"], role["kind"]
            for resource, verbs, rule in rules(role):
                if resource != "secrets":
                    continue
                self.assertEqual(kind, "Role", name)
                self.assertIn(name, ("exeat-controller", "exeat-issuer", "exeat-webhook"))
                if role["metadata"]["namespace"] == namespace:
                    self.assertFalse({"list", "watch", "create", "delete"} & set(verbs), name)
                    self.assertTrue(rule.get("resourceNames"), name)

    @every_rendering
    def test_the_issuer_reads_its_own_secrets_and_those_that_are_named(self, values, namespace):
        [role] = [r for r in roles(values, namespace) if r["metadata"]["name"] == "exeat-issuer" and r["metadata"].get("namespace") == namespace]
        may = {n: verbs for resource, verbs, rule in rules(role) if resource == "secrets" for n in rule["resourceNames"]}
        named = {"aws-keys": ["get"]} if values == "irsa.yaml" else {}
        own = {"exeat-issuer-root": ["get", "update"], "exeat-audit-key-issuer": ["get", "update"]}
        self.assertEqual(may, own | named)

    def test_no_secret_of_ours_can_be_named_as_a_providers(self):
        ours = set(of_kind("Secret")) | {c["spec"]["secretName"] for c in of_kind("Certificate", "cert-manager.yaml").values()}
        self.assertEqual(ours, SECRETS_OF_OURS)
        for name in ours:
            result = helm("template", ".", "--kube-version", "1.34.0", "--set", f"issuer.providerSecrets={{aws-keys,{name}}}")
            self.assertIn("'not' failed", result.stderr, name)
        self.assertIn("exeat-aws", rendered(None, "exeat-system", "--set", "issuer.providerSecrets={exeat-aws}"))

    @every_rendering
    def test_each_program_has_its_own_audit_key_and_may_only_patch_heads(self, values, namespace):
        for name in ("exeat-controller", "exeat-issuer"):
            [role] = [r for r in roles(values, namespace) if r["metadata"]["name"] == name and r["metadata"].get("namespace") == namespace]
            keys = {n: verbs for resource, verbs, rule in rules(role) for n in rule.get("resourceNames", []) if n.startswith("exeat-audit-key-")}
            self.assertEqual(keys, {f"exeat-audit-key-{name.removeprefix('exeat-')}": ["get", "update"]})
            heads = [(resource, verbs) for resource, verbs, rule in rules(role) if "exeat-audit-heads" in rule.get("resourceNames", [])]
            self.assertEqual(heads, [("configmaps", ["patch"])], name)

    @every_rendering
    def test_accounts_are_apart(self, values, namespace):
        for one in objects(values, namespace):
            if one["kind"] in ("RoleBinding", "ClusterRoleBinding"):
                [subject] = one["subjects"]
                self.assertEqual((subject["name"], subject["namespace"]), (one["metadata"]["name"], namespace))
                self.assertEqual(one["roleRef"]["name"], one["metadata"]["name"])
        for name, account in of_kind("ServiceAccount", values, namespace).items():
            self.assertIs(account["automountServiceAccountToken"], False, name)

    def test_aggregation_can_be_switched_off(self):
        label = "rbac.authorization.k8s.io/aggregate-to-edit"
        self.assertIn(label, of_kind("ClusterRole")["exeat-edit"]["metadata"]["labels"])
        self.assertNotIn(label, of_kind("ClusterRole", "least.yaml")["exeat-edit"]["metadata"]["labels"])


class Pods(unittest.TestCase):
    @every_rendering
    def test_restricted(self, values, namespace):
        for one in objects(values, namespace):
            if one["kind"] not in WORKLOADS:
                continue
            spec, name = one["spec"]["template"]["spec"], one["metadata"]["name"]
            for flag in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
                self.assertNotIn(flag, spec, name)
            self.assertTrue(all("hostPath" not in v for v in spec.get("volumes", [])), name)
            context = spec["securityContext"]
            self.assertIs(context["runAsNonRoot"], True)
            self.assertEqual(context["runAsUser"], 65532)
            self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
            for container in spec["containers"]:
                self.assertEqual(container["securityContext"], {
                    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}})
                self.assertIn("memory", container["resources"]["limits"], name)
                self.assertIn("cpu", container["resources"]["requests"], name)

    @every_rendering
    def test_survive_a_node_drain(self, values, namespace):
        budgets = of_kind("PodDisruptionBudget", values, namespace)
        for name, one in of_kind("Deployment", values, namespace).items():
            spec = one["spec"]
            self.assertEqual(name in budgets, spec["replicas"] > 1, name)
            selector = spec["selector"]["matchLabels"]
            self.assertLessEqual(selector.items(), spec["template"]["metadata"]["labels"].items())
            if name in budgets:
                self.assertEqual(budgets[name]["spec"]["selector"]["matchLabels"], selector)
            [container] = spec["template"]["spec"]["containers"]
            self.assertEqual(container["livenessProbe"]["httpGet"]["path"], "/livez")
            self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/readyz")

    @every_rendering
    def test_services_reach_named_ports(self, values, namespace):
        deployments = of_kind("Deployment", values, namespace).values()
        for name, service in of_kind("Service", values, namespace).items():
            selector = service["spec"]["selector"].items()
            chosen = [d for d in deployments if selector <= d["spec"]["template"]["metadata"]["labels"].items()]
            self.assertEqual(len(chosen), 3 if name == "exeat-metrics" else 1, name)
            for one in chosen:
                [container] = one["spec"]["template"]["spec"]["containers"]
                ports = {p["name"] for p in container["ports"]}
                self.assertLessEqual({p["targetPort"] for p in service["spec"]["ports"]}, ports, name)

    def test_images(self):
        def images(*arguments):
            return {n: d["spec"]["template"]["spec"]["containers"][0]["image"] for n, d in of_kind("Deployment", *arguments).items()}

        version = re.search(r"(?m)^appVersion: (.+)$", (CHART / "Chart.yaml").read_text())[1]
        self.assertEqual(images()["exeat-issuer"], f"exeat/operator:{version}")
        self.assertEqual(images("irsa.yaml")["exeat-webhook"], f"registry.example.com:5000/mirror/exeat/webhook:{version}")
        self.assertEqual(images("digest.yaml")["exeat-controller"], f"exeat/operator@sha256:{'1' * 64}")
        tagged = images(None, "exeat-system", "--set", "image.tag=dev,webhook.image.tag=other")
        self.assertEqual(tagged, {"exeat-controller": "exeat/operator:dev", "exeat-issuer": "exeat/operator:dev", "exeat-webhook": "exeat/webhook:other"})

    def test_audit_sinks_have_what_they_name(self):
        for values, wanted in ((None, set()), ("digest.yaml", {"audit"}), ("irsa.yaml", {"audit-token", "audit-ca"})):
            for name in ("exeat-controller", "exeat-issuer"):
                spec = of_kind("Deployment", values)[name]["spec"]["template"]["spec"]
                [container] = spec["containers"]
                env = {e["name"]: e.get("value") for e in container["env"]}
                mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"] if m["name"].startswith("audit")}
                volumes = {v["name"]: v for v in spec["volumes"] if v["name"].startswith("audit")}
                self.assertEqual((set(mounts), set(volumes)), (wanted, wanted))
                self.assertEqual(env["EXEAT_AUDIT_SINK"], {None: "stdout", "digest.yaml": "file", "irsa.yaml": "http"}[values])
                self.assertTrue(env["EXEAT_AUDIT_SPOOL_BYTES"].isdigit())
                for variable, volume in (("EXEAT_AUDIT_FOLDER", "audit"), ("EXEAT_AUDIT_TOKEN_FILE", "audit-token"), ("EXEAT_AUDIT_CA", "audit-ca")):
                    self.assertEqual(variable in env, volume in wanted)
                    self.assertTrue(volume not in wanted or env[variable].startswith(mounts[volume]), variable)
                if "audit-token" in volumes:
                    self.assertEqual(volumes["audit-token"]["secret"]["items"], [{"key": "bearer", "path": "token"}])

    def test_the_controller_alone_can_tell_people_and_starts_without_the_secret(self):
        for values, wanted in ((None, set()), ("digest.yaml", {"notify-url"}), ("irsa.yaml", {"notify-url", "notify-ca"})):
            for name, deployment in of_kind("Deployment", values).items():
                wanted_here = wanted if name == "exeat-controller" else set()
                spec = deployment["spec"]["template"]["spec"]
                [container] = spec["containers"]
                env = {e["name"]: e.get("value") for e in container["env"] if e["name"].startswith("EXEAT_NOTIFY_")}
                mounts = {m["name"]: m for m in container.get("volumeMounts", []) if m["name"].startswith("notify")}
                volumes = {v["name"]: v for v in spec.get("volumes", []) if v["name"].startswith("notify")}
                self.assertEqual((set(mounts), set(volumes)), (wanted_here, wanted_here), name)
                self.assertEqual(bool(env), bool(wanted_here), name)
                for variable, volume, file in (("EXEAT_NOTIFY_URL_FILE", "notify-url", "url"), ("EXEAT_NOTIFY_CA", "notify-ca", "ca.crt")):
                    self.assertEqual(variable in env, volume in wanted_here)
                    if volume not in wanted_here:
                        continue
                    self.assertEqual(env[variable], f"{mounts[volume]['mountPath']}/{file}")
                    self.assertNotIn("subPath", mounts[volume], "kubelet never renews such a file")
                    source = volumes[volume].get("secret") or volumes[volume]["configMap"]
                    self.assertIs(source["optional"], True)
                    self.assertEqual([i["path"] for i in source["items"]], [file])
                if wanted_here:
                    self.assertEqual("EXEAT_NOTIFY_ALLOW_HTTP" in env, values == "digest.yaml")
        env = {e["name"]: e.get("value") for e in of_kind("Deployment", "irsa.yaml")["exeat-controller"]["spec"]["template"]["spec"]["containers"][0]["env"]}
        self.assertEqual(
            [env[f"EXEAT_NOTIFY_{name}"] for name in ("FORMAT", "INTERVAL", "EVENTS")], ["slack", "1m", "pending,reminder,decided"])

    def test_the_issuer_has_its_identity(self):
        account = of_kind("ServiceAccount", "irsa.yaml")["exeat-issuer"]
        self.assertIn("eks.amazonaws.com/role-arn", account["metadata"]["annotations"])
        for other in ("exeat-controller", "exeat-webhook"):
            self.assertFalse(of_kind("ServiceAccount", "irsa.yaml")[other]["metadata"].get("annotations"), other)


class Admission(unittest.TestCase):
    @every_rendering
    def test_every_policy_is_bound(self, values, namespace):
        policies = of_kind("ValidatingAdmissionPolicy", values, namespace)
        bindings = of_kind("ValidatingAdmissionPolicyBinding", values, namespace)
        self.assertEqual(set(policies), POLICIES)
        self.assertEqual(set(bindings), POLICIES)
        for name in POLICIES:
            self.assertEqual(policies[name]["spec"]["failurePolicy"], "Fail", name)
            self.assertEqual(bindings[name]["spec"], {"policyName": name, "validationActions": ["Deny", "Audit"]})
            for validation in policies[name]["spec"]["validations"]:
                self.assertTrue(validation.get("message") or validation.get("messageExpression"), name)

    @every_rendering
    def test_only_the_creation_of_injected_pods_hangs_on_the_list_of_images(self, values, namespace):
        spec = of_kind("ValidatingAdmissionPolicy", values, namespace)["exeat-sidecar"]["spec"]
        match = spec["matchConstraints"]
        self.assertEqual(match["objectSelector"], {"matchLabels": {"exeat.dev/injected": "true"}})
        self.assertEqual([(r["resources"], r["operations"]) for r in match["resourceRules"]], [(["pods"], ["CREATE"])])
        # Closed until the controller adds its match condition, which is nobody else's field.
        self.assertEqual([v["expression"] for v in spec["validations"]], ["false"])
        self.assertNotIn("matchConditions", spec)

    @every_rendering
    def test_the_controller_keeps_what_is_installed(self, values, namespace):
        kept = of_kind("ConfigMap", values, namespace)["exeat-admission-policies"]["data"]
        kept = {(o["kind"], o["metadata"]["name"]): o for text in kept.values() for o in parse(text)}
        installed = {(o["kind"], o["metadata"]["name"]): o for o in objects(values, namespace) if o["kind"].startswith("ValidatingAdmission")}
        self.assertEqual(kept, installed)
        names = {n for resource, verbs, rule in rules(of_kind("ClusterRole", values, namespace)["exeat-controller"])
                 if resource == "validatingadmissionpolicybindings" and "patch" in verbs for n in rule["resourceNames"]}
        self.assertEqual(names, POLICIES)

    @every_rendering
    def test_webhook_and_policy_speak_of_the_same_sidecar(self, values, namespace):
        [container] = of_kind("Deployment", values, namespace)["exeat-webhook"]["spec"]["template"]["spec"]["containers"]
        env = {e["name"]: e.get("value") for e in container["env"]}
        policies = of_kind("ValidatingAdmissionPolicy", values, namespace)
        for name in ("EXEAT_ISSUER_URL", "EXEAT_AUDIENCE"):
            self.assertIn(f"'{env[name]}'", json.dumps(policies["exeat-pods"]), name)
        # It is in no text that an upgrade replaces at another moment than the webhook's replicas.
        self.assertNotIn(env["EXEAT_SIDECAR_IMAGE"], json.dumps(policies))

    def test_the_sidecar_can_be_pinned_by_digest(self):
        def image(*arguments):
            [container] = of_kind("Deployment", *arguments)["exeat-webhook"]["spec"]["template"]["spec"]["containers"]
            return next(e["value"] for e in container["env"] if e["name"] == "EXEAT_SIDECAR_IMAGE")

        self.assertEqual(image("digest.yaml"), f"quay.example.com/exeat/sidecar@sha256:{'3' * 64}")
        digest = f"sha256:{'4' * 64}"
        # As `make images` writes it into digests-VERSION.yaml, beside a tag that then has no say.
        pinned = (None, "exeat-system", "--set", f"sidecar.image.digest={digest},sidecar.image.tag=dev,image.registry=r.example:5000")
        self.assertEqual(image(*pinned), f"r.example:5000/exeat/sidecar@{digest}")

    def test_the_controller_finds_what_a_replica_of_the_webhook_injects(self):
        deployment = of_kind("Deployment", "digest.yaml")["exeat-webhook"]["spec"]["template"]
        self.assertLessEqual({"app.kubernetes.io/name": "exeat", "app.kubernetes.io/component": "webhook"}.items(), deployment["metadata"]["labels"].items())
        self.assertEqual(deployment["spec"]["serviceAccountName"], "exeat-webhook")
        env = {e["name"]: e.get("value") for e in deployment["spec"]["containers"][0]["env"]}
        for variable, registry in (("EXEAT_SIDECAR_IMAGE", "quay.example.com"), ("EXEAT_SIDECAR_ACCEPTED_IMAGES", "mirror.example.com")):
            self.assertEqual(env[variable], f"{registry}/exeat/sidecar@sha256:{'3' * 64}")

    def test_the_sidecar_can_differ_by_namespace(self):
        def own(*arguments):
            [container] = of_kind("Deployment", *arguments)["exeat-webhook"]["spec"]["template"]["spec"]["containers"]
            return next((e["value"] for e in container["env"] if e["name"] == "EXEAT_SIDECAR_NAMESPACES"), None)

        self.assertIsNone(own())
        self.assertEqual(json.loads(own("digest.yaml")), {
            "team-a": {"uid": 1000710001},
            "team-b": {"limits": "cpu=1,memory=128Mi", "requests": "cpu=20m"},
        })

    @every_rendering
    def test_webhooks_touch_annotated_pods_only(self, values, namespace):
        [mutating] = of_kind("MutatingWebhookConfiguration", values, namespace).values()
        hook, objects_hook = mutating["webhooks"]
        self.assertEqual((objects_hook["failurePolicy"], objects_hook["timeoutSeconds"]), ("Fail", 5))
        self.assertEqual({g for rule in objects_hook["rules"] for g in rule["apiGroups"]}, {"exeat.dev"})
        self.assertIn("object.spec != oldObject.spec", objects_hook["matchConditions"][0]["expression"])
        self.assertEqual((hook["failurePolicy"], hook["reinvocationPolicy"], hook["timeoutSeconds"]), ("Fail", "IfNeeded", 5))
        self.assertIn("startsWith('exeat.dev/')", hook["matchConditions"][0]["expression"])
        excluded = hook["namespaceSelector"]["matchExpressions"][0]["values"]
        self.assertLessEqual({"kube-system", namespace}, set(excluded))
        [validating] = of_kind("ValidatingWebhookConfiguration", values, namespace).values()
        for hook in [hook, objects_hook, *validating["webhooks"]]:
            self.assertNotIn("caBundle", hook["clientConfig"])
            self.assertEqual(hook["sideEffects"], "None")
            core = any("" in rule["apiGroups"] or "apps" in rule["apiGroups"] for rule in hook["rules"])
            self.assertTrue(not core or hook["matchConditions"], hook["name"])

    @every_rendering
    def test_an_upgrade_keeps_what_the_programs_wrote(self, values, namespace):
        secrets = of_kind("Secret", values, namespace)
        ours = {"exeat-issuer-root", "exeat-audit-key-controller", "exeat-audit-key-issuer"}
        if not (values or "").startswith("cert-manager"):
            ours.add("exeat-webhook-root")
        self.assertEqual(set(secrets), ours)
        maps = of_kind("ConfigMap", values, namespace)
        for one in [*secrets.values(), maps["exeat-issuer-root"], maps["exeat-audit-heads"]]:
            self.assertFalse({"data", "stringData", "immutable"} & set(one), one["metadata"]["name"])
        for name, lease in of_kind("Lease", values, namespace).items():
            self.assertNotIn("spec", lease, name)

    def test_uninstall_runs_first_and_can_be_left_out(self):
        hooks = [o for o in objects() if "helm.sh/hook" in o["metadata"].get("annotations", {})]
        self.assertEqual({o["kind"] for o in hooks}, {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Job"})
        self.assertEqual({o["metadata"]["annotations"]["helm.sh/hook"] for o in hooks}, {"pre-delete"})
        self.assertNotIn("exeat-uninstall", of_kind("Job", "least.yaml"))


class CertManager(unittest.TestCase):
    FILES = ("cert-manager.yaml", "cert-manager-issuer.yaml")

    def test_off_unless_asked_for(self):
        for values in (None, "least.yaml", "irsa.yaml"):
            self.assertNotIn("cert-manager", rendered(values))
            [container] = of_kind("Deployment", values)["exeat-webhook"]["spec"]["template"]["spec"]["containers"]
            self.assertNotIn("EXEAT_TLS_CERT_FILE", {e["name"] for e in container["env"]})

    def test_the_webhook_serves_the_files_of_the_certificate(self):
        for values in self.FILES:
            for namespace in NAMESPACES:
                with self.subTest(values=values, namespace=namespace):
                    certificate = of_kind("Certificate", values, namespace)["exeat-webhook"]["spec"]
                    self.assertEqual(certificate["dnsNames"], [f"exeat-webhook.{namespace}.svc"])
                    self.assertIn("server auth", certificate["usages"])
                    spec = of_kind("Deployment", values, namespace)["exeat-webhook"]["spec"]["template"]["spec"]
                    [container], [volume] = spec["containers"], spec["volumes"]
                    self.assertEqual(volume["secret"]["secretName"], certificate["secretName"])
                    [mount] = container["volumeMounts"]
                    self.assertEqual((mount["name"], mount["readOnly"]), (volume["name"], True))
                    self.assertNotIn("subPath", mount, "kubelet never renews such a file")
                    env = {e["name"]: e.get("value") for e in container["env"]}
                    self.assertEqual(env["EXEAT_TLS_CERT_FILE"], f"{mount['mountPath']}/tls.crt")
                    self.assertEqual(env["EXEAT_TLS_KEY_FILE"], f"{mount['mountPath']}/tls.key")

    def test_cert_manager_alone_writes_the_authority(self):
        for values in self.FILES:
            for namespace in NAMESPACES:
                with self.subTest(values=values, namespace=namespace):
                    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
                        annotations = of_kind(kind, values, namespace)["exeat"]["metadata"]["annotations"]
                        self.assertEqual(annotations, {"cert-manager.io/inject-ca-from": f"{namespace}/exeat-webhook"})
                    for role in roles(values, namespace):
                        if role["metadata"]["name"] == "exeat-webhook":
                            resources = {resource for resource, _, _ in rules(role)}
                            self.assertFalse(resources & {"secrets", "mutatingwebhookconfigurations", "validatingwebhookconfigurations"})

    def test_the_authority_is_given_or_made(self):
        def reference(values):
            return of_kind("Certificate", values)["exeat-webhook"]["spec"]["issuerRef"]

        self.assertEqual(reference("cert-manager-issuer.yaml"), {"name": "corporate", "kind": "ClusterIssuer", "group": "cert-manager.io"})
        self.assertEqual((set(of_kind("Certificate", "cert-manager-issuer.yaml")), of_kind("Issuer", "cert-manager-issuer.yaml")), ({"exeat-webhook"}, {}))
        certificates, issuers = of_kind("Certificate", "cert-manager.yaml"), of_kind("Issuer", "cert-manager.yaml")
        issuer = issuers[reference("cert-manager.yaml")["name"]]
        [authority] = [c for c in certificates.values() if c["spec"]["secretName"] == issuer["spec"]["ca"]["secretName"]]
        self.assertIs(authority["spec"]["isCA"], True)
        self.assertEqual(issuers[authority["spec"]["issuerRef"]["name"]]["spec"], {"selfSigned": {}})


class Result(unittest.TextTestResult):
    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


if __name__ == "__main__":
    outcome = unittest.main(exit=False, verbosity=2, testRunner=unittest.TextTestRunner(resultclass=Result)).result
    failed = outcome.testsRun - outcome.passed
    print(f"{outcome.passed} passed, {failed} failed", flush=True)
    raise SystemExit(1 if failed or not outcome.passed else 0)
