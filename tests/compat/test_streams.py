"""Requests as streams: pipelined, cut anywhere, read slowly, left half-said."""

import pytest

from .wire import eventually, stored

# One of each kind, and faults from which the stream must recover.
CONVERSATION = (
    b"set k 1 0 5\r\nhello\r\nget k\r\nappend k 0 0 6\r\n\r\nend\n\r\nget k nosuch\r\n"
    b"set k 0 0 3\r\nlongerXget k\r\nadd n 0 0 1 noreply\r\n7\r\nincr n 3\r\ndecr n 9\r\n"
    b"nosuch\r\ntouch n 0\r\ngat 0 n\r\ndelete n\r\ndelete n\r\nset k 0 0 -1\r\n"
)
REPLIES = (
    b"STORED\r\nVALUE k 1 5\r\nhello\r\nEND\r\nSTORED\r\nVALUE k 1 11\r\nhello\r\nend\n\r\nEND\r\n"
    b"CLIENT_ERROR bad data chunk\r\nERROR\r\n10\r\n1\r\n"
    b"ERROR\r\nTOUCHED\r\nVALUE n 0 2\r\n1 \r\nEND\r\nDELETED\r\nNOT_FOUND\r\nCLIENT_ERROR bad command line format\r\n"
)


def test_a_conversation_may_come_at_once(client):
    client.ask(CONVERSATION, REPLIES)


def test_a_conversation_may_be_cut_anywhere(client):
    for cut in range(1, len(CONVERSATION)):
        client.send(b"flush_all\r\n")
        assert client.line() == b"OK\r\n"
        client.send(CONVERSATION[:cut])
        eventually("the first part was read", client.digested, pause=0)
        said = client.talk(CONVERSATION[cut:], len(REPLIES))
        assert said == REPLIES, f"cut after {CONVERSATION[:cut]!r}"


def test_a_conversation_may_come_byte_by_byte(client):
    for at in range(len(CONVERSATION)):
        client.send(CONVERSATION[at : at + 1])
        eventually("the byte was read", client.digested, pause=0)
    client.ask(b"", REPLIES)


def test_replies_keep_their_order_over_thousands_of_requests(client):
    count = 5000
    client.send(b"".join(b"set k 0 0 5\r\n%05d\r\nget k\r\n" % number for number in range(count)))
    for number in range(count):
        wanted = b"STORED\r\nVALUE k 0 5\r\n%05d\r\nEND\r\n" % number
        assert client.read(len(wanted)) == wanted


def test_more_requests_than_are_read_at_once_are_all_answered(client):
    # memcached yields to other connections after 20 requests and must come back by itself.
    client.ask(b"get nosuch\r\n" * 10_000, b"END\r\n" * 10_000)


def test_a_reader_that_comes_late_gets_everything(server):
    value = bytes(range(256)) * 400
    with server.client() as client, server.client() as other:
        client.ask(stored("k", value), b"STORED\r\n")
        client.send(b"get k\r\n" * 200)  # 20 MB, more than the sockets hold
        other.ask(b"get nosuch\r\n", b"END\r\n")  # others are served meanwhile
        wanted = b"VALUE k 0 %d\r\n%s\r\nEND\r\n" % (len(value), value)
        for _ in range(200):
            assert client.read(len(wanted)) == wanted


def test_a_reader_that_never_reads_harms_nobody(server):
    with server.client() as deaf, server.client() as other:
        deaf.ask(stored("k", "v" * 100_000), b"STORED\r\n")
        deaf.send(b"get k\r\n" * 500)
        for _ in range(100):
            other.ask(stored("a", "1") + b"get a\r\n", b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n")


@pytest.mark.parametrize(
    "half", [b"se", b"set k 0 0 5", b"set k 0 0 5\r\n", b"set k 0 0 5\r\nhel", b"set k 0 0 5\r\nhello\r", b"get k"]
)
def test_half_a_request_does_nothing_when_the_client_leaves(server, half):
    with server.client() as client:
        client.ask(b"set k 0 0 3\r\nold\r\n", b"STORED\r\n")
        client.send(half)
        eventually("the half was read", client.digested)
    with server.client() as other:
        other.ask(b"get k\r\n", b"VALUE k 0 3\r\nold\r\nEND\r\n")


def test_half_a_request_holds_up_nobody_else(server):
    with server.client() as slow, server.client() as other:
        slow.send(b"set k 0 0 5\r\nhe")
        eventually("the half was read", slow.digested)
        other.ask(stored("k", "other"), b"STORED\r\n")
        slow.ask(b"llo\r\nget k\r\n", b"STORED\r\nVALUE k 0 5\r\nhello\r\nEND\r\n")


def test_a_client_that_closes_its_side_still_gets_its_replies(client):
    client.send(stored("k", "a") + b"get k\r\n")
    client.line()
    client.read_until(b"END\r\n")
    client.socket.shutdown(1)
    assert client.rest() == b""


def test_quit_sends_what_was_asked_before(client):
    client.send(stored("k", "a" * 100_000) + b"get k\r\nquit\r\n")
    assert client.rest() == b"STORED\r\nVALUE k 0 100000\r\n" + b"a" * 100_000 + b"\r\nEND\r\n"


def test_garbage_is_answered_with_errors_and_harms_nobody(server):
    with server.client() as client:
        client.send(b"\x00\x01\x02\xff\xfe\r\n")
        assert client.line() in (b"ERROR\r\n", b"CLIENT_ERROR bad command line format\r\n")
    with server.client() as other:
        other.ask(b"get k\r\n", b"END\r\n")
