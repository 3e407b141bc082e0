"""stats detail: what is asked of keys that begin alike."""

import pytest

from .wire import RULES_OF_1_6_45, Case, stored, table

USAGE = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"
NOT_ALLOWED = b"CLIENT_ERROR stats detail not allowed\r\n"


@table(
    Case("without a word", b"stats detail\r\n", USAGE),
    Case("an unknown word", b"stats detail x\r\nstats detail onn\r\n", USAGE * 2),
    Case("a word too many", b"stats detail off x\r\n", b"OK\r\n"),
    Case(
        "in short",
        b"stats d off\r\n",
        b"OK\r\n",
        old=b"ERROR\r\n",
        why="since the parser was rewritten the beginning of a word is enough",
    ),
)
def test_lines(client, case):
    client.play(case)


def test_with_X_there_is_no_detail(launch):
    with launch("-X").client() as client:
        if client.server.version < RULES_OF_1_6_45:
            pytest.skip("-X left stats detail alone once")
        client.ask(b"stats detail on\r\nstats detail dump\r\nstats detail\r\n", NOT_ALLOWED * 3)


def line(prefix, get=0, hit=0, set=0, delete=0):
    return b"PREFIX %s get %d hit %d set %d del %d\r\n" % (prefix, get, hit, set, delete)


def dump(client):
    client.send(b"stats detail dump\r\n")
    *lines, end = client.read_until(b"END\r\n").splitlines(keepends=True)
    assert end == b"END\r\n"
    return sorted(lines)


@pytest.mark.parametrize(
    "commands, counted",
    [
        pytest.param(b"get a:b\r\ngets a:c\r\n", {"get": 2, "hit": 1}, id="get"),
        pytest.param(b"gat 0 a:b\r\ngat 0 a:c\r\n", {"get": 2, "hit": 1}, id="gat"),
        pytest.param(b"touch a:b 0\r\ntouch a:c 0\r\n", {}, id="touch"),
        pytest.param(stored("a:b", "1") + stored("a:b", "1", verb="add"), {"set": 2}, id="set and add"),
        pytest.param(stored("a:c", "1", verb="replace") + stored("a:b", "1", verb="append"), {"set": 2}, id="replace"),
        pytest.param(b"cas a:b 0 0 1 0\r\n1\r\n", {"set": 1}, id="cas"),
        pytest.param(stored("a:b", b"x" * (2 << 20)), {"set": 1}, id="a set that is too large"),
        pytest.param(b"set a:b 0 0 1\r\naxb", {"set": 1}, id="a set with a bad block"),
        pytest.param(b"set a:b 0 x 1\r\nx\r\nset a:b 0 0 x\r\n", {}, id="a set with a bad line"),
        pytest.param(b"delete a:b\r\ndelete a:b\r\n", {"delete": 2}, id="delete"),
        pytest.param(b"incr a:b 1\r\ndecr a:b 1\r\nincr a:c 1\r\n", {}, id="incr"),
        pytest.param(b"mg a:b\r\nms a:b 1\r\n1\r\nma a:b\r\nme a:b\r\nmd a:b\r\n", {}, id="meta commands"),
    ],
)
def test_requests_are_counted(launch, commands, counted):
    with launch().client() as client:
        client.talk(stored("a:b", "1") + b"stats detail on\r\n")
        client.send(commands + b"\r\n")
        client.talk(b"")
        assert dump(client) == ([line(b"a", **counted)] if counted else [])


def test_a_key_belongs_to_what_stands_before_its_first_delimiter(launch):
    with launch().client() as client:
        client.ask(b"stats detail on\r\n", b"OK\r\n")
        client.talk(b"get a:b:c b:c none :d a|b\r\n")
        assert dump(client) == [line(b"", get=1), line(b"a", get=1), line(b"b", get=1)]


def test_D_names_the_delimiter_and_counts_from_the_start(launch):
    with launch("-D", "|").client() as client:
        client.talk(b"get a:b|c a|b none:x\r\n")
        assert dump(client) == [line(b"a", get=1), line(b"a:b", get=1)]
        settings = client.stats(b"settings")
        assert (settings["stat_key_prefix"], settings["detail_enabled"]) == ("|", "yes")


def test_counting_stops_and_what_was_counted_stays(launch):
    with launch().client() as client:
        client.talk(b"stats detail on\r\nget a:b\r\nstats detail off\r\nget a:b\r\n")
        assert client.stats(b"settings")["detail_enabled"] == "no"
        assert dump(client) == [line(b"a", get=1)]
        client.ask(b"stats reset\r\n", b"RESET\r\n")
        assert dump(client) == []


def test_endless_prefixes_are_counted_up_to_65536(launch):
    with launch("-t", "1").client() as client:
        if client.server.version < RULES_OF_1_6_45:
            pytest.skip("1.6.18 knew no limit")
        client.ask(b"stats detail on\r\n", b"OK\r\n")
        for start in range(0, 70_000, 1000):
            keys = b" ".join(b"%d:x" % number for number in range(start, start + 1000))
            client.ask(b"get " + keys + b"\r\n", b"END\r\n")
        lines = dump(client)
        assert len(lines) == 65_536
        assert line(b"65535", get=1) in lines and line(b"65536", get=1) not in lines
        client.ask(b"get 5:x\r\n", b"END\r\n")
        assert line(b"5", get=2) in dump(client)


def test_the_binary_protocol_counts_and_shows_too(launch):
    def packet(opcode, key=b"", extras=b"", value=b""):
        body = extras + key + value
        head = bytes([0x80, opcode]) + len(key).to_bytes(2, "big") + bytes([len(extras), 0, 0, 0])
        return head + len(body).to_bytes(4, "big") + bytes(12) + body

    def reply(client):
        head = client.read(24)
        return int.from_bytes(head[6:8], "big"), client.read(int.from_bytes(head[8:12], "big"))

    with launch().client() as client:
        for word, status in [(b"", 1), (b" x", 1), (b" on", 0)]:
            client.send(packet(0x10, b"detail" + word))
            assert reply(client)[0] == status
        client.send(packet(0x01, b"a:b", bytes(8), b"1") + packet(0x00, b"a:b") + packet(0x1C, b"a:b", bytes(4)))
        client.send(packet(0x04, b"a:b") + packet(0x10, b"detail dump"))
        for _ in range(4):
            assert reply(client)[0] == 0
        assert reply(client) == (0, b"detailed" + line(b"a", get=2, hit=2, set=1, delete=1) + b"END\r\n")
        assert reply(client) == (0, b"")
