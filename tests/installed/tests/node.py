"""A client for the tests: it sends bytes, and reads what comes until it ends as it should."""

import os
import socket
import time
import unittest
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
# For a connection, and for what takes a node a moment.
PATIENCE = 20

# Set by run-tests.
SERVER = None
PEER = None


class Address:
    def __init__(self, text):
        host, colon, port = text.rpartition(":")
        if not colon or port.endswith("]"):
            host, port = text, "11211"
        self.host, self.port = host.strip("[]"), int(port)

    def __str__(self):
        return f"{self.host}:{self.port}"


class Client:
    def __init__(self, address=None):
        address = address or SERVER
        self.socket = socket.create_connection((address.host, address.port), PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, request, end=b"\r\n"):
        """The answer up to its end."""
        self.socket.sendall(request)
        answer = b""
        while not answer.endswith(end):
            part = self.socket.recv(65536)
            if not part:
                raise AssertionError(f"it hung up after {answer!r}")
            answer += part
        return answer

    def read(self, length):
        answer = b""
        while len(answer) < length:
            part = self.socket.recv(length - len(answer))
            if not part:
                raise AssertionError(f"it hung up after {answer!r}")
            answer += part
        return answer

    def stats(self, which=b""):
        lines = self.ask(b"stats " + which + b"\r\n" if which else b"stats\r\n", b"END\r\n").decode().splitlines()
        return dict(line.split(" ", 2)[1:] for line in lines if line.count(" ") >= 2)


def why_not(address):
    """What keeps these tests from talking to a daemon, or nothing."""
    try:
        with Client(address) as client:
            answer = client.ask(b"version\r\n")
    except (OSError, AssertionError) as error:
        return f"does not answer: {error}"
    if answer.startswith(b"CLIENT_ERROR unauthenticated"):
        return "asks for a password, which these tests have not"
    return None if answer.startswith(b"VERSION ") else f"is no memcached: {answer!r}"


class NodeTest(unittest.TestCase):
    """A connection, and keys of the test's own."""

    def setUp(self):
        self.client = Client()
        self.addCleanup(self.client.socket.close)
        self.name = f"paircached-tests:{os.urandom(8).hex()}".encode()

    def says(self, request, answer):
        """The request, in which KEY stands for a key of this test, gets exactly this answer."""
        request, answer = (text.replace(b"KEY", self.name) for text in (request, answer))
        self.assertEqual(self.client.ask(request, answer[-2:] if len(answer) < 5 else answer[-5:]), answer)

    def eventually(self, what, holds):
        end = time.monotonic() + PATIENCE
        while not holds():
            self.assertLess(time.monotonic(), end, f"in {PATIENCE} s never came true: {what}")
            time.sleep(0.02)
