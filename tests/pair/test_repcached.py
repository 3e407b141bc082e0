"""repcached's own command lines, to the letter, on two hosts that are namespaces of the network."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import PROGRAM, eventually

MASTER = "-d -m 2048 -p 11211 -u root -c 2048 -x 172.18.200.106 -X 16000"
MIRROR = "-d -m 2048 -p 11211 -u root -c 2048 -x 172.18.200.105 -X 16000"


def run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=20, **options)


def may_make_networks():
    tools = all(map(shutil.which, ("ip", "nsenter", "unshare")))
    return tools and subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0


class Host:
    """A network of its own, and what runs in it."""

    def __init__(self):
        self.keeper = subprocess.Popen(["unshare", "-n", "sleep", "300"])
        own = os.readlink("/proc/self/ns/net")
        eventually("it has a network of its own", lambda: self.network() not in (None, own))

    def network(self, pid=None):
        try:
            return os.readlink(f"/proc/{pid or self.keeper.pid}/ns/net")
        except OSError:
            return None

    def inside(self, *words):
        return ["nsenter", "-t", str(self.keeper.pid), "-n", *words]

    def say(self, text):
        """What the daemon at the usual port answers."""
        client = (
            "import socket,sys\n"
            "s=socket.create_connection(('127.0.0.1',11211),5)\n"
            "s.sendall(sys.argv[1].encode()+b'\\r\\nquit\\r\\n')\n"
            "print(s.makefile('rb').read().decode(),end='')\n"
        )
        done = subprocess.run(self.inside("python3", "-c", client, text), capture_output=True, text=True, timeout=20)
        return done.stdout

    def remove(self):
        own = self.network()
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and own is not None and self.network(process.name) == own:
                os.kill(int(process.name), signal.SIGKILL)
        self.keeper.wait(20)


@pytest.fixture
def hosts():
    if not may_make_networks():
        pytest.skip("needs the right to make namespaces of the network, ip, nsenter and unshare")
    made = []
    try:
        made = [Host(), Host()]
        name = f"pc{os.getpid()}"
        run("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b")
        for host, side, address in zip(made, "ab", ("172.18.200.105", "172.18.200.106"), strict=True):
            run("ip", "link", "set", f"{name}{side}", "netns", str(host.keeper.pid))
            run(*host.inside("ip", "address", "add", f"{address}/24", "dev", f"{name}{side}"))
            for device in ("lo", f"{name}{side}"):
                run(*host.inside("ip", "link", "set", device, "up"))
        yield made
    finally:
        for host in made:
            host.remove()


def test_the_command_lines_of_repcached_make_a_pair(hosts):
    for host, line in zip(hosts, (MASTER, MIRROR), strict=True):
        run(*host.inside(PROGRAM, *line.split()))
    for host in hosts:
        eventually("it is in sync", lambda host=host: "replication_state in-sync" in host.say("stats replication"))
        assert "limit_maxbytes 2147483648" in host.say("stats")
        assert "repcached_version" in host.say("stats")
    for writer, reader, key in zip(hosts, reversed(hosts), "ab", strict=True):
        assert writer.say(f"set {key} 0 0 4\r\njack") == "STORED\n"
        eventually("it arrived", lambda reader=reader, key=key: "jack" in reader.say(f"get {key}"))
