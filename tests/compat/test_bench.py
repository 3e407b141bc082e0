"""`benches/run`, shortly: that it measures both and fails when it cannot."""

import subprocess
import sys

from .daemon import TOP, ours


def bench(*args):
    command = [sys.executable, str(TOP / "benches/run"), "--programs", str(ours().parent), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False)


def test_it_prints_both_and_their_ratio():
    done = bench("--rounds", "2", "--seconds", "0.3", "--keys", "500", "--rows", "^get 64 B, 16|^get of 100")
    assert (done.returncode, done.stderr) == (0, "")
    against, _, header, *lines = done.stdout.splitlines()
    assert against.startswith("against memcached 1.")
    assert header.split()[-5:] == ["ops/s", "p50", "p99", "p99.9", "cpu"]
    assert len(lines) == 6
    for theirs, ratio in zip(lines[0::3], lines[2::3]):
        assert float(theirs.split()[-5]) > 0
        assert "memcached" in theirs and "ratio" in ratio and "goal" in ratio


def test_it_fails_when_a_server_does_not_start():
    done = bench("--memcached", "/bin/false", "--rounds", "1", "--rows", "^get 64 B$")
    assert done.returncode == 1
    assert "/bin/false does not start" in done.stderr


def test_it_refuses_a_row_that_is_not_there():
    done = bench("--rows", "nonsense")
    assert (done.returncode, done.stderr) == (1, "bench: no row has such a name\n")
