"""Certificates of TLS: which ones are taken, and how they are changed without a restart."""

import os
import signal
import ssl
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from . import daemon
from .certificates import Identity, new_authority, trusting
from .wire import RULES_OF_1_6_45, eventually

USAGE = 64


@pytest.fixture(scope="module")
def authority():
    return new_authority()


@pytest.fixture
def identity(authority, tmp_path):
    return Identity(tmp_path / "server", authority)


@pytest.fixture
def server(launch, identity, authority):
    return launch(*identity.options, tls=trusting(authority))


def shown(server):
    """The certificate that a new client is shown."""
    with server.client() as client:
        return client.socket.getpeercert(binary_form=True)


def test_refresh_certs_loads_a_new_certificate_for_new_clients(server, identity, authority):
    old = shown(server)
    with server.client() as client:
        identity.write(authority)
        assert shown(server) == old
        client.ask(b"refresh_certs\r\n", b"OK\r\n")
        client.ask(b"get key\r\n", b"END\r\n")
        assert client.socket.getpeercert(binary_form=True) == old
    assert shown(server) != old


def test_refresh_certs_takes_any_words_and_noreply(server):
    with server.client() as client:
        client.ask(b"refresh_certs and more\r\nrefresh_certs noreply\r\n", b"OK\r\n")


def test_sighup_loads_a_new_certificate(server, identity, authority):
    if server.version < RULES_OF_1_6_45:
        pytest.skip("1.6.18 has the command only")
    old = shown(server)
    identity.write(authority)
    server.signal(signal.SIGHUP)
    eventually("the new certificate is shown", lambda: shown(server) != old)
    with server.client() as client:
        assert int(client.stats()["time_since_server_cert_refresh"]) < 100


@pytest.mark.parametrize("part, word", [("chain", "the certificate chain"), ("key", "the key")])
@pytest.mark.parametrize("content", [None, b"", b"nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_cannot_be_loaded_is_named_and_the_old_certificate_stays(server, identity, part, word, content):
    old = shown(server)
    file = getattr(identity, part)
    file.unlink()
    if content is not None:
        file.write_text(content if isinstance(content, str) else content.decode())
    for noreply in (b"", b" noreply"):
        with server.client() as client:
            client.send(b"refresh_certs" + noreply + b"\r\n")
            assert client.line().startswith(f"Error loading {word}: {file} : ".encode())
    assert shown(server) == old
    if server.version >= RULES_OF_1_6_45:
        server.signal(signal.SIGHUP)
        eventually("the log says so", lambda: f"Error loading {word}" in server.log.read_text())
        assert 'kept="those from before"' in server.log.read_text()
        assert shown(server) == old


def test_a_key_of_another_certificate_is_refused_and_the_old_pair_stays(server, identity, authority, tmp_path):
    old = shown(server)
    identity.key.write_bytes(Identity(tmp_path / "other", authority).key.read_bytes())
    with server.client() as client:
        client.send(b"refresh_certs\r\n")
        assert client.line().startswith(f"Error loading the key: {identity.key} : ".encode())
    if server.version >= RULES_OF_1_6_45:
        # OpenSSL has taken the new half by then.
        assert shown(server) == old


def test_an_authority_that_is_taken_away_lets_nobody_in_any_more(binary, launch, identity, authority, tmp_path):
    if binary.resolve().name != "paircached":
        pytest.skip("memcached adds to the authorities and takes none away")
    authorities = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(authorities)
    known = Identity(tmp_path / "known", authority)
    options = f"{identity.options[-1]},ssl_verify_mode=2,ssl_ca_cert={authorities},ssl_session_cache"
    server = launch("-Z", "-o", options, tls=trusting(authority, known))
    context = trusting(authority, known, version=ssl.TLSVersion.TLSv1_2)
    server.tls = context
    with server.client() as client:
        session = client.socket.session
        new_authority().cert_pem.write_to_path(authorities)
        client.ask(b"refresh_certs\r\n", b"OK\r\n")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        server.connect(5)
    plain = daemon.Server.connect
    server.tls = None
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        context.wrap_socket(plain(server, 5), server_hostname="localhost", session=session)


def test_without_tls_there_is_nothing_to_refresh(launch):
    with launch().client() as client:
        client.ask(b"refresh_certs\r\n", b"Error TLS not enabled\r\n")
        client.ask(b"refresh_certs noreply\r\n", b"Error TLS not enabled\r\n")


def test_files_named_relatively_are_found_again(launch, identity, authority, tmp_path, monkeypatch):
    monkeypatch.chdir(identity.chain.parent)
    server = launch("-Z", "-o", "ssl_chain_cert=chain.pem,ssl_key=key.pem", tls=trusting(authority))
    monkeypatch.chdir(tmp_path)
    with server.client() as client:
        client.ask(b"refresh_certs\r\n", b"OK\r\n")
        assert client.stats(b"settings")["ssl_key"] == "key.pem"


@pytest.mark.parametrize(
    "options, says",
    [
        ("ssl_chain_cert=/nonexistent", "Error loading the certificate chain: /nonexistent : "),
        ("ssl_chain_cert={chain}", "Error loading the key: (null) : "),
        ("ssl_chain_cert={chain},ssl_key=/nonexistent", "Error loading the key: /nonexistent : "),
        ("ssl_chain_cert={chain},ssl_key={chain}", "Error loading the key: {chain} : "),
        ("ssl_chain_cert={key},ssl_key={key}", "Error loading the certificate chain: {key} : "),
        ("ssl_chain_cert=/dev/zero,ssl_key={key}", "Error loading the certificate chain: /dev/zero : "),
        ("ssl_chain_cert={chain},ssl_key={other}", "Error loading the key: {other} : "),
        ("ssl_chain_cert={chain},ssl_key={key},ssl_keyformat=7", "Error loading the key: {key} : "),
        ("ssl_chain_cert={chain},ssl_key={key},ssl_keyformat=2", "Error loading the key: {key} : "),
        ("ssl_chain_cert={chain},ssl_key={encrypted}", "Error loading the key: {encrypted} : "),
        ("ssl_chain_cert={chain},ssl_key={key},ssl_ca_cert=/nonexistent", "Error loading the CA certificate: "),
        ("ssl_chain_cert={chain},ssl_key={key},ssl_ca_cert={key}", "Error loading the CA certificate: {key} : "),
    ],
)
def test_what_cannot_be_served_ends_the_start(binary, identity, authority, tmp_path, options, says):
    if binary.resolve().name != "paircached" and ("/dev/zero" in options or "encrypted" in options):
        pytest.skip("memcached reads on for ever, or asks the terminal for a passphrase")
    files = {"chain": identity.chain, "key": identity.key}
    files["other"] = Identity(tmp_path / "other", authority).key
    files["encrypted"] = tmp_path / "encrypted.pem"
    files["encrypted"].write_bytes(encrypted(identity.key.read_bytes()))
    user = ["-u", "root"] if os.geteuid() == 0 else []
    options = options.format(**files)
    if "ssl_key" not in options and binary.resolve().name == "paircached" and "nonexistent" in options:
        options += f",ssl_key={identity.key}"
    done = daemon.run(binary, *user, "-p", "-1", "-l", "127.0.0.1", "-Z", "-o", options)
    assert done.returncode == USAGE, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith(says.format(**files))], done.stderr


def encrypted(pem):
    key = serialization.load_pem_private_key(pem, None)
    locked = serialization.BestAvailableEncryption(b"secret")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)


def test_an_encrypted_key_is_called_one(identity, tmp_path):
    """In both ways to write it; the second is that of `openssl genrsa -aes256 -traditional`."""
    files = {"new": encrypted(identity.key.read_bytes())}
    key = rsa.generate_private_key(65537, 2048)
    locked = serialization.BestAvailableEncryption(b"secret")
    files["old"] = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, locked)
    user = ["-u", "root"] if os.geteuid() == 0 else []
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        options = f"ssl_chain_cert={identity.chain},ssl_key={tmp_path / name}"
        done = daemon.run(daemon.ours(), *user, "-p", "-1", "-l", "127.0.0.1", "-Z", "-o", options)
        assert done.returncode == USAGE
        assert "it is encrypted" in done.stderr and "openssl pkey" in done.stderr


def rewritten(pem, encoding, form):
    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(encoding, form, serialization.NoEncryption())


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
@pytest.mark.parametrize("encoding, number", [("PEM", 1), ("DER", 2)])
def test_keys_are_taken_however_they_are_written(launch, identity, authority, form, encoding, number):
    form, encoding = getattr(serialization.PrivateFormat, form), getattr(serialization.Encoding, encoding)
    identity.key.write_bytes(rewritten(identity.key.read_bytes(), encoding, form))
    server = launch("-Z", "-o", f"{identity.options[-1]},ssl_keyformat={number}", tls=trusting(authority))
    with server.client() as client:
        assert client.stats(b"settings")["ssl_keyformat"] == str(number)


def self_signed(folder, key, *options):
    """A certificate made by the command that everybody uses, and perhaps of its oldest version."""
    chain, key_file, request = folder / "chain.pem", folder / "key.pem", folder / "request"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    common = ["openssl", "req", "-new", "-key", key_file, "-subj", "/CN=localhost"]
    if options:
        subprocess.run([*common, "-out", request], check=True, capture_output=True)
        command = ["openssl", "x509", "-req", "-in", request, "-signkey", key_file, "-out", chain]
        subprocess.run(command, check=True, capture_output=True)
    else:
        subprocess.run([*common, "-x509", "-out", chain], check=True, capture_output=True)
    return ["-Z", "-o", f"ssl_chain_cert={chain},ssl_key={key_file}"]


@pytest.mark.parametrize("version_1", [False, True])
@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_self_signed_certificates_of_common_kinds_are_served(launch, tmp_path, kind, version_1):
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    careless = ssl._create_unverified_context()
    server = launch(*self_signed(tmp_path, key, *["-v1"] * version_1), tls=careless)
    assert shown(server)


def test_what_has_no_effect_is_said_at_the_start(launch, identity, authority):
    server = launch("-Z", "-o", identity.options[-1] + ",ssl_ciphers=HIGH,ssl_min_version=0", tls=trusting(authority))
    if server.version < RULES_OF_1_6_45:
        return
    log = server.log.read_text()
    for option in ("ssl_ciphers", "ssl_min_version=0"):
        assert f'warn event=config no_effect="command line: -o {option}: ' in log
