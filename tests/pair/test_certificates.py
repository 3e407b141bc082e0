"""The link sealed by certificates, shown by real daemons and by strangers."""

import contextlib
import signal
import socket
import ssl
import subprocess

import pytest
import trustme

from conftest import PROGRAM, eventually
from test_secret import refused_by_both

CA, ANOTHER_CA = trustme.CA(), trustme.CA()


class Certificates:
    """The files of a node, and its options that name them."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        self.toml = folder / "paircached.toml"

    def write(self, authority=CA, name="127.0.0.1", trusted=CA, more=""):
        made = authority.issue_cert(name)
        (self.folder / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        (self.folder / "key.pem").write_bytes(made.private_key_pem.bytes())
        (self.folder / "ca.pem").write_bytes(trusted.cert_pem.bytes())
        files = {"tls_chain_cert": "chain.pem", "tls_key": "key.pem", "tls_ca_cert": "ca.pem"}
        lines = [f'{key} = "{self.folder / file}"' for key, file in files.items()]
        self.toml.write_text("\n".join(["[replication]", *lines, more, ""]))
        # A daemon started by root becomes another user, and has to read them again.
        for file in [self.folder, *self.folder.iterdir()]:
            file.chmod(0o755)
        return [f"--config={self.toml}"]


@pytest.fixture
def certificates(tmp_path):
    return [Certificates(tmp_path / f"certificates-{name}") for name in "ab"]


@pytest.fixture
def made_out_pair(nodes, certificates):
    """Two nodes in sync whose certificates are by one authority."""
    made = nodes(*(one.write() for one in certificates))
    for node in made:
        eventually("both are in sync", node.in_sync)
    return made


def test_two_with_certificates_replicate_values_of_every_size_both_ways(made_out_pair):
    a, b = made_out_pair
    sizes = [0, 1, 1_000, 16_384, 16_385, 131_072, 1_000_000]
    for turn, size in enumerate(sizes):
        made_out_pair[turn % 2].set(b"k%d" % size, b"x" * size)
    for node in (a, b):
        eventually("all arrived", lambda node=node: all(node.get(b"k%d" % s) == b"x" * s for s in sizes))
        assert (node.replication("sealed"), node.replication("sealed_by")) == ("1", "tls")
        assert "replication_unprotected" not in node.log()


def test_a_restarted_node_is_filled_over_tls_whoever_dials(made_out_pair):
    for turn, node in enumerate(made_out_pair):
        key = b"before-%d" % turn
        made_out_pair[1 - turn].set(key, b"x" * 300_000)
        node.kill()
        node.start()
        eventually("it is filled", lambda node=node, key=key: node.in_sync() and node.get(key) == b"x" * 300_000)


def test_one_certificate_for_both_does_if_its_name_is_configured(nodes, certificates):
    name = 'tls_peer_name = "sessions.pair.example"'
    made = nodes(*(one.write(name="sessions.pair.example", more=name) for one in certificates))
    for node in made:
        eventually("both are in sync", node.in_sync)


def test_a_certificate_by_another_authority_is_refused_by_both_with_the_reason(nodes, certificates):
    made = nodes(certificates[0].write(), certificates[1].write(authority=ANOTHER_CA))
    refused_by_both(made, ["its certificate is not accepted: ", "does not accept this node's certificate"])
    made[0].set(b"k", b"v")
    assert made[1].get(b"k") is None


def test_a_certificate_for_another_name_is_refused_by_both_with_the_reason(nodes, certificates):
    made = nodes(certificates[0].write(), certificates[1].write(name="client.example"))
    refused_by_both(made, ["its certificate is not accepted: ", "does not accept this node's certificate"])
    eventually("the name is in the log", lambda: "client.example" in made[0].log())


@pytest.mark.parametrize("other", ["nothing", "a secret"])
def test_certificates_on_one_node_only_are_refused_by_both_with_the_reason(nodes, certificates, tmp_path, other):
    options = []
    if other == "a secret":
        secret = tmp_path / "secret"
        secret.write_text("correct horse battery staple")
        secret.chmod(0o600)
        options = [f"--secret-file={secret}"]
    made = nodes(certificates[0].write(), options)
    for node in made:
        eventually("it is refused", lambda node=node: node.replication("state") == "refused")
    eventually("the one says so", lambda: "no TLS and this node does" in made[0].log())
    eventually("the other too", lambda: "it speaks TLS and this node does not" in made[1].log())


def test_who_shows_no_certificate_is_told_nothing_behind_the_handshake(made_out_pair):
    context = ssl.create_default_context(cadata=CA.cert_pem.bytes().decode())
    said = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", made_out_pair[0].link), 10) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as stranger:
            assert stranger.version() == "TLSv1.3"
            while piece := stranger.recv(1 << 16):
                said += piece
    assert said == b""
    eventually("it is counted", lambda: int(made_out_pair[0].replication("refused")) > 0)
    for node in made_out_pair:
        eventually("both are in sync", node.in_sync)


def test_nothing_older_than_tls_1_3_is_spoken(made_out_pair):
    context = ssl.create_default_context(cadata=CA.cert_pem.bytes().decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", made_out_pair[0].link), 10) as plain:
        with pytest.raises(OSError):
            context.wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.mark.parametrize("said", [b"", b"\0" * 5000, b"\x30\0\0\0\x09" + b"\1" * 48, b"get k\r\n", b"\x16\3\1"])
def test_a_stranger_without_tls_gets_no_answer_at_all(made_out_pair, said):
    with socket.create_connection(("127.0.0.1", made_out_pair[0].link), 10) as stranger:
        answer = b""
        with contextlib.suppress(OSError):
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            answer = stranger.recv(1 << 16)
    assert answer == b""
    for node in made_out_pair:
        eventually("both are in sync", node.in_sync)


def test_strangers_that_only_wait_keep_the_peer_out_for_no_moment_and_are_logged_once(nodes, certificates):
    made = nodes(*(one.write() for one in certificates), start=False)
    made[0].start()
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", made[0].link), 10))
        made[1].start()
        for node in made:
            eventually("they found each other", node.in_sync)
    eventually("those who left are counted", lambda: int(made[0].replication("refused")) > 50)
    assert made[0].log().count("event=replication_refused") == 1


def test_a_reload_takes_new_certificates_for_the_next_link(nodes, certificates):
    made = nodes(*(one.write() for one in certificates))
    for node in made:
        eventually("both are in sync", node.in_sync)
    for node, files in zip(made, certificates, strict=True):
        files.write(authority=ANOTHER_CA, trusted=ANOTHER_CA)
        node.send(signal.SIGHUP)
        eventually("they are loaded", lambda node=node: "event=link_certificates_loaded by=SIGHUP" in node.log())
        eventually("the link that is there goes on", node.in_sync)
    made[1].kill()
    made[1].start()
    for node in made:
        eventually("both are in sync again", node.in_sync)


def test_a_reload_of_a_broken_file_keeps_what_is_in_use(made_out_pair, certificates):
    (certificates[0].folder / "key.pem").write_text("nothing of the kind")
    made_out_pair[0].send(signal.SIGHUP)
    eventually("that is said", lambda: "event=link_certificates_failed" in made_out_pair[0].log())
    made_out_pair[1].kill()
    made_out_pair[1].start()
    eventually("they meet as before", made_out_pair[1].in_sync)


def check(options):
    """What the check of a configuration says, and its exit status."""
    run = subprocess.run(
        [PROGRAM, "--sysconfig=-/nonexistent", "-x", "192.0.2.2", "--check-config", *options],
        capture_output=True,
        text=True,
        timeout=20,
    )
    return run.stdout + run.stderr, run.returncode


def test_files_that_cannot_be_used_are_named_before_the_start(certificates):
    one, other = certificates
    assert check(one.write(name="192.0.2.2"))[1] == 0
    other.write()
    for file, text, expected in [
        ("chain.pem", "", "there is no certificate in PEM in it"),
        ("key.pem", (other.folder / "key.pem").read_text(), "it is not the key of the certificate"),
        ("ca.pem", None, "No such file"),
    ]:
        options = one.write(name="192.0.2.2")
        path = one.folder / file
        path.write_text(text) if text is not None else path.unlink()
        said, status = check(options)
        assert status == 78 and str(path) in said and expected in said, said


@pytest.mark.parametrize(
    "more, expected",
    [
        ('secret_file = "/nonexistent/secret"', "sealed twice: by certificates and by a secret"),
        ('tls_peer_name = "not a name"', "not a name is no name or address that a certificate can have"),
    ],
)
def test_settings_that_do_not_go_together_are_named_before_the_start(certificates, more, expected):
    said, status = check(certificates[0].write(more=more))
    assert status == 78 and expected in said, said


def test_a_part_of_the_certificates_is_not_enough(certificates):
    options = certificates[0].write()
    toml = certificates[0].toml
    toml.write_text("".join(line for line in toml.read_text().splitlines(True) if "tls_key" not in line))
    said, status = check(options)
    assert status == 78 and "tls_key is not set" in said, said
