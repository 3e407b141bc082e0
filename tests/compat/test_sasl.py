"""-S: the binary protocol for those only who log in by SASL.

Debian's memcached knows no password file. What it lets in is the mechanism ANONYMOUS, which shows all but the passwords.
"""

import signal
from dataclasses import dataclass

import bmemcached
import pylibmc
import pytest

from . import daemon
from .test_binary import (
    FORBIDDEN,
    GET,
    HEADER,
    INVALID,
    NOOP,
    OK,
    QUIT,
    QUITQ,
    SASL_AUTH,
    SASL_LIST,
    SASL_STEP,
    SET,
    STAT,
    UNKNOWN,
    VERSION,
    Frames,
    frame,
    reply,
    store,
)
from .wire import eventually, table

CONTINUE = 0x21
USERS = "# comment\n\nfoo:bar\nbaz:first:more\nbaz:second\n"
CONFIGURATION = "mech_list: plain anonymous\npwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\n"
RIGHT, WRONG = b"\0foo\0bar", b"\0foo\0baX"


def is_ours(server):
    return server.binary.resolve().name == "paircached"


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users"
    path.write_text(USERS)
    path.chmod(0o600)
    return path


@pytest.fixture
def environment(tmp_path, users):
    (tmp_path / "memcached.conf").write_text(CONFIGURATION.format(tmp_path / "nosuch"))
    return {"SASL_CONF_PATH": str(tmp_path), "MEMCACHED_SASL_PWDB": str(users)}


@pytest.fixture
def guarded(launch, environment):
    return launch("-S", env=environment)


@pytest.fixture
def frames(guarded):
    with Frames(guarded) as made:
        yield made


def auth(token, mechanism=b"PLAIN", opcode=SASL_AUTH):
    return frame(opcode, mechanism, token)


def good(server, opcode=SASL_AUTH, empty=False):
    """A step of a login that succeeds, or the first without its token."""
    mechanism, token = (b"PLAIN", RIGHT) if is_ours(server) else (b"ANONYMOUS", b"me")
    return auth(b"" if empty else token, mechanism, opcode)


@dataclass(frozen=True)
class Row:
    """Requests before a login, and their replies."""

    name: str
    send: bytes
    expect: bytes
    closed: bool = False


REFUSED = reply(SASL_AUTH, FORBIDDEN)


@table(
    Row("noop", frame(NOOP), reply(NOOP, FORBIDDEN), closed=True),
    Row("get", frame(GET, b"k"), reply(GET, FORBIDDEN), closed=True),
    Row("set", store(SET, b"k", b"v"), reply(SET, FORBIDDEN), closed=True),
    Row("the head of a large set", store(SET, b"k", b"v" * 100_000)[:100], reply(SET, FORBIDDEN), closed=True),
    Row("stat", frame(STAT), reply(STAT, FORBIDDEN), closed=True),
    Row("quit", frame(QUIT), reply(QUIT, FORBIDDEN), closed=True),
    Row("quitq", frame(QUITQ), reply(QUITQ, FORBIDDEN), closed=True),
    Row("an unknown opcode", frame(0x30), reply(0x30, FORBIDDEN), closed=True),
    Row("a key too long", frame(GET, b"k" * 251), reply(GET, FORBIDDEN), closed=True),
    Row("a key longer than its body", frame(GET, b"key", body=2), reply(GET, UNKNOWN), closed=True),
    Row("mechanisms with a key", frame(SASL_LIST, b"k"), reply(SASL_LIST, INVALID), closed=True),
    Row("a login without mechanism", frame(SASL_AUTH, b"", RIGHT), reply(SASL_AUTH, INVALID), closed=True),
    Row("a login with extras", frame(SASL_AUTH, b"PLAIN", RIGHT, b"more"), reply(SASL_AUTH, INVALID), closed=True),
    Row("a wrong password", auth(WRONG), REFUSED),
    Row("a wrong password twice", auth(WRONG) * 2, REFUSED * 2),
    Row("no password", auth(b"\0foo"), REFUSED),
    Row("one word", auth(b"foo"), REFUSED),
    Row("a zero byte too many", auth(RIGHT + b"\0"), REFUSED),
    Row("in the name of another", auth(b"baz" + RIGHT), REFUSED),
    Row("an unknown mechanism", auth(RIGHT, b"NOSUCH"), REFUSED),
    Row("a mechanism of 32 bytes", auth(RIGHT, b"X" * 32), REFUSED),
    Row("a mechanism of 33 bytes", auth(RIGHT, b"X" * 33), reply(SASL_AUTH, INVALID)),
    Row("a token of 20000 bytes", auth(b"x" * 20_000), REFUSED),
    Row("a step without a beginning", auth(RIGHT, opcode=SASL_STEP), reply(SASL_STEP, FORBIDDEN)),
    Row("a step of 33 bytes", auth(RIGHT, b"X" * 33, SASL_STEP), reply(SASL_STEP, INVALID)),
    Row("a beginning alone", auth(b""), reply(SASL_AUTH, CONTINUE)),
    Row("a beginning and a wrong step", auth(b"") + auth(WRONG, opcode=SASL_STEP),
        reply(SASL_AUTH, CONTINUE) + reply(SASL_STEP, FORBIDDEN)),
)  # fmt: skip
def test_before_the_login(frames, case):
    frames.send(case.send)
    if case.closed:
        assert frames.rest() == case.expect
        return
    assert frames.read(len(case.expect)) == case.expect
    assert frames.one(frame(VERSION))[5] == frames.server.version_text
    assert frames.one(frame(NOOP))[:2] == (NOOP, FORBIDDEN)
    assert frames.rest() == b""


def test_mechanisms_are_listed(frames):
    opcode, status, _, _, _, value, _ = frames.one(frame(SASL_LIST))
    assert (opcode, status) == (SASL_LIST, OK)
    assert value == b"PLAIN" if is_ours(frames.server) else b"PLAIN" in value.split()


def test_a_login_opens_everything(frames):
    frames.send(good(frames.server))
    expect = reply(SASL_AUTH, value=b"Authenticated")
    assert frames.read(len(expect)) == expect
    assert frames.one(store(SET, b"k", b"v"))[1] == OK
    assert frames.one(frame(GET, b"k"))[5] == b"v"


def test_the_password_may_come_in_a_second_step(frames):
    assert frames.one(good(frames.server, empty=True))[:2] == (SASL_AUTH, CONTINUE)
    opcode, status, _, _, _, value, _ = frames.one(good(frames.server, SASL_STEP))
    assert (opcode, status, value) == (SASL_STEP, OK, b"Authenticated")
    assert frames.one(frame(NOOP))[1] == OK


def test_a_failure_may_be_followed_by_another_attempt(guarded):
    if not is_ours(guarded):
        pytest.skip("libsasl goes on with the same mechanism only")
    with Frames(guarded) as frames:
        assert frames.one(auth(WRONG))[1] == FORBIDDEN
        assert frames.one(good(guarded))[1] == OK


@pytest.mark.parametrize("then", [auth(WRONG), auth(RIGHT, opcode=SASL_STEP)], ids=["another login", "a step"])
def test_an_attempt_that_fails_ends_the_login_before(frames, then):
    assert frames.one(good(frames.server))[1] == OK
    assert frames.one(then)[1] == FORBIDDEN
    assert frames.one(frame(NOOP))[1] == FORBIDDEN


def test_after_a_login_mechanisms_are_listed_and_another_login_is_made(frames):
    if not is_ours(frames.server):
        pytest.skip("memcached ends the login at both")
    for request in (good(frames.server), frame(SASL_LIST), good(frames.server), frame(NOOP)):
        assert frames.one(request)[1] == OK


def test_no_other_connection_is_let_in_too(guarded):
    with Frames(guarded) as frames, Frames(guarded) as other:
        assert frames.one(good(guarded))[1] == OK
        assert other.one(frame(NOOP))[1] == FORBIDDEN


def test_the_text_protocol_is_not_spoken(guarded):
    with guarded.client() as client:
        client.send(b"version\r\n".ljust(HEADER.size, b"x"))
        assert client.rest() == b""


def statistics(frames, what=b""):
    frames.send(frame(STAT, what))
    found = {}
    while (got := frames.frame())[4]:
        found[got[4].decode()] = got[5].decode()
    return found


def test_attempts_are_counted(frames):
    frames.one(frame(SASL_LIST))
    frames.one(auth(WRONG))
    frames.one(auth(RIGHT, b"X" * 33))
    frames.one(auth(RIGHT, opcode=SASL_STEP))
    with Frames(frames.server) as other:
        other.one(good(frames.server, empty=True))
        other.one(good(frames.server, SASL_STEP))
        stats = statistics(other)
    assert (stats["auth_cmds"], stats["auth_errors"]) == ("3", "2")


def test_settings_show_it(frames):
    frames.one(good(frames.server))
    settings = statistics(frames, b"settings")
    assert (settings["auth_enabled_sasl"], settings["auth_enabled_ascii"]) == ("yes", "no")
    assert settings["binding_protocol"] == "binary"


class TestPasswords:
    """Of the file that MEMCACHED_SASL_PWDB names."""

    @pytest.fixture(autouse=True)
    def _ours(self, guarded):
        if not is_ours(guarded):
            pytest.skip("Debian's memcached is built without it")

    @pytest.mark.parametrize(
        "token, status",
        [
            (b"\0foo\0bar", OK),
            (b"foo\0foo\0bar", OK),
            (b"\0foo\0ba", FORBIDDEN),
            (b"\0foo\0barr", FORBIDDEN),
            (b"\0fo\0bar", FORBIDDEN),
            (b"\0\0", FORBIDDEN),
            (b"\0baz\0first", OK),
            (b"\0baz\0first:more", OK),
            (b"\0baz\0first:", FORBIDDEN),
            (b"\0baz\0second", FORBIDDEN),
        ],
    )
    def test_a_token_is_compared_with_it(self, frames, token, status):
        assert frames.one(auth(token))[1] == status

    def test_the_mechanism_may_be_in_small_letters(self, frames):
        assert frames.one(auth(RIGHT, b"plain"))[1] == OK

    def test_it_is_read_again_at_a_reload(self, guarded, users):
        users.write_text("foo:changed\n")
        guarded.signal(signal.SIGHUP)

        def changed():
            with Frames(guarded) as frames:
                return frames.one(auth(b"\0foo\0changed"))[1] == OK

        eventually("the new password holds", changed)

    def test_the_toml_file_may_name_it(self, launch, users, tmp_path):
        toml = tmp_path / "paircached.toml"
        toml.write_text(f'[auth]\nsasl = true\nsasl_file = "{users}"\n')
        with Frames(launch("--config", toml)) as frames:
            assert frames.one(auth(RIGHT))[1] == OK

    def test_it_is_not_shown(self, launch, environment):
        server = launch("-S", "-vv", env=environment)
        with Frames(server) as frames:
            frames.one(auth(RIGHT))
            frames.one(auth(RIGHT, opcode=SASL_STEP))
            frames.one(frame(SASL_AUTH, b"PLAIN", RIGHT, b"more"))
        eventually("it is logged", lambda: server.log.read_text().count("<") >= 3)
        assert "bar" not in server.log.read_text()

    def test_bmemcached_logs_in(self, guarded):
        client = bmemcached.Client((guarded.address,), "foo", "bar")
        assert client.set("k", "value") and client.get("k") == "value"
        client.disconnect_all()
        with pytest.raises(bmemcached.exceptions.MemcachedException, match="Auth failure"):
            bmemcached.Client((guarded.address,), "foo", "baX").set("k", "value")

    @pytest.mark.skipif(not pylibmc.support_sasl, reason="pylibmc is built without SASL")
    @pytest.mark.skipif(not daemon.SASL_PLUGINS, reason="libsasl's plugins are not installed")
    @pytest.mark.parametrize("password, logs_in", [("bar", True), ("baX", False)])
    def test_pylibmc_logs_in(self, guarded, password, logs_in):
        client = pylibmc.Client([guarded.address], binary=True, username="foo", password=password)
        if logs_in:
            assert client.set("k", "value") and client.get("k") == "value"
        else:
            # libmemcached's words, of which it has others where it gave up before it was answered.
            with pytest.raises(pylibmc.Error, match="(?i)authentication (failure|to server)"):
                client.set("refused", "value")
            allowed = pylibmc.Client([guarded.address], binary=True, username="foo", password="bar")
            assert allowed.get("refused") is None
            allowed.disconnect_all()
        client.disconnect_all()
