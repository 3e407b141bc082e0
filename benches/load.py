"""Load on a daemon by `pairctl bench`, and what it cost."""

import json
import os
import subprocess

from servers import Failed

LONGEST = 120  # seconds that a run may take beyond what it measures
FIGURES = ["ops/s", "p50", "p99", "p99.9", "cpu"]


def load(options, server, core, words):
    """One run of the generator: its figures."""
    command = [str(options.programs / "pairctl"), "-s", f"127.0.0.1:{server.port}", "bench", "--json", *words]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=options.seconds + LONGEST,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if result["misses"]:
        raise Failed(f"{' '.join(command)}: {result['misses']} keys are missing, so the server did less than it should")
    return result


def measure(options, server, core, words, per):
    """The figures of one run; CPU in microseconds per operation, or per key where `per` is their number."""
    before = server.cpu()
    result = load(options, server, core, words)
    cpu = (server.cpu() - before) * 1e6 / max(1, result["requests"]) / per
    latency = result["latency_us"]["all"]
    return dict(zip(FIGURES, [result["requests_per_second"], *(latency[q] for q in FIGURES[1:4]), cpu]))


def fill(options, server, core, keys, size):
    """Sets every key once."""
    words = ["--fill", "--ratio", "1:0", "--requests", "1", "--pipeline", "16", "--connections", "8"]
    load(options, server, core, [*words, "--keys", str(keys), "--value-size", str(size)])
