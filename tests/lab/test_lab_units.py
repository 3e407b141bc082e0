"""The units beside the main one, the drop-ins and the sockets that the package brings, with a real systemd."""

import contextlib
import json
import re
import socket
import threading

import pytest

from nodes import wait_until

EXAMPLES = "/usr/share/doc/paircached/paircached.service.d"
DROP_INS = "/etc/systemd/system"
SECRET = "/root/secret-of-two-instances"
ONE, OTHER = 11311, 11411


@pytest.fixture
def instances(pair):
    """Two daemons of one host that are each other's peers; the secret comes from systemd, out of a file for root alone."""
    node = pair.node1
    # systemd hands credentials over by a mount that has to propagate, and docker's mounts do not by themselves.
    node.run("mount --make-rshared /")
    node.run(f"umask 077; echo 'of two instances on one host' >{SECRET}")
    for port, peer, name in [(ONE, OTHER, "a"), (OTHER, ONE, "b")]:
        toml = rf'[replication]\npeer = "127.0.0.1:{peer + 1}"\nport = {port + 1}\nlisten = ["127.0.0.1"]\nnode = "{name}"\n'
        node.run(f"printf '{toml}' >/etc/paircached/{port}.toml")
        node.run(f"echo 'CACHESIZE=\"{port % 97 + 16}\"' >/etc/sysconfig/memcached.{port}")
    drop_in = f"{DROP_INS}/paircached@.service.d"
    node.run(f"mkdir -p {drop_in} && sed 's:/etc/paircached/secret:{SECRET}:' {EXAMPLES}/30-secret.conf.example >{drop_in}/30-secret.conf")
    units = f"paircached@{ONE} paircached@{OTHER}"
    try:
        node.run(f"systemctl daemon-reload && systemctl start {units}")
        yield node
    finally:
        node.run(
            f"systemctl stop {units}; rm -rf {drop_in} {SECRET} /etc/paircached/{{{ONE},{OTHER}}}.toml"
            f" /etc/sysconfig/memcached.{{{ONE},{OTHER}}}; systemctl daemon-reload"
        )


def ask(node, port, request, end=b"\r\n"):
    with socket.create_connection((node.address, port), 10) as client:
        client.sendall(request)
        answer = b""
        while not answer.endswith(end):
            part = client.recv(65536)
            assert part, f"hung up after {answer!r}"
            answer += part
        return answer


def figure(node, port, which, name):
    return re.search(rb"STAT " + name + rb" (\S+)", ask(node, port, b"stats " + which + b"\r\n", b"END\r\n"))[1].decode()


def test_two_instances_of_one_host_are_a_pair_with_a_secret_from_systemd(instances):
    node = instances
    for port in [ONE, OTHER]:
        wait_until("it is in sync", lambda: figure(node, port, b"replication", b"replication_state") == "in-sync")
        assert figure(node, port, b"replication", b"replication_sealed") == "1"
        # Each has read its own files.
        assert figure(node, port, b"settings", b"maxbytes") == str((port % 97 + 16) << 20)
    assert ask(node, ONE, b"set k 0 0 1\r\nv\r\n") == b"STORED\r\n"
    wait_until("the other has it", lambda: ask(node, OTHER, b"get k\r\n", b"END\r\n") == b"VALUE k 0 1\r\nv\r\nEND\r\n")
    # The main daemon is another one.
    assert ask(node, 11211, b"get k\r\n", b"END\r\n") == b"END\r\n"
    # The daemon is somebody else by now, who may not see the secret: a reload asks for nothing all the same.
    unit = f"paircached@{ONE}.service"
    node.run(f"systemctl reload {unit}")
    log = f"journalctl --quiet --no-pager -o cat -u {unit}"
    wait_until("the reload is over", lambda: "event=reloaded" in node.run(log))
    assert "setting=replication" not in node.run(log) and "reload_failed" not in node.run(log)
    assert figure(node, ONE, b"replication", b"replication_state") == "in-sync"


@pytest.fixture
def drop_in(pair):
    """drop_in(node, unit, name, text) adds a drop-in to a unit; all go in the end, and both units are as they were."""
    added = []

    def add(node, unit, name, content):
        directory = f"{DROP_INS}/{unit}.d"
        node.run(f"mkdir -p {directory} && {content} >{directory}/{name} && systemctl daemon-reload")
        added.append((node, f"{directory}/{name}"))

    yield add
    for node, path in added:
        node.run(f"rm {path}; systemctl disable --now paircached.socket 2>/dev/null; systemctl daemon-reload")
        node.run("systemctl stop paircached.socket; systemctl restart paircached.service")
    pair.wait_until_in_sync()


def test_with_the_drop_in_for_user_the_daemon_is_never_root(pair, drop_in):
    node = pair.node2
    drop_in(node, "paircached.service", "10-user.conf", f"cat {EXAMPLES}/10-user.conf.example")
    node.run("systemctl restart paircached.service")
    pair.wait_until_in_sync()
    assert node.unit("User") == "memcached"
    status = node.run(f"cat /proc/{node.unit('MainPID')}/status")
    assert re.search(r"^CapBnd:\s+0+$", status, re.M) and re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    assert node.run("stat -c %U /run/memcached") == "memcached"
    items = {f"U-{number}": "v" for number in range(100)}
    assert node.write(items) == []
    pair.wait_until_both_hold(items)
    process = node.unit("MainPID")
    node.run("systemctl reload paircached.service")
    wait_until("the reload is over", lambda: "event=reloaded" in node.run(
        f"journalctl --quiet --no-pager -o cat -u paircached.service _PID={process}"))
    assert node.failed_units() == ""


class Customers:
    """Clients that make a connection for each request, and count those that were turned away."""

    def __init__(self, address):
        self.address, self.served, self.turned_away = address, 0, []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.come) for _ in range(4)]

    def come(self):
        while not self.over.is_set():
            connected = False
            try:
                with socket.create_connection(self.address, 60) as client:
                    connected = True
                    client.sendall(b"version\r\n")
                    if client.recv(100).startswith(b"VERSION"):
                        self.served += 1
            except OSError as error:
                # One that was being served when the daemon stopped may lose its connection, as ever.
                if not connected:
                    self.turned_away.append(repr(error))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


def test_with_its_socket_unit_a_restart_refuses_nobody(pair, drop_in):
    node = pair.node2
    drop_in(node, "paircached.socket", "here.conf", r"printf '[Socket]\nListenStream=\nListenStream=0.0.0.0:11211\n'")
    node.run("systemctl stop paircached.service && systemctl enable --now paircached.socket && systemctl start paircached.service")
    pair.wait_until_in_sync()
    with Customers((node.address, 11211)) as customers:
        for _ in range(3):
            served, process = customers.served, node.unit("MainPID")
            node.run("systemctl restart paircached.service")
            assert node.unit("MainPID") != process
            wait_until("customers are served again", lambda before=served: customers.served > before + 100)
        # Nor while it is down: they wait, and the socket's unit starts it for them.
        node.run("systemctl stop paircached.service", check=False)
        served = customers.served
        wait_until("they are served without anybody starting it", lambda: customers.served > served + 100)
    assert customers.turned_away == []


def test_without_its_socket_unit_a_restart_does_refuse_some(pair):
    """So the test before can fail."""
    node = pair.node2
    with Customers((node.address, 11211)) as customers:
        node.run("systemctl stop paircached.service")
        wait_until("somebody is refused", lambda: customers.turned_away)
        node.run("systemctl start paircached.service")
    pair.wait_until_in_sync()


def entries(node, since, *matches):
    """What the journal has of the daemon since then, as (priority, facility, event)."""
    lines = node.run(f"journalctl --quiet --no-pager -o json --since=@{since} -t paircached {' '.join(matches)}")
    found = [json.loads(line) for line in lines.splitlines()]
    return [(entry["PRIORITY"], entry.get("SYSLOG_FACILITY"), entry["MESSAGE"]) for entry in found]


def now(node):
    return node.run("date +%s.%6N")


@pytest.fixture
def edited(pair):
    """node2, whose files are put back afterwards."""
    node = pair.node2
    files = "/etc/paircached/paircached.toml /etc/sysconfig/memcached"
    node.run(f"for file in {files}; do cp -a $file /root/$(basename $file).kept; done")
    yield node
    node.run(f"for file in {files}; do cp -a /root/$(basename $file).kept $file; done; systemctl restart paircached.service")
    pair.wait_until_in_sync()


def test_the_journal_knows_how_grave_each_event_is(pair, edited):
    node, since = edited, now(edited)

    def logged(priority, event):
        return any(found[0] == priority and event in found[2] for found in entries(node, since))

    node.run("sed -i s/MAXCONN=.*/MAXCONN=2048/ /etc/sysconfig/memcached && systemctl reload paircached.service")
    wait_until("news are news", lambda: logged("6", "event=reloaded"))
    wait_until("what could not change is a warning", lambda: logged("4", "event=reload setting=max_connections kept="))
    node.run("echo nonsense >>/etc/paircached/paircached.toml && systemctl reload paircached.service")
    wait_until("a faulty file is an error", lambda: logged("3", "event=reload_failed"))
    assert not any(re.match(r"<\d>", event) for _, _, event in entries(node, since))


def test_syslog_files_events_under_the_facility_that_is_chosen(pair, edited):
    node, since = edited, now(edited)
    node.run(r"""sed -i '/^\[log\]/a target = "syslog"\nfacility = "local3"' /etc/paircached/paircached.toml""")
    node.run("systemctl restart paircached.service")
    local3 = "19"

    def logged(priority, event):
        return any(found[:2] == (priority, local3) and event in found[2] for found in entries(node, since, "_TRANSPORT=syslog"))

    wait_until("the start is there", lambda: logged("6", "event=started"))
    node.run("sed -i s/MAXCONN=.*/MAXCONN=2048/ /etc/sysconfig/memcached && systemctl reload paircached.service")
    wait_until("warnings are there as such", lambda: logged("4", "event=reload setting=max_connections"))


def test_strangers_at_the_peers_port_fill_no_journal(pair):
    node, since = pair.node2, now(pair.node2)
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection((node.address, 11212), 10) as stranger:
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
            stranger.shutdown(socket.SHUT_WR)
            stranger.recv(100)
    wait_until("all were counted", lambda: int(node.stats("replication")["replication_refused"]) >= 200)
    assert len([entry for entry in entries(node, since) if "replication_refused" in entry[2]]) <= 2
