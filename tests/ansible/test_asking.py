"""How the role asks daemons that want TLS or a password of their clients: two real ones, on the ports of two "hosts"."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import trustme
from conftest import ANSIBLE, HERE, ROLE

PROGRAMS = ANSIBLE.parent / "target" / "debug"
PASSWORDS = "operator:a pass word\nsomebody:else\n"
CA = trustme.CA()
# On a machine with nothing else to do it is less than one.
PATIENCE = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon:
    def __init__(self, folder, link, peer_link):
        self.folder, self.port, self.links = folder, free_port(), f"{link}:{peer_link}"
        self.process = None

    def start(self, *options):
        user = ["-u", "root"] if os.geteuid() == 0 else []
        self.options = options
        command = [PROGRAMS / "paircached", "--sysconfig=-/nonexistent", "--config=-/nonexistent", *user, "-t", "2",
                   "-l", "127.0.0.1", "-p", str(self.port), "-x", "127.0.0.1", "-X", self.links, *options]  # fmt: skip
        self.process = subprocess.Popen(command, stderr=(self.folder / "log").open("a"))

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)


@pytest.fixture
def files(tmp_path):
    """Certificates and passwords, as the daemon and the role read them."""
    made = CA.issue_cert("127.0.0.1")
    (tmp_path / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(made.private_key_pem.bytes())
    (tmp_path / "ca.pem").write_bytes(CA.cert_pem.bytes())
    (tmp_path / "passwords").write_text(PASSWORDS)
    return tmp_path


@pytest.fixture
def daemons(files):
    """daemons(options): two of them with these options, replicating."""
    links = free_port(), free_port()
    made = [Daemon(files, *links), Daemon(files, *reversed(links))]

    def start(*options):
        for daemon in made:
            daemon.start(*options)
        return made

    yield start
    for daemon in made:
        daemon.stop()


def tls(files):
    return ["-Z", "-o", f"ssl_chain_cert={files}/chain.pem,ssl_key={files}/key.pem"]


def mutual(files):
    return [*tls(files), "-o", f"ssl_verify_mode=2,ssl_ca_cert={files}/ca.pem"]


def password(files):
    return ["-Y", f"{files}/passwords"]


@pytest.fixture
def ask(play, files, monkeypatch):
    """ask(daemons, entry points, variables): what the role's tasks came to."""
    monkeypatch.setenv("PATH", f"{PROGRAMS}:{os.environ['PATH']}")

    def run(daemons, *entry_points, **variables):
        hosts = {f"node{number}": {"paircached_port": daemon.port} for number, daemon in enumerate(daemons, 1)}
        extra = {"entry_points": entry_points, "dump_file": str(files / "dump")}
        variables = {"paircached_listen": ["127.0.0.1"], "paircached_health_timeout": PATIENCE} | variables
        return play(HERE / "asking.yml", hosts, extra=extra, **variables)

    return run


def by_tls(files):
    return {"paircached_options": "-Z", "paircached_check_ca": f"{files}/ca.pem"}


def by_certificate(files):
    return by_tls(files) | {"paircached_check_cert": f"{files}/chain.pem", "paircached_check_key": f"{files}/key.pem"}


def by_password(files):
    return {"paircached_check_auth_file": f"{files}/passwords"}


KINDS = {
    "plain": (lambda files: [], lambda files: {}),
    "TLS": (tls, by_tls),
    "mutual TLS": (mutual, by_certificate),
    "TLS and a password": (
        lambda files: tls(files) + password(files), lambda files: by_tls(files) | by_password(files),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["mutual TLS", "TLS and a password"])
def test_the_role_proves_dumps_and_loads(daemons, ask, files, kind):
    options, variables = KINDS[kind]
    pair = daemons(*options(files))
    run = ask(pair, "health", "whole", "verify", "dump", "load", **variables(files))
    assert run.succeeded, run.failures() or run.text
    # The two keys of the proof, which one of the two nodes dumped, were there already.
    assert (files / "dump").read_text().count("add paircached:verify:") == 2
    assert "stored 0, already there 2, expired 0, errors 0" in run.text, run.text


@pytest.mark.parametrize("kind, kept", [("TLS", 1), ("mutual TLS", 2), ("TLS and a password", 2)])
def test_without_all_of_them_it_is_not_let_in(daemons, ask, files, kind, kept):
    options, variables = KINDS[kind]
    pair = daemons(*options(files))
    lacking = dict(list(variables(files).items())[:kept])
    run = ask(pair, "health", **lacking | {"paircached_health_timeout": 1})
    assert not run.succeeded


@pytest.mark.parametrize("before, after", [("plain", "TLS"), ("TLS", "plain")])
def test_a_daemon_that_does_not_have_the_change_yet_is_asked_the_other_way(daemons, ask, files, before, after):
    pair = daemons(*KINDS[before][0](files))
    told = KINDS[after][1](files) | {"paircached_check_ca": f"{files}/ca.pem"}
    run = ask(pair, "whole", **told)
    assert run.succeeded, run.failures() or run.text


def watch(options, seconds=2):
    """What the client of failover-test.yml saw."""
    program = "".join((ROLE / "files" / name).read_text() for name in ("connect.py", "watch.py"))
    done = subprocess.run([sys.executable, "-c", program, *map(str, options), str(seconds), "watched"],
                          capture_output=True, text=True, check=True, timeout=PATIENCE)  # fmt: skip
    return json.loads(done.stdout)


def test_the_client_of_the_failover_test_is_served_with_all_of_them_alone(daemons, files):
    daemon = daemons(*tls(files), *password(files))[0]
    options = ["-s", f"127.0.0.1:{daemon.port}", "--tls", "--ca", files / "ca.pem", "--auth-file", files / "passwords"]
    # How many depends on the machine, and so does whether one takes longer than its second.
    seen = next((seen for seen in (watch(options) for _ in range(10)) if seen["requests"]), None)
    assert seen and seen["wrong"] == 0
    for less in (options[:2], options[:5], options[:2] + options[5:]):
        assert watch(less, seconds=1)["requests"] == 0
