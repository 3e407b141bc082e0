"""A node of the lab as the tests see it: a shell on it, and its cache from outside."""

import contextlib
import os
import pathlib
import shlex
import socket
import subprocess
import time

import memcache

TOP = pathlib.Path(__file__).resolve().parents[2]
PORT = 11211


def lab(*arguments, minutes):
    """Runs vagrant/lab and returns what it printed, which is also shown if it fails."""
    done = subprocess.run(
        [TOP / "vagrant" / "lab", *arguments], timeout=minutes * 60,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    assert done.returncode == 0, f"vagrant/lab {arguments} ended with {done.returncode}:\n{done.stdout[-20000:]}"
    return done.stdout


def vagrant(*arguments, minutes):
    """Runs vagrant itself, as whoever uses the lab does, and returns what it printed."""
    environment = os.environ | {
        "VAGRANT_DEFAULT_PROVIDER": "docker", "LAB_REPO": str(TOP / "target/lab/repo"),
        "PATH": f"{TOP / 'target/venv/bin'}:{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        ["vagrant", *arguments], cwd=TOP / "vagrant", env=environment, timeout=minutes * 60,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"vagrant {arguments} ended with {done.returncode}:\n{done.stdout[-20000:]}"
    return done.stdout


def wait_until(what, condition, seconds=30):
    """Returns what the condition gave as soon as that is true; fails if it never is."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def bytes_of(exchange):
    return exchange.replace("\n", "\r\n").encode()


class Node:
    def __init__(self, name, address, ssh_config):
        self.name = name
        self.address = address
        self.ssh_config = ssh_config

    def __repr__(self):
        return self.name

    def run(self, command, check=True, seconds=120):
        """Runs a shell command as root on the node and returns what it printed."""
        done = subprocess.run(
            ["ssh", "-F", self.ssh_config, self.name, "sudo", "bash", "-c", shlex.quote(command)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{self}: `{command}` ended with {done.returncode}:\n{done.stdout}")
        return done.stdout.strip()

    def run_as_user(self, command, seconds=120):
        """The same as whoever logs in, and not as root."""
        done = subprocess.run(
            ["ssh", "-F", self.ssh_config, self.name, command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
        )
        assert done.returncode == 0, f"{self}: `{command}` ended with {done.returncode}:\n{done.stdout}"
        return done.stdout.strip()

    def unit(self, key):
        return self.run(f"systemctl show --value -p {key} paircached.service")

    def failed_units(self):
        return self.run("systemctl --failed --plain --no-legend")

    def errors_in_journal(self, since):
        return self.run(f"journalctl --quiet --no-pager -p err -u paircached.service --since @{since:.3f}")

    def talk(self, request, end):
        """Sends the lines of a request as they are and returns the reply up to the line that ends it."""
        with socket.create_connection((self.address, PORT), timeout=10) as connection:
            connection.sendall(bytes_of(request))
            reply = b""
            while not reply.endswith(bytes_of(end)):
                part = connection.recv(65536)
                if not part:
                    raise AssertionError(f"{self} hung up after {reply!r}")
                reply += part
        return reply.decode().replace("\r\n", "\n")

    def client(self):
        # dead_retry=0: this client must ask the node each time, and not remember that it was down.
        return memcache.Client([f"{self.address}:{PORT}"], socket_timeout=10, dead_retry=0)

    def write(self, items):
        """Sets every item, one after the other, and returns the keys that the node did not take."""
        client = self.client()
        refused = [key for key, value in items.items() if not client.set(key, value)]
        client.disconnect_all()
        return refused

    def delete(self, keys):
        client = self.client()
        refused = [key for key in keys if not client.delete(key)]
        client.disconnect_all()
        return refused

    def read(self, keys):
        """What the node holds of these keys."""
        client, found, keys = self.client(), {}, list(keys)
        for start in range(0, len(keys), 1000):
            found.update(client.get_multi(keys[start:start + 1000]))
        client.disconnect_all()
        return found

    def stats(self, which=""):
        """The statistics that the node gives, or none of them while it gives none."""
        try:
            reply = self.talk(f"stats {which}".strip() + "\n", end="END\n")
        except OSError:
            return {}
        return dict(line.split(" ", 2)[1:] for line in reply.splitlines() if line.count(" ") >= 2)

    def is_in_sync(self):
        try:
            state = self.stats("replication")
        except AssertionError:
            return False
        return state.get("replication_state") == "in-sync" and state.get("replication_filled") == "1"


class Pair:
    def __init__(self, node1, node2):
        self.node1 = node1
        self.node2 = node2
        self.nodes = (node1, node2)

    def wait_until_in_sync(self, seconds=60):
        for node in self.nodes:
            wait_until(f"{node} is in sync", node.is_in_sync, seconds)

    def wait_until_both_hold(self, items, seconds=60):
        """All of these items with these values, and where the value is None, no such key."""
        expected = {key: value for key, value in items.items() if value is not None}
        for node in self.nodes:
            difference = None

            def holds():
                nonlocal difference
                found = node.read(items)
                difference = [(key, items[key], found.get(key)) for key in items if found.get(key) != items[key]]
                return found == expected

            try:
                wait_until("", holds, seconds)
            except AssertionError:
                raise AssertionError(
                    f"{node} differs in {len(difference)} of {len(items)} keys; (key, expected, found): {difference[:5]}"
                ) from None

    def forget_everything(self):
        """Empties both nodes, so that no test reads what another one wrote."""
        mark = {"forgotten-mark": str(time.time())}
        assert self.node1.write(mark) == []
        self.wait_until_both_hold(mark)
        for node in self.nodes:
            assert node.talk("flush_all\n", end="\n") == "OK\n"
        self.wait_until_both_hold({"forgotten-mark": None})

    @contextlib.contextmanager
    def cut(self):
        """A firewall that lets nothing through between the nodes, while clients reach both."""
        rules = [f"INPUT -s {self.node1.address} -j DROP", f"OUTPUT -d {self.node1.address} -j DROP"]
        for rule in rules:
            self.node2.run(f"iptables -I {rule}")
        try:
            yield
        finally:
            for rule in rules:
                self.node2.run(f"iptables -D {rule}")
