"""A raw client, and tables of what to send and which bytes must come back."""

import select
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

PATIENCE = 20.0  # seconds any single condition may take before the test fails
A_MOMENT = 0.3  # seconds to be sure that nothing more comes, in tests about to fail
RULES_OF_1_6_45 = (1, 6, 45)


@dataclass(frozen=True)
class Case:
    """One row: send these bytes, and exactly those come back.

    `expect` is what 1.6.45 says, and so what paircached must say. `old` is what
    an older memcached says where that differs, and `why` tells what changed.
    `closed` means that the server hangs up after that.
    """

    name: str
    send: bytes
    expect: bytes
    old: bytes | None = None
    why: str = ""
    closed: bool = False
    old_closed: bool | None = None

    def __post_init__(self):
        assert self.old is None and self.old_closed is None or self.why, self.name

    def for_version(self, version):
        """The bytes expected, and whether the connection is closed after them."""
        expect, closed = self.expect, self.closed
        if version < RULES_OF_1_6_45:
            expect = expect if self.old is None else self.old
            closed = closed if self.old_closed is None else self.old_closed
        return expect, closed


def table(*rows):
    """Parametrize a test over the rows, under their names."""
    names = [row.name for row in rows]
    assert len(set(names)) == len(names), "two rows of one name"
    return pytest.mark.parametrize("case", rows, ids=names)


def eventually(what, condition, patience=PATIENCE, pause=0.01):
    """Wait until the condition gives something true, and return that."""
    deadline = time.monotonic() + patience
    while True:
        if result := condition():
            return result
        assert time.monotonic() < deadline, f"in {patience} s never came true: {what}"
        time.sleep(pause)


class Client:
    """A connection that shows every byte."""

    def __init__(self, server, patience=PATIENCE):
        self.server = server
        self.socket = server.connect(patience)
        self.seen = bytearray()  # received and not yet asked for

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _more(self):
        """False at end of file; a reset is one too, it only comes ruder."""
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        except TimeoutError:
            raise AssertionError(f"the server went quiet after {bytes(self.seen[-300:])!r}") from None
        self.seen += data
        return bool(data)

    def _take(self, size):
        data = bytes(self.seen[:size])
        del self.seen[:size]
        return data

    def read(self, size):
        """Exactly so many bytes, or what came before the server hung up."""
        while len(self.seen) < size and self._more():
            pass
        return self._take(size)

    def read_until(self, end):
        """Up to and including the bytes of `end`, or all before the server hung up."""
        while (at := self.seen.find(end)) < 0 and self._more():
            pass
        size = at + len(end) if at >= 0 else len(self.seen)
        return self._take(size)

    def line(self):
        return self.read_until(b"\r\n")

    def rest(self):
        """Everything up to the end of the connection."""
        while self._more():
            pass
        return self._take(len(self.seen))

    def ask(self, data, expect):
        """Send, and require exactly these bytes and nothing after them."""
        said = self.talk(data, len(expect))
        assert said == expect, f"to {data[:300]!r}"

    def talk(self, data, at_least=0):
        """Send, and return all that comes back: up to the answer of a `version` sent behind.

        That answer may be in the reply itself, so one that comes too early is given a moment.
        """
        self.send(data + b"version\r\n")
        mark = b"VERSION " + self.server.version_text + b"\r\n"
        while not self.seen.endswith(mark) or len(self.seen) < at_least + len(mark):
            early = self.seen.endswith(mark)
            if early and not select.select([self.socket], [], [], A_MOMENT)[0]:
                break
            if not self._more():
                raise AssertionError(f"the server hung up after {bytes(self.seen[-300:])!r}")
        return self._take(len(self.seen))[: -len(mark)]

    def play(self, case):
        """Play one row of a table."""
        expect, closed = case.for_version(self.server.version)
        if closed:
            self.send(case.send)
            said = self.rest()
            assert said == expect
        else:
            self.ask(case.send, expect)

    def stats(self, what=b""):
        """A dictionary of the STAT lines, in their order."""
        self.send(b"stats " + what + b"\r\n" if what else b"stats\r\n")
        found = {}
        while (line := self.line()) != b"END\r\n":
            assert line.startswith(b"STAT ") and line.endswith(b"\r\n"), line
            name, _, value = line[5:-2].partition(b" ")
            assert name.decode() not in found, f"twice: {line!r}"
            found[name.decode()] = value.decode()
        return found

    def digested(self):
        """True once the server has read every byte sent (Linux shows its receive queue)."""
        here, there = (_hex(address) for address in (self.socket.getsockname(), self.socket.getpeername()))
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if (fields[1], fields[2]) == (there, here):
                return fields[4].split(":")[1] == "00000000"
        return True


def _hex(address):
    """An address as /proc/net/tcp prints it."""
    number = int.from_bytes(socket.inet_aton(address[0]), "little")
    return f"{number:08X}:{address[1]:04X}"


def stored(key, value, flags=0, exptime=0, verb="set"):
    """The bytes that store a value."""
    if isinstance(value, str):
        value = value.encode()
    return f"{verb} {key} {flags} {exptime} {len(value)}\r\n".encode() + value + b"\r\n"
