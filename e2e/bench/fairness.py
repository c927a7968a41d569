"""What one noisy namespace costs the others: fairness.py BENCH WORK RESULTS.

Each of the others has a few sidecars that ask for a new credential, far more often than agents' sidecars do. In alternating rounds the noisy one is silent, floods, or
(as a control for what the load generator itself takes from the machine) floods a server that is not Exeat at the same rates, with pods that
ask for no credentials.
FAIR_NAMESPACES namespaces in all, FAIR_ROUNDS rounds of each kind, FAIR_SECONDS long. FAIR_KINDS names other kinds of rounds, to find what costs:
`bad`, `good`, `streams` and `pods` each flood with one of them alone.
"""

import collections
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

from api import Stage, in_parallel, make_namespace, make_pod, make_sidecar, make_sidecars, namespaced, note, quantiles, remove_namespace, rounded, write_pods

QUIET = int(os.environ.get("FAIR_NAMESPACES", "50")) - 1
SIDECARS = 6
NOISY = "bench-fair-noisy"
PLAIN = "bench-fair-plain"
NOISY_PODS = 40
# A little less often than a pod may be given a credential.
EVERY = 72
RATES = {"bad": 60, "good": 60, "streams": 30}
PODS_A_SECOND = 3
# The first seconds of a round still feel the last one.
SETTLE = 5
# What the noisy one does in each kind of round.
KINDS = {
    "quiet": (),
    "flood": ("bad", "good", "streams", "pods"),
    "elsewhere": ("bad", "good", "streams", "pods"),
    "bad": ("bad",),
    "good": ("good",),
    "streams": ("streams",),
    "pods": ("pods",),
}
COUNTED = re.compile(r"^apiserver_request_total\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


def requests(api):
    """Requests that the API server has answered, by verb and resource."""
    counts = collections.Counter()
    for found in COUNTED.finditer(api.must("GET", "/metrics")):
        labels = dict(LABEL.findall(found["labels"]))
        if labels["verb"] == "WATCH":
            continue
        resource = "/".join(filter(None, (labels["resource"], labels["subresource"])))
        counts[f"{labels['verb']} {resource}"] += float(found["count"])
    return counts


class Crowd(threading.Thread):
    """Pods that come and go: annotated ones of the noisy namespace, and sessions with them, or plain ones."""

    def __init__(self, api, namespace):
        super().__init__(daemon=True)
        self.api, self.namespace, self.over, self.made = api, namespace, threading.Event(), 0
        self.annotations = {} if namespace == PLAIN else None

    def run(self):
        names = []
        while not self.over.wait(1 / PODS_A_SECOND):
            names.append(f"crowd-{time.time_ns()}")
            make_pod(self.api, self.namespace, names[-1], self.annotations)
            self.made += 1
            if len(names) > 30:
                self.remove(names.pop(0))
        for name in names:
            self.remove(name)

    def remove(self, name):
        self.api.call("DELETE", namespaced(self.namespace, f"pods/{name}") + "?gracePeriodSeconds=0")


class Fairness(Stage):
    def __init__(self, bench, work, results):
        super().__init__(bench, work, results)
        self.noisy_file = os.path.join(work, "noisy.pods")
        self.elsewhere = os.environ["FAIR_ELSEWHERE"].split()

    def prepare(self):
        names = [f"bench-fair-{n}" for n in range(QUIET)]

        def quiet(name):
            self.make_place(name)
            return [make_sidecar(self.api, name, f"pod-{n}") for n in range(SIDECARS)]

        pods = sum(in_parallel(quiet, names, 4), [])
        quiet(NOISY)
        make_namespace(self.api, PLAIN)
        write_pods(self.noisy_file, make_sidecars(self.api, NOISY, NOISY_PODS, "noisy"))
        return names, pods

    def flood(self, seconds, target, rates):
        command = [self.bench, "flood", *target, f"--seconds={seconds}", *rates]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def round(self, sidecars, kind, seconds):
        before, began = requests(self.api), time.time()
        crowd = flood = None
        if "pods" in KINDS[kind]:
            crowd = Crowd(self.api, PLAIN if kind == "elsewhere" else NOISY)
            crowd.start()
        rates = [f"--{what}={rate}" for what, rate in RATES.items() if what in KINDS[kind]]
        if rates:
            there = [*self.elsewhere, "--pods", self.noisy_file] if kind == "elsewhere" else self.issuers.arguments(self.noisy_file)
            flood = self.flood(seconds, there, rates)
        time.sleep(max(0.0, began + seconds - time.time()))
        after, end = requests(self.api), time.time()
        answers = json.loads(flood.communicate(timeout=60)[0]) if flood else {}
        if crowd:
            crowd.over.set()
            crowd.join()
        asked = [e for e in sidecars.since(began + SETTLE, "renewed") if e["at"] <= end]
        failed = [e for e in sidecars.since(began + SETTLE, "no credential") if e["at"] <= end]
        figures = quantiles([e["ms"] for e in asked])
        counted = collections.Counter({key: round((after[key] - before[key]) / (end - began), 1) for key in after})
        line = rounded(figures) | {"failed": len(failed), "pods": crowd.made if crowd else 0}
        line |= {"api_requests_per_second": round(counted.total(), 1), "token_reviews_per_second": counted["POST tokenreviews"]}
        note(", ".join(f"{rate} {what}" for what, rate in counted.most_common(12)))
        self.record(part="fairness", kind=kind, seconds=seconds, answers=answers, **line)
        note(f"{kind}: {line} {answers}")
        return [e["ms"] for e in asked]

    def run(self, rounds, seconds):
        names, pods = self.prepare()
        kinds = os.environ.get("FAIR_KINDS", "quiet flood elsewhere").split()
        taken = {kind: [] for kind in kinds}
        with self.play(pods, EVERY) as sidecars:
            sidecars.wait("all credentials", "held", QUIET * SIDECARS)
            time.sleep(SETTLE)
            for _ in range(rounds):
                for kind in kinds:
                    taken[kind].append(self.round(sidecars, kind, seconds))
        for kind in kinds:
            pooled = quantiles([ms for round_ in taken[kind] for ms in round_])
            ratios = {
                q: round(statistics.median(quantiles(a)[q] / quantiles(b)[q] for a, b in zip(taken[kind], taken["quiet"])), 3)
                for q in ("p50", "p90", "p99")
            }
            self.record(pooled, part="fairness-all", kind=kind, ratios=ratios)
        in_parallel(lambda name: remove_namespace(self.api, name), [*names, NOISY, PLAIN], 4)


def main():
    bench, work, results = sys.argv[1:4]
    fairness = Fairness(bench, work, results)
    fairness.run(int(os.environ.get("FAIR_ROUNDS", "4")), int(os.environ.get("FAIR_SECONDS", "60")))


main()
