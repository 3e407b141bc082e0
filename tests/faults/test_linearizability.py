"""Clients on both nodes at once, on the same keys: what they are told fits one order of all that was done."""

import random
import threading
import time

import pytest
from conftest import synced
from history import Operation, linearizable, regular, unknown
from load import REFUSED
from node import Client, eventually

DONE = {b"STORED": "done", b"DELETED": "done", b"NOT_STORED": "refused", b"EXISTS": "refused", b"NOT_FOUND": "refused"}
CLIENTS = 3  # on each node
OPERATIONS = 6  # of each client on each key
KEYS_MAX = 50_000  # whatever goes wrong, it ends


class Player(threading.Thread):
    """A client that does what all others do at the same time: some operations on one key, then on the next."""

    def __init__(self, number, node, play, together):
        super().__init__(daemon=True)
        self.number, self.play, self.together = number, play, together
        self.client = Client(node, timeout=20)
        self.random = random.Random(number)
        self.histories = []
        self.failed = None

    def run(self):
        try:
            while self.together.wait(60) >= 0 and not self.play.over():
                key = b"key-%d" % len(self.histories)
                self.histories.append([])
                for turn in range(OPERATIONS):
                    # A value that nobody else writes, nor comes to by counting.
                    operation = self.once(key, self.play.choose(self.random), (self.number + 1) * 1_000_000 + turn * 1_000)
                    if operation:
                        self.histories[-1].append(operation)
                    if operation is None or operation.ended == float("inf"):
                        break
        except threading.BrokenBarrierError:
            pass
        except Exception as error:  # a thread's own end is not seen
            self.failed = error
        finally:
            self.together.abort()
            self.client.close()

    def once(self, key, kind, value):
        """Does it; None if it was certainly not done."""
        argument = value if kind in ("set", "add") else 1 if kind == "incr" else None
        unique = b""
        if kind == "cas":
            seen, unique = self.gets(key)
            argument = (seen, value)
            if seen is None:
                kind, argument = "add", value
        data = b"%d\r\n" % value
        request = {
            "get": b"get %b\r\n" % key,
            "set": b"set %b 0 0 %d\r\n%b" % (key, len(data) - 2, data),
            "add": b"add %b 0 0 %d\r\n%b" % (key, len(data) - 2, data),
            "cas": b"cas %b 0 0 %d %b\r\n%b" % (key, len(data) - 2, unique, data),
            "incr": b"incr %b 1\r\n" % key,
            "delete": b"delete %b\r\n" % key,
        }[kind]
        began = time.monotonic()
        line = self.client.say(request)
        if kind == "get":
            result = self.value(line)[0]
            return Operation(kind, None, result, began, time.monotonic())
        ended = time.monotonic()
        if line == REFUSED:
            return None
        if line.startswith(b"SERVER_ERROR"):
            return unknown(kind, argument, began)
        if kind == "delete" and line == b"NOT_FOUND\r\n":
            # It wrote nothing: it saw that there was nothing.
            return Operation("get", None, None, began, ended)
        word = line.split()[0]
        return Operation(kind, argument, DONE[word] if word in DONE else int(word), began, ended)

    def gets(self, key):
        return self.value(self.client.say(b"gets %b\r\n" % key))

    def value(self, line):
        if line == b"END\r\n":
            return None, b""
        assert line.startswith(b"VALUE"), line
        value = int(self.client.file.readline())
        assert self.client.file.readline() == b"END\r\n"
        return value, line.split()[-1]


class Play:
    """Players on both nodes, until they have had so many keys or are told to end."""

    def __init__(self, nodes, kinds, keys):
        self.kinds, self.keys = kinds, keys
        self.ended = False
        together = threading.Barrier(2 * CLIENTS)
        self.players = [Player(number, nodes[number % 2], self, together) for number in range(2 * CLIENTS)]
        self.played = self.players[0].histories

    def choose(self, chance):
        return chance.choice(self.kinds)

    def over(self):
        return self.ended or len(self.played) >= self.keys

    def __enter__(self):
        for player in self.players:
            player.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.join()

    def join(self):
        for player in self.players:
            player.join(120)
            assert not player.is_alive(), "a player hangs"
            if player.failed:
                raise player.failed

    def goes_on(self, keys=30):
        goal = len(self.played) + keys
        eventually(f"{keys} keys more", lambda: len(self.played) >= goal or self.over())
        assert not self.over(), "the play has run out"

    def verdict(self, judge, state=None):
        """All keys' histories that are none."""
        longest = max(len(player.histories) for player in self.players)
        bad = []
        for number in range(longest):
            of_key = [player.histories[number] for player in self.players if number < len(player.histories)]
            history = [operation for operations in of_key for operation in operations]
            if not judge(history, state):
                bad.append((number, sorted(history, key=lambda operation: operation.began)))
        return bad

    def told(self, kind):
        """How many operations of a kind were done."""
        histories = (history for player in self.players for history in player.histories)
        return sum(operation.kind == kind and operation.result == "done" for history in histories for operation in history)


PLAIN = ["set", "get", "get", "delete"]
ATOMIC = ["add", "incr", "incr", "cas"]
LOCK = ["add", "add", "delete"]


def deciding(nodes):
    for node in nodes:
        eventually("the owners decide", lambda node=node: node.replication("owners_decide") == "1")


def test_in_strict_mode_every_read_on_either_node_sees_what_was_acknowledged_before_it(nodes):
    pair = nodes('durability = "strict"\ndurability_timeout = 20\n')
    with Play(pair, PLAIN, 300) as play:
        play.join()
    assert play.told("set") > 500
    assert play.verdict(regular) == []


def test_in_strict_mode_that_holds_in_and_after_cuts(nodes, hosts):
    pair = nodes('durability = "strict"\ndurability_timeout = 0.3\n')
    with Play(pair, PLAIN, KEYS_MAX) as play:
        for deaf in ((0, 1), (0,), (1,)):
            play.goes_on()
            for side in deaf:
                hosts[side].deafen()
            eventually("a fuse is open", lambda: "open" in [node.replication("fuse") for node in pair])
            play.goes_on()
            for side in deaf:
                hosts[side].hear()
            synced(pair)
            for node in pair:
                eventually("the fuse is closed", lambda node=node: node.replication("fuse") == "closed")
        play.goes_on()
    assert play.told("set") > 200
    assert play.verdict(regular) == []


@pytest.mark.parametrize("kinds", [ATOMIC, ["add", "cas"]], ids=["counters", "cas"])
def test_what_owners_decide_is_decided_once(nodes, kinds):
    pair = nodes('atomic_ops = "owner"\n')
    deciding(pair)
    with Play(pair, kinds, 300) as play:
        play.join()
    assert play.told("add") >= 300
    assert play.told("cas") > 50
    assert play.verdict(linearizable) == []


def test_locks_that_are_taken_and_given_back_on_both_nodes_are_held_by_one(nodes):
    pair = nodes('atomic_ops = "owner"\ndurability = "strict"\ndurability_timeout = 20\n')
    deciding(pair)
    with Play(pair, LOCK, 300) as play:
        play.join()
    assert play.told("delete") > 100
    # Who is refused may have seen what is not acknowledged yet, and others not; who is granted it is alone.
    assert play.verdict(regular) == []


def test_what_owners_decide_or_refuse_holds_in_and_after_cuts(nodes, hosts):
    pair = nodes('atomic_ops = "owner-or-error"\n')
    deciding(pair)
    with Play(pair, ATOMIC, KEYS_MAX) as play:
        for deaf in ((0, 1), (0,), (1,)):
            play.goes_on()
            for side in deaf:
                hosts[side].deafen()
            for node in pair:
                eventually("the link is given up", lambda node=node: node.replication("owners_decide") == "0")
            for side in deaf:
                hosts[side].hear()
            deciding(pair)
        play.goes_on()
    assert play.told("add") > 90
    assert play.verdict(linearizable) == []
