"""Clients that write for as long as they are let, and remember what they were told of each write."""

import bisect
import contextlib
import random
import threading
import time
from collections import Counter

from node import Client, eventually

KEYS = 150
PAUSE = 0.001  # seconds between two writes: others want the machine too
LONGEST = 600  # writes of a node without a peer while one waits: about 0.6 s of a quiet machine; a busy one came to 188
WRITES_MAX = 50_000  # of one writer: whatever goes wrong, a load ends
REFUSED = b"SERVER_ERROR not written: the peer is away\r\n"
DONE = (b"STORED\r\n", b"DELETED\r\n", b"NOT_FOUND\r\n")


def short(value):
    return value and value[:40]


class Key:
    """What may be found under a key that one writer writes."""

    def __init__(self):
        self.acknowledged = [(0.0, None)]  # when, and the value; None is that there is none
        self.doubtful = []  # values written since then, of which nobody said whether they were done

    def acknowledge(self, value):
        self.acknowledged.append((time.monotonic(), value))
        # Whatever was in doubt is older: this node did it before, or never will.
        self.doubtful.clear()

    def lost(self, value):
        """The acknowledged writes that are gone if `value` is there; nothing else may be."""
        if value in self.doubtful or value == self.acknowledged[-1][1]:
            return []
        values = [value for _, value in self.acknowledged]
        assert value in values, f"nobody wrote {short(value)}, but {short(values[-1])} or {[short(value) for value in self.doubtful]}"
        return self.acknowledged[len(values) - values[::-1].index(value) :]


class Writer(threading.Thread):
    """Sets and deletes keys of its own, and keys that others write too, on one node."""

    def __init__(self, node, name, shared=()):
        super().__init__(daemon=True)
        self.node, self.label = node, name
        self.random = random.Random(name)
        self.keys = {b"%b-%d" % (name, number): Key() for number in range(KEYS)}
        self.keys |= {key: Key() for key in shared}
        self.count = 0
        self.answers = Counter()
        self.times = []  # of each request: when it began, and when it was answered
        self.stopped = threading.Event()
        self.client = None

    def run(self):
        names = list(self.keys)
        while not self.stopped.wait(PAUSE) and sum(self.answers.values()) < WRITES_MAX:
            self.write(self.random.choice(names))
        self.hang_up()

    def hang_up(self):
        if self.client:
            self.client.close()
        self.client = None

    def write(self, name):
        key, value = self.keys[name], None
        if self.random.random() < 0.1:
            request = b"delete %b\r\n" % name
        else:
            size = self.random.choice((10, 100, 100, 3_000))
            value = b"%b-%d-%s" % (self.label, self.count, b"x" * size)
            # 32 bits of flags, so that nothing that a client stores can be taken for protocol.
            request = b"set %b %d 0 %d\r\n%b\r\n" % (name, self.random.getrandbits(32), len(value), value)
        began = time.monotonic()
        if self.client is None:
            try:
                self.client = Client(self.node, timeout=20)
            except OSError:
                return self.note("unreachable", began)
        key.doubtful.append(value)
        try:
            answer = self.client.say(request)
        except OSError as error:
            self.hang_up()
            return self.note(type(error).__name__, began)
        if answer in DONE:
            self.count += 1
            key.acknowledge(value)
        elif answer == REFUSED:
            key.doubtful.remove(value)
        self.note(answer.decode().strip(), began)

    def note(self, answer, began):
        self.answers[answer] += 1
        self.times.append((began, time.monotonic()))

    def errors(self):
        """How often it was told anything but that its write was done."""
        return {answer: count for answer, count in self.answers.items() if f"{answer}\r\n".encode() not in DONE}


class Load:
    """Two writers on each of two nodes, or on `only` one. Loads of different names write different keys. One more writes
    on a node that has no peer, if there is one."""

    def __init__(self, nodes, shared=True, only=None, name=b""):
        self.nodes = nodes
        shared = [b"%bshared-%d" % (name, number) for number in range(20)] if shared else []
        self.writers = [
            Writer(node, b"%b%b%d" % (name, side, number), shared)
            for node, side in zip(nodes, (b"a", b"b"), strict=True)
            for number in range(2)
            if only in (None, node)
        ]
        alone = nodes[0].alone
        self.measure = alone and Writer(alone, b"%bmeasure" % name)

    def __enter__(self):
        for writer in self.everybody():
            writer.start()
        return self

    def everybody(self):
        return [*self.writers, *filter(None, [self.measure])]

    def __exit__(self, *_):
        self.end()

    def end(self):
        for writer in self.everybody():
            writer.stopped.set()
        for writer in self.everybody():
            writer.join(60)
            assert not writer.is_alive(), "a writer hangs"

    def of(self, node):
        return [writer for writer in self.writers if writer.node is node]

    def goes_on(self, node=None, writes=200):
        """Waits until every writer, or those of one node, had so many more writes acknowledged."""
        for writer in self.of(node) if node else self.writers:
            began = writer.count

            def there(writer=writer, began=began):
                assert writer.is_alive(), "the load has run out"
                return writer.count >= began + writes

            eventually(lambda writer=writer, began=began: f"{writes} writes more than {began}: {writer.answers}", there)

    def served_all_the_while(self, node, waits=False):
        """The clients of a healthy node saw no error, and waited no longer than on a node without a peer. Where they are
        meant to wait (`waits`), it was not for the silence of the link to be noticed."""
        for writer in self.of(node):
            assert writer.errors() == {}
            if waits:
                assert max(answered - began for began, answered in writer.times) < 4
            else:
                assert self.longest_wait(writer) < LONGEST

    def longest_wait(self, writer):
        """How many writes one after the other the node without a peer did at most while one of this writer's waited.
        Whatever else the machine does holds up both, so this says the same on a busy one."""
        ends = [answered for _, answered in self.measure.times]
        return max(bisect.bisect(ends, answered) - bisect.bisect(ends, began) for began, answered in writer.times)

    def accounted(self):
        """Compares all keys on both nodes; returns the acknowledged writes that are on neither."""
        names = sorted({name for writer in self.writers for name in writer.keys})
        held = []
        for node in self.nodes:
            with Client(node) as client:
                held.append(client.items(names))
        assert held[0] == held[1], differing(*held)
        lost = []
        for name in names:
            value = held[0].get(name, (None,))[0]
            writers = [writer.keys[name] for writer in self.writers if name in writer.keys]
            if len(writers) == 1:
                lost += writers[0].lost(value)
            else:
                among_several(name, value, writers)
        return lost


def among_several(name, value, writers):
    """Of writes that crossed the newest holds, whichever that is; but one that was written."""
    for key in writers:
        with contextlib.suppress(AssertionError):
            key.lost(value)
            return
    raise AssertionError(f"nobody wrote this under {name!r}: {value!r}")


def differing(one, other):
    keys = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
    show = [(key, [(side[key][0][:30], *side[key][1:]) if key in side else None for side in (one, other)]) for key in keys[:5]]
    return f"{len(keys)} keys differ: {show}"
