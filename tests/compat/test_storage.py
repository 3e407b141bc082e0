"""set, add, replace, append, prepend, cas: what is stored, and what is said about it."""

import pytest

from .wire import Case, stored, table

BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"
SWALLOWED = "since the parser was rewritten the data block of a faulty line is swallowed"


@table(
    Case("set stores", b"set k 5 0 3\r\nabc\r\nget k\r\n", b"STORED\r\nVALUE k 5 3\r\nabc\r\nEND\r\n"),
    Case(
        "set replaces value and flags",
        stored("k", "old", flags=1) + stored("k", "newer", flags=2) + b"get k\r\n",
        b"STORED\r\nSTORED\r\nVALUE k 2 5\r\nnewer\r\nEND\r\n",
    ),
    Case("a value may be empty", b"set k 0 0 0\r\n\r\nget k\r\n", b"STORED\r\nVALUE k 0 0\r\n\r\nEND\r\n"),
    Case(
        "a value may hold line ends and commands",
        stored("k", "a\r\nget k\r\n\nEND\r\n") + b"get k\r\n",
        b"STORED\r\nVALUE k 0 16\r\na\r\nget k\r\n\nEND\r\n\r\nEND\r\n",
    ),
    Case(
        "a value may hold every byte",
        stored("k", bytes(range(256))) + b"get k\r\n",
        b"STORED\r\nVALUE k 0 256\r\n" + bytes(range(256)) + b"\r\nEND\r\n",
    ),
    Case("add stores what is missing", b"add k 7 0 1\r\na\r\nget k\r\n", b"STORED\r\nVALUE k 7 1\r\na\r\nEND\r\n"),
    Case(
        "add leaves what is there",
        stored("k", "a") + stored("k", "b", verb="add") + b"get k\r\n",
        b"STORED\r\nNOT_STORED\r\nVALUE k 0 1\r\na\r\nEND\r\n",
    ),
    Case(
        "add stores again after delete",
        stored("k", "a") + b"delete k\r\n" + stored("k", "b", verb="add") + b"get k\r\n",
        b"STORED\r\nDELETED\r\nSTORED\r\nVALUE k 0 1\r\nb\r\nEND\r\n",
    ),
    Case(
        "add stores over an expired item",
        stored("k", "a", exptime=-1) + stored("k", "b", verb="add") + b"get k\r\n",
        b"STORED\r\nSTORED\r\nVALUE k 0 1\r\nb\r\nEND\r\n",
    ),
    Case(
        "replace does not store what is missing",
        stored("k", "a", verb="replace") + b"get k\r\n",
        b"NOT_STORED\r\nEND\r\n",
    ),
    Case(
        "replace replaces value and flags",
        stored("k", "a", flags=1) + stored("k", "bc", flags=2, verb="replace") + b"get k\r\n",
        b"STORED\r\nSTORED\r\nVALUE k 2 2\r\nbc\r\nEND\r\n",
    ),
    Case(
        "replace does not store over an expired item",
        stored("k", "a", exptime=-1) + stored("k", "b", verb="replace") + b"get k\r\n",
        b"STORED\r\nNOT_STORED\r\nEND\r\n",
    ),
    Case(
        "append puts behind and keeps the flags",
        stored("k", "ab", flags=3) + stored("k", "cd", flags=9, verb="append") + b"get k\r\n",
        b"STORED\r\nSTORED\r\nVALUE k 3 4\r\nabcd\r\nEND\r\n",
    ),
    Case(
        "prepend puts before and keeps the flags",
        stored("k", "ab", flags=3) + stored("k", "cd", flags=9, verb="prepend") + b"get k\r\n",
        b"STORED\r\nSTORED\r\nVALUE k 3 4\r\ncdab\r\nEND\r\n",
    ),
    Case("append needs an item", stored("k", "a", verb="append") + b"get k\r\n", b"NOT_STORED\r\nEND\r\n"),
    Case("prepend needs an item", stored("k", "a", verb="prepend") + b"get k\r\n", b"NOT_STORED\r\nEND\r\n"),
    Case(
        "append keeps the expiry and ignores its own",
        stored("k", "ab") + stored("k", "cd", exptime=-1, verb="append") + b"get k\r\n",
        b"STORED\r\nSTORED\r\nVALUE k 0 4\r\nabcd\r\nEND\r\n",
    ),
    Case(
        "append of nothing changes nothing",
        stored("k", "ab") + stored("k", "", verb="append") + b"get k\r\n",
        b"STORED\r\nSTORED\r\nVALUE k 0 2\r\nab\r\nEND\r\n",
    ),
    Case("cas of a missing key is not found", b"cas k 0 0 1 1\r\na\r\nget k\r\n", b"NOT_FOUND\r\nEND\r\n"),
    Case(
        "cas with a wrong number leaves the value",
        stored("k", "a") + b"cas k 0 0 1 18446744073709551615\r\nb\r\nget k\r\n",
        b"STORED\r\nEXISTS\r\nVALUE k 0 1\r\na\r\nEND\r\n",
    ),
    Case(
        "cas 0 never matches",
        stored("k", "a") + b"cas k 0 0 1 0\r\nb\r\nget k\r\n",
        b"STORED\r\nEXISTS\r\nVALUE k 0 1\r\na\r\nEND\r\n",
    ),
    Case(
        "cas of an expired item is not found",
        stored("k", "a", exptime=-1) + b"cas k 0 0 1 1\r\nb\r\n",
        b"STORED\r\nNOT_FOUND\r\n",
    ),
)
def test_storing(client, case):
    client.play(case)


@table(
    Case("flags 0", b"set k 0 0 1\r\na\r\nget k\r\n", b"STORED\r\nVALUE k 0 1\r\na\r\nEND\r\n"),
    Case(
        "the largest flags",
        b"set k 4294967295 0 1\r\na\r\nget k\r\n",
        b"STORED\r\nVALUE k 4294967295 1\r\na\r\nEND\r\n",
    ),
    Case(
        "flags beyond 32 bits lose the upper half",
        b"set k 4294967296 0 1\r\na\r\nget k\r\n",
        b"STORED\r\nVALUE k 0 1\r\na\r\nEND\r\n",
    ),
    Case(
        "the lower half of larger flags stays",
        b"set k 4294967303 0 1\r\na\r\nget k\r\n",
        b"STORED\r\nVALUE k 7 1\r\na\r\nEND\r\n",
    ),
    Case(
        "flags beyond 64 bits are refused",
        b"set k 18446744073709551616 0 1\r\na\r\nget k\r\n",
        BAD_LINE + b"END\r\n",
        old=BAD_LINE + b"ERROR\r\nEND\r\n",
        why=SWALLOWED,
    ),
    Case(
        "negative flags are refused",
        b"set k -1 0 1\r\na\r\nget k\r\n",
        BAD_LINE + b"END\r\n",
        old=BAD_LINE + b"ERROR\r\nEND\r\n",
        why=SWALLOWED,
    ),
    Case(
        "flags that are no number are refused",
        b"set k x 0 1\r\na\r\nget k\r\n",
        BAD_LINE + b"END\r\n",
        old=BAD_LINE + b"ERROR\r\nEND\r\n",
        why=SWALLOWED,
    ),
    Case(
        "flags with something behind the digits are refused",
        b"set k 1x 0 1\r\na\r\nget k\r\n",
        BAD_LINE + b"END\r\n",
        old=BAD_LINE + b"ERROR\r\nEND\r\n",
        why=SWALLOWED,
    ),
    Case(
        "an expiry that is no number is refused",
        b"set k 0 x 1\r\na\r\nget k\r\n",
        BAD_LINE + b"END\r\n",
        old=BAD_LINE + b"ERROR\r\nEND\r\n",
        why=SWALLOWED,
    ),
    Case(
        "a cas that is no number is refused",
        b"cas k 0 0 1 x\r\na\r\nget k\r\n",
        BAD_LINE + b"END\r\n",
        old=BAD_LINE + b"ERROR\r\nEND\r\n",
        why=SWALLOWED,
    ),
    Case(
        "a negative cas is refused",
        b"cas k 0 0 1 -1\r\na\r\n",
        BAD_LINE,
        old=BAD_LINE + b"ERROR\r\n",
        why=SWALLOWED,
    ),
    Case(
        "a cas beyond 64 bits is refused",
        b"cas k 0 0 1 18446744073709551616\r\na\r\n",
        BAD_LINE,
        old=BAD_LINE + b"ERROR\r\n",
        why=SWALLOWED,
    ),
    Case(
        "a refused line leaves the old value",
        stored("k", "old") + b"set k x 0 1\r\na\r\nget k\r\n",
        b"STORED\r\n" + BAD_LINE + b"VALUE k 0 3\r\nold\r\nEND\r\n",
        old=b"STORED\r\n" + BAD_LINE + b"ERROR\r\nVALUE k 0 3\r\nold\r\nEND\r\n",
        why=SWALLOWED,
    ),
)
def test_numbers_of_a_storage_line(client, case):
    client.play(case)


def cas_of(client, key):
    """The number that gets shows."""
    client.send(b"gets %s\r\n" % key)
    head = client.line()
    assert head.startswith(b"VALUE %s " % key), head
    client.read_until(b"END\r\n")
    return int(head.split()[4])


def test_cas_with_the_right_number_stores_once(client):
    client.ask(stored("k", "a"), b"STORED\r\n")
    number = cas_of(client, b"k")
    client.ask(b"cas k 4 0 1 %d\r\nb\r\n" % number, b"STORED\r\n")
    client.ask(b"cas k 4 0 1 %d\r\nc\r\n" % number, b"EXISTS\r\n")
    client.ask(b"get k\r\n", b"VALUE k 4 1\r\nb\r\nEND\r\n")


@pytest.mark.parametrize(
    "change",
    [
        b"set k 0 0 1\r\n2\r\n",
        b"replace k 0 0 1\r\n2\r\n",
        b"append k 0 0 1\r\n2\r\n",
        b"prepend k 0 0 1\r\n2\r\n",
        b"incr k 1\r\n",
        b"decr k 1\r\n",
        b"delete k\r\nset k 0 0 1\r\n1\r\n",
    ],
)
def test_every_change_gives_a_larger_cas_number(client, change):
    client.ask(stored("k", "1"), b"STORED\r\n")
    before = cas_of(client, b"k")
    client.talk(change)
    assert cas_of(client, b"k") > before


@pytest.mark.parametrize("look", [b"get k\r\n", b"touch k 0\r\n", b"gat 0 k\r\n", b"add k 0 0 1\r\n2\r\n"])
def test_what_does_not_change_the_value_keeps_its_cas_number(client, look):
    client.ask(stored("k", "1"), b"STORED\r\n")
    before = cas_of(client, b"k")
    client.talk(look)
    assert cas_of(client, b"k") == before


def test_a_cas_number_is_never_zero_and_fits_64_bits(client):
    client.ask(stored("k", "1"), b"STORED\r\n")
    assert 0 < cas_of(client, b"k") < 1 << 64


def test_gets_shows_the_same_number_as_gats(client):
    client.ask(stored("k", "1"), b"STORED\r\n")
    number = cas_of(client, b"k")
    client.ask(b"gats 0 k\r\n", b"VALUE k 0 1 %d\r\n1\r\nEND\r\n" % number)
    client.ask(b"gets k\r\n", b"VALUE k 0 1 %d\r\n1\r\nEND\r\n" % number)


def test_another_connection_sees_the_value_at_once(server):
    with server.client() as writer, server.client() as reader:
        for number in range(50):
            writer.ask(stored("k", str(number)), b"STORED\r\n")
            reader.ask(b"get k\r\n", b"VALUE k 0 %d\r\n%d\r\nEND\r\n" % (len(str(number)), number))
