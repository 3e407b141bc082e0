"""A node with less memory than its peer."""

import subprocess

from conftest import caught_up
from node import PROGRAM, Client, eventually

COUNT = 15_000
VALUE = b"x" * 3_000


def test_a_small_node_evicts_for_itself_and_empties_nobody(nodes):
    large, small = nodes("", ["-m", "256"], ["-m", "16"])
    names = [[b"%b-%d" % (side, number) for number in range(COUNT)] for side in (b"large", b"small")]
    for node, keys in zip((large, small), names, strict=True):
        with Client(node, timeout=60) as client:
            for start in range(0, COUNT, 100):
                some = keys[start : start + 100]
                requests = (b"set %b 0 0 %d noreply\r\n%b\r\n" % (key, len(VALUE), VALUE) for key in some)
                client.socket.sendall(b"".join(requests) + b"mn\r\n")
                assert client.file.readline() == b"MN\r\n"
            # It must not run ahead of the link by more than the small one holds.
            eventually("nothing is on its way", lambda: caught_up((large, small)))
    assert int(small.stats()["evictions"]) > COUNT
    assert large.stats()["evictions"] == "0"
    with Client(large) as one, Client(small) as other:
        has = one.items(names[0])
        # What the small one wrote and evicted before it was sent is nowhere; nothing else is missing.
        assert len(has) == COUNT
        few = other.items(names[1])
        assert 0 < len(few) < COUNT
        there = one.items(list(few))
        assert all(there[key] == item for key, item in few.items())
    command = [str(PROGRAM.with_name("pairctl")), "-s", large.host.address, "-s", small.host.address, "verify", "--missing-ok"]
    with large.host.inside():
        verify = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert verify.returncode == 0, verify.stdout + verify.stderr
