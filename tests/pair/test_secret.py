"""Who may be the peer, shown by real daemons and by strangers."""

import contextlib
import signal
import socket
import time

import pytest

from conftest import eventually, free_port

SECRET = "correct horse battery staple"


@pytest.fixture
def secret(tmp_path):
    """Writes a secret and returns the options that name its file."""

    def write(text, name="secret"):
        file = tmp_path / name
        file.write_text(text)
        file.chmod(0o600)
        return [f"--secret-file={file}"]

    return write


@pytest.fixture
def sealed_pair(nodes, secret):
    made = nodes(secret(SECRET), secret(SECRET + "\n", "other"))
    for node in made:
        eventually("both are in sync", node.in_sync)
    return made


class Relay:
    """Passes connections on to a node and keeps what was said."""

    def __init__(self, target):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target = target
        self.said = []

    def pass_on(self, seconds):
        """Passes one connection on for a while; what each side said is kept."""
        import selectors

        self.listener.settimeout(20)
        near = self.listener.accept()[0]
        far = socket.create_connection(("127.0.0.1", self.target))
        streams = {near: (far, bytearray()), far: (near, bytearray())}
        with selectors.DefaultSelector() as ready:
            for stream in streams:
                ready.register(stream, selectors.EVENT_READ)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for key, _ in ready.select(0.05):
                    data = key.fileobj.recv(1 << 16)
                    if not data:
                        end = 0
                        break
                    streams[key.fileobj][1].extend(data)
                    streams[key.fileobj][0].sendall(data)
        self.said = [bytes(streams[near][1]), bytes(streams[far][1])]
        near.close()
        far.close()

    def close(self):
        self.listener.close()


def refused_by_both(nodes, reasons):
    for node, reason in zip(nodes, reasons, strict=True):
        eventually(f"{reason!r} is given", lambda node=node, reason=reason: reason in node.replication("reason"))
        assert node.replication("state") == "refused"


def test_two_that_know_the_secret_replicate_values_of_every_size_both_ways(sealed_pair):
    a, b = sealed_pair
    sizes = [0, 1, 1_000, 65_519, 65_520, 131_072, 1_000_000]
    for turn, size in enumerate(sizes):
        sealed_pair[turn % 2].set(b"k%d" % size, b"x" * size)
    for node in (a, b):
        eventually("all arrived", lambda node=node: all(node.get(b"k%d" % s) == b"x" * s for s in sizes))
        assert node.replication("sealed") == "1"
        assert "replication_unprotected" not in node.log()


def test_a_reload_asks_for_nothing_where_the_secret_came_from_systemd_and_is_out_of_sight(tmp_path, nodes, secret, monkeypatch):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "paircached.secret").write_text(SECRET)
    (credentials / "paircached.secret").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    made = nodes([], [])
    for node in made:
        eventually("it is in sync", node.in_sync)
        assert node.replication("sealed") == "1"
    # As it is for a daemon that became somebody else after systemd had started it as root.
    credentials.rename(tmp_path / "out-of-sight")
    made[0].send(signal.SIGHUP)
    eventually("the reload is over", lambda: "event=reloaded" in made[0].log())
    assert "event=reload " not in made[0].log() and "reload_failed" not in made[0].log()


def links_made(node):
    return int(node.replication("resyncs_full")) + int(node.replication("resyncs_delta"))


def test_a_new_secret_is_taken_by_a_reload_for_the_next_link_and_the_one_that_is_there_goes_on(nodes, secret, tmp_path):
    owner = tmp_path / "owner.toml"
    owner.write_text('[replication]\natomic_ops = "owner"\n')
    options = [f"--config={owner}"]
    sealed_pair = a, b = nodes([*secret(SECRET), *options], [*secret(SECRET, "other"), *options])
    for node in sealed_pair:
        # Of two links that were made at once one gives way; the owners decide when that can't be any more.
        eventually("the link is there to stay", lambda node=node: node.replication("owners_decide") == "1")
    made = links_made(a)
    for node, file in [(a, "secret"), (b, "other")]:
        (tmp_path / file).write_text("a wholly different secret")
        node.send(signal.SIGHUP)
        eventually("it is read", lambda node=node: "event=reload setting=secret" in node.log())
    a.set(b"k", b"v")
    eventually("the link goes on", lambda: b.get(b"k") == b"v")
    assert links_made(a) == made
    b.kill()
    b.start()
    for node in sealed_pair:
        eventually("they meet with the new secret", node.in_sync)
    b.kill()
    (tmp_path / "other").write_text(SECRET)
    b.start()
    refused_by_both(sealed_pair, ["another shared secret"] * 2)


def test_a_secret_that_cannot_be_read_again_leaves_the_one_from_before(sealed_pair, tmp_path):
    a, b = sealed_pair
    (tmp_path / "secret").unlink()
    a.send(signal.SIGHUP)
    eventually("the fault is told", lambda: 'kept="the secret from before"' in a.log())
    assert "cannot be read" in a.log() and "let the daemon's user read it" in a.log()
    b.kill()
    b.start()
    for node in sealed_pair:
        eventually("they meet with it", node.in_sync)


def test_nothing_that_is_stored_can_be_read_on_the_wire(nodes, secret):
    a, b = nodes(secret(SECRET), secret(SECRET, "other"), start=False)
    relay = Relay(b.link)
    a.command[a.command.index("-X") + 1] = f"{a.link}:{relay.port}"
    b.command[b.command.index("-X") + 1] = f"{b.link}:{free_port()}"
    a.start()
    b.start()
    a.set(b"the-key", b"the-value")
    relay.pass_on(2)
    relay.close()
    assert b.get(b"the-key") == b"the-value"
    assert len(relay.said[0]) > 100
    for said in relay.said:
        assert b"the-key" not in said and b"the-value" not in said and b"default" not in said


def test_what_was_recorded_of_a_link_is_of_no_use_to_others(nodes, secret):
    a, b = nodes(secret(SECRET), secret(SECRET, "other"), start=False)
    relay = Relay(b.link)
    a.command[a.command.index("-X") + 1] = f"{a.link}:{relay.port}"
    b.command[b.command.index("-X") + 1] = f"{b.link}:{free_port()}"
    a.start()
    b.start()
    a.set(b"k", b"v")
    relay.pass_on(2)
    relay.close()
    a.kill()
    b.ask(b"delete k\r\n", b"\r\n")
    with socket.create_connection(("127.0.0.1", b.link), 10) as thief:
        thief.sendall(relay.said[0])
        answer = b""
        with contextlib.suppress(OSError):
            while piece := thief.recv(1 << 16):
                answer += piece
    # A new proof and nothing behind it: 5 bytes of header and 48 of proof.
    assert len(answer) == 53
    assert b.get(b"k") is None
    assert b.replication("state") == "connecting"
    assert "sealed with another secret" in b.log()


def test_another_secret_is_refused_by_both_with_the_reason(nodes, secret):
    made = nodes(secret(SECRET), secret("correct horse battery stable", "other"))
    refused_by_both(made, ["another shared secret"] * 2)
    assert all("its proof is wrong" in node.log() for node in made)
    made[0].set(b"k", b"v")
    assert made[1].get(b"k") is None


def test_a_secret_on_one_node_only_is_refused_by_both_with_the_reason(nodes, secret):
    made = nodes(secret(SECRET), [])
    refused_by_both(made, ["one node has a shared secret and the other has none", "hung up on this node's introduction"])
    assert "no proof of the shared secret" in made[0].log()


def config(tmp_path, name, text):
    file = tmp_path / f"{name}.toml"
    file.write_text(f"[replication]\n{text}\n")
    return [f"--config={file}"]


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    "settings, reason",
    [
        (('cluster = "blue"', 'cluster = "green"'), 'belongs to cluster "'),
        (('node = "a"', 'node = "a"'), "both are configured as node a"),
    ],
)
def test_another_cluster_and_the_same_node_are_refused_by_both_with_the_reason(
    nodes, secret, tmp_path, sealed, settings, reason
):
    extra = secret(SECRET) if sealed else []
    made = nodes(*([*config(tmp_path, name, text), *extra] for name, text in zip("ab", settings, strict=True)))
    refused_by_both(made, [reason] * 2)


@pytest.mark.parametrize("said", [b"", b"\0" * 5000, b"\x30\0\0\0\x09" + b"\1" * 48, b"get k\r\n", b"\xff" * 64])
def test_a_stranger_gets_no_answer_at_all(sealed_pair, said):
    with socket.create_connection(("127.0.0.1", sealed_pair[0].link), 10) as stranger:
        answer = b""
        with contextlib.suppress(OSError):
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            answer = stranger.recv(1 << 16)
    assert answer == b""
    for node in sealed_pair:
        eventually("both are in sync", node.in_sync)


def test_strangers_that_only_wait_keep_the_peer_out_for_no_moment_and_are_logged_once(nodes, secret):
    made = nodes(secret(SECRET), secret(SECRET, "other"), start=False)
    made[0].start()
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", made[0].link), 10))
        made[1].start()
        for node in made:
            eventually("they found each other", node.in_sync, 5)
    eventually("all who left are counted", lambda: int(made[0].replication("refused")) >= 300)
    assert made[0].log().count("event=replication_refused") == 1


def test_strangers_that_make_room_for_others_all_the_time_are_seen(nodes, secret):
    made = nodes(secret(SECRET), secret(SECRET, "other"), start=False)
    made[0].start()
    with contextlib.ExitStack() as stack:
        # None of them is there for long enough to be late.
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", made[0].link), 10))
        eventually("those who had to go are counted", lambda: int(made[0].replication("refused")) >= 100)
        assert "when more than 64 wanted to" in made[0].log()
