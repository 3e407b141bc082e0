"""-Y: the text protocol for those only who know a password."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from . import daemon
from .wire import RULES_OF_1_6_45, Case, eventually, stored, table

USERS = "foo:bar\nbaz:se cr:et\n"
LOGIN = b"set any 0 0 7\r\nfoo bar\r\n"
STORED = b"STORED\r\n"
FAILURE = b"CLIENT_ERROR authentication failure\r\n"
FIRST = b"CLIENT_ERROR unauthenticated\r\n"
BAD_FORMAT = b"CLIENT_ERROR bad authentication token format\r\n"
BAD_END = b"CLIENT_ERROR bad command line termination\r\n"
TOO_LONG = b"CLIENT_ERROR auth token too long\r\n"
SPLIT = "the password is now all behind the first space, which 1.6.18 split into words"
SHORT = "1.6.18 answered lines of any length"
STRICT = "1.6.18 skipped spaces and signs in front"


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users"
    path.write_text(USERS)
    path.chmod(0o600)
    return path


@pytest.fixture
def guarded(launch, users):
    return launch("-Y", users)


def attempt(name, token, expect, line=None, **more):
    line = line or b"set any 0 0 %d\r\n" % len(token)
    return Case(name, line + token + b"\r\n", expect, **more)


@table(
    attempt("a user and the password", b"foo bar", STORED),
    attempt("a wrong password", b"foo baX", FAILURE),
    attempt("the beginning of the password", b"foo ba", FAILURE),
    attempt("more than the password", b"foo barr", FAILURE),
    attempt("another's password", b"baz bar", FAILURE),
    attempt("an unknown user", b"fop bar", FAILURE),
    attempt("a password with spaces and colons", b"baz se cr:et", STORED, old=FAILURE, why=SPLIT),
    attempt("a space behind the password", b"foo bar ", FAILURE, old=STORED, why=SPLIT),
    attempt("two spaces", b"foo  bar", FAILURE, old=STORED, why=SPLIT),
    attempt("no password", b"foo", BAD_FORMAT),
    attempt("an empty password", b"foo ", FAILURE, old=BAD_FORMAT, why=SPLIT),
    attempt("nothing", b"", BAD_FORMAT),
    attempt("words that are no numbers", b"foo bar", STORED, b"set any x y 7\r\n"),
    attempt("words behind the length", b"foo bar", STORED, b"set any 0 0 7 1 2 3 4\r\n"),
    attempt("noreply is no reason for silence", b"foo bar", STORED, b"set any 0 0 7 noreply\r\n"),
    attempt("a key too long for one", b"foo bar", STORED, b"set " + b"k" * 251 + b" 0 0 7\r\n"),
    attempt("a line without a return", b"foo bar", STORED, b"set any 0 0 7\n"),
    attempt("the longest token", b"foo " + b"x" * 2000, FAILURE),
    Case("a token that does not end", b"set any 0 0 7\r\nfoo barXX", BAD_END),
    Case("a token that ends without a return", b"set any 0 0 7\r\nfoo bar\n\n", BAD_END),
    attempt(
        "a token longer than any",
        b"foo " + b"x" * 20_000,
        TOO_LONG,
        old=b"",
        old_closed=True,
        why="1.6.18 had no limit but its buffer",
    ),
    Case("no length", b"set any 0 0\r\n", FIRST),
    Case("a length that is no number", b"set any 0 0 x\r\n", FIRST),
    Case("a negative length", b"set any 0 0 -1\r\n", FIRST),
    Case("a length beyond 32 bits", b"set any 0 0 4294967296\r\n", FIRST, old=b"", why="1.6.18 waited for so much"),
    Case("get", b"get any\r\n", FIRST),
    Case("gets of many", b"gets a b c d e f g h\r\n", FIRST),
    Case("version", b"version\r\n", FIRST),
    Case("stats", b"stats\r\n", FIRST),
    Case("shutdown", b"shutdown\r\n", FIRST),
    Case("a meta command", b"mg any v\r\n", FIRST),
    Case("a browser", b"GET / HTTP/1.1\r\n", FIRST),
    Case("add", b"add any 0 0 7\r\n", FIRST),
    Case("a space in front", b" set any 0 0\r\n", FIRST),
    Case("a short line", b"get a\n", b"", old=FIRST, why=SHORT, closed=True, old_closed=False),
    Case("quit", b"quit\r\n", b"", old=FIRST, why=SHORT, closed=True, old_closed=False),
    Case("mn", b"mn\r\n", b"", old=FIRST, why=SHORT, closed=True, old_closed=False),
    Case("a long line without end", b"x" * 2049, b"", closed=True),
)
def test_before_the_login(guarded, case):
    expect, closed = case.for_version(guarded.version)
    if guarded.version < RULES_OF_1_6_45 and case.name == "a length beyond 32 bits":
        pytest.skip("memcached 1.6.18 waits for four gigabytes")
    with guarded.client() as client:
        client.send(case.send)
        if closed:
            assert client.rest() == expect
            return
        assert client.read(len(expect)) == expect
        # Nothing of it is left to be taken for something else, and nobody is shut out for good.
        if expect == STORED:
            client.ask(b"get any\r\n", b"END\r\n")
        else:
            client.send(LOGIN)
            assert client.line() == STORED


def test_numbers_and_words_are_read_strictly(guarded):
    if guarded.version < RULES_OF_1_6_45:
        pytest.skip(STRICT)
    for line in (b" set any 0 0 7\r\n", b"set any 0 0 +7\r\n", b"set any 0 0 7x\r\n"):
        with guarded.client() as client:
            client.send(line)
            assert client.line() == FIRST


def test_each_of_several_attempts_is_answered(guarded):
    if guarded.version < RULES_OF_1_6_45 or guarded.binary.resolve().name != "paircached":
        pytest.skip("memcached answers the last of those that it read together")
    with guarded.client() as client:
        wrong = b"set any 0 0 7\r\nfoo baX\r\n"
        client.send(wrong + b"version\r\n" + wrong + LOGIN + b"version\r\n")
        assert client.read(len(FAILURE + FIRST + FAILURE + STORED)) == FAILURE + FIRST + FAILURE + STORED
        assert client.line() == b"VERSION " + guarded.version_text + b"\r\n"


def test_a_login_may_come_in_pieces(guarded):
    with guarded.client() as client:
        for byte in LOGIN:
            client.send(bytes([byte]))
        assert client.line() == STORED


def test_after_the_login_all_is_as_ever(guarded):
    with guarded.client() as client, guarded.client() as other:
        client.send(LOGIN)
        assert client.line() == STORED
        client.ask(stored("k", "v") + b"get k any\r\nmg k v\r\n",
                   STORED + b"VALUE k 0 1\r\nv\r\nEND\r\nVA 1\r\nv\r\n")  # fmt: skip
        # Now it is a set like any other.
        client.ask(LOGIN + b"get any\r\n", STORED + b"VALUE any 0 7\r\nfoo bar\r\nEND\r\n")
        other.send(b"get any\r\n")
        assert other.line() == FIRST


def test_attempts_are_counted(guarded):
    with guarded.client() as client:
        for token, reply in [(b"foo baX", FAILURE), (b"foo", BAD_FORMAT), (b"foo bar", STORED)]:
            client.send(b"set any 0 0 %d\r\n%s\r\n" % (len(token), token))
            assert client.line() == reply
        stats = client.stats()
    assert (stats["auth_cmds"], stats["auth_errors"]) == ("2", "1")
    assert stats["cmd_set"] == "0"


def test_settings_show_the_file(guarded, users):
    with guarded.client() as client:
        client.send(LOGIN)
        assert client.line() == STORED
        settings = client.stats(b"settings")
    assert settings["auth_enabled_ascii"] == str(users)
    assert (settings["auth_enabled_sasl"], settings["binding_protocol"]) == ("no", "ascii")


def test_the_binary_protocol_is_not_spoken(guarded):
    with guarded.client() as client:
        client.send(b"\x80\x0b" + bytes(22))  # to the text protocol a line that has not ended
        client.send(b"\n" + LOGIN)
        assert client.read_until(STORED).endswith(STORED)


def logs_in(server, token):
    with server.client() as client:
        client.send(b"set any 0 0 %d\r\n%s\r\n" % (len(token), token))
        line = client.line()
        assert line in (STORED, FAILURE), line
        return line == STORED


def test_hangup_reads_the_file_again(guarded, users):
    with guarded.client() as client:
        client.send(LOGIN)
        assert client.line() == STORED
        users.write_text("foo:changed\n")
        assert logs_in(guarded, b"foo bar")
        guarded.signal(signal.SIGHUP)
        eventually("the new password holds", lambda: logs_in(guarded, b"foo changed"))
        assert not logs_in(guarded, b"foo bar")
        client.ask(b"get k\r\n", b"END\r\n")  # whoever is in stays in


@pytest.mark.parametrize("broken", ["no colon\n", None], ids=["malformed", "missing"])
def test_a_broken_file_leaves_the_old_passwords(guarded, users, broken):
    users.unlink()
    if broken:
        users.write_text(broken)
    guarded.signal(signal.SIGHUP)
    if guarded.binary.resolve().name == "paircached":
        eventually("the fault is logged", lambda: "event=reload_failed" in guarded.log.read_text())
        assert "no colon" not in guarded.log.read_text()
    assert logs_in(guarded, b"foo bar")
    users.write_text("foo:changed\n")
    guarded.signal(signal.SIGHUP)
    eventually("the new password holds", lambda: logs_in(guarded, b"foo changed"))


def test_eight_users_can_log_in(launch, users):
    users.write_text("".join(f"user{number}:x\n" for number in range(9)))
    server = launch("-Y", users)
    assert logs_in(server, b"user7 x")
    assert not logs_in(server, b"user8 x")


def test_an_empty_file_lets_nobody_in(launch, users):
    users.write_text("")
    assert not logs_in(launch("-Y", users), b"foo bar")


def test_no_password_is_shown(launch, users):
    server = launch("-vv", "-Y", users)
    if server.binary.resolve().name != "paircached":
        pytest.skip("that is about our log")
    with server.client() as client:
        client.send(LOGIN.replace(b" 7", b" 9") + b"foo bar\r\n" + LOGIN)
        eventually("it is in", lambda: client.line() in (STORED, b""))
        client.talk(b"get seen\r\n")
    text = server.log.read_text()
    assert "get seen" in text
    assert "bar" not in text


def test_a_file_that_all_can_read_is_warned_of(launch, users):
    server = launch("-Y", users)
    if server.binary.resolve().name != "paircached":
        pytest.skip("memcached does not look")
    assert "warn" not in server.log.read_text()
    users.chmod(0o644)
    assert f"{users}: every user of this host can read it" in launch("-Y", users).log.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("owner", ["root", "nobody"])
def test_the_file_may_belong_to_root_or_to_the_user_that_serves(binary, launch, owner):
    if owner == "root" and binary.resolve().name != "paircached":
        pytest.skip("memcached reads it as the user that serves")
    folder = Path(tempfile.mkdtemp())  # pytest's own is closed to others
    try:
        folder.chmod(0o777)
        users = folder / "users"
        users.write_text(USERS)
        users.chmod(0o600)
        shutil.chown(users, owner)
        assert logs_in(launch("-u", "nobody", "-Y", users, folder=folder), b"foo bar")
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "content, says",
    [
        ("foo\n", "Authfile [{}] has a malformed entry. Should be 'user:password'"),
        ("foo:bar\n\nbaz:x\n", "Authfile [{}] has a malformed entry. Should be 'user:password'"),
        (None, "Could not open authfile [{}] for reading, error No such file or directory"),
    ],
    ids=["no colon", "an empty line", "missing"],
)
def test_a_bad_file_ends_the_start(binary, users, content, says):
    if content is None:
        users.unlink()
    else:
        users.write_text(content)
    root = ["-u", "root"] if os.geteuid() == 0 else []
    done = daemon.run(binary, *root, "-l", "127.0.0.1", "-p", "-1", "-Y", users)
    assert done.returncode == 1
    # memcached 1.6.18 ends neither the one line nor the reason of the other.
    assert done.stderr.startswith(says.format(users)), done.stderr
    assert "foo" not in done.stderr


class TestPairctl:
    @pytest.fixture(autouse=True)
    def _ours(self, guarded):
        if guarded.binary.resolve().name != "paircached":
            pytest.skip("once is enough")

    def pairctl(self, server, *words):
        command = [str(daemon.ours().parent / "pairctl"), "-s", server.address, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    @pytest.mark.parametrize("words", [("status",), ("stats", "settings"), ("bench", "--requests", "100", "--fill")])
    def test_it_logs_in_with_the_first_line_of_a_file(self, guarded, users, words):
        done = self.pairctl(guarded, "--auth-file", users, *words)
        assert done.returncode == 0, done.stderr
        assert "errors     0," in done.stdout or words[0] != "bench"

    def test_it_says_what_is_missing(self, guarded, tmp_path):
        done = self.pairctl(guarded, "status")
        assert "wants a password; name the file of one by --auth-file" in done.stdout + done.stderr
        wrong = tmp_path / "wrong"
        wrong.write_text("foo:no\n")
        done = self.pairctl(guarded, "--auth-file", wrong, "stats", "settings")
        assert "does not take the password; is there a user:password of its in --auth-file?" in done.stderr
        assert done.returncode == 3
        wrong.write_text("foo\n")
        done = self.pairctl(guarded, "--auth-file", wrong, "status")
        assert done.returncode == 2 and "does not begin with a line user:password" in done.stderr

    def test_a_node_without_passwords_keeps_nothing_of_it(self, launch, users):
        server = launch()
        done = self.pairctl(server, "--auth-file", users, "stats", "settings")
        assert done.returncode == 0, done.stderr
        with server.client() as client:
            client.ask(b"get pairctl-login\r\n", b"END\r\n")
