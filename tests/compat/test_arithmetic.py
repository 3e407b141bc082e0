"""incr and decr: 64-bit decimal text in place."""

import pytest

from .wire import Case, stored, table

BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"
BAD_DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
NO_NUMBER = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
FEW = "too few arguments were an unknown command before the parser was rewritten"
TOP = 2**64 - 1


def holding(value, command, says, then):
    """A row: an item of this value, one command on it, what it says and what the item then holds."""
    return {
        "send": stored("n", value, flags=6) + command + b"\r\nget n\r\n",
        "expect": b"STORED\r\n" + says + b"\r\nVALUE n 6 %d\r\n%s\r\nEND\r\n" % (len(then), then),
    }


@table(
    Case("incr adds", **holding("10", b"incr n 5", b"15", b"15")),
    Case("incr grows into another digit", **holding("99", b"incr n 1", b"100", b"100")),
    Case("incr by 0", **holding("7", b"incr n 0", b"7", b"7")),
    Case("incr to the largest number", **holding(str(TOP - 1), b"incr n 1", b"%d" % TOP, b"%d" % TOP)),
    Case("incr by the largest number", **holding("0", b"incr n %d" % TOP, b"%d" % TOP, b"%d" % TOP)),
    Case("incr beyond 64 bits wraps and pads", **holding(str(TOP), b"incr n 1", b"0", b"0" + b" " * 19)),
    Case("incr wraps to what is left", **holding(str(TOP), b"incr n 11", b"10", b"10" + b" " * 18)),
    Case("incr by a negative 0", **holding("7", b"incr n -0", b"7", b"7")),
    Case("decr by a negative 0", **holding("7", b"decr n -00", b"7", b"7")),
    Case("a delta that wraps to a small one", **holding("7", b"incr n -18446744073709551615", b"8", b"8")),
    Case("decr subtracts", **holding("15", b"decr n 5", b"10", b"10")),
    Case("decr to fewer digits pads with spaces", **holding("10", b"decr n 1", b"9", b"9 ")),
    Case("decr stops at 0", **holding("5", b"decr n 6", b"0", b"0")),
    Case("decr by the largest number", **holding("123", b"decr n %d" % TOP, b"0", b"0  ")),
    Case("decr of 0", **holding("0", b"decr n 1", b"0", b"0")),
    Case("a padded number counts on", **holding("9 ", b"incr n 1", b"10", b"10")),
    Case("the line end of a copied file counts as a space", **holding("5\n", b"incr n 1", b"6", b"6 ")),
    Case("any white space ends the number", **holding("5\v9", b"incr n 1", b"6", b"6  ")),
    Case("a zero byte ends the number", **holding("5\0", b"incr n 1", b"6", b"6 ")),
    Case("a plus before the number", **holding("+5", b"incr n 1", b"6", b"6 ")),
    Case("a plus before the delta", **holding("5", b"incr n +1", b"6", b"6")),
    Case("leading tabs are no part of the number", **holding("\t5", b"incr n 1", b"6", b"6 ")),
    Case("what follows a space is forgotten", **holding("5 x", b"incr n 1", b"6", b"6  ")),
    Case("leading spaces are no part of the number", **holding(" 5", b"incr n 1", b"6", b"6 ")),
    Case("leading zeros are lost but the length stays", **holding("007", b"incr n 1", b"8", b"8  ")),
    Case(
        "a number that fills all 20 digits is one",
        **holding("00000000000000000001", b"incr n 1", b"2", b"2" + b" " * 19),
    ),
)
def test_counting(client, case):
    client.play(case)


@table(
    Case("incr of a miss", b"incr n 1\r\nget n\r\n", b"NOT_FOUND\r\nEND\r\n"),
    Case("decr of a miss", b"decr n 1\r\nget n\r\n", b"NOT_FOUND\r\nEND\r\n"),
    Case("incr of an expired item", stored("n", "1", exptime=-1) + b"incr n 1\r\n", b"STORED\r\nNOT_FOUND\r\n"),
    Case("a delta that is no number", stored("n", "1") + b"incr n x\r\n", b"STORED\r\n" + BAD_DELTA),
    Case("a delta with something behind it", stored("n", "1") + b"incr n 1x\r\n", b"STORED\r\n" + BAD_DELTA),
    Case("a negative delta", stored("n", "1") + b"incr n -1\r\n", b"STORED\r\n" + BAD_DELTA),
    Case(
        "a delta that wraps to a large one", stored("n", "1") + b"incr n -9223372036854775808\r\n", b"STORED\r\n" + BAD_DELTA
    ),
    Case("a negative decr", stored("n", "1") + b"decr n -1\r\n", b"STORED\r\n" + BAD_DELTA),
    Case("a delta beyond 64 bits", stored("n", "1") + b"incr n 18446744073709551616\r\n", b"STORED\r\n" + BAD_DELTA),
    Case("a bad delta is found before the miss", b"incr n x\r\n", BAD_DELTA),
    Case(
        "more arguments than it needs",
        stored("n", "1") + b"incr n 1 2 3\r\n",
        b"STORED\r\n2\r\n",
        old=b"STORED\r\nERROR\r\n",
        why="1.6.18 took no more",
    ),
    Case("incr without a delta", b"incr n\r\n", BAD_LINE, old=b"ERROR\r\n", why=FEW),
    Case("decr without a delta", b"decr n\r\n", BAD_LINE, old=b"ERROR\r\n", why=FEW),
    Case("incr without a key", b"incr\r\n", BAD_LINE, old=b"ERROR\r\n", why=FEW),
    Case("decr without a key", b"decr\r\n", BAD_LINE, old=b"ERROR\r\n", why=FEW),
)
def test_what_is_not_counted(client, case):
    client.play(case)


@pytest.mark.parametrize("verb", [b"incr", b"decr"])
@pytest.mark.parametrize("value", ["", "-1", "+", "1.5", "abc", "12a", "0x10", "18446744073709551616", "1" * 21])
def test_a_value_that_is_no_64_bit_number_is_refused_and_kept(client, verb, value):
    client.ask(stored("n", value), b"STORED\r\n")
    client.ask(verb + b" n 1\r\n", NO_NUMBER)
    client.ask(b"get n\r\n", b"VALUE n 0 %d\r\n%s\r\nEND\r\n" % (len(value), value.encode()))


def test_incr_keeps_the_expiry(client):
    client.ask(
        stored("n", "1", exptime=100) + b"incr n 1\r\ntouch n -1\r\nincr n 1\r\n",
        b"STORED\r\n2\r\nTOUCHED\r\nNOT_FOUND\r\n",
    )


def test_four_connections_count_together(server):
    with server.client() as first:
        first.ask(stored("n", "0"), b"STORED\r\n")
        others = [server.client() for _ in range(4)]
        for other in others:
            other.send(b"incr n 1\r\n" * 500)
        for other in others:
            for _ in range(500):
                assert other.line()[:-2].isdigit()
            other.close()
        first.ask(b"get n\r\n", b"VALUE n 0 4\r\n2000\r\nEND\r\n")
