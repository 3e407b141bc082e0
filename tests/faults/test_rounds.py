"""The same again and again. FAULTS_ROUNDS sets how often."""

import os

from conftest import synced
from load import Load
from network import LongRoad
from node import LINK, Client, eventually

ROUNDS = int(os.environ.get("FAULTS_ROUNDS", "20"))
ITEMS = 2_000


def test_a_node_restarted_in_the_middle_of_every_catch_up_is_full_in_the_end(nodes, hosts, whole):
    a, b = nodes('window = "64k"\n', ["-m", "1024"], ["-m", "1024"], start=False)
    # Over a road of some length the middle lasts.
    road = LongRoad(hosts[1], (hosts[0].address, LINK), 0.05)
    a.command += ["-X", f"{LINK}:{LINK + 1}"]
    b.command += ["-x", "127.0.0.1", "-X", f"{LINK}:{road.port}"]
    a.start()
    with Client(a) as client:
        for number in range(ITEMS):
            assert client.say(b"set item-%d 0 0 1000\r\n%b\r\n" % (number, b"x" * 1000)) == b"STORED\r\n"
    in_the_middle, loads = 0, []
    for number in range(ROUNDS):
        # A load of its own for each round, since every load ends.
        with Load((a, b), shared=False, only=a, name=b"round-%d-" % number) as load:
            loads.append(load)
            b.start()
            eventually("it is being filled, or full", lambda: b.replication("state") in ("catching-up", "in-sync"))
            load.goes_on(writes=1 + number % 20)
            in_the_middle += b.replication("filled") == "0"
            b.kill()
            load.end()
            load.served_all_the_while(a)
    assert in_the_middle > ROUNDS / 2, "that was the middle of nothing"
    # The last time by the short way, since there is much by now.
    b.command += ["-x", hosts[0].address, "-X", str(LINK)]
    b.start()
    synced((a, b))
    assert whole(load) == []
    for load in loads:
        assert load.accounted() == []
    with Client(b) as client:
        assert len(client.items([b"item-%d" % number for number in range(ITEMS)])) == ITEMS
    print(f"{ROUNDS} restarts, {in_the_middle} of them in the middle of a catch-up")
    road.close()
