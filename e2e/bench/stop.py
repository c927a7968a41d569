"""From a write that ends sessions to the last credential that their sidecars serve: stop.py BENCH WORK RESULTS.

Pods carry the genuine injection but no node runs them; `exeat-bench sidecars` plays their sidecars against the real issuers. Times are
the wall clock of this one machine: before the write is sent here, and when the sidecar has read the word that makes it drop what it holds.
STOP_ONE and STOP_MANY set how many samples are taken one by one and how many sidecars there are at once.
"""

import os
import sys
import threading
import time

from api import Stage, in_parallel, kubernetes_allow, make_policy, make_sidecars, note, ours, quantiles, remove_namespace, seconds_of

REVOKE = {"spec": {"revoke": {"reason": "measured by the benchmark"}}}
WRITERS = 16
# The API server believes a token that it has just seen for so long after the Secret that it is bound to is gone.
TOKEN_CACHE_SECONDS = 10
SECRETS = "/api/v1/namespaces/exeat-grants/secrets"


class Vanishing(threading.Thread):
    """When each session's Secret, to which its tokens are bound, was first missed at the API server."""

    def __init__(self, api, names):
        super().__init__(daemon=True)
        self.api, self.names, self.gone = api, set(names), {}

    def run(self):
        while self.names:
            there = {s["metadata"]["name"] for s in self.api.get(SECRETS)["items"]}
            now = time.time()
            missing = self.names - there
            self.gone |= dict.fromkeys(missing, now)
            self.names -= missing
            time.sleep(0.3)


class Stop(Stage):
    kept = True

    def note(self, what, count, seconds):
        """Seconds from the write to the last served credential, of each session."""
        figures = quantiles([s * 1000 for s in seconds])
        self.record(figures, part="stop", what=what, streams=count)
        note(f"stop, {what}, {count} streams: p50 {figures['p50']:.0f} ms, p99 {figures['p99']:.0f} ms, max {figures['max']:.0f} ms")

    def one(self, samples):
        namespace = "bench-stop-one"
        self.make_place(namespace)
        seconds = []
        for n in range(samples):
            pods = make_sidecars(self.api, namespace, 1, f"sample-{n}")
            with self.play(pods) as sidecars:
                held = sidecars.wait("a credential", "held", 1)[pods[0]["name"]]
                began = time.time()
                self.api.merge(ours(namespace, f"credentialsessions/{held['session']}"), REVOKE)
                seconds.append(sidecars.wait("the stop", "stopped", 1, since=began)[pods[0]["name"]]["at"] - began)
        self.note("revoked", 1, seconds)
        remove_namespace(self.api, namespace)

    def many(self, count):
        namespace = "bench-stop-many"
        self.make_place(namespace)
        began = time.time()
        pods = make_sidecars(self.api, namespace, count)
        note(f"{count} pods after {time.time() - began:.0f} s")
        with self.play(pods) as sidecars:
            sidecars.wait("all first credentials", "held", count)
            self.record(part="stop-ramp", what="first", streams=count, seconds=round(time.time() - began, 1))
            note(f"{count} credentials are held {time.time() - began:.0f} s after the first pod was made")

            def tighten():
                make_policy(self.api, namespace, kubernetes_allow(namespace, "list pods"), wait=False)

            self.changed(sidecars, namespace, count, "policy tightened", tighten)
            path = ours(namespace, "agentcredentialpolicies/work")
            self.changed(sidecars, namespace, count, "policy deleted", lambda: self.api.must("DELETE", path))
            self.revoked(sidecars, namespace, count)
        remove_namespace(self.api, namespace)

    def changed(self, sidecars, namespace, count, what, change):
        began = time.time()
        change()
        stopped = sidecars.wait(f"the stop after: {what}", "stopped", count, since=began)
        self.note(what, count, [said["at"] - began for said in stopped.values()])
        if what == "policy deleted":
            make_policy(self.api, namespace, kubernetes_allow(namespace, "list pods"))
        sidecars.wait("credentials under the new authority", "held", count, since=began)
        self.record(part="stop-ramp", what=what, streams=count, seconds=round(time.time() - began, 1))

    def revoked(self, sidecars, namespace, count):
        sessions = {f"{namespace}/{s['spec']['request']['agent']['pod']['name']}": s for s in self.sessions(namespace)}
        writes = {}

        def revoke(pod):
            writes[pod] = time.time()
            self.api.merge(ours(namespace, f"credentialsessions/{sessions[pod]['metadata']['name']}"), REVOKE)

        vanishing = Vanishing(self.api, [s["metadata"]["name"] for s in sessions.values()])
        vanishing.start()
        began = time.time()
        in_parallel(revoke, sessions, WRITERS)
        written = time.time() - began
        stopped = sidecars.wait("the stop of all revoked", "stopped", count, since=began)
        self.note("each revoked", count, [said["at"] - writes[pod] for pod, said in stopped.items()])
        last = max(said["at"] for said in stopped.values()) - began
        self.record(part="stop-all", streams=count, writes_seconds=round(written, 2), last_seconds=round(last, 2))
        note(f"{count} revocations were written in {written:.1f} s; the last sidecar had stopped after {last:.1f} s")
        vanishing.join(300)
        self.taken_back(namespace, vanishing.gone, count)

    def sessions(self, namespace):
        found = self.api.get(ours(namespace, "credentialsessions"))["items"]
        return [s for s in found if s.get("status", {}).get("phase") == "Active"]

    def taken_back(self, namespace, gone, count):
        """When tokens ended at the API server itself, against what status promises."""
        if len(gone) < count:
            sys.exit(f"error: access of {count - len(gone)} sessions was not ended at the API server in 5 minutes")
        found = {s["metadata"]["name"]: s["status"] for s in self.api.get(ours(namespace, "credentialsessions"))["items"]}
        taken = [gone[name] - seconds_of(found[name]["endedAt"]) for name in gone]
        left = [seconds_of(found[name]["revocation"]["effectiveBy"]) - at - TOKEN_CACHE_SECONDS for name, at in gone.items()]
        self.record(quantiles(taken), part="stop-provider", streams=count, least_left=round(min(left), 2))
        note(f"ended at the API server: max {max(taken):.1f} s after the session's end; least time left to effectiveBy {min(left):.1f} s")
        if min(left) < 0:
            print(f"error: tokens outlived effectiveBy by up to {-min(left):.1f} s", file=sys.stderr)
            self.kept = False


def main():
    bench, work, results = sys.argv[1:4]
    stop = Stop(bench, work, results)
    stop.one(int(os.environ.get("STOP_ONE", "20")))
    stop.many(int(os.environ.get("STOP_MANY", "1000")))
    sys.exit(0 if stop.kept else 1)


main()
