"""Sums up a run: report.py LINES RESULTS. Reads the measured lines, writes one JSON file, prints the tables (Markdown)."""

import json
import statistics
import sys

MIB = 1024 * 1024


class Lines:
    """The measured lines, one JSON object each."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.all = [json.loads(line) for line in file]

    def of(self, **wanted):
        return [line for line in self.all if all(line.get(key) == value for key, value in wanted.items())]

    def one(self, **wanted):
        found = self.of(**wanted)
        return found[0] if found else None


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def load_figures(lines):
    """Medians over the rounds."""
    figures = {"requests_per_second": spread([line["requests"] / line["seconds"] for line in lines])}
    return figures | {key: spread([line[key] for line in lines]) for key in ("p50_us", "p99_us", "p999_us", "max_us")}


def compare(lines, part, ours, connections):
    """Our server and the bare one, under the same load in alternating rounds."""
    pair = {name: lines.of(part=part, server=name, connections=connections) for name in (ours, "bare")}
    if not all(pair.values()):
        return None
    figures = {name: load_figures(found) for name, found in pair.items()}
    ratio = {
        key: figures[ours][key]["median"] / figures["bare"][key]["median"]
        for key in ("requests_per_second", "p50_us", "p99_us", "p999_us")
    }
    return {"ours": figures[ours], "bare": figures["bare"], "ratio": ratio}


def pods(lines):
    found = {variant: lines.of(part="pods", variant=variant) for variant in ("without", "idle-sidecar", "injected")}
    if not all(found.values()):
        return None
    keys = ("created_ms", "first_ms", "sidecar_started_ms", "sidecar_held_ms")
    figures = {
        variant: {key: spread([line[key] for line in measured]) for key in keys if key in measured[0]}
        for variant, measured in found.items()
    }
    median = {variant: figures[variant]["first_ms"]["median"] for variant in figures}
    figures["added_ms"] = median["injected"] - median["without"]
    figures["added_to_idle_sidecar_ms"] = median["injected"] - median["idle-sidecar"]
    figures["most_tries"] = max(line["tries"] for line in found["injected"])
    return figures


def stop(lines):
    """Milliseconds from a write to the last served credential, by what was written and how many streams there were."""
    found = {f"{line['what']}, {line['streams']:,}": plain(line) for line in lines.of(part="stop")}
    if not found:
        return None
    ramps = {line["what"]: line["seconds"] for line in lines.of(part="stop-ramp")}
    figures = {"latency_ms": found, "until_held_again_seconds": ramps}
    for part, key in (("stop-all", "all"), ("stop-provider", "at_provider_seconds")):
        if line := lines.one(part=part):
            figures[key] = plain(line)
    return figures


def fairness(lines):
    rounds = lines.of(part="fairness")
    pooled = {line["kind"]: plain(line) for line in lines.of(part="fairness-all")}
    if not pooled:
        return None
    return {"pooled": pooled, "rounds": [plain(line) for line in rounds]}


def exposure(lines):
    return [plain(line) for line in lines.of(part="exposure")] or None


def plain(line):
    return {key: value for key, value in line.items() if key != "part"}


def sum_up(lines):
    memory = {line["state"]: {key: line[key] * 1024 for key in line if key[:2] in ("Vm", "Rs")} for line in lines.of(part="memory")}
    size = lines.one(part="size")
    result = {
        "machine": lines.one(part="machine"),
        "size_bytes": {key: size[key] for key in ("binary", "archive")} if size else None,
        "memory_bytes": memory or None,
        "sidecar": compare(lines, "sidecar", "sidecar", 16),
        "review": lines.one(part="review"),
        "webhook": {str(c): found for c in (1, 16) if (found := compare(lines, "webhook", "webhook", c))} or None,
        "pods": pods(lines),
        "stop": stop(lines),
        "approvals": plain(lines.one(part="approve")) if lines.one(part="approve") else None,
        "decisions": plain(lines.one(part="decide")) if lines.one(part="decide") else None,
        "exposure": exposure(lines),
        "fairness": fairness(lines),
    }
    return {key: value for key, value in result.items() if value is not None}


def aims(result):
    """What was aimed at: name, measured, aim, met."""
    if sidecar := result.get("sidecar"):
        ratio = sidecar["ratio"]["requests_per_second"]
        yield "sidecar throughput, of the bare handler's", f"{ratio:.2f}x", ">= 0.8x", ratio >= 0.8
    if memory := result.get("memory_bytes"):
        idle = memory["idle"]["VmRSS"] / MIB
        yield "sidecar memory, idle with a credential", f"{idle:.1f} MiB", "<= 6 MiB", idle <= 6
    if size := result.get("size_bytes"):
        binary = size["binary"] / 1e6
        yield "sidecar binary", f"{binary:.2f} MB", "<= 8 MB", binary <= 8
    if figures := result.get("pods"):
        added = figures["added_ms"] / 1000
        yield "added to the start of a pod, median", f"{added:.2f} s", "< 1 s", added < 1
    for figures in result.get("exposure", []):
        what = f"stolen credential, {figures['provider']} ({figures['how']})"
        least = figures["least_left"]
        yield what, f"ends {least:.1f} s or more before effectiveBy", "never later", least >= 0
    if taken := result.get("stop", {}).get("at_provider_seconds"):
        least = taken["least_left"]
        what = f"tokens of {taken['n']:,} sessions that are revoked at once"
        yield what, f"end {least:.1f} s or more before effectiveBy", "never later", least >= 0
    if figures := result.get("fairness"):
        moved = figures["pooled"]["flood"]["ratios"]["p99"]
        yield "the others' p99 while one of 50 namespaces floods", f"{moved:.2f}x", "< 1.1x", moved < 1.1


def table(head, rows):
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")


def load_rows(what, ours, pair):
    for name, figures in ((ours, pair["ours"]), ("bare", pair["bare"])):
        rate = figures["requests_per_second"]
        latencies = [f"{figures[key]['median'] / 1000:.2f}" for key in ("p50_us", "p99_us", "p999_us")]
        yield [what, name, f"{rate['median']:,.0f} ({rate['min']:,.0f} to {rate['max']:,.0f})", *latencies]
    ratio = [f"{pair['ratio'][key]:.2f}x" for key in ("requests_per_second", "p50_us", "p99_us", "p999_us")]
    yield [what, "ratio", *ratio]


def show_stop(figures):
    rows = [
        [what, *(f"{line[key]:,.0f}" for key in ("p50", "p99", "max"))] for what, line in figures["latency_ms"].items()
    ]
    table(["from the write to the last served credential, streams", "p50 ms", "p99 ms", "most ms"], rows)
    if every := figures.get("all"):
        print(f"\n{every['streams']:,} revocations were written in {every['writes_seconds']} s, "
              f"and no sidecar served anything {every['last_seconds']} s after the first.")
    if taken := figures.get("at_provider_seconds"):
        print(f"Their Secrets were gone {taken['p50']} s (p50), {taken['max']} s (most) after the session's recorded end; with 10 s "
              f"for what the API server remembers of a token, the least time left to effectiveBy was {taken['least_left']} s.")
    print("Seconds until all held a credential (again):", figures["until_held_again_seconds"])


def show_fairness(figures):
    rows = []
    for kind, line in figures["pooled"].items():
        rounds = [r for r in figures["rounds"] if r["kind"] == kind]
        rates = [statistics.median(r[key] for r in rounds) for key in ("api_requests_per_second", "token_reviews_per_second")]
        ratios = line["ratios"]
        rows.append([kind, line["n"], *(f"{line[q]:,.0f} ({ratios[q]:.2f}x)" for q in ("p50", "p90", "p99")), sum(r["failed"] for r in rounds), *rates])
    head = ["the noisy namespace", "requests of the others", "p50 ms", "p90 ms", "p99 ms", "failed", "API requests/s", "token reviews/s"]
    table(head, rows)


def show(result):
    table(["aim", "measured", "aimed at", "met"], [[*row[:3], "yes" if row[3] else "**no**"] for row in aims(result)])
    if figures := result.get("stop"):
        show_stop(figures)
    if figures := result.get("approvals"):
        table(["from the yes to the agent's first credential, samples", "least s", "p50 s", "most s"],
              [[figures["n"], *(f"{figures[key]:.2f}" for key in ("min", "p50", "max"))]])
    if figures := result.get("decisions"):
        each = [f"{figures['each'][key] * 1000:,.0f}" for key in ("p50", "p99", "max")]
        table(["decisions", "a second", "each, p50 ms", "p99 ms", "most ms", "all sessions open after s"],
              [[figures["decisions"], f"{figures['a_second']:.0f}", *each, f"{figures['all_active_seconds']:.1f}"]])
    if found := result.get("exposure"):
        rows = [[f["provider"], f["how"], f["n"], *(f"{f[q]:,.1f}" for q in ("p50", "max")), f"{f['least_left']:,.1f}"] for f in found]
        table(["stolen credential", "how", "samples", "works for s, p50", "most", "least left to effectiveBy, s"], rows)
    if figures := result.get("fairness"):
        show_fairness(figures)
    rows = []
    if sidecar := result.get("sidecar"):
        rows += load_rows("credentials, 16 connections", "sidecar", sidecar)
    for connections, pair in result.get("webhook", {}).items():
        rows += load_rows(f"reviews, {connections} connection{'s' if connections != '1' else ''}", "webhook", pair)
    if rows:
        table(["load", "server", "requests/s (least to most)", "p50 ms", "p99 ms", "p99.9 ms"], rows)
    rows = [[f"sidecar, {state}: {key}", f"{value / MIB:.2f} MiB"] for state, of in result.get("memory_bytes", {}).items() for key, value in of.items()]
    rows += [[f"sidecar {key}", f"{value / 1e6:.2f} MB"] for key, value in result.get("size_bytes", {}).items()]
    if rows:
        table(["size", ""], rows)
    if figures := result.get("pods"):
        named = {
            "without": "without injection: app started",
            "idle-sidecar": "with a native sidecar that does nothing: app started",
            "injected": "injected: app has its first credential",
        }
        rows = [
            [named[variant], *(f"{figures[variant][key][which] / 1000:.2f}" for key, which in (("created_ms", "median"), ("first_ms", "median"), ("first_ms", "min"), ("first_ms", "max")))]
            for variant in named
        ]
        table([f"pods, {figures['without']['first_ms']['n']} each, seconds", "create call, median", "median", "least", "most"], rows)
        print(f"\nAdded by injection: {figures['added_ms'] / 1000:.2f} s; of that beyond a native sidecar that does nothing: "
              f"{figures['added_to_idle_sidecar_ms'] / 1000:.2f} s. Sidecar's first word after "
              f"{figures['injected']['sidecar_started_ms']['median'] / 1000:.2f} s, credential held after "
              f"{figures['injected']['sidecar_held_ms']['median'] / 1000:.2f} s (medians, from the create call). "
              f"Most tries until the first credential: {figures['most_tries']}.")


def main():
    result = sum_up(Lines(sys.argv[1]))
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(result, file, indent=2)
        file.write("\n")
    show(result)


main()
