"""The same random conversations with memcached and with paircached: the same replies, the same statistics.

What is played is what 1.6.18 and 1.6.45 have in common: well-formed lines and frames of all three protocols with odd
numbers, keys, values and combinations of flags. Each request waits for the reply to the one before, and nothing runs in
the background: counting leaves alone an item that is held by a reply under way or by memcached's maintainer. Two things
are made alike before replies are compared: CAS numbers, which become the order in which they were first seen, and times,
which may be a second apart. The seeds are fixed; SIDE_BY_SIDE_ROUNDS=1000 plays so many conversations of each kind.
"""

import os
import random
import re
import shutil
import struct

import pytest

from . import daemon
from .test_binary import GET, OK, Frames, frame
from .wire import Client

ROUNDS = int(os.environ.get("SIDE_BY_SIDE_ROUNDS", "40"))
REQUESTS = 25  # in a conversation
ALIKE = (1, 6, 18)
QUIET = ("-o", "no_lru_maintainer,no_lru_crawler")

KEYS = [b"a", b"b", b"n", b"m"]
LONG_KEYS = [b"k" * 250, b"k" * 251]
VALUES = [
    *(b"", b"a", b"5", b"0", b"99", b"007", b"18446744073709551615", b"18446744073709551616", b" 12", b"12 ", b"1 2"),
    *(b"-1", b"12\0x", b"9\n", b"abc\r\ndef", b"1" * 20, b"1" * 21, b"z" * 500, b"x" * 20_000),
]
ADDED = [b"", b"a", b"5", b"12"]
NUMBERS = [b"0", b"1", b"5", b"100", b"18446744073709551615", b"18446744073709551616", b"-1", b"x", b"+1", b"01", b"1.5"]
FLAGS = [b"0", b"0", b"1", b"65535", b"4294967295", b"4294967296", b"x"]
# Never a second or two away: nothing may end between two looks.
TIMES = [b"0", b"0", b"0", b"1000", b"2592000", b"2592001", b"4000000000", b"-1", b"-5"]
META_TIMES = [b"0", b"1000", b"2592000", b"2000000000"]
BASE64 = [b"YQ==", b"bg==", b"Zm9v", b"AAEC/w=="]
# None, one older and one newer than all there are.
OTHER_CAS = [b"0", b"1", b"18446744073709551615"]

COUNTED = """
    cmd_get cmd_set cmd_touch cmd_meta get_hits get_misses delete_misses delete_hits incr_misses incr_hits decr_misses
    decr_hits cas_misses cas_hits cas_badval touch_hits touch_misses store_too_large store_no_memory
""".split()


class Text:
    """Lines as a client might send them."""

    def __init__(self, choice):
        self.choice = choice

    def key(self):
        return self.choice(KEYS * 8 + LONG_KEYS)

    def request(self):
        kind = self.choice([self.store] * 4 + [self.read] * 2 + [self.count, self.other] + [self.meta] * 5)
        return kind()

    def line(self, *words):
        gap = self.choice([b" "] * 20 + [b"  "])
        return gap.join(words) + self.choice([b"\r\n"] * 20 + [b"\n", b" \r\n"])

    def silence(self):
        return self.choice([[]] * 8 + [[b"noreply"], [b"NOREPLY"]])

    def store(self):
        verb = self.choice([b"set", b"set", b"set", b"add", b"replace", b"append", b"prepend", b"cas"])
        # Not much: memcached takes the words behind a number for nothing, however many they are.
        value = self.choice(ADDED if verb in (b"append", b"prepend") else VALUES)
        # A block that comes to the wrong length for a line that is refused is played in test_lines.py.
        flags = self.choice(FLAGS[:-1])
        words = [verb, self.choice(KEYS), flags, self.choice(TIMES), b"%d" % len(value)]
        if verb == b"cas":
            words.append(self.choice([b"<CAS>", b"<CAS>", *OTHER_CAS]))
        return self.line(*words, *self.silence()) + value + b"\r\n"

    def read(self):
        verb = self.choice([b"get", b"get", b"gets", b"gat", b"gats"])
        times = [self.choice(META_TIMES)] if verb.startswith(b"gat") else []
        keys = [self.choice(KEYS) for _ in range(self.choice([1, 1, 2, 3]))]
        return self.line(verb, *times, *keys)

    def count(self):
        verb = self.choice([b"incr", b"decr"])
        return self.line(verb, self.choice([b"n", b"n", b"m", self.key()]), self.choice(NUMBERS), *self.silence())

    def other(self):
        return self.choice(
            [
                self.line(b"delete", self.key(), *self.silence()[:1]).replace(b"NOREPLY", b"noreply"),
                self.line(b"touch", self.key(), self.choice(META_TIMES + [b"x"]), *self.silence()),
                self.line(b"mn", *self.choice([[], [b"x"]])).replace(b"mn\n", b"mn\r\n"),
                self.line(b"verbosity", self.choice([b"0", b"x"])),
                b"nosuch command\r\n",
            ]
        )

    def meta(self):
        verb = self.choice([b"mg", b"mg", b"ms", b"ms", b"md", b"ma", b"me"])
        letters = {b"mg": "bcfhklqOstuvNRT", b"ms": "bcCFIkOqTM", b"md": "bCIkOqT", b"ma": "bCNJDTMOqtcvk", b"me": ""}
        flags = [self.flag(verb, letter) for letter in letters[verb] if self.choice([True, False, False, False])]
        # memcached shows some keys as they are that came in base64; see docs/compatibility.md.
        if b"b" in flags:
            flags = [flag for flag in flags if flag not in (b"k", b"MA", b"MP") and flag[:1] != b"N"]
        order = sorted(flags, key=lambda _: self.choice(range(1000)))
        key = self.choice(BASE64) if b"b" in flags else self.key()
        if verb != b"ms":
            return self.line(verb, key, *order)
        # 1.6.18 does not take along the block of a line that it refuses for its key.
        joins = {b"MA", b"MP"}.intersection(flags)
        value, key = self.choice(ADDED if joins else VALUES), key[:250]
        return self.line(verb, key, b"%d" % len(value), *order) + value + b"\r\n"

    def flag(self, verb, letter):
        modes = b"SEAPR" if verb == b"ms" else b"I+D-"
        tokens = {
            "O": [b"", b"1", b"x" * 31],
            "C": [b"<CAS>", b"<CAS>", *OTHER_CAS],
            "F": FLAGS[:-1],
            "M": [modes[at : at + 1] for at in range(len(modes))],
            **dict.fromkeys("NTR", META_TIMES),
            **dict.fromkeys("JD", NUMBERS[:5]),
        }
        return letter.encode() + self.choice(tokens.get(letter, [b""]))


class Seen:
    """What one daemon answers, with what two say differently made alike."""

    def __init__(self):
        self.numbers = {}

    def cas(self, number):
        """The rank of a CAS among all that were seen; 0 is none."""
        return number and self.numbers.setdefault(number, len(self.numbers) + 1)

    def text(self, said):
        said = re.sub(rb"(VALUE \S+ \d+ \d+ )(\d+)", lambda found: found[1] + b"%d" % self.cas(int(found[2])), said)
        said = re.sub(rb"( c)(\d+)(?=[ \r])", lambda found: found[1] + b"%d" % self.cas(int(found[2])), said)
        said = re.sub(rb"cas=(\d+)", lambda found: b"cas=%d" % self.cas(int(found[1])), said)
        return re.sub(rb" t\d\d+| l\d+(?=[ \r])|(exp|la)=-?\d+", b" time", said)


class Speaker:
    """A connection for text and one for frames to one daemon."""

    def __init__(self, server):
        self.lines, self.frames, self.seen = Client(server), Frames(server), Seen()
        assert self.frames.one(frame(GET, b"x"))[0] == GET

    def close(self):
        self.lines.close()
        self.frames.close()

    def ask(self, request):
        """The reply to a line; <CAS> in it is that of the item as it is."""
        if b"<CAS>" in request:
            key = request.split()[1]
            binary = b" b" if key in BASE64 else b""
            found = re.search(rb" c(\d+)", self.lines.talk(b"mg " + key + b" c u" + binary + b"\r\n"))
            request = request.replace(b"<CAS>", found[1] if found else b"7")
        return self.seen.text(self.lines.talk(request))

    def ask_frames(self, opcode, key, value, extras, cas):
        if cas == "right":
            cas = self.frames.cas(key) or 7
        frames = self.frames.until_noop(frame(opcode, key, value, extras, cas))
        return [(*got[:6], self.seen.cas(got[6])) for got in frames]

    def counters(self):
        stats = self.lines.stats()
        return {name: int(stats[name]) for name in COUNTED}


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    theirs = shutil.which("memcached", path=os.environ.get("PATH", "") + ":/usr/bin")
    if os.environ.get("MEMCACHED_UNDER_TEST") or not theirs:
        pytest.skip("it takes two daemons")
    made = [
        daemon.Server(binary, tmp_path_factory.mktemp("side"), "-t", "1", *QUIET)
        for binary in (daemon.Path(theirs), daemon.ours())
    ]
    yield made
    for server in made:
        server.stop()


@pytest.fixture
def speakers(servers):
    if servers[0].version != ALIKE:
        pytest.skip("what is left out is what differs in 1.6.18")
    made = [Speaker(server) for server in servers]
    for speaker in made:
        speaker.lines.ask(b"flush_all\r\nset x 0 0 0\r\n\r\n", b"OK\r\nSTORED\r\n")
        for key in KEYS:
            speaker.lines.talk(b"set " + key + b" 5 0 1\r\n1\r\n")
            speaker.lines.talk(b"md Zm9v b\r\nmd AAEC/w== b\r\n")
    yield made
    for speaker in made:
        speaker.close()


def agree(speakers, play, requests):
    before = [speaker.counters() for speaker in speakers]
    for number, request in enumerate(requests):
        theirs, ours = (play(speaker, request) for speaker in speakers)
        assert ours == theirs, f"to {request!r} behind {requests[:number]!r}"
    after = [speaker.counters() for speaker in speakers]
    theirs, ours = ({name: end[name] - start[name] for name in COUNTED} for start, end in zip(before, after, strict=True))
    assert ours == theirs, f"after {requests!r}"


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_lines_are_answered_alike(speakers, seed):
    source = Text(random.Random(seed).choice)
    agree(speakers, Speaker.ask, [source.request() for _ in range(REQUESTS)])


def random_frame(choice):
    """Opcode, key, value, extras and CAS of a well-formed frame."""
    opcode = choice([0, 1, 1, 2, 3, 4, 5, 6, 9, 0xC, 0xD, 0xE, 0xF, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x19, 0x1A])
    opcode = choice([opcode] * 4 + [0x1C, 0x1D, 0x1E, 0x23, 0x24])
    key, cas, value, extras = choice(KEYS), choice([0, 0, 0, 7, "right", "right"]), b"", b""
    time = choice([0, 0, 1000, 2592001, 4_000_000_000])
    if opcode in (1, 2, 3, 0x11, 0x12, 0x13):
        extras, value = struct.pack(">II", choice([0, 5, 2**32 - 1]), time), choice(VALUES)
    elif opcode in (5, 6, 0x15, 0x16):
        numbers = [0, 1, 5, 2**64 - 1]
        extras = struct.pack(">QQI", choice(numbers), choice(numbers), choice([time, 2**32 - 1]))
    elif opcode in (0xE, 0xF, 0x19, 0x1A):
        value = choice(ADDED)
    elif opcode in (0x1C, 0x1D, 0x1E, 0x23, 0x24):
        extras = struct.pack(">I", time)
    return opcode, key, value, extras, cas


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_frames_are_answered_alike(speakers, seed):
    choice = random.Random(seed).choice
    requests = [random_frame(choice) for _ in range(REQUESTS)]
    agree(speakers, lambda speaker, request: speaker.ask_frames(*request), requests)


def test_what_the_conversations_consist_of_is_worth_comparing(speakers):
    """Most requests are understood: of a thousand lines few get an error, and every reply there is comes up."""
    source = Text(random.Random(1).choice)
    said = [speakers[1].ask(source.request()) for _ in range(1000)]
    first = {re.split(rb"[ \r]", reply)[0] for reply in said}
    assert first >= set(b"STORED NOT_STORED EXISTS NOT_FOUND VALUE END HD EN NF NS EX VA MN ME DELETED TOUCHED".split())
    assert sum(b"ERROR" in reply for reply in said) < 200
    frames = [speakers[1].ask_frames(*random_frame(random.Random(seed).choice)) for seed in range(300)]
    assert sum(got[1] == OK for replies in frames for got in replies) > 50
